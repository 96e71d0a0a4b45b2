"""The sink ``otlp``: the figures of scoring servers as OpenTelemetry metrics, over OTLP/HTTP.

====================================  ==========  =========  ==============================================
metric                                kind        unit       attributes
====================================  ==========  =========  ==============================================
``trackbridge.endpoint.requests``     counter     {request}  ``trackbridge.outcome``, and the status
``trackbridge.endpoint.duration``     histogram   s          none
``trackbridge.endpoint.captured``     counter     {payload}  none
``trackbridge.endpoint.queued``       gauge       {request}  none
``trackbridge.endpoint.predictions``  counter     {row}      none
``trackbridge.endpoint.scoring``      counter     s          none
====================================  ==========  =========  ==============================================

The first four are as in ``trackbridge.domain.telemetry``, told by the server itself instead of its platform.
Each window is a delta, from its begin to its end. The resource is the deployment (``service.name``) with its
model (``trackbridge.model``); ``trackbridge.target`` is ``server``. A request is a span of kind server. Where
to is said by OpenTelemetry's own variables, such as ``OTEL_EXPORTER_OTLP_ENDPOINT``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from trackbridge._version import __version__
from trackbridge.domain.serving import ScoredRequest, TelemetryWindow
from trackbridge.errors import Unavailable
from trackbridge.events.subscribers import telemetry_problem

SCOPE = "trackbridge.serving"
PREFIX = "trackbridge.endpoint"
TARGET = "server"
EXPORT_S = 10
_NANOSECONDS = 1_000_000  # in a millisecond


class OtlpSink:
    """Exports each window as it comes.

    Raises:
        MissingExtra: The packages of the extra ``otel`` are not installed.
    """

    def __init__(self) -> None:
        problem = telemetry_problem()
        if problem is not None:
            raise problem
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import export

        self._sdk: Any = export
        self._exporter = OTLPMetricExporter(timeout=EXPORT_S)
        self._tracers: dict[tuple[str, str], Any] = {}
        self._providers: list[Any] = []

    def on_window(self, window: TelemetryWindow) -> None:
        """Export the figures of a window.

        Raises:
            Unavailable: The collector did not take them.
        """
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        sdk = self._sdk
        metrics = [sdk.Metric(name, text, unit, data) for name, text, unit, data in self._metrics(window)]
        scope = sdk.ScopeMetrics(InstrumentationScope(SCOPE, __version__), metrics, "")
        found = sdk.ResourceMetrics(_resource(window.name, window.model), [scope], "")
        if self._exporter.export(sdk.MetricsData([found])) is not sdk.MetricExportResult.SUCCESS:
            raise Unavailable(
                "the OpenTelemetry collector took no metrics",
                operation="telemetry.export",
                hint="see OTEL_EXPORTER_OTLP_ENDPOINT",
            )

    def on_request(self, request: ScoredRequest) -> None:
        """Take a request as a span; it is exported within seconds."""
        trace = import_module("opentelemetry.trace")  # of the package opentelemetry-api, whatever its name

        end_ns = request.time_ms * _NANOSECONDS
        span = self._tracer(request.name, request.model).start_span(
            "POST /invocations",
            kind=trace.SpanKind.SERVER,
            start_time=end_ns - int(request.duration_ms * _NANOSECONDS),
            attributes={
                "http.request.method": "POST",
                "url.path": "/invocations",
                "http.response.status_code": request.status,
                "http.request.body.size": request.request_bytes,
                "http.response.body.size": request.response_bytes,
                "bridge.request_id": request.request_id,
                "bridge.rows": request.rows,
                "bridge.scoring_ms": request.scoring_ms,
            },
        )
        if request.status >= 500:
            span.set_status(trace.Status(trace.StatusCode.ERROR))
        span.end(end_time=end_ns)

    def close(self) -> None:
        """Export what is left."""
        for provider in self._providers:
            provider.shutdown()

    def _tracer(self, name: str, model: str) -> Any:
        if (name, model) not in self._tracers:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            provider = TracerProvider(resource=_resource(name, model))
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            self._providers.append(provider)
            self._tracers[name, model] = provider.get_tracer(SCOPE, __version__)
        return self._tracers[name, model]

    def _metrics(self, window: TelemetryWindow) -> list[tuple[str, str, str, Any]]:
        end_ns = window.time_ms * _NANOSECONDS
        span_ns = (end_ns - int(window.window_s * 1000) * _NANOSECONDS, end_ns)
        requests = [
            self._sdk.NumberDataPoint(_outcome(int(status)), *span_ns, count)
            for status, count in window.statuses.items()
        ]
        totals = (
            ("scoring", "Time that the model was at work.", "s", window.scoring_ms / 1000),
            ("predictions", "Predictions that were made.", "{row}", window.rows),
            ("captured", "Payloads that were kept.", "{payload}", window.captured),
        )
        queued = self._sdk.Gauge([self._sdk.NumberDataPoint({}, *span_ns, window.queued_max)])
        return [
            (f"{PREFIX}.requests", "Answered requests.", "{request}", self._sum(requests)),
            (
                f"{PREFIX}.duration",
                "From the head of a request to its answer.",
                "s",
                self._histogram(window, span_ns),
            ),
            *(
                (
                    f"{PREFIX}.{name}",
                    text,
                    unit,
                    self._sum([self._sdk.NumberDataPoint({}, *span_ns, value)]),
                )
                for name, text, unit, value in totals
            ),
            (f"{PREFIX}.queued", "Most requests that waited at once.", "{request}", queued),
        ]

    def _sum(self, points: list[Any]) -> Any:
        return self._sdk.Sum(points, self._sdk.AggregationTemporality.DELTA, is_monotonic=True)

    def _histogram(self, window: TelemetryWindow, span_ns: tuple[int, int]) -> Any:
        bounds = [bound_ms / 1000 for bound_ms, _ in window.latency_counts if bound_ms is not None]
        counts = [count for _, count in window.latency_counts]
        point = self._sdk.HistogramDataPoint(
            {},
            *span_ns,
            count=window.requests,
            sum=window.latency_sum_ms / 1000,
            bucket_counts=counts,
            explicit_bounds=bounds,
            min=window.latency_min_ms / 1000,
            max=window.latency_max_ms / 1000,
        )
        return self._sdk.Histogram([point], self._sdk.AggregationTemporality.DELTA)


def _outcome(status: int) -> dict[str, str | int]:
    kind = "error" if status >= 500 else "refused" if status >= 400 else "ok"
    return {"trackbridge.outcome": kind, "http.response.status_code": status}


def _resource(name: str, model: str) -> Any:
    from opentelemetry.sdk.resources import Resource

    return Resource.create({"service.name": name, "trackbridge.model": model, "trackbridge.target": TARGET})
