"""Inference components and scalable targets of the SageMaker emulator."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.sagemaker_scenes import IMAGE, ROLE, Scenes, client_error, model_of, refused
from trackbridge.testing.emulators.sagemaker.autoscaling import COPIES, COUNT, scale
from trackbridge.testing.emulators.sagemaker.images import COMMAND_VARIABLE


def shared(scenes: Scenes) -> None:
    """Make an endpoint whose variant has no model."""
    config = scenes.config("c", scenes.variant("all", None), ExecutionRoleArn=ROLE)
    scenes.endpoint("e", config)


def component(scenes: Scenes, name: str, model: str, **changed: Any) -> dict[str, Any]:
    """Make a component on endpoint ``e``, and wait until it is in service."""
    asked: dict[str, Any] = {
        "InferenceComponentName": name,
        "EndpointName": "e",
        "VariantName": "all",
        "Specification": {
            "ModelName": model,
            "ComputeResourceRequirements": {"MinMemoryRequiredInMb": 128},
        },
        "RuntimeConfig": {"CopyCount": 1},
    }
    asked.update(changed)
    scenes.sagemaker.create_inference_component(**asked)
    described: dict[str, Any] = scenes.until(
        lambda: scenes.sagemaker.describe_inference_component(InferenceComponentName=name),
        lambda told: told["InferenceComponentStatus"] == "InService",
    )
    return described


def test_components_share_a_variant_and_answer_by_name(scenes: Scenes) -> None:
    shared(scenes)
    component(scenes, "one", scenes.model("ma", "A"))
    told = component(scenes, "two", scenes.model("mb", "B"))
    assert told["RuntimeConfig"] == {"DesiredCopyCount": 1, "CurrentCopyCount": 1}
    assert model_of(scenes.invoke("e", InferenceComponentName="one")) == "A"
    assert model_of(scenes.invoke("e", InferenceComponentName="two")) == "B"
    assert refused(scenes.runtime.invoke_endpoint, EndpointName="e", Body=b"1")[0] == "ValidationError"
    listed = scenes.sagemaker.list_inference_components(EndpointNameEquals="e", SortBy="Name")
    names = [row["InferenceComponentName"] for row in listed["InferenceComponents"]]
    assert names == ["two", "one"]
    assert "inference components" in refused(scenes.sagemaker.delete_endpoint, EndpointName="e")[1]


def test_a_component_is_updated_and_deleted(scenes: Scenes) -> None:
    shared(scenes)
    component(scenes, "one", scenes.model("ma", "A"))
    sagemaker = scenes.sagemaker
    requirements = {"MinMemoryRequiredInMb": 128}
    sagemaker.update_inference_component(
        InferenceComponentName="one",
        Specification={"ModelName": scenes.model("mb", "B"), "ComputeResourceRequirements": requirements},
        RuntimeConfig={"CopyCount": 2},
    )
    scenes.until(
        lambda: sagemaker.describe_inference_component(InferenceComponentName="one"),
        lambda told: told["InferenceComponentStatus"] == "InService",
    )
    assert model_of(scenes.invoke("e", InferenceComponentName="one")) == "B"
    sagemaker.delete_inference_component(InferenceComponentName="one")
    listed = sagemaker.list_inference_components
    scenes.until(lambda: listed()["InferenceComponents"], lambda rows: rows == [])
    sagemaker.delete_endpoint(EndpointName="e")


def test_a_component_needs_a_variant_without_a_model(scenes: Scenes) -> None:
    scenes.served()
    with pytest.raises(client_error(), match="no ModelName"):
        component(scenes, "one", "m")


def register(scenes: Scenes, resource: str, dimension: str = COUNT, **changed: Any) -> None:
    """Register a scalable target of one to four."""
    asked = {"MinCapacity": 1, "MaxCapacity": 4} | changed
    scenes.client("application-autoscaling").register_scalable_target(
        ServiceNamespace="sagemaker", ResourceId=resource, ScalableDimension=dimension, **asked
    )


def test_a_target_is_a_variant_that_is_there(scenes: Scenes) -> None:
    scenes.served()
    register(scenes, "endpoint/e/variant/all")
    with pytest.raises(client_error(), match="Unable to find"):
        register(scenes, "endpoint/e/variant/none")
    with pytest.raises(client_error(), match="Unable to find"):
        register(scenes, "inference-component/none", COPIES)
    with pytest.raises(client_error(), match="Maximum capacity"):
        register(scenes, "endpoint/e/variant/all", MinCapacity=5)


def test_a_policy_needs_a_target_and_a_metric_of_its_dimension(scenes: Scenes) -> None:
    scenes.served()
    resource = "endpoint/e/variant/all"
    asked: dict[str, Any] = {
        "PolicyName": "p",
        "ServiceNamespace": "sagemaker",
        "ResourceId": resource,
        "ScalableDimension": COUNT,
        "PolicyType": "TargetTrackingScaling",
    }

    def tracking(metric: str) -> dict[str, Any]:
        specification = {"PredefinedMetricType": metric}
        config = {"TargetValue": 70.0, "PredefinedMetricSpecification": specification}
        return asked | {"TargetTrackingScalingPolicyConfiguration": config}

    call = scenes.client("application-autoscaling").put_scaling_policy
    right = tracking("SageMakerVariantInvocationsPerInstance")
    assert refused(call, **right)[0] == "ObjectNotFoundException"
    register(scenes, resource)
    assert call(**right)["PolicyARN"]
    wrong = tracking("SageMakerInferenceComponentInvocationsPerCopy")
    assert refused(call, **wrong)[0] == "ValidationException"


def test_scaling_moves_the_count_within_the_bounds_and_is_told(scenes: Scenes) -> None:
    scenes.served()
    resource = "endpoint/e/variant/all"
    register(scenes, resource)
    scale(scenes.cloud, resource, COUNT, 9)
    assert scenes.described("e")["ProductionVariants"][0]["CurrentInstanceCount"] == 4
    client = scenes.client("application-autoscaling")
    rows = client.describe_scaling_activities(ServiceNamespace="sagemaker")["ScalingActivities"]
    assert [(row["ResourceId"], row["StatusCode"]) for row in rows] == [(resource, "Successful")]


def test_a_variant_that_scales_is_not_removed_by_an_update(scenes: Scenes) -> None:
    name = scenes.served()
    register(scenes, "endpoint/e/variant/all")
    config = scenes.config("c2", scenes.variant("other", scenes.model("m2", "two")))
    call = scenes.sagemaker.update_endpoint
    assert "deregistered" in refused(call, EndpointName=name, EndpointConfigName=config)[1]
    scenes.client("application-autoscaling").deregister_scalable_target(
        ServiceNamespace="sagemaker", ResourceId="endpoint/e/variant/all", ScalableDimension=COUNT
    )
    call(EndpointName=name, EndpointConfigName=config)
    assert scenes.reached(name)["EndpointConfigName"] == "c2"


def test_a_serverless_variant_serves_and_scales_by_concurrency(scenes: Scenes) -> None:
    size = {"MemorySizeInMB": 2048, "MaxConcurrency": 5, "ProvisionedConcurrency": 1}
    variant = {"VariantName": "all", "ModelName": scenes.model("m"), "ServerlessConfig": size}
    told = scenes.endpoint("e", scenes.config("c", variant))
    assert told["ProductionVariants"][0]["CurrentServerlessConfig"]["MaxConcurrency"] == 5
    assert "CurrentInstanceCount" not in told["ProductionVariants"][0]
    assert model_of(scenes.invoke("e")) == "one"
    resource = "endpoint/e/variant/all"
    with pytest.raises(client_error(), match="serverless"):
        register(scenes, resource)
    concurrency = "sagemaker:variant:DesiredProvisionedConcurrency"
    register(scenes, resource, concurrency)
    scale(scenes.cloud, resource, concurrency, 3)
    told = scenes.described("e")["ProductionVariants"][0]
    assert told["CurrentServerlessConfig"]["ProvisionedConcurrency"] == 3


def test_targets_are_told_and_go_with_their_policies(scenes: Scenes) -> None:
    scenes.served()
    resource = "endpoint/e/variant/all"
    client = scenes.client("application-autoscaling")
    named = {"ServiceNamespace": "sagemaker", "ResourceId": resource, "ScalableDimension": COUNT}
    assert refused(client.deregister_scalable_target, **named)[0] == "ObjectNotFoundException"
    assert "MinCapacity" in refused(client.register_scalable_target, **named)[1]
    register(scenes, resource)
    register(scenes, resource, MaxCapacity=6)
    (told,) = client.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (told["ResourceId"], told["MinCapacity"], told["MaxCapacity"]) == (resource, 1, 6)
    assert told["SuspendedState"]["DynamicScalingInSuspended"] is False
    client.put_scaling_policy(
        PolicyName="p",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 70.0,
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
            },
        },
        **named,
    )
    client.deregister_scalable_target(**named)
    assert client.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []
    assert client.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"] == []
    assert "SageMaker only" in refused(client.describe_scalable_targets, ServiceNamespace="ecs")[1]


def test_a_component_scales_by_copies(scenes: Scenes) -> None:
    shared(scenes)
    component(scenes, "one", scenes.model("m"))
    register(scenes, "inference-component/one", COPIES)
    scale(scenes.cloud, "inference-component/one", COPIES, 3)
    describe = scenes.sagemaker.describe_inference_component
    scenes.until(
        lambda: describe(InferenceComponentName="one")["RuntimeConfig"],
        lambda told: told == {"DesiredCopyCount": 3, "CurrentCopyCount": 3},
    )
    change = {"CopyCount": 0}
    scenes.sagemaker.update_inference_component_runtime_config(
        InferenceComponentName="one", DesiredRuntimeConfig=change
    )
    scenes.until(
        lambda: describe(InferenceComponentName="one")["InferenceComponentStatus"],
        lambda status: status == "InService",
    )
    asked = {"EndpointName": "e", "Body": b"1", "InferenceComponentName": "one"}
    assert "no capacity" in refused(scenes.runtime.invoke_endpoint, **asked)[1]
    asked["InferenceComponentName"] = "none"
    assert "not found" in refused(scenes.runtime.invoke_endpoint, **asked)[1]


def test_a_component_may_bring_its_own_container_and_may_fail(scenes: Scenes) -> None:
    shared(scenes)
    uri = scenes.put("own.tar.gz", scenes.archive({"model.txt": "own"}))
    requirements = {"MinMemoryRequiredInMb": 128}
    container = {"Image": IMAGE, "ArtifactUrl": uri, "Environment": {"A": "1"}}
    specification = {"Container": container, "ComputeResourceRequirements": requirements}
    told = component(scenes, "one", "", Specification=specification)
    assert told["Specification"]["Container"]["DeployedImage"]["SpecifiedImage"] == IMAGE
    assert model_of(scenes.invoke("e", InferenceComponentName="one")) == "own"
    unknown = {"Container": {"Image": "unknown:1"}, "ComputeResourceRequirements": requirements}
    scenes.sagemaker.create_inference_component(
        InferenceComponentName="two",
        EndpointName="e",
        VariantName="all",
        Specification=unknown,
        RuntimeConfig={"CopyCount": 1},
    )
    failed = scenes.until(
        lambda: scenes.sagemaker.describe_inference_component(InferenceComponentName="two"),
        lambda told: told["InferenceComponentStatus"] == "Failed",
    )
    assert COMMAND_VARIABLE in failed["FailureReason"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"InferenceComponentName": "taken"}, "already existing"),
        ({"EndpointName": "none"}, "Could not find endpoint"),
        ({"Specification": None}, "Specification is required"),
        ({"RuntimeConfig": None}, "RuntimeConfig is required"),
        ({"Specification": {"ModelName": "m"}}, "ComputeResourceRequirements"),
        (
            {"Specification": {"ComputeResourceRequirements": {"MinMemoryRequiredInMb": 128}}},
            "exactly one of ModelName and Container",
        ),
        (
            {
                "Specification": {
                    "ModelName": "m",
                    "ComputeResourceRequirements": {"MinMemoryRequiredInMb": 127},
                }
            },
            "128",
        ),
    ],
)
def test_a_wrong_component_is_refused(scenes: Scenes, changed: dict[str, Any], words: str) -> None:
    shared(scenes)
    component(scenes, "taken", scenes.model("m"))
    requirements = {"MinMemoryRequiredInMb": 128}
    asked: dict[str, Any] = {
        "InferenceComponentName": "new",
        "EndpointName": "e",
        "VariantName": "all",
        "Specification": {"ModelName": "m", "ComputeResourceRequirements": requirements},
        "RuntimeConfig": {"CopyCount": 1},
    } | changed
    asked = {name: value for name, value in asked.items() if value is not None}
    code, message = refused(scenes.sagemaker.create_inference_component, **asked)
    assert code == "ValidationException"
    assert words in message
    call = scenes.sagemaker.describe_inference_component
    assert "Could not find" in refused(call, InferenceComponentName="new")[1]
