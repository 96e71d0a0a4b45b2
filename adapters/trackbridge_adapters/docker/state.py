"""What is known of an endpoint: one JSON file in its folder, written whole under a lock.

::

    <folder>/.wine.lock                 held while the file is compared and written
    <folder>/.wine.operation.lock       held by whoever changes the endpoint
    <folder>/.wine.revisions.json       how it stood before each operation; stays when it is deleted
    <folder>/wine/endpoint.json         what stands, and what is under way
    <folder>/wine/contexts/<digest>/    the build contexts
    <folder>/wine/v2                    link to the context of a deployment
    <folder>/wine/current               link to the deployment with the traffic
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from trackbridge.domain.deployment_changes import is_endpoint_name
from trackbridge.domain.deployments import DeploymentSpec, EndpointRevision, EndpointStatus
from trackbridge.errors import ConfigError
from trackbridge.transport.file_locks import held
from trackbridge_adapters.docker.config import ADAPTER

OPERATIONS_KEPT = 200
CURRENT = "current"

Content = TypeVar("Content")


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """A context that is being built: ``payload`` is the model's folder, ``token`` names the operation."""

    spec: DeploymentSpec
    payload: str
    token: str


class Built(msgspec.Struct, kw_only=True):
    """A deployment. ``context`` is the digest of its build context, "" while there is none.

    ``spec`` is what the context was built from; without a context, what was to be built.
    """

    spec: DeploymentSpec
    context: str = ""
    reason: str = ""
    time: int | None = None
    work: Work | None = None

    @property
    def wanted(self) -> DeploymentSpec:
        """What is being built, else what is there."""
        return self.work.spec if self.work is not None else self.spec

    @property
    def status(self) -> EndpointStatus:
        """How it stands."""
        if self.work is not None:
            return EndpointStatus.UPDATING if self.context else EndpointStatus.CREATING
        return EndpointStatus.READY if self.context else EndpointStatus.FAILED


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an operation ended."""

    error: str | None = None


class Endpoint(msgspec.Struct, kw_only=True):
    """An endpoint: its deployments, the one that is current, and how operations ended."""

    deployments: dict[str, Built] = msgspec.field(default_factory=dict)
    traffic: dict[str, int] = msgspec.field(default_factory=dict)
    outcomes: dict[str, Outcome] = msgspec.field(default_factory=dict)

    def end(self, token: str, error: str | None = None) -> None:
        """Note how an operation ended; the oldest notes go."""
        self.outcomes[token] = Outcome(error=error)
        for old in list(self.outcomes)[:-OPERATIONS_KEPT]:
            del self.outcomes[old]


class Store:
    """The endpoints of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, endpoint: str) -> Path:
        """Return the folder of an endpoint."""
        return self.folder / endpoint

    def contexts(self, endpoint: str) -> Path:
        """Return the folder of an endpoint's build contexts."""
        return self.path(endpoint) / "contexts"

    def names(self) -> list[str]:
        """Return the endpoints, in order."""
        if not self.folder.is_dir():
            return []
        found = (path.parent.name for path in self.folder.glob("*/endpoint.json"))
        return sorted(name for name in found if is_endpoint_name(name))

    def read(self, endpoint: str) -> Endpoint | None:
        """Return an endpoint, or None when there is none of the name."""
        if not is_endpoint_name(endpoint):
            return None
        return _read(self.path(endpoint) / "endpoint.json", Endpoint)

    def write(self, endpoint: str, content: Endpoint) -> None:
        """Write an endpoint whole, and let the links lead where it says; under ``locked``."""
        folder = self.path(endpoint)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "endpoint.json", msgspec.json.format(msgspec.json.encode(content)))
        links = {name: f"contexts/{built.context}" for name, built in content.deployments.items()}
        links = {name: target for name, target in links.items() if content.deployments[name].context}
        current = next((name for name, share in content.traffic.items() if share == 100), None)
        if current in links:
            links[CURRENT] = current
        for path in folder.iterdir():
            if path.is_symlink() and path.name not in links:
                path.unlink()
        for name, target in links.items():
            link(folder / name, target)

    @contextlib.contextmanager
    def locked(self, endpoint: str) -> Iterator[None]:
        """Keep other processes from reading and writing an endpoint between each other."""
        with held(self.folder / f".{endpoint}.lock"):
            yield

    def operation_lock(self, endpoint: str) -> Path:
        """Return the file of the lock that one operation holds."""
        return self.folder / f".{endpoint}.operation.lock"

    def building_lock(self, endpoint: str, deployment: str) -> Path:
        """Return the file of the lock that the process which builds a context holds."""
        return self.folder / f".{endpoint}.{deployment}.building.lock"

    def read_revisions(self, endpoint: str) -> list[EndpointRevision]:
        """Return the revisions of an endpoint, oldest first."""
        return _read(self._revisions(endpoint), list[EndpointRevision]) or []

    def write_revisions(self, endpoint: str, revisions: list[EndpointRevision]) -> None:
        """Write the revisions of an endpoint; under ``locked``."""
        write_whole(self._revisions(endpoint), msgspec.json.encode(revisions))

    def _revisions(self, endpoint: str) -> Path:
        return self.folder / f".{endpoint}.revisions.json"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or what was before, and it outlives a power cut."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(draft, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def link(path: Path, target: str) -> None:
    """Let a link lead to a target, in one step."""
    if path.is_symlink() and os.readlink(path) == target:
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    draft.symlink_to(target)
    draft.replace(path)


def _read(path: Path, kind: type[Content]) -> Content | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"{path} is damaged: {error}", adapter=ADAPTER, hint=f"remove {path}, then deploy again"
        ) from error
