"""Assets of a workspace or a registry by ARM: models, data, environments, datastores, and their versions.

A version is written as a whole, and nothing guards two writers against each other: there are no etags. So a
change is made under a lock of this machine, looked at afterwards, and made again where it has got lost. Where
the files of a version lie never changes, so that of two who take one number for different files one is
refused; a version carries a mark of its maker and is looked at as well. Either way the other one takes the
next number. Two who register the same files in the same moment may come by one version.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from trackbridge.errors import Conflict, NotFound, Rejected, Unavailable
from trackbridge.transport.file_locks import held
from trackbridge_adapters.azureml.arm import Arm, Json, path_of
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.limits import asset_name_problem, check

CUSTOM, MLFLOW, TRITON = "custom_model", "mlflow_model", "triton_model"
"""Types of models."""
MAKER = "bridge.maker"
"""The property of a version that tells who made it, of several who took its number at once."""
TAKES_MAX = 100
"""How many numbers are tried for one version."""
CHANGES_MAX = 10
"""How often a change is made again that another writer has undone."""
KINDS = ("models", "data", "environments", "components", "codes")

Change = Callable[[Json], "Json | None"]
"""Returns properties changed, or None where nothing is to be done."""


class Assets:
    """Assets below one workspace or registry. Any thread may use it.

    Args:
        arm: Sends the requests.
        scope: The path of the workspace or the registry.
        is_registry: Whether it is a registry, whose routes have a version of their own.
        home: Of the adapter, where locks are; without it only threads of one object wait for each other.
    """

    def __init__(self, arm: Arm, scope: str, *, is_registry: bool = False, home: Path | None = None) -> None:
        self.arm = arm
        self.scope = scope
        self._is_registry = is_registry
        self._home = home
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()

    # Reading.

    def containers(self, kind: str) -> Iterator[Json]:
        """Yield what there is of a kind, archived ones too; a container holds the versions of one name."""
        query = {"listViewType": "All"}
        yield from self.arm.pages(f"{self.scope}{path_of(kind)}", self._version(kind), query=query)

    def container(self, kind: str, name: str) -> Json:
        """Return the container of a name.

        Raises:
            NotFound: There is none.
        """
        return self.arm.get(self._path(kind, name), self._version(kind))

    def versions(self, kind: str, name: str) -> Iterator[Json]:
        """Yield the versions of a name, archived ones too; none where there is no such name."""
        if asset_name_problem(name) is not None:
            return
        query = {"listViewType": "All"}
        try:
            yield from self.arm.pages(f"{self._path(kind, name)}/versions", self._version(kind), query=query)
        except NotFound:
            return

    def version(self, kind: str, name: str, version: str) -> Json:
        """Return one version.

        Raises:
            NotFound: There is none.
        """
        return self.arm.get(self._path(kind, name, version), self._version(kind))

    def find_version(self, kind: str, name: str, version: str) -> Json | None:
        """Return one version, None where there is none."""
        try:
            return self.version(kind, name, version)
        except NotFound:
            return None

    def latest(self, kind: str, name: str) -> Json:
        """Return the version that was made last, archived ones left out: what ``@latest`` means in Azure ML.

        Raises:
            NotFound: There is none.
        """
        query = {"$orderBy": "createdtime desc", "$top": "1"}
        path = f"{self._path(kind, name)}/versions"
        found = next(self.arm.pages(path, self._version(kind), query=query), None)
        if found is None:
            raise NotFound(f"there is no version of {name[:100]!r}", adapter=ADAPTER, resource=kind)
        return found

    # Writing.

    def create(self, kind: str, name: str, version: str, properties: Mapping[str, Any]) -> Json:
        """Make a version of this number.

        Raises:
            Conflict: The number is taken.
            Rejected: Azure ML cannot hold the name.
        """
        check("registry.asset.name" if self._is_registry else "asset.name", name)
        check("asset.version", version)
        with self._lock(kind, name):
            if self.find_version(kind, name, version) is not None:
                raise _taken(kind, name, version)
            maker = os.urandom(16).hex()
            body = dict(properties)
            body["properties"] = {**(body.get("properties") or {}), MAKER: maker}
            self.arm.put(self._path(kind, name, version), self._version(kind), {"properties": body})
            found = self.version(kind, name, version)
            if (properties_of(found).get("properties") or {}).get(MAKER) != maker:
                raise _taken(kind, name, version)
            return found

    def create_next(self, kind: str, name: str, first: int, properties: Mapping[str, Any]) -> Json:
        """Make a version of the first number from ``first`` on that is free.

        Raises:
            Unavailable: So many others register versions that no number was ours.
        """
        for number in range(first, first + TAKES_MAX):
            try:
                return self.create(kind, name, str(number), properties)
            except Conflict:
                continue
        raise Unavailable(
            f"no free number was found for a version of {name[:100]!r}: {TAKES_MAX} were taken",
            adapter=ADAPTER,
            hint="are many programs registering it at once? Try again",
        )

    def change(self, kind: str, name: str, version: str | None, change: Change) -> Json:
        """Change the properties of a version, or of a container (None), and look whether it holds.

        Args:
            kind: For example ``models``.
            name: Of the asset.
            version: Of the asset.
            change: Given the properties as they stand; it is called again after each look.

        Raises:
            NotFound: There is no such version.
            Conflict: Others undid the change again and again.
            Rejected: It is a registry's model, whose name allows changes of its versions only.
        """
        path, api = self._path(kind, name, version), self._version(kind)
        with self._lock(kind, name):
            for _ in range(CHANGES_MAX):
                found = self.arm.get(path, api)
                changed = change(_writable(properties_of(found)))
                if changed is None:
                    return found
                if self._is_registry and version is None:
                    check("registry.model.name", name)
                self.arm.put(path, api, {**_outside(found), "properties": changed})
        raise Conflict(
            f"the change was undone {CHANGES_MAX} times by others who write at the same time",
            adapter=ADAPTER,
            resource=f"{kind}/{name}",
            hint="try again when they are done",
        )

    def archive(self, kind: str, name: str, version: str | None = None, *, archived: bool = True) -> None:
        """Archive a version, or a whole container (None), or bring it back; it stays readable."""

        def changed(properties: Json) -> Json | None:
            if bool(properties.get("isArchived")) == archived:
                return None
            return {**properties, "isArchived": archived}

        self.change(kind, name, version, changed)

    def delete(self, kind: str, name: str, version: str | None = None) -> bool:
        """Delete a version, or a container with all its versions (None); False where there was none."""
        if asset_name_problem(name) is not None:
            return False
        with self._lock(kind, name):
            return self.arm.delete(self._path(kind, name, version), self._version(kind))

    # Addresses.

    def id_of(self, kind: str, name: str, version: str) -> str:
        """Return the id of a version, as jobs and deployments name it."""
        return f"{self.scope}/{kind}/{name}/versions/{version}"

    def _path(self, kind: str, name: str, version: str | None = None) -> str:
        if kind not in KINDS:
            raise Rejected(
                f"{kind!r} is no kind of asset", adapter=ADAPTER, hint=f"one of {', '.join(KINDS)}"
            )
        if asset_name_problem(name) is not None:
            raise NotFound(f"nothing is called {name[:100]!r}", adapter=ADAPTER, resource=kind)
        parts = (kind, name) if version is None else (kind, name, "versions", version)
        return f"{self.scope}{path_of(*parts)}"

    def _version(self, kind: str) -> str:
        return "registries" if self._is_registry else kind

    @contextmanager
    def _lock(self, kind: str, name: str) -> Iterator[None]:
        """Keep others of this machine from writing the same asset meanwhile."""
        with self._guard:
            own = self._locks[f"{kind}/{name}"]
        with own, ExitStack() as stack:
            if self._home is not None:
                # One of 256 files, so that there are not as many as models.
                part = hashlib.sha256(f"{self.scope}/{kind}/{name}".lower().encode()).hexdigest()[:2]
                stack.enter_context(held(self._home / "locks" / f"asset-{part}"))
            yield


def properties_of(found: Mapping[str, Any]) -> Json:
    """Return the properties of a resource."""
    held = found.get("properties")
    return held if isinstance(held, dict) else {}


def model_uri_of(found: Mapping[str, Any]) -> str:
    """Return where the files of a model's version lie.

    Raises:
        NotFound: It names no place, as one may that was made without files.
    """
    uri = str(properties_of(found).get("modelUri") or "")
    if uri:
        return uri
    raise NotFound(
        f"version {found.get('name')} names no files",
        adapter=ADAPTER,
        resource="models",
        hint="register one that has files",
    )


def tags_of(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a resource as texts."""
    return {str(key): str(value) for key, value in (properties_of(found).get("tags") or {}).items()}


def number_of(found: Mapping[str, Any]) -> int | None:
    """Return a version's number; None where it is called otherwise, as it may be."""
    text = str(found.get("name") or "")
    return int(text) if text.isascii() and text.isdecimal() and not text.startswith("0") else None


def created_ms(found: Mapping[str, Any]) -> int | None:
    """Return when a resource was made, in milliseconds since 1970."""
    return milliseconds_of((found.get("systemData") or {}).get("createdAt"))


def changed_ms(found: Mapping[str, Any]) -> int | None:
    """Return when a resource was changed, in milliseconds since 1970."""
    return milliseconds_of((found.get("systemData") or {}).get("lastModifiedAt"))


def creator_of(found: Mapping[str, Any]) -> str:
    """Return who made a resource."""
    return str((found.get("systemData") or {}).get("createdBy") or "")


def milliseconds_of(moment: object) -> int | None:
    """Return milliseconds since 1970 of a time as ARM writes it, with up to seven digits of a second."""
    text = str(moment or "")
    if not text:
        return None
    whole, _, rest = text.rstrip("Z").partition(".")
    digits = "".join(letter for letter in rest.partition("+")[0] if letter.isdigit())[:6].ljust(6, "0")
    try:
        found = datetime.fromisoformat(f"{whole.partition('+')[0]}.{digits}+00:00")
    except ValueError:
        return None
    return int(found.timestamp()) * 1000 + (int(digits) + 500) // 1000  # the nearest, as MLflow's routes


_READ_ONLY = frozenset({"provisioningState", "latestVersion", "nextVersion"})


def _writable(properties: Mapping[str, Any]) -> Json:
    return {key: value for key, value in properties.items() if key not in _READ_ONLY}


def _outside(found: Mapping[str, Any]) -> Json:
    """Return what stands beside the properties and is ours to send back: tracked resources have such."""
    return {key: found[key] for key in ("location", "tags", "sku", "identity", "kind") if found.get(key)}


def _taken(kind: str, name: str, version: str) -> Conflict:
    return Conflict(
        f"version {version} of {name[:100]!r} is there already",
        adapter=ADAPTER,
        resource=kind,
        hint="leave the number out, and the next one is taken",
    )
