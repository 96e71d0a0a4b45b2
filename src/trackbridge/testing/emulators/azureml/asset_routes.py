"""The routes of models, data, environments and code in workspaces."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial

from trackbridge.testing.emulators.azureml import assets
from trackbridge.testing.emulators.azureml.asset_kinds import CODES, DATA, ENVIRONMENTS, KINDS, MODELS
from trackbridge.testing.emulators.azureml.assets import Kind
from trackbridge.testing.emulators.azureml.core import Answer, Cloud, Operation, Request, Route, of_workspace
from trackbridge.testing.emulators.azureml.storage import ACCOUNT
from trackbridge.testing.emulators.azureml.workspaces import require

_SHAPES = {
    MODELS.plural: ("ModelContainer", "ModelVersion"),
    DATA.plural: ("DataContainer", "DataVersionBase"),
    CODES.plural: ("CodeContainer", "CodeVersion"),
    ENVIRONMENTS.plural: ("EnvironmentContainer", "EnvironmentVersion"),
}
"""The published models of bodies: of an asset, of a version."""


def _list(kind: Kind, cloud: Cloud, request: Request) -> Answer:
    return assets.listed(request, cloud.resources.children(f"{require(cloud, request)}/{kind.plural}"))


def _get(kind: Kind, cloud: Cloud, request: Request) -> Answer:
    scope = require(cloud, request)
    return Answer(200, assets.get_container(cloud, scope, kind.plural, request.names["name"]))


def _put(kind: Kind, cloud: Cloud, request: Request) -> Answer:
    scope = require(cloud, request)
    made, is_new = assets.put_container(cloud, scope, kind, request.names["name"], request.properties)
    return Answer(201 if is_new else 200, made)


def _delete(kind: Kind, cloud: Cloud, request: Request) -> Answer:
    was_there = assets.delete_container(cloud, require(cloud, request), kind.plural, request.names["name"])
    return Answer(200 if was_there else 204)


def _list_versions(kind: Kind, cloud: Cloud, request: Request) -> Answer:
    scope, wanted = require(cloud, request), request.query.get("hash")
    if wanted and kind is CODES:
        # The service finds code by its content, whatever name was asked about.
        return Answer(200, {"value": _with_hash(cloud, scope, wanted)})
    return assets.listed(request, assets.versions_of(cloud, scope, kind.plural, request.names["name"]))


def _with_hash(cloud: Cloud, scope: str, wanted: str) -> list[assets.Resource]:
    versions = [
        version
        for code in cloud.resources.children(f"{scope}/codes")
        for version in assets.versions_of(cloud, scope, "codes", code["name"])
    ]
    return [found for found in versions if found["properties"]["properties"].get("hash_sha256") == wanted]


def _get_version(kind: Kind, cloud: Cloud, request: Request) -> Answer:
    scope, names = require(cloud, request), request.names
    return Answer(200, assets.get_version(cloud, scope, kind.plural, names["name"], names["version"]))


def _put_version(kind: Kind, cloud: Cloud, request: Request) -> Answer:
    scope, names = require(cloud, request), request.names
    made, is_new = assets.put_version(cloud, scope, kind, names["name"], names["version"], request.properties)
    return Answer(201 if is_new else 200, made)


def _delete_version(kind: Kind, cloud: Cloud, request: Request) -> Answer:
    scope, names = require(cloud, request), request.names
    was_there = assets.delete_version(cloud, scope, kind.plural, names["name"], names["version"])
    return Answer(200 if was_there else 204)


def _start_upload(cloud: Cloud, request: Request) -> Answer:
    require(cloud, request)
    upload = request.content.get("pendingUploadId") or str(uuid.uuid4())
    return Answer(
        200, pending_upload(cloud, request, f"upload-{upload}", ACCOUNT) | {"pendingUploadId": upload}
    )


def pending_upload(cloud: Cloud, request: Request, container: str, account: str) -> dict[str, object]:
    """Return where files can be put, and a signature to do it with."""
    cloud.storage.ensure_container(container, account=account)
    base = cloud.addresses(request).blob(account)
    signed = cloud.storage.signed(base, container, account=account)
    reference = {
        "blobUri": f"{base}/{container}",
        "storageAccountArmId": f"{request.workspace_id.partition('/Microsoft.')[0]}"
        f"/Microsoft.Storage/storageAccounts/{account}",
        "credential": {"credentialType": "SAS", "sasUri": signed},
    }
    return {"pendingUploadType": "TemporaryBlobReference", "blobReferenceForConsumption": reference}


def _routes_of(kind: Kind) -> tuple[Route, ...]:
    def of(operation: Callable[[Kind, Cloud, Request], Answer]) -> Operation:
        return partial(operation, kind)

    container, version = _SHAPES[kind.plural]
    one, many = f"{kind.plural}/{{name}}", f"{kind.plural}/{{name}}/versions"
    return (
        of_workspace(kind.plural, "GET", of(_list)),
        of_workspace(one, "GET", of(_get)),
        of_workspace(one, "PUT", of(_put), shape=container),
        of_workspace(one, "DELETE", of(_delete)),
        of_workspace(many, "GET", of(_list_versions)),
        of_workspace(f"{many}/{{version}}", "GET", of(_get_version)),
        of_workspace(f"{many}/{{version}}", "PUT", of(_put_version), shape=version),
        of_workspace(f"{many}/{{version}}", "DELETE", of(_delete_version)),
    )


ROUTES = (
    *(route for kind in KINDS.values() for route in _routes_of(kind)),
    of_workspace("codes/{name}/versions/{version}/startPendingUpload", "POST", _start_upload),
)
