"""Search, metrics and the registry as boto3 sees them, over the wire, with what really ran."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator

IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6-cpu-py312"
BUCKET = "searched-models"
WAIT_S = 30


@pytest.fixture(scope="module")
def shared() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as emulator:
        yield emulator


@pytest.fixture
def emulator(shared: SageMakerEmulator) -> Iterator[SageMakerEmulator]:
    shared.reset()
    yield shared
    shared.raise_failures()


def train(emulator: SageMakerEmulator, name: str) -> None:
    """Run a job of an experiment to its end."""
    client: Any = emulator.client("sagemaker")
    emulator.client("s3").create_bucket(Bucket=BUCKET)
    client.create_experiment(ExperimentName="digits")
    client.create_training_job(
        TrainingJobName=name,
        RoleArn=emulator.make_role("trainer"),
        HyperParameters={"lr": "0.1"},
        Tags=[{"Key": "team", "Value": "vision"}],
        AlgorithmSpecification={
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["/bin/sh", "-c"],
            "ContainerArguments": ["echo loss=0.5; echo loss=0.25"],
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
        },
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/out"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
        ExperimentConfig={"ExperimentName": "digits"},
    )
    deadline = time.monotonic() + WAIT_S
    while client.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] == "InProgress":
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


def matching(client: Any, resource: str, *filters: tuple[str, ...]) -> list[dict[str, Any]]:
    told = [dict(zip(("Name", "Operator", "Value"), given, strict=False)) for given in filters]
    pages = client.get_paginator("search").paginate(Resource=resource, SearchExpression={"Filters": told})
    return [record for page in pages for result in page["Results"] for record in result.values()]


def test_a_job_and_its_component_are_found_by_what_ran(emulator: SageMakerEmulator) -> None:
    train(emulator, "train-1")
    client = emulator.client("sagemaker")
    by_metric = ("Metrics.loss", "LessThan", "0.3")
    (job,) = matching(client, "TrainingJob", by_metric, ("HyperParameters.lr", "LessThan", "0.5"))
    assert (job["TrainingJobName"], job["TrainingJobStatus"]) == ("train-1", "Completed")
    assert matching(client, "TrainingJob", ("Tags.team", "Equals", "vision")) == [job]
    assert matching(client, "TrainingJob", ("TrainingJobStatus", "Equals", "Failed")) == []
    in_experiment = ("Parents.ExperimentName", "Equals", "digits")
    of_job = ("SourceDetail.TrainingJob.TrainingJobName", "Equals", "train-1")
    (component,) = matching(
        client, "ExperimentTrialComponent", in_experiment, of_job, ("Metrics.loss.count", "Equals", "2")
    )
    assert component["SourceDetail"]["TrainingJob"]["HyperParameters"] == {"lr": "0.1"}


def test_a_model_is_made_of_an_approved_version_and_found(emulator: SageMakerEmulator) -> None:
    client = emulator.client("sagemaker")
    client.create_model_package_group(ModelPackageGroupName="digits")
    arn = client.create_model_package(
        ModelPackageGroupName="digits", InferenceSpecification={"Containers": [{"Image": IMAGE}]}
    )["ModelPackageArn"]
    asked = {
        "ModelName": "digits-1",
        "ExecutionRoleArn": f"arn:aws:iam::{emulator.cloud.account}:role/server",
        "PrimaryContainer": {"ModelPackageName": arn},
        "Tags": [{"Key": "team", "Value": "vision"}],
    }
    with pytest.raises(client.exceptions.ClientError, match="PendingManualApproval"):
        client.create_model(**asked)
    client.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    client.create_model(**asked)
    (found,) = matching(client, "Model", ("Model.ModelName", "Equals", "digits-1"))
    assert found["Model"]["Tags"] == asked["Tags"]
    assert matching(client, "Model", ("Tags.team", "Equals", "vision")) == [found]
    assert matching(client, "Endpoint", ("EndpointStatus", "Equals", "InService")) == []


def test_versions_are_paged_and_every_call_has_a_token_of_its_own(emulator: SageMakerEmulator) -> None:
    client = emulator.client("sagemaker")
    client.create_model_package_group(ModelPackageGroupName="digits")
    arns = [client.create_model_package(ModelPackageGroupName="digits")["ModelPackageArn"] for _ in range(12)]
    pages = client.get_paginator("list_model_packages").paginate(ModelPackageGroupName="digits")
    listed = [row["ModelPackageArn"] for page in pages for row in page["ModelPackageSummaryList"]]
    assert listed == arns
    assert len(set(arns)) == 12


def test_points_that_are_not_taken_are_told_inside_of_a_200(emulator: SageMakerEmulator) -> None:
    client, metrics = emulator.client("sagemaker"), emulator.client("sagemaker-metrics")
    arn = client.create_trial_component(TrialComponentName="digits-run")["TrialComponentArn"]
    now = datetime.now(timezone.utc)
    answer = metrics.batch_put_metrics(
        TrialComponentName="digits-run",
        MetricData=[
            {"MetricName": "loss", "Timestamp": now, "Step": 0, "Value": 0.5},
            {"MetricName": "loss", "Timestamp": now, "Step": 1, "Value": math.nan},
            {"MetricName": "loss", "Timestamp": now - timedelta(days=15), "Step": 2, "Value": 0.1},
        ],
    )
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    told = [(error["MetricIndex"], error["Code"]) for error in answer["Errors"]]
    assert told == [(1, "VALIDATION_ERROR"), (2, "VALIDATION_ERROR")]
    (summary,) = client.describe_trial_component(TrialComponentName="digits-run")["Metrics"]
    assert (summary["Last"], summary["Count"]) == (0.5, 1)
    query = {
        "MetricName": "loss",
        "ResourceArn": arn,
        "MetricStat": "Last",
        "Period": "IterationNumber",
        "XAxisType": "IterationNumber",
    }
    (result,) = metrics.batch_get_metrics(MetricQueries=[query])["MetricQueryResults"]
    assert (result["Status"], result["XAxisValues"], result["MetricValues"]) == ("Complete", [0], [0.5])
    client.delete_trial_component(TrialComponentName="digits-run")
    (result,) = metrics.batch_get_metrics(MetricQueries=[query])["MetricQueryResults"]
    assert result["Status"] == "ValidationError"


def test_another_account_is_denied_by_its_own_keys(emulator: SageMakerEmulator) -> None:
    client = emulator.client("sagemaker")
    arn = client.create_model_package_group(ModelPackageGroupName="digits")["ModelPackageGroupArn"]
    key = emulator.keys.issue(principal="arn:aws:iam::999999999999:user/reader")
    other = emulator.client("sagemaker", key)
    with pytest.raises(other.exceptions.ClientError, match="AccessDeniedException"):
        other.describe_model_package_group(ModelPackageGroupName=arn)
    assert other.list_model_package_groups()["ModelPackageGroupSummaryList"] == []
