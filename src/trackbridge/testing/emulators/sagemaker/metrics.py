"""SageMaker's metrics: points of trial components and of jobs, their summaries, and their history.

What the service does not publish is settled here, and may be set on the state (``cloud.part(Metrics)``):

- points of more than 14 days ago or more than two hours ahead are refused, as AWS's own SDK holds it;
- a query returns at most ``query_points_max`` values, then it is ``Truncated``;
- ``Start`` and ``End`` are both included, and are steps, or seconds since 1970;
- a point without a step has no place on the axis of steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation

PAST_S = 14 * 24 * 3600
AHEAD_S = 2 * 3600
_PERIODS_S = {"OneMinute": 60, "FiveMinute": 300, "OneHour": 3600}


@dataclass(frozen=True, slots=True)
class Point:
    """A value of a metric; the time in seconds since 1970."""

    timestamp_s: float
    step: int | None
    value: float

    def order(self) -> tuple[int, float]:
        """Return what puts points in their order: the step, then the time."""
        return (-1 if self.step is None else self.step, self.timestamp_s)


@dataclass(slots=True)
class Series:
    """The points of one metric of one resource, in order of arrival, and their running statistics."""

    points: list[Point] = field(default_factory=list)
    last: Point | None = None
    least: float = math.inf
    greatest: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0
    latest_s: float = -math.inf

    def add(self, point: Point) -> None:
        """Add a point. The same point sent twice is two points, as it is there."""
        self.points.append(point)
        if self.last is None or point.order() >= self.last.order():
            self.last = point
        self.least, self.greatest = min(self.least, point.value), max(self.greatest, point.value)
        self.latest_s = max(self.latest_s, point.timestamp_s)
        away = point.value - self.mean  # Welford's update
        self.mean += away / len(self.points)
        self.squares += away * (point.value - self.mean)

    def statistics(self) -> dict[str, float]:
        """Return Max, Min, Last, Avg, StdDev (of the population) and Count."""
        count = len(self.points)
        return {
            "Max": self.greatest,
            "Min": self.least,
            "Last": self.last.value if self.last is not None else math.nan,
            "Count": count,
            "Avg": self.mean,
            "StdDev": math.sqrt(max(0.0, self.squares) / count),
        }


class Metrics:
    """All points, by the ARN of their resource."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._by_arn: dict[str, dict[str, Series]] = {}
        self.query_points_max = 1000
        """How many values a query returns at most."""
        self.names_max: int | None = None
        """How many metrics a resource can have; AWS publishes no number."""
        self.failures: list[str] = []
        """Codes with which the next points are not taken, one each, such as ``CONFLICT_ERROR``."""

    def add(
        self, resource_arn: str, name: str, value: float, timestamp_s: float, step: int | None = None
    ) -> None:
        """Add a point to a metric of any resource."""
        series = self._by_arn.setdefault(resource_arn, {}).setdefault(name, Series())
        series.add(Point(timestamp_s, step, value))

    def refusal(self, resource_arn: str, raw: Mapping[str, Any]) -> str | None:
        """Return the code with which a point of ``BatchPutMetrics`` is not taken, None when it is."""
        if self.failures:
            return self.failures.pop(0)
        now_s, time_s = self._cloud.now_s(), raw["Timestamp"]
        if not math.isfinite(float(raw["Value"])) or not now_s - PAST_S <= time_s <= now_s + AHEAD_S:
            return "VALIDATION_ERROR"
        held = self._by_arn.get(resource_arn, {})
        is_full = self.names_max is not None and len(held) >= self.names_max
        return "METRIC_LIMIT_EXCEEDED" if is_full and raw["MetricName"] not in held else None

    def find(self, resource_arn: str, name: str) -> Series | None:
        """Return the series of a metric, or None."""
        return self._by_arn.get(resource_arn, {}).get(name)

    def summaries(self, resource_arn: str) -> list[dict[str, Any]]:
        """Return what a description of a trial component says of its metrics."""
        return [
            {
                "MetricName": name,
                "SourceArn": resource_arn,
                "TimeStamp": series.latest_s,
                **series.statistics(),
            }
            for name, series in self._by_arn.get(resource_arn, {}).items()
        ]

    def finals(self, resource_arn: str) -> list[dict[str, Any]]:
        """Return what a description of a training job says of its metrics."""
        return [
            {"MetricName": name, "Value": series.last.value, "Timestamp": series.last.timestamp_s}
            for name, series in self._by_arn.get(resource_arn, {}).items()
            if series.last is not None
        ]

    def forget(self, resource_arn: str) -> None:
        """Forget a resource that is deleted."""
        self._by_arn.pop(resource_arn, None)


def put_metrics(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    """BatchPutMetrics: what is not taken is told in ``Errors``, point by point; the rest is kept."""
    arn = cloud.arn("experiment-trial-component", asked["TrialComponentName"])
    metrics, errors = cloud.part(Metrics), []
    for index, raw in enumerate(asked["MetricData"]):
        code = metrics.refusal(arn, raw) if cloud.tags.has(arn) else "VALIDATION_ERROR"
        if code is not None:
            errors.append({"Code": code, "MetricIndex": index})
            continue
        metrics.add(arn, raw["MetricName"], float(raw["Value"]), raw["Timestamp"], raw.get("Step"))
    return {"Errors": errors} if errors else {}


def get_metrics(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    """BatchGetMetrics: each query is answered for itself."""
    return {"MetricQueryResults": [_answered(cloud, query) for query in asked["MetricQueries"]]}


def _answered(cloud: Cloud, query: Mapping[str, Any]) -> dict[str, Any]:
    is_by_step = query["XAxisType"] == "IterationNumber"
    if is_by_step != (query["Period"] == "IterationNumber"):
        told = f"Period {query['Period']} does not go with XAxisType {query['XAxisType']}."
        return _invalid(told)
    if not cloud.tags.has(query["ResourceArn"]):
        return _invalid(f"Resource {query['ResourceArn']} does not exist.")
    metrics = cloud.part(Metrics)
    series = metrics.find(query["ResourceArn"], query["MetricName"])
    places = _places(series.points if series is not None else (), query["Period"])
    start, end = query.get("Start", -math.inf), query.get("End", math.inf)
    found = sorted(place for place in places if start <= place <= end)
    shown = found[: metrics.query_points_max]
    return {
        "Status": "Complete" if len(shown) == len(found) else "Truncated",
        "XAxisValues": shown,
        "MetricValues": [places[place].statistics()[query["MetricStat"]] for place in shown],
    }


def _invalid(message: str) -> dict[str, Any]:
    return {"Status": "ValidationError", "Message": message, "XAxisValues": [], "MetricValues": []}


def _places(points: Iterable[Point], period: str) -> dict[int, Series]:
    """Return the points by their place on the axis: the step, or the second at which their period begins."""
    places: dict[int, Series] = {}
    for point in points:
        if period in _PERIODS_S:
            place = int(point.timestamp_s // _PERIODS_S[period]) * _PERIODS_S[period]
        elif point.step is None:
            continue
        else:
            place = point.step
        places.setdefault(place, Series()).add(point)
    return places


METRICS_OPERATIONS: Mapping[str, Operation] = {"BatchPutMetrics": put_metrics, "BatchGetMetrics": get_metrics}
"""The operations of the service ``sagemaker-metrics``."""
