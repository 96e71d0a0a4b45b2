"""What a chart of so many pixels is sent of a history."""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackbridge.domain.batches import MetricColumns
from trackbridge.errors import InvalidInput
from trackbridge.gateway.pages.drawing import Frame, drawn, spark_points

START_MS = 1_000_000


def history(
    values: Sequence[float], *, steps: Sequence[int] = (), times: Sequence[int] = ()
) -> MetricColumns:
    count = len(values)
    return MetricColumns(
        steps=array("q", steps or range(count)),
        timestamps=array("q", times or (START_MS + 1000 * number for number in range(count))),
        values=array("d", values),
        sequences=array("Q", itertools.repeat(0, count)),
    )


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), max_size=300), st.integers(1, 50))
def test_the_extremes_of_every_column_are_kept_and_nothing_is_made_up(
    values: list[float], width: int
) -> None:
    shown = drawn(history(values), Frame(width=width), START_MS)
    assert len(shown.xs) == len(shown.values) <= 2 * width
    assert shown.left_out == 0
    assert {(round(x), value) for x, value in zip(shown.xs, shown.values, strict=True)} <= set(
        enumerate(values)
    )
    if values:
        assert (min(shown.values), max(shown.values)) == (min(values), max(values))
    assert all(before < after for before, after in itertools.pairwise(shown.xs))


def test_a_spike_in_many_points_is_kept_at_its_step() -> None:
    values = [0.0] * 100_000
    values[31_415] = 7.0
    shown = drawn(history(values), Frame(width=100), START_MS)
    assert shown.xs[shown.values.index(7.0)] == 31_415


def test_what_cannot_be_drawn_is_counted() -> None:
    values = [1.0, math.nan, math.inf, -math.inf, 0.0, -1.0, 2.0]
    assert drawn(history(values), Frame(), START_MS).left_out == 3
    logarithmic = drawn(history(values), Frame(is_log=True), START_MS)
    assert logarithmic.values == [1.0, 2.0]
    assert logarithmic.left_out == 5
    assert drawn(history(values), Frame(smoothing=0.5), START_MS).left_out == 3


def test_points_of_one_step_stay_apart_and_keep_their_extremes() -> None:
    shown = drawn(history([3.0, -2.0, 9.0, 4.0], steps=[5, 5, 5, 5]), Frame(), START_MS)
    assert shown.values == [-2.0, 9.0]
    assert shown.xs[0] == 5 < shown.xs[1] < 5.001


def test_time_is_in_seconds_and_relative_time_begins_with_the_run() -> None:
    points = history([1.0, 2.0, 3.0], times=[START_MS + 2000, START_MS, START_MS + 1000])  # not in order
    relative = drawn(points, Frame(axis="relative"), START_MS)
    assert (relative.xs, relative.values) == ([0.0, 1.0, 2.0], [2.0, 3.0, 1.0])
    assert drawn(points, Frame(axis="time"), START_MS).xs == [1000.0, 1001.0, 1002.0]


def test_smoothing_goes_on_from_the_point_before() -> None:
    assert drawn(history([0.0, 1.0, 1.0]), Frame(smoothing=0.5), START_MS).values == [0.0, 0.5, 0.75]


def test_a_part_is_drawn_in_more_detail_with_its_neighbours() -> None:
    points = history([float(number % 7) for number in range(10_000)])
    part = drawn(points, Frame(width=50, low=100, high=120), START_MS)
    assert part.xs == list(range(99, 121))
    assert drawn(points, Frame(low=20_000, high=30_000), START_MS).xs == [9_999]


@pytest.mark.parametrize("wrong", [{"axis": "epoch"}, {"width": 0}, {"width": 10**9}, {"smoothing": 1.0}])
def test_a_frame_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        Frame(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [[1.0, 2.0, 0.5], [1e308, -1e308], [4.0, 4.0]])
def test_a_small_curve_stays_inside_its_picture(values: list[float]) -> None:
    places = [tuple(map(float, point.split(","))) for point in spark_points(history(values), 100, 20).split()]
    assert len(places) == len(values)
    assert all(0 <= x <= 100 and 0 <= y <= 20 for x, y in places)


@pytest.mark.parametrize("values", [[], [1.0], [math.nan, math.nan]])
def test_no_small_curve_without_two_points(values: list[float]) -> None:
    assert spark_points(history(values), 100, 20) == ""


def test_a_neighbour_far_away_takes_no_detail_from_the_part_that_is_shown() -> None:
    steps = [0, *range(500_000, 510_000), 10**6]
    points = history([float(number % 7) for number in range(len(steps))], steps=steps)
    part = drawn(points, Frame(width=100, low=500_000, high=510_500), START_MS)
    assert (part.xs[0], part.xs[-1]) == (0, 10**6)
    assert len(part.xs) == 2 * 100 + 2
