"""The trial component that SageMaker makes for a job with an ExperimentConfig."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker import experiments
from trackbridge.testing.emulators.sagemaker.core import Cloud, Refused
from trackbridge.testing.emulators.sagemaker.jobs_records import PROCESSING, TRAINING, Job
from trackbridge.testing.emulators.sagemaker.storage import place_of

RUN_GROUP = "Default-Run-Group-"
"""Prefix of the trial that a run of AWS's own SDK is in."""


def follow(cloud: Cloud, job: Job) -> None:
    """Make the component of a job, and keep its status as the job's. Nothing without an ExperimentConfig.

    Raises:
        Refused: The experiment, trial or run that is named does not exist.
    """
    config = job.asked.get("ExperimentConfig")
    if not config:
        return
    trials = _trials(cloud, config)
    name = f"{job.name}-aws-{job.kind.arn_kind}"
    component = _component(job, name, config)
    try:
        held = _ask(cloud, "DescribeTrialComponent", {"TrialComponentName": name})
    except Refused:
        held = _ask(cloud, "CreateTrialComponent", component)
    else:  # of an earlier job of this name, which was deleted
        _ask(cloud, "UpdateTrialComponent", component)
    experiments.set_source(cloud, name, job.arn, f"SageMaker{job.kind.word}Job")
    for trial in trials:  # a full trial takes it, too: what SageMaker made itself does not count
        _ask(cloud, "AssociateTrialComponent", {"TrialComponentName": name, "TrialName": trial})
    job.component_arn = held["TrialComponentArn"]

    def tell(job: Job) -> None:
        # Somebody may have deleted the component meanwhile: then nobody is left to tell.
        with contextlib.suppress(Refused):
            _ask(cloud, "UpdateTrialComponent", {"TrialComponentName": name, **_state(job)})

    job.on_change.append(tell)


def check(cloud: Cloud, asked: Mapping[str, Any]) -> None:
    """Refuse an ExperimentConfig that names what does not exist.

    Raises:
        Refused: Of the missing thing.
    """
    if asked.get("ExperimentConfig"):
        _trials(cloud, asked["ExperimentConfig"], is_trial=True)


def _trials(cloud: Cloud, config: Mapping[str, Any], *, is_trial: bool = False) -> list[str]:
    """Return the trials that the component goes to."""
    experiment = config.get("ExperimentName")
    if experiment is not None:
        _ask(cloud, "DescribeExperiment", {"ExperimentName": experiment})
    if "TrialName" in config:
        trial = _ask(cloud, "DescribeTrial", {"TrialName": config["TrialName"]})
        if experiment is not None and trial["ExperimentName"].lower() != experiment.lower():
            raise Refused(
                "ValidationException", f"Trial {config['TrialName']} is not one of experiment {experiment}"
            )
        return [config["TrialName"]]
    if experiment is None:
        if "RunName" in config:
            raise Refused("ValidationException", "RunName needs ExperimentName in ExperimentConfig")
        return []
    if "RunName" in config:
        run = f"{experiment}-{config['RunName']}".lower()
        _ask(cloud, "DescribeTrialComponent", {"TrialComponentName": run})
        found = _ask(cloud, "ListTrials", {"TrialComponentName": run, "MaxResults": 100})
        return [row["TrialName"] for row in found["TrialSummaries"]]
    trial_name = f"{RUN_GROUP}{experiment}"[:120]
    if not is_trial:
        with contextlib.suppress(Refused):  # it is there already
            _ask(cloud, "CreateTrial", {"TrialName": trial_name, "ExperimentName": experiment})
    return [trial_name]


def _component(job: Job, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    parameters = {key: _parameter(value) for key, value in job.asked.get("HyperParameters", {}).items()}
    return {
        "TrialComponentName": name,
        "DisplayName": config.get("TrialComponentDisplayName", name),
        "Parameters": parameters | _described(job),
        "InputArtifacts": _inputs(job),
        "OutputArtifacts": _outputs(job),
        **_state(job),
    }


def _described(job: Job) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if job.kind is TRAINING:
        resources = job.asked["ResourceConfig"]
        told["SageMaker.ImageUri"] = job.asked["AlgorithmSpecification"].get("TrainingImage")
    elif job.kind is PROCESSING:
        resources = job.asked["ProcessingResources"]["ClusterConfig"]
        told["SageMaker.ImageUri"] = job.asked["AppSpecification"]["ImageUri"]
    else:
        resources = job.asked["TransformResources"]
    for field in ("InstanceType", "InstanceCount", "VolumeSizeInGB"):
        told[f"SageMaker.{field}"] = resources.get(field)
    return {key: _parameter(value) for key, value in told.items() if value is not None}


def _parameter(value: Any) -> dict[str, Any]:
    """Return a finite number as a number, anything else as text."""
    try:
        number = float(value)
    except ValueError:
        return {"StringValue": value}
    return {"NumberValue": number} if math.isfinite(number) else {"StringValue": str(value)}


def _inputs(job: Job) -> dict[str, Any]:
    found: dict[str, str] = {}
    for channel in job.asked.get("InputDataConfig", ()):
        found[channel["ChannelName"]] = channel["DataSource"]["S3DataSource"]["S3Uri"]
    for each in job.asked.get("ProcessingInputs", ()):
        if "S3Input" in each:
            found[each["InputName"]] = each["S3Input"]["S3Uri"]
    if "TransformInput" in job.asked:
        found["SageMaker.TransformInput"] = job.asked["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
    return {name: {"Value": uri} for name, uri in found.items()}


def _outputs(job: Job) -> dict[str, Any]:
    found: dict[str, str] = {}
    if "OutputDataConfig" in job.asked:
        output = place_of(job.asked["OutputDataConfig"]["S3OutputPath"])
        found["SageMaker.ModelArtifact"] = f"{output.below(job.name)}/output/model.tar.gz"
    for each in job.asked.get("ProcessingOutputConfig", {}).get("Outputs", ()):
        if "S3Output" in each:
            found[each["OutputName"]] = each["S3Output"]["S3Uri"]
    if "TransformOutput" in job.asked:
        found["SageMaker.TransformOutput"] = job.asked["TransformOutput"]["S3OutputPath"]
    return {name: {"Value": uri} for name, uri in found.items()}


def _state(job: Job) -> dict[str, Any]:
    state: dict[str, Any] = {"Status": {"PrimaryStatus": job.status, "Message": job.failure_reason or ""}}
    if job.started_s is not None:
        state["StartTime"] = job.started_s
    if job.ended_s is not None:
        state["EndTime"] = job.ended_s
    return state


def _ask(cloud: Cloud, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
    return experiments.OPERATIONS[operation](cloud, asked)
