"""Telemetry of deployments, from Azure Monitor by ARM: sums of whole minutes.

Azure Monitor has a minute's figures one to three minutes later. It does not tell copies of requests apart:
those of a deployment count as copies from the minute on in which the mirror was turned to it, to the one in
which it was turned off; who else turns a mirror makes all of the window copies. Percentiles of a window are
those of its minutes, weighted by their requests.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from trackbridge.domain.deployments import EndpointMetrics
from trackbridge_adapters.azureml import deployments_state as state
from trackbridge_adapters.azureml.arm import Arm, Json
from trackbridge_adapters.azureml.assets import milliseconds_of, properties_of
from trackbridge_adapters.azureml.deployments_names import own_deployment
from trackbridge_adapters.azureml.deployments_requests import mirror_in
from trackbridge_adapters.azureml.deployments_resources import HeldEndpoint

KIND = "metrics"
REQUESTS, CAPTURED, CAPACITY = "RequestsPerMinute", "DataCollectionEventsPerMinute", "DeploymentCapacity"
LATENCIES = {50: "RequestLatency_P50", 95: "RequestLatency_P95", 99: "RequestLatency_P99"}
MINUTE_S = 60
SERIES_MAX = "1000"
AT_ONCE = 6
MODEL_FAILED = 424
"""Azure's status for any answer of the model that is no success."""


@dataclass(slots=True)
class Figures:
    """What of one deployment is summed up. Minutes are numbers of minutes since 1970."""

    requests: int = 0
    errors: int = 0
    refused: int = 0
    mirrored: int = 0
    captured: int = 0
    per_minute: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """All requests, copies too."""
    latencies: dict[int, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    """By share, then minute."""


@dataclass(frozen=True, slots=True)
class Point:
    """A minute's value, of the dimensions' values."""

    minute: int
    value: float
    labels: Mapping[str, str]


class DeploymentMetrics:
    """Reads telemetry. Any thread may use it.

    Args:
        arm: Asks ARM.
        clock_ms: Milliseconds since 1970.
    """

    def __init__(self, arm: Arm, clock_ms: Callable[[], int]) -> None:
        self._arm = arm
        self._clock_ms = clock_ms

    def read(self, held: HeldEndpoint, window_s: int) -> tuple[EndpointMetrics, ...]:
        """Return telemetry of each deployment, from the beginning of the window's first minute on."""
        now_ms = self._clock_ms()
        first = (now_ms // 1000 - window_s) // MINUTE_S
        last = now_ms // 1000 // MINUTE_S + 1
        names = {str(found["name"]).lower(): own_deployment(str(found["name"])) for found in held.deployments}
        figures = {name: Figures() for name in names.values()}
        captures = {
            own_deployment(str(found["name"]))
            for found in held.deployments
            if state.captured_percent(properties_of(found))
        }
        with ThreadPoolExecutor(AT_ONCE) as pool:
            asked = pool.submit(self._requests, held.id, first, last)
            slow = pool.submit(self._latencies, held.id, first, last)
            kept = pool.submit(self._captured, held.id, first, last) if captures else None
            counts = pool.map(lambda found: self._instances(str(found["id"])), held.deployments)
            instances = dict(zip(names.values(), counts, strict=True))
        _add_requests(figures, names, asked.result(), mirrored_minutes(held))
        for share, point in slow.result():
            name = names.get(point.labels.get("deployment", "").lower())
            if name is not None:
                figures[name].latencies[share][point.minute] = point.value
        for point in kept.result() if kept is not None else ():
            name = names.get(point.labels.get("deployment", "").lower())
            if name is not None:
                figures[name].captured += round(point.value)
        window = (last - first) * MINUTE_S
        return tuple(
            _told(name, figures[name], instances[name], name in captures, window) for name in sorted(figures)
        )

    def _requests(self, endpoint: str, first: int, last: int) -> list[Point]:
        wanted = "deployment eq '*' and statusCode eq '*' and modelStatusCode eq '*'"
        return list(self._points(endpoint, REQUESTS, first, last, "total", wanted))

    def _latencies(self, endpoint: str, first: int, last: int) -> list[tuple[int, Point]]:
        found = self._asked(
            endpoint, ",".join(LATENCIES.values()), first, last, "average", "deployment eq '*'"
        )
        shares = {name.lower(): share for share, name in LATENCIES.items()}
        return [
            (shares[name.lower()], point)
            for name, metric in found
            if name.lower() in shares
            for point in _points_of(metric, "average")
        ]

    def _captured(self, endpoint: str, first: int, last: int) -> list[Point]:
        wanted = "deployment eq '*' and type eq 'request'"
        return list(self._points(endpoint, CAPTURED, first, last, "total", wanted))

    def _instances(self, deployment: str) -> int | None:
        """Return how many instances served in the last minute that is told of; None where none is."""
        now = self._clock_ms() // 1000 // MINUTE_S
        wanted = "State eq 'Ready' and instanceId eq '*'"  # Azure does not add instances up by itself
        points = list(self._points(deployment, CAPACITY, now - 10, now + 1, "maximum", wanted))
        newest = max((point.minute for point in points), default=None)
        return None if newest is None else round(sum(p.value for p in points if p.minute == newest))

    def _points(
        self, resource: str, metric: str, first: int, last: int, aggregation: str, wanted: str
    ) -> Iterator[Point]:
        for _, found in self._asked(resource, metric, first, last, aggregation, wanted):
            yield from _points_of(found, aggregation)

    def _asked(
        self, resource: str, metrics: str, first: int, last: int, aggregation: str, wanted: str
    ) -> list[tuple[str, Json]]:
        query = {
            "metricnames": metrics,
            "timespan": f"{_iso(first)}/{_iso(last)}",
            "interval": "PT1M",
            "aggregation": aggregation,
            "$filter": wanted,
            "top": SERIES_MAX,
        }
        path = f"{quote(resource)}/providers/Microsoft.Insights/metrics"
        found = self._arm.get(path, KIND, query=query).get("value") or ()
        return [(str((item.get("name") or {}).get("value") or ""), item) for item in found]


def mirrored_minutes(held: HeldEndpoint) -> dict[str, tuple[int, int | None]]:
    """Return in which minutes requests of deployments are copies: the first and the last (None: still)."""
    _, mirror = state.shares_in(held)
    told, begin, end = mirror_in(held.endpoint.get("tags") or {})
    found: dict[str, tuple[int, int | None]] = dict.fromkeys(mirror, (0, None))
    if told and (told not in mirror or not end):
        minute = 1000 * MINUTE_S
        found[told] = (begin // minute, end // minute if end else None)
    return found


def _add_requests(
    figures: Mapping[str, Figures],
    names: Mapping[str, str],
    points: Iterable[Point],
    mirrored: Mapping[str, tuple[int, int | None]],
) -> None:
    for point in points:
        name = names.get(point.labels.get("deployment", "").lower())
        if name is None:
            continue
        count, found = round(point.value), figures[name]
        found.per_minute[point.minute] += count
        span = mirrored.get(name)
        if span is not None and span[0] <= point.minute <= (point.minute if span[1] is None else span[1]):
            found.mirrored += count
            continue
        found.requests += count
        status = _status(point.labels)
        found.errors += count if status >= 500 else 0
        found.refused += count if 400 <= status < 500 else 0


def _status(labels: Mapping[str, str]) -> int:
    """Return the status that counts: the model's own, where Azure has wrapped it; a late answer is none."""
    status, of_model = _number(labels.get("statuscode")), _number(labels.get("modelstatuscode"))
    if status == MODEL_FAILED and of_model:
        return of_model
    return 504 if status == 408 else status


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0


def _told(
    name: str, figures: Figures, instances: int | None, captures: bool, window_s: int
) -> EndpointMetrics:
    has_requests = figures.requests > 0
    latencies = {
        share: _weighted(figures.latencies.get(share) or {}, figures.per_minute) if has_requests else None
        for share in LATENCIES
    }
    return EndpointMetrics(
        deployment=name,
        requests=figures.requests,
        errors=figures.errors,
        refused=figures.refused,
        mirrored=figures.mirrored,
        latency_p50_ms=latencies[50],
        latency_p95_ms=latencies[95],
        latency_p99_ms=latencies[99],
        instances=instances,
        captured=figures.captured if captures else None,
        window_s=window_s,
    )


def _weighted(values: Mapping[int, float], counts: Mapping[int, int]) -> float | None:
    total = sum(counts.get(minute, 0) for minute in values)
    if not total:
        return None
    return sum(value * counts.get(minute, 0) for minute, value in values.items()) / total


def _points_of(metric: Mapping[str, Any], aggregation: str) -> Iterator[Point]:
    for line in metric.get("timeseries") or ():
        labels = {
            str((label.get("name") or {}).get("value") or "").lower(): str(label.get("value") or "")
            for label in line.get("metadatavalues") or ()
        }
        for point in line.get("data") or ():
            time_ms = milliseconds_of(point.get("timeStamp"))
            if point.get(aggregation) is not None and time_ms is not None:
                yield Point(time_ms // 1000 // MINUTE_S, float(point[aggregation]), labels)


def _iso(minute: int) -> str:
    return datetime.fromtimestamp(minute * MINUTE_S, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
