"""MLflow's routes of the model registry, over the same models that Resource Manager has.

A version that was made here is one of type ``mlflow_model`` there, and the other way round. Custom models are
not seen here, and stages are seen nowhere else (how-to-manage-models-mlflow.md). Assumed: aliases are kept, a
version that Resource Manager gave a name that is no number is not seen here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from trackbridge.testing.emulators.azureml import assets
from trackbridge.testing.emulators.azureml.asset_kinds import MODELS
from trackbridge.testing.emulators.azureml.assets import Resource
from trackbridge.testing.emulators.azureml.core import Cloud, Refused
from trackbridge.testing.emulators.azureml.lifecycle import Lifecycle
from trackbridge.testing.emulators.azureml.places import place_of
from trackbridge.testing.emulators.azureml.resources import resource_key

STAGES = ("None", "Staging", "Production", "Archived")
PAGE_ITEMS = 100
PAGE_ITEMS_MAX = 1000
_NAME_FILTER = re.compile(r"\s*name\s*=\s*(?:'(?P<single>(?:[^']|'')*)'|\"(?P<double>[^\"]*)\")\s*")
Fields = Mapping[str, Any]


class NotTaken(Exception):
    """A request that MLflow's routes refuse: a status, mlflow's own code, and words."""

    def __init__(self, status: int, error_code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.error_code, self.message = status, error_code, message


def answer(
    cloud: Cloud, workspace_id: str, method: str, route: str, request: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    """Answer a request to a route; the cloud's lock must be held.

    Args:
        cloud: That has the models.
        workspace_id: Of the workspace.
        method: Of HTTP.
        route: Such as ``model-versions/create``.
        request: The body, or the query.

    Returns:
        A status, and the body: of an error, ``error_code`` and ``message``.
    """
    found = _ROUTES.get((method, route))
    if found is None:
        return 405, {"error_code": "BAD_REQUEST", "message": f"{route} does not take {method}"}
    try:
        return 200, found(_Registry(cloud, workspace_id), request)
    except NotTaken as refused:
        return refused.status, {"error_code": refused.error_code, "message": refused.message}
    except Refused as refused:
        code = "RESOURCE_DOES_NOT_EXIST" if refused.status == 404 else "INVALID_PARAMETER_VALUE"
        return refused.status, {"error_code": code, "message": refused.message}


class _Registry:
    def __init__(self, cloud: Cloud, workspace_id: str) -> None:
        self.cloud, self.scope = cloud, workspace_id
        self.lifecycle = cloud.part(Lifecycle)

    # What there is.

    def container(self, request: Fields) -> Resource:
        name = str(request.get("name") or "")
        if not name:
            raise NotTaken(400, "INVALID_PARAMETER_VALUE", "Missing value for required parameter 'name'.")
        found = self.cloud.resources.get(f"{self.scope}/models/{name}")
        if found is None or not self.is_seen(found):
            raise NotTaken(404, "RESOURCE_DOES_NOT_EXIST", f"Registered Model with name={name} not found")
        return found

    def is_seen(self, container: Resource) -> bool:
        every = assets.versions_of(self.cloud, self.scope, "models", container["name"])
        return not every or bool(self.versions(container))

    def versions(self, container: Resource) -> list[Resource]:
        every = assets.versions_of(self.cloud, self.scope, "models", container["name"])
        return [
            held
            for held in every
            if held["name"].isdecimal() and held["properties"]["modelType"] == "mlflow_model"
        ]

    def version(self, request: Fields) -> tuple[Resource, Resource]:
        container, wanted = self.container(request), str(request.get("version") or "")
        for held in self.versions(container):
            if held["name"] == wanted:
                return container, held
        message = f"Model Version (name={container['name']}, version={wanted}) not found"
        raise NotTaken(404, "RESOURCE_DOES_NOT_EXIST", message)

    # How it is told.

    def model(self, container: Resource) -> dict[str, Any]:
        properties = container["properties"]
        aliases = self.lifecycle.aliases.get(resource_key(container["id"]), {})
        return {
            "name": container["name"],
            "creation_timestamp": _milliseconds(container["systemData"]["createdAt"]),
            "last_updated_timestamp": _milliseconds(container["systemData"]["lastModifiedAt"]),
            "description": properties.get("description") or "",
            "latest_versions": self.latest(container, ()),
            "tags": _pairs(properties.get("tags")),
            "aliases": [{"alias": alias, "version": version} for alias, version in sorted(aliases.items())],
        }

    def latest(self, container: Resource, stages: tuple[str, ...]) -> list[dict[str, Any]]:
        newest: dict[str, Resource] = {}
        for held in sorted(self.versions(container), key=_number):
            newest[self.stage(held)] = held
        wanted = [stage.lower() for stage in stages]
        return [
            self.told(container, held)
            for stage, held in newest.items()
            if not wanted or stage.lower() in wanted
        ]

    def stage(self, version: Resource) -> str:
        return self.lifecycle.stages.get(resource_key(version["id"]), "None")

    def told(self, container: Resource, version: Resource) -> dict[str, Any]:
        properties, key = version["properties"], resource_key(version["id"])
        source, run = self.lifecycle.sources.get(
            key, (properties["modelUri"], properties.get("jobName") or "")
        )
        aliases = self.lifecycle.aliases.get(resource_key(container["id"]), {})
        return {
            "name": container["name"],
            "version": version["name"],
            "creation_timestamp": _milliseconds(version["systemData"]["createdAt"]),
            "last_updated_timestamp": _milliseconds(version["systemData"]["lastModifiedAt"]),
            "current_stage": self.stage(version),
            "description": properties.get("description") or "",
            "source": source,
            "run_id": run,
            "status": "READY",
            "run_link": "",
            "tags": _pairs(properties.get("tags")),
            "aliases": sorted(alias for alias, at in aliases.items() if at == version["name"]),
        }

    def touch(self, *changed: Resource) -> None:
        for resource in changed:
            resource["systemData"]["lastModifiedAt"] = self.cloud.now()

    def source_problem(self, source: str) -> str:
        """Return why no version can be made of a source; "" when one can."""
        is_known = source.startswith(("azureml://", "runs:/"))  # both as Microsoft's own samples register
        place = place_of(self.cloud, self.scope, source) if is_known else None
        if place is None:
            return f"The source {source[:200]!r} is not supported: it is no address of Azure ML"
        if place.read(self.cloud, "MLmodel") is None:
            return f"Could not find MLmodel below {source}: only models in MLflow format can be registered"
        return ""


# Models.


def _create_model(held: _Registry, request: Fields) -> dict[str, Any]:
    name = str(request.get("name") or "")
    if not name:
        raise NotTaken(400, "INVALID_PARAMETER_VALUE", "Missing value for required parameter 'name'.")
    if f"{held.scope}/models/{name}" in held.cloud.resources:
        message = f"Registered Model (name={name}) already exists."
        raise NotTaken(400, "RESOURCE_ALREADY_EXISTS", message)
    given = {"description": request.get("description"), "tags": _values(request.get("tags"))}
    container, _ = assets.put_container(held.cloud, held.scope, MODELS, name, given)
    return {"registered_model": held.model(container)}


def _get_model(held: _Registry, request: Fields) -> dict[str, Any]:
    return {"registered_model": held.model(held.container(request))}


def _update_model(held: _Registry, request: Fields) -> dict[str, Any]:
    container = held.container(request)
    if "description" in request:
        container["properties"]["description"] = request["description"]
        held.touch(container)
    return {"registered_model": held.model(container)}


def _search_models(held: _Registry, request: Fields) -> dict[str, Any]:
    wanted = _wanted_name(request)
    found = [
        container
        for container in held.cloud.resources.children(f"{held.scope}/models")
        if held.is_seen(container) and wanted in (None, container["name"])
    ]
    found.sort(key=lambda container: str(container["name"]))
    return _page(request, "registered_models", found, held.model)


def _latest_versions(held: _Registry, request: Fields) -> dict[str, Any]:
    stages = request.get("stages") or ()
    listed = (stages,) if isinstance(stages, str) else tuple(stages)
    return {"model_versions": held.latest(held.container(request), listed)}


def _set_alias(held: _Registry, request: Fields) -> dict[str, Any]:
    container, version = held.version(request)
    aliases = held.lifecycle.aliases.setdefault(resource_key(container["id"]), {})
    aliases[str(request.get("alias") or "")] = version["name"]
    return {}


def _delete_alias(held: _Registry, request: Fields) -> dict[str, Any]:
    container = held.container(request)
    held.lifecycle.aliases.get(resource_key(container["id"]), {}).pop(str(request.get("alias") or ""), None)
    return {}


def _get_by_alias(held: _Registry, request: Fields) -> dict[str, Any]:
    container, alias = held.container(request), str(request.get("alias") or "")
    version = held.lifecycle.aliases.get(resource_key(container["id"]), {}).get(alias)
    if version is None:
        raise NotTaken(400, "INVALID_PARAMETER_VALUE", f"Registered model alias {alias} not found.")
    return _get_version(held, {"name": container["name"], "version": version})


# Versions.


def _create_version(held: _Registry, request: Fields) -> dict[str, Any]:
    container, source = held.container(request), str(request.get("source") or "")
    problem = held.source_problem(source)
    if problem:
        raise NotTaken(400, "INVALID_PARAMETER_VALUE", problem)
    run = str(request.get("run_id") or "")
    version, _ = assets.put_version(
        held.cloud,
        held.scope,
        MODELS,
        container["name"],
        assets.next_version(held.cloud, held.scope, "models", container["name"]),
        {
            "modelType": "mlflow_model",
            "modelUri": source,
            "description": request.get("description"),
            "tags": _values(request.get("tags")),
            "jobName": run or None,
        },
    )
    held.lifecycle.sources[resource_key(version["id"])] = (source, run)
    held.touch(container)
    return {"model_version": held.told(container, version)}


def _get_version(held: _Registry, request: Fields) -> dict[str, Any]:
    return {"model_version": held.told(*held.version(request))}


def _update_version(held: _Registry, request: Fields) -> dict[str, Any]:
    container, version = held.version(request)
    if "description" in request:
        version["properties"]["description"] = request["description"]
        held.touch(version)
    return {"model_version": held.told(container, version)}


def _delete_version(held: _Registry, request: Fields) -> dict[str, Any]:
    container, version = held.version(request)
    assets.delete_version(held.cloud, held.scope, "models", container["name"], version["name"])
    return {}


def _search_versions(held: _Registry, request: Fields) -> dict[str, Any]:
    wanted = _wanted_name(request)
    found = [
        (container, version)
        for container in held.cloud.resources.children(f"{held.scope}/models")
        if wanted in (None, container["name"])
        for version in held.versions(container)
    ]
    found.sort(key=lambda pair: (str(pair[0]["name"]), -_number(pair[1])))
    return _page(request, "model_versions", found, lambda pair: held.told(*pair))


def _transition(held: _Registry, request: Fields) -> dict[str, Any]:
    container, version = held.version(request)
    stage = {known.lower(): known for known in STAGES}.get(str(request.get("stage") or "").lower())
    if stage is None:
        message = (
            f"Invalid Model Version stage: {request.get('stage')}. Value must be one of {', '.join(STAGES)}."
        )
        raise NotTaken(400, "INVALID_PARAMETER_VALUE", message)
    if str(request.get("archive_existing_versions") or "").lower() == "true":
        for other in held.versions(container):
            if other is not version and held.stage(other) == stage:
                held.lifecycle.stages[resource_key(other["id"])] = "Archived"
    held.lifecycle.stages[resource_key(version["id"])] = stage
    held.touch(version, container)
    return {"model_version": held.told(container, version)}


def _download_uri(held: _Registry, request: Fields) -> dict[str, Any]:
    container, version = held.version(request)
    return {"artifact_uri": held.told(container, version)["source"]}


# Tags.


def _set_model_tag(held: _Registry, request: Fields) -> dict[str, Any]:
    return _set_tag(held, held.container(request), request)


def _delete_model_tag(held: _Registry, request: Fields) -> dict[str, Any]:
    return _delete_tag(held, held.container(request), request)


def _set_version_tag(held: _Registry, request: Fields) -> dict[str, Any]:
    return _set_tag(held, held.version(request)[1], request)


def _delete_version_tag(held: _Registry, request: Fields) -> dict[str, Any]:
    return _delete_tag(held, held.version(request)[1], request)


def _set_tag(held: _Registry, resource: Resource, request: Fields) -> dict[str, Any]:
    if not request.get("key"):
        raise NotTaken(400, "INVALID_PARAMETER_VALUE", "Missing value for required parameter 'key'.")
    tags = resource["properties"]["tags"] = dict(resource["properties"].get("tags") or {})
    tags[str(request["key"])] = str(request.get("value") or "")
    held.touch(resource)
    return {}


def _delete_tag(held: _Registry, resource: Resource, request: Fields) -> dict[str, Any]:
    tags = resource["properties"]["tags"] = dict(resource["properties"].get("tags") or {})
    tags.pop(str(request.get("key") or ""), None)
    held.touch(resource)
    return {}


# Values.


def _wanted_name(request: Fields) -> str | None:
    text = str(request.get("filter") or "")
    if not text:
        return None
    found = _NAME_FILTER.fullmatch(text)
    if found is None:
        raise NotTaken(400, "INVALID_PARAMETER_VALUE", f"Unsupported filter query: {text}")
    return found["double"] if found["single"] is None else found["single"].replace("''", "'")


def _page(
    request: Fields, member: str, found: list[Any], describe: Callable[[Any], dict[str, Any]]
) -> dict[str, Any]:
    size, token = request.get("max_results") or PAGE_ITEMS, str(request.get("page_token") or "0")
    if not str(size).isdecimal() or not 0 < int(size) <= PAGE_ITEMS_MAX or not token.isdecimal():
        message = f"max_results must be between 1 and {PAGE_ITEMS_MAX}, page_token one of a page before"
        raise NotTaken(400, "INVALID_PARAMETER_VALUE", message)
    start, end = int(token), int(token) + int(size)
    page: dict[str, Any] = {member: [describe(item) for item in found[start:end]]}
    return page | ({"next_page_token": str(end)} if end < len(found) else {})


def _number(version: Resource) -> int:
    return int(version["name"])


def _milliseconds(text: str) -> int:
    seconds = datetime.strptime(text[:26], "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=timezone.utc).timestamp()
    return round(seconds * 1000)


def _pairs(tags: Mapping[str, str] | None) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in (tags or {}).items()]


def _values(tags: Any) -> dict[str, str]:
    return {str(tag["key"]): str(tag.get("value") or "") for tag in tags or ()}


_ROUTES: Mapping[tuple[str, str], Callable[[_Registry, Fields], dict[str, Any]]] = {
    ("POST", "registered-models/create"): _create_model,
    ("GET", "registered-models/get"): _get_model,
    ("PATCH", "registered-models/update"): _update_model,
    ("GET", "registered-models/search"): _search_models,
    ("POST", "registered-models/search"): _search_models,
    ("POST", "registered-models/get-latest-versions"): _latest_versions,
    ("GET", "registered-models/get-latest-versions"): _latest_versions,
    ("POST", "registered-models/set-tag"): _set_model_tag,
    ("DELETE", "registered-models/delete-tag"): _delete_model_tag,
    ("POST", "registered-models/alias"): _set_alias,
    ("DELETE", "registered-models/alias"): _delete_alias,
    ("GET", "registered-models/alias"): _get_by_alias,
    ("POST", "model-versions/create"): _create_version,
    ("GET", "model-versions/get"): _get_version,
    ("PATCH", "model-versions/update"): _update_version,
    ("DELETE", "model-versions/delete"): _delete_version,
    ("GET", "model-versions/search"): _search_versions,
    ("POST", "model-versions/transition-stage"): _transition,
    ("GET", "model-versions/get-download-uri"): _download_uri,
    ("POST", "model-versions/set-tag"): _set_version_tag,
    ("DELETE", "model-versions/delete-tag"): _delete_version_tag,
}
