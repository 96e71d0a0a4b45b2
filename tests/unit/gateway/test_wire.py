"""Requests as mlflow's server reads them, and answers as it writes them."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest

from trackbridge.gateway import wire
from trackbridge.gateway.errors import Refused
from trackbridge.gateway.metrics import GetMetricHistoryBulkInterval
from trackbridge.gateway.runs_api import LogBatch, LogMetric, NamedRun
from trackbridge.gateway.searches import SearchRuns

POINT = {"run_id": "r", "key": "loss", "value": 0.5, "timestamp": 3}


def decoded(kind: type[wire.Request], body: Any) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return wire.decode(kind, method="POST", body=content, content_type="application/json")


def refusal(kind: type[wire.Request], body: Any, **more: Any) -> str:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"method": "POST", "content_type": "application/json", **more}
    with pytest.raises(Refused) as caught:
        wire.decode(kind, body=content, **given)
    assert caught.value.code == "INVALID_PARAMETER_VALUE"
    return caught.value.message


@pytest.mark.parametrize("timestamp", [7, "7", 7.0])
def test_whole_numbers_come_as_numbers_or_texts(timestamp: object) -> None:
    assert decoded(LogMetric, {**POINT, "timestamp": timestamp}).timestamp == 7


@pytest.mark.parametrize(
    ("told", "value"),
    [("NaN", math.nan), ("Infinity", math.inf), ("-Infinity", -math.inf), ("0.25", 0.25), (3, 3.0)],
)
def test_floats_that_json_lacks_come_as_texts(told: object, value: float) -> None:
    found = decoded(LogMetric, {**POINT, "value": told}).value
    assert found == value or (math.isnan(found) and math.isnan(value))


def test_a_bare_nan_is_taken_though_json_has_none() -> None:
    body = json.dumps({**POINT, "value": math.nan}).encode()
    assert b"NaN" in body
    assert math.isnan(decoded(LogMetric, body).value)


def test_fields_may_be_in_camel_case_also_below() -> None:
    found = decoded(LogBatch, {"runId": "r", "metrics": [{"key": "a", "modelId": "m-1"}]})
    assert found.run_id == "r"
    assert found.metrics[0].model_id == "m-1"


def test_a_field_named_both_ways_is_refused() -> None:
    assert "both 'run_id' and 'runId'" in refusal(NamedRun, {"run_id": "a", "runId": "b"})


def test_null_is_absent_and_what_is_unknown_is_ignored() -> None:
    found = decoded(LogMetric, {**POINT, "step": None, "colour": {"is": ["unknown"]}})
    assert found.step is None


def test_an_older_client_encodes_its_body_twice() -> None:
    assert decoded(NamedRun, json.dumps(json.dumps({"run_id": "r"})).encode()).run_id == "r"


def test_the_old_name_of_a_run_will_do() -> None:
    assert decoded(NamedRun, {"run_uuid": "r"}).run_id == "r"


@pytest.mark.parametrize("name", ["run_id", "key", "value", "timestamp"])
@pytest.mark.parametrize("absence", [{}, {"x": None}, {"x": ""}])
def test_what_is_required_must_be_there(name: str, absence: dict[str, object]) -> None:
    body = {field: value for field, value in POINT.items() if field != name}
    body.update(dict.fromkeys([name] * len(absence), absence.get("x")))
    if name in ("value", "timestamp") and absence.get("x") == "":
        assert f"'{name}'" in refusal(LogMetric, body)  # no number
    else:
        assert refusal(LogMetric, body).startswith(f"Missing value for required parameter '{name}'.")


def test_a_wrong_type_is_named_with_the_value() -> None:
    told = refusal(LogMetric, {**POINT, "value": "high"})
    assert told.startswith("Invalid value \"high\" for parameter 'value' supplied:")
    assert "'metrics[1].key'" in refusal(LogBatch, {"run_id": "r", "metrics": [{"key": "a"}, {"key": 1}]})


@pytest.mark.parametrize(
    "body",
    [b"{", b"[1]", b"7", b"\xff\xfe", b'{"run_id": "\\ud800"}x', b"[" * 100_000, b'"' + b"\\" * 9 + b'"'],
)
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    assert refusal(NamedRun, body)


def test_content_type_is_demanded_of_bodies() -> None:
    assert "Content-Type header is missing" in refusal(NamedRun, {"run_id": "r"}, content_type=None)
    assert "must be one of" in refusal(NamedRun, {"run_id": "r"}, content_type="text/plain")
    wire.decode(
        NamedRun, method="POST", body=b'{"run_id": "r"}', content_type="application/json; charset=utf-8"
    )


def test_a_query_repeats_lists_and_has_numbers_as_texts() -> None:
    query = [
        ("run_ids", "a"),
        ("metric_key", "m"),
        ("run_ids", "b"),
        ("max_results", "5"),
        ("max_results", "6"),
    ]
    found = wire.decode(GetMetricHistoryBulkInterval, method="GET", query=query)
    assert (found.run_ids, found.metric_key, found.max_results) == (["a", "b"], "m", 5)


def test_parts_of_the_path_win_over_the_query() -> None:
    found = wire.decode(NamedRun, method="GET", query=[("run_id", "a")], path_parameters={"run_id": "b"})
    assert found.run_id == "b"


def test_an_answer_leaves_out_what_is_not_set() -> None:
    class Held(wire.Answer):
        key: str
        step: int | None = None
        tags: list[str] = msgspec.field(default_factory=list)

    assert wire.encode(Held("a")) == b'{"key":"a"}'
    assert wire.encode(wire.EMPTY) == b"{}"
    assert wire.encode(b"{}") == b"{}"


def test_numbers_that_json_lacks_are_texts() -> None:
    assert [wire.number(value) for value in (0.5, math.nan, math.inf, -math.inf)] == [
        0.5,
        "NaN",
        "Infinity",
        "-Infinity",
    ]


@pytest.mark.parametrize(
    ("given", "name"), [(None, "ACTIVE_ONLY"), (2, "DELETED_ONLY"), ("3", "ALL"), ("ALL", "ALL")]
)
def test_enumerations_come_by_name_or_number(given: str | int | None, name: str) -> None:
    assert wire.view_of(given) == name


def test_an_unknown_word_of_an_enumeration_is_refused() -> None:
    with pytest.raises(Refused, match="ACTIVE_ONLY"):
        wire.view_of("4")
    with pytest.raises(Refused):
        wire.view_of("1" * 5000)
    assert decoded(SearchRuns, {"run_view_type": "NONE"}).run_view_type == "NONE"  # the handler's to say
