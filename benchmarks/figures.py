"""What a benchmark returns, and the table that is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Target:
    """A bound that the project promises, in words, and whether it was kept."""

    text: str
    is_met: bool


@dataclass(frozen=True)
class Figure:
    """One measured number of ours, beside the same of its peers.

    ``more_is_better`` tells which way a ratio goes; ``note`` says how it was measured.
    """

    name: str
    unit: str
    ours: float
    peers: dict[str, float] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    more_is_better: bool = False
    note: str = ""

    def ratio(self, peer: str) -> float:
        """Return how many times better we are than a peer; less than 1 is worse."""
        theirs = self.peers[peer]
        return self.ours / theirs if self.more_is_better else theirs / self.ours

    def as_json(self) -> dict[str, Any]:
        """Return all of it as a JSON object, with the ratios."""
        return {**asdict(self), "ratios": {peer: round(self.ratio(peer), 3) for peer in self.peers}}


def at_most(limit: float, value: float, unit: str) -> Target:
    """Return the target that a value is at most so much."""
    return Target(f"at most {limit:,g} {unit}", value <= limit)


def at_least(limit: float, value: float, unit: str) -> Target:
    """Return the target that a value is at least so much."""
    return Target(f"at least {limit:,g} {unit}", value >= limit)


def markdown(figures: Sequence[Figure]) -> str:
    """Return the figures as a markdown table, notes below it."""
    lines = ["| what | trackbridge | peers | target | met |", "|---|---:|---|---|---|"]
    notes: list[str] = []
    for figure in figures:
        mark = ""
        if figure.note:
            notes.append(figure.note)
            mark = f" ({len(notes)})"
        peers = "<br>".join(_peer(figure, peer) for peer in figure.peers)
        targets = "<br>".join(target.text for target in figure.targets)
        met = "<br>".join("yes" if target.is_met else "**no**" for target in figure.targets)
        ours = f"{number(figure.ours)} {figure.unit}"
        lines.append(f"| {figure.name}{mark} | {ours} | {peers} | {targets} | {met} |")
    return "\n".join([*lines, "", *(f"({index}) {note}  " for index, note in enumerate(notes, 1))])


def number(value: float) -> str:
    """Return a number with three significant digits, or all digits before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _peer(figure: Figure, peer: str) -> str:
    if figure.ours <= 0:  # a difference that the noise of the machine hides
        return f"{peer}: {number(figure.peers[peer])} {figure.unit}; ours is too small to be measured"
    ratio = figure.ratio(peer)
    compared = f"{number(ratio)} times better" if ratio >= 1 else f"{number(1 / ratio)} times worse"
    return f"{peer}: {number(figure.peers[peer])} {figure.unit}; ours is {compared}"
