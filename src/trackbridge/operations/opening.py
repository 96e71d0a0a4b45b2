"""From what a user names to an opened backend, and to the one port of it that an operation needs."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.calls.policy import CallPolicy
from trackbridge.delivery.connect import open_uri
from trackbridge.errors import BridgeError, Unsupported
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.deployments import DeploymentTarget
from trackbridge.ports.jobs import JobBackend
from trackbridge.ports.registry import ModelRegistry
from trackbridge.ports.tracking import TrackingStore
from trackbridge.resolve.config import Settings
from trackbridge.resolve.destinations import Destination, resolve_destinations
from trackbridge.resolve.home import project_folder
from trackbridge.resolve.remotes import remotes_of
from trackbridge.resolve.uri import parse

LOCAL = "local"
"""What users call the local store: that of the tracking URI when it is one, else the project's."""

CALL_S_MAX = 30.0
"""How long one call of a port is tried, in seconds."""

UriArgument = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None


@dataclass(frozen=True, slots=True)
class Opened:
    """A backend behind the call pipeline, and the URI that it was opened by, without credentials."""

    uri: str
    adapter: Adapter

    @property
    def capabilities(self) -> Capabilities:
        """What the backend declares."""
        return self.adapter.capabilities()

    @property
    def tracking(self) -> TrackingStore:
        """The tracking port, or Unsupported."""
        return self._port("tracking", "tracks no runs")  # type: ignore[no-any-return]

    @property
    def registry(self) -> ModelRegistry:
        """The registry port, or Unsupported."""
        return self._port("registry", "has no model registry")  # type: ignore[no-any-return]

    @property
    def jobs(self) -> JobBackend:
        """The port of jobs, or Unsupported."""
        return self._port("jobs", "runs no jobs")  # type: ignore[no-any-return]

    @property
    def target(self) -> DeploymentTarget:
        """The port of deployments, or Unsupported."""
        return self._port("deployments", "serves no models")  # type: ignore[no-any-return]

    def _port(self, name: str, lack: str) -> Any:
        found = getattr(self.adapter, name)
        if found is None:
            adapter = self.capabilities.adapter
            reasons = (
                capability.reason
                for feature, capability in self.capabilities.features.items()
                if feature.port == name and capability.reason
            )
            raise Unsupported(
                ": ".join(filter(None, (f"{adapter} {lack}", next(reasons, "")))),
                adapter=adapter,
                operation=name,
                resource=self.uri,
                hint="name another place, for example: local",
            )
        return found

    def close(self) -> None:
        """Release what the backend holds."""
        self.adapter.close()


def open_place(uri: UriArgument = None, *, settings: Settings | None = None) -> Opened:
    """Open the backend of a URI, a remote's name or ``local``; by default that of the tracking URI.

    Raises:
        ConfigError: The URI or a setting is wrong.
        MissingExtra: A package is missing.
    """
    settings = settings or Settings()
    destination = find_place(uri, settings=settings)
    adapter = open_uri(destination.uri, settings=settings)
    return Opened(destination.uri.text, wrap_adapter(adapter, CallPolicy.for_waiting_people(CALL_S_MAX)))


def find_place(uri: UriArgument = None, *, settings: Settings) -> Destination:
    """Return what a URI, a remote's name or ``local`` means; of several URIs the first.

    Raises:
        ConfigError: The URI or a setting is wrong.
    """
    if uri != LOCAL:
        return resolve_destinations(uri, settings=settings)[0]
    configured = resolve_destinations(settings=settings)[0]
    if configured.uri.path is not None:
        return configured
    return Destination(parse(str(project_folder(settings.around)), around=settings.around))


def remote_uris(settings: Settings) -> dict[str, str]:
    """Return what each remote means by its name: ``azureml:`` is the workspace that it leads to from here.

    Of one that leads nowhere from here it is what was written; whoever opens it is told why.
    """
    found: dict[str, str] = {}
    for name, remote in remotes_of(settings).items():
        try:
            found[name] = resolve_destinations(name, settings=settings)[0].uri.text
        except BridgeError:
            found[name] = remote.uri.text
    return found


def user_name(settings: Settings) -> str:
    """Return who acts: the setting ``user``, else the login name, else nothing."""
    try:
        return str(settings.value("user") or getpass.getuser())
    except (OSError, KeyError, ImportError):  # a container whose user id has no name
        return ""
