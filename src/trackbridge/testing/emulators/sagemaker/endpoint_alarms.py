"""CloudWatch alarms that guard a deployment: moto keeps them, and is never led by data; here they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timezone
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Cloud, Refused

POINTS_MAX = 20_000
"""How many of the last points are looked at."""
_OVER = {
    "GreaterThanThreshold": lambda value, limit: value > limit,
    "GreaterThanOrEqualToThreshold": lambda value, limit: value >= limit,
    "LessThanThreshold": lambda value, limit: value < limit,
    "LessThanOrEqualToThreshold": lambda value, limit: value <= limit,
}


def names_in(deployment: Mapping[str, Any] | None) -> list[str]:
    """Return the alarms that a deployment configuration names."""
    rollback = (deployment or {}).get("AutoRollbackConfiguration", {})
    return [alarm["AlarmName"] for alarm in rollback.get("Alarms", ()) if "AlarmName" in alarm]


def check(cloud: Cloud, names: Iterable[str]) -> None:
    """Refuse alarms that are not there.

    Raises:
        Refused: Of the missing ones.
    """
    missing = [name for name in names if name not in cloud.cloudwatch().alarms]
    if missing:
        raise Refused("ValidationException", f"Could not find the following CloudWatch alarms: {missing}")


def ringing(cloud: Cloud, names: Iterable[str], since_s: float) -> list[str]:
    """Return the alarms that are in ALARM: by SetAlarmState, or by what was written since a time.

    An alarm is led by the sum, average, extreme or count of its metric in its last period, of what was
    written since ``since_s``: what came before a deployment says nothing about it.
    """
    alarms = cloud.cloudwatch().alarms
    return [name for name in names if name in alarms and _rings(cloud, alarms[name], since_s)]


def _rings(cloud: Cloud, alarm: Any, since_s: float) -> bool:
    if alarm.state_value == "ALARM":
        return True
    if not alarm.metric_name or alarm.comparison_operator not in _OVER:
        return False
    begin_s = max(since_s, cloud.now_s() - float(alarm.period or 60))
    values = _values(cloud, alarm, begin_s)
    if not values:
        return False
    statistic = _statistic(alarm.statistic, values)
    return bool(_OVER[alarm.comparison_operator](statistic, float(alarm.threshold)))


def _values(cloud: Cloud, alarm: Any, begin_s: float) -> list[float]:
    wanted = {(each.name, each.value) for each in alarm.dimensions}
    found = []
    for point in cloud.cloudwatch().metric_data[-POINTS_MAX:]:
        if (point.namespace, point.name) != (alarm.namespace, alarm.metric_name):
            continue
        at_s = point.timestamp.replace(tzinfo=point.timestamp.tzinfo or timezone.utc).timestamp()
        if at_s >= begin_s and {(each.name, each.value) for each in point.dimensions} == wanted:
            found.append(float(point.value))
    return found


def _statistic(name: str | None, values: list[float]) -> float:
    if name == "Sum":
        return sum(values)
    if name == "Maximum":
        return max(values)
    if name == "Minimum":
        return min(values)
    if name == "SampleCount":
        return float(len(values))
    return sum(values) / len(values)
