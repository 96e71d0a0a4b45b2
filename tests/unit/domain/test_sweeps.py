"""Spaces of parameters: how they are written, counted, and gone through."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackbridge.domain.sweeps import (
    Choice,
    Mode,
    Range,
    dimension_of,
    grid_point,
    grid_size,
    is_better,
    parse_dimension,
    parse_space,
    random_point,
    searched,
)
from trackbridge.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("16,32, 64", Choice(("16", "32", "64"))),
        ("choice(relu, tanh)", Choice(("relu", "tanh"))),
        ("adam", Choice(("adam",))),
        ("fixed(a,b)", Choice(("a,b",))),
        ("", Choice(("",))),
        ("uniform(0, 1)", Range(low="0", high="1")),
        ("uniform(0,1,step=0.1)", Range(low="0", high="1", step="0.1")),
        ("uniform(0,1,0.25)", Range(low="0", high="1", step="0.25")),
        ("loguniform(1e-4, 1e-1)", Range(low="0.0001", high="0.1", is_log=True)),
        ("int(1, 8)", Range(low="1", high="8", is_int=True)),
        ("logint(1,1024)", Range(low="1", high="1024", is_log=True, is_int=True)),
    ],
)
def test_what_is_written(text: str, dimension: Choice | Range) -> None:
    found = parse_dimension("lr", text)
    assert found == dimension
    assert parse_dimension("lr", str(found)) == found, "it is shown as it can be written"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("16,,32", "empty value"),
        ("16,16", "names a value twice"),
        ("choice()", "empty value"),
        ("gauss(0,1)", "none of the ways to search"),
        ("uniform(1)", "takes two bounds"),
        ("uniform(0,1,2,3)", "takes two bounds"),
        ("uniform(1,0)", "below the second"),
        ("uniform(0,nan)", "is no number"),
        ("uniform(0,x)", "'x' is no number"),
        ("int(0,1.5)", "is no whole number"),
        ("loguniform(0,1)", "above 0"),
        ("loguniform(1,2,step=0.1)", "do not go together"),
        ("uniform(0,1,step=2)", "no more than the range"),
        ("int(0,99999999999999999)", "too large"),
    ],
)
def test_what_cannot_be_read_names_the_parameter(text: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem) as raised:
        parse_dimension("lr", text)
    assert "'lr'" in str(raised.value)
    assert raised.value.hint


def test_from_programs_and_yaml() -> None:
    assert dimension_of("a", [16, True, 0.5]) == Choice(("16", "true", "0.5"))
    assert dimension_of("a", 3) == Choice(("3",))
    assert dimension_of("a", "int(1,2)") == Range(low="1", high="2", is_int=True)
    for wrong in (None, {}, []):
        with pytest.raises(InvalidInput):
            dimension_of("a", wrong)


def test_a_grid_has_every_point_once() -> None:
    space = parse_space({"a": "x,y", "b": "int(1,7,step=3)", "c": "z", "d": "uniform(0,1,step=0.1)"})
    size = grid_size(space)
    points = [tuple(grid_point(space, number).items()) for number in range(size)]
    assert size == 2 * 3 * 1 * 11
    assert len(set(points)) == size
    assert dict(points[0]) == {"a": "x", "b": "1", "c": "z", "d": "0"}
    assert dict(points[3])["d"] == "0.3", "no 0.30000000000000004"
    assert dict(points[-1]) == {"a": "y", "b": "7", "c": "z", "d": "1"}
    assert list(searched(space)) == ["a", "b", "d"]


def test_grids_that_are_none() -> None:
    with pytest.raises(InvalidInput, match="'lr' is uniform"):
        grid_size(parse_space({"lr": "uniform(0,1)"}))
    with pytest.raises(InvalidInput, match="points"):
        grid_size(parse_space({"a": "int(1,1000)", "b": "int(1,1000)"}))


def test_chance_is_the_same_for_the_same_number() -> None:
    space = parse_space({"lr": "loguniform(1e-4,1e-1)", "batch": "16,32", "n": "logint(1,64)"})
    points = [random_point(space, seed=1, number=number) for number in range(500)]
    assert points == [random_point(space, seed=1, number=number) for number in range(500)]
    assert points[0] != random_point(space, seed=2, number=0)
    rates = [float(point["lr"]) for point in points]
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    decades = Counter(math.floor(math.log10(rate)) for rate in rates)
    assert min(decades[-4], decades[-3], decades[-2]) > 100, "evenly by the logarithm"
    batches = Counter(point["batch"] for point in points)
    assert min(batches.values()) > 180
    assert {int(point["n"]) for point in points} >= {1, 2, 3, 4}


@given(
    low=st.integers(-1000, 1000),
    width=st.integers(1, 1000),
    step=st.sampled_from([None, "0.1", "1", "0.25"]),
    share=st.floats(0, 1, exclude_max=True),
)
def test_values_lie_within_their_range(low: int, width: int, step: str | None, share: float) -> None:
    dimension = Range(low=str(low), high=str(low + width), step=step)
    value = float(dimension.spread(share))
    assert low <= value <= low + width
    assert float(dimension.nearest(value)) == value
    assert (
        low <= float(dimension.nearest(low - 5)) <= float(dimension.nearest(low + width + 5)) <= low + width
    )


def test_better() -> None:
    assert is_better(1.0, None, Mode.MIN)
    assert is_better(1.0, 2.0, Mode.MIN)
    assert not is_better(1.0, 1.0, Mode.MIN)
    assert is_better(2.0, 1.0, Mode.MAX)
