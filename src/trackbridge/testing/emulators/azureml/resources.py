"""The resources of a subscription, by their ARM ids, as Resource Manager keeps them: no etags, no merging."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from trackbridge.testing.emulators.azureml.times import moment

USER = "someone@emulator.example"
WITH_CASE = frozenset({"models", "data", "environments", "codes", "components", "versions", "jobs"})
"""The types whose names count with their case, as mfe.json 2024-04-01 says of these parameters ("Container
name. This is case-sensitive."); those of all other resources do not (resource-name-rules)."""


class Resources:
    """Resources by id; a name stays as it was first written.

    A resource is a dict as ARM answers it: ``id``, ``name``, ``type``, ``properties``, ``systemData``, and
    what of ``location``, ``tags``, ``kind``, ``sku``, ``identity`` was given.

    Args:
        now_s: Azure's clock.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._held: dict[str, dict[str, Any]] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()

    def get(self, resource_id: str) -> dict[str, Any] | None:
        """Return a resource as it is kept: what is changed in it is changed. None when it is not there."""
        return self._held.get(resource_key(resource_id))

    def __contains__(self, resource_id: str) -> bool:
        return resource_key(resource_id) in self._held

    def put(
        self, resource_id: str, content: Mapping[str, Any], *, answer_id: str = ""
    ) -> tuple[dict[str, Any], bool]:
        """Put a resource in the place of what was there; only when it was made stays.

        Args:
            resource_id: Where it lies.
            content: The body, with ``properties``.
            answer_id: What it says that its id is, such as ``azureml://registries/…``; the same without it.

        Returns:
            The resource as it is kept, and whether it is new.
        """
        now = moment(self._now_s())
        before = self._held.get(resource_key(resource_id))
        resource = deepcopy(dict(content))
        resource.setdefault("properties", {})
        shown = answer_id or (before or {}).get("id") or resource_id.rstrip("/")
        resource |= {"id": shown, "name": shown.rpartition("/")[2], "type": type_of(resource_id)}
        born = (before or {}).get("systemData") or {"createdAt": now, "createdBy": USER}
        resource["systemData"] = {
            "createdAt": born["createdAt"],
            "createdBy": born["createdBy"],
            "createdByType": "User",
            "lastModifiedAt": now,
            "lastModifiedBy": USER,
            "lastModifiedByType": "User",
        }
        self._held[resource_key(resource_id)] = resource
        return resource, before is None

    def delete(self, resource_id: str) -> bool:
        """Remove a resource and all below it; returns whether it was there."""
        key = resource_key(resource_id)
        for below in [held for held in self._held if held.startswith(f"{key}/")]:
            del self._held[below]
        return self._held.pop(key, None) is not None

    def children(self, collection_id: str) -> list[dict[str, Any]]:
        """Return the resources right below a collection such as ``…/models``, in the order they were made."""
        start = resource_key(collection_id) + "/"
        return [
            held for key, held in self._held.items() if key.startswith(start) and "/" not in key[len(start) :]
        ]

    def below(self, resource_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield all resources below one, each with the key of the id that it lies at."""
        start = resource_key(resource_id) + "/"
        yield from [(key, held) for key, held in self._held.items() if key.startswith(start)]


def type_of(resource_id: str) -> str:
    """Return the type of a resource by its id, such as ``Microsoft.X/workspaces/models``."""
    _, found, rest = resource_id.rstrip("/").rpartition("/providers/")
    parts = rest.split("/") if found else resource_id.strip("/").split("/")
    return "/".join([parts[0], *parts[1::2]])


def resource_key(resource_id: str) -> str:
    """Return what two ids of one resource have in common: case counts in the names of ``WITH_CASE`` alone.

    Args:
        resource_id: Of ARM, or ``azureml://…``.
    """
    start, found, rest = resource_id.rstrip("/").rpartition("://")
    parts = rest.strip("/").split("/")
    for place, part in enumerate(parts):
        if place % 2 == 0 or parts[place - 1] not in WITH_CASE:
            parts[place] = part.lower()
    return f"{start.lower()}{found}/{'/'.join(parts)}"
