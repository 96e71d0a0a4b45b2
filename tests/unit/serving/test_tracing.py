"""Spans of scored requests: in the caller's trace, with the status of the answer."""

from __future__ import annotations

import pytest

from trackbridge.domain.serving import ServingSettings
from trackbridge.serving.answers import Answer
from trackbridge.serving.tracing import Tracing

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_span_continues_the_trace_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry.exporter.otlp.proto.http import trace_exporter
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.trace import SpanKind, StatusCode

    exporter = InMemorySpanExporter()
    monkeypatch.setattr(trace_exporter, "OTLPSpanExporter", lambda: exporter)
    tracing = Tracing(ServingSettings(model_path=".", name="wine/v1", model="models:/wine/1"))
    tracing.begin({b"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01".encode()}, "one")(Answer(200, b""))
    tracing.begin({b"traceparent": b"nonsense\xff"}, "two")(Answer(500, b""))
    tracing.stop()
    first, second = exporter.get_finished_spans()
    assert first.parent is not None
    assert (f"{first.context.trace_id:032x}", f"{first.parent.span_id:016x}") == (TRACE_ID, SPAN_ID)
    assert (first.kind, first.name) == (SpanKind.SERVER, "POST /invocations")
    assert (
        dict(first.attributes or {}).items()
        >= {"http.response.status_code": 200, "bridge.request_id": "one"}.items()
    )
    assert first.resource.attributes["service.name"] == "wine/v1"
    assert second.parent is None
    assert second.status.status_code is StatusCode.ERROR
