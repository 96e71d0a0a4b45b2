"""Bodies of log-batch: the JSON that they are, for every value and text."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackbridge.domain.batches import MetricColumns
from trackbridge.domain.runs import LifecycleStage, RunInputs, RunStatus
from trackbridge.testing.contracts.samples import INT64_MAX, INT64_MIN, bits_of
from trackbridge_adapters._mlflow_rest.batches import log_batch_body
from trackbridge_adapters._mlflow_rest.conversions import (
    inputs_of,
    milliseconds,
    number_of,
    stage_of,
    status_of,
    value_text,
)

int64 = st.integers(INT64_MIN, INT64_MAX)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
points = st.lists(st.tuples(st.floats(), int64, int64), max_size=5)


def columns_of(rows: list[tuple[float, int, int]]) -> MetricColumns:
    columns = MetricColumns()
    for number, (value, timestamp, step) in enumerate(rows):
        columns.append(step=step, timestamp=timestamp, value=value, sequence=number)
    return columns


@given(st.dictionaries(texts, points), st.dictionaries(texts, texts), st.dictionaries(texts, texts))
def test_a_body_says_exactly_what_it_was_given(metrics, params, tags):
    columns = {key: columns_of(rows) for key, rows in metrics.items()}
    body = json.loads(log_batch_body("r" * 32, columns, params.items(), tags.items()))
    assert body["run_id"] == "r" * 32
    found = [(item["key"], item["timestamp"], item["step"]) for item in body.get("metrics", [])]
    expected = [(key, row) for key, rows in metrics.items() for row in rows]
    assert found == [(key, row[1], row[2]) for key, row in expected]
    values = [number_of(item["value"]) for item in body.get("metrics", [])]
    assert all(
        bits_of(value) == bits_of(row[0]) or (math.isnan(value) and math.isnan(row[0]))
        for value, (_, row) in zip(values, expected, strict=True)
    )
    assert {item["key"]: item["value"] for item in body.get("params", [])} == params
    assert {item["key"]: item["value"] for item in body.get("tags", [])} == tags


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), '"NaN"'),
        (float("inf"), '"Infinity"'),
        (float("-inf"), '"-Infinity"'),
        (-0.0, "-0.0"),
        (5e-324, "5e-324"),
        (0.1, "0.1"),
    ],
)
def test_values_as_the_protocol_wants_them(value, text):
    assert value_text(value) == text
    assert bits_of(number_of(json.loads(text))) == bits_of(value)


def test_what_servers_leave_out_or_write_as_texts():
    assert (milliseconds(None), milliseconds(""), milliseconds(0), milliseconds("0")) == (None,) * 4
    assert milliseconds("1700000000000") == 1_700_000_000_000
    assert (status_of("FINISHED"), status_of(None)) == (RunStatus.FINISHED, RunStatus.SCHEDULED)
    assert status_of("SOMETHING_NEW") is RunStatus.SCHEDULED
    assert stage_of(None) is LifecycleStage.ACTIVE
    assert inputs_of(None) == RunInputs()
