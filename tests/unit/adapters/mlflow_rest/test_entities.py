"""What an MLflow server says of logged models and traces, read and written."""

from __future__ import annotations

from typing import Any

import pytest

from trackbridge_adapters._mlflow_rest.registry import LOGGED_MODEL_SOURCE
from trackbridge_adapters._mlflow_rest.traces import (
    duration_ms_of,
    key_values_of,
    milliseconds_of,
    otlp_of,
    time_of,
)

MODEL = f"m-{'0a' * 16}"


@pytest.mark.parametrize("milliseconds", [0, 1, 999, 1_700_000_000_123, 4_102_444_800_001])
def test_a_time_is_read_as_it_was_written(milliseconds: int) -> None:
    assert milliseconds_of(time_of(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.5Z", 1500),
        ("1970-01-01T00:00:01.000999999Z", 1000),
        ("", 0),
        ("now", 0),
        ("1970-01-01T00:00:01+01:00", 0),
    ],
)
def test_times_of_protobuf_have_up_to_nine_places(text: str, milliseconds: int) -> None:
    assert milliseconds_of(text) == milliseconds


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0s", 0),
        ("0.129s", 129),
        ("12.3s", 12_300),
        ("1.000000001s", 1000),
        (None, None),
        ("", None),
        (3, None),
    ],
)
def test_durations_of_protobuf(text: Any, milliseconds: int | None) -> None:
    assert duration_ms_of(text) == milliseconds


def test_a_span_is_turned_into_that_of_opentelemetry() -> None:
    span = {
        "trace_id": "Hi30mw2AAIEgdd3JNhM7Eg==",
        "span_id": "8f2OenuFHEI=",
        "start_time_unix_nano": 2**62 + 1,
        "attributes": [{"key": "a_b", "value": {"string_value": "c_d"}}],
        "links": [{"trace_id": "Hi30mw2AAIEgdd3JNhM7Eg==", "span_id": "8f2OenuFHEI="}],
    }
    ids = {"traceId": "1e2df49b0d8000812075ddc936133b12", "spanId": "f1fd8e7a7b851c42"}
    assert otlp_of(span) == {
        **ids,
        "startTimeUnixNano": 2**62 + 1,
        "attributes": [{"key": "a_b", "value": {"stringValue": "c_d"}}],
        "links": [ids],
    }


@pytest.mark.parametrize("found", [{"a": "1"}, [{"key": "a", "value": "1"}]])
def test_tags_come_as_an_object_or_as_pairs(found: Any) -> None:
    assert key_values_of({"tags": found}, "tags") == {"a": "1"}
    assert key_values_of({}, "tags") == {}


@pytest.mark.parametrize(
    ("source", "path"),
    [
        (f"models:/{MODEL}", None),
        (f"models:/{MODEL}/", None),
        (f"models:///{MODEL}/sub/model", "sub/model"),
        (f"mlflow-artifacts:/1/models/{MODEL}/artifacts", None),
        (f"s3://b/p/1/models/{MODEL}/artifacts/sub", "sub"),
    ],
)
def test_a_source_of_a_version_names_a_logged_model(source: str, path: str | None) -> None:
    found = LOGGED_MODEL_SOURCE.fullmatch(source)
    assert found is not None
    assert (found["model"], found["path"]) == (MODEL, path)


@pytest.mark.parametrize(
    "source",
    [
        "models:/wine/1",
        f"models:/wine/{MODEL}",
        f"models:/{MODEL}0",
        f"runs:/{MODEL}/x",
        f"s3://b/{MODEL}",
        "",
    ],
)
def test_other_sources_name_none(source: str) -> None:
    assert LOGGED_MODEL_SOURCE.fullmatch(source) is None
