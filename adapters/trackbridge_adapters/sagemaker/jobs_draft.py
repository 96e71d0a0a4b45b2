"""From a spec to what is sent: the request in SageMaker's words, the plan for the machine, and the files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import msgspec

from trackbridge.domain.jobs import JobSpec
from trackbridge_adapters._jobs.code_files import CodeFiles
from trackbridge_adapters._jobs.plan import BOOTSTRAP_FILE, HOOKS_FILE, PLAN_FILE, Paths, plan_of
from trackbridge_adapters.sagemaker.arn import SUFFIXES
from trackbridge_adapters.sagemaker.jobs_files import CODE_FILE, PLATFORM_FILE, content_digest, own_files
from trackbridge_adapters.sagemaker.jobs_inputs import Input
from trackbridge_adapters.sagemaker.jobs_kinds import (
    BRIDGE_CHANNEL,
    CODE_CHANNEL,
    DAY_S,
    PLAN_CHANNEL,
    PROCESSING,
    TRAINING,
    Kind,
)
from trackbridge_adapters.sagemaker.jobs_settings import JobSettings
from trackbridge_adapters.sagemaker.limits import fits, length_of
from trackbridge_adapters.sagemaker.names import RUN_TAG
from trackbridge_adapters.sagemaker.place import Place

PREPARATION_S = 50 * 60
"""What a job with a time limit gets besides: for images, inputs, requirements and the copying of outputs."""
RETRIES_MAX = 30
NAME, RUN, TRACKING, SPEC = (
    "BRIDGE_JOB_NAME",
    "BRIDGE_JOB_RUN_ID",
    "BRIDGE_JOB_TRACKING_URI",
    "BRIDGE_JOB_SPEC",
)
"""Variables of a job by which it is known again: SageMaker tells them with its description."""
_PORTS = range(20_000, 30_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a spec came to mean at a place: addresses, and what was looked up for it."""

    place: Place
    root: str
    role: str
    image: str
    instance_type: str
    settings: JobSettings
    inputs: dict[str, Input] = field(default_factory=dict)
    code: CodeFiles = field(default_factory=CodeFiles)
    code_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A job that could be sent: the request, and small files by the keys below the place's folder."""

    kind: Kind
    request: dict[str, Any]
    files: dict[str, bytes]
    code_key: str
    runtime_s: int


def draft_of(spec: JobSpec, job_id: str, kind: Kind, parts: Parts) -> Draft:
    """Return what is sent for a spec."""
    own = own_files()
    launcher = f"launchers/{content_digest(own[BOOTSTRAP_FILE])}"
    plan, platform = _plan(spec, job_id, kind, parts), _platform(spec, job_id, kind, parts)
    planned = f"jobs/{job_id}/plan-{content_digest(plan, platform, own[HOOKS_FILE])[:16]}"
    files = {
        f"{launcher}/{BOOTSTRAP_FILE}": own[BOOTSTRAP_FILE],
        f"{planned}/{PLAN_FILE}": plan,
        f"{planned}/{PLATFORM_FILE}": platform,
        f"{planned}/{HOOKS_FILE}": own[HOOKS_FILE],
    }
    channels = {
        BRIDGE_CHANNEL: f"{parts.root}/{launcher}/",
        PLAN_CHANNEL: f"{parts.root}/{planned}/",
    }
    code_key = f"code/{parts.code_digest}/{CODE_FILE}" if parts.code.files else ""
    if code_key:
        channels[CODE_CHANNEL] = f"{parts.root}/{code_key}"
    channels |= {name: found.address for name, found in parts.inputs.items()}
    runtime_s = _runtime_s(spec, kind, parts.settings)
    make = _processing if kind is PROCESSING else _training
    request = make(spec, job_id, parts, channels, runtime_s)
    return Draft(kind=kind, request=request, files=files, code_key=code_key, runtime_s=runtime_s)


def spec_digest(spec: JobSpec) -> str:
    """Return what tells a spec from any other: a key stands for one of them."""
    return hashlib.sha256(msgspec.json.encode(spec, order="deterministic")).hexdigest()


def kept_folder(kind: Kind, job_id: str) -> str:
    """Return the folder on the machine that holds what outlives it: journals, and how it ended."""
    return f"{kind.kept}/bridge/{job_id}"


def packed(text: str) -> str:
    """Return a text as a variable holds it: as it is, or as JSON where it needs that."""
    return text if text.isprintable() and not text.startswith('"') else json.dumps(text)


def unpacked(text: str) -> str:
    """Return the text of a variable."""
    return str(json.loads(text)) if text.startswith('"') else text


def _plan(spec: JobSpec, job_id: str, kind: Kind, parts: Parts) -> bytes:
    kept = kept_folder(kind, job_id)
    paths = Paths(
        code=kind.from_plan(f"{kind.channel(CODE_CHANNEL)}/{CODE_FILE}"),
        home=kind.from_plan(kept),
        result=kind.from_plan(f"{kept}/result.json"),
        inputs={
            name: kind.from_plan(f"{kind.channel(name)}/{found.file}") for name, found in parts.inputs.items()
        },
        outputs={name: kind.from_plan(f"{kind.outputs}/{name}") for name in spec.outputs},
        checkpoints=kind.from_plan(kind.kept) if spec.checkpoints is not None else None,
    )
    plan = plan_of(spec, job_id, paths, notice_s=parts.settings.notice_s)
    return msgspec.json.encode(plan, order="deterministic")


def _platform(spec: JobSpec, job_id: str, kind: Kind, parts: Parts) -> bytes:
    """Return what the hooks are told. SageMaker itself brings the outputs of a processing job home."""
    port = _PORTS[int(content_digest(job_id.encode())[:8], 16) % len(_PORTS)]
    told = {
        "config": kind.from_plan(kind.config),
        "failure": kind.from_plan("/opt/ml/output/failure"),
        "outputs": {} if kind is PROCESSING else spec.outputs,
        "rescue": kind.from_plan("/opt/ml/output/data"),
        "region": parts.place.region,
        "suffix": SUFFIXES[parts.place.partition][1],
        "main_port": port,
    }
    return json.dumps(told, sort_keys=True).encode()


def _runtime_s(spec: JobSpec, kind: Kind, settings: JobSettings) -> int:
    """Return after how many seconds SageMaker itself ends the job; each attempt's own limit comes before."""
    if spec.time_limit_s is None:
        return DAY_S
    attempts_s = ceil(spec.attempts_max * (spec.time_limit_s + settings.notice_s))
    return min(attempts_s + PREPARATION_S, kind.runtime_s_max)


def _entry(kind: Kind) -> dict[str, Any]:
    arguments = [
        f"{kind.channel(BRIDGE_CHANNEL)}/{BOOTSTRAP_FILE}",
        f"{kind.channel(PLAN_CHANNEL)}/{PLAN_FILE}",
    ]
    return {"ContainerEntrypoint": ["python3"], "ContainerArguments": arguments}


def _training(
    spec: JobSpec, job_id: str, parts: Parts, channels: dict[str, str], runtime_s: int
) -> dict[str, Any]:
    kept = spec.checkpoints or f"{parts.root}/jobs/{job_id}/kept"
    request: dict[str, Any] = {
        "TrainingJobName": job_id,
        "RoleArn": parts.role,
        "AlgorithmSpecification": {
            "TrainingImage": parts.image,
            "TrainingInputMode": "File",
            **_entry(TRAINING),
        },
        "InputDataConfig": [_channel(name, address) for name, address in channels.items()],
        "OutputDataConfig": {"S3OutputPath": f"{parts.root}/jobs"},
        "ResourceConfig": _machines(spec, parts),
        "StoppingCondition": {"MaxRuntimeInSeconds": runtime_s},
        "CheckpointConfig": {"S3Uri": kept.rstrip("/"), "LocalPath": TRAINING.kept},
        "Environment": _variables(spec),
        "Tags": _tags(spec),
    }
    parameters = _hyperparameters(spec)
    if parameters:
        request["HyperParameters"] = parameters
    if spec.compute.spot:
        request["EnableManagedSpotTraining"] = True
        request["StoppingCondition"]["MaxWaitTimeInSeconds"] = runtime_s + DAY_S
    if spec.attempts_max > 1:
        request["RetryStrategy"] = {"MaximumRetryAttempts": min(spec.attempts_max - 1, RETRIES_MAX)}
    network = _network(parts.settings)
    if network:
        request["VpcConfig"] = network
    return request


def _processing(
    spec: JobSpec, job_id: str, parts: Parts, channels: dict[str, str], runtime_s: int
) -> dict[str, Any]:
    outputs = [
        _output(name, address, f"{PROCESSING.outputs}/{name}", "EndOfJob")
        for name, address in spec.outputs.items()
    ]
    kept = f"{parts.root}/jobs/{job_id}/kept"
    request: dict[str, Any] = {
        "ProcessingJobName": job_id,
        "RoleArn": parts.role,
        "AppSpecification": {"ImageUri": parts.image, **_entry(PROCESSING)},
        "ProcessingInputs": [_processing_input(name, address) for name, address in channels.items()],
        "ProcessingOutputConfig": {
            "Outputs": [*outputs, _output("bridge-kept", kept, PROCESSING.kept, "Continuous")]
        },
        "ProcessingResources": {"ClusterConfig": _machines(spec, parts)},
        "StoppingCondition": {"MaxRuntimeInSeconds": runtime_s},
        "Environment": _variables(spec),
        "Tags": _tags(spec),
    }
    network = _network(parts.settings)
    if network:
        request["NetworkConfig"] = {"VpcConfig": network}
    return request


def _channel(name: str, address: str) -> dict[str, Any]:
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": address,
        "S3DataDistributionType": "FullyReplicated",
    }
    return {"ChannelName": name, "InputMode": "File", "DataSource": {"S3DataSource": source}}


def _processing_input(name: str, address: str) -> dict[str, Any]:
    source = {
        "S3Uri": address,
        "LocalPath": PROCESSING.channel(name),
        "S3DataType": "S3Prefix",
        "S3InputMode": "File",
        "S3DataDistributionType": "FullyReplicated",
    }
    return {"InputName": name, "S3Input": source}


def _output(name: str, address: str, path: str, mode: str) -> dict[str, Any]:
    return {
        "OutputName": name,
        "S3Output": {"S3Uri": address, "LocalPath": path, "S3UploadMode": mode},
    }


def _machines(spec: JobSpec, parts: Parts) -> dict[str, Any]:
    return {
        "InstanceType": parts.instance_type,
        "InstanceCount": spec.compute.instance_count,
        "VolumeSizeInGB": parts.settings.volume_gb,
    }


def _network(settings: JobSettings) -> dict[str, Any]:
    if not settings.subnets:
        return {}
    return {"Subnets": list(settings.subnets), "SecurityGroupIds": list(settings.security_groups)}


def _variables(spec: JobSpec) -> dict[str, str]:
    """Return the variables that SageMaker keeps; the program's own are in the plan, where any length fits."""
    told = {NAME: packed(spec.name), SPEC: spec_digest(spec)}
    if spec.run_id is not None:
        told[RUN] = packed(spec.run_id)
    if spec.tracking_uri:
        told[TRACKING] = packed(spec.tracking_uri)
    return told


def _tags(spec: JobSpec) -> list[dict[str, str]]:
    tags = dict(spec.tags)
    if spec.run_id is not None and fits("sagemaker", "CreateTrainingJob", "Tags.member.Value", spec.run_id):
        tags[RUN_TAG] = spec.run_id
    return [{"Key": name, "Value": value} for name, value in tags.items()]


def _hyperparameters(spec: JobSpec) -> dict[str, str]:
    """Return the parameters as the console shows them, those that fit; the command has them all."""
    path = "HyperParameters"
    fitting = {
        name: value
        for name, value in spec.parameters.items()
        if length_of(name)
        and fits("sagemaker", "CreateTrainingJob", f"{path}.key", name)
        and fits("sagemaker", "CreateTrainingJob", f"{path}.value", value)
    }
    return dict(list(fitting.items())[:100])
