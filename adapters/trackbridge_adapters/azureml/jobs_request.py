"""A job as Azure ML is asked for it: its name, the plan that its machine carries out, the request's body.

::

    exec env BRIDGE_AZUREML_INPUT_data="${{inputs.data}}" … python bootstrap.py plan.json

Where Azure puts inputs and outputs is known on the machine only: it writes their paths into the command, and
the plan names the variables. Each machine starts one bootstrap, which starts the processes: Azure's own
distribution tells the machines of each other. Only MPI, which has to reach the other machines, is Azure's
business throughout: each of its processes is a bootstrap then.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from trackbridge.domain.jobs import JobSpec, Launcher
from trackbridge_adapters._jobs.plan import JobPlan, Paths, plan_of
from trackbridge_adapters.azureml.assets import properties_of
from trackbridge_adapters.azureml.config import Workspace

Json = dict[str, Any]

NAME_PREFIX = "bridge-"
EXPERIMENT = "bridge-jobs"
"""Of the runs that Azure opens for jobs: those that programs log to are in experiments of their own."""

DEFAULT_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"
"""What a job runs in that names no image: Microsoft's own base image for training, with Python, pip and MPI
(github.com/Azure/AzureML-Containers, base/cpu)."""

NOTICE_S = 25.0
"""What a program has after SIGTERM: the end of spot capacity is announced 30 s before it (Scheduled Events,
learn.microsoft.com); the journal's last upload takes a part of them."""
START_S = 2700
"""How long images and requirements may take beside the attempts, in the limit that Azure itself sees to."""

HOME = "outputs/bridge"
"""The journal's folder: what lies in ``./outputs`` goes to the run's files while the program runs."""
RESULT = "result.json"
RESULT_OF_RUN = f"{HOME}/{RESULT}"
KEPT, CHECKPOINTS = "bridge_kept", "bridge_checkpoints"
"""Outputs of ours: a folder beside the run's files that a machine finds again which comes in another's place,
and the program's checkpoints."""

VAULT_VARIABLE = "BRIDGE_AZUREML_VAULT"
INPUT_VARIABLE, OUTPUT_VARIABLE = "BRIDGE_AZUREML_INPUT_", "BRIDGE_AZUREML_OUTPUT_"

OUR_NAME, OUR_SPEC, OUR_RUN, OUR_TRACKING = (
    "bridge.job.name",
    "bridge.job.spec",
    "bridge.job.run",
    "bridge.job.tracking",
)
OUR_ATTEMPTS, OUR_TYPE, OUR_COUNT, OUR_SPOT, OUR_RESULT = (
    "bridge.job.attempts",
    "bridge.job.instance_type",
    "bridge.job.instance_count",
    "bridge.job.spot",
    "bridge.job.result",
)
"""Properties of a job, which nobody can change any more: what ``status`` tells of it. ``OUR_RESULT`` is where
its result file lies, unless among the files of its run."""


class Brought(msgspec.Struct, frozen=True, kw_only=True):
    """What a job needs that is not in its spec: ids of assets, inputs and outputs as Azure names them.

    ``vault`` is the address of the key vault that secrets are in.
    """

    code_id: str
    environment_id: str
    compute_id: str | None = None
    instance_type: str | None = None
    vault: str = ""
    inputs: dict[str, Json] = msgspec.field(default_factory=dict)
    outputs: dict[str, Json] = msgspec.field(default_factory=dict)


def job_name_of(key: str) -> str:
    """Return the name of the job of a key: the same key is the same job."""
    text = key.encode("utf-8", "surrogatepass")
    return NAME_PREFIX + hashlib.sha256(b"trackbridge job\0" + text).hexdigest()[:40]


def digest_of_spec(spec: JobSpec) -> str:
    """Return what tells one spec from another."""
    return hashlib.sha256(msgspec.json.encode(spec, order="deterministic")).hexdigest()


def is_kept(spec: JobSpec) -> bool:
    """Tell whether another machine may have to go on where one was taken away."""
    return spec.compute.spot or spec.checkpoints is not None


def plan_for(spec: JobSpec, name: str, *, is_built: bool = False) -> JobPlan:
    """Return what the machine is told; ``is_built`` where the requirements are in the image already."""
    result = f"${OUTPUT_VARIABLE}{KEPT}/{RESULT}" if is_kept(spec) else RESULT_OF_RUN
    plan = plan_of(
        spec,
        name,
        Paths(
            code="code.tar.gz",
            home=HOME,
            result=result,
            inputs={key: f"${INPUT_VARIABLE}{key}" for key in spec.inputs},
            outputs={key: f"${OUTPUT_VARIABLE}{key}" for key in spec.outputs},
            checkpoints=None if spec.checkpoints is None else f"${OUTPUT_VARIABLE}{CHECKPOINTS}",
        ),
        notice_s=NOTICE_S,
    )
    if is_built:
        plan = msgspec.structs.replace(plan, requirements=())
    if spec.launcher is Launcher.MPI:
        plan = msgspec.structs.replace(plan, launcher=Launcher.DIRECT, processes_per_node=1)
    return plan


def home_uri(name: str) -> str:
    """Return where the journal is found."""
    return f"azureml://jobs/{name}/outputs/artifacts/paths/{HOME}"


def kept_folder(name: str) -> str:
    """Return the folder of a job in the workspace's own storage."""
    return f"azureml://datastores/workspaceblobstore/paths/bridge/jobs/{name}"


def timeout_s(spec: JobSpec) -> int | None:
    """Return how long the job may take in all; the bootstrap sees to each attempt."""
    if spec.time_limit_s is None:
        return None
    return START_S + spec.attempts_max * (spec.time_limit_s + int(NOTICE_S))


def body_of(spec: JobSpec, name: str, brought: Brought) -> Json:
    """Return the body of ``PUT jobs/NAME``."""
    outputs = {**brought.outputs, **_own_outputs(spec, name)}
    properties: Json = {
        "jobType": "Command",
        "displayName": spec.name,
        "experimentName": EXPERIMENT,
        "command": _command(brought.inputs, outputs),
        "codeId": brought.code_id,
        "environmentId": brought.environment_id,
        "resources": _resources(spec),
        "tags": {**spec.tags, **({OUR_RUN: spec.run_id} if spec.run_id else {})},
        "properties": _told(spec, name, brought),
    }
    if brought.compute_id is not None:
        properties["computeId"] = brought.compute_id
    elif spec.compute.spot:
        properties["queueSettings"] = {"jobTier": "Spot"}
    limit_s = timeout_s(spec)
    if limit_s is not None:
        properties["limits"] = {"jobLimitsType": "Command", "timeout": f"PT{limit_s}S"}
    if spec.secrets:
        properties["identity"] = {"identityType": "Managed"}  # which the vault lets in
        properties["environmentVariables"] = {VAULT_VARIABLE: brought.vault}
    named = {"inputs": brought.inputs, "outputs": outputs, "distribution": _distribution(spec)}
    return {"properties": {**properties, **{key: value for key, value in named.items() if value}}}


def _told(spec: JobSpec, name: str, brought: Brought) -> dict[str, str]:
    told = {
        OUR_NAME: spec.name,
        OUR_SPEC: digest_of_spec(spec),
        OUR_RUN: spec.run_id,
        OUR_TRACKING: spec.tracking_uri,
        OUR_ATTEMPTS: str(spec.attempts_max),
        OUR_TYPE: brought.instance_type,
        OUR_COUNT: str(spec.compute.instance_count),
        OUR_SPOT: "true" if spec.compute.spot else "false",
        OUR_RESULT: f"{kept_folder(name)}/{RESULT}" if is_kept(spec) else None,
    }
    return {key: value for key, value in told.items() if value}


def _resources(spec: JobSpec) -> Json:
    compute = spec.compute
    chosen = {"instanceType": compute.instance_type} if compute.instance_type else {}
    return {"instanceCount": compute.instance_count, **chosen}


def _distribution(spec: JobSpec) -> Json | None:
    if spec.launcher is Launcher.MPI:
        return {"distributionType": "Mpi", "processCountPerInstance": spec.processes_per_node}
    if spec.compute.instance_count > 1:
        return {"distributionType": "PyTorch", "processCountPerInstance": 1}
    return None


def _own_outputs(spec: JobSpec, name: str) -> dict[str, Json]:
    found = {}
    if is_kept(spec):
        found[KEPT] = mounted(kept_folder(name))
    if spec.checkpoints is not None:
        found[CHECKPOINTS] = mounted(spec.checkpoints)
    return found


def mounted(uri: str) -> Json:
    """Return an output that is written as the program goes."""
    return {"jobOutputType": "uri_folder", "mode": "ReadWriteMount", "uri": uri}


def _command(inputs: Mapping[str, Json], outputs: Mapping[str, Json]) -> str:
    places = [f'{INPUT_VARIABLE}{name}="${{{{inputs.{name}}}}}"' for name in inputs]
    places += [f'{OUTPUT_VARIABLE}{name}="${{{{outputs.{name}}}}}"' for name in outputs]
    # ``exec``: what Azure sends to the shell, SIGTERM say, is to reach the bootstrap.
    return " ".join(["exec env", *places, "python bootstrap.py plan.json"])


def told_of(job: Mapping[str, Any]) -> dict[str, str]:
    """Return what we have noted on a job; {} of one that others have submitted."""
    noted = properties_of(job).get("properties")
    return noted if isinstance(noted, dict) else {}


def kept_uri(workspace: Workspace, name: str) -> str:
    """Return the folder that is kept of a job, as it is named anywhere."""
    scope = (
        f"subscriptions/{workspace.subscription}/resourcegroups/{workspace.group}/workspaces/{workspace.name}"
    )
    return home_uri(name).replace("azureml://", f"azureml://{scope}/")


IMAGE = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
    re.IGNORECASE,
)
"""A reference of an image (github.com/distribution/reference)."""
