"""Telemetry of an endpoint: read on any target by one schema, and told to whoever is to know.

See ``trackbridge.domain.telemetry`` for the names.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from trackbridge._version import __version__
from trackbridge.domain.deployments import DeploymentState, EndpointMetrics, EndpointState
from trackbridge.domain.models import ChangeReason
from trackbridge.domain.telemetry import TelemetryPoint
from trackbridge.errors import InvalidInput, MissingExtra, Unavailable
from trackbridge.operations.deploy import now_ms, observed_endpoint
from trackbridge.operations.endpoint_models import version_behind
from trackbridge.operations.opening import Opened
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.registry import ModelRegistry

SCOPE = "trackbridge.endpoint"
EXPORT_S_MAX = 3.0
_NANOSECONDS = 1_000_000  # in a millisecond


def look(place: Opened, endpoint: str, *, window_s: int) -> tuple[EndpointState, tuple[TelemetryPoint, ...]]:
    """Return how an endpoint stands, and the telemetry of each of its deployments over the last seconds.

    A target without telemetry gives no points.

    Raises:
        NotFound: There is no such endpoint.
    """
    state = observed_endpoint(place, endpoint)
    if not place.capabilities.supports(Feature.DEPLOYMENTS_METRICS):
        return state, ()
    found = place.target.read_metrics(endpoint, window_s=window_s)
    time_ms = now_ms()
    return state, tuple(
        _point(place, state, deployment, metrics, time_ms)
        for metrics in found
        if (deployment := state.find(metrics.deployment)) is not None
    )


def _point(
    place: Opened, state: EndpointState, found: DeploymentState, metrics: EndpointMetrics, time_ms: int
) -> TelemetryPoint:
    return TelemetryPoint(
        endpoint=state.endpoint,
        deployment=found.deployment,
        model=found.model,
        target=place.uri,
        time=time_ms,
        traffic_percent=found.traffic_percent,
        status=found.status.value,
        metrics=metrics,
    )


def tag_version(point: TelemetryPoint, found: DeploymentState, registry: ModelRegistry, *, user: str) -> str:
    """Say on the version that a deployment serves how it was doing last; return its reference.

    One tag for each endpoint and deployment, which the next look replaces.

    Raises:
        NotFound: The version is not registered there.
    """
    version = version_behind(found, registry)
    key = f"bridge.telemetry.{point.endpoint}.{point.deployment}"
    registry.set_tags(
        version.name,
        version.version,
        tags={key: summary_text(point)},
        reason=ChangeReason(user=user, why=f"telemetry of {point.endpoint}/{point.deployment}"),
    )
    return f"models:/{version.name}/{version.version}"


def summary_text(point: TelemetryPoint) -> str:
    """Return a look as the text of a tag: at most 256 characters, which every registry takes."""
    metrics = point.metrics
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(point.time / 1000))
    p95 = "" if metrics.latency_p95_ms is None else f" p95_ms={metrics.latency_p95_ms:.1f}"
    text = (
        f"{moment} window_s={metrics.window_s} requests={metrics.requests} errors={metrics.errors} "
        f"refused={metrics.refused}{p95} traffic_percent={point.traffic_percent}"
    )
    return text[:256]


class OtlpExporter:
    """Sends looks to a collector over OTLP/HTTP.

    Args:
        url: Where to; without a path ``/v1/metrics`` is added. None leaves it to OpenTelemetry's own
            variables (``OTEL_EXPORTER_OTLP_ENDPOINT`` …).

    Raises:
        MissingExtra: The packages of the extra ``otel`` are not installed.
        InvalidInput: The URL is none.
    """

    def __init__(self, url: str | None = None) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.sdk.metrics import export
        except ImportError as error:
            raise MissingExtra(
                f"exporting telemetry needs OpenTelemetry, which cannot be imported ({error})",
                hint="pip install 'trackbridge[otel]'",
            ) from error
        self._sdk: Any = export
        self._exporter = OTLPMetricExporter(endpoint=_metrics_url(url), timeout=EXPORT_S_MAX)

    def export(self, points: Iterable[TelemetryPoint]) -> None:
        """Send the metrics of some looks.

        Raises:
            Unavailable: The collector did not take them.
        """
        data = self._sdk.MetricsData([self._resource_metrics(point) for point in points])
        if self._exporter.export(data) is not self._sdk.MetricExportResult.SUCCESS:
            raise Unavailable(
                "the OpenTelemetry collector took no metrics",
                operation="telemetry.export",
                hint="see whether it listens there: OTEL_EXPORTER_OTLP_ENDPOINT, or --otlp URL",
            )

    def close(self) -> None:
        """End the connection."""
        self._exporter.shutdown()

    def _resource_metrics(self, point: TelemetryPoint) -> Any:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        resource = Resource.create(
            {
                "service.name": f"{point.endpoint}/{point.deployment}",
                "service.version": __version__,
                "trackbridge.model": point.model,
                "trackbridge.target": point.target,
            }
        )
        scope = self._sdk.ScopeMetrics(InstrumentationScope(SCOPE, __version__), self._metrics(point), "")
        return self._sdk.ResourceMetrics(resource, [scope], "")

    def _metrics(self, point: TelemetryPoint) -> list[Any]:
        metrics = point.metrics
        good = metrics.requests - metrics.errors - metrics.refused
        outcomes = {"ok": good, "refused": metrics.refused, "error": metrics.errors}
        counts = [
            ("requests", "{request}", {"trackbridge.outcome": outcome}, count)
            for outcome, count in outcomes.items()
        ]
        counts += [("mirrored", "{request}", {}, metrics.mirrored)]
        if metrics.captured is not None:
            counts += [("captured", "{payload}", {}, metrics.captured)]
        latencies = {50: metrics.latency_p50_ms, 95: metrics.latency_p95_ms, 99: metrics.latency_p99_ms}
        gauges = [
            ("duration.p", "s", {"trackbridge.percent": percent}, value / 1000)
            for percent, value in latencies.items()
            if value is not None
        ]
        present = (("queued", "{request}", metrics.queued), ("instances", "{instance}", metrics.instances))
        gauges += [(name, unit, {}, value) for name, unit, value in present if value is not None]
        gauges += [("traffic", "%", {}, point.traffic_percent)]
        found = [*self._grouped(counts, point, self._sum), *self._grouped(gauges, point, self._sdk.Gauge)]
        return [*found, self._histogram(point)] if metrics.latency_counts else found

    def _grouped(self, values: list[Any], point: TelemetryPoint, kind: Any) -> list[Any]:
        """Return one metric for each name, with its points."""
        units = {name: unit for name, unit, _, _ in values}
        return [
            self._sdk.Metric(
                f"{SCOPE}.{name}",
                "",
                unit,
                kind(
                    [
                        self._sdk.NumberDataPoint(attributes, *_span_ns(point), value)
                        for named, _, attributes, value in values
                        if named == name
                    ]
                ),
            )
            for name, unit in units.items()
        ]

    def _sum(self, points: list[Any]) -> Any:
        return self._sdk.Sum(points, self._sdk.AggregationTemporality.DELTA, is_monotonic=True)

    def _histogram(self, point: TelemetryPoint) -> Any:
        counts = point.metrics.latency_counts
        bounds = [bound_ms / 1000 for bound_ms, _ in counts if bound_ms is not None]
        # Sum, least and largest are not known from a histogram, and OTLP lets them be left out.
        buckets = [count for _, count in counts]
        data = self._sdk.HistogramDataPoint(
            {},
            *_span_ns(point),
            count=sum(buckets),
            sum=None,
            bucket_counts=buckets,
            explicit_bounds=bounds,
            min=None,
            max=None,
        )
        histogram = self._sdk.Histogram([data], self._sdk.AggregationTemporality.DELTA)
        return self._sdk.Metric(f"{SCOPE}.duration", "", "s", histogram)


def _span_ns(point: TelemetryPoint) -> tuple[int, int]:
    end_ns = point.time * _NANOSECONDS
    return end_ns - point.metrics.window_s * 1000 * _NANOSECONDS, end_ns


def _metrics_url(url: str | None) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.username or parts.password:
        raise InvalidInput(
            "the address of the OpenTelemetry collector is none, or has a password in it",
            hint="write for example http://localhost:4318; headers go into OTEL_EXPORTER_OTLP_HEADERS",
        )
    return url if parts.path.strip("/") else f"{url.rstrip('/')}/v1/metrics"
