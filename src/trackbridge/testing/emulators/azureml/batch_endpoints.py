"""Batch endpoints and their deployments in Resource Manager; their jobs are beside it."""

from __future__ import annotations

from functools import partial
from typing import Any

from trackbridge.testing.emulators.azureml import batch_jobs
from trackbridge.testing.emulators.azureml.batch_jobs import KIND
from trackbridge.testing.emulators.azureml.core import Answer, Cloud, Request, of_workspace
from trackbridge.testing.emulators.azureml.endpoint_rules import (
    AUTH_MODES,
    Resource,
    asset_named,
    bad,
    check_idle,
    check_name,
    check_settled,
    delete_later,
    deployment_id_of,
    duration,
    endpoint_id_of,
    endpoint_to_delete,
    endpoint_to_put,
    get_deployment,
    get_resource,
    identity_of,
    list_deployments,
    listed,
    new_id,
    seconds_of,
    settle_later,
    spelled,
    tags_of,
)
from trackbridge.testing.emulators.azureml.workspaces import require

ACTIONS = ("AppendRow", "SummaryOnly")
LEVELS = ("Info", "Warning", "Debug")
DEFAULTS: dict[str, Any] = {"miniBatchSize": 10, "errorThreshold": -1, "maxConcurrencyPerInstance": 1}
RETRIES, TIMEOUT_S = 3, 30.0
FILE = "predictions.csv"


def told(cloud: Cloud, request: Request, endpoint: Resource) -> Resource:
    """Return an endpoint as the sender of a request sees it."""
    base = cloud.addresses(request).endpoint(endpoint["name"])
    addresses = {"scoringUri": f"{base}/jobs", "swaggerUri": None}
    return {**endpoint, "properties": {**endpoint["properties"], **addresses}}


def _put(cloud: Cloud, request: Request) -> Answer:
    endpoint_id, held = endpoint_to_put(cloud, request, KIND)
    asked, body = request.properties, request.content
    mode = spelled(asked["authMode"], AUTH_MODES, "")
    if mode != "AADToken":
        raise bad("A batch endpoint has the auth mode AADToken", target="authMode")
    default = (asked.get("defaults") or {}).get("deploymentName")
    if default:
        deployment = cloud.resources.get(f"{endpoint_id}/deployments/{default}")
        if deployment is None:
            raise bad(f"The default deployment {default} does not exist", target="defaults.deploymentName")
        default = deployment["name"]
    content = {
        "location": body.get("location") or cloud.region,
        "tags": tags_of(body),
        "identity": identity_of(cloud, endpoint_id, body.get("identity")),
        "properties": {
            "authMode": mode,
            "description": asked.get("description"),
            "properties": dict(asked.get("properties") or {}),
            "defaults": {"deploymentName": default},
            "provisioningState": "Updating" if held else "Creating",
        },
    }
    resource, is_new = cloud.resources.put(endpoint_id, content)
    return settle_later(cloud, request, resource, is_new, shown=lambda kept: told(cloud, request, kept))


def _get(cloud: Cloud, request: Request) -> Answer:
    require(cloud, request)
    return Answer(200, told(cloud, request, get_resource(cloud, endpoint_id_of(request, KIND))))


def _list(cloud: Cloud, request: Request) -> Answer:
    return listed(cloud, request, f"{request.workspace_id}/{KIND}", lambda held: told(cloud, request, held))


def _patch(cloud: Cloud, request: Request) -> Answer:
    endpoint = get_resource(cloud, endpoint_id_of(request, KIND))
    check_settled(endpoint, "update")
    if request.content.get("tags") is not None:
        endpoint["tags"] = tags_of(request.content)
    endpoint["properties"]["provisioningState"] = "Updating"
    return settle_later(cloud, request, endpoint, False, shown=lambda kept: told(cloud, request, kept))


def _delete(cloud: Cloud, request: Request) -> Answer:
    """Delete an endpoint with its deployments. Jobs that it has started go on."""
    endpoint = endpoint_to_delete(cloud, request, KIND)
    return Answer(204) if endpoint is None else _end(cloud, request, endpoint)


def _end(cloud: Cloud, request: Request, resource: Resource) -> Answer:
    def finish() -> None:
        cloud.resources.delete(resource["id"])

    return delete_later(cloud, request, resource, finish)


def _deployment_put(cloud: Cloud, request: Request) -> Answer:
    require(cloud, request)
    endpoint = get_resource(cloud, endpoint_id_of(request, KIND))
    check_settled(endpoint, "create a deployment in")
    check_name("deployment", request.names["deployment"])
    deployment_id = new_id(cloud, f"{endpoint['id']}/deployments/{request.names['deployment']}")
    held = cloud.resources.get(deployment_id)
    if held is not None:
        check_idle(held)
    kept = _properties(cloud, request.properties)
    kept["provisioningState"] = "Updating" if held else "Creating"
    content = {
        "location": request.content.get("location") or endpoint["location"],
        "tags": tags_of(request.content),
        "properties": kept,
    }
    resource, is_new = cloud.resources.put(deployment_id, content)
    return settle_later(cloud, request, resource, is_new, shown=lambda each: each)


def _properties(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    if asked.get("deploymentConfiguration"):
        raise bad("The emulator has no pipelines: a batch deployment needs a model", code="UserError")
    model = asked.get("model") or {}
    if str(model.get("referenceType") or "").lower() != "id":
        raise bad("model must be a reference of the type Id", target="model")
    held = asset_named(cloud, "model.assetId", str(model.get("assetId")), "models")
    code = asked.get("codeConfiguration")
    if code:
        asset_named(cloud, "codeConfiguration.codeId", str(code.get("codeId")), "codes")
        if not asked.get("environmentId"):
            raise bad("A deployment with a scoring script needs an environment", target="environmentId")
    elif held["properties"].get("modelType") != "mlflow_model":
        raise bad("Without a scoring script, the model must be of type mlflow_model", target="model")
    if asked.get("environmentId"):
        asset_named(cloud, "environmentId", asked["environmentId"], "environments")
    retry = asked.get("retrySettings") or {}
    given = {name: value for name, value in asked.items() if value is not None}
    for name in ("miniBatchSize", "maxConcurrencyPerInstance"):
        if given.get(name, 1) < 1:
            raise bad(f"{name} must be 1 or more", target=name)
    retries = retry.get("maxRetries")
    return {
        **DEFAULTS,
        **given,
        "outputAction": spelled(asked.get("outputAction"), ACTIONS, "AppendRow"),
        "outputFileName": asked.get("outputFileName") or FILE,
        "loggingLevel": spelled(asked.get("loggingLevel"), LEVELS, "Info"),
        "retrySettings": {
            "maxRetries": RETRIES if retries is None else retries,
            "timeout": duration(seconds_of(retry.get("timeout"), TIMEOUT_S)),
        },
        "environmentVariables": dict(asked.get("environmentVariables") or {}),
        "properties": dict(asked.get("properties") or {}),
        "resources": {"instanceCount": 1, "properties": {}, **_given(asked.get("resources"))},
    }


def _given(members: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (members or {}).items() if value is not None}


def _deployment_patch(cloud: Cloud, request: Request) -> Answer:
    require(cloud, request)
    deployment = get_resource(cloud, deployment_id_of(request, KIND))
    check_idle(deployment)
    if request.content.get("tags") is not None:
        deployment["tags"] = tags_of(request.content)
    description = (request.content.get("properties") or {}).get("description")
    if description is not None:
        deployment["properties"]["description"] = description
    return settle_later(cloud, request, deployment, False, shown=lambda each: each)


def _deployment_delete(cloud: Cloud, request: Request) -> Answer:
    require(cloud, request)
    deployment = cloud.resources.get(deployment_id_of(request, KIND))
    if deployment is None:
        return Answer(204)
    check_idle(deployment)
    defaults = get_resource(cloud, endpoint_id_of(request, KIND))["properties"]["defaults"]
    if defaults.get("deploymentName") == deployment["name"]:
        defaults["deploymentName"] = None
    return _end(cloud, request, deployment)


_ONE = f"{KIND}/{{endpoint}}"
_DEPLOYMENT = f"{_ONE}/deployments/{{deployment}}"
ROUTES = (
    of_workspace(KIND, "GET", _list),
    of_workspace(_ONE, "GET", _get),
    of_workspace(_ONE, "PUT", _put, shape="BatchEndpoint"),
    of_workspace(_ONE, "PATCH", _patch),
    of_workspace(_ONE, "DELETE", _delete),
    of_workspace(f"{_ONE}/deployments", "GET", partial(list_deployments, kind=KIND)),
    of_workspace(_DEPLOYMENT, "GET", partial(get_deployment, kind=KIND)),
    of_workspace(_DEPLOYMENT, "PUT", _deployment_put, shape="BatchDeployment"),
    of_workspace(_DEPLOYMENT, "PATCH", _deployment_patch),
    of_workspace(_DEPLOYMENT, "DELETE", _deployment_delete),
    *batch_jobs.ROUTES,
)
