"""Figures of endpoints, as CloudWatch has them: by whole minutes, some minutes late.

Latencies are SageMaker's ``ModelLatency``, which it tells in microseconds: from the request to the container
to its answer. Asynchronous endpoints have no ``Invocations``; every request of theirs is a sample of
``Invocation4XXErrors``, which is 0 or 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from trackbridge.domain.deployments import DeploymentState, EndpointMetrics
from trackbridge_adapters.sagemaker.clients import Clients
from trackbridge_adapters.sagemaker.deployments_names import variant_of

NAMESPACE = "AWS/SageMaker"
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
BACKLOG = "ApproximateBacklogSize"
QUERIES_MAX = 500
"""What one GetMetricData takes."""
BOUNDS_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000)
"""Upper bounds of the histogram, in milliseconds."""
PERCENTILES = ("p50", "p95", "p99")
MICROSECONDS = 1000.0
"""How many a millisecond has."""

Values = Mapping[tuple[str, str, str], list[float]]
"""By variant, metric and statistic."""


def read(
    clients: Clients,
    endpoint: str,
    deployments: Iterable[DeploymentState],
    *,
    now_s: float,
    window_s: int,
    is_asynchronous: bool,
) -> tuple[EndpointMetrics, ...]:
    """Return the figures of each deployment.

    Args:
        clients: Of the place.
        endpoint: SageMaker's name.
        deployments: In order of name.
        now_s: The time, in seconds since 1970.
        window_s: How far to look back, in seconds; the window begins with a whole minute.
        is_asynchronous: Whether the endpoint answers from a queue.
    """
    found = list(deployments)
    begin_s = (int(now_s) - window_s) // MINUTE_S * MINUTE_S
    end_s = (int(now_s) // MINUTE_S + 1) * MINUTE_S
    names = [variant_of(each.deployment, mirrors=mirrors) for each in found for mirrors in (False, True)]
    asked = [each for name in names for each in _asked(name, is_asynchronous)]
    asked += [("", BACKLOG, "Average")] if is_asynchronous else []
    values = _values(clients, endpoint, asked, begin_s, end_s, now_s)
    queued = _last(values.get(("", BACKLOG, "Average"))) if is_asynchronous else None
    window = int(now_s) - begin_s
    return tuple(_figures(each, values, is_asynchronous, queued, window) for each in found)


def _asked(variant: str, is_asynchronous: bool) -> Iterator[tuple[str, str, str]]:
    count = ("Invocation4XXErrors", "SampleCount") if is_asynchronous else ("Invocations", "Sum")
    yield (variant, *count)
    yield (variant, "Invocation4XXErrors", "Sum")
    yield (variant, "Invocation5XXErrors", "Sum")
    yield (variant, "ModelLatency", "SampleCount")
    for statistic in PERCENTILES:
        yield (variant, "ModelLatency", statistic)
    for least, most in zip((0, *BOUNDS_MS), BOUNDS_MS, strict=False):
        yield (variant, "ModelLatency", _between(least, most))


def _between(least_ms: int, most_ms: int) -> str:
    """Return the statistic that counts values above one bound, up to another."""
    return f"TC({least_ms * 1000}:{most_ms * 1000})"


def _values(
    clients: Clients, endpoint: str, asked: list[tuple[str, str, str]], begin_s: int, end_s: int, now_s: float
) -> Values:
    values: dict[tuple[str, str, str], list[float]] = {}
    for start in range(0, len(asked), QUERIES_MAX):
        part = asked[start : start + QUERIES_MAX]
        queries = [
            _query(f"q{number}", endpoint, *each, period_s=_period_s(each[2], begin_s, end_s, now_s))
            for number, each in enumerate(part)
        ]
        for told in clients.pages(
            "cloudwatch",
            "GetMetricData",
            "MetricDataResults",
            MetricDataQueries=queries,
            StartTime=datetime.fromtimestamp(begin_s, timezone.utc),
            EndTime=datetime.fromtimestamp(end_s, timezone.utc),
            ScanBy="TimestampAscending",
        ):
            values.setdefault(part[int(told["Id"][1:])], []).extend(told.get("Values", ()))
    return values


def _period_s(statistic: str, begin_s: int, end_s: int, now_s: float) -> int:
    """Return the period of a statistic: sums add up, percentiles are of the whole window.

    CloudWatch keeps minutes for 15 days, 5 minutes for 63, hours for 15 months.
    """
    age_s = now_s - begin_s
    least_s = MINUTE_S if age_s < 15 * DAY_S else 5 * MINUTE_S if age_s < 63 * DAY_S else HOUR_S
    if statistic not in PERCENTILES:
        return least_s
    return -(-(end_s - begin_s) // least_s) * least_s


def _query(
    number: str, endpoint: str, variant: str, metric: str, statistic: str, *, period_s: int
) -> dict[str, Any]:
    dimensions = [{"Name": "EndpointName", "Value": endpoint}]
    dimensions += [{"Name": "VariantName", "Value": variant}] if variant else []
    named = {"Namespace": NAMESPACE, "MetricName": metric, "Dimensions": dimensions}
    return {"Id": number, "MetricStat": {"Metric": named, "Period": period_s, "Stat": statistic}}


def _figures(
    found: DeploymentState, values: Values, is_asynchronous: bool, queued: int | None, window_s: int
) -> EndpointMetrics:
    live = variant_of(found.deployment, mirrors=False)
    count = ("Invocation4XXErrors", "SampleCount") if is_asynchronous else ("Invocations", "Sum")

    def total(variant: str, metric: str, statistic: str = "Sum") -> int:
        return round(sum(values.get((variant, metric, statistic), ())))

    def latency_ms(statistic: str) -> float | None:
        # Where the window is parted, the worse part counts: guards are to be safe.
        known = values.get((live, "ModelLatency", statistic), ())
        return max(known) / MICROSECONDS if known else None

    requests = total(live, *count)
    return EndpointMetrics(
        deployment=found.deployment,
        requests=requests,
        errors=total(live, "Invocation5XXErrors"),
        refused=total(live, "Invocation4XXErrors"),
        mirrored=total(variant_of(found.deployment, mirrors=True), *count),
        latency_p50_ms=latency_ms("p50"),
        latency_p95_ms=latency_ms("p95"),
        latency_p99_ms=latency_ms("p99"),
        latency_counts=_histogram(live, values),
        queued=queued,
        instances=found.instance_count,
        window_s=window_s,
    )


def _histogram(variant: str, values: Values) -> tuple[tuple[float | None, int], ...]:
    total = round(sum(values.get((variant, "ModelLatency", "SampleCount"), ())))
    if not total:
        return ()
    counts: list[tuple[float | None, int]] = []
    for least, most in zip((0, *BOUNDS_MS), BOUNDS_MS, strict=False):
        found = values.get((variant, "ModelLatency", _between(least, most)), ())
        counts.append((float(most), round(sum(found))))
    counts.append((None, max(0, total - sum(count for _, count in counts))))
    return tuple(counts)


def _last(values: list[float] | None) -> int:
    return round(values[-1]) if values else 0
