"""Training jobs: the operations, and what they refuse."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from trackbridge.testing.emulators.sagemaker import opt_ml
from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation, Refused
from trackbridge.testing.emulators.sagemaker.jobs_components import check, follow
from trackbridge.testing.emulators.sagemaker.jobs_inputs import check_channels, refuse
from trackbridge.testing.emulators.sagemaker.jobs_records import (
    TRAINING,
    Job,
    Jobs,
    change,
    delete,
    listed,
    stop,
    summary,
)
from trackbridge.testing.emulators.sagemaker.jobs_rules import check_image, check_region, check_role
from trackbridge.testing.emulators.sagemaker.jobs_training_run import CHECKPOINTS, TrainingRun, keep_pool
from trackbridge.testing.emulators.sagemaker.storage import bucket_exists, place_of

_NOT_TOLD = frozenset({"Tags", "SessionChainingConfig"})


def _create(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    _check_algorithm(asked["AlgorithmSpecification"])
    _check_resources(asked)
    _check_stopping(asked)
    check_role(cloud, asked["RoleArn"])
    check_image(cloud, asked["AlgorithmSpecification"]["TrainingImage"])
    mode = asked["AlgorithmSpecification"]["TrainingInputMode"]
    check_channels(cloud, asked.get("InputDataConfig", ()), mode, asked["RoleArn"])
    _check_outputs(cloud, asked)
    check(cloud, asked)
    cloud.part(Jobs).check_quota(TRAINING, asked)
    job = cloud.part(Jobs).add(TRAINING, asked)
    job.told["ModelArtifacts"] = {"S3ModelArtifacts": _model_uri(job)}
    follow(cloud, job)
    change(cloud, job, "InProgress", "Starting", "Starting the training job")
    TrainingRun(cloud, job).begin()
    return {"TrainingJobArn": job.arn}


def _check_algorithm(algorithm: Mapping[str, Any]) -> None:
    if "AlgorithmName" in algorithm:
        raise refuse("The emulator has no algorithms by name: give AlgorithmSpecification.TrainingImage")
    for definition in algorithm.get("MetricDefinitions", ()):
        try:
            re.compile(definition["Regex"])
        except re.error as error:
            raise refuse(f"Invalid regular expression {definition['Regex']!r}: {error}") from error
    if not algorithm.get("TrainingImage"):
        raise refuse("Either TrainingImage or AlgorithmName must be given in AlgorithmSpecification")


def _check_resources(asked: Mapping[str, Any]) -> None:
    if "ServerlessJobConfig" in asked:
        raise refuse("The emulator has no serverless training jobs")
    resources = asked.get("ResourceConfig")
    if resources is None:
        raise refuse("ResourceConfig is required")
    has_groups = bool(resources.get("InstanceGroups"))
    has_type = "InstanceType" in resources and "InstanceCount" in resources
    if has_groups == has_type:
        raise refuse("ResourceConfig needs InstanceType and InstanceCount, or else InstanceGroups")
    if has_type and resources["InstanceCount"] < 1:
        raise refuse("Value '0' at 'resourceConfig.instanceCount' must be at least 1")
    is_spot = asked.get("EnableManagedSpotTraining", False)
    if is_spot and resources.get("KeepAlivePeriodInSeconds"):
        raise refuse("Managed warm pools are not supported with managed spot training")


def _check_stopping(asked: Mapping[str, Any]) -> None:
    conditions = asked.get("StoppingCondition")
    if conditions is None:
        raise refuse("StoppingCondition is required")
    longest = conditions.get("MaxRuntimeInSeconds", 86_400)
    if longest > 28 * 86_400:
        raise refuse(f"MaxRuntimeInSeconds of {longest} is more than 2419200, which is 28 days")
    wait = conditions.get("MaxWaitTimeInSeconds")
    if not asked.get("EnableManagedSpotTraining", False):
        if wait is not None:
            raise refuse("MaxWaitTimeInSeconds can be given only when EnableManagedSpotTraining is true")
        return
    if wait is None:
        raise refuse("MaxWaitTimeInSeconds must be given when EnableManagedSpotTraining is true")
    if wait < longest:
        raise refuse(
            f"Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to "
            f"MaxRuntimeInSeconds ({wait} < {longest})"
        )


def _check_outputs(cloud: Cloud, asked: Mapping[str, Any]) -> None:
    output = asked["OutputDataConfig"]["S3OutputPath"]
    if not bucket_exists(cloud, place_of(output).bucket):
        raise refuse(f"Please make sure that the S3 output location {output} exists in region {cloud.region}")
    check_region(cloud, place_of(output), "OutputDataConfig")
    checkpoints = asked.get("CheckpointConfig")
    if checkpoints is None:
        return
    if not bucket_exists(cloud, place_of(checkpoints["S3Uri"]).bucket):
        raise refuse(f"The bucket of CheckpointConfig, {checkpoints['S3Uri']}, does not exist")
    check_region(cloud, place_of(checkpoints["S3Uri"]), "CheckpointConfig")
    local = checkpoints.get("LocalPath", CHECKPOINTS)
    if opt_ml.inside(Path("/"), local) is None:
        raise refuse(f"The emulator keeps files below /opt/ml only; CheckpointConfig.LocalPath is {local}")


def _model_uri(job: Job) -> str:
    output = job.asked["OutputDataConfig"]
    name = "model/" if output.get("CompressionType", "GZIP") == "NONE" else "model.tar.gz"
    return f"{output['S3OutputPath'].rstrip('/')}/{job.name}/output/{name}"


def _describe(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    job = cloud.part(Jobs).get(TRAINING, asked["TrainingJobName"])
    return described(job)


def described(job: Job) -> dict[str, Any]:
    """Return what DescribeTrainingJob tells of a job; Search tells the same."""
    told = {name: value for name, value in job.asked.items() if name not in _NOT_TOLD}
    algorithm = {"EnableSageMakerMetricsTimeSeries": False} | told["AlgorithmSpecification"]
    output = {"KmsKeyId": "", "CompressionType": "GZIP"} | told["OutputDataConfig"]
    told |= {
        "TrainingJobArn": job.arn,
        "TrainingJobStatus": job.status,
        "SecondaryStatus": job.secondary_status,
        "AlgorithmSpecification": algorithm,
        "OutputDataConfig": output,
        "StoppingCondition": {"MaxRuntimeInSeconds": 86_400} | told["StoppingCondition"],
        "CreationTime": job.created_s,
        "LastModifiedTime": job.modified_s,
        "SecondaryStatusTransitions": [dict(row) for row in job.transitions],
        **job.told,
    }
    for name in (
        "EnableNetworkIsolation",
        "EnableInterContainerTrafficEncryption",
        "EnableManagedSpotTraining",
    ):
        told.setdefault(name, False)
    return told | _times(job)


def records(cloud: Cloud) -> list[dict[str, Any]]:
    """Return all training jobs as Search finds them."""
    jobs = cloud.part(Jobs).find(TRAINING)
    return [described(job) | {"Tags": cloud.tags.list(job.arn)} for job in jobs]


def _times(job: Job) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if job.failure_reason is not None:
        told["FailureReason"] = job.failure_reason
    if job.started_s is None:
        return told
    told["TrainingStartTime"] = job.started_s
    if job.ended_s is None:
        return told
    seconds = max(1, round(job.ended_s - job.started_s))
    return told | {
        "TrainingEndTime": job.ended_s,
        "TrainingTimeInSeconds": seconds,
        "BillableTimeInSeconds": seconds,
    }


def _list(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    jobs, more = listed(cloud, TRAINING, asked)
    rows = []
    for job in jobs:
        pool = job.told.get("WarmPoolStatus")
        rows.append(summary(job) | ({"WarmPoolStatus": dict(pool)} if pool else {}))
    return {"TrainingJobSummaries": rows, **more}


def _stop(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    stop(cloud, TRAINING, asked["TrainingJobName"])
    return {}


def _delete(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    delete(cloud, TRAINING, asked["TrainingJobName"])
    return {}


def _update(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    job = cloud.part(Jobs).get(TRAINING, asked["TrainingJobName"])
    if "ResourceConfig" in asked:
        _update_pool(cloud, job, asked["ResourceConfig"]["KeepAlivePeriodInSeconds"])
    if ("ProfilerConfig" in asked or "ProfilerRuleConfigurations" in asked) and job.status != "InProgress":
        raise refuse(f"Profiling can be changed only while the job is in progress; it is {job.status}")
    if "RemoteDebugConfig" in asked and job.secondary_status not in ("Downloading", "Training"):
        raise refuse("RemoteDebugConfig can be changed only while the job is downloading or training")
    for name in ("ProfilerConfig", "ProfilerRuleConfigurations", "RemoteDebugConfig"):
        if name in asked:
            job.asked[name] = asked[name]
    job.modified_s = cloud.now_s()
    return {"TrainingJobArn": job.arn}


def _update_pool(cloud: Cloud, job: Job, seconds: int) -> None:
    pool = job.told.get("WarmPoolStatus", {})
    if pool.get("Status") != "Available":
        raise Refused(
            "ValidationException",
            f"The training job {job.name} retains no available warm pool, whose "
            "KeepAlivePeriodInSeconds could be changed",
        )
    keep_pool(cloud, job, seconds)


OPERATIONS: Mapping[str, Operation] = {
    "CreateTrainingJob": _create,
    "DescribeTrainingJob": _describe,
    "ListTrainingJobs": _list,
    "StopTrainingJob": _stop,
    "UpdateTrainingJob": _update,
    "DeleteTrainingJob": _delete,
}

SEARCHABLE: Mapping[str, Callable[[Cloud], Iterable[dict[str, Any]]]] = {"TrainingJob": records}
