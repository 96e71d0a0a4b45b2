"""Small charts of a few bars, drawn as SVG on the server; their figures stand in words beside them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

WIDTH = 120
HEIGHT = 28


class Bar(msgspec.Struct, frozen=True):
    """A bar: where it stands and how large it is, in the units of the chart, and what it says."""

    x: float
    y: float
    width: float
    height: float
    text: str


class Bars(msgspec.Struct, frozen=True, kw_only=True):
    """A chart; ``text`` says all of it to whoever does not see it."""

    bars: tuple[Bar, ...]
    text: str


def bars(counts: Sequence[int]) -> Bars:
    """Return a chart of what came in each part of a window, oldest first.

    Args:
        counts: How much there was in windows that all end now, the shortest first, in equal steps.
    """
    # A target counts again each time it is asked, so that a longer window may have less than a shorter one.
    parts = [max(0, count - before) for before, count in zip((0, *counts), counts, strict=False)][::-1]
    labels = [f"part {number} of {len(parts)}: {count:,}" for number, count in enumerate(parts, 1)]
    return _drawn(parts, labels, f"oldest to newest: {', '.join(f'{count:,}' for count in parts)}")


def histogram(latency_counts: Sequence[tuple[float | None, int]]) -> Bars:
    """Return a chart of latencies: pairs of an upper bound in ms (None: none) and how many took so long."""
    shown = _without_ends(latency_counts)
    labels = [f"{'longer' if bound is None else f'up to {bound:g} ms'}: {count:,}" for bound, count in shown]
    return _drawn([count for _, count in shown], labels, "; ".join(labels) or "no requests")


def _without_ends(
    counts: Sequence[tuple[float | None, int]],
) -> list[tuple[float | None, int]]:
    """Leave out what is empty before the first and after the last."""
    taken = [number for number, (_, count) in enumerate(counts) if count]
    return list(counts[taken[0] : taken[-1] + 1]) if taken else []


def _drawn(values: Sequence[int], labels: Sequence[str], text: str) -> Bars:
    step = WIDTH / max(1, len(values))
    largest = max(values, default=0) or 1
    return Bars(
        bars=tuple(
            Bar(
                x=round(number * step, 2),
                y=round(HEIGHT - HEIGHT * value / largest, 2),
                width=round(max(1.0, step - 1), 2),
                height=round(HEIGHT * value / largest, 2),
                text=label,
            )
            for number, (value, label) in enumerate(zip(values, labels, strict=True))
        ),
        text=text,
    )
