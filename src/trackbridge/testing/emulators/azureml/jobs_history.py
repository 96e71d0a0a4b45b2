"""What the run history tells of jobs beside of runs: their logs, errors, times, outputs and children."""

from __future__ import annotations

from typing import Any

from trackbridge.testing.emulators.azureml.core import (
    Answer,
    Cloud,
    Refused,
    Request,
    Route,
    moment,
    of_service,
)
from trackbridge.testing.emulators.azureml.jobs_files import MODEL_TYPES, kind_of
from trackbridge.testing.emulators.azureml.jobs_records import Job, Jobs
from trackbridge.testing.emulators.azureml.places import settled
from trackbridge.testing.emulators.azureml.run_files import artifact_place
from trackbridge.testing.emulators.azureml.storage import READ
from trackbridge.testing.emulators.azureml.workspaces import require

HISTORY, DATA, MODELS = "history/v1.0", "data/v1.0", "modelregistry/v1.0"
LOG_FOLDERS = ("user_logs/", "system_logs/", "logs/", "retry_")
_KINDS = {
    "uri_folder": "UriFolder",
    "uri_file": "UriFile",
    "mltable": "MLTable",
    "custom_model": "CustomModel",
    "mlflow_model": "MLFlowModel",
    "triton_model": "TritonModel",
}
"""Types of outputs as the run history calls them (azure-sdk-for-python#48972)."""


def details_of(cloud: Cloud, request: Request, workspace_id: str, run: str) -> dict[str, Any]:
    """Return what the run history tells of a run because it is a job's; nothing of other runs."""
    job = cloud.part(Jobs).find(f"{workspace_id}/jobs/{run}")
    if job is None:
        return {}
    return {
        "status": job.status,
        "experimentId": job.experiment_id,
        "createdTimeUtc": moment(job.created_s),
        "startTimeUtc": moment(job.started_s) if job.started_s else None,
        "endTimeUtc": moment(job.ended_s) if job.ended_s else None,
        "error": job.error,
        "target": job.asked.get("computeId"),
        "properties": dict(job.asked.get("properties") or {}),
        "description": job.asked.get("description"),
        "logFiles": _logs(cloud, request, job),
    }


def _logs(cloud: Cloud, request: Request, job: Job) -> dict[str, str]:
    """Return signed addresses of a job's logs, by their paths."""
    place = artifact_place(cloud, job.workspace_id).below(job.folder)
    base = cloud.addresses(request).blob(place.account)
    found = {}
    for blob in place.blobs(cloud):
        path = blob.path[len(place.path) + 1 :]
        if path.startswith(LOG_FOLDERS):
            found[path] = cloud.storage.signed(
                base, place.container, blob.path, account=place.account, permissions=READ
            )
    return found


def _require(cloud: Cloud, request: Request, name: str) -> Job:
    job = cloud.part(Jobs).find(f"{require(cloud, request)}/jobs/{name}")
    if job is None:
        raise Refused(404, "UserError", f"Run {name} not found")
    return job


def _run_data(cloud: Cloud, request: Request) -> Answer:
    """Answer what azure-ai-ml asks before it downloads: the outputs, as assets of the platform's own."""
    name = str(request.content.get("runId") or "")
    job = _require(cloud, request, name)
    outputs = {
        output: {"assetId": _asset_id(job, output), "type": _type(given)}
        for output, given in job.asked["outputs"].items()
    }
    told = details_of(cloud, request, job.workspace_id, name)
    run = {
        "runId": name,
        "rootRunId": name,
        "displayName": job.asked["displayName"],
        "outputs": outputs,
        **told,
    }
    return Answer(200, {"runMetadata": run, "runDefinition": None, "jobSpecification": None})


def _type(given: dict[str, Any]) -> str:
    kind = kind_of(given, "jobOutputType")
    return _KINDS.get(kind, kind)


def _asset_id(job: Job, output: str) -> str:
    return f"azureml://locations/-/workspaces/-/outputs/{job.name}/{output}"


def _resolved(cloud: Cloud, request: Request) -> Answer:
    """Answer where outputs lie, by the ids that ``rundata`` told."""
    workspace_id = require(cloud, request)
    found = {}
    for asset_id in request.content.get("values") or ():
        name, _, output = str(asset_id).partition("/outputs/")[2].partition("/")
        job = cloud.part(Jobs).find(f"{workspace_id}/jobs/{name}")
        given = job.asked["outputs"].get(output) if job else None
        if job is None or given is None:
            raise Refused(404, "UserError", f"Asset {asset_id} not found")
        uri = settled(cloud, workspace_id, f"azureml://jobs/{name}/outputs/{output}")
        member = "path" if kind_of(given, "jobOutputType") in MODEL_TYPES else "uri"
        found[asset_id] = {member: uri, "type": _type(given)}
    return Answer(200, {"values": found})


def _by_query(cloud: Cloud, request: Request) -> Answer:
    """Answer with the runs of an experiment that a filter names: so azureml-core asks for several of them.

    Of filters, ``RunId eq A or RunId eq B`` alone is known.
    """
    workspace_id, experiment = require(cloud, request), request.names["experiment"]
    wanted = []
    for part in str(request.content.get("filter") or "").split(" or "):
        field, _, name = part.strip().partition(" eq ")
        if field != "RunId" or not name:
            raise Refused(400, "UserError", f"The emulator knows no filter {part[:100]!r}")
        wanted.append(name.strip().strip('"'))
    jobs = [cloud.part(Jobs).find(f"{workspace_id}/jobs/{name}") for name in wanted]
    found = [
        {"runId": job.name, "rootRunId": job.name, **details_of(cloud, request, workspace_id, job.name)}
        for job in jobs
        if job is not None and job.asked["experimentName"] == experiment
    ]
    for run in found:
        del run["logFiles"]  # of the details alone
    top = int(request.content.get("top") or len(found) or 1)
    return Answer(200, {"value": found[:top], "nextLink": None, "continuationToken": None})


def _children(cloud: Cloud, request: Request) -> Answer:
    _require(cloud, request, request.names["run"])
    return Answer(200, {"value": [], "nextLink": None, "continuationToken": None})


def _services(cloud: Cloud, request: Request) -> Answer:
    _require(cloud, request, request.names["run"])
    return Answer(200, {"instances": {}})


ROUTES: tuple[Route, ...] = (
    of_service(HISTORY, "rundata", "POST", _run_data, right="read"),
    of_service(HISTORY, "experiments/{experiment}/runs:query", "POST", _by_query, right="read"),
    of_service(HISTORY, "runs/{run}/children", "GET", _children),
    of_service(HISTORY, "runs/{run}/serviceinstances/{node}", "GET", _services),
    of_service(DATA, "dataversion/batchGetResolvedUris", "POST", _resolved, right="read"),
    of_service(MODELS, "models/batchGetResolvedUris", "POST", _resolved, right="read"),
)
