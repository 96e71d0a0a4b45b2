"""Metric curves drawn in a terminal."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from trackbridge.cli.output import counted

COLOURS = ("red", "green", "blue", "magenta", "cyan", "yellow")
"""click's names; ``_PALETTE`` has the same colours by their numbers in a terminal."""
MARKERS = "*+ox#@%&"
HEIGHT_LINES = 14
TICKS = 4
VALUE_MAX = 1e307
"""Beyond, the difference of two values is infinite."""
WIDTH_WITHOUT_TERMINAL = 80
WIDTH_MIN = 30
_PALETTE = {"red": 1, "green": 2, "yellow": 3, "blue": 4, "magenta": 5, "cyan": 6}


@dataclass(frozen=True, slots=True)
class Curve:
    """One run's points of a metric, in order of step; ``label`` is printable."""

    label: str
    steps: Sequence[int]
    values: Sequence[float]


def draw(title: str, curves: Sequence[Curve], *, is_log: bool, uses_colour: bool) -> str:
    """Return a plot of the curves over each other, as wide as the terminal, with a legend above.

    NaN, infinities and, on a logarithmic scale, what is not positive cannot be drawn and is counted in a line
    below. Long curves are drawn by the extremes of each column.
    """
    width = max(WIDTH_MIN, shutil.get_terminal_size((WIDTH_WITHOUT_TERMINAL, 24)).columns)
    shown = [(curve, _drawable(curve, is_log)) for curve in curves]
    lines = [f"{title} (log scale)" if is_log else title]
    lines += [_legend(index, curve.label, uses_colour) for index, curve in enumerate(curves)]
    drawn = [(index, points) for index, (_, points) in enumerate(shown) if points]
    if drawn:
        lines.append(_plot(drawn, width, is_log=is_log, uses_colour=uses_colour))
    else:
        lines.append("  no points that can be drawn")
    left_out = sum(len(curve.values) - len(points) for curve, points in shown)
    if left_out:
        what = "not positive or not finite" if is_log else "NaN or (nearly) infinite"
        lines.append(f"  not drawn: {counted(left_out, 'point')}, {what}")
    return "\n".join(lines)


def _drawable(curve: Curve, is_log: bool) -> list[tuple[int, float]]:
    """Return the points that can be drawn, on a logarithmic scale with the logarithms of the values."""
    rows = zip(curve.steps, curve.values, strict=True)
    if is_log:
        return [(step, math.log10(value)) for step, value in rows if 0 < value < math.inf]
    return [(step, value) for step, value in rows if abs(value) <= VALUE_MAX]


def _legend(index: int, label: str, uses_colour: bool) -> str:
    marker = MARKERS[index % len(MARKERS)]
    text = f"  {'━' if uses_colour else marker} {label}"
    return click.style(text, fg=COLOURS[index % len(COLOURS)]) if uses_colour else text


def _plot(
    drawn: Sequence[tuple[int, Sequence[tuple[int, float]]]], width: int, *, is_log: bool, uses_colour: bool
) -> str:
    import plotext  # type: ignore[import-untyped]

    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, HEIGHT_LINES)
    figure.theme("colorless")
    for index, points in drawn:
        kept = thinned(points, 2 * width)
        colour = _PALETTE[COLOURS[index % len(COLOURS)]]
        marker = plotext.marker("braille", colour) if uses_colour else MARKERS[index % len(MARKERS)]
        signal = figure.signal([float(step) for step, _ in kept], [value for _, value in kept], marker=marker)
        signal.lines()
        figure.draw(signal)
    _label_steps(figure, [step for _, points in drawn for step, _ in points])
    if is_log:
        _label_powers(figure, [value for _, points in drawn for _, value in points])
    text = str(figure.build())
    return (text if uses_colour else str(plotext.uncolorize(text))).rstrip("\n")


def _label_steps(figure: Any, steps: Sequence[int]) -> None:
    ticks = sorted({round(tick) for tick in _ticks(min(steps), max(steps))})
    figure.ruler("x").ticks([float(tick) for tick in ticks], [f"{tick:,}" for tick in ticks])


def _label_powers(figure: Any, logarithms: Sequence[float]) -> None:
    ticks = _ticks(min(logarithms), max(logarithms))
    figure.ruler("y").ticks(ticks, [_power(tick) for tick in ticks])


def _ticks(low: float, high: float) -> list[float]:
    return [low + (high - low) * number / (TICKS - 1) for number in range(TICKS)] if low < high else [low]


def _power(logarithm: float) -> str:
    """Return ten to the power, also where that exceeds a float."""
    exponent = math.floor(logarithm)
    if -4 <= exponent < 6:
        return f"{10**logarithm:.3g}"
    return f"{10 ** (logarithm - exponent):.1f}e{exponent:+03d}"


def thinned(points: Sequence[tuple[int, float]], buckets: int) -> Sequence[tuple[int, float]]:
    """Return at most two points for each bucket, its least and its greatest, in their order."""
    if len(points) <= 2 * buckets:
        return points
    kept: list[tuple[int, float]] = []
    for bucket in range(buckets):
        begin, end = bucket * len(points) // buckets, (bucket + 1) * len(points) // buckets
        numbers = range(begin, end)
        low = min(numbers, key=lambda number: points[number][1])
        high = max(numbers, key=lambda number: points[number][1])
        kept.extend(points[number] for number in sorted({low, high}))
    return kept
