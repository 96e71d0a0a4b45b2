"""Scatter and parallel coordinates as SVG, drawn on the server: geometry alone, the templates write it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trackbridge.api.display import format_number, format_time, printable
from trackbridge.domain.runs import Run
from trackbridge.gateway.pages.run_table import Column

WIDTH, HEIGHT = 760, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 20, 50
TICKS = 5
AXIS_WIDTH_MIN = 110
CATEGORIES_MAX = 30
TIMES_OF_DAY_MS_MAX = 86_400_000


@dataclass(frozen=True)
class Axis:
    """A scale: ``place`` maps a run's value into 0 to 1 (None without); ``ticks`` are places and labels."""

    label: str
    ticks: tuple[tuple[float, str], ...]
    place: Callable[[Run], float | None]


@dataclass(frozen=True)
class Dot:
    """A run in a scatter plot, in pixels."""

    x: float
    y: float
    index: int
    run: Run
    text: str


@dataclass(frozen=True)
class Line:
    """A run across parallel axes; ``points`` of an SVG polyline."""

    points: str
    index: int
    run: Run


@dataclass(frozen=True)
class Plot:
    """A picture of runs with its axes; ``left_out`` runs lack a value."""

    width: int
    height: int
    axes: tuple[tuple[float, Axis], ...]
    dots: tuple[Dot, ...] = ()
    lines: tuple[Line, ...] = ()
    left_out: int = 0


def value_of(run: Run, column: Column) -> float | str | None:
    """Return what a run has in a column: a finite number, or text; None without."""
    if column.kind == "metrics":
        number = run.data.metrics.get(column.key)
        return number if number is not None and math.isfinite(number) else None
    if column.kind:
        text = (run.data.params if column.kind == "params" else run.data.tags).get(column.key)
        return None if text is None else _number_or_text(text)
    if column.name == "start_time":
        return float(run.info.start_time)
    if column.name == "duration":
        return None if run.info.end_time is None else (run.info.end_time - run.info.start_time) / 1000
    return str(getattr(run.info, column.name, "")) or None


def _number_or_text(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def axis_of(runs: Sequence[Run], column: Column) -> Axis:
    """Return the scale of a column: of numbers where all are, else of the texts in order."""
    values = [value for run in runs if (value := value_of(run, column)) is not None]
    numbers = [value for value in values if isinstance(value, float)]
    label = printable(column.label, 40)
    if numbers and len(numbers) == len(values):
        return _number_axis(label, column, min(numbers), max(numbers))
    texts = sorted({_text(value) for value in values})
    return _text_axis(label, column, texts)


def _number_axis(label: str, column: Column, low: float, high: float) -> Axis:
    half = high / 2 - low / 2  # the difference itself may be infinite

    def place(run: Run) -> float | None:
        value = value_of(run, column)
        if not isinstance(value, float):
            return None
        return (value / 2 - low / 2) / half if half else 0.5

    steps = [number / (TICKS - 1) for number in range(TICKS)] if half else [0.5]
    values = [low + 2 * half * step if half else low for step in steps]
    labels = _times(values) if column.name == "start_time" else [format_number(value) for value in values]
    return Axis(label, tuple(zip(steps, labels, strict=True)), place)


def _times(values: Sequence[float]) -> list[str]:
    """Return times in milliseconds since 1970 as days, those of less than a day as times of day; UTC."""
    is_short = values[-1] - values[0] < TIMES_OF_DAY_MS_MAX
    return [format_time(round(value))[slice(11, 19) if is_short else slice(10)] for value in values]


def _text_axis(label: str, column: Column, texts: Sequence[str]) -> Axis:
    places = {
        text: (number / (len(texts) - 1) if len(texts) > 1 else 0.5) for number, text in enumerate(texts)
    }

    def place(run: Run) -> float | None:
        value = value_of(run, column)
        return None if value is None else places.get(_text(value))

    every = max(1, math.ceil(len(texts) / CATEGORIES_MAX))
    return Axis(label, tuple((places[text], printable(text, 16)) for text in texts[::every]), place)


def _text(value: float | str) -> str:
    return format_number(value) if isinstance(value, float) else value


def _told(run: Run, column: Column) -> str:
    if column.name == "start_time":
        return format_time(run.info.start_time)
    value = value_of(run, column)
    return "" if value is None else _text(value)


def scatter(runs: Sequence[Run], across: Column, up: Column) -> Plot:
    """Return the runs as dots over two columns."""
    horizontal, vertical = axis_of(runs, across), axis_of(runs, up)
    dots = []
    for index, run in enumerate(runs):
        x, y = horizontal.place(run), vertical.place(run)
        if x is None or y is None:
            continue
        values = (_told(run, column) for column in (across, up))
        text = "{}: {}, {}".format(run.info.run_name, *values)
        left = LEFT + x * (WIDTH - LEFT - RIGHT)
        dots.append(Dot(round(left, 1), round(from_top(y), 1), index, run, printable(text)))
    return Plot(
        WIDTH, HEIGHT, ((0, horizontal), (0, vertical)), dots=tuple(dots), left_out=len(runs) - len(dots)
    )


def parallel(runs: Sequence[Run], columns: Sequence[Column]) -> Plot:
    """Return the runs as lines across the axes of columns; a run is drawn where it has all of them."""
    axes = [axis_of(runs, column) for column in columns]
    width = max(WIDTH, LEFT + RIGHT + AXIS_WIDTH_MIN * len(axes))
    gap = (width - LEFT - AXIS_WIDTH_MIN) / max(1, len(axes) - 1)
    lines = []
    for index, run in enumerate(runs):
        places = [axis.place(run) for axis in axes]
        points = [
            f"{LEFT + number * gap:.1f},{from_top(place):.1f}"
            for number, place in enumerate(places)
            if place is not None
        ]
        if len(points) == len(axes):
            lines.append(Line(" ".join(points), index, run))
    placed = tuple((round(LEFT + number * gap, 1), axis) for number, axis in enumerate(axes))
    return Plot(width, HEIGHT, placed, lines=tuple(lines), left_out=len(runs) - len(lines))


def from_top(place: float) -> float:
    """Return the pixels from the top of a place from 0 (below) to 1 (above)."""
    return TOP + (1 - place) * (HEIGHT - TOP - BOTTOM)
