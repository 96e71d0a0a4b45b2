"""OpenTelemetry: what a collector receives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.unit.events.conftest import eventually
from trackbridge.calls.observe import CallObservation
from trackbridge.domain.events import JOB_ENDED, RUN_CLOSED, Event
from trackbridge.errors import MissingExtra
from trackbridge.events import call_observer, publish, publishing, telemetry
from trackbridge.events.telemetry import Telemetry

CALL = CallObservation(adapter="local", operation="tracking.write", attempt=1, elapsed_s=0.25)


class Collector:
    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: dict[str, Any] = {}

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            traces = ExportTraceServiceRequest.FromString(body)
            for resource in traces.resource_spans:
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
            return
        exported = ExportMetricsServiceRequest.FromString(body)
        for resource in exported.resource_metrics:
            for scope in resource.scope_metrics:
                self.metrics.update({metric.name: metric for metric in scope.metrics})


@pytest.fixture
def collector(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers.get("Content-Encoding") in (None, "identity")
            made.take(self.path, body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("BRIDGE_OPENTELEMETRY", "true")
    yield made
    server.shutdown()
    server.server_close()


def event(kind: str = JOB_ENDED, **data: Any) -> Event:
    return Event(event_id="0" * 32, kind=kind, time=10_000, source="file:/x", subject="job", data=data)


def attributes(item: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in item.attributes}


def test_spans_and_metrics(collector: Collector) -> None:
    made = Telemetry()
    made(event(start_time=4_000, end_time=9_000, status="FINISHED", nested={"not": "shown"}))
    made(event())
    made.observe(CALL)
    made.close()
    with_period, moment = collector.spans
    assert with_period.name == JOB_ENDED
    assert (with_period.start_time_unix_nano, with_period.end_time_unix_nano) == (4 * 10**9, 9 * 10**9)
    assert (moment.start_time_unix_nano, moment.end_time_unix_nano) == (10 * 10**9, 10 * 10**9)
    shown = attributes(with_period)
    assert shown["trackbridge.subject"] == "job"
    assert shown["trackbridge.data.status"] == "FINISHED"
    assert "trackbridge.data.nested" not in shown
    (count,) = collector.metrics["trackbridge.events"].sum.data_points
    assert (count.as_int, attributes(count)) == (2, {"trackbridge.event.kind": JOB_ENDED})
    (duration,) = collector.metrics["trackbridge.event.duration"].histogram.data_points
    assert (duration.count, duration.sum) == (1, 5.0)
    (call,) = collector.metrics["trackbridge.call.duration"].histogram.data_points
    assert (call.count, call.sum) == (1, 0.25)
    assert attributes(call) == {
        "adapter": "local",
        "operation": "tracking.write",
        "attempt": 1,
        "outcome": "ok",
    }


@pytest.mark.parametrize(
    "times", [{"start_time": "x"}, {"start_time": 99_999}, {"start_time": True}, {"end_time": -1}]
)
def test_times_that_are_none(times: dict[str, Any], collector: Collector) -> None:
    made = Telemetry()
    made(event(**times))
    made.close()
    assert collector.spans[0].start_time_unix_nano == collector.spans[0].end_time_unix_nano == 10 * 10**9


def test_from_publish_to_the_collector(collector: Collector) -> None:
    publish(RUN_CLOSED, subject="r", data={"status": "FINISHED"})
    observe = call_observer()
    assert observe is not None
    observe(CALL)
    publishing._forget()
    eventually(lambda: collector.spans and "trackbridge.call.duration" in collector.metrics)
    assert collector.spans[0].name == RUN_CLOSED


def test_nothing_is_observed_unless_it_is_on(project: Path) -> None:
    assert call_observer() is None


def test_without_the_packages(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = MissingExtra("not installed", hint="pip install 'trackbridge[otel]'")
    monkeypatch.setattr(telemetry, "telemetry_problem", lambda: missing)
    with pytest.raises(MissingExtra):
        Telemetry()
