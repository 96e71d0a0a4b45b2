"""One OpenTelemetry span for each scored request; imported only when settings ask for it.

Where spans go is said by OpenTelemetry's own variables (``OTEL_EXPORTER_OTLP_ENDPOINT`` …).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from trackbridge.domain.serving import ServingSettings
from trackbridge.serving.answers import Answer
from trackbridge.serving.packages import require

STOP_S = 1.0


class Tracing:
    """Spans of kind server, continuing the trace that ``traceparent`` names."""

    def __init__(self, settings: ServingSettings) -> None:
        sdk = require("opentelemetry.sdk.trace", extra="otel")
        export = require("opentelemetry.sdk.trace.export", extra="otel")
        otlp = require("opentelemetry.exporter.otlp.proto.http.trace_exporter", extra="otel")
        resources = require("opentelemetry.sdk.resources", extra="otel")
        self._propagate = require("opentelemetry.propagate", extra="otel")
        self._trace = require("opentelemetry.trace", extra="otel")
        attributes = {"service.name": settings.name, "bridge.model": settings.model}
        self._provider = sdk.TracerProvider(resource=resources.Resource.create(attributes))
        self._provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("trackbridge.serving")

    def begin(self, headers: dict[bytes, bytes], request_id: str) -> Callable[[Answer], None]:
        """Begin a span; what is returned ends it."""
        names = (b"traceparent", b"tracestate", b"baggage")
        carrier = {name.decode(): headers[name].decode("latin-1") for name in names if name in headers}
        span: Any = self._tracer.start_span(
            "POST /invocations",
            context=self._propagate.extract(carrier),
            kind=self._trace.SpanKind.SERVER,
            attributes={
                "http.request.method": "POST",
                "url.path": "/invocations",
                "bridge.request_id": request_id,
            },
        )

        def end(answer: Answer) -> None:
            span.set_attribute("http.response.status_code", answer.status)
            if answer.status >= 500:
                span.set_status(self._trace.Status(self._trace.StatusCode.ERROR))
            span.end()

        return end

    def stop(self) -> None:
        """Send what waits, for a short while: a collector that is away delays no end."""
        thread = threading.Thread(target=self._provider.shutdown, name="tracing", daemon=True)
        thread.start()
        thread.join(STOP_S)
