"""Log streams and metrics that SageMaker writes to CloudWatch, in moto's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone

from trackbridge.testing.emulators.sagemaker.core import Cloud

_LOCK = threading.Lock()  # moto's logs are not made for threads
EVENT_CHARS_MAX = 250_000
"""CloudWatch takes 256 KB an event; SageMaker cuts what is longer."""


class LogStream:
    """One log stream; it is made with its first event, as SageMaker makes it."""

    def __init__(self, cloud: Cloud, group: str, name: str) -> None:
        self._cloud = cloud
        self.group, self.name = group, name

    @property
    def arn(self) -> str:
        """The stream's ARN."""
        cloud = self._cloud
        place = f"{cloud.partition}:logs:{cloud.region}:{cloud.account}"
        return f"arn:{place}:log-group:{self.group}:log-stream:{self.name}"

    def write(self, text: str) -> None:
        """Add an event; CloudWatch has none without a message."""
        if not text:
            return
        self._take_metrics(text)
        logs = self._cloud.logs()
        event = {"timestamp": int(self._cloud.now_s() * 1000), "message": text[:EVENT_CHARS_MAX]}
        with _LOCK:
            if self.group not in logs.groups:
                logs.create_log_group(self.group, {})
            logs.ensure_log_stream(self.group, self.name)
            logs.groups[self.group].streams[self.name].put_log_events([event])

    def _take_metrics(self, text: str) -> None:
        """Take the metrics that a line holds (CloudWatch's embedded metric format)."""
        if not text.startswith("{") or '"_aws"' not in text:
            return
        try:
            told = json.loads(text)
            for each in told["_aws"]["CloudWatchMetrics"]:
                units = {metric["Name"]: metric.get("Unit", "None") for metric in each["Metrics"]}
                points = [
                    (name, float(value), unit)
                    for name, unit in units.items()
                    for value in (told[name] if isinstance(told[name], list) else [told[name]])
                ]
                for names in each["Dimensions"]:
                    dimensions = {name: str(told[name]) for name in names}
                    put_metrics(self._cloud, each["Namespace"], dimensions, points)
        except (ValueError, KeyError, TypeError):
            return  # CloudWatch keeps such a line as a line


def put_metrics(
    cloud: Cloud,
    namespace: str,
    dimensions: Mapping[str, str],
    points: Iterable[tuple[str, float, str]],
) -> None:
    """Write points (name, value, unit) of CloudWatch, all of now."""
    now = datetime.fromtimestamp(cloud.now_s(), timezone.utc).replace(tzinfo=None)
    named = [{"Name": name, "Value": value} for name, value in dimensions.items()]
    data = [
        {"MetricName": name, "Value": value, "Unit": unit, "Dimensions": named, "Timestamp": now}
        for name, value, unit in points
    ]
    with _LOCK:
        cloud.cloudwatch().put_metric_data(namespace, data)
