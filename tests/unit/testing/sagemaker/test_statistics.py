"""CloudWatch of the emulator: statistics that moto has not, and metrics that programs log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.support.sagemaker_emulators import message_of, sagemaker_emulator
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge.testing.emulators.sagemaker.container_logs import LogStream

NOW = datetime(2026, 1, 2, 3, 4, 30, tzinfo=timezone.utc)
BEGIN, END = NOW.replace(second=0) - timedelta(minutes=1), NOW + timedelta(minutes=1)


@pytest.fixture(scope="module")
def emulator() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as emulator:
        put(emulator, [float(value) for value in range(1, 101)], NOW)
        put(emulator, [1000.0], NOW - timedelta(minutes=1))
        put(emulator, [5.0], NOW - timedelta(hours=1))
        yield emulator


def put(emulator: SageMakerEmulator, values: list[float], at: datetime) -> None:
    data = [
        {"MetricName": "m", "Value": value, "Timestamp": at, "Dimensions": [{"Name": "d", "Value": "x"}]}
        for value in values
    ]
    emulator.client("cloudwatch").put_metric_data(Namespace="n", MetricData=data)


def asked(statistic: str, period_s: int = 120, name: str = "m") -> dict[str, Any]:
    metric = {"Namespace": "n", "MetricName": name, "Dimensions": [{"Name": "d", "Value": "x"}]}
    query = {"Id": "q", "MetricStat": {"Metric": metric, "Period": period_s, "Stat": statistic}}
    return {"MetricDataQueries": [query], "StartTime": BEGIN, "EndTime": END, "ScanBy": "TimestampAscending"}


@pytest.mark.parametrize(
    ("statistic", "value"),
    [
        ("Sum", 6050.0),
        ("SampleCount", 101.0),
        ("Maximum", 1000.0),
        ("p50", 51.0),
        ("p99", 100.0),
        ("p100", 1000.0),
        ("TC(50:100)", 50.0),
        ("TC(:50)", 50.0),
        ("TC(100:)", 1.0),
    ],
)
def test_a_statistic_of_a_window(emulator: SageMakerEmulator, statistic: str, value: float) -> None:
    (found,) = emulator.client("cloudwatch").get_metric_data(**asked(statistic))["MetricDataResults"]
    assert found["Values"] == [value]


def test_each_period_has_its_own(emulator: SageMakerEmulator) -> None:
    (found,) = emulator.client("cloudwatch").get_metric_data(**asked("Maximum", 60))["MetricDataResults"]
    assert found["Values"] == [1000.0, 100.0]


def test_without_points_there_are_no_values(emulator: SageMakerEmulator) -> None:
    (found,) = emulator.client("cloudwatch").get_metric_data(**asked("p50", name="none"))["MetricDataResults"]
    assert found["Values"] == []


def test_a_statistic_that_is_none_is_refused(emulator: SageMakerEmulator) -> None:
    assert "p101" in message_of(emulator.client("cloudwatch").get_metric_data, **asked("p101"))


def test_a_line_with_metrics_is_one(emulator: SageMakerEmulator) -> None:
    told = {
        "_aws": {
            "Timestamp": 0,
            "CloudWatchMetrics": [
                {"Namespace": "own", "Dimensions": [["Name"]], "Metrics": [{"Name": "rows", "Unit": "Count"}]}
            ],
        },
        "Name": "wine/v1",
        "rows": [3, 4],
    }
    log = LogStream(emulator.cloud, "/group", "stream")
    log.write(json.dumps(told))
    log.write('{"_aws": "no metrics"}')
    points = [point for point in emulator.cloud.cloudwatch().metric_data if point.namespace == "own"]
    assert [(point.name, point.value, point.dimensions[0].value) for point in points] == [
        ("rows", 3.0, "wine/v1"),
        ("rows", 4.0, "wine/v1"),
    ]
