"""Frames built from JSON: whatever is built here is what mlflow's server would have given to the model."""

from __future__ import annotations

import base64
import datetime
import json
import string
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trackbridge.serving.columns import TypedColumns, columns_of
from trackbridge.serving.payloads import frame_of

KINDS = ["boolean", "integer", "long", "float", "double", "string", "binary", "datetime"]
FINE = {
    "boolean": st.booleans(),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False) | st.none(),
    "double": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64) | st.none(),
    "string": st.text(string.printable, max_size=8),
    "binary": st.binary(max_size=8).map(lambda data: base64.b64encode(data).decode()),
    "datetime": st.datetimes(
        min_value=datetime.datetime.fromisoformat("1700-01-01"),
        max_value=datetime.datetime.fromisoformat("2200-01-01"),
    ).map(lambda time: time.isoformat(timespec="microseconds")),
}
ODD = st.sampled_from(
    [None, True, 1, 1.5, -0.0, 2**31, 2**63, 2**70, "1", "", "é", "2020-01-01", [1], {}, "!"]
)


Spec = tuple[str, str, bool]
"""Name, kind, and whether it is required."""


def schema_of(*specs: Spec) -> Any:
    from mlflow.types import ColSpec, DataType, Schema

    return Schema([ColSpec(DataType[kind], name, required=required) for name, kind, required in specs])


@st.composite
def schemas(draw: st.DrawFn) -> list[Spec]:
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    if draw(st.booleans()):
        kinds = [draw(st.sampled_from(["double", "long"]))] * len(kinds)
    required = [True, *(draw(st.booleans()) for _ in kinds[1:])]
    return [(f"c{place}", kind, required[place]) for place, kind in enumerate(kinds)]


@st.composite
def payloads(draw: st.DrawFn, specs: list[Spec], *, are_odd: bool) -> dict[str, Any]:
    names = [name for name, _, required in specs if required or draw(st.booleans())]
    if are_odd and draw(st.booleans()):
        names = draw(st.lists(st.sampled_from([*names, "extra", "c0"]), min_size=1, max_size=5))
    names = draw(st.permutations(names))
    count = draw(st.integers(1, 4))
    kinds = {name: kind for name, kind, _ in specs}
    rows = []
    for _ in range(count):
        row = [draw(FINE[kinds[name]]) if name in kinds else draw(ODD) for name in names]
        if are_odd and draw(st.integers(0, 3)) == 0:
            row[draw(st.integers(0, len(row) - 1))] = draw(ODD)
        rows.append(row)
    form = draw(st.sampled_from(["dataframe_split", "dataframe_records", "inputs", "instances", "columns"]))
    records = [dict(zip(names, row, strict=True)) for row in rows]
    if form == "dataframe_split":
        index = draw(st.none() | st.lists(st.integers(-9, 9), min_size=count, max_size=count))
        return {form: {"columns": list(names), "data": rows, **({} if index is None else {"index": index})}}
    if form == "columns":
        columns = {name: [record[name] for record in records] for name in names}
        return {draw(st.sampled_from(["inputs", "instances"])): columns}
    return {form: records}


def by_mlflow(payload: dict[str, Any], *specs: Spec) -> Any:
    from mlflow.exceptions import MlflowException
    from mlflow.models.utils import _enforce_schema
    from mlflow.pyfunc.scoring_server import infer_and_parse_data

    schema = schema_of(*specs)
    try:
        return _enforce_schema(infer_and_parse_data(payload, schema), schema)
    except (
        MlflowException,
        ValueError,
        TypeError,
        OverflowError,
        KeyError,
        AttributeError,
        IndexError,
    ) as error:
        return error


def by_us(payload: dict[str, Any], *specs: Spec) -> Any:
    columns = columns_of(schema_of(*specs))
    assert columns is not None
    return frame_of(payload, TypedColumns(columns))


PATIENT = settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    database=None,
)


@PATIENT
@given(st.data())
def test_what_is_built_here_is_what_mlflow_builds(data: st.DataObject) -> None:
    import pandas

    specs = data.draw(schemas())
    payload = json.loads(json.dumps(data.draw(payloads(specs, are_odd=True))))
    ours = by_us(payload, *specs)
    if ours is None:
        return  # left to mlflow
    theirs = by_mlflow(payload, *specs)
    assert isinstance(theirs, pandas.DataFrame), f"mlflow refuses: {theirs}"
    pandas.testing.assert_frame_equal(ours, theirs, check_exact=True)


@PATIENT
@given(st.data())
def test_fine_payloads_are_never_left_to_mlflow(data: st.DataObject) -> None:
    specs = data.draw(schemas())
    form = data.draw(st.sampled_from(["dataframe_split", "dataframe_records"]))
    payload = data.draw(payloads(specs, are_odd=False).filter(lambda payload: form in payload))
    assert by_us(payload, *specs) is not None


@pytest.mark.parametrize("form", ["inputs", "instances"])
@pytest.mark.parametrize("value", [{"a": [1.5, 2], "b": [1, 2]}, [{"a": 1.5, "b": 1}, {"a": 2, "b": 2}]])
def test_numbers_in_the_other_forms_are_built_here(form: str, value: Any) -> None:
    frame = by_us({form: value}, ("a", "double", True), ("b", "long", True))
    assert frame.to_dict("list") == {"a": [1.5, 2.0], "b": [1, 2]}
    assert [dtype.name for dtype in frame.dtypes] == ["float64", "int64"]


def test_values_of_a_column_lie_side_by_side_as_pandas_lays_them() -> None:
    split = {"columns": ["c", "b", "a"], "data": [[1, 2, 3], [4, 5, 6]]}
    frame = by_us({"dataframe_split": split}, *((name, "double", True) for name in "abc"))
    assert frame.to_numpy().flags.f_contiguous
    assert frame.iloc[0].tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    "payload",
    [
        {"dataframe_split": {"columns": ["a"], "data": []}},
        {"dataframe_split": {"columns": ["a"], "data": [[1], [1, 2]]}},
        {"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}},
        {"dataframe_split": {"columns": ["a"], "data": [[1]], "more": 1}},
        {"dataframe_split": {"columns": ["a"], "data": [[1]], "index": [1, 2]}},
        {"dataframe_split": {"columns": ["a"], "data": [[1]], "index": ["x"]}},
        {"dataframe_split": {"columns": [1], "data": [[1]]}},
        {"dataframe_split": {"columns": ["a"], "data": [{"a": 1}]}},
        {"dataframe_split": [[1]]},
        {"dataframe_records": {"a": 1}},
        {"dataframe_records": [{"a": 1}, {}]},
        {"dataframe_records": [{"a": True}]},
        {"dataframe_records": [{"a": "1"}]},
        {"dataframe_records": [{"a": 10**400}]},
        {"inputs": [[1.0]]},
        {"inputs": 1},
        {"instances": {"a": [1], "b": [2]}},
        {"dataframe_records": [{"a": 1}], "inputs": [{"a": 1}]},
        {"a": [1]},
        {},
    ],
)
def test_what_is_not_beyond_doubt_is_left_to_mlflow(payload: dict[str, Any]) -> None:
    assert by_us(payload, ("a", "double", True)) is None


def test_only_named_scalar_columns_are_taken() -> None:
    import numpy
    from mlflow.types import ColSpec, Schema, TensorSpec
    from mlflow.types.schema import Array, DataType

    assert columns_of(None) is None
    assert columns_of(Schema([ColSpec("double")])) is None
    assert columns_of(Schema([ColSpec(Array(DataType.double), "a")])) is None
    assert columns_of(Schema([TensorSpec(numpy.dtype("float64"), (-1, 2), "x")])) is None


def test_many_orders_of_columns_do_not_fill_the_memory() -> None:
    columns = TypedColumns(columns_of(schema_of(("a", "double", True))) or [])
    for number in range(1000):
        split = {"columns": ["a", f"extra-{number}"], "data": [[1, 2]]}
        assert columns.from_split(split).to_dict("list") == {"a": [1.0]}
    assert len(columns._orders) <= 64
