"""What online and batch endpoints have in common: names, spellings, durations, how their resources are told.

Names: 3 to 32 characters, a letter first, then letters, digits and single dashes, a letter or digit last
(how-to-manage-quotas.md). They are unique in a region, for endpoints of both kinds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trackbridge.testing.emulators.azureml.assets import find_version
from trackbridge.testing.emulators.azureml.core import (
    PROVIDER,
    Answer,
    Cloud,
    Refused,
    Request,
    guid_of,
    pages,
)
from trackbridge.testing.emulators.azureml.slow_operations import SlowOperations
from trackbridge.testing.emulators.azureml.workspaces import require

Resource = dict[str, Any]
NAME_CHARS = (3, 32)
CHANGE_S = 2.0
"""Seconds of a life cycle that a change takes which starts no program."""
TAGS_MAX, TAG_NAME_MAX, TAG_VALUE_MAX = 50, 512, 256
IN_BETWEEN = ("Creating", "Updating", "Deleting", "Scaling")
AUTH_MODES = ("Key", "AMLToken", "AADToken")
KINDS = ("onlineEndpoints", "batchEndpoints")
_NAME = re.compile(r"[A-Za-z](?:-?[A-Za-z0-9])*")
_DURATION = re.compile(
    r"P(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_ASSET = re.compile(
    r"(?:azureml:)?(?P<scope>/subscriptions/[^/]+/resourceGroups/[^/]+/providers/[^/]+/workspaces/[^/]+)"
    r"/(?P<plural>[a-z]+)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)",
    re.IGNORECASE,
)
_SHARED = re.compile(r"azureml://registries/[^/]+/[a-z]+/[^/]+/versions/[^/]+", re.IGNORECASE)


def bad(message: str, *, code: str = "BadArgument", target: str = "") -> Refused:
    """Return the refusal (400) of what makes no sense."""
    details = [{"code": code, "target": target, "message": message}] if target else []
    return Refused(400, code, message, details=details)


def check_name(kind: str, name: str) -> None:
    """Refuse a name that no endpoint or deployment can have.

    Raises:
        Refused: With the rule.
    """
    least, most = NAME_CHARS
    if not least <= len(name) <= most or not _NAME.fullmatch(name):
        raise bad(
            f"The {kind} name '{name}' is invalid: {least} to {most} characters; it begins with a letter, "
            "has letters, digits and single dashes, and ends with a letter or digit.",
            target=f"{kind}Name",
        )


def tags_of(content: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a body.

    Raises:
        Refused: They break a limit of Resource Manager (learn.microsoft.com, tag-resources).
    """
    tags = dict(content.get("tags") or {})
    if len(tags) > TAGS_MAX:
        raise Refused(400, "InvalidTags", f"A resource has at most {TAGS_MAX} tags, not {len(tags)}.")
    for name, value in tags.items():
        if not 0 < len(name) <= TAG_NAME_MAX or set(name) & set("<>%&\\?/"):
            raise Refused(400, "InvalidTagNameCharacters", f"The tag name '{name[:80]}' is invalid.")
        if not isinstance(value, str) or len(value) > TAG_VALUE_MAX:
            message = f"The value of tag '{name}' must be a text of at most {TAG_VALUE_MAX} characters."
            raise Refused(400, "TagValueTooLong", message)
    return tags


def check_free(cloud: Cloud, endpoint_id: str) -> None:
    """Refuse a name that another endpoint of the region has.

    Raises:
        Refused: With the service's words.
    """
    name = endpoint_id.rpartition("/")[2].lower()
    for key, held in cloud.resources.below("/subscriptions"):
        kind, _, found = key.rpartition("/")
        is_endpoint = kind.rpartition("/")[2] in {each.lower() for each in KINDS}
        if is_endpoint and found == name and held["id"].lower() != endpoint_id.lower():
            raise bad(
                "There is already an endpoint with this name, "
                "Endpoint name needs to be unique within a region"
            )


def spelled(value: Any, known: Iterable[str], default: str) -> str:
    """Return a member of an enumeration as the service spells it, whatever way it was written."""
    given = str(value or "").replace("_", "").lower()
    return next((each for each in known if each.lower() == given), default)


def seconds_of(text: Any, default: float) -> float:
    """Return the seconds of an ISO 8601 duration such as ``PT1M30S``.

    Raises:
        Refused: It is none.
    """
    if text in (None, ""):
        return default
    found = _DURATION.fullmatch(str(text))
    if found is None or not any(found.groups()):
        raise bad(f"'{text}' is no duration of ISO 8601")
    units = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
    return sum(float(found[name]) * unit for name, unit in units.items() if found[name])


def duration(seconds: float) -> str:
    """Return seconds as the service tells them."""
    return f"PT{seconds:g}S"


def asset_named(cloud: Cloud, what: str, asset_id: str, plural: str) -> Resource:
    """Return the version of an asset that an endpoint's resource names by its id.

    Args:
        cloud: That has it.
        what: The member that names it.
        asset_id: Of Resource Manager, or ``azureml://registries/…``.
        plural: ``models``, ``environments`` or ``codes``.

    Raises:
        Refused: It is no such id, or is not there.
    """
    own = _ASSET.fullmatch(asset_id.rstrip("/"))
    if own is not None and own["plural"].lower() == plural:
        found = find_version(cloud, own["scope"], plural, own["name"], own["version"])
    elif _SHARED.fullmatch(asset_id) and f"/{plural}/" in asset_id.lower():
        every = (held for _, held in cloud.resources.below("/subscriptions"))
        found = next((held for held in every if held["id"].lower() == asset_id.lower()), None)
    else:
        raise bad(f"{what} '{asset_id}' is not the id of a version of {plural}", target=what)
    if found is None:
        raise bad(f"{what} '{asset_id}' was not found", code="ResourceNotFound", target=what)
    return found


def identity_of(cloud: Cloud, resource_id: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the identity that a resource gets."""
    kind = (given or {}).get("type") or "SystemAssigned"
    told: dict[str, Any] = {"type": kind}
    if "systemassigned" in str(kind).lower():
        told |= {"principalId": guid_of(f"{resource_id}#principal"), "tenantId": cloud.tenant}
    users = (given or {}).get("userAssignedIdentities")
    if users:
        told["userAssignedIdentities"] = {
            name: {"principalId": guid_of(f"{name}#principal"), "clientId": guid_of(f"{name}#client")}
            for name in users
        }
    return told


def get_resource(cloud: Cloud, resource_id: str) -> Resource:
    """Return an endpoint or a deployment as it is kept.

    Raises:
        Refused: There is none.
    """
    found = cloud.resources.get(resource_id)
    if found is None:
        kind, name = resource_id.rstrip("/").rsplit("/", 2)[-2:]
        what = "Deployment" if kind.lower() == "deployments" else "Endpoint"
        where = resource_id.partition(f"/{PROVIDER}/workspaces/")[2].partition("/")[0]
        raise Refused(404, "ResourceNotFound", f"{what} {name} not found in workspace {where}")
    return found


def check_settled(endpoint: Resource, doing: str) -> None:
    """Refuse a change of an endpoint that is being changed.

    Raises:
        Refused: With the service's words (azure-sdk-for-net#36961).
    """
    state = endpoint["properties"]["provisioningState"]
    if state in IN_BETWEEN:
        message = f"Cannot {doing} endpoint {endpoint['name']} because it is in {state} provisioning state."
        raise Refused(409, "Conflict", message)


def check_idle(deployment: Resource) -> None:
    """Refuse a change of a deployment that is being changed.

    Raises:
        Refused: With words of our own: the service's are not published.
    """
    state = deployment["properties"]["provisioningState"]
    if state in IN_BETWEEN:
        message = f"Deployment {deployment['name']} is in {state} provisioning state."
        raise Refused(409, "Conflict", message)


def settle_later(
    cloud: Cloud,
    request: Request,
    resource: Resource,
    is_new: bool,
    *,
    shown: Callable[[Resource], Resource],
    seconds: float = CHANGE_S,
) -> Answer:
    """Begin an operation that leaves a resource ``Succeeded``, or ``Failed`` on demand."""
    state = resource["properties"]

    def finish() -> Resource:
        state["provisioningState"] = "Succeeded"
        return shown(resource)

    return cloud.part(SlowOperations).begin(
        request,
        seconds=seconds,
        finish=finish,
        failed=lambda _: state.update(provisioningState="Failed"),
        resource=shown(resource),
        is_new=is_new,
    )


def delete_later(cloud: Cloud, request: Request, resource: Resource, finish: Callable[[], None]) -> Answer:
    """Begin an operation that ends with what deletes a resource, or leaves it ``Failed`` on demand."""
    state = resource["properties"]
    state["provisioningState"] = "Deleting"
    return cloud.part(SlowOperations).begin(
        request,
        seconds=CHANGE_S,
        finish=finish,
        failed=lambda _: state.update(provisioningState="Failed"),
    )


def endpoint_to_put(cloud: Cloud, request: Request, kind: str) -> tuple[str, Resource | None]:
    """Return the id that a PUT of an endpoint gives it, and the endpoint that it replaces.

    Raises:
        Refused: The name cannot be, or is another's, or the endpoint is being changed.
    """
    require(cloud, request)
    endpoint_id = new_id(cloud, endpoint_id_of(request, kind))
    check_name("endpoint", request.names["endpoint"])
    check_free(cloud, endpoint_id)
    held = cloud.resources.get(endpoint_id)
    if held is not None:
        check_settled(held, "update")
    return endpoint_id, held


def endpoint_to_delete(cloud: Cloud, request: Request, kind: str) -> Resource | None:
    """Return the endpoint that a DELETE is about; None when it is not there.

    Raises:
        Refused: It is being changed.
    """
    require(cloud, request)
    endpoint = cloud.resources.get(endpoint_id_of(request, kind))
    if endpoint is not None:
        check_settled(endpoint, "delete")
    return endpoint


def get_deployment(cloud: Cloud, request: Request, *, kind: str) -> Answer:
    """Answer with a deployment."""
    require(cloud, request)
    return Answer(200, get_resource(cloud, deployment_id_of(request, kind)))


def list_deployments(cloud: Cloud, request: Request, *, kind: str) -> Answer:
    """Answer with the deployments of an endpoint."""
    require(cloud, request)
    endpoint = get_resource(cloud, endpoint_id_of(request, kind))
    return listed(cloud, request, f"{endpoint['id']}/deployments", lambda held: held)


def endpoint_id_of(request: Request, kind: str) -> str:
    """Return the id of the endpoint that a route is below; ``kind`` is ``onlineEndpoints`` or the like."""
    return f"{request.workspace_id}/{kind}/{request.names['endpoint']}"


def deployment_id_of(request: Request, kind: str) -> str:
    """Return the id of the deployment that a route is about."""
    return f"{endpoint_id_of(request, kind)}/deployments/{request.names['deployment']}"


def listed(
    cloud: Cloud, request: Request, collection_id: str, shown: Callable[[Resource], Resource]
) -> Answer:
    """Return a page of the endpoints or deployments below a collection."""
    require(cloud, request)
    found = [shown(held) for held in cloud.resources.children(collection_id)]
    name = request.query.get("name", "").lower()
    return pages(request, [held for held in found if not name or held["name"].lower() == name])


def new_id(cloud: Cloud, resource_id: str) -> str:
    """Return an id as it will be told: an existing parent's spelling, then the last two parts as given."""
    parent, kind, name = resource_id.rsplit("/", 2)
    held = cloud.resources.get(parent)
    return f"{held['id'] if held else parent}/{kind}/{name}"
