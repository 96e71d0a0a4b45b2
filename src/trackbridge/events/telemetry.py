"""OpenTelemetry as a subscriber: events as spans, events and calls of backends as metrics, over OTLP/HTTP.

================================  =========  ==========================================================
metric                            kind       attributes
================================  =========  ==========================================================
``trackbridge.events``            counter    ``trackbridge.event.kind``
``trackbridge.event.duration``    seconds    ``trackbridge.event.kind``, where start and end are known
``trackbridge.call.duration``     seconds    ``adapter``, ``operation``, ``attempt``, ``outcome``
================================  =========  ==========================================================

Where to, and with which headers, is up to OpenTelemetry's own variables (``OTEL_EXPORTER_OTLP_ENDPOINT`` …).
"""

from __future__ import annotations

from typing import Any

from trackbridge._version import __version__
from trackbridge.calls.observe import CallObservation
from trackbridge.domain.events import Event
from trackbridge.events.subscribers import telemetry_problem

SERVICE = "trackbridge"
FLUSH_S = 5.0
ATTRIBUTES_MAX = 64
_NANOSECONDS = 1_000_000  # in a millisecond


class Telemetry:
    """Gathers spans and metrics and exports them in the background; used by a worker process.

    Raises:
        MissingExtra: The packages are not installed.
    """

    def __init__(self) -> None:
        problem = telemetry_problem()
        if problem is not None:
            raise problem
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create({"service.name": SERVICE, "service.version": __version__})
        self._traces = TracerProvider(resource=resource)
        self._traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        self._metrics = MeterProvider(resource=resource, metric_readers=[reader])
        self._tracer = self._traces.get_tracer("trackbridge.events", __version__)
        meter = self._metrics.get_meter("trackbridge.events", __version__)
        self._events = meter.create_counter("trackbridge.events", unit="{event}")
        self._durations = meter.create_histogram("trackbridge.event.duration", unit="s")
        self._calls = meter.create_histogram("trackbridge.call.duration", unit="s")

    def __call__(self, event: Event) -> str:
        """Take an event; it is exported within seconds."""
        start_ms, end_ms = _period(event)
        span = self._tracer.start_span(
            event.kind, start_time=start_ms * _NANOSECONDS, attributes=_attributes(event)
        )
        span.end(end_time=end_ms * _NANOSECONDS)
        kind = {"trackbridge.event.kind": event.kind}
        self._events.add(1, kind)
        if end_ms > start_ms:
            self._durations.record((end_ms - start_ms) / 1000, kind)
        return "taken"

    def observe(self, call: CallObservation) -> None:
        """Take the observation of one attempt of a call."""
        attributes: dict[str, str | int] = {
            "adapter": call.adapter,
            "operation": call.operation,
            "attempt": call.attempt,
            "outcome": call.error or "ok",
        }
        self._calls.record(call.elapsed_s, attributes)

    def flush(self) -> bool:
        """Export what is gathered; return whether all of it was taken in time."""
        timeout_ms = int(FLUSH_S * 1000)
        traces = self._traces.force_flush(timeout_ms)
        return self._metrics.force_flush(timeout_ms) and traces

    def close(self) -> None:
        """Export what is left."""
        self._traces.shutdown()
        self._metrics.shutdown(timeout_millis=FLUSH_S * 1000)


def _period(event: Event) -> tuple[int, int]:
    """Return start and end in milliseconds; an event without a duration is a moment."""
    end_ms = _time_of(event, "end_time") or event.time
    start_ms = _time_of(event, "start_time") or end_ms
    return min(start_ms, end_ms), end_ms


def _time_of(event: Event, name: str) -> int | None:
    value = event.data.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _attributes(event: Event) -> dict[str, Any]:
    """Return what a span may carry: plain values of the data, under ``trackbridge.data``."""
    named = {
        "trackbridge.event.id": event.event_id,
        "trackbridge.event.kind": event.kind,
        "trackbridge.subject": event.subject,
        "trackbridge.source": event.source,
    }
    plain = [(key, value) for key, value in event.data.items() if isinstance(value, (str, int, float, bool))]
    return {**named, **{f"trackbridge.data.{key}": value for key, value in plain[:ATTRIBUTES_MAX]}}
