"""One OpenTelemetry span for each request, where the extra ``otel`` is there and its variables say where to.

A span continues the trace that the client's ``traceparent`` names.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from trackbridge.errors import MissingExtra
from trackbridge.gateway.exchange import Exchange

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""One of these asks for spans."""
CARRIED = (b"traceparent", b"tracestate", b"baggage")
STOP_S = 1.0


def is_asked_for(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether OpenTelemetry's variables name a receiver of spans."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() == "none":
        return False
    return any(environ.get(name) for name in ENDPOINTS)


class RequestSpans:
    """Spans of kind server.

    Raises:
        MissingExtra: The extra ``otel`` is not installed.
    """

    def __init__(self) -> None:
        try:
            from opentelemetry import propagate, trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise MissingExtra(
                f"OTEL_* variables ask for traces, but {error.name} cannot be imported",
                hint="pip install 'trackbridge[otel]', or set OTEL_SDK_DISABLED=true",
            ) from error
        self._propagate, self._trace = propagate, trace
        name = os.environ.get("OTEL_SERVICE_NAME", "trackbridge-gateway")
        self._provider = TracerProvider(resource=Resource.create({"service.name": name}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("trackbridge.gateway")

    def begin(self, exchange: Exchange) -> Callable[[Exchange], None]:
        """Begin the span of a request; what is returned ends it."""
        headers = exchange.headers
        carrier = {name.decode(): headers[name].decode("latin-1") for name in CARRIED if name in headers}
        span: Any = self._tracer.start_span(
            exchange.method,
            context=self._propagate.extract(carrier),
            kind=self._trace.SpanKind.SERVER,
            attributes={
                "http.request.method": exchange.method,
                "bridge.request_id": exchange.request_id.decode("ascii"),
            },
        )

        def end(ended: Exchange) -> None:
            if ended.route:
                span.update_name(f"{ended.method} {ended.route}")
                span.set_attribute("http.route", ended.route)
            span.set_attribute("http.response.status_code", ended.status)
            if ended.run_id:
                span.set_attribute("bridge.run_id", ended.run_id)
            if ended.status >= 500:
                span.set_status(self._trace.Status(self._trace.StatusCode.ERROR))
            span.end()

        return end

    def stop(self) -> None:
        """Send what waits, for a short while: a receiver that is away delays no end."""
        thread = threading.Thread(target=self._provider.shutdown, name="tracing", daemon=True)
        thread.start()
        thread.join(STOP_S)
