"""The account of a migration: what the source had, what the target took, and what makes the difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from trackbridge.domain.migration import Counts, Kind, Loss, Outcome, State
from trackbridge.errors import BridgeError

EXIT_PARTLY = 3


@dataclass(slots=True)
class Account:
    """Adds up outcomes; of what went well only the sums are kept."""

    states: Counter[State] = field(default_factory=Counter)
    kinds: Counter[tuple[Kind, State]] = field(default_factory=Counter)
    source: Counts = field(default_factory=Counts)
    target: Counts = field(default_factory=Counts)
    losses: list[Loss] = field(default_factory=list)
    remaining: list[Outcome] = field(default_factory=list)
    stopped: str = ""
    stopped_code: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.states[outcome.state] += 1
        self.kinds[Kind(outcome.subject.partition(" ")[0]), outcome.state] += 1
        if outcome.state in (State.DONE, State.HELD):
            self.source.add(outcome.source)
            self.target.add(outcome.target)
            self.losses += outcome.losses
        else:
            self.remaining.append(outcome)

    def retract(self, outcome: Outcome, error: BridgeError | str) -> None:
        """Take back what was counted as done: it is not as it should be."""
        self.source.subtract(outcome.source)
        self.target.subtract(outcome.target)
        gone = {id(loss) for loss in outcome.losses}
        self.losses = [loss for loss in self.losses if id(loss) not in gone]
        self.states[outcome.state] -= 1
        self.kinds[Kind(outcome.subject.partition(" ")[0]), outcome.state] -= 1
        code = error.exit_code if isinstance(error, BridgeError) else 1
        failed = msgspec.structs.replace(outcome, state=State.FAILED, error=str(error), exit_code=code)
        self.states[State.FAILED] += 1
        self.kinds[Kind(outcome.subject.partition(" ")[0]), State.FAILED] += 1
        self.remaining.append(failed)

    def stop(self, reason: str, exit_code: int) -> None:
        """Note why no more was begun; the first reason stands."""
        if not self.stopped:
            self.stopped, self.stopped_code = reason, exit_code

    @property
    def is_complete(self) -> bool:
        """True when everything that was planned is done."""
        return not (self.remaining or self.stopped)

    @property
    def exit_code(self) -> int:
        """What the command ends with.

        0 when all is done, and every difference is listed; 8 when a bound was reached; 3 when a part is done;
        else the code of what keeps the rest from being done.
        """
        if self.is_complete:
            return EXIT_PARTLY if self.unexplained() else 0
        if self.stopped_code == 8:
            return 8
        if self.states[State.DONE] or self.states[State.HELD]:
            return EXIT_PARTLY
        codes = [outcome.exit_code for outcome in self.remaining if outcome.exit_code]
        return self.stopped_code or (codes[0] if codes else EXIT_PARTLY)

    def fields(self) -> dict[str, Any]:
        """Return the account for programs."""
        return {
            "items": {
                kind.value: {
                    state.value: self.kinds[kind, state] for state in State if self.kinds[kind, state]
                }
                for kind in Kind
                if any(self.kinds[kind, state] for state in State)
            },
            "source": msgspec.to_builtins(self.source),
            "target": msgspec.to_builtins(self.target),
            "losses": [msgspec.to_builtins(loss) for loss in self.losses],
            "remaining": [
                {"subject": outcome.subject, "state": outcome.state.value, "error": outcome.error}
                for outcome in self.remaining
            ],
            "stopped": self.stopped or None,
        }

    def unexplained(self) -> dict[str, int]:
        """Return by how much the counts of the two sides differ beyond the losses that are listed."""
        refused = refused_counts(self.losses)
        found: dict[str, int] = {}
        for name in Counts.__struct_fields__:
            if name == "bytes":
                continue
            rest = getattr(self.source, name) - getattr(self.target, name) - refused[name]
            if rest:
                found[name] = rest
        return found


GROUPS = {"params": "params", "tags": "tags", "metrics": "points", "inputs": "inputs", "files": "files"}


def refused_counts(losses: Iterable[Loss]) -> Counter[str]:
    """Return how many records of each kind were refused."""
    refused: Counter[str] = Counter()
    for loss in losses:
        kind = loss.item.partition(" ")[0]
        is_whole = loss.field == kind and kind in (Kind.LOGGED_MODEL, Kind.TRACE)
        group = f"{kind}s" if is_whole else GROUPS.get(loss.field.partition(".")[0])
        if group is not None and loss.treatment.value == "refused" and (is_whole or kind == Kind.RUN):
            refused[group] += loss.count
    return refused


def summary_of_losses(losses: Iterable[Loss]) -> list[tuple[str, str, int, int, str]]:
    """Return losses added up for people: what, treatment, how many records, of how many items, an example."""
    groups: dict[tuple[str, str], list[Loss]] = {}
    for loss in losses:
        kind = loss.item.partition(" ")[0]
        what = f"{kind} {loss.field.partition('.')[0]}"
        groups.setdefault((what, loss.treatment.value), []).append(loss)
    return [
        (
            what,
            treatment,
            sum(loss.count for loss in found),
            len({loss.item for loss in found}),
            f"{found[0].field}: {found[0].detail}",
        )
        for (what, treatment), found in sorted(groups.items())
    ]
