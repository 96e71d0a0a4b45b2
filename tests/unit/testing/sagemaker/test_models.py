"""Models and endpoint configurations of the SageMaker emulator are kept, told and refused as AWS does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.sagemaker_scenes import BUCKET, IMAGE, ROLE, Scenes, model_of, refused


def test_a_model_is_described_as_it_was_made(scenes: Scenes) -> None:
    scenes.model("m", Environment={"A": "1"})
    told = scenes.sagemaker.describe_model(ModelName="m")
    assert told["PrimaryContainer"]["Environment"] == {"A": "1"}
    assert told["PrimaryContainer"]["Mode"] == "SingleModel"
    assert told["EnableNetworkIsolation"] is False
    assert "VpcConfig" not in told
    assert [row["ModelName"] for row in scenes.sagemaker.list_models()["Models"]] == ["m"]
    scenes.sagemaker.delete_model(ModelName="m")
    code, message = refused(scenes.sagemaker.describe_model, ModelName="m")
    assert (code, "Could not find model" in message) == ("ValidationException", True)


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"Image": IMAGE, "ModelDataUrl": f"s3://{BUCKET}/nothing.tar.gz"}, "Could not find model data"),
        ({"ModelDataUrl": f"s3://{BUCKET}/x.tar.gz"}, "Image"),
        ({"Image": IMAGE, "Mode": "MultiModel"}, "multi-model"),
        (
            {
                "Image": IMAGE,
                "ModelDataSource": {
                    "S3DataSource": {
                        "S3Uri": f"s3://{BUCKET}/folder",
                        "S3DataType": "S3Prefix",
                        "CompressionType": "None",
                    }
                },
            },
            "slash",
        ),
        ({"Image": IMAGE, "Environment": {"k": "x" * 1025}}, "1024"),
    ],
)
def test_a_wrong_container_is_refused(scenes: Scenes, container: dict[str, Any], words: str) -> None:
    asked = {"ModelName": "m", "PrimaryContainer": container, "ExecutionRoleArn": ROLE}
    code, message = refused(scenes.sagemaker.create_model, **asked)
    assert code == "ValidationException"
    assert words in message


def test_a_model_is_made_once(scenes: Scenes) -> None:
    scenes.model("m")
    container = {"Image": IMAGE}
    asked = {"ModelName": "m", "PrimaryContainer": container, "ExecutionRoleArn": ROLE}
    assert "already existing model" in refused(scenes.sagemaker.create_model, **asked)[1]


def test_a_model_package_is_served_once_it_is_approved(scenes: Scenes) -> None:
    uri = scenes.put("p/model.tar.gz", scenes.archive({"model.txt": "packaged"}))
    sagemaker = scenes.sagemaker
    sagemaker.create_model_package_group(ModelPackageGroupName="g")
    made = sagemaker.create_model_package(
        ModelPackageGroupName="g",
        InferenceSpecification={
            "Containers": [{"Image": IMAGE, "ModelDataUrl": uri}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
    )
    container = {"ModelPackageName": made["ModelPackageArn"]}
    asked = {"ModelName": "m", "PrimaryContainer": container, "ExecutionRoleArn": ROLE}
    assert refused(sagemaker.create_model, **asked)[0] == "ValidationException"
    sagemaker.update_model_package(ModelPackageArn=made["ModelPackageArn"], ModelApprovalStatus="Approved")
    sagemaker.create_model(**asked)
    scenes.endpoint("e", scenes.config("c", scenes.variant("all", "m")))
    assert model_of(scenes.invoke("e")) == "packaged"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ModelName": "missing"}, "Could not find model"),
        ({"InstanceType": None}, "InstanceType"),
        ({"InitialInstanceCount": None}, "InitialInstanceCount"),
        ({"ModelName": None}, "ExecutionRoleArn"),
        ({"InstanceType": "ml.nonsense"}, "enum"),
        ({"ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5}}, "exactly one"),
        (
            {
                "ServerlessConfig": {"MemorySizeInMB": 1500, "MaxConcurrency": 5},
                "InstanceType": None,
                "InitialInstanceCount": None,
            },
            "1 GB",
        ),
        ({"VolumeSizeInGB": 513}, "512"),
    ],
)
def test_a_wrong_variant_is_refused(scenes: Scenes, changed: dict[str, Any], words: str) -> None:
    variant = scenes.variant("all", scenes.model("m")) | changed
    variant = {name: value for name, value in variant.items() if value is not None}
    call = scenes.sagemaker.create_endpoint_config
    code, message = refused(call, EndpointConfigName="c", ProductionVariants=[variant])
    assert code == "ValidationException"
    assert words in message


def test_variants_that_do_not_go_together_are_refused(scenes: Scenes) -> None:
    model = scenes.model("m")
    one, two, three = (scenes.variant(name, model) for name in ("a", "b", "c"))
    call = scenes.sagemaker.create_endpoint_config
    told = refused(call, EndpointConfigName="c", ProductionVariants=[one, one])
    assert "unique" in told[1]
    told = refused(
        call, EndpointConfigName="c", ProductionVariants=[one, two], ShadowProductionVariants=[three]
    )
    assert "shadow" in told[1]


def test_a_configuration_tells_its_weights_and_shadow(scenes: Scenes) -> None:
    model = scenes.model("m")
    shadow = scenes.variant("b", model, InitialVariantWeight=0.5)
    scenes.config("c", scenes.variant("a", model), ShadowProductionVariants=[shadow])
    told = scenes.sagemaker.describe_endpoint_config(EndpointConfigName="c")
    assert told["ProductionVariants"][0]["InitialVariantWeight"] == 1.0
    assert told["ShadowProductionVariants"][0]["InitialVariantWeight"] == 0.5


def test_a_configuration_is_made_once_and_can_be_deleted_in_use(scenes: Scenes) -> None:
    name = scenes.served()
    config = scenes.described(name)["EndpointConfigName"]
    variant = scenes.variant("all", "m")
    call = scenes.sagemaker.create_endpoint_config
    assert "already existing" in refused(call, EndpointConfigName=config, ProductionVariants=[variant])[1]
    scenes.sagemaker.delete_endpoint_config(EndpointConfigName=config)
    assert model_of(scenes.invoke(name)) == "one"


@pytest.mark.parametrize(
    ("more", "size", "words"),
    [
        (
            {},
            {"MemorySizeInMB": 1024, "MaxConcurrency": 1, "ProvisionedConcurrency": 2},
            "less than or equal",
        ),
        (
            {
                "DataCaptureConfig": {
                    "InitialSamplingPercentage": 1,
                    "DestinationS3Uri": "s3://scenes/c",
                    "CaptureOptions": [{"CaptureMode": "Input"}],
                }
            },
            {"MemorySizeInMB": 1024, "MaxConcurrency": 1},
            "Data capture",
        ),
        (
            {"AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "s3://scenes/a"}}},
            {"MemorySizeInMB": 1024, "MaxConcurrency": 1},
            "AsyncInferenceConfig",
        ),
    ],
)
def test_what_serverless_endpoints_cannot_have_is_refused(
    scenes: Scenes, more: dict[str, Any], size: dict[str, Any], words: str
) -> None:
    variant = {"VariantName": "all", "ModelName": scenes.model("m"), "ServerlessConfig": size}
    call = scenes.sagemaker.create_endpoint_config
    told = refused(call, EndpointConfigName="c", ProductionVariants=[variant], **more)
    assert words in told[1]
    other = {"VariantName": "b", "ModelName": "m", "ServerlessConfig": size | {"ProvisionedConcurrency": 1}}
    told = refused(call, EndpointConfigName="c", ProductionVariants=[variant, other])
    assert told[0] == "ValidationException"
    assert scenes.sagemaker.list_endpoint_configs()["EndpointConfigs"] == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ExecutionRoleArn": None}, "ExecutionRoleArn"),
        ({"Containers": [{"Image": IMAGE}]}, "Exactly one of"),
        ({"PrimaryContainer": None}, "Exactly one of"),
        ({"PrimaryContainer": None, "Containers": []}, "at least one"),
        ({"PrimaryContainer": {"Image": IMAGE, "ModelPackageName": "p"}}, "ModelPackageName"),
    ],
)
def test_a_wrong_model_is_refused(scenes: Scenes, changed: dict[str, Any], words: str) -> None:
    asked: dict[str, Any] = {
        "ModelName": "m",
        "PrimaryContainer": {"Image": IMAGE},
        "ExecutionRoleArn": ROLE,
    } | changed
    asked = {name: value for name, value in asked.items() if value is not None}
    code, message = refused(scenes.sagemaker.create_model, **asked)
    assert (code, words in message) == ("ValidationException", True)
    assert scenes.sagemaker.list_models()["Models"] == []
