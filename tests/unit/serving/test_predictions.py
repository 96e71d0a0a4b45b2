"""Predictions as JSON: the values that mlflow's server writes, and JSON for every client."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

import pytest

from trackbridge.serving.predictions import PredictionEncoder


def cases() -> dict[str, Any]:
    import numpy
    import pandas

    return {
        "vector": numpy.array([1.5, 2.0]),
        "matrix": numpy.array([[1, 2], [3, 4]], dtype="int32"),
        "texts": numpy.array(["a", "é"]),
        "objects": numpy.array(["a", 1, None], dtype=object),
        "bytes": numpy.array([True, False]),
        "series": pandas.Series([1, 2], name="y"),
        "nameless series": pandas.Series(["a", "b"]),
        "frame": pandas.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}, index=[7, 8]),
        "float frame": pandas.DataFrame(numpy.array([[1, 2.1]], dtype="float32")),
        "mixed frame": pandas.DataFrame({"a": ["x"], "t": [pandas.Timestamp("2026-01-02T03:04:05")]}),
        "list": [1, "a", None, numpy.float32(0.5), {"k": numpy.int64(3)}],
        "dictionary": {"a": numpy.array([1, 2]), 1: [datetime.date(2026, 1, 2)]},
        "odd keys": {None: 1, True: 2},
        "scalar": numpy.float64(0.25),
        "text": "plain",
        "nothing": None,
    }


@pytest.mark.parametrize("name", [
    "vector", "matrix", "texts", "objects", "bytes", "series", "nameless series", "frame", "float frame",
    "mixed frame", "list", "dictionary", "odd keys", "scalar", "text", "nothing",
])  # fmt: skip
def test_values_are_those_of_mlflow(name: str) -> None:
    from io import StringIO

    from mlflow.pyfunc.scoring_server import predictions_to_json

    value, theirs = cases()[name], StringIO()
    predictions_to_json(value, theirs)
    ours = PredictionEncoder().encode(value, is_wrapped=True)
    assert json.loads(ours) == json.loads(theirs.getvalue())


def test_what_is_no_number_becomes_null() -> None:
    import numpy
    import pandas

    encoder = PredictionEncoder()
    assert (
        encoder.encode(numpy.array([math.nan, math.inf, 1.0]), is_wrapped=True)
        == b'{"predictions":[null,null,1.0]}'
    )
    frame = pandas.DataFrame({"a": [math.nan]})
    assert encoder.encode(frame, is_wrapped=False) == b'[{"a":null}]'
    assert encoder.encode({None: math.nan}, is_wrapped=False) == b'{"null":null}'


def test_what_json_cannot_hold_is_an_error() -> None:
    with pytest.raises(TypeError):
        PredictionEncoder().encode([object()], is_wrapped=True)
