"""Telemetry: one schema, over OTLP as a collector gets it, and as text of a tag."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.support.endpoint_scenes import Scene, new_scene
from trackbridge.domain import telemetry as schema
from trackbridge.domain.deployments import EndpointMetrics
from trackbridge.domain.telemetry import TelemetryPoint, run_metrics
from trackbridge.errors import InvalidInput, NotFound, Unavailable
from trackbridge.operations.telemetry import OtlpExporter, look, summary_text, tag_version
from trackbridge.ports.capabilities import Feature

TIME_MS = 1_790_000_000_000


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = new_scene(tmp_path)
    made.deploy(1)
    made.state.deployments.clock_ms = lambda: 10**13  # what is recorded is within every window
    return made


def point(**metrics: Any) -> TelemetryPoint:
    known = {"deployment": "v2", "requests": 10, "errors": 2, "refused": 1, "window_s": 60, **metrics}
    return TelemetryPoint(
        endpoint="wine",
        deployment="v2",
        model="models:/wine/2",
        target="file:/x",
        time=TIME_MS,
        traffic_percent=25,
        status="READY",
        metrics=EndpointMetrics(**known),
    )


WHOLE = {
    "mirrored": 3,
    "latency_p50_ms": 5.0,
    "latency_p95_ms": 50.0,
    "latency_p99_ms": 90.0,
    "latency_counts": ((10.0, 8), (100.0, 1), (None, 1)),
    "queued": 4,
    "instances": 2,
    "captured": 7,
}


class Collector:
    """A collector of OpenTelemetry that keeps what it gets."""

    def __init__(self) -> None:
        self.status = 200
        self.paths: list[str] = []
        self.requests: list[ExportMetricsServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.paths.append(self.path)
                collector.requests.append(ExportMetricsServiceRequest.FromString(body))
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *about: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def exported(collector: Collector, url: str, *points: TelemetryPoint) -> dict[str, Any]:
    """Export, and return what arrived of the first look by name of the metric."""
    exporter = OtlpExporter(url)
    exporter.export(points)
    exporter.close()
    request = collector.requests[-1]
    assert len(request.resource_metrics) == len(points)
    (scope,) = request.resource_metrics[0].scope_metrics
    return {metric.name: metric for metric in scope.metrics}


def test_a_collector_gets_every_metric_of_the_schema(collector: Collector) -> None:
    found = exported(collector, collector.url, point(**WHOLE))
    assert collector.paths == ["/v1/metrics"]
    assert schema.__doc__ is not None
    rows = re.findall(r"^``(trackbridge\.[a-z.]+)``  +(\w+)  +(\S+)  ", schema.__doc__, re.MULTILINE)
    kinds = {"counter": "sum", "gauge": "gauge", "histogram": "histogram"}
    told = {name: (metric.WhichOneof("data"), metric.unit) for name, metric in found.items()}
    assert told == {name: (kinds[kind], unit) for name, kind, unit in rows}
    resource = collector.requests[-1].resource_metrics[0].resource
    attributes = {item.key: item.value.string_value for item in resource.attributes}
    assert (attributes["service.name"], attributes["trackbridge.model"]) == ("wine/v2", "models:/wine/2")


def test_a_collector_gets_the_figures_of_the_window(collector: Collector) -> None:
    found = exported(collector, f"{collector.url}/otlp/metrics", point(**WHOLE))
    assert collector.paths == ["/otlp/metrics"]
    requests = found["trackbridge.endpoint.requests"].sum
    outcomes = {item.attributes[0].value.string_value: item.as_int for item in requests.data_points}
    assert outcomes == {"ok": 7, "refused": 1, "error": 2}
    assert requests.is_monotonic
    (begun,) = {item.start_time_unix_nano for item in requests.data_points}
    (ended,) = {item.time_unix_nano for item in requests.data_points}
    assert (begun, ended) == ((TIME_MS - 60_000) * 10**6, TIME_MS * 10**6)
    (histogram,) = found["trackbridge.endpoint.duration"].histogram.data_points
    assert list(histogram.explicit_bounds) == [0.01, 0.1]
    assert (list(histogram.bucket_counts), histogram.count) == ([8, 1, 1], 10)
    assert not histogram.HasField("sum")
    quantiles = found["trackbridge.endpoint.duration.p"].gauge.data_points
    assert {item.attributes[0].value.int_value: item.as_double for item in quantiles} == {
        50: 0.005,
        95: 0.05,
        99: 0.09,
    }
    assert found["trackbridge.endpoint.captured"].sum.data_points[0].as_int == 7


def test_what_a_target_does_not_tell_is_left_out(collector: Collector) -> None:
    found = exported(collector, collector.url, point())
    assert set(found) == {f"trackbridge.endpoint.{name}" for name in ("requests", "mirrored", "traffic")}


def test_a_collector_that_refuses_or_is_none(collector: Collector) -> None:
    collector.status = 400
    exporter = OtlpExporter(collector.url)
    with pytest.raises(Unavailable, match="took no metrics"):
        exporter.export([point()])
    exporter.close()
    for url in ("localhost:4318", "ftp://x", "http://", "http://user:hunter2@x:4318"):
        with pytest.raises(InvalidInput) as caught:
            OtlpExporter(url)
        assert "hunter2" not in str(caught.value)


def test_a_look_has_every_deployment(scene: Scene) -> None:
    scene.deploy(2, traffic_percent=10)
    scene.state.deployments.record("wine", "v2", requests=100, errors=7, latency_ms=12.5)
    state, (first, second) = look(scene.place(), "wine", window_s=60)
    assert state.traffic == {"v1": 90, "v2": 10}
    assert (first.metrics.requests, first.error_rate, first.requests_per_s) == (0, 0.0, 0.0)
    assert (second.model, second.traffic_percent, second.error_rate) == ("models:/wine/2", 10, 0.07)
    assert second.requests_per_s == pytest.approx(100 / 60)


def test_a_target_without_telemetry_gives_none(scene: Scene) -> None:
    scene.missing[Feature.DEPLOYMENTS_METRICS] = "not here"
    assert look(scene.place(), "wine", window_s=60)[1] == ()


def test_metrics_of_a_run() -> None:
    found = run_metrics(point(**WHOLE))
    assert found["endpoint/wine/v2/requests"] == 10.0
    assert found["endpoint/wine/v2/error_rate"] == 0.2
    assert "endpoint/wine/v2/queued" in found
    assert not any("queued" in name or "latency" in name for name in run_metrics(point()))


def test_the_version_says_how_it_was_doing(scene: Scene) -> None:
    registry = scene.place().registry
    state, (seen,) = look(scene.place(), "wine", window_s=60)
    found = state.deployments[0]
    for _ in range(2):
        assert tag_version(seen, found, registry, user="anna") == "models:/wine/1"
    tags = registry.get_version("wine", "1").tags
    assert tags["bridge.telemetry.wine.v1"] == summary_text(seen)
    assert len(summary_text(point(**{**WHOLE, "requests": 10**18}))) <= 256
    unknown = msgspec.structs.replace(found, model="azureml://somewhere")
    with pytest.raises(NotFound, match="not known"):
        tag_version(seen, unknown, registry, user="anna")
