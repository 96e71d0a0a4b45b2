"""Organisational registries: found by name, with assets that many workspaces share, and imports of such."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from trackbridge.testing.emulators.azureml import assets
from trackbridge.testing.emulators.azureml.asset_kinds import KINDS
from trackbridge.testing.emulators.azureml.asset_routes import pending_upload
from trackbridge.testing.emulators.azureml.assets import Kind
from trackbridge.testing.emulators.azureml.core import (
    ARM,
    PROVIDER,
    REGISTRY,
    SERVICE,
    Answer,
    Cloud,
    Operation,
    Refused,
    Request,
    Route,
    pages,
)
from trackbridge.testing.emulators.azureml.names import check_name, check_registry_name
from trackbridge.testing.emulators.azureml.places import Place, place_of
from trackbridge.testing.emulators.azureml.resources import resource_key
from trackbridge.testing.emulators.azureml.slow_operations import SlowOperations
from trackbridge.testing.emulators.azureml.storage import READ, REGISTRY_ACCOUNT
from trackbridge.testing.emulators.azureml.workspaces import Workspaces

REGISTRY_NAME = "test-registry"
REGISTRY_GROUP = "registries-group"
DATA_PLANE = "/mferp/managementfrontend"
DATA_PLANE_VERSION = "2021-10-01-dataplanepreview"
CHANGE_S = 1.0
_IN_WORKSPACE = re.compile(
    r"azureml://locations/(?P<location>[^/]+)/workspaces/(?P<guid>[^/]+)/(?P<kind>[^/]+)/(?P<name>[^/]+)"
    r"/versions/(?P<version>[^/]+)"
)
_IN_REGISTRY = re.compile(
    r"azureml://registries/(?P<registry>[^/]+)/(?P<kind>[^/]+)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)"
)
_FILES = {"models": "modelUri", "data": "dataUri", "codes": "codeUri"}


class Registries:
    """The registries; ``cloud.part(Registries)`` makes the first one."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.uploads: dict[str, str] = {}
        """Containers for files that are to come, by the id of the asset."""
        self.make(REGISTRY_NAME)

    def make(self, name: str, *, group: str = REGISTRY_GROUP) -> str:
        """Make a registry, if it is not there.

        Returns:
            Its ARM id.
        """
        registry_id = REGISTRY.format(subscription=self._cloud.subscription, group=group, registry=name)
        if registry_id not in self._cloud.resources:
            region = self._cloud.region
            properties = {
                "provisioningState": "Succeeded",
                "publicNetworkAccess": "Enabled",
                "regionDetails": [{"location": region, "storageAccountDetails": [], "acrDetails": []}],
            }
            self._cloud.resources.put(registry_id, {"location": region, "properties": properties})
        return registry_id

    def find(self, name: str) -> dict[str, Any] | None:
        """Return the registry of a name, which only one in the world can have; None without one."""
        for _, held in self._cloud.resources.below("/subscriptions"):
            if held["type"] == f"{PROVIDER}/registries" and held["name"].lower() == name.lower():
                return held
        return None

    def get(self, registry_id: str) -> dict[str, Any]:
        """Return a registry.

        Raises:
            Refused: There is none.
        """
        found = self._cloud.resources.get(registry_id)
        if found is None:
            name = registry_id.rpartition("/")[2]
            raise Refused(
                404, "ResourceNotFound", f"The Resource '{PROVIDER}/registries/{name}' was not found."
            )
        return found


def require(cloud: Cloud, request: Request) -> str:
    """Return the ARM id of the registry that a request is about.

    The data plane knows it by its name, which is alone in the world: ``models.share`` of azure-ai-ml 1.26
    asks for it in the workspace's own group.

    Raises:
        Refused: There is none.
    """
    registries = cloud.part(Registries)
    if not _is_data_plane(request):
        return str(registries.get(request.workspace_id)["id"])
    found = registries.find(request.names["registry"])
    if found is None:
        raise Refused(404, "UserError", f"Registry {request.names['registry']} was not found")
    return str(found["id"])


def _is_data_plane(request: Request) -> bool:
    return request.path.lower().startswith(DATA_PLANE)


# Registries.


def _discovery(cloud: Cloud, request: Request) -> Answer:
    found = cloud.part(Registries).find(request.names["registry"])
    if found is None:
        raise Refused(404, "UserError", f"Registry {request.names['registry']} was not found")
    names = found["id"].split("/")
    content = {
        "registryName": found["name"],
        "tenantId": cloud.tenant,
        "primaryRegion": cloud.region,
        "regions": [cloud.region],
        "subscriptionId": names[2],
        "resourceGroup": names[4],
        "workspaceName": None,
        "primaryRegionResourceProviderUri": f"{cloud.addresses(request).service}/",
        "registryFqdns": {},
    }
    return Answer(200, content)


def _get(cloud: Cloud, request: Request) -> Answer:
    return Answer(200, cloud.part(Registries).get(request.workspace_id))


def _list(cloud: Cloud, request: Request) -> Answer:
    cloud.part(Registries)
    start = request.resource_id.partition("/providers/")[0].lower() + "/"
    found = [
        held
        for key, held in cloud.resources.below("/subscriptions")
        if held["type"] == f"{PROVIDER}/registries" and key.startswith(start)
    ]
    return pages(request, found)


def _put(cloud: Cloud, request: Request) -> Answer:
    held = cloud.part(Registries)
    is_new = request.workspace_id not in cloud.resources
    other = held.find(request.names["registry"])
    if is_new and other is not None:
        raise Refused(409, "Conflict", f"The registry name {other['name']} is taken")
    resource = held.get(held.make(request.names["registry"], group=request.names["group"]))
    resource["tags"] = request.content.get("tags") or {}
    return cloud.part(SlowOperations).begin(request, seconds=CHANGE_S, resource=resource, is_new=is_new)


# Assets.


def _list_assets(kind: Kind, cloud: Cloud, request: Request) -> Answer:
    return assets.listed(request, cloud.resources.children(f"{require(cloud, request)}/{kind.plural}"))


def _get_asset(kind: Kind, cloud: Cloud, request: Request) -> Answer:
    scope = require(cloud, request)
    return Answer(200, assets.get_container(cloud, scope, kind.plural, request.names["name"]))


def _put_asset(kind: Kind, cloud: Cloud, request: Request) -> Answer:
    scope = require(cloud, request)
    made, is_new = assets.put_container(cloud, scope, kind, request.names["name"], request.properties)
    return cloud.part(SlowOperations).begin(request, seconds=CHANGE_S, resource=made, is_new=is_new)


def _list_versions(kind: Kind, cloud: Cloud, request: Request) -> Answer:
    scope = require(cloud, request)
    return assets.listed(request, assets.versions_of(cloud, scope, kind.plural, request.names["name"]))


def _get_version(kind: Kind, cloud: Cloud, request: Request) -> Answer:
    scope, names = require(cloud, request), request.names
    return Answer(200, assets.get_version(cloud, scope, kind.plural, names["name"], names["version"]))


def _put_version(kind: Kind, cloud: Cloud, request: Request) -> Answer:
    scope, names = require(cloud, request), request.names
    if not _is_data_plane(request):
        check_name(kind.plural, names["name"])
    made, is_new = assets.put_version(cloud, scope, kind, names["name"], names["version"], request.properties)
    if is_new:
        made["properties"]["provisioningState"] = "Creating"

    def finish() -> None:
        made["properties"]["provisioningState"] = "Succeeded"

    def fail(_: Refused) -> None:
        made["properties"]["provisioningState"] = "Failed"

    # The data plane accepts, and shows the asset only when it is done (202 alone in its published shape).
    told = None if _is_data_plane(request) else made
    slow = cloud.part(SlowOperations)
    return slow.begin(request, seconds=CHANGE_S, finish=finish, failed=fail, resource=told, is_new=is_new)


def _delete_version(kind: Kind, cloud: Cloud, request: Request) -> Answer:
    scope, names = require(cloud, request), request.names
    if not assets.delete_version(cloud, scope, kind.plural, names["name"], names["version"]):
        return Answer(204)
    return cloud.part(SlowOperations).begin(request, seconds=CHANGE_S)


def _delete_asset(kind: Kind, cloud: Cloud, request: Request) -> Answer:
    if not assets.delete_container(cloud, require(cloud, request), kind.plural, request.names["name"]):
        return Answer(204)
    return cloud.part(SlowOperations).begin(request, seconds=CHANGE_S)


# Files.


def _to_write(cloud: Cloud, request: Request) -> Answer:
    """Answer where the files of a version are to be put; of one that is there already, nowhere."""
    scope, asset_id = require(cloud, request), str(request.content.get("assetId") or "")
    found = _IN_REGISTRY.fullmatch(asset_id)
    if found is None or found["kind"] not in KINDS:
        raise Refused(400, "UserError", f"assetId {asset_id[:300]!r} is no asset of a registry")
    if assets.find_version(cloud, scope, found["kind"], found["name"], found["version"]) is not None:
        raise Refused(409, "Conflict", f"Asset {asset_id} already exists")
    check_registry_name(found["kind"], found["name"])
    uploads = cloud.part(Registries).uploads
    container = uploads.setdefault(resource_key(asset_id), f"registry-{uuid.uuid4()}")
    upload = pending_upload(cloud, request, container, REGISTRY_ACCOUNT)
    kind = upload.pop("pendingUploadType")
    return Answer(200, {**upload, "temporaryDataReferenceType": kind, "temporaryDataReferenceId": container})


def _to_read(cloud: Cloud, request: Request) -> Answer:
    """Answer with a signature that reads the files of a version."""
    scope, asset_id = require(cloud, request), str(request.content.get("assetId") or "")
    found = _IN_REGISTRY.fullmatch(asset_id)
    if found is None:
        raise Refused(400, "UserError", f"assetId {asset_id[:300]!r} is no asset of a registry")
    version = assets.get_version(cloud, scope, found["kind"], found["name"], found["version"])
    place = place_of(cloud, scope, version["properties"].get(_FILES.get(found["kind"], ""), ""))
    if place is None or place.account != REGISTRY_ACCOUNT:
        raise Refused(404, "UserError", f"The files of {asset_id} are not in this registry")
    base = cloud.addresses(request).blob(place.account)
    signed = cloud.storage.signed(base, place.container, account=place.account, permissions=f"{READ}l")
    reference = {
        "blobUri": place.address(cloud),
        "storageAccountArmId": "",
        "credential": {"credentialType": "SAS", "sasUri": signed},
    }
    return Answer(200, {"blobReferenceForConsumption": reference})


# Imports.


def _import(cloud: Cloud, request: Request) -> Answer:
    scope, asked = require(cloud, request), request.properties
    if str(asked.get("referenceType", "")).lower() != "id":
        raise Refused(400, "UserError", "referenceType must be Id")
    plural, source_scope, source = _source(cloud, str(asked.get("sourceAssetId") or ""))
    name = str(asked.get("destinationName") or source["id"].split("/")[-3])
    version = str(asked.get("destinationVersion") or source["name"])
    if assets.find_version(cloud, scope, plural, name, version) is not None:
        raise Refused(409, "Conflict", f"Asset {plural}/{name}/versions/{version} already exists")

    def finish() -> None:
        _take_over(cloud, scope, KINDS[plural], (name, version), (source_scope, source))

    return cloud.part(SlowOperations).begin(request, seconds=CHANGE_S, finish=finish)


def _source(cloud: Cloud, asset_id: str) -> tuple[str, str, dict[str, Any]]:
    """Return the kind of what is to be imported, whose it is, and itself."""
    found = _IN_WORKSPACE.fullmatch(asset_id)
    other = _IN_REGISTRY.fullmatch(asset_id)
    match = found or other
    if match is None or match["kind"] not in KINDS:
        raise Refused(400, "UserError", f"sourceAssetId {asset_id[:300]!r} is no asset's id")
    home = (
        cloud.part(Workspaces).with_guid(match["guid"])
        if found
        else cloud.part(Registries).find(match["registry"])
    )
    if home is None:
        raise Refused(404, "UserError", f"The source of {asset_id} was not found")
    version = assets.get_version(cloud, home["id"], match["kind"], match["name"], match["version"])
    return match["kind"], home["id"], version


def _take_over(
    cloud: Cloud, scope: str, kind: Kind, target: tuple[str, str], source: tuple[str, dict[str, Any]]
) -> None:
    """Copy an asset with its files into a registry."""
    source_scope, version = source
    properties = {
        key: value
        for key, value in version["properties"].items()
        if key not in ("provisioningState", "jobName", "isArchived")
    }
    member = _FILES.get(kind.plural)
    if member is not None:
        place = place_of(cloud, source_scope, properties[member])
        files = place.blobs(cloud) if place else []
        if place is None or not files:
            raise Refused(400, "UserError", f"There are no files at {properties[member]}")
        new = Place(REGISTRY_ACCOUNT, f"registry-{uuid.uuid4()}", place.path.rpartition("/")[2])
        for blob in files:
            cloud.storage.copy(
                blob.path,
                new.below(blob.path[len(place.path) :]).path,
                container=place.container,
                into=new.container,
                account=place.account,
                into_account=new.account,
            )
        properties[member] = new.address(cloud)
    assets.put_version(cloud, scope, kind, *target, properties)


def _routes_of(kind: Kind, before: str, versions: tuple[str, ...]) -> tuple[Route, ...]:
    def route(method: str, path: str, operation: Callable[[Kind, Cloud, Request], Answer]) -> Route:
        answering: Operation = partial(operation, kind)
        return Route(method, f"{before}{REGISTRY}/{path}", answering, versions=versions, plane=ARM)

    one, many = f"{kind.plural}/{{name}}", f"{kind.plural}/{{name}}/versions"
    return (
        route("GET", kind.plural, _list_assets),
        route("GET", one, _get_asset),
        route("PUT", one, _put_asset),
        route("DELETE", one, _delete_asset),
        route("GET", many, _list_versions),
        route("GET", f"{many}/{{version}}", _get_version),
        route("PUT", f"{many}/{{version}}", _put_version),
        route("DELETE", f"{many}/{{version}}", _delete_version),
    )


def _data_plane(method: str, path: str, operation: Operation, **settings: Any) -> Route:
    template = f"{DATA_PLANE}{REGISTRY}/{path}"
    return Route(method, template, operation, versions=(DATA_PLANE_VERSION,), plane=ARM, **settings)


ROUTES = (
    Route("GET", "/registrymanagement/v1.0/registries/{registry}/discovery", _discovery, plane=SERVICE),
    Route("GET", f"/subscriptions/{{subscription}}/providers/{PROVIDER}/registries", _list),
    Route(
        "GET",
        f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/providers/{PROVIDER}/registries",
        _list,
    ),
    Route("GET", REGISTRY, _get),
    Route("PUT", REGISTRY, _put),
    *(route for kind in KINDS.values() for route in _routes_of(kind, "", ())),
    *(route for kind in KINDS.values() for route in _routes_of(kind, DATA_PLANE, (DATA_PLANE_VERSION,))),
    _data_plane("POST", "import", _import),
    _data_plane("PUT", "tempdatarefs/{name}/versions/{version}", _to_write, right="write"),
    _data_plane("POST", "datarefs/{name}/versions/{version}", _to_read, right="read"),
)
