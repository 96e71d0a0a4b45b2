"""Workspaces of the emulated subscription, with the datastores that each has from the beginning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trackbridge.testing.emulators.azureml.core import (
    PROVIDER,
    WORKSPACE,
    Answer,
    Cloud,
    Refused,
    Request,
    Route,
    guid_of,
    of_workspace,
    pages,
)
from trackbridge.testing.emulators.azureml.slow_operations import SlowOperations
from trackbridge.testing.emulators.azureml.storage import ACCOUNT, CONTAINER

ARTIFACT_CONTAINER = "azureml"
CREATION_S = 2.0
SUBSCRIPTION_SHOWN = "Emulated subscription"
_GROUP = "/subscriptions/{subscription}/resourceGroups/{group}"
_NAME_RULE = r"^[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}$"
"""workspaceRP.json 2024-04-01."""


class Workspaces:
    """The workspaces; ``cloud.part(Workspaces)`` makes the first one."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.make(cloud.workspace_id)

    def make(
        self, workspace_id: str, content: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], bool]:
        """Make a workspace with its datastores, or replace what can be changed of it."""
        cloud = self._cloud
        given = dict(content or {})
        properties = given.pop("properties", None) or {}
        kept = {
            "location": cloud.region,
            "tags": {},
            "sku": {"name": "Basic", "tier": "Basic"},
            "kind": "Default",
            "identity": {
                "type": "SystemAssigned",
                "principalId": guid_of(f"{workspace_id}#principal"),
                "tenantId": cloud.tenant,
            },
            **{name: value for name, value in given.items() if value is not None},
        }
        resource, is_new = cloud.resources.put(workspace_id, {**kept, "properties": properties})
        resource["properties"] = (
            self._properties(resource["id"]) | properties | {"provisioningState": "Succeeded"}
        )
        if is_new:
            self._make_datastores(resource["id"])
        return resource, is_new

    def get(self, workspace_id: str) -> dict[str, Any]:
        """Return a workspace.

        Raises:
            Refused: There is none.
        """
        found = self._cloud.resources.get(workspace_id)
        if found is None:
            name, group = workspace_id.split("/")[8], workspace_id.split("/")[4]
            message = (
                f"The Resource '{PROVIDER}/workspaces/{name}' under resource group '{group}' was not found."
            )
            raise Refused(404, "ResourceNotFound", message)
        return found

    def with_guid(self, guid: str) -> dict[str, Any] | None:
        """Return the workspace that has an id of its own, None when there is none."""
        for _, held in self._cloud.resources.below("/subscriptions"):
            if held["type"] == f"{PROVIDER}/workspaces" and guid_of(held["id"]) == guid.lower():
                return held
        return None

    def _properties(self, workspace_id: str) -> dict[str, Any]:
        providers = workspace_id.partition(f"/{PROVIDER}")[0]
        return {
            "friendlyName": workspace_id.rpartition("/")[2],
            "description": "",
            "workspaceId": guid_of(workspace_id),
            "storageAccount": f"{providers}/Microsoft.Storage/storageAccounts/{ACCOUNT}",
            "keyVault": f"{providers}/Microsoft.KeyVault/vaults/keyvault",
            "applicationInsights": f"{providers}/Microsoft.Insights/components/insights",
            "hbiWorkspace": False,
            "publicNetworkAccess": "Enabled",
            "systemDatastoresAuthMode": "accesskey",
            "v1LegacyMode": False,
            "enableDataIsolation": False,
            "tenantId": self._cloud.tenant,
        }

    def _make_datastores(self, workspace_id: str) -> None:
        cloud, guid = self._cloud, guid_of(workspace_id)
        is_first = workspace_id.lower() == cloud.workspace_id.lower()
        containers = {
            "workspaceblobstore": CONTAINER if is_first else f"azureml-blobstore-{guid}",
            "workspaceartifactstore": ARTIFACT_CONTAINER if is_first else f"azureml-{guid}",
        }
        for name, container in containers.items():
            cloud.storage.ensure_container(container)
            cloud.resources.put(
                f"{workspace_id}/datastores/{name}",
                {
                    "properties": blob_datastore(cloud, container)
                    | {"isDefault": name == "workspaceblobstore"}
                },
            )


def blob_datastore(cloud: Cloud, container: str, *, account: str = ACCOUNT) -> dict[str, Any]:
    """Return the properties of a datastore that is a container."""
    return {
        "description": None,
        "tags": {},
        "properties": None,
        "isDefault": False,
        "credentials": {"credentialsType": "AccountKey"},
        "datastoreType": "AzureBlob",
        "accountName": account,
        "containerName": container,
        "endpoint": cloud.addresses(None).storage_suffix,
        "protocol": "https",
        "serviceDataAccessAuthIdentity": "None",
    }


def require(cloud: Cloud, request: Request) -> str:
    """Return the id of the workspace that a request is about, as it was first written.

    Raises:
        Refused: There is none.
    """
    found: str = cloud.part(Workspaces).get(request.workspace_id)["id"]
    return found


def told(cloud: Cloud, request: Request, resource: Mapping[str, Any]) -> dict[str, Any]:
    """Return a workspace as the sender of a request sees it."""
    at = cloud.addresses(request)
    addresses = {
        "mlFlowTrackingUri": f"azureml://{at.mlflow}/mlflow/v1.0{resource['id']}",
        "discoveryUrl": f"{at.service}/discovery",
    }
    return {**resource, "properties": {**resource["properties"], **addresses}}


def _get(cloud: Cloud, request: Request) -> Answer:
    return Answer(200, told(cloud, request, cloud.part(Workspaces).get(request.workspace_id)))


def _list(cloud: Cloud, request: Request) -> Answer:
    cloud.part(Workspaces)
    start = f"{request.resource_id.partition('/providers/')[0]}/".lower()
    found = [
        told(cloud, request, held)
        for key, held in cloud.resources.below("/subscriptions")
        if held["type"] == f"{PROVIDER}/workspaces" and key.startswith(start)
    ]
    return pages(request, found)


def _put(cloud: Cloud, request: Request) -> Answer:
    name = request.names["workspace"]
    if not re.match(_NAME_RULE, name):
        raise Refused(400, "ValidationError", f"Workspace name '{name}' must match {_NAME_RULE}")
    resource, is_new = cloud.part(Workspaces).make(request.workspace_id, request.content)
    if not is_new:
        return Answer(200, told(cloud, request, resource))
    slow = cloud.part(SlowOperations)
    return slow.begin(request, seconds=CREATION_S, resource=told(cloud, request, resource))


def _patch(cloud: Cloud, request: Request) -> Answer:
    resource = cloud.part(Workspaces).get(request.workspace_id)
    for name, value in request.content.items():
        if name == "properties":
            resource["properties"] |= value
        elif name in ("tags", "identity", "sku"):
            resource[name] = value
    return Answer(200, told(cloud, request, resource))


def _delete(cloud: Cloud, request: Request) -> Answer:
    if not cloud.resources.delete(request.workspace_id):
        return Answer(204)
    return cloud.part(SlowOperations).begin(request, seconds=CREATION_S)


def _subscriptions(cloud: Cloud, request: Request) -> Answer:
    found = {
        "id": f"/subscriptions/{cloud.subscription}",
        "subscriptionId": cloud.subscription,
        "tenantId": cloud.tenant,
        "displayName": SUBSCRIPTION_SHOWN,
        "state": "Enabled",
        "authorizationSource": "RoleBased",
    }
    return Answer(200, {"value": [found], "count": {"type": "Total", "value": 1}})


def _group(cloud: Cloud, request: Request) -> Answer:
    names = request.names
    if names["group"].lower() != cloud.group.lower():
        message = f"Resource group '{names['group']}' could not be found."
        raise Refused(404, "ResourceGroupNotFound", message)
    found = {
        "id": f"/subscriptions/{cloud.subscription}/resourceGroups/{cloud.group}",
        "name": cloud.group,
        "type": "Microsoft.Resources/resourceGroups",
        "location": cloud.region,
        "properties": {"provisioningState": "Succeeded"},
    }
    return Answer(200, found)


def _discovery(cloud: Cloud, request: Request) -> Answer:
    at = cloud.addresses(request).service
    services = (
        "api",
        "history",
        "experimentation",
        "modelmanagement",
        "hyperdrive",
        "pipelines",
        "inferencing",
    )
    return Answer(200, dict.fromkeys((*services, "studio", "notebooks", "catalog"), at))


def _keys(cloud: Cloud, request: Request) -> Answer:
    require(cloud, request)
    account = request.workspace_id.partition(f"/{PROVIDER}")[0]
    content = {
        "userStorageKey": cloud.storage.key(ACCOUNT),
        "userStorageResourceId": f"{account}/Microsoft.Storage/storageAccounts/{ACCOUNT}",
        "userStorageArmId": f"{account}/Microsoft.Storage/storageAccounts/{ACCOUNT}",
    }
    return Answer(200, content)


ROUTES = (
    Route("GET", "/subscriptions", _subscriptions),
    Route("GET", f"{_GROUP}", _group),
    Route("GET", f"/subscriptions/{{subscription}}/providers/{PROVIDER}/workspaces", _list),
    Route("GET", f"{_GROUP}/providers/{PROVIDER}/workspaces", _list),
    Route("GET", WORKSPACE, _get),
    Route("PUT", WORKSPACE, _put),
    Route("PATCH", WORKSPACE, _patch),
    Route("DELETE", WORKSPACE, _delete),
    of_workspace("listKeys", "POST", _keys, right="secrets"),
    Route("GET", "/discovery", _discovery, plane="service", is_open=True),
)
