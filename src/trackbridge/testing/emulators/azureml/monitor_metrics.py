"""Azure Monitor's metrics of online endpoints and deployments: made of what ran.

Names, units and dimensions: monitor-azure-machine-learning-reference.md. A point is a minute's value. GPUs
are never there, so their metrics have no points; nor has the disk's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trackbridge.testing.emulators.azureml.core import Cloud
from trackbridge.testing.emulators.azureml.kusto_expressions import percentile
from trackbridge.testing.emulators.azureml.online_state import OnlineEndpoints
from trackbridge.testing.emulators.azureml.scored_requests import Collected, Event, Happenings, Scored, Usage

MINUTE_S = 60
ENDPOINTS = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
DEPLOYMENTS = f"{ENDPOINTS}/deployments"
Labels = dict[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of a metric at a time, with what it is of by dimension.

    ``adds`` says that it is a part of its minute's value, the sum of all such parts.
    """

    time_s: float
    value: float
    labels: Labels
    adds: bool = False


Source = Callable[[Cloud, str, str], Iterable[Sample]]


AGGREGATIONS = ("average", "total", "minimum", "maximum", "count")
LEVELS = ("average", "minimum", "maximum")
"""Those of what is at a time, which no time adds up to more."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric. ``source`` gives its samples for an endpoint's id and a deployment ("" for all)."""

    name: str
    unit: str
    dimensions: tuple[str, ...]
    source: Source
    aggregation: str = "Average"
    about: str = ""
    aggregations: tuple[str, ...] = AGGREGATIONS


def _requests(cloud: Cloud, endpoint_id: str, deployment: str) -> list[Scored]:
    found = cloud.part(Happenings).of(Scored, endpoint_id)
    return [each for each in found if not deployment or each.deployment == deployment.lower()]


def _labels(each: Scored) -> dict[str, str]:
    return {
        "deployment": each.deployment,
        "statusCode": str(each.status),
        "statusCodeClass": f"{each.status // 100}xx",
        "modelStatusCode": str(each.model_status) if each.model_status else "",
        "envoy_response_code": str(each.status),
    }


def _by_minute(
    entries: Iterable[tuple[float, float, Labels]],
    made: Callable[[list[float]], float],
    *,
    adds: bool = True,
) -> list[Sample]:
    """Return a sample for each minute and combination of labels."""
    groups: dict[tuple[int, tuple[tuple[str, str], ...]], list[float]] = defaultdict(list)
    for time_s, value, labels in entries:
        key = int(time_s // MINUTE_S), tuple(sorted(labels.items()))
        groups[key].append(value)
    return [
        Sample(minute * MINUTE_S, made(values), dict(labels), adds)
        for (minute, labels), values in groups.items()
    ]


def _per_minute(cloud: Cloud, endpoint_id: str, deployment: str) -> Iterable[Sample]:
    found = _requests(cloud, endpoint_id, deployment)
    return _by_minute(((each.time_s, 1.0, _labels(each)) for each in found), sum)


def _latency(cloud: Cloud, endpoint_id: str, deployment: str) -> Iterable[Sample]:
    found = _requests(cloud, endpoint_id, deployment)
    return [Sample(each.time_s, each.total_ms, {"deployment": each.deployment}) for each in found]


def _latency_at(share: float) -> Source:
    def source(cloud: Cloud, endpoint_id: str, deployment: str) -> Iterable[Sample]:
        found = _requests(cloud, endpoint_id, deployment)
        entries = ((each.time_s, each.total_ms, {"deployment": each.deployment}) for each in found)
        return _by_minute(entries, lambda values: float(percentile(values, share)), adds=False)

    return source


def _connections(cloud: Cloud, endpoint_id: str, deployment: str) -> Iterable[Sample]:
    found = cloud.part(Happenings).connections(endpoint_id)
    return [Sample(time_s, float(count), {}) for time_s, count in found]


def _new_connections(cloud: Cloud, endpoint_id: str, deployment: str) -> Iterable[Sample]:
    found = cloud.part(Happenings).connections(endpoint_id)
    return _by_minute(((time_s, 1.0, Labels()) for time_s, _ in found), lambda values: sum(values) / MINUTE_S)


def _bytes(cloud: Cloud, endpoint_id: str, deployment: str) -> Iterable[Sample]:
    found = _requests(cloud, endpoint_id, deployment)
    sizes = [(each.time_s, float(each.request_size + each.response_size), Labels()) for each in found]
    return _by_minute(sizes, lambda values: sum(values) / MINUTE_S)


def _collected(*, is_kept: bool) -> Source:
    def source(cloud: Cloud, endpoint_id: str, deployment: str) -> Iterable[Sample]:
        entries = (
            (each.time_s, 1.0, {"deployment": each.deployment, "type": each.collection, "reason": ""})
            for each in cloud.part(Happenings).of(Collected, endpoint_id)
            if each.is_kept == is_kept and (not deployment or each.deployment == deployment.lower())
        )
        return _by_minute(entries, sum)

    return source


def _usage(of: Callable[[Usage], float]) -> Source:
    def source(cloud: Cloud, endpoint_id: str, deployment: str) -> Iterable[Sample]:
        live = cloud.part(OnlineEndpoints).find(endpoint_id)
        fleet = live.fleets.get(deployment.lower()) if live else None
        for instance in fleet.instances if fleet else ():
            instance.measure(is_forced=True)
        found = cloud.part(Happenings).of(Usage, endpoint_id)
        return [
            Sample(each.time_s, of(each), {"instanceId": each.instance})
            for each in found
            if each.deployment == deployment.lower()
        ]

    return source


def _capacity(cloud: Cloud, endpoint_id: str, deployment: str) -> Iterable[Sample]:
    """Return for each minute which instances were there."""
    began: dict[str, float] = {}
    ended: dict[str, float] = {}
    for each in cloud.part(Happenings).of(Event, endpoint_id):
        if each.deployment != deployment.lower():
            continue
        if each.name == "ContainerReady":
            began.setdefault(each.instance, each.time_s)
        if each.name == "ContainerStopped":
            ended[each.instance] = each.time_s
    samples: list[Sample] = []
    for instance, start_s in began.items():
        last_s = ended.get(instance, cloud.now_s())
        labels = {"instanceId": instance, "State": "Ready"}
        minutes = range(int(start_s // MINUTE_S), int(last_s // MINUTE_S) + 1)
        samples += [Sample(minute * MINUTE_S, 1.0, labels, adds=True) for minute in minutes]
    return samples


def _nothing(cloud: Cloud, endpoint_id: str, deployment: str) -> Iterable[Sample]:
    return ()


_PERCENTILES = (50, 90, 95, 99)
_OF_BOTH = tuple(
    Metric(f"RequestLatency_P{share}", "MilliSeconds", ("deployment",), _latency_at(share))
    for share in _PERCENTILES
)
_OF_COLLECTION = (
    Metric("DataCollectionEventsPerMinute", "Count", ("deployment", "type"), _collected(is_kept=True)),
    Metric(
        "DataCollectionErrorsPerMinute", "Count", ("deployment", "type", "reason"), _collected(is_kept=False)
    ),
)
METRICS: Mapping[str, tuple[Metric, ...]] = {
    ENDPOINTS: (
        Metric(
            "RequestsPerMinute",
            "Count",
            ("deployment", "statusCode", "statusCodeClass", "modelStatusCode"),
            _per_minute,
        ),
        Metric("RequestLatency", "MilliSeconds", ("deployment",), _latency),
        *_OF_BOTH,
        Metric("ConnectionsActive", "Count", (), _connections),
        Metric("NewConnectionsPerSecond", "CountPerSecond", (), _new_connections),
        Metric("NetworkBytes", "BytesPerSecond", (), _bytes),
        *_OF_COLLECTION,
    ),
    DEPLOYMENTS: (
        Metric("CpuUtilizationPercentage", "Percent", ("instanceId",), _usage(lambda each: each.cpu)),
        Metric(
            "CpuMemoryUtilizationPercentage", "Percent", ("instanceId",), _usage(lambda each: each.memory)
        ),
        Metric("GpuUtilizationPercentage", "Percent", ("instanceId",), _nothing),
        Metric("GpuMemoryUtilizationPercentage", "Percent", ("instanceId",), _nothing),
        Metric("GpuEnergyJoules", "Count", ("instanceId",), _nothing),
        Metric("DiskUtilization", "Percent", ("instanceId",), _nothing),
        Metric("DeploymentCapacity", "Count", ("instanceId", "State"), _capacity, aggregations=LEVELS),
        *_OF_BOTH,
        Metric("RequestsPerMinute", "Count", ("envoy_response_code",), _per_minute),
        *_OF_COLLECTION,
    ),
}


def namespace_of(resource_id: str) -> str:
    """Return the namespace that a resource's metrics are in."""
    return DEPLOYMENTS if "/deployments/" in resource_id.lower() else ENDPOINTS


def samples_of(cloud: Cloud, metric: Metric, resource_id: str) -> list[Sample]:
    """Return all samples of a metric of a resource."""
    endpoint_id, _, deployment = resource_id.partition("/deployments/")
    return list(metric.source(cloud, endpoint_id, deployment))


def series(
    samples: Sequence[Sample], dimensions: Mapping[str, Sequence[str]]
) -> dict[tuple[tuple[str, str], ...], list[Sample]]:
    """Return samples by the values of the dimensions that are asked for.

    Args:
        samples: All.
        dimensions: Values by dimension; ``*`` among them is for any.
    """
    found: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in samples:
        labels = {name.lower(): value for name, value in sample.labels.items()}
        key = tuple((name, labels.get(name.lower(), "")) for name in dimensions)
        lowered = {name: [each.lower() for each in values] for name, values in dimensions.items()}
        if all("*" in lowered[name] or value.lower() in lowered[name] for name, value in key):
            found.setdefault(key, []).append(sample)
    if not dimensions and not found:
        found[()] = []
    return found


def points(samples: Sequence[Sample], start_s: float, end_s: float, interval_s: int) -> list[dict[str, Any]]:
    """Return a point for each interval: when it begins, and the statistics of the samples in it.

    Those that are parts of a minute's value are summed up before.
    """
    groups: dict[int, list[Sample]] = defaultdict(list)
    first = int(start_s // interval_s)
    for sample in samples:
        if start_s // MINUTE_S * MINUTE_S <= sample.time_s < end_s:
            groups[int(sample.time_s // interval_s)].append(sample)
    last = int((end_s - 1e-6) // interval_s)
    return [
        {"time_s": place * interval_s, **_statistics(groups.get(place, []))}
        for place in range(first, last + 1)
    ]


def _statistics(samples: Sequence[Sample]) -> dict[str, float]:
    if not samples:
        return {}
    minutes: dict[float, float] = defaultdict(float)
    for sample in samples:
        if sample.adds:
            minutes[sample.time_s] += sample.value
    values = [*minutes.values(), *(sample.value for sample in samples if not sample.adds)]
    return {
        "average": sum(values) / len(values),
        "total": sum(values),
        "minimum": min(values),
        "maximum": max(values),
        "count": float(len(values)),
    }
