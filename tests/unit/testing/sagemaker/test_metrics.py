"""Points, summaries and history of metrics as the emulator keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.sagemaker_calls import Calls
from trackbridge.testing.emulators.sagemaker.core import Cloud, Refused
from trackbridge.testing.emulators.sagemaker.metrics import METRICS_OPERATIONS, Metrics

COMPONENT = "digits-1"
DAY_S = 24 * 3600


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    cloud = Cloud()
    cloud.clock.stop()
    cloud.tags.start(cloud.arn("experiment-trial-component", COMPONENT))
    yield cloud
    cloud.close()


@pytest.fixture
def call(cloud: Cloud) -> Calls:
    return Calls(cloud, METRICS_OPERATIONS, "sagemaker-metrics")


def point(
    cloud: Cloud, value: Any, step: int | None = 0, name: str = "loss", ago_s: float = 0
) -> dict[str, Any]:
    told = {"MetricName": name, "Timestamp": cloud.now_s() - ago_s, "Value": value}
    return told if step is None else {**told, "Step": step}


def put(call: Calls, *points: dict[str, Any], component: str = COMPONENT) -> dict[str, Any]:
    return call("BatchPutMetrics", TrialComponentName=component, MetricData=list(points))


def history(call: Calls, name: str = "loss", **asked: Any) -> dict[str, Any]:
    arn = call.cloud.arn("experiment-trial-component", COMPONENT)
    query = {
        "MetricName": name,
        "ResourceArn": arn,
        "MetricStat": "Last",
        "Period": "IterationNumber",
        "XAxisType": "IterationNumber",
        **asked,
    }
    results = call("BatchGetMetrics", MetricQueries=[query])["MetricQueryResults"]
    assert len(results) == 1
    result: dict[str, Any] = results[0]
    return result


def test_points_come_back_by_step_whatever_their_order(cloud: Cloud, call: Calls) -> None:
    assert put(call, point(cloud, 3.0, 2), point(cloud, 1.0, 0)) == {}
    assert put(call, point(cloud, 2.0, 1)) == {}
    found = history(call)
    assert (found["Status"], found["XAxisValues"], found["MetricValues"]) == (
        "Complete",
        [0, 1, 2],
        [1, 2, 3],
    )


def test_the_same_point_twice_is_two_points(cloud: Cloud, call: Calls) -> None:
    put(call, point(cloud, 1.5, 4), point(cloud, 1.5, 4))
    summary = cloud.part(Metrics).summaries(cloud.arn("experiment-trial-component", COMPONENT))[0]
    assert summary["Count"] == 2
    assert history(call)["MetricValues"] == [1.5]
    assert history(call, MetricStat="Count")["MetricValues"] == [2]


def test_a_summary_is_of_all_points(cloud: Cloud, call: Calls) -> None:
    put(
        call, *(point(cloud, value, step) for step, value in enumerate([2.0, 4.0, 9.0])), point(cloud, 1.0, 1)
    )
    arn = cloud.arn("experiment-trial-component", COMPONENT)
    summary = cloud.part(Metrics).summaries(arn)[0]
    assert (summary["MetricName"], summary["SourceArn"]) == ("loss", arn)
    assert (summary["Min"], summary["Max"], summary["Count"], summary["Last"]) == (1.0, 9.0, 4, 9.0)
    assert summary["Avg"] == pytest.approx(4.0)
    assert summary["StdDev"] == pytest.approx(9.5**0.5)
    assert summary["TimeStamp"] == pytest.approx(cloud.now_s())


def test_a_point_without_a_step_counts_but_has_no_place_among_steps(cloud: Cloud, call: Calls) -> None:
    put(call, point(cloud, 5.0, None), point(cloud, 6.0, 3))
    assert history(call)["XAxisValues"] == [3]
    summary = cloud.part(Metrics).summaries(cloud.arn("experiment-trial-component", COMPONENT))[0]
    assert summary["Count"] == 2


@pytest.mark.parametrize(
    ("value", "ago_s", "code"),
    [
        (1.0, 14 * DAY_S, None),
        (1.0, 14 * DAY_S + 1, "VALIDATION_ERROR"),
        (1.0, -2 * 3600, None),
        (1.0, -2 * 3600 - 1, "VALIDATION_ERROR"),
        ("NaN", 0, "VALIDATION_ERROR"),
        ("-Infinity", 0, "VALIDATION_ERROR"),
    ],
)
def test_what_is_not_taken_is_told_by_its_index(
    cloud: Cloud, call: Calls, value: Any, ago_s: float, code: str | None
) -> None:
    good = point(cloud, 1.0, 0, name="good")
    answer = put(call, good, point(cloud, value, 0, ago_s=ago_s))
    assert answer == ({} if code is None else {"Errors": [{"Code": code, "MetricIndex": 1}]})
    assert history(call, "good")["MetricValues"] == [1.0]
    assert len(history(call)["MetricValues"]) == (1 if code is None else 0)


def test_an_unknown_component_is_told_for_every_point(cloud: Cloud, call: Calls) -> None:
    answer = put(call, point(cloud, 1.0), point(cloud, 2.0), component="nobody")
    assert [error["Code"] for error in answer["Errors"]] == ["VALIDATION_ERROR"] * 2
    assert [error["MetricIndex"] for error in answer["Errors"]] == [0, 1]


@pytest.mark.parametrize("name", ["Digits-1", "digits_1", "", "d" * 121])
def test_names_are_in_small_letters(cloud: Cloud, call: Calls, name: str) -> None:
    with pytest.raises(Refused, match="trialComponentName") as refused:
        put(call, point(cloud, 1.0), component=name)
    assert refused.value.code == "ValidationException"


def test_ten_points_a_call_and_steps_of_32_bits(cloud: Cloud, call: Calls) -> None:
    put(call, *[point(cloud, 1.0, 2**31 - 1)] * 10)
    with pytest.raises(Refused, match="length less than or equal to 10"):
        put(call, *[point(cloud, 1.0)] * 11)
    with pytest.raises(Refused, match="SerializationException"):
        put(call, point(cloud, 1.0, 2**31))
    with pytest.raises(Refused, match="greater than or equal to 0"):
        put(call, point(cloud, 1.0, -1))
    assert history(call)["XAxisValues"] == [2**31 - 1]


def test_failures_on_demand_are_of_single_points(cloud: Cloud, call: Calls) -> None:
    cloud.part(Metrics).failures = ["CONFLICT_ERROR"]
    first = put(call, point(cloud, 1.0, 0), point(cloud, 2.0, 1))
    assert first == {"Errors": [{"Code": "CONFLICT_ERROR", "MetricIndex": 0}]}
    assert put(call, point(cloud, 1.0, 0)) == {}
    assert history(call)["MetricValues"] == [1.0, 2.0]


def test_a_resource_can_be_full_of_metrics(cloud: Cloud, call: Calls) -> None:
    cloud.part(Metrics).names_max = 1
    answer = put(
        call, point(cloud, 1.0, name="a"), point(cloud, 1.0, name="b"), point(cloud, 2.0, 1, name="a")
    )
    assert answer == {"Errors": [{"Code": "METRIC_LIMIT_EXCEEDED", "MetricIndex": 1}]}


def test_a_long_history_is_truncated_and_goes_on_after_the_last_step(cloud: Cloud, call: Calls) -> None:
    cloud.part(Metrics).query_points_max = 7
    for first in range(0, 20, 10):
        put(call, *(point(cloud, float(step), step) for step in range(first, first + 10)))
    seen: list[int] = []
    while True:
        found = history(call, Start=seen[-1] + 1) if seen else history(call)
        seen += found["XAxisValues"]
        if found["Status"] == "Complete":
            break
        assert found["Status"] == "Truncated"
    assert seen == list(range(20))
    assert history(call, Start=3, End=5)["XAxisValues"] == [3, 4, 5]


def test_time_is_told_by_the_minute(cloud: Cloud, call: Calls) -> None:
    put(call, point(cloud, 1.0, 0, ago_s=120), point(cloud, 3.0, 1, ago_s=120), point(cloud, 5.0, 2))
    found = history(call, XAxisType="Timestamp", Period="OneMinute", MetricStat="Avg")
    assert found["MetricValues"] == [2.0, 5.0]
    assert all(second % 60 == 0 for second in found["XAxisValues"])
    assert found["XAxisValues"][1] - found["XAxisValues"][0] == 120


@pytest.mark.parametrize(
    "asked",
    [
        {"Period": "OneMinute"},
        {"XAxisType": "Timestamp"},
        {"ResourceArn": "arn:aws:sagemaker:us-east-1:210987654321:experiment-trial-component/nobody"},
    ],
)
def test_a_query_that_makes_no_sense_is_told_by_itself(
    cloud: Cloud, call: Calls, asked: dict[str, str]
) -> None:
    put(call, point(cloud, 1.0))
    found = history(call, **asked)
    assert (found["Status"], found["XAxisValues"], found["MetricValues"]) == ("ValidationError", [], [])
    assert found["Message"]


def test_jobs_have_series_and_final_values(cloud: Cloud, call: Calls) -> None:
    arn = cloud.arn("training-job", "train-1")
    cloud.tags.start(arn)
    metrics = cloud.part(Metrics)
    metrics.add(arn, "loss", 0.5, cloud.now_s(), 0)
    metrics.add(arn, "loss", 0.25, cloud.now_s(), 1)
    assert metrics.finals(arn) == [{"MetricName": "loss", "Value": 0.25, "Timestamp": cloud.now_s()}]
    assert history(call, ResourceArn=arn)["MetricValues"] == [0.5, 0.25]
    metrics.forget(arn)
    assert metrics.finals(arn) == metrics.summaries(arn) == []
