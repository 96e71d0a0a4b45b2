"""Endpoints of the SageMaker emulator change blue/green, and are taken back when an alarm rings."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.sagemaker_scenes import Scenes, client_error, model_of, refused, shifting
from trackbridge.testing.emulators.sagemaker.container_logs import put_metrics
from trackbridge.testing.emulators.sagemaker.endpoint_alarms import ringing
from trackbridge.testing.emulators.sagemaker.endpoint_records import Endpoints


def second(scenes: Scenes, text: str = "two", **changed: Any) -> str:
    """Make a second configuration with a second model."""
    return scenes.config("c2", scenes.variant("all", scenes.model("m2", text), **changed))


def test_an_update_is_blue_green_without_a_gap(scenes: Scenes) -> None:
    name = scenes.served()
    scenes.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=second(scenes))
    seen = []
    while scenes.described(name)["EndpointStatus"] == "Updating":
        seen.append(model_of(scenes.invoke(name)))
    assert set(seen) <= {"one", "two"}
    told = scenes.reached(name)
    assert told["EndpointConfigName"] == "c2"
    assert "PendingDeploymentSummary" not in told
    assert model_of(scenes.invoke(name)) == "two"


def test_a_canary_gets_its_share_before_the_rest(scenes: Scenes) -> None:
    name = scenes.served()
    size = {"Type": "CAPACITY_PERCENT", "Value": 25}
    scenes.sagemaker.update_endpoint(
        EndpointName=name,
        EndpointConfigName=second(scenes),
        DeploymentConfig=shifting("CANARY", CanarySize=size),
    )
    told = scenes.until(
        lambda: scenes.described(name),
        lambda told: (
            told.get("PendingDeploymentSummary", {}).get("ProductionVariants", [{}])[0].get("VariantStatus")
            == [{"Status": "Baking"}]
        ),
    )
    assert told["EndpointStatus"] == "Updating"
    assert told["PendingDeploymentSummary"]["EndpointConfigName"] == "c2"
    seen = [model_of(scenes.invoke(name)) for _ in range(8)]
    assert (seen.count("one"), seen.count("two")) == (6, 2)
    scenes.cloud.clock.advance(7200)
    scenes.until(lambda: model_of(scenes.invoke(name)), lambda text: text == "two")


def test_a_new_model_that_does_not_come_up_is_taken_back(scenes: Scenes) -> None:
    name = scenes.served()
    scenes.cloud.part(Endpoints).health_s = 0.3
    scenes.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=second(scenes, "sick"))
    told = scenes.reached(name)
    assert told["EndpointConfigName"] == "c"
    assert model_of(scenes.invoke(name)) == "one"


def alarm(scenes: Scenes, name: str = "bad") -> dict[str, Any]:
    """Make an alarm on the errors of endpoint ``e``; returns what makes it guard a deployment."""
    scenes.client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Dimensions=[{"Name": "EndpointName", "Value": "e"}, {"Name": "VariantName", "Value": "all"}],
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )
    return {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name}]}}


def test_an_alarm_that_is_set_takes_a_deployment_back(scenes: Scenes) -> None:
    name = scenes.served()
    guard = alarm(scenes)
    deployment = shifting("ALL_AT_ONCE") | guard
    scenes.sagemaker.update_endpoint(
        EndpointName=name, EndpointConfigName=second(scenes), DeploymentConfig=deployment
    )
    scenes.until(lambda: model_of(scenes.invoke(name)), lambda text: text == "two")
    scenes.client("cloudwatch").set_alarm_state(AlarmName="bad", StateValue="ALARM", StateReason="test")
    told = scenes.reached(name)
    assert told["EndpointConfigName"] == "c"
    assert told["LastDeploymentConfig"]["AutoRollbackConfiguration"] == guard["AutoRollbackConfiguration"]
    assert model_of(scenes.invoke(name)) == "one"


def test_errors_of_a_new_model_ring_the_alarm_and_take_it_back(scenes: Scenes) -> None:
    name = scenes.served()
    deployment = shifting("ALL_AT_ONCE") | alarm(scenes)
    scenes.sagemaker.update_endpoint(
        EndpointName=name, EndpointConfigName=second(scenes, "broken"), DeploymentConfig=deployment
    )

    def failing() -> bool:
        try:
            scenes.invoke(name)
        except client_error():
            return True
        return False

    scenes.until(failing, bool)
    assert scenes.reached(name)["EndpointConfigName"] == "c"
    assert model_of(scenes.invoke(name)) == "one"


@pytest.mark.parametrize(
    ("deployment", "words"),
    [
        ({"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "none"}]}}, "Could not find"),
        (shifting("CANARY"), "CanarySize"),
        (shifting("CANARY", CanarySize={"Type": "CAPACITY_PERCENT", "Value": 51}), "50 percent"),
        (shifting("LINEAR", LinearStepSize={"Type": "CAPACITY_PERCENT", "Value": 9}), "10 to 50"),
        (shifting("ALL_AT_ONCE", wait_s=3601), "3600"),
        (
            {
                "RollingUpdatePolicy": {
                    "MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 4},
                    "WaitIntervalInSeconds": 0,
                }
            },
            "5 to 50",
        ),
    ],
)
def test_a_wrong_deployment_is_refused(scenes: Scenes, deployment: dict[str, Any], words: str) -> None:
    name = scenes.served()
    asked = {"EndpointName": name, "EndpointConfigName": "c", "DeploymentConfig": deployment}
    code, message = refused(scenes.sagemaker.update_endpoint, **asked)
    assert code == "ValidationException"
    assert words in message
    assert scenes.described(name)["EndpointStatus"] == "InService"


@pytest.mark.parametrize(("retains", "count"), [(False, 2), (True, 7)])
def test_an_update_resets_counts_unless_they_are_retained(
    scenes: Scenes, *, retains: bool, count: int
) -> None:
    name = scenes.served()
    change = [{"VariantName": "all", "DesiredInstanceCount": 7}]
    scenes.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=name, DesiredWeightsAndCapacities=change
    )
    scenes.reached(name)
    scenes.sagemaker.update_endpoint(
        EndpointName=name, EndpointConfigName=second(scenes), RetainAllVariantProperties=retains
    )
    told = scenes.reached(name)
    assert told["ProductionVariants"][0]["CurrentInstanceCount"] == count


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredWeight"}]}, "RetainAll"),
        (
            {"RetainDeploymentConfig": True, "DeploymentConfig": shifting("ALL_AT_ONCE")},
            "RetainDeploymentConfig",
        ),
    ],
)
def test_a_wrong_update_is_refused(scenes: Scenes, asked: dict[str, Any], words: str) -> None:
    name = scenes.served()
    call = scenes.sagemaker.update_endpoint
    assert words in refused(call, EndpointName=name, EndpointConfigName="c", **asked)[1]


def test_a_failed_endpoint_can_only_be_deleted(scenes: Scenes) -> None:
    model = scenes.model("m", Image="unknown:1")
    scenes.endpoint("e", scenes.config("c", scenes.variant("all", model)), status="Failed")
    told = refused(scenes.sagemaker.update_endpoint, EndpointName="e", EndpointConfigName="c")
    assert "in status Failed" in told[1]
    change = [{"VariantName": "all", "DesiredWeight": 1}]
    call = scenes.sagemaker.update_endpoint_weights_and_capacities
    told = refused(call, EndpointName="e", DesiredWeightsAndCapacities=change)
    assert "in status Failed" in told[1]
    scenes.sagemaker.delete_endpoint(EndpointName="e")


@pytest.mark.parametrize(
    ("statistic", "threshold", "rings"),
    [
        ("Sum", 6, True),
        ("Sum", 7, False),
        ("Average", 2, True),
        ("Average", 2.1, False),
        ("Maximum", 3, True),
        ("Maximum", 4, False),
        ("Minimum", 1, True),
        ("SampleCount", 3, True),
        ("SampleCount", 4, False),
    ],
)
def test_an_alarm_is_led_by_the_data_of_its_period(
    scenes: Scenes, statistic: str, threshold: float, *, rings: bool
) -> None:
    cloudwatch = scenes.client("cloudwatch")
    dimensions = [{"Name": "EndpointName", "Value": "e"}]
    cloudwatch.put_metric_alarm(
        AlarmName="a",
        Namespace="Mine",
        MetricName="m",
        Dimensions=dimensions,
        Statistic=statistic,
        Period=60,
        EvaluationPeriods=1,
        Threshold=threshold,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )
    begin_s = scenes.cloud.now_s()
    assert ringing(scenes.cloud, ["a"], begin_s) == []
    for value in (1, 2, 3):
        put_metrics(
            scenes.cloud, "Mine", {"EndpointName": "e"}, [("m", value, "None"), ("other", 99, "None")]
        )
    put_metrics(scenes.cloud, "Mine", {"EndpointName": "f"}, [("m", 99, "None")])
    assert ringing(scenes.cloud, ["a", "none"], begin_s) == (["a"] if rings else [])
    scenes.cloud.clock.advance(61)
    assert ringing(scenes.cloud, ["a"], begin_s) == []


@pytest.mark.parametrize("excludes", [False, True])
def test_an_update_that_retains_goes_on_capturing_as_before_unless_told(
    scenes: Scenes, *, excludes: bool
) -> None:
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 50,
        "DestinationS3Uri": "s3://scenes/captured",
        "CaptureOptions": [{"CaptureMode": "Input"}],
    }
    config = scenes.config("c", scenes.variant("all", scenes.model("m")), DataCaptureConfig=capture)
    scenes.endpoint("e", config)
    excluded = [{"VariantPropertyType": "DataCaptureConfig"}] if excludes else []
    scenes.sagemaker.update_endpoint(
        EndpointName="e",
        EndpointConfigName=second(scenes),
        RetainAllVariantProperties=True,
        ExcludeRetainedVariantProperties=excluded,
    )
    assert ("DataCaptureConfig" in scenes.reached("e")) is not excludes
