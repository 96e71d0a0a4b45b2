"""Spans of requests: in the caller's trace, named for the route, where variables ask for them."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from trackbridge.errors import MissingExtra
from trackbridge.gateway.exchange import Exchange
from trackbridge.gateway.tracing import RequestSpans, is_asked_for

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


async def send(message: dict[str, Any]) -> None:
    raise AssertionError("nothing is sent")


def exchange(**headers: bytes) -> Exchange:
    given = [(name.encode(), value) for name, value in headers.items()]
    return Exchange({"method": "POST", "path": "/x?token=hush", "headers": given, "client": None}, send)


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_variables_decide(variables: dict[str, str], wanted: bool) -> None:
    assert is_asked_for(variables) is wanted


def test_a_span_continues_the_trace_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry.exporter.otlp.proto.http import trace_exporter
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.trace import SpanKind, StatusCode

    exporter = InMemorySpanExporter()
    monkeypatch.setattr(trace_exporter, "OTLPSpanExporter", lambda: exporter)
    spans = RequestSpans()
    first = exchange(traceparent=f"00-{TRACE_ID}-{SPAN_ID}-01".encode())
    end = spans.begin(first)
    first.route, first.status, first.run_id = "runs/log-metric", 200, "r"
    end(first)
    second = exchange(traceparent=b"nonsense\xff")
    end = spans.begin(second)
    second.status = 503
    end(second)
    spans.stop()
    done, failed = exporter.get_finished_spans()
    assert done.parent is not None
    assert (f"{done.context.trace_id:032x}", f"{done.parent.span_id:016x}") == (TRACE_ID, SPAN_ID)
    assert (done.kind, done.name) == (SpanKind.SERVER, "POST runs/log-metric")
    assert done.attributes is not None
    assert done.attributes["http.response.status_code"] == 200
    assert (done.attributes["http.route"], done.attributes["bridge.run_id"]) == ("runs/log-metric", "r")
    assert done.resource.attributes["service.name"] == "trackbridge-gateway"
    assert (failed.parent, failed.name, failed.status.status_code) == (None, "POST", StatusCode.ERROR)
    assert "hush" not in done.to_json() + failed.to_json()


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError("not installed", name=name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra) as caught:
        RequestSpans()
    assert "trackbridge[otel]" in str(caught.value.hint)
