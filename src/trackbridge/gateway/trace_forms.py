"""Traces between mlflow's REST API and our port: times, spans and assessments in protobuf's JSON.

Spans are OpenTelemetry's. Our port has their ids in hexadecimal digits, protobuf's JSON in base64. mlflow's
own file of a trace, ``traces.json``, has their attributes as texts of JSON.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec

from trackbridge.gateway.errors import Refused, invalid

FILE = "traces.json"
"""Where mlflow's clients put the spans of a trace, among its files."""

_IDS = ("traceId", "spanId", "parentSpanId")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_DURATION = re.compile(r"(\d{1,12})(?:\.(\d{1,9}))?s", re.ASCII)


def milliseconds_of(text: str) -> int:
    """Return a time of protobuf's JSON in milliseconds since 1970.

    Raises:
        Refused: It is none.
    """
    found = _TIME.fullmatch(text)
    try:
        if found is None:
            raise ValueError(text)
        year, month, day, hour, minute, second = (int(found[number]) for number in range(1, 7))
        offset = timedelta(hours=int(found[9] or 0), minutes=int(found[10] or 0))
        time = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
        time -= -offset if found[8] == "-" else offset  # which may lead beyond the years that can be told
    except (ValueError, OverflowError) as error:
        raise invalid(f"{text[:80]!r} is no time such as 2026-11-21T19:50:53.727Z") from error
    since = time - _EPOCH
    return since // timedelta(milliseconds=1) + int((found[7] or "0").ljust(9, "0")) // 1_000_000


def time_of(milliseconds: int) -> str:
    """Return milliseconds since 1970 as protobuf's JSON has a time: with three digits, or without any."""
    time = _EPOCH + timedelta(milliseconds=milliseconds)
    rest = f".{milliseconds % 1000:03}" if milliseconds % 1000 else ""
    return f"{time:%Y-%m-%dT%H:%M:%S}{rest}Z"


def duration_ms_of(text: str) -> int:
    """Return a duration of protobuf's JSON in milliseconds.

    Raises:
        Refused: It is none.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise invalid(f"{text[:80]!r} is no duration such as 0.129s")
    return int(found[1]) * 1000 + int((found[2] or "0").ljust(9, "0")) // 1_000_000


def duration_of(milliseconds: int) -> str:
    """Return milliseconds as protobuf's JSON has a duration."""
    rest = f".{milliseconds % 1000:03}" if milliseconds % 1000 else ""
    return f"{milliseconds // 1000}{rest}s"


def told_span(span: Mapping[str, Any]) -> dict[str, Any]:
    """Return a span of our port as protobuf's JSON, of the span and of what it links to."""
    told = dict(span)
    for name in _IDS:
        if told.get(name):
            told[name] = base64.b64encode(bytes.fromhex(told[name])).decode()
    if told.get("links"):
        told["links"] = [told_span(link) for link in told["links"]]
    return told


def spans_of_file(content: bytes) -> list[dict[str, Any]]:
    """Return the spans of mlflow's file of a trace as protobuf's JSON.

    Raises:
        Refused: The file is none that mlflow 3 writes.
    """
    try:
        return [_span_of_file(span) for span in msgspec.json.decode(content)["spans"]]
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise Refused(
            "NOT_IMPLEMENTED", f"the spans of the trace are not in mlflow 3's form; read its file {FILE}"
        ) from error


def _span_of_file(span: dict[str, Any]) -> dict[str, Any]:
    return {
        "traceId": _base64_id(span["trace_id"]),
        "spanId": _base64_id(span["span_id"]),
        "parentSpanId": _base64_id(span.get("parent_span_id") or ""),
        "name": span["name"],
        "startTimeUnixNano": str(span["start_time_unix_nano"]),
        "endTimeUnixNano": str(span.get("end_time_unix_nano") or 0),
        "status": {name: value for name, value in span["status"].items() if value},
        "attributes": [
            {"key": key, "value": _any_value(msgspec.json.decode(text))}
            for key, text in span["attributes"].items()
        ],
        "events": [_event_of_file(event) for event in span.get("events") or ()],
    }


def _event_of_file(event: dict[str, Any]) -> dict[str, Any]:
    attributes = (event.get("attributes") or {}).items()
    return {
        "name": event["name"],
        "timeUnixNano": str(event["time_unix_nano"]),
        "attributes": [{"key": key, "value": _any_value(value)} for key, value in attributes],
    }


def _base64_id(text: str) -> str:
    """Return an id as base64: mlflow 3.5 wrote hexadecimal digits, with ``tr-`` before those of a trace."""
    digits = text.removeprefix("tr-")
    if len(digits) in (16, 32):
        try:
            return base64.b64encode(binascii.unhexlify(digits)).decode()
        except binascii.Error:
            return text
    return text


def _any_value(value: Any) -> dict[str, Any]:
    """Return a value of JSON as OpenTelemetry has values."""
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)} if -(2**63) <= value < 2**63 else {"doubleValue": float(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_any_value(item) for item in value]}}
    if isinstance(value, dict):
        items = [{"key": key, "value": _any_value(item)} for key, item in value.items()]
        return {"kvlistValue": {"values": items}}
    return {"stringValue": str(value)}
