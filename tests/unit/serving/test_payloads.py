"""JSON bodies: what is refused, with which words; and the forms of the protocol."""

from __future__ import annotations

import math
from typing import Any

import pytest

from trackbridge.serving.answers import Refusal
from trackbridge.serving.payloads import parse_json, with_azure_form


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b'{"inputs": [1,', "truncated"),
        (b'{"inputs": [1]} x', r"trailing characters \(byte 17\)"),
        (b'{"inputs": [1] "a"}', r"byte 15"),
        (b"{'inputs': [1]}", r"byte 1\)"),
        (b'{"inputs": ["\xff"]}', "must be UTF-8"),
        (b'\xef\xbb\xbf{"inputs": [1]}', r"byte 0"),
        (b'{"inputs": ["\\ud800"]}', "JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"inputs": ' + b"[" * 100_000 + b"NaN" + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"inputs": [1e999]}', "out of range"),
        (b"{" + b'"a":' + b"9" * 100_000 + b"}", "JSON"),
        (b'{"inputs": [NaN}', "Expecting"),
        (b"[1]", "a list"),
        (b'"text"', "a string"),
        (b"1", "a int"),
        (b"null", "null"),
        (b'{"inputs": [1], "inputs": [2]}', "'inputs' stands twice"),
        (b'{"dataframe_split": {"columns": ["a"], "data": [], "data": [[1]]}}', "'data' stands twice"),
        (b'{"dataframe_records": [{"a": 1}, {"a": 1, "a": 2}]}', "'a' stands twice"),
        (b'{"inputs": [[{"b:": {"c": 1, "c": 2}}]]}', "'c' stands twice"),
    ],
)
def test_what_is_no_json_dictionary_is_refused_and_told_where(body: bytes, message: str) -> None:
    with pytest.raises(Refusal, match=message) as caught:
        parse_json(body)
    assert caught.value.status == 400
    assert caught.value.error_code == "BAD_REQUEST"
    assert len(caught.value.message) < 5000


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": [{"a:b": ": : :"}], "params": {"c": {"d:": [":"]}}}',
        b'{ "dataframe_split" : { "columns" : [ "a:" ] , "data" : [ [ "10:30" ] ] } }',
    ],
)
def test_colons_in_texts_are_no_repeated_keys(body: bytes) -> None:
    assert parse_json(body)


def test_huge_integers_stay_exact() -> None:
    assert parse_json(b'{"inputs": [123456789012345678901234567890]}') == {
        "inputs": [123456789012345678901234567890]
    }


def test_missing_values_are_taken_as_the_client_of_mlflow_writes_them() -> None:
    value = parse_json(b'{"inputs": [NaN, Infinity, -Infinity, "NaN"]}')["inputs"]
    assert math.isnan(value[0])
    assert value[1:] == [math.inf, -math.inf, "NaN"]


SPLIT = {"columns": ["a"], "index": [0], "data": [[1]]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"input_data": SPLIT, "params": {"k": 1}}, {"dataframe_split": SPLIT, "params": {"k": 1}}),
        ({"input_data": {"data": [[1]]}}, {"dataframe_split": {"data": [[1]]}}),
        ({"input_data": [{"a": 1}]}, {"dataframe_records": [{"a": 1}]}),
        ({"input_data": [[1, 2]]}, {"inputs": [[1, 2]]}),
        ({"input_data": {"a": [1]}}, {"inputs": {"a": [1]}}),
        ({"input_data": [1], "inputs": [2]}, {"input_data": [1], "inputs": [2]}),
        ({"inputs": [2]}, {"inputs": [2]}),
    ],
)
def test_the_form_of_azure_is_translated(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert with_azure_form(given) == expected
