"""Jobs of batch endpoints: an invocation is a job that scores files in mini-batches.

In Azure it is a pipeline whose one step has the output ``score``; here it is that step itself, a command job.
Mini-batches run one after the other, whatever ``maxConcurrencyPerInstance`` says.
"""

from __future__ import annotations

import json
import shlex
import sys
import uuid
from collections.abc import Mapping
from typing import Any

from trackbridge.testing.emulators.azureml.assets import Resource
from trackbridge.testing.emulators.azureml.core import (
    SCORING,
    SERVICE,
    WORKSPACE,
    Answer,
    Cloud,
    Refused,
    Request,
    Route,
    pages,
)
from trackbridge.testing.emulators.azureml.endpoint_rules import (
    asset_named,
    bad,
    endpoint_id_of,
    get_resource,
    seconds_of,
)
from trackbridge.testing.emulators.azureml.jobs import start_job
from trackbridge.testing.emulators.azureml.jobs_records import OWNER, Jobs
from trackbridge.testing.emulators.azureml.scoring import (
    DEPLOYMENT_HEADER,
    endpoint_named,
    score,
    studio_audience,
)
from trackbridge.testing.emulators.azureml.workspaces import require

KIND = "batchEndpoints"
SCORE = "score"
DRIVER = f"{__package__}.inference.batch"
MFE = "/mferp/managementfrontend"
BY = "azureml.batchdeployment"
DATA_TYPES = {
    "urifile": "uri_file",
    "urifolder": "uri_folder",
    "mltable": "mltable",
    "uri_file": "uri_file",
    "uri_folder": "uri_folder",
}


def _invoke(cloud: Cloud, request: Request) -> Answer:
    with cloud.lock:
        endpoint = endpoint_named(cloud, request.names["endpoint"], (KIND,))
    if endpoint is None:
        return score(cloud, _with_path(request))
    refusal = cloud.issuer.refusal(request.headers.get("Authorization"), (studio_audience(cloud),))
    if refusal is not None:
        raise Refused(refusal.status, refusal.code, refusal.message)
    cloud.mlflow()  # which may have to start first: the lock is not held meanwhile
    with cloud.lock:
        deployment = _chosen(cloud, request, endpoint)
        workspace_id = endpoint["id"].partition(f"/{KIND}/")[0]
        asked = request.properties
        name = asked.get("name") or f"batchjob-{uuid.uuid4()}"
        job = start_job(cloud, workspace_id, name, _job(cloud, endpoint, deployment, asked))
        return Answer(201, _told(cloud, endpoint, job))


def _with_path(request: Request) -> Request:
    """Return a request to an online endpoint whose container has the path ``/jobs``."""
    return Request(
        request.method,
        request.target,
        request.headers,
        request.body,
        {**request.names, "rest": "jobs"},
        request.host,
        request.is_tls,
    )


def _chosen(cloud: Cloud, request: Request, endpoint: Resource) -> Resource:
    default = endpoint["properties"]["defaults"].get("deploymentName")
    name = request.headers.get(DEPLOYMENT_HEADER) or default
    if not name:
        raise bad(f"Endpoint {endpoint['name']} has no default deployment, and the request names none")
    found = get_resource(cloud, f"{endpoint['id']}/deployments/{name}")
    if found["properties"]["provisioningState"] != "Succeeded":
        state = found["properties"]["provisioningState"]
        raise bad(f"Deployment {name} cannot be invoked: it is in {state} provisioning state")
    return found


def _job(cloud: Cloud, endpoint: Resource, deployment: Resource, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the command job that an invocation is."""
    kept = deployment["properties"]
    code = kept.get("codeConfiguration") or {}
    retry = {**kept["retrySettings"], **(asked.get("retrySettings") or {})}
    threshold = asked.get("errorThreshold")
    held = asset_named(cloud, "model.assetId", kept["model"]["assetId"], "models")["properties"]
    settings = {
        "model": held["modelUri"].rstrip("/").rpartition("/")[2],
        "script": code.get("scoringScript") or "",
        "size": asked.get("miniBatchSize") or kept["miniBatchSize"],
        "errors_max": kept["errorThreshold"] if threshold is None else threshold,
        "retries": retry["maxRetries"],
        "timeout_s": seconds_of(retry["timeout"], 30.0),
        "appends": kept["outputAction"] == "AppendRow",
        "file": asked.get("outputFileName") or kept["outputFileName"],
    }
    command = [shlex.quote(sys.executable), "-m", DRIVER]
    places = ["${{inputs.data}}", "${{inputs.model}}", f"${{{{outputs.{SCORE}}}}}"]
    written = shlex.quote(json.dumps(settings))
    model = {"jobInputType": "custom_model", "uri": held["modelUri"], "mode": "Download"}
    return {
        "jobType": "Command",
        "command": " ".join([*command, *(f'"{place}"' for place in places), written]),
        "experimentName": (asked.get("properties") or {}).get("experimentName") or endpoint["name"],
        "displayName": f"{endpoint['name']}/{deployment['name']}",
        "codeId": code.get("codeId"),
        "environmentId": kept.get("environmentId"),
        "environmentVariables": kept["environmentVariables"],
        "computeId": kept.get("compute"),
        "inputs": {"data": _input(asked), "model": model},
        "outputs": {SCORE: _output(asked)},
        "properties": {OWNER: endpoint["id"], BY: deployment["name"]},
    }


def _input(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the one input of data that a deployment of a model takes."""
    given = asked.get("inputData") or {}
    if len(given) != 1:
        raise bad(f"A deployment of a model takes one input, and not {len(given)}", target="inputData")
    found = next(iter(given.values()))
    kind = DATA_TYPES.get(str(found.get("jobInputType") or "").lower())
    if kind is None:
        raise bad("The input must be a UriFile or a UriFolder", target="inputData")
    if not found.get("uri"):
        raise bad("The input has no uri", target="inputData")
    return {"jobInputType": kind, "uri": found["uri"], "mode": "Download"}


def _output(asked: Mapping[str, Any]) -> dict[str, Any]:
    given = asked.get("outputData") or {}
    dataset = asked.get("outputDataset") or {}
    told: dict[str, Any] = {"jobOutputType": "uri_folder", "mode": "ReadWriteMount"}
    uri = next((each.get("uri") for each in given.values() if each.get("uri")), None)
    if dataset.get("datastoreId"):
        datastore = str(dataset["datastoreId"]).rpartition("/")[2]
        uri = f"azureml://datastores/{datastore}/paths/{str(dataset.get('path') or '').strip('/')}"
    return told | ({"uri": uri} if uri else {})


def _told(cloud: Cloud, endpoint: Resource, job: Resource) -> dict[str, Any]:
    """Return a job as the endpoint's own routes tell it."""
    running = cloud.part(Jobs).find(job["id"])
    kept = job["properties"]
    status = running.status if running is not None else kept["status"]
    return {
        "id": f"{endpoint['id']}/jobs/{job['name']}",
        "name": job["name"],
        "type": "Microsoft.MachineLearningServices/workspaces/batchEndpoints/jobs",
        "properties": {
            "name": job["name"],
            "status": status,
            "inputData": {"data": kept["inputs"]["data"]},
            "outputData": {SCORE: kept["outputs"][SCORE]},
            "experimentName": kept["experimentName"],
            "provisioningState": "Succeeded",
        },
        "systemData": job.get("systemData"),
    }


def _list(cloud: Cloud, request: Request) -> Answer:
    """List the jobs of an endpoint, or of one of its deployments; the newest first."""
    workspace_id = require(cloud, request)
    endpoint = get_resource(cloud, endpoint_id_of(request, KIND))
    wanted = request.names.get("deployment", "").lower()
    found = []
    for job in cloud.resources.children(f"{workspace_id}/jobs"):
        marks = job["properties"].get("properties") or {}
        is_by = not wanted or str(marks.get(BY)).lower() == wanted
        if marks.get(OWNER) == endpoint["id"] and is_by:
            found.append(_told(cloud, endpoint, job))
    return pages(request, found[::-1])


_LISTED = (f"{KIND}/{{endpoint}}/jobs", f"{KIND}/{{endpoint}}/deployments/{{deployment}}/jobs")
ROUTES = (
    Route("POST", "/endpoints/{endpoint}/jobs", _invoke, plane=SCORING, waits=True),
    *(Route("GET", f"{MFE}{WORKSPACE}/{path}", _list, plane=SERVICE) for path in _LISTED),
)
