"""Online endpoints in Resource Manager: traffic, keys, tokens. Their deployments and scoring are beside it.

A PUT replaces everything, traffic too: one without traffic leaves none, as azure-ai-ml's own does (facts,
section 7.1).
"""

from __future__ import annotations

import threading
from typing import Any

from trackbridge.testing.emulators.azureml import online_deployments, scoring
from trackbridge.testing.emulators.azureml.core import Answer, Cloud, Request, of_workspace
from trackbridge.testing.emulators.azureml.data_collection import DataCollection
from trackbridge.testing.emulators.azureml.endpoint_rules import (
    AUTH_MODES,
    CHANGE_S,
    Resource,
    bad,
    check_settled,
    delete_later,
    endpoint_id_of,
    endpoint_to_delete,
    endpoint_to_put,
    get_resource,
    identity_of,
    listed,
    settle_later,
    spelled,
    tags_of,
)
from trackbridge.testing.emulators.azureml.online_state import KIND, OnlineEndpoints, new_key
from trackbridge.testing.emulators.azureml.slow_operations import SlowOperations
from trackbridge.testing.emulators.azureml.traffic import checked
from trackbridge.testing.emulators.azureml.workspaces import require

TOKEN_REFRESH_SHARE = 0.75
ACCESS = ("Enabled", "Disabled")


def told(cloud: Cloud, request: Request, endpoint: Resource) -> Resource:
    """Return an endpoint as the sender of a request sees it."""
    base = cloud.addresses(request).endpoint(endpoint["name"])
    addresses = {
        "scoringUri": base + scoring.scoring_path(cloud, endpoint),
        "swaggerUri": f"{base}/swagger.json",
    }
    return {**endpoint, "properties": {**endpoint["properties"], **addresses}}


def _deployments(cloud: Cloud, endpoint_id: str) -> dict[str, str]:
    found = cloud.resources.children(f"{endpoint_id}/deployments")
    return {held["name"].lower(): held["name"] for held in found}


def _put(cloud: Cloud, request: Request) -> Answer:
    endpoint_id, held = endpoint_to_put(cloud, request, KIND)
    state = cloud.part(OnlineEndpoints)
    _check_quota(cloud, state, endpoint_id, is_new=held is None)
    asked, body = request.properties, request.content
    if asked.get("compute"):
        raise bad("The emulator has no Kubernetes: leave compute out", target="compute")
    traffic, mirror = checked(asked, _deployments(cloud, endpoint_id))
    mode = spelled(asked["authMode"], AUTH_MODES, "Key")
    properties: dict[str, Any] = {
        "authMode": mode,
        "description": asked.get("description"),
        "properties": {**(asked.get("properties") or {}), "azureml.onlineendpointid": endpoint_id.lower()},
        "traffic": traffic,
        "mirrorTraffic": mirror,
        "publicNetworkAccess": spelled(asked.get("publicNetworkAccess"), ACCESS, "Enabled"),
        "provisioningState": "Updating" if held else "Creating",
    }
    content = {
        "location": body.get("location") or cloud.region,
        "tags": tags_of(body),
        "kind": "Managed",
        "identity": identity_of(cloud, endpoint_id, body.get("identity")),
        "properties": properties,
    }
    resource, is_new = cloud.resources.put(endpoint_id, content)
    state.ensure(endpoint_id, asked.get("keys"))
    return settle_later(cloud, request, resource, is_new, shown=lambda kept: told(cloud, request, kept))


def _check_quota(cloud: Cloud, state: OnlineEndpoints, endpoint_id: str, *, is_new: bool) -> None:
    marker = f"/{KIND}/".lower()
    there = sum(
        marker in key and "/deployments/" not in key for key, _ in cloud.resources.below("/subscriptions")
    )
    if is_new and there >= state.endpoints_max:
        message = f"The region has {there} endpoints; {state.endpoints_max} is its limit"
        raise bad(message, code="OutOfQuota", target=endpoint_id)


def _get(cloud: Cloud, request: Request) -> Answer:
    require(cloud, request)
    return Answer(200, told(cloud, request, get_resource(cloud, endpoint_id_of(request, KIND))))


def _list(cloud: Cloud, request: Request) -> Answer:
    collection = f"{request.workspace_id}/{KIND}"
    return listed(cloud, request, collection, lambda held: told(cloud, request, held))


def _patch(cloud: Cloud, request: Request) -> Answer:
    """Change tags and identity; the service takes no more by PATCH."""
    endpoint = get_resource(cloud, endpoint_id_of(request, KIND))
    check_settled(endpoint, "update")
    if request.content.get("tags") is not None:
        endpoint["tags"] = tags_of(request.content)
    if request.content.get("identity") is not None:
        endpoint["identity"] = identity_of(cloud, endpoint["id"], request.content["identity"])
    endpoint["properties"]["provisioningState"] = "Updating"
    return settle_later(cloud, request, endpoint, False, shown=lambda kept: told(cloud, request, kept))


def _delete(cloud: Cloud, request: Request) -> Answer:
    """Delete an endpoint with all of its deployments."""
    endpoint = endpoint_to_delete(cloud, request, KIND)
    if endpoint is None:
        return Answer(204)
    endpoint_id = endpoint["id"]
    state = cloud.part(OnlineEndpoints)

    def finish() -> None:
        fleets = state.forget(endpoint_id)
        for deployment in cloud.resources.children(f"{endpoint_id}/deployments"):
            cloud.part(DataCollection).forget(deployment["id"])
        cloud.resources.delete(endpoint_id)
        for fleet in fleets:
            state.work(threading.Thread(target=fleet.drain, daemon=True))

    return delete_later(cloud, request, endpoint, finish)


def _keyed(cloud: Cloud, request: Request, mode: str) -> Resource:
    require(cloud, request)
    endpoint = get_resource(cloud, endpoint_id_of(request, KIND))
    if endpoint["properties"]["authMode"] != mode:
        has = endpoint["properties"]["authMode"]
        raise bad(f"Endpoint {endpoint['name']} has auth mode {has}, and not {mode}")
    return endpoint


def _list_keys(cloud: Cloud, request: Request) -> Answer:
    endpoint = _keyed(cloud, request, "Key")
    return Answer(200, dict(cloud.part(OnlineEndpoints).live(endpoint["id"]).keys))


def _regenerate(cloud: Cloud, request: Request) -> Answer:
    """Replace a key: by the one that is given, or a new one when that is the one that is there.

    azure-ai-ml sends the key that it has just read.
    """
    endpoint = _keyed(cloud, request, "Key")
    live = cloud.part(OnlineEndpoints).live(endpoint["id"])
    kind = spelled(request.content.get("keyType"), ("Primary", "Secondary"), "")
    if not kind:
        raise bad("keyType must be Primary or Secondary", target="keyType")
    member = f"{kind.lower()}Key"

    def finish() -> None:
        given = request.content.get("keyValue")
        live.keys[member] = new_key() if given in (None, "", live.keys[member]) else str(given)

    return cloud.part(SlowOperations).begin(request, seconds=CHANGE_S, finish=finish)


def _token(cloud: Cloud, request: Request) -> Answer:
    endpoint = _keyed(cloud, request, "AMLToken")
    issued = cloud.issuer.issue(audience=scoring.audience_of(endpoint))
    now_s = cloud.now_s()
    content = {
        "accessToken": issued.token,
        "expiryTimeUtc": issued.expires_on,
        "refreshAfterTimeUtc": int(now_s + (issued.expires_on - now_s) * TOKEN_REFRESH_SHARE),
        "tokenType": "Bearer",
    }
    return Answer(200, content)


_ONE = f"{KIND}/{{endpoint}}"
ROUTES = (
    of_workspace(KIND, "GET", _list),
    of_workspace(_ONE, "GET", _get),
    of_workspace(_ONE, "PUT", _put, shape="OnlineEndpoint"),
    of_workspace(_ONE, "PATCH", _patch),
    of_workspace(_ONE, "DELETE", _delete),
    of_workspace(f"{_ONE}/listKeys", "POST", _list_keys, right="secrets"),
    of_workspace(f"{_ONE}/regenerateKeys", "POST", _regenerate),
    of_workspace(f"{_ONE}/token", "POST", _token, right="secrets"),
    *online_deployments.ROUTES,
    *scoring.ROUTES,
)
