"""Assets that have versions: models, data, environments and code, of workspaces and of registries.

As the service keeps them: a version's files and type never change once it is there, all else is replaced by
every PUT (there are no etags); an asset comes with its first version; "latest" is what was made last; the
next number is one more than the highest; what was deleted of a registry cannot be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from trackbridge.testing.emulators.azureml.core import Answer, Cloud, Refused, Request, pages, with_tags
from trackbridge.testing.emulators.azureml.lifecycle import Lifecycle
from trackbridge.testing.emulators.azureml.names import check_name, check_registry_name
from trackbridge.testing.emulators.azureml.refusal import not_found
from trackbridge.testing.emulators.azureml.resources import resource_key

Resource = dict[str, Any]
Prepare = Callable[[Cloud, str, dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of asset.

    Args:
        plural: As in paths: ``models``.
        lasting: The properties of a version that never change.
        prepare: Returns the properties that are kept, by the cloud, the workspace's id and what was given.
    """

    plural: str
    lasting: tuple[str, ...]
    prepare: Prepare


class Buried:
    """When versions were deleted that cannot be made again, by their ids."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.held: dict[str, float] = {}

    def check(self, resource_id: str, shown: str) -> None:
        """Refuse to make again what was deleted.

        Raises:
            Refused: With the service's words (azureml-assets#2919).
        """
        deleted_s = self.held.get(resource_key(resource_id))
        if deleted_s is not None:
            when = datetime.fromtimestamp(deleted_s, timezone.utc)
            message = (
                f"Asset {shown} was deleted at {when:%m/%d/%Y %H:%M:%S} +00:00, it cannot be recreated. "
                "Please try again with a different version."
            )
            raise Refused(400, "UserError", message)


def is_registry(scope_id: str) -> bool:
    """Tell whether an id is a registry's and not a workspace's."""
    return scope_id.lower().rpartition("/")[0].endswith("/registries")


def shown_id(scope_id: str, *path: str) -> str:
    """Return the id that an asset says it has: in a registry it is none of ARM's."""
    if is_registry(scope_id):
        return "/".join(("azureml://registries", scope_id.rpartition("/")[2], *path))
    return "/".join((scope_id, *path))


def find_version(cloud: Cloud, scope_id: str, plural: str, name: str, version: str) -> Resource | None:
    """Return a version of an asset, None when there is none."""
    return cloud.resources.get(f"{scope_id}/{plural}/{name}/versions/{version}")


def get_version(cloud: Cloud, scope_id: str, plural: str, name: str, version: str) -> Resource:
    """Return a version of an asset.

    Raises:
        Refused: There is none.
    """
    found = find_version(cloud, scope_id, plural, name, version)
    if found is None:
        raise not_found(f"{plural} version", f"{name}:{version}", _where(scope_id))
    return found


def get_container(cloud: Cloud, scope_id: str, plural: str, name: str) -> Resource:
    """Return an asset as a whole.

    Raises:
        Refused: There is none.
    """
    found = cloud.resources.get(f"{scope_id}/{plural}/{name}")
    if found is None:
        raise not_found(f"{plural} container", name, _where(scope_id))
    return found


def versions_of(cloud: Cloud, scope_id: str, plural: str, name: str) -> list[Resource]:
    """Return an asset's versions, in the order in which they were made; none when there is no such asset."""
    return cloud.resources.children(f"{scope_id}/{plural}/{name}/versions")


def latest_of(cloud: Cloud, scope_id: str, plural: str, name: str) -> Resource | None:
    """Return the version that was made last."""
    found = versions_of(cloud, scope_id, plural, name)
    return found[-1] if found else None


def next_version(cloud: Cloud, scope_id: str, plural: str, name: str) -> str:
    """Return the number that a version gets which is not given one."""
    numbers = [
        int(held["name"]) for held in versions_of(cloud, scope_id, plural, name) if held["name"].isdecimal()
    ]
    return str(max(numbers, default=0) + 1)


def put_version(
    cloud: Cloud, scope_id: str, kind: Kind, name: str, version: str, properties: Mapping[str, Any]
) -> tuple[Resource, bool]:
    """Make a version, or replace what can be changed of it.

    Returns:
        The version, and whether it is new.

    Raises:
        Refused: It would change what lasts, or was deleted of a registry.
    """
    (check_registry_name if is_registry(scope_id) else check_name)(kind.plural, name)
    resource_id = f"{scope_id}/{kind.plural}/{name}/versions/{version}"
    shown = shown_id(scope_id, kind.plural, name, "versions", version)
    kept = _defaults() | kind.prepare(
        cloud, scope_id, {key: value for key, value in properties.items() if value is not None}
    )
    held = cloud.resources.get(resource_id)
    if held is not None:
        check_lasting(kind, held, kept)
    elif is_registry(scope_id):
        cloud.part(Buried).check(resource_id, shown)
    _ensure_container(cloud, scope_id, kind, name)
    resource, is_new = cloud.resources.put(resource_id, {"properties": kept}, answer_id=shown)
    _count(cloud, scope_id, kind.plural, name)
    return resource, is_new


def delete_version(cloud: Cloud, scope_id: str, plural: str, name: str, version: str) -> bool:
    """Delete a version; the asset stays. Returns whether the version was there."""
    resource_id = f"{scope_id}/{plural}/{name}/versions/{version}"
    if not cloud.resources.delete(resource_id):
        return False
    cloud.part(Lifecycle).forget(resource_id)
    if is_registry(scope_id):
        cloud.part(Buried).held[resource_key(resource_id)] = cloud.now_s()
    _count(cloud, scope_id, plural, name)
    return True


def delete_container(cloud: Cloud, scope_id: str, plural: str, name: str) -> bool:
    """Delete an asset with all its versions. Returns whether it was there."""
    for held in versions_of(cloud, scope_id, plural, name):
        delete_version(cloud, scope_id, plural, name, held["name"])
    cloud.part(Lifecycle).forget_model(f"{scope_id}/{plural}/{name}")
    return cloud.resources.delete(f"{scope_id}/{plural}/{name}")


def put_container(
    cloud: Cloud, scope_id: str, kind: Kind, name: str, properties: Mapping[str, Any]
) -> tuple[Resource, bool]:
    """Make an asset without versions, or replace what can be changed of it."""
    check_name(kind.plural, name)
    return _put_container(cloud, scope_id, kind, name, properties)


def _put_container(
    cloud: Cloud, scope_id: str, kind: Kind, name: str, properties: Mapping[str, Any]
) -> tuple[Resource, bool]:
    kept = {
        "description": properties.get("description"),
        "tags": dict(properties.get("tags") or {}),
        "properties": dict(properties.get("properties") or {}),
        "isArchived": bool(properties.get("isArchived")),
        "provisioningState": "Succeeded",
    }
    resource_id = f"{scope_id}/{kind.plural}/{name}"
    resource, is_new = cloud.resources.put(
        resource_id, {"properties": kept}, answer_id=shown_id(scope_id, kind.plural, name)
    )
    _count(cloud, scope_id, kind.plural, name)
    return resource, is_new


def check_lasting(kind: Kind, held: Resource, properties: Mapping[str, Any]) -> None:
    """Refuse a change of what never changes.

    Raises:
        Refused: With the words that azure-ai-ml knows (``ASSET_PATH_ERROR``).
    """
    for member in kind.lasting:
        if (properties.get(member) or None) != (held["properties"].get(member) or None):
            raise Refused(400, "UserError", "Asset paths cannot be updated.")


def listed(request: Request, items: Iterable[Resource]) -> Answer:
    """Return a page of the versions or assets that a list asks for; the newest first."""
    query = request.query
    view = query.get("listViewType", "ActiveOnly").lower()
    found = [
        item
        for item in items
        if view == "all" or bool(item["properties"].get("isArchived")) == (view == "archivedonly")
    ]
    found = with_tags(found, query.get("tags", ""))
    if "version" in query:
        found = [item for item in found if item["name"] == query["version"]]
    if "stage" in query:
        found = [item for item in found if item["properties"].get("stage") == query["stage"]]
    field, _, direction = query.get("$orderBy", "createdtime desc").lower().partition(" ")
    if field in ("modifiedtime", "lastmodifiedtime"):
        found.sort(key=lambda item: str(item["systemData"]["lastModifiedAt"]))
    # They come in the order they were made.
    return pages(request, found if direction == "asc" else found[::-1])


def _defaults() -> dict[str, Any]:
    return {
        "description": None,
        "tags": {},
        "properties": {},
        "isAnonymous": False,
        "isArchived": False,
        "provisioningState": "Succeeded",
    }


def _ensure_container(cloud: Cloud, scope_id: str, kind: Kind, name: str) -> None:
    if f"{scope_id}/{kind.plural}/{name}" not in cloud.resources:
        _put_container(cloud, scope_id, kind, name, {})


def _count(cloud: Cloud, scope_id: str, plural: str, name: str) -> None:
    container = cloud.resources.get(f"{scope_id}/{plural}/{name}")
    if container is None:
        return
    latest = latest_of(cloud, scope_id, plural, name)
    container["properties"]["latestVersion"] = latest["name"] if latest else None
    container["properties"]["nextVersion"] = next_version(cloud, scope_id, plural, name)


def _where(scope_id: str) -> str:
    names = scope_id.rsplit("/", 2)
    return f"{'registry' if is_registry(scope_id) else 'workspace'} {names[-1]}"
