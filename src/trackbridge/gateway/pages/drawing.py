"""From the history of a metric to the points that a chart of so many pixels needs.

Every pixel column keeps its least and its greatest value, so that no spike is lost however long the history
is. The work is done on whole slices of the arrays: a million points take about a tenth of a second.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from operator import le

from trackbridge.domain.batches import MetricColumns
from trackbridge.errors import InvalidInput

AXES = ("step", "time", "relative")
WIDTH_MAX = 4000
SMOOTHING_MAX = 0.999


@dataclass(frozen=True)
class Frame:
    """What a chart shows: its axis, its part of it, its width in pixels.

    ``time`` is in seconds since 1970, ``relative`` in seconds since the run's start. ``smoothing`` is the
    weight of what was before (0: none). On a logarithmic scale values that are not positive cannot be drawn.
    """

    axis: str = "step"
    low: float | None = None
    high: float | None = None
    width: int = 800
    smoothing: float = 0.0
    is_log: bool = False

    def __post_init__(self) -> None:
        if self.axis not in AXES:
            raise InvalidInput(f"there is no axis {self.axis!r}", hint=f"use one of {', '.join(AXES)}")
        if not 0 < self.width <= WIDTH_MAX:
            raise InvalidInput(f"a chart cannot be {self.width} pixels wide", hint=f"at most {WIDTH_MAX}")
        if not 0 <= self.smoothing <= SMOOTHING_MAX:
            raise InvalidInput(f"the smoothing {self.smoothing} is not from 0 to {SMOOTHING_MAX}")


@dataclass(frozen=True)
class Drawn:
    """Points to draw; ``left_out`` of the history cannot be (NaN, infinite, not positive)."""

    xs: list[float]
    values: list[float]
    left_out: int = 0


def drawn(columns: MetricColumns, frame: Frame, start_ms: int) -> Drawn:
    """Return the points of a history that a frame shows.

    Args:
        columns: The history.
        frame: What is shown.
        start_ms: When the run began.
    """
    xs, values = _by_axis(columns, frame)
    if frame.smoothing:
        xs, values = _finite(xs, values)
        values = _smoothed(values, frame.smoothing)
    origin, unit = {"step": (0, 1), "time": (0, 1000), "relative": (start_ms, 1000)}[frame.axis]
    low, high = (None if edge is None else edge * unit + origin for edge in (frame.low, frame.high))
    xs, values = _cut(xs, values, low, high)
    kept, left_out = _extremes(xs, values, frame, _columns(xs, frame.width, low, high))
    lost = len(columns) - len(values) if frame.smoothing and frame.low is None and frame.high is None else 0
    kept = _apart([((x - origin) / unit if unit > 1 else x, value) for x, value in kept])
    return Drawn([x for x, _ in kept], [value for _, value in kept], left_out + max(0, lost))


def _by_axis(columns: MetricColumns, frame: Frame) -> tuple[Sequence[float], array[float]]:
    """Return steps or milliseconds since 1970, in order, with their values; the unit is changed later."""
    if frame.axis == "step":
        return columns.steps, columns.values
    times, values = columns.timestamps, columns.values
    if not all(map(le, times, islice(times, 1, None))):
        order = sorted(range(len(times)), key=times.__getitem__)
        times = array("q", map(times.__getitem__, order))
        values = array("d", map(values.__getitem__, order))
    return times, values


def _finite(xs: Sequence[float], values: array[float]) -> tuple[Sequence[float], array[float]]:
    if math.isfinite(sum(values)):
        return xs, values
    kept = [index for index, value in enumerate(values) if math.isfinite(value)]
    return [xs[index] for index in kept], array("d", [values[index] for index in kept])


def _smoothed(values: array[float], weight: float) -> array[float]:
    rest = 1.0 - weight
    return array("d", accumulate(values, lambda before, value: before * weight + value * rest))


def _cut(
    xs: Sequence[float], values: array[float], low: float | None, high: float | None
) -> tuple[Sequence[float], array[float]]:
    """Leave the part that is shown, with the neighbours that lines lead to."""
    begin = 0 if low is None else max(0, bisect_left(xs, low) - 1)
    end = len(xs) if high is None else min(len(xs), bisect_left(xs, high) + 1)
    return (xs, values) if (begin, end) == (0, len(xs)) else (xs[begin:end], values[begin:end])


def _extremes(
    xs: Sequence[float], values: array[float], frame: Frame, columns: Iterable[tuple[int, int]]
) -> tuple[list[tuple[float, float]], int]:
    """Return the least and the greatest value of each pixel column, and how many cannot be drawn."""
    kept: list[tuple[float, float]] = []
    left_out = 0
    for begin, end in columns:
        if end > begin:
            points, lost = _of_column(xs[begin:end], values[begin:end], is_log=frame.is_log)
            kept += points
            left_out += lost
    return kept, left_out


def _columns(
    xs: Sequence[float], width: int, low: float | None, high: float | None
) -> Iterator[tuple[int, int]]:
    """Yield where each pixel column begins and ends.

    A neighbour outside of the part that is shown may be far away, and has a column of its own.
    """
    if not len(xs):
        return
    begin = int(low is not None and xs[0] < low)
    stop = max(begin, len(xs) - int(high is not None and xs[-1] > high))
    yield 0, begin
    if begin < stop:
        first, span = xs[begin], xs[stop - 1] - xs[begin]
        for column in range(1, width):
            end = bisect_left(xs, first + span * column / width, begin, stop)
            yield begin, end
            begin = end
    yield begin, stop
    yield stop, len(xs)


def _of_column(
    xs: Sequence[float], column: array[float], *, is_log: bool
) -> tuple[list[tuple[float, float]], int]:
    lost, values = 0, column.tolist()  # once; each look at an array makes its numbers anew
    if not math.isfinite(sum(values)) or (is_log and min(values) <= 0):
        rows = [(x, value) for x, value in zip(xs, values, strict=True) if _can_be_drawn(value, is_log)]
        lost = len(values) - len(rows)
        xs, values = [x for x, _ in rows], [value for _, value in rows]
    if len(values) <= 2:
        return list(zip(xs, values, strict=True)), lost
    low, high = values.index(min(values)), values.index(max(values))
    return [(xs[index], values[index]) for index in sorted({low, high})], lost


def _can_be_drawn(value: float, is_log: bool) -> bool:
    return 0 < value < math.inf if is_log else math.isfinite(value)


def _apart(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Move points of one place apart by the least that a float tells: a chart joins runs by their places."""
    moved: list[tuple[float, float]] = []
    before = -math.inf
    for x, value in points:
        place = x if x > before else math.nextafter(before, math.inf)
        moved.append((place, value))
        before = place
    return moved


def spark_points(columns: MetricColumns, width: int, height: int) -> str:
    """Return a history as the ``points`` of an SVG polyline of this size in pixels; "" without two points."""
    shown = drawn(columns, Frame(width=max(1, width // 2)), 0)
    if len(shown.xs) < 2:
        return ""
    low, high = min(shown.values), max(shown.values)
    first, span = shown.xs[0], shown.xs[-1] - shown.xs[0]
    parts = []
    for x, value in zip(shown.xs, shown.values, strict=True):
        across = (x - first) / span if span else 0.5
        up = (value / 2 - low / 2) / (high / 2 - low / 2) if high / 2 > low / 2 else 0.5
        parts.append(f"{1 + across * (width - 2):.1f},{1 + (1 - up) * (height - 2):.1f}")
    return " ".join(parts)
