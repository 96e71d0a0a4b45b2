"""The run history of a workspace, and the artifact service beside it: what runs are, and their files."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from trackbridge.testing.emulators.azureml.core import (
    Answer,
    Cloud,
    Operation,
    Refused,
    Request,
    Route,
    moment,
    of_service,
)
from trackbridge.testing.emulators.azureml.jobs_history import details_of
from trackbridge.testing.emulators.azureml.mlflow_endpoint import MlflowBehind
from trackbridge.testing.emulators.azureml.run_files import RUN_ORIGIN, RunFiles
from trackbridge.testing.emulators.azureml.storage import WRITE
from trackbridge.testing.emulators.azureml.tokens import JOB_AUDIENCE
from trackbridge.testing.emulators.azureml.workspaces import require

HISTORY, ARTIFACT = "history/v1.0", "artifact/v2.0"
_STATES = {
    "RUNNING": "Running",
    "SCHEDULED": "Queued",
    "FINISHED": "Completed",
    "FAILED": "Failed",
    "KILLED": "Canceled",
}
_CHANGES = (
    ("hidden", "isArchived"),
    ("displayName", "displayName"),
    ("description", "description"),
    ("tags", "tags"),
)
"""Members of a run that change a job's properties."""
_RUN_PATHS = ("experiments/{experiment}/runs/{run}", "experimentids/{experiment}/runs/{run}", "runs/{run}")


def _job(cloud: Cloud, workspace_id: str, run: str) -> dict[str, Any] | None:
    return cloud.resources.get(f"{workspace_id}/jobs/{run}")


def _require_run(cloud: Cloud, request: Request) -> str:
    """Return the id of the workspace, if it has the run that a request names.

    Raises:
        Refused: It has not.
    """
    with cloud.lock:
        workspace_id, run = require(cloud, request), request.names["run"]
        if _job(cloud, workspace_id, run) is not None:
            return workspace_id
    # Without the lock: another server answers.
    found = cloud.part(MlflowBehind).experiment_of(run)
    if found is None or request.names.get("experiment", found) != found:
        raise Refused(404, "UserError", f"Run {run} not found")
    return workspace_id


# Files.


def _of_run(answer: Callable[[Cloud, Request, str, str], Answer]) -> Operation:
    def operation(cloud: Cloud, request: Request) -> Answer:
        workspace_id = _require_run(cloud, request)
        with cloud.lock:
            return answer(cloud, request, workspace_id, f"{RUN_ORIGIN}/dcid.{request.names['run']}")

    return operation


def _of_folder(answer: Callable[[Cloud, Request, str, str], Answer]) -> Operation:
    def operation(cloud: Cloud, request: Request) -> Answer:
        folder = f"{request.names['origin']}/{request.names['container']}"
        return answer(cloud, request, require(cloud, request), folder)

    return operation


def _announce(cloud: Cloud, request: Request, workspace_id: str, folder: str) -> Answer:
    items = request.content.get("paths") if isinstance(request.content, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) and "path" in item for item in items):
        raise Refused(400, "UserError", "paths is required, each with a path")
    return Answer(200, cloud.part(RunFiles).announce(request, workspace_id, folder, items))


def _page(cloud: Cloud, request: Request, workspace_id: str, folder: str) -> Answer:
    return cloud.part(RunFiles).page(request, workspace_id, folder)


def _prefix(cloud: Cloud, request: Request, workspace_id: str, folder: str) -> Answer:
    return cloud.part(RunFiles).prefix_page(request, workspace_id, folder)


def _record(cloud: Cloud, request: Request, workspace_id: str, folder: str) -> Answer:
    return Answer(200, cloud.part(RunFiles).record(request, workspace_id, folder))


def _content(cloud: Cloud, request: Request, workspace_id: str, folder: str) -> Answer:
    return Answer(200, cloud.part(RunFiles).content(request, workspace_id, folder))


def _write_again(cloud: Cloud, request: Request, workspace_id: str, folder: str) -> Answer:
    return Answer(200, cloud.part(RunFiles).content(request, workspace_id, folder, WRITE))


def _uri(cloud: Cloud, request: Request, workspace_id: str, folder: str) -> Answer:
    return Answer(200, cloud.part(RunFiles).uri(request, workspace_id, folder))


# Runs.


def _get_run(cloud: Cloud, request: Request) -> Answer:
    workspace_id, run = _require_run(cloud, request), request.names["run"]
    kept = cloud.part(MlflowBehind).run(run)
    with cloud.lock:
        told = _told(cloud, run, _job(cloud, workspace_id, run), kept)
        return Answer(200, told | details_of(cloud, request, workspace_id, run))


def _told(cloud: Cloud, run: str, job: dict[str, Any] | None, kept: dict[str, Any] | None) -> dict[str, Any]:
    """Return a run as its history tells it: a job's state is the platform's, any other is MLflow's."""
    info = (kept or {}).get("info") or {}
    properties = (job or {}).get("properties") or {}
    status = properties.get("status") or _STATES.get(str(info.get("status")), "NotStarted")
    tags = {tag["key"]: tag["value"] for tag in ((kept or {}).get("data") or {}).get("tags") or ()}
    return {
        "runId": run,
        "runNumber": 1,
        "rootRunId": run,
        "experimentId": info.get("experiment_id"),
        "displayName": properties.get("displayName") or info.get("run_name"),
        "status": status,
        "startTimeUtc": _time(info.get("start_time")),
        "endTimeUtc": _time(info.get("end_time")),
        "runType": "azureml.jobs" if job else None,
        "properties": {},
        "tags": properties.get("tags") or tags,
        "hidden": bool(properties.get("isArchived")),
        "logFiles": {},
        "warnings": [],
        "error": properties.get("error"),
    }


def _change_run(cloud: Cloud, request: Request) -> Answer:
    workspace_id, run = _require_run(cloud, request), request.names["run"]
    kept = cloud.part(MlflowBehind).run(run)
    with cloud.lock:
        job = _job(cloud, workspace_id, run)
        given = request.content if isinstance(request.content, dict) else {}
        for member, target in _CHANGES:
            if job is not None and member in given:
                job["properties"][target] = given[member]
        told = _told(cloud, run, job, kept)
        return Answer(200, told | details_of(cloud, request, workspace_id, run))


def _token(cloud: Cloud, request: Request) -> Answer:
    _require_run(cloud, request)
    token = cloud.issuer.issue(audience=JOB_AUDIENCE)
    return Answer(200, {"token": token.token, "expiryTimeUtc": formatdate(token.expires_on, usegmt=True)})


def _time(milliseconds: Any) -> str | None:
    return moment(int(milliseconds) / 1000) if milliseconds else None


def _routes() -> tuple[Route, ...]:
    of_files = (
        ("artifacts/batch/metadata", "POST", _announce),
        ("artifacts", "GET", _page),
        ("artifacts/path", "GET", _record),
        ("artifacts/metadata", "GET", _record),
        ("artifacts/contentinfo", "GET", _content),
        ("artifacts/prefix/contentinfo", "GET", _prefix),
        ("artifacts/artifacturi", "GET", _uri),
    )
    routes = [
        of_service(HISTORY, f"{path}/{end}", method, _of_run(answer), waits=True)
        for path in _RUN_PATHS
        for end, method, answer in of_files
    ]
    for path in _RUN_PATHS:
        routes.append(of_service(HISTORY, f"{path}/details", "GET", _get_run, waits=True))
        routes.append(of_service(HISTORY, path, "GET", _get_run, waits=True))
        routes.append(of_service(HISTORY, path, "PATCH", _change_run, waits=True))
        routes.append(of_service(HISTORY, f"{path}/token", "GET", _token, waits=True))
    folder = "artifacts/{origin}/{container}"
    routes += [
        of_service(ARTIFACT, f"{folder}/batch/metadata", "POST", _of_folder(_announce)),
        of_service(ARTIFACT, folder, "GET", _of_folder(_page)),
        of_service(ARTIFACT, f"{folder}/write", "GET", _of_folder(_write_again)),
        of_service(ARTIFACT, f"{folder}/contentinfo", "GET", _of_folder(_content)),
        of_service(ARTIFACT, f"{folder}/prefix/contentinfo", "GET", _of_folder(_prefix)),
        of_service(ARTIFACT, "artifacts/contentinfo/{origin}/{container}", "GET", _of_folder(_content)),
        of_service(ARTIFACT, "artifacts/prefix/contentinfo/{origin}/{container}", "GET", _of_folder(_prefix)),
    ]
    return tuple(routes)


ROUTES = _routes()
