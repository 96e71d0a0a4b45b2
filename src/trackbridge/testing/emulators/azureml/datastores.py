"""Datastores: where a workspace's files lie, and the secrets to get at them."""

from __future__ import annotations

from typing import Any

from trackbridge.testing.emulators.azureml.core import Answer, Cloud, Refused, Request, of_workspace, pages
from trackbridge.testing.emulators.azureml.names import check_name
from trackbridge.testing.emulators.azureml.refusal import not_found
from trackbridge.testing.emulators.azureml.storage import ACCOUNT, REGISTRY_ACCOUNT
from trackbridge.testing.emulators.azureml.workspaces import require

HOURS_MAX = 24
"""Assumed: what azure-ai-ml asks for is 1."""


class Secrets:
    """What was given to get at datastores, by the datastore's id; no answer shows it but ``listSecrets``."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.held: dict[str, dict[str, Any]] = {}
        self.handed_out = 0
        """How often secrets were asked for."""


def get_datastore(cloud: Cloud, workspace_id: str, name: str) -> dict[str, Any]:
    """Return a datastore.

    Raises:
        Refused: There is none.
    """
    found = cloud.resources.get(f"{workspace_id}/datastores/{name}")
    if found is None:
        raise not_found("Datastore", name, f"workspace {workspace_id.rpartition('/')[2]}")
    return found


def _get(cloud: Cloud, request: Request) -> Answer:
    return Answer(200, get_datastore(cloud, require(cloud, request), request.names["name"]))


def _list(cloud: Cloud, request: Request) -> Answer:
    found = cloud.resources.children(f"{require(cloud, request)}/datastores")
    if request.query.get("isDefault", "").lower() == "true":
        found = [held for held in found if held["properties"]["isDefault"]]
    names = [name for name in request.query.get("names", "").split(",") if name]
    if names:
        found = [held for held in found if held["name"] in names]
    return pages(request, found, size=30)


def _put(cloud: Cloud, request: Request) -> Answer:
    name = check_name("datastore", request.names["name"])
    workspace_id = require(cloud, request)
    resource_id = f"{workspace_id}/datastores/{name}"
    given = dict(request.properties)
    credentials = dict(given.get("credentials") or {"credentialsType": "None"})
    secrets = credentials.pop("secrets", None)
    before = cloud.resources.get(resource_id)
    kept = {
        "description": None,
        "tags": {},
        "properties": None,
        "serviceDataAccessAuthIdentity": "None",
        "protocol": "https",
        "endpoint": cloud.addresses(None).storage_suffix,
        **{key: value for key, value in given.items() if value is not None},
        "isDefault": bool(before and before["properties"]["isDefault"]),
        "credentials": credentials,
    }
    if secrets:
        cloud.part(Secrets).held[resource_id.lower()] = dict(secrets)
    resource, is_new = cloud.resources.put(resource_id, {"properties": kept})
    return Answer(201 if is_new else 200, resource)


def _delete(cloud: Cloud, request: Request) -> Answer:
    resource_id = f"{require(cloud, request)}/datastores/{request.names['name']}"
    found = cloud.resources.get(resource_id)
    if found is not None and found["properties"]["isDefault"]:
        raise Refused(400, "UserError", "The default datastore of a workspace cannot be deleted")
    cloud.part(Secrets).held.pop(resource_id.lower(), None)
    return Answer(200 if cloud.resources.delete(resource_id) else 204)


def _list_secrets(cloud: Cloud, request: Request) -> Answer:
    datastore = get_datastore(cloud, require(cloud, request), request.names["name"])
    properties, held = datastore["properties"], cloud.part(Secrets)
    kind = properties["credentials"]["credentialsType"].lower()
    held.handed_out += 1
    if kind == "none":
        message = f"The datastore {datastore['name']} has no credentials; it is used by identity"
        raise Refused(400, "UserError", message)
    given = held.held.get(datastore["id"].lower())
    if kind not in ("accountkey", "sas") or (kind == "sas" and given):
        return Answer(200, given or {"secretsType": properties["credentials"]["credentialsType"]})
    account, container = properties["accountName"], properties.get("containerName", "")
    if account not in (ACCOUNT, REGISTRY_ACCOUNT):
        return Answer(200, given)  # of a storage that is not here
    if kind == "accountkey" and not _is_expirable(request):
        return Answer(200, given or {"secretsType": "AccountKey", "key": cloud.storage.key(account)})
    cloud.storage.ensure_container(container, account=account)
    token = cloud.storage.sas(container, account=account, seconds=_seconds(cloud, request))
    return Answer(200, {"secretsType": "Sas", "sasToken": token})


def _is_expirable(request: Request) -> bool:
    return isinstance(request.content, dict) and bool(request.content.get("expirableSecret"))


def _seconds(cloud: Cloud, request: Request) -> float:
    """Return how long a signature lasts: ``signature_seconds`` is an hour of the emulated service."""
    asked = request.content.get("expireAfterHours") if isinstance(request.content, dict) else None
    hours = int(asked or 1)
    if not 1 <= hours <= HOURS_MAX:
        raise Refused(400, "ValidationError", f"expireAfterHours must be between 1 and {HOURS_MAX}")
    return hours * cloud.signature_seconds


ROUTES = (
    of_workspace("datastores", "GET", _list),
    of_workspace("datastores/{name}", "GET", _get),
    of_workspace("datastores/{name}", "PUT", _put, shape="Datastore"),
    of_workspace("datastores/{name}", "DELETE", _delete),
    of_workspace("datastores/{name}/listSecrets", "POST", _list_secrets, right="secrets"),
)
