"""Telemetry sinks: who is one, what it is handed, and what Application Insights and a collector receive."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from trackbridge.domain.events import REQUESTS_ANSWERED, REQUESTS_SCORED, RUN_CLOSED, TEST, Event
from trackbridge.domain.serving import ScoredRequest, TelemetryWindow
from trackbridge.errors import AuthError, BridgeError, ConfigError, Rejected, Unavailable
from trackbridge.events.sink_application_insights import (
    VARIABLE,
    ApplicationInsightsSink,
    read_connection_string,
)
from trackbridge.events.sink_otlp import OtlpSink
from trackbridge.events.sinks import SinkSubscriber, TelemetrySink, load_sink, window_of
from trackbridge.events.subscribers import SINKS_GROUP, SubscriberKind, find_subscriber, read_subscribers
from trackbridge.resolve.config import Settings

WINDOW = TelemetryWindow(
    name="wine/v2",
    model="models:/wine/2",
    time_ms=1_700_000_010_000,
    window_s=10.0,
    requests=6,
    errors=1,
    refused=2,
    latency_p50_ms=2.0,
    latency_p95_ms=30.0,
    latency_p99_ms=40.0,
    latency_sum_ms=80.5,
    latency_min_ms=0.5,
    latency_max_ms=40.0,
    latency_counts=((1.0, 1), (5.0, 3), (None, 2)),
    statuses={"200": 3, "400": 2, "500": 1},
    rows=30,
    scoring_ms=21.0,
    queued_max=4,
    captured=3,
)
REQUEST = ScoredRequest(
    name="wine/v2",
    model="models:/wine/2",
    request_id="r-1",
    time_ms=1_700_000_010_000,
    status=200,
    duration_ms=93_784_005.25,  # a day, two hours, three minutes and four seconds
    scoring_ms=2.5,
    rows=10,
    request_bytes=100,
    response_bytes=50,
)


def event(kind: str, data: dict[str, Any], time: int = WINDOW.time_ms) -> Event:
    return Event(event_id="0" * 32, kind=kind, time=time, source="", subject="wine/v2", data=data)


def answered_event() -> Event:
    data = json.loads(msgspec.json.encode(WINDOW))  # as it comes through the socket
    del data["name"], data["time_ms"]
    return event(REQUESTS_ANSWERED, data)


class Gathering:
    def __init__(self) -> None:
        self.windows: list[TelemetryWindow] = []
        self.requests: list[ScoredRequest] = []

    def on_window(self, window: TelemetryWindow) -> None:
        self.windows.append(window)

    def on_request(self, request: ScoredRequest) -> None:
        self.requests.append(request)


# Who is one.


def sinks_of(settings: Settings) -> dict[str, Any]:
    return {item.name: item for item in read_subscribers(settings) if item.kind is SubscriberKind.SINK}


def test_nobody_is_a_sink_unless_asked(project: Path) -> None:
    assert sinks_of(Settings()) == {}


def test_the_setting_names_ours_and_says_what_is_wrong(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_TELEMETRY_SINKS", "cloudwatch, otlp,aplication_insights")
    found = sinks_of(Settings())
    assert set(found) == {"otlp", "aplication_insights"}  # the server serves cloudwatch itself
    assert found["otlp"].problem is None
    problem = found["aplication_insights"].problem
    assert problem is not None
    assert "application_insights" in str(problem)
    assert found["otlp"].wants(REQUESTS_ANSWERED)
    assert not found["otlp"].wants(REQUESTS_SCORED)
    assert not found["otlp"].wants(RUN_CLOSED)


@pytest.mark.parametrize("value", ["a b", "otlp;x", ",", "-x"])
def test_names_that_are_none_are_refused(project: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("BRIDGE_TELEMETRY_SINKS", value)
    with pytest.raises(ConfigError, match="names with commas"):
        read_subscribers(Settings())


def test_requests_are_told_one_by_one_when_a_share_of_them_is_asked_for(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_TELEMETRY_SINKS", "otlp")
    monkeypatch.setenv("BRIDGE_TELEMETRY_REQUESTS_PERCENT", "5")
    assert find_subscriber("sink:otlp", Settings()).wants(REQUESTS_SCORED)
    monkeypatch.setenv("BRIDGE_TELEMETRY_REQUESTS_PERCENT", "101")
    with pytest.raises(ConfigError, match="a number from 0 to 100"):
        read_subscribers(Settings())


def test_an_installed_package_brings_a_sink(project: Path, install: Callable[..., None]) -> None:
    install(
        "class warehouse:\n"
        "    def on_window(self, window):\n"
        "        raise RuntimeError(f'{window.name} {window.rows}')\n"
        "    def on_request(self, request): pass\n"
        "def broken(): return 5\n",
        "warehouse",
        "broken",
        group=SINKS_GROUP,
    )
    assert set(sinks_of(Settings())) == {"warehouse", "broken"}
    with pytest.raises(RuntimeError, match="wine/v2 30"):
        load_sink("warehouse")(answered_event())
    with pytest.raises(ConfigError, match="on_window"):
        load_sink("broken")


# What it is handed.


def test_a_sink_is_handed_windows_and_requests_as_they_were_told() -> None:
    sink = Gathering()
    assert isinstance(sink, TelemetrySink)
    subscriber = SinkSubscriber(sink)
    assert subscriber(answered_event()) == "taken"
    told = json.loads(msgspec.json.encode(REQUEST))
    del told["name"], told["model"]
    subscriber(event(REQUESTS_SCORED, {"model": "models:/wine/2", "requests": [told, told]}))
    assert sink.windows == [WINDOW]
    assert sink.requests == [REQUEST] * 2


def test_requests_that_were_taken_do_not_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sink, failures = Gathering(), [Unavailable("not now")]

    def on_request(request: ScoredRequest) -> None:
        if len(sink.requests) == 1 and failures:
            raise failures.pop()
        sink.requests.append(request)

    monkeypatch.setattr(sink, "on_request", on_request)
    told = [json.loads(msgspec.json.encode(REQUEST)) | {"request_id": name} for name in "abc"]
    scored = event(REQUESTS_SCORED, {"requests": told})
    subscriber = SinkSubscriber(sink)
    with pytest.raises(Unavailable):
        subscriber(scored)
    for _ in range(2):  # the rest, and the same event as if it were a new one
        assert subscriber(scored) == "taken"
    assert [request.request_id for request in sink.requests] == [*"abc", *"abc"]


def test_a_test_is_a_window_without_requests() -> None:
    window = window_of(event(TEST, {"message": "hello"}, time=5))
    assert (window.requests, window.time_ms, window.latency_counts) == (0, 5, ())


# Ours.


class Answering:
    """A server that keeps what it is sent, and answers as told, then with 200."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        self.answers: list[tuple[int, bytes]] = []
        self.url = ""

    def envelopes(self) -> list[dict[str, Any]]:
        return [item for _, body in self.bodies for item in json.loads(body)]


@pytest.fixture
def server() -> Iterator[Answering]:
    made = Answering()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.bodies.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            status, body = made.answers.pop(0) if made.answers else (200, b"{}")
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True).start()
    made.url = f"http://127.0.0.1:{listening.server_port}"
    yield made
    listening.shutdown()
    listening.server_close()


@pytest.fixture
def insights(server: Answering, monkeypatch: pytest.MonkeyPatch) -> ApplicationInsightsSink:
    monkeypatch.setenv(VARIABLE, f"InstrumentationKey=key-1;IngestionEndpoint={server.url}/;LiveEndpoint=x")
    return ApplicationInsightsSink()


def test_application_insights_gets_an_envelope_for_each_metric(
    server: Answering, insights: ApplicationInsightsSink
) -> None:
    insights.on_window(WINDOW)
    assert [path for path, _ in server.bodies] == ["/v2.1/track"]
    metrics = {}
    for envelope in server.envelopes():
        assert envelope["iKey"] == "key-1"
        assert envelope["name"] == "Microsoft.ApplicationInsights.Metric"
        assert envelope["time"] == "2023-11-14T22:13:30.000Z"
        assert envelope["tags"]["ai.cloud.role"] == "wine/v2"
        assert envelope["data"]["baseType"] == "MetricData"
        data = envelope["data"]["baseData"]
        assert data["properties"] == {"model": "models:/wine/2", "window_s": "10"}
        (metric,) = data["metrics"]
        metrics[metric["name"]] = metric
    values = {name: metric["value"] for name, metric in metrics.items() if metric["kind"] == "Measurement"}
    assert values == {
        "requests": 6,
        "errors": 1,
        "refused": 2,
        "predictions": 30,
        "captured": 3,
        "queued": 4,
        "scoring_ms": 21.0,
        "latency_p50_ms": 2.0,
        "latency_p95_ms": 30.0,
        "latency_p99_ms": 40.0,
    }
    latency = metrics["latency_ms"]
    assert (latency["kind"], latency["value"], latency["count"]) == ("Aggregation", 80.5, 6)
    assert (latency["min"], latency["max"]) == (0.5, 40.0)


def test_application_insights_gets_requests(server: Answering, insights: ApplicationInsightsSink) -> None:
    insights.on_request(REQUEST)
    (envelope,) = server.envelopes()
    data = envelope["data"]["baseData"]
    assert envelope["data"]["baseType"] == "RequestData"
    assert (data["id"], data["success"], data["responseCode"]) == ("r-1", True, "200")
    assert data["duration"] == "1.02:03:04.005250"
    assert data["measurements"] == {"scoring_ms": 2.5, "rows": 10}


def told_apart(*errors: tuple[int, int]) -> tuple[int, bytes]:
    told = [{"index": index, "statusCode": status, "message": "no"} for index, status in errors]
    return 206, json.dumps({"errors": told}).encode()


def test_what_application_insights_took_does_not_come_twice(
    server: Answering, insights: ApplicationInsightsSink
) -> None:
    server.answers.append(told_apart((1, 500), (3, 429)))
    insights.on_window(WINDOW)
    names = [
        [item["data"]["baseData"]["metrics"][0]["name"] for item in json.loads(body)]
        for _, body in server.bodies
    ]
    assert names[1] == [names[0][1], names[0][3]]
    server.answers += [told_apart((1, 500)), (503, b"")]
    with pytest.raises(Rejected, match="1 of 11 were not taken"):  # Unavailable would bring the others again
        insights.on_window(WINDOW)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (told_apart((0, 400)), Rejected),
        (told_apart(*((index, 503) for index in range(11))), Unavailable),
        ((500, b"no"), Unavailable),
        ((439, b""), Unavailable),
        ((401, b""), AuthError),
        ((400, b""), Rejected),
    ],
)
def test_what_application_insights_refuses_is_told(
    server: Answering, insights: ApplicationInsightsSink, answer: tuple[int, bytes], error: type[BridgeError]
) -> None:
    server.answers.append(answer)
    with pytest.raises(error):
        insights.on_window(WINDOW)
    assert len(server.bodies) == 1


def test_a_connection_string_is_read_as_azure_writes_it() -> None:
    text = (
        "InstrumentationKey=a-b;IngestionEndpoint=https://westeurope-5.in.applicationinsights.azure.com/;X=y"
    )
    assert read_connection_string(text) == ("a-b", "https://westeurope-5.in.applicationinsights.azure.com")
    assert read_connection_string("InstrumentationKey=a")[1] == "https://dc.services.visualstudio.com"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "InstrumentationKey=",
        "IngestionEndpoint=https://x",
        "InstrumentationKey=secret;IngestionEndpoint=http://x",
    ],
)
def test_a_wrong_connection_string_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ConfigError, match=VARIABLE) as caught:
        read_connection_string(text)
    assert "secret" not in str(caught.value)


def attributes(items: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in items}


def test_a_collector_gets_a_window_as_deltas(server: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
    OtlpSink().on_window(WINDOW)
    ((path, body),) = server.bodies
    assert path == "/v1/metrics"
    (resource,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    about = attributes(resource.resource.attributes)
    assert (about["service.name"], about["trackbridge.model"]) == ("wine/v2", "models:/wine/2")
    names = [metric.name for metric in resource.scope_metrics[0].metrics]
    metrics = {metric.name.rpartition(".")[2]: metric for metric in resource.scope_metrics[0].metrics}
    assert {name.rpartition(".")[0] for name in names} == {"trackbridge.endpoint"}
    counted = metrics["requests"].sum
    assert counted.aggregation_temporality == 1  # delta
    told = [(attributes(point.attributes), point.as_int) for point in counted.data_points]
    assert {
        (found["trackbridge.outcome"], found["http.response.status_code"], count) for found, count in told
    } == {
        ("ok", 200, 3),
        ("refused", 400, 2),
        ("error", 500, 1),
    }
    (point,) = metrics["duration"].histogram.data_points
    assert (point.count, list(point.bucket_counts), list(point.explicit_bounds)) == (
        6,
        [1, 3, 2],
        [0.001, 0.005],
    )
    assert (point.sum, point.min, point.max) == pytest.approx((0.0805, 0.0005, 0.04))
    assert point.time_unix_nano - point.start_time_unix_nano == 10 * 10**9
    assert metrics["predictions"].sum.data_points[0].as_int == 30
    assert metrics["queued"].gauge.data_points[0].as_int == 4


def test_a_collector_that_refuses_is_told_again_later(
    server: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
    server.answers.append((400, b""))
    with pytest.raises(Unavailable, match="collector"):
        OtlpSink().on_window(WINDOW)


def test_a_collector_gets_requests_as_spans(server: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
    sink = OtlpSink()
    sink.on_request(REQUEST)
    sink.close()
    ((path, body),) = server.bodies
    assert path == "/v1/traces"
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    (span,) = resource.scope_spans[0].spans
    assert attributes(span.attributes)["bridge.request_id"] == "r-1"
    assert (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6 == pytest.approx(REQUEST.duration_ms)
