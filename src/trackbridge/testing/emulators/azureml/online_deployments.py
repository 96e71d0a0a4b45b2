"""Deployments of online endpoints in Resource Manager: started, replaced, scaled, ended; their logs."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from trackbridge.testing.emulators.azureml.core import Answer, Cloud, Refused, Request, of_workspace, pages
from trackbridge.testing.emulators.azureml.data_collection import DataCollection, settings_of
from trackbridge.testing.emulators.azureml.deployment_fleets import Fleet, Limits
from trackbridge.testing.emulators.azureml.deployment_programs import platform_variables, program_of
from trackbridge.testing.emulators.azureml.endpoint_rules import (
    Resource,
    bad,
    check_idle,
    check_name,
    check_settled,
    delete_later,
    deployment_id_of,
    duration,
    endpoint_id_of,
    get_deployment,
    get_resource,
    list_deployments,
    new_id,
    seconds_of,
    spelled,
    tags_of,
)
from trackbridge.testing.emulators.azureml.online_state import KIND, OnlineEndpoints
from trackbridge.testing.emulators.azureml.scored_requests import Happenings
from trackbridge.testing.emulators.azureml.slow_operations import SlowOperation, SlowOperations
from trackbridge.testing.emulators.azureml.workspaces import require
from trackbridge.testing.emulators.containers import NotServing

DEFAULT_TIMEOUT_S = 5.0
QUEUE_WAIT_S = 0.5
TAIL_LINES = 5_000
CONTAINERS = {"inferenceserver": "inference-server", "storageinitializer": "storage-initializer"}
NOT_READY = (
    "User container has crashed or terminated. Please see troubleshooting guide, available here: "
    "https://aka.ms/oe-tsg#error-resourcenotready"
)
_PROBE = {
    "initialDelay": "PT10S",
    "period": "PT10S",
    "timeout": "PT2S",
    "failureThreshold": 30,
    "successThreshold": 1,
}


def _put(cloud: Cloud, request: Request) -> Answer:
    workspace_id = require(cloud, request)
    endpoint = get_resource(cloud, endpoint_id_of(request, KIND))
    check_settled(endpoint, "create a deployment in")
    check_name("deployment", request.names["deployment"])
    deployment_id = new_id(cloud, f"{endpoint['id']}/deployments/{request.names['deployment']}")
    held = cloud.resources.get(deployment_id)
    if held is not None:
        check_idle(held)
    state = cloud.part(OnlineEndpoints)
    _check_quota(cloud, state, endpoint["id"], is_new=held is None)
    capacity = _capacity(state, request.content)
    properties = _properties(state, request.properties)
    program = program_of(cloud, workspace_id, deployment_id, properties)
    properties["environmentVariables"] |= platform_variables(program)
    collection = settings_of(cloud, deployment_id, properties.get("dataCollector"))
    request_settings = properties["requestSettings"]
    limits = Limits(
        request_settings["maxConcurrentRequestsPerInstance"],
        seconds_of(request_settings["requestTimeout"], DEFAULT_TIMEOUT_S),
    )
    properties["provisioningState"] = "Updating" if held else "Creating"
    content = {
        "location": request.content.get("location") or endpoint["location"],
        "tags": tags_of(request.content),
        "kind": "Managed",
        "sku": {"name": "Default", "tier": "Standard", "capacity": capacity},
        "properties": properties,
    }
    resource, is_new = cloud.resources.put(deployment_id, content)
    watched = cloud.part(DataCollection).watch(deployment_id, collection)
    fleet = Fleet(cloud, deployment_id, watched.told_to(program), limits, watched.files())
    begun, answer = cloud.part(SlowOperations).begin_watched(request, resource=resource, is_new=is_new)
    _start(cloud, resource, fleet, begun)
    return answer


def _check_quota(cloud: Cloud, state: OnlineEndpoints, endpoint_id: str, *, is_new: bool) -> None:
    there = len(cloud.resources.children(f"{endpoint_id}/deployments"))
    in_all = sum(
        f"/{KIND}/".lower() in key and "/deployments/" in key
        for key, _ in cloud.resources.below("/subscriptions")
    )
    if is_new and there >= state.deployments_max:
        message = f"The endpoint has {there} deployments; {state.deployments_max} is its limit"
        raise bad(message, code="OutOfQuota")
    if is_new and in_all >= state.deployments_in_all_max:
        message = f"The region has {in_all} deployments; {state.deployments_in_all_max} is its limit"
        raise bad(message, code="OutOfQuota")


def _capacity(state: OnlineEndpoints, content: dict[str, Any]) -> int:
    capacity = (content.get("sku") or {}).get("capacity", 1)
    if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
        raise bad(f"sku.capacity must be a whole number from 1, and is {capacity}", target="sku.capacity")
    if capacity > state.instances_max:
        message = f"A deployment can have {state.instances_max} instances, not {capacity}"
        raise bad(message, code="OutOfQuota", target="sku.capacity")
    return capacity


def _properties(state: OnlineEndpoints, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a deployment: what was asked for, with the service's defaults."""
    kind = spelled(asked.get("endpointComputeType"), ("Managed", "Kubernetes"), "Managed")
    if kind != "Managed":
        raise bad("The emulator has no Kubernetes: endpointComputeType must be Managed")
    settings = asked.get("requestSettings") or {}
    timeout_s = seconds_of(settings.get("requestTimeout"), DEFAULT_TIMEOUT_S)
    at_once = settings.get("maxConcurrentRequestsPerInstance") or 1
    if not 0 < timeout_s <= state.timeout_max_s:
        message = f"requestTimeout can be {state.timeout_max_s:g} s at most, and is {timeout_s:g} s"
        raise bad(message, target="requestSettings.requestTimeout")
    if at_once < 1:
        raise bad("maxConcurrentRequestsPerInstance must be 1 or more", target="requestSettings")
    kept = {name: value for name, value in asked.items() if value is not None}
    return kept | {
        "endpointComputeType": kind,
        "instanceType": asked.get("instanceType") or "Standard_F4s_v2",
        "scaleSettings": asked.get("scaleSettings") or {"scaleType": "Default"},
        "appInsightsEnabled": bool(asked.get("appInsightsEnabled")),
        "egressPublicNetworkAccess": spelled(
            asked.get("egressPublicNetworkAccess"), ("Enabled", "Disabled"), "Enabled"
        ),
        "environmentVariables": dict(asked.get("environmentVariables") or {}),
        "properties": dict(asked.get("properties") or {}),
        "requestSettings": {
            "requestTimeout": duration(timeout_s),
            "maxConcurrentRequestsPerInstance": at_once,
            "maxQueueWait": duration(seconds_of(settings.get("maxQueueWait"), QUEUE_WAIT_S)),
        },
        "livenessProbe": {**_PROBE, **_given(asked.get("livenessProbe"))},
        "readinessProbe": {**_PROBE, **_given(asked.get("readinessProbe"))},
    }


def _given(probe: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (probe or {}).items() if value is not None}


def _start(cloud: Cloud, deployment: Resource, fleet: Fleet, begun: SlowOperation) -> None:
    """Start a fleet in a thread, and let it take the place of the one that serves when it is ready."""
    state = cloud.part(OnlineEndpoints)
    deployment_id, capacity = deployment["id"], deployment["sku"]["capacity"]

    def is_wanted() -> bool:
        return not state.is_closed and cloud.resources.get(deployment_id) is deployment

    def work() -> None:
        error = _tried(cloud, state, fleet, capacity, deployment_id, is_wanted)
        _settle(cloud, state, deployment, fleet, begun, error, is_wanted())

    state.work(threading.Thread(target=work, name=f"start {deployment_id}", daemon=True))


def _tried(
    cloud: Cloud, state: OnlineEndpoints, fleet: Fleet, capacity: int, deployment_id: str, is_wanted: Any
) -> Refused | None:
    """Bring a fleet up; returns why it does not come."""
    with cloud.lock:
        demanded = cloud.part(SlowOperations).demanded_failure(deployment_id)
    if demanded is not None:
        return demanded
    try:
        fleet.scale(capacity, state.start_s, is_wanted)
    except (NotServing, OSError) as reason:
        return Refused(400, "ResourceNotReady", f"{NOT_READY} ({reason})")
    except Refused as refused:
        return refused
    except Exception as error:
        if not state.is_closed:  # a fault of the emulator, kept for whoever tests
            cloud.clock.errors.append(error)
        return Refused(500, "InternalServerError", f"{type(error).__name__}: {error}")
    return None


def _settle(
    cloud: Cloud,
    state: OnlineEndpoints,
    deployment: Resource,
    fleet: Fleet,
    begun: SlowOperation,
    error: Refused | None,
    is_wanted: bool,
) -> None:
    """Let the outcome of a start be seen, and end what does not serve any more."""
    endpoint_id, _, name = deployment["id"].rsplit("/", 2)
    gone: Fleet | None = fleet
    with cloud.lock:
        live = state.find(endpoint_id)
        if is_wanted and live is not None and not state.is_closed:
            if error is None:
                gone = live.fleets.get(name.lower())
                live.fleets[name.lower()] = fleet
            deployment["properties"]["provisioningState"] = "Failed" if error else "Succeeded"
        cloud.part(SlowOperations).end(begun, error=error, result=None if error else deployment)
    if gone is not None:
        gone.drain()


def _patch(cloud: Cloud, request: Request) -> Answer:
    """Scale a deployment, or change its tags; the service takes no more by PATCH."""
    require(cloud, request)
    deployment = get_resource(cloud, deployment_id_of(request, KIND))
    check_idle(deployment)
    state = cloud.part(OnlineEndpoints)
    if request.content.get("tags") is not None:
        deployment["tags"] = tags_of(request.content)
    endpoint_id, _, name = deployment["id"].rsplit("/", 2)
    fleet = state.live(endpoint_id).fleets.get(name.lower())
    capacity = _capacity(state, {"sku": {"capacity": deployment["sku"]["capacity"], **_sku(request)}})
    before = deployment["sku"]["capacity"]
    deployment["properties"]["provisioningState"] = "Scaling" if capacity != before else "Updating"
    deployment["sku"] = {**deployment["sku"], "capacity": capacity}
    begun, answer = cloud.part(SlowOperations).begin_watched(request, resource=deployment, is_new=False)

    def is_wanted() -> bool:
        return not state.is_closed and cloud.resources.get(deployment["id"]) is deployment

    def work() -> None:
        error: Refused | None = Refused(400, "ResourceNotReady", NOT_READY)
        if fleet is not None:
            error = _tried(cloud, state, fleet, capacity, deployment["id"], is_wanted)
        with cloud.lock:
            if error is not None:
                deployment["sku"]["capacity"] = before
            deployment["properties"]["provisioningState"] = "Failed" if error else "Succeeded"
            cloud.part(SlowOperations).end(begun, error=error, result=None if error else deployment)

    state.work(threading.Thread(target=work, name=f"scale {deployment['id']}", daemon=True))
    return answer


def _sku(request: Request) -> dict[str, Any]:
    return {name: value for name, value in (request.content.get("sku") or {}).items() if value is not None}


def _delete(cloud: Cloud, request: Request) -> Answer:
    """End a deployment. One that gets traffic is refused; what the service says then is not published."""
    require(cloud, request)
    deployment = cloud.resources.get(deployment_id_of(request, KIND))
    if deployment is None:
        return Answer(204)
    endpoint_id, _, name = deployment["id"].rsplit("/", 2)
    endpoint = get_resource(cloud, endpoint_id)
    if deployment["properties"]["provisioningState"] == "Deleting":
        check_idle(deployment)
    if endpoint["properties"]["traffic"].get(name):
        raise bad(f"Deployment {name} gets traffic: set it to 0 before it is deleted", target="traffic")
    state = cloud.part(OnlineEndpoints)

    def finish() -> None:
        cloud.resources.delete(deployment["id"])
        endpoint["properties"]["mirrorTraffic"].pop(name, None)
        endpoint["properties"]["traffic"].pop(name, None)
        live = state.find(endpoint_id)
        fleet = live.fleets.pop(name.lower(), None) if live else None
        cloud.part(DataCollection).forget(deployment["id"])
        if fleet is not None:
            state.work(threading.Thread(target=fleet.drain, daemon=True))

    return delete_later(cloud, request, deployment, finish)


def _logs(cloud: Cloud, request: Request) -> Answer:
    require(cloud, request)
    deployment = get_resource(cloud, deployment_id_of(request, KIND))
    kind = str(request.content.get("containerType") or "InferenceServer").lower()
    if kind not in CONTAINERS:
        raise bad("containerType must be InferenceServer or StorageInitializer", target="containerType")
    count = min(int(request.content.get("tail") or TAIL_LINES), TAIL_LINES)
    endpoint_id, _, name = deployment["id"].rsplit("/", 2)
    lines = cloud.part(Happenings).last_lines(endpoint_id, name, CONTAINERS[kind], count)
    is_up = deployment["properties"]["provisioningState"] == "Succeeded"
    head = [
        "Instance status:",
        "SystemSetup: Succeeded",
        "UserContainerImagePull: Succeeded",
        "ModelDownload: Succeeded",
        f"UserContainerStart: {'Succeeded' if is_up else deployment['properties']['provisioningState']}",
        "",
        "Container events:",
        f"Kind: Pod, Name: {'Ready' if is_up else 'Pulling'}, Type: Normal",
        "",
        "Container logs:",
    ]
    return Answer(200, {"content": "\n".join([*head, *lines]) + "\n"})


def _skus(cloud: Cloud, request: Request) -> Answer:
    require(cloud, request)
    get_resource(cloud, deployment_id_of(request, KIND))
    most = cloud.part(OnlineEndpoints).instances_max
    sku = {
        "resourceType": f"Microsoft.MachineLearningServices/workspaces/{KIND}/deployments",
        "sku": {"name": "Default", "tier": "Standard"},
        "capacity": {"default": 1, "minimum": 1, "maximum": most, "scaleType": "Manual"},
    }
    return pages(request, [sku])


_ONE = f"{KIND}/{{endpoint}}/deployments/{{deployment}}"
ROUTES = (
    of_workspace(f"{KIND}/{{endpoint}}/deployments", "GET", partial(list_deployments, kind=KIND)),
    of_workspace(_ONE, "GET", partial(get_deployment, kind=KIND)),
    of_workspace(_ONE, "PUT", _put, shape="OnlineDeployment"),
    of_workspace(_ONE, "PATCH", _patch),
    of_workspace(_ONE, "DELETE", _delete),
    of_workspace(f"{_ONE}/getLogs", "POST", _logs),
    of_workspace(f"{_ONE}/skus", "GET", _skus),
)
