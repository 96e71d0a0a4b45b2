"""Payloads of MLflow's servers as Azure's own server takes them, and back."""

from __future__ import annotations

import json

import pytest

from trackbridge.errors import Rejected
from trackbridge_adapters.azureml.deployments_payloads import from_azure, request_from_azure, to_azure

JSON = "application/json"
TABLE = {"columns": ["a", "b"], "index": [0, 1], "data": [[1, "x"], [2, None]]}


def azures(asked: object, content_type: str = JSON) -> object:
    return json.loads(to_azure(json.dumps(asked).encode(), content_type))


def test_a_table_is_one_whatever_way_it_was_written() -> None:
    records = [{"a": 1, "b": "x"}, {"a": 2}]
    assert azures({"dataframe_split": TABLE}) == {"input_data": TABLE}
    assert azures({"dataframe_records": records}) == {"input_data": TABLE}
    assert azures({"instances": records}) == {"input_data": TABLE}
    assert json.loads(to_azure(b"a,b\r\n1,x\r\n2,\r\n", "text/csv; charset=utf-8")) == {"input_data": TABLE}


def test_tensors_stay_tensors_and_params_stay() -> None:
    assert azures({"inputs": [[1.0], [2.0]]}) == {"input_data": [[1.0], [2.0]]}
    assert azures({"instances": {"a": [1]}, "params": {"top": 3}}) == {
        "input_data": {"a": [1]},
        "params": {"top": 3},
    }
    assert azures({"input_data": [1]}) == {"input_data": [1]}


def test_columns_of_csv_have_one_kind_of_value() -> None:
    body = b'whole,part,mixed,flag,quoted\n1,1.5,1,true,"a,b"\n2,,x,false,c\n'
    told = json.loads(to_azure(body, "text/csv"))["input_data"]["data"]
    assert told == [[1, 1.5, "1", True, "a,b"], [2, None, "x", False, "c"]]


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["007", "12"], ["007", "12"]),
        (["0", "-10"], [0, -10]),
        (["0.5", "10"], [0.5, 10.0]),
        (["1_000", "2"], ["1_000", "2"]),
        (["TRUE", "FALSE", "NA"], [True, False, None]),
        (["1", "NA", "N/A", "null", "None", "NaN"], [1, None, None, None, None, None]),
        (["x", "nan"], ["x", None]),
    ],
    ids=str,
)
def test_cells_of_csv_mean_what_pandas_reads(cells: list[str], values: list[object]) -> None:
    body = "\ufeffa,b\n" + "".join(f"{cell},y\n" for cell in cells)
    table = json.loads(to_azure(body.encode(), "text/csv"))["input_data"]
    assert table["columns"] == ["a", "b"], "the mark of the order of bytes is no part of a name"
    assert [(type(row[0]), row[0]) for row in table["data"]] == [(type(value), value) for value in values]


@pytest.mark.parametrize(
    ("payload", "content_type", "reason"),
    [
        (b"", JSON, "no[t]? JSON"),
        (b"\xff\xfe", JSON, "not JSON"),
        (b"[" * 100_000, JSON, "not JSON"),
        (b"null", JSON, "exactly one"),
        (b'{"nonsense": 1}', JSON, "exactly one"),
        (b'{"inputs": 1, "instances": 1}', JSON, "exactly one"),
        (b'{"dataframe_split": [1]}', JSON, "no data"),
        (b'{"dataframe_records": [1]}', JSON, "no list of rows"),
        (b"a,b\n1\n", "text/csv", "different lengths"),
        (b"a,b\n", "text/csv", "no rows"),
        (b"\xff\n1\n", "text/csv", "no CSV"),
        (b"1", "application/x-unknown", "content type"),
    ],
)
def test_what_is_no_payload_is_refused(payload: bytes, content_type: str, reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        to_azure(payload, content_type)


@pytest.mark.parametrize("form", ["dataframe_split", "inputs"])
def test_what_was_kept_is_told_in_mlflows_form(form: str) -> None:
    value = TABLE if form == "dataframe_split" else [[1.0]]
    asked = {form: value, "params": {"top": 3}}
    assert json.loads(request_from_azure(to_azure(json.dumps(asked).encode(), JSON))) == asked


@pytest.mark.parametrize("payload", [b"no JSON", b"[1]", b'{"inputs": [1]}'])
def test_a_request_in_another_form_is_told_as_it_is(payload: bytes) -> None:
    assert request_from_azure(payload) == payload


def test_predictions_have_a_name() -> None:
    assert from_azure(b"[1.0, 2.0]") == b'{"predictions":[1.0,2.0]}'
    assert from_azure('["ü"]'.encode()) == '{"predictions":["ü"]}'.encode()
    assert from_azure(b'{"predictions": [1]}') == b'{"predictions": [1]}'
    assert from_azure(b"no JSON") == b"no JSON"


@pytest.mark.parametrize("answer", [b"[NaN, 1.0, -Infinity]", b'{"predictions": [NaN, 1.0, -Infinity]}'])
def test_what_is_no_json_in_predictions_is_null(answer: bytes) -> None:
    assert from_azure(answer) == b'{"predictions":[null,1.0,null]}'
