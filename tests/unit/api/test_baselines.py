"""The summary of training data: right, bounded, and valid JSON whatever the data holds."""

from __future__ import annotations

import json
import math
import statistics
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import numpy as np  # noqa: TID253
import pandas as pd  # noqa: TID253
import polars as pl  # noqa: TID253
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trackbridge.api import baselines
from trackbridge.api.baselines import baseline_of
from trackbridge.domain.baselines import POINTS_MAX
from trackbridge.errors import InvalidInput


def column(values: list[Any]) -> dict[str, Any]:
    described = baseline_of({"x": values})
    json.dumps(described, allow_nan=False)
    assert described["rows"] == len(values)
    (found,) = described["columns"]
    return dict(found)


def test_numbers() -> None:
    values = [float(value) for value in range(101)]
    found = column([*values, None, math.nan, math.inf])
    assert (found["kind"], found["count"], found["missing"], found["infinite"]) == ("number", 101, 2, 1)
    assert (found["min"], found["max"], found["mean"]) == (0.0, 100.0, 50.0)
    assert found["std"] == pytest.approx(statistics.stdev(values))
    assert found["deciles"] == pytest.approx([10.0 * tenth for tenth in range(11)])
    assert found["edges"] == pytest.approx([5.0 * index for index in range(21)])
    assert found["counts"] == [5] * 19 + [6]


@given(st.lists(st.floats(width=64), min_size=1, max_size=60))
@example([math.nan])
@example([math.nan, math.inf])
def test_any_floats(values: list[float]) -> None:
    found = column(values)
    finite = [value for value in values if math.isfinite(value)]
    assert found["count"] == len(finite)
    assert found["count"] + found["missing"] + found["infinite"] == len(values)
    if finite:
        assert sum(found["counts"]) == len(finite)
        assert len(found["edges"]) == len(found["counts"]) + 1
        assert found["min"] == found["deciles"][0] == found["edges"][0]
        assert found["max"] == found["deciles"][-1] == found["edges"][-1]
        assert found["deciles"] == sorted(found["deciles"])


@given(st.lists(st.one_of(st.none(), st.text(), st.integers(), st.booleans(), st.binary()), max_size=30))
def test_anything(values: list[Any]) -> None:
    column(values)


def test_one_value_and_none() -> None:
    assert column([3]) | {"deciles": 0} == {
        "name": "x",
        "kind": "number",
        "count": 1,
        "missing": 0,
        "infinite": 0,
        "distinct": 1,
        "mean": 3.0,
        "std": 0.0,
        "min": 3.0,
        "max": 3.0,
        "deciles": 0,
        "edges": [3.0, 3.0],
        "counts": [1],
        "cumulative": [[3.0, 1]],
    }
    assert column([None, None]) == {
        "name": "x",
        "kind": "text",
        "count": 0,
        "missing": 2,
        "distinct": 0,
        "top": [],
        "other": 0,
    }


def test_texts_are_bounded() -> None:
    found = column(["a" * 1000] * 3 + [str(number) for number in range(200)] + ["\ud800"])
    assert found["top"][0] == ["a" * 100, 3]
    assert (found["distinct"], len(found["top"]), found["other"]) == (202, 50, 152)


def test_booleans_and_times() -> None:
    assert column([True, False, True])["top"] == [["true", 2], ["false", 1]]
    moment = datetime(2024, 5, 1, tzinfo=timezone.utc)
    assert column([moment, moment.replace(tzinfo=None), date(2024, 5, 1)])["kind"] == "time"
    assert column([moment])["min"] == moment.timestamp() * 1000


def test_frames_arrays_and_columns_agree() -> None:
    data = {"a": [1.0, 2.0, 4.0], "b": ["x", "y", "x"]}
    assert baseline_of(pd.DataFrame(data)) == baseline_of(pl.DataFrame(data)) == baseline_of(data)
    array = np.array([[1.0], [2.0], [4.0]])
    by_array = baseline_of(array)["columns"][0]
    assert {**by_array, "name": "a"} == baseline_of(data)["columns"][0]
    assert len(baseline_of(np.zeros((4, 2, 3)))["columns"]) == 6


def test_categories_and_missing_times_of_pandas() -> None:
    frame = pd.DataFrame(
        {"c": pd.Categorical(["a", None, "a"]), "t": pd.to_datetime(["2024-05-01", None, "2024-05-02"])}
    )
    category, time = baseline_of(frame)["columns"]
    assert (category["top"], category["missing"]) == ([["a", 2]], 1)
    assert (time["kind"], time["count"], time["missing"]) == ("time", 2, 1)


def test_large_data_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "ROWS_MAX", 100)
    monkeypatch.setattr(baselines, "COLUMNS_MAX", 3)
    array = np.tile(np.arange(1000.0)[:, None], (1, 5))
    for data in (array, pd.DataFrame(array), pl.DataFrame(array)):
        found = baseline_of(data)
        assert (found["rows"], found["rows_sampled"], found["columns_left_out"]) == (1000, 100, 2)
        assert [item["count"] for item in found["columns"]] == [100, 100, 100]
        assert (found["columns"][0]["min"], found["columns"][0]["max"]) == (0.0, 999.0)


@pytest.mark.parametrize("data", [3, "text", [1, 2], None])
def test_what_is_no_table(data: Any) -> None:
    with pytest.raises(InvalidInput):
        baseline_of(data)


def test_decimals_that_are_no_numbers_are_missing() -> None:
    found = column([Decimal("sNaN"), Decimal("NaN"), Decimal("1.5"), Decimal("Infinity")])
    assert (found["kind"], found["missing"], found["count"], found["infinite"]) == ("number", 2, 1, 1)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=300))
def test_the_distribution_is_kept(values: list[float]) -> None:
    found = column(values)["cumulative"]
    assert all(count == sum(value <= point for value in values) for point, count in found)
    assert found == sorted(found)
    assert found[-1] == [max(values), len(values)]
    different = len(set(values))
    assert len(found) == different if different <= POINTS_MAX else len(found) <= POINTS_MAX


@pytest.mark.parametrize(
    ("predictions", "names"),
    [
        ([1.0, 2.0], ["prediction"]),
        (np.array([1, 2]), ["prediction"]),
        (np.array([[1], [2]]), ["prediction"]),
        (pd.Series([1, 2]), ["prediction"]),
        (pl.Series([1, 2]), ["prediction"]),
        (np.array([[1, 2], [3, 4]]), ["0", "1"]),
        (pd.DataFrame({"label": ["a", "b"], "p": [0.1, 0.2]}), ["label", "p"]),
    ],
)
def test_predictions_are_summed_up_beside(predictions: Any, names: list[str]) -> None:
    described = baseline_of({"x": [1, 2]}, predictions)
    assert [found["name"] for found in described["predictions"]] == names
    assert all(found["count"] == 2 for found in described["predictions"])
    json.dumps(described, allow_nan=False)
