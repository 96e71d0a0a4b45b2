"""GetMetricData as CloudWatch answers it: percentiles and trimmed counts too, which moto has not.

moto looks at every point of the account for every period of every query; here each point is looked at once.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from trackbridge.testing.emulators.sagemaker.refusal import Refused

_PERCENTILE = re.compile(r"p([0-9]{1,2}(?:\.[0-9]{1,10})?|100)")
_COUNT = re.compile(r"TC\(([0-9.]*):([0-9.]*)\)")
Metric = tuple[str, str, frozenset[tuple[str, str]]]
"""Namespace, name and dimensions."""


def install() -> None:
    """Let moto's CloudWatch answer so; expressions stay moto's."""
    from moto.cloudwatch.models import CloudWatchBackend

    if getattr(CloudWatchBackend.get_metric_data, "is_ours", False):
        return
    theirs = CloudWatchBackend.get_metric_data

    def get_metric_data(
        self: Any,
        queries: list[dict[str, Any]],
        start_time: datetime,
        end_time: datetime,
        scan_by: str = "TimestampAscending",
    ) -> list[dict[str, Any]]:
        if start_time >= end_time or any("MetricStat" not in query for query in queries):
            found: list[dict[str, Any]] = theirs(self, queries, start_time, end_time, scan_by)
            return found
        points = _points(self.get_all_metrics(), start_time, end_time)
        is_descending = scan_by == "TimestampDescending"
        return [_answer(query, points, start_time, is_descending=is_descending) for query in queries]

    get_metric_data.is_ours = True  # type: ignore[attr-defined]
    CloudWatchBackend.get_metric_data = get_metric_data  # type: ignore[method-assign]


def _points(
    data: Iterable[Any], begin: datetime, end: datetime
) -> dict[Metric, list[tuple[datetime, float]]]:
    """Return the values within a time, by metric; sets of statistics are none that percentiles can be of."""
    found: dict[Metric, list[tuple[datetime, float]]] = defaultdict(list)
    first, last = _utc(begin), _utc(end)
    for point in list(data):
        at = _utc(point.timestamp)
        if first <= at < last and hasattr(point, "value"):
            dimensions = frozenset((each.name, each.value) for each in point.dimensions)
            found[point.namespace, point.name, dimensions].append((at, float(point.value)))
    return found


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=moment.tzinfo or timezone.utc)


def _answer(
    query: Mapping[str, Any],
    points: Mapping[Metric, list[tuple[datetime, float]]],
    begin: datetime,
    *,
    is_descending: bool,
) -> dict[str, Any]:
    asked = query["MetricStat"]
    metric, statistic = asked["Metric"], asked["Stat"]
    period = timedelta(seconds=int(asked["Period"]))
    dimensions = frozenset((each["Name"], each["Value"]) for each in metric.get("Dimensions") or ())
    by_period: dict[int, list[float]] = defaultdict(list)
    for at, value in points.get((metric["Namespace"], metric["MetricName"], dimensions), ()):
        by_period[(at - _utc(begin)) // period].append(value)
    numbers = sorted(by_period, reverse=is_descending)
    return {
        "id": query["Id"],
        "label": query.get("Label") or f"{metric['MetricName']} {statistic}",
        "values": [statistic_of(statistic, by_period[number]) for number in numbers],
        "timestamps": [begin + number * period for number in numbers],
        "status_code": "Complete",
    }


def statistic_of(name: str, values: list[float]) -> float:
    """Return a statistic of some values.

    Raises:
        Refused: CloudWatch has none of this name.
    """
    simple = {
        "Sum": sum(values),
        "Average": sum(values) / len(values),
        "Minimum": min(values),
        "Maximum": max(values),
        "SampleCount": float(len(values)),
    }
    if name in simple:
        return simple[name]
    percentile, count = _PERCENTILE.fullmatch(name), _COUNT.fullmatch(name)
    if percentile is not None:
        rank = math.ceil(len(values) * float(percentile[1]) / 100)
        return sorted(values)[max(0, rank - 1)]
    if count is not None:  # the lower bound is not counted, the upper is
        least = float(count[1]) if count[1] else -math.inf
        most = float(count[2]) if count[2] else math.inf
        return float(sum(least < value <= most for value in values))
    raise Refused("ValidationError", f"The value {name} for parameter Stat is not supported.")
