"""What SageMaker looks at in IAM, ECR, S3 and Service Quotas before it takes a job; and what it loses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.sagemaker_scenes import BUCKET, ROLE, Scenes, client_error, refused
from trackbridge.testing.emulators.sagemaker.jobs_records import Jobs
from trackbridge.testing.emulators.sagemaker.quotas import Quotas

INDEX = "application/vnd.oci.image.index.v1+json"
ACCOUNT = "210987654321"


def training(scenes: Scenes, **changed: Any) -> tuple[str, str]:
    """Return how a training job is refused."""
    return refused(scenes.sagemaker.create_training_job, **scenes.training("j", "", **changed))


def processing(scenes: Scenes, **changed: Any) -> dict[str, Any]:
    """Return a request for a processing job that is right unless it is changed."""
    return {
        "ProcessingJobName": "p",
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": scenes.emulator.push_image("p:1"), "ContainerEntrypoint": ["true"]},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10}
        },
        **changed,
    }


def with_image(scenes: Scenes, image: str) -> tuple[str, str]:
    asked = scenes.training("j", "")
    asked["AlgorithmSpecification"]["TrainingImage"] = image
    return refused(scenes.sagemaker.create_training_job, **asked)


@pytest.mark.parametrize(
    ("role", "told"),
    [
        (f"arn:aws:iam::{ACCOUNT}:role/none", "Could not assume role"),
        ("arn:aws:iam::999999999999:role/sagemaker", "Cross-account"),
    ],
)
def test_a_role_that_cannot_be_taken_on(scenes: Scenes, role: str, told: str) -> None:
    code, message = training(scenes, RoleArn=role)
    assert (code, told in message) == ("ValidationException", True)
    code, message = refused(scenes.sagemaker.create_processing_job, **processing(scenes, RoleArn=role))
    assert (code, told in message) == ("ValidationException", True)


def test_a_role_for_another_service(scenes: Scenes) -> None:
    role = scenes.emulator.make_role("functions", service="lambda.amazonaws.com")
    assert "Could not assume role" in training(scenes, RoleArn=role)[1]


def test_a_role_that_the_caller_may_not_pass(scenes: Scenes) -> None:
    scenes.emulator.deny("iam:PassRole")
    code, message = training(scenes)
    assert (code, "iam:PassRole" in message) == ("AccessDeniedException", True)


def test_images(scenes: Scenes) -> None:
    registry = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
    good = scenes.emulator.push_image("train:1")
    assert good == f"{registry}/train:1"
    index = scenes.emulator.push_image("train:index", INDEX)
    assert INDEX in with_image(scenes, index)[1]
    assert "Cannot find repository" in with_image(scenes, f"{registry}/train:2")[1]
    assert "Cannot find repository" in with_image(scenes, f"{registry}/none:1")[1]
    assert "in eu-west-1" in with_image(scenes, f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/train:1")[1]
    assert "Invalid image" in with_image(scenes, "docker.io/library/python:3.11")[1]
    asked = scenes.training("j", "print(1)\n")
    asked["AlgorithmSpecification"]["TrainingImage"] = good
    scenes.sagemaker.create_training_job(**asked)
    assert scenes.ended("j")["TrainingJobStatus"] == "Completed"


def test_buckets_of_other_regions(scenes: Scenes) -> None:
    scenes.cloud.s3().create_bucket("far", "eu-west-1")
    scenes.cloud.s3().put_object("far", "data/x", b"x")
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://far/data"}
    channel = {"ChannelName": "a", "DataSource": {"S3DataSource": source}}
    for changed in (
        {"InputDataConfig": [channel]},
        {"OutputDataConfig": {"S3OutputPath": "s3://far/out"}},
        {"CheckpointConfig": {"S3Uri": "s3://far/kept"}},
    ):
        code, message = training(scenes, **changed)
        assert (code, "eu-west-1" in message) == ("ValidationException", True)
    assert "does not exist" in training(scenes, CheckpointConfig={"S3Uri": "s3://none/kept"})[1]
    output = {"S3Uri": "s3://far/x", "LocalPath": "/opt/ml/processing/x", "S3UploadMode": "EndOfJob"}
    outputs = {"Outputs": [{"OutputName": "x", "S3Output": output}]}
    asked = processing(scenes, ProcessingOutputConfig=outputs)
    assert "eu-west-1" in refused(scenes.sagemaker.create_processing_job, **asked)[1]


def test_quotas_are_told_in_pages(scenes: Scenes) -> None:
    scenes.cloud.part(Quotas).limits["ml.m5.large", "training job"] = 3
    client = scenes.client("service-quotas")
    told: dict[str, float] = {}
    token: dict[str, str] = {}
    while True:
        answer = client.list_service_quotas(ServiceCode="sagemaker", MaxResults=100, **token)
        assert len(answer["Quotas"]) <= 100
        told |= {row["QuotaName"]: row["Value"] for row in answer["Quotas"]}
        if "NextToken" not in answer:
            break
        token = {"NextToken": answer["NextToken"]}
    assert told["ml.m5.large for training job usage"] == 3
    assert told["ml.m5.large for spot training job usage"] == told["ml.m5.large for endpoint usage"] == 20
    assert refused(client.list_service_quotas, ServiceCode="ec2")[0] == "NoSuchResourceException"
    assert refused(client.get_service_quota, ServiceCode="sagemaker", QuotaCode="L-1")[0] == (
        "UnknownOperationException"
    )


WAITS = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: open("/opt/ml/checkpoints/asked", "w").write("x"))
open("/opt/ml/checkpoints/begun", "w").write("x")
while True:
    time.sleep(0.01)
"""


def test_a_lost_machine_says_no_farewell(scenes: Scenes) -> None:
    config = {"S3Uri": f"s3://{BUCKET}/kept"}
    scenes.sagemaker.create_training_job(**scenes.training("j", WAITS, CheckpointConfig=config))
    scenes.until(lambda: scenes.keys("kept/"), lambda keys: "kept/begun" in keys)
    scenes.cloud.part(Jobs).lose_instances("j")
    assert scenes.ended("j")["TrainingJobStatus"] == "Failed"
    assert scenes.keys("kept/") == ["kept/begun"]


def test_an_output_is_brought_while_the_job_runs(scenes: Scenes) -> None:
    output = {
        "S3Uri": f"s3://{BUCKET}/live",
        "LocalPath": "/opt/ml/processing/live",
        "S3UploadMode": "Continuous",
    }
    program = ["/bin/sh", "-c", "echo x > /opt/ml/processing/live/x; exec sleep 600"]
    asked = processing(
        scenes, ProcessingOutputConfig={"Outputs": [{"OutputName": "live", "S3Output": output}]}
    )
    asked["AppSpecification"]["ContainerEntrypoint"] = program
    scenes.sagemaker.create_processing_job(**asked)
    scenes.until(lambda: scenes.keys("live/"), lambda keys: keys == ["live/x"])
    assert (
        scenes.sagemaker.describe_processing_job(ProcessingJobName="p")["ProcessingJobStatus"] == "InProgress"
    )
    scenes.sagemaker.stop_processing_job(ProcessingJobName="p")


def test_lines_come_late_and_empty_ones_never(scenes: Scenes) -> None:
    scenes.cloud.clock.stop()
    scenes.cloud.part(Jobs).logs_late_s = 500.0
    scenes.sagemaker.create_training_job(**scenes.training("j", "print('a'); print(); print('b')\n"))

    def moved() -> dict[str, Any]:
        scenes.cloud.clock.advance(0.01)
        told: dict[str, Any] = scenes.sagemaker.describe_training_job(TrainingJobName="j")
        return told

    scenes.until(moved, lambda told: told["TrainingJobStatus"] == "Completed")
    with pytest.raises(client_error()):
        scenes.logs("/aws/sagemaker/TrainingJobs")
    scenes.cloud.clock.advance(600.0)
    assert scenes.logs("/aws/sagemaker/TrainingJobs", "j/") == ["a", "b"]
