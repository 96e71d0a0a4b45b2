"""Jobs: command jobs run as processes of this machine; those of other kinds are refused in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trackbridge.testing.emulators.azureml import assets
from trackbridge.testing.emulators.azureml.computes import check_compute
from trackbridge.testing.emulators.azureml.core import (
    Answer,
    Cloud,
    Refused,
    Request,
    of_workspace,
    pages,
)
from trackbridge.testing.emulators.azureml.jobs_commands import filled, nodes_of, processes_of, timeout_s
from trackbridge.testing.emulators.azureml.jobs_files import (
    MODES_IN,
    MODES_OUT,
    kind_of,
    mode_of,
    source_of,
)
from trackbridge.testing.emulators.azureml.jobs_history import ROUTES as HISTORY_ROUTES
from trackbridge.testing.emulators.azureml.jobs_records import ENDED, Job, Jobs, request_cancel
from trackbridge.testing.emulators.azureml.jobs_runs import JobLife
from trackbridge.testing.emulators.azureml.jobs_tracking import delete_run
from trackbridge.testing.emulators.azureml.mlflow_endpoint import MlflowBehind
from trackbridge.testing.emulators.azureml.names import check_name
from trackbridge.testing.emulators.azureml.refusal import not_found
from trackbridge.testing.emulators.azureml.resources import type_of
from trackbridge.testing.emulators.azureml.slow_operations import SlowOperations
from trackbridge.testing.emulators.azureml.workspaces import require
from trackbridge.testing.emulators.pauses import Pauses

DELETION_S = 1.0
EXPERIMENT = "Default"
CHANGEABLE = ("description", "displayName", "tags", "isArchived")
"""What a PUT may change of a job that is there; its properties may grow."""
_DEFAULT_OUTPUT = "azureml://datastores/workspaceartifactstore/ExperimentRun/dcid.{name}"
_VERSION = re.compile(
    r"(?P<scope>/subscriptions/.*)/(?P<plural>\w+)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)"
)


def start_job(cloud: Cloud, workspace_id: str, name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Submit a job as ``PUT jobs/NAME`` does, and return it; the lock must be held.

    Args:
        cloud: That it runs in.
        workspace_id: Of its workspace.
        name: Its name, and its run's.
        properties: As in the request: of a ``CommandJob``.

    Raises:
        Refused: It cannot run, or the emulator does not have what it asks for.
    """
    check_name("job", name)
    asked = _completed(name, {key: value for key, value in properties.items() if value is not None})
    _check(cloud, workspace_id, name, asked)
    job = Job(
        name=name,
        workspace_id=workspace_id,
        asked=asked,
        pauses=Pauses(cloud.later),
        compute=str(asked.get("computeId") or "serverless").lower(),
        nodes=nodes_of(asked),
        created_s=cloud.now_s(),
    )
    held = cloud.part(Jobs)
    if job.nodes > held.nodes:
        message = f"The job asks for {job.nodes} nodes, and a compute of the emulator has {held.nodes}"
        raise Refused(400, "UserError", message)
    life = JobLife(cloud, job)
    resource, _ = cloud.resources.put(job.resource_id, {"properties": asked})
    # One and the same: what is changed of the job is seen by whoever asks for it.
    job.asked = resource["properties"]
    try:
        life.open()
    except Refused:
        cloud.resources.delete(job.resource_id)
        raise
    held.add(job)
    life.begin()
    return resource


def _completed(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of a new job with what the service adds."""
    asked = (given.get("outputs") or {}).items()
    outputs = {key: dict(value) for key, value in asked if key != "default"}
    for key, value in outputs.items():
        if value.get("uri"):
            uri = str(value["uri"]).replace("${{name}}", name).replace("${{output_name}}", key)
            value["uri"] = uri
    return {
        "description": None,
        "tags": {},
        "properties": {},
        "isArchived": False,
        "environmentVariables": {},
        "inputs": {},
        "parameters": {},
        **given,
        "experimentName": given.get("experimentName") or EXPERIMENT,
        "displayName": given.get("displayName") or name,
        "outputs": outputs,
        "jobType": str(given.get("jobType") or "Command"),
        "status": "NotStarted",
    }


def _check(cloud: Cloud, workspace_id: str, name: str, asked: dict[str, Any]) -> None:
    kind = asked["jobType"]
    if kind.lower() != "command":
        message = f"The emulator runs command jobs; it has no jobs of the type {kind}"
        raise Refused(400, "UserError", message)
    for member in ("codeId", "environmentId"):
        _check_version(cloud, str(asked.get(member) or ""))
    timeout_s(asked)
    processes_of(asked)
    values = {"name": name}
    for key, given in asked["inputs"].items():
        _check_input(cloud, workspace_id, key, given)
        values[f"inputs.{key}"] = ""
    for key, given in asked["outputs"].items():
        _check_mode(key, mode_of(given, "ReadWriteMount"), MODES_OUT)
        values[f"outputs.{key}"] = ""
    filled(str(asked.get("command") or ""), values)


def _check_input(cloud: Cloud, workspace_id: str, name: str, given: Mapping[str, Any]) -> None:
    if kind_of(given, "jobInputType") == "literal":
        return
    _check_mode(name, mode_of(given, "ReadOnlyMount"), MODES_IN)
    if mode_of(given, "ReadOnlyMount") != "direct":
        source_of(cloud, workspace_id, str(given["uri"]))


def _check_mode(name: str, mode: str, known: tuple[str, ...]) -> None:
    if mode not in known:
        message = f"The emulator does not deliver {name!r} by {mode}; it has {', '.join(known)}"
        raise Refused(400, "UserError", message)


def _check_version(cloud: Cloud, asset_id: str) -> None:
    found = _VERSION.fullmatch(asset_id)
    # Environments of Microsoft's own registry are not kept here: no image is pulled anyway.
    if found is not None:
        assets.get_version(cloud, found["scope"], found["plural"].lower(), found["name"], found["version"])


# The routes.


def _told(cloud: Cloud, request: Request, resource: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job as the sender of a request sees it."""
    at, workspace_id = cloud.addresses(request), str(resource["id"]).rpartition("/jobs/")[0]
    name = resource["name"]
    addresses = {
        "Tracking": f"azureml://{at.mlflow}/mlflow/v1.0{workspace_id}?",
        "Studio": f"https://ml.azure.com/runs/{name}?wsid={workspace_id}&tid={cloud.tenant}",
    }
    told = {
        kind: {
            "jobServiceType": kind,
            "endpoint": endpoint,
            "port": None,
            "status": None,
            "errorMessage": None,
        }
        for kind, endpoint in addresses.items()
    }
    kept = resource["properties"]
    outputs = dict(kept["outputs"])
    if kept["status"] in ENDED:
        # Not before: azure-ai-ml 1.35 would read the log from there while it is written, and sign addresses
        # with a signature instead of the account's key. Without it, it takes the run history's.
        uri = _DEFAULT_OUTPUT.format(name=name)
        outputs["default"] = {"jobOutputType": "uri_folder", "mode": "ReadWriteMount", "uri": uri}
    services = {**(kept.get("services") or {}), **told}
    return {**resource, "properties": {**kept, "outputs": outputs, "services": services}}


def _resource(cloud: Cloud, request: Request) -> dict[str, Any]:
    workspace_id, name = require(cloud, request), request.names["job"]
    found = cloud.resources.get(f"{workspace_id}/jobs/{name}")
    if found is None:
        raise not_found("Run", name, f"workspace {request.names['workspace']}")
    return found


def _put(cloud: Cloud, request: Request) -> Answer:
    cloud.mlflow()  # which may have to start first: the lock is not held meanwhile
    with cloud.lock:
        workspace_id, name = require(cloud, request), request.names["job"]
        held = cloud.resources.get(f"{workspace_id}/jobs/{name}")
        if held is not None:
            _change(held, request.properties)
            return Answer(200, _told(cloud, request, held))
        given = request.properties
        check_compute(cloud, str(given.get("computeId") or ""), nodes_of(given))
        resource = start_job(cloud, workspace_id, name, given)
        return Answer(201, _told(cloud, request, resource))


def _change(held: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Change what can be changed of a job.

    Raises:
        Refused: With the words of the service, when something else differs.
    """
    kept = held["properties"]
    wanted = _completed(held["name"], {key: value for key, value in given.items() if value is not None})
    free = (*CHANGEABLE, "properties", "status", "services", "parameters")
    differing = [key for key in wanted if key not in free and wanted[key] != kept.get(key) and key in given]
    lost = [key for key, value in kept["properties"].items() if wanted["properties"].get(key, value) != value]
    if differing or lost:
        message = (
            "A job with this name already exists. If you are trying to submit a new job, use a different "
            "name. If you are trying to update an existing job, the existing job's "
            f"{', '.join(differing or ['properties'])} cannot be changed. Only description, displayName, "
            "tags, and isArchived can be updated."
        )
        raise Refused(400, "UserError", message)
    kept |= {key: wanted[key] for key in CHANGEABLE if key in given}
    kept["properties"] = {**kept["properties"], **wanted["properties"]}


def _get(cloud: Cloud, request: Request) -> Answer:
    """Answer with a job; of a run that nobody submitted, with its name and no properties.

    Clients look such a run up in the run history then, as they do for the steps of a pipeline: azure-ai-ml's
    ``_is_pipeline_child_job`` ("child jobs are no longer available through MFE").
    """
    with cloud.lock:
        workspace_id, name = require(cloud, request), request.names["job"]
        if cloud.resources.get(f"{workspace_id}/jobs/{name}") is not None:
            return Answer(200, _told(cloud, request, _resource(cloud, request)))
    if cloud.part(MlflowBehind).run(name) is None:  # without the lock: another server answers
        raise not_found("Run", name, f"workspace {request.names['workspace']}")
    resource_id = f"{workspace_id}/jobs/{name}"
    return Answer(200, {"id": resource_id, "name": name, "type": type_of(resource_id), "properties": None})


def _list(cloud: Cloud, request: Request) -> Answer:
    query = request.query
    view = query.get("listViewType", "ActiveOnly").lower()
    found = []
    for held in reversed(cloud.resources.children(f"{require(cloud, request)}/jobs")):
        kept = held["properties"]
        if view != "all" and bool(kept.get("isArchived")) != (view == "archivedonly"):
            continue
        if query.get("jobType", kept["jobType"]).lower() != kept["jobType"].lower():
            continue
        if _has_tag(kept.get("tags") or {}, query.get("tag", "")):
            found.append(_told(cloud, request, held))
    return pages(request, found)


def _has_tag(tags: Mapping[str, Any], wanted: str) -> bool:
    name, has_value, value = wanted.partition("=")
    return not wanted or (name in tags and (not has_value or tags[name] == value))


def _cancel(cloud: Cloud, request: Request) -> Answer:
    held = _resource(cloud, request)
    job = cloud.part(Jobs).find(held["id"])
    if job is None or job.status in ENDED:
        return Answer(200)
    begun, answer = cloud.part(SlowOperations).begin_watched(request)
    job.cancels.append(begun)
    request_cancel(cloud, job)
    return answer


def _delete(cloud: Cloud, request: Request) -> Answer:
    workspace_id, name = require(cloud, request), request.names["job"]
    held = cloud.resources.get(f"{workspace_id}/jobs/{name}")
    if held is None:
        return Answer(204)
    if held["properties"]["status"] not in ENDED:
        message = (
            f"The job {name} has the status {held['properties']['status']}; cancel it before deleting it"
        )
        raise Refused(400, "UserError", message)

    def finish() -> None:
        cloud.resources.delete(held["id"])
        job = cloud.part(Jobs).forget(held["id"])
        if job is not None:
            delete_run(cloud, job)

    return cloud.part(SlowOperations).begin(request, seconds=DELETION_S, finish=finish)


ROUTES = (
    of_workspace("jobs", "GET", _list),
    of_workspace("jobs/{job}", "GET", _get, waits=True),
    of_workspace("jobs/{job}", "PUT", _put, shape="JobBase", waits=True),
    of_workspace("jobs/{job}", "DELETE", _delete),
    of_workspace("jobs/{job}/cancel", "POST", _cancel),
    *HISTORY_ROUTES,
)
