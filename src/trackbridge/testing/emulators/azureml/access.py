"""What Resource Manager tells beside the resources of its providers: who may do what, and what there is.

Rights are those of the emulator's ``permissions``: without ``write`` every change is taken back, without
``secrets`` keys are.
"""

from __future__ import annotations

import re

from trackbridge.testing.emulators.azureml.core import (
    WORKSPACE,
    Answer,
    Cloud,
    Refused,
    Request,
    Route,
    pages,
)

_TYPE = re.compile(r"resourceType eq '(?P<kind>[^']+)'", re.IGNORECASE)
_TRACKED = ("location", "tags", "kind", "sku", "identity")
_TAKEN_BACK = {
    "write": ["*/write", "*/delete", "*/action"],
    "secrets": ["*/listKeys/action", "*/token/action"],
}


def _permissions(cloud: Cloud, request: Request) -> Answer:
    taken = [
        action for right, actions in _TAKEN_BACK.items() if right not in cloud.rights for action in actions
    ]
    granted = {"actions": ["*"], "notActions": taken, "dataActions": [], "notDataActions": []}
    return pages(request, [granted])


def _resources(cloud: Cloud, request: Request) -> Answer:
    """List the tracked resources of the subscription (they have a location); of a type if one is named."""
    text = request.query.get("$filter") or ""
    wanted = _TYPE.fullmatch(text.strip())
    if text and wanted is None:
        raise Refused(
            400, "InvalidFilterInQueryString", f"Invalid $filter '{text}' specified in the query string"
        )
    found = []
    for _, held in cloud.resources.below("/subscriptions"):
        if held.get("location") and (wanted is None or held["type"].lower() == wanted["kind"].lower()):
            name = "/".join(held["id"].partition("/providers/")[2].split("/")[2::2])
            kept = {member: held[member] for member in _TRACKED if held.get(member)}
            found.append({"id": held["id"], "name": name, "type": held["type"], **kept})
    return pages(request, found)


ROUTES = (
    Route(
        "GET",
        f"{WORKSPACE}/providers/Microsoft.Authorization/permissions",
        _permissions,
        versions=("2015-07-01", "2018-07-01", "2022-04-01"),
    ),
    Route(
        "GET",
        "/subscriptions/{subscription}/resources",
        _resources,
        versions=("2020-10-01", "2021-04-01", "2022-09-01"),
    ),
)
