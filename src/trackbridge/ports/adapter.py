"""A backend: what it declares, whether it is well, and its ports."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.deployments import DeploymentTarget
from trackbridge.ports.findings import Finding
from trackbridge.ports.jobs import JobBackend
from trackbridge.ports.registry import ModelRegistry
from trackbridge.ports.tracking import TrackingStore


class AdapterContext(msgspec.Struct, frozen=True, kw_only=True):
    """What the core hands to an adapter, so that tests can stand in for the world.

    ``home`` is the project's ``.bridge`` folder; ``options`` are the settings of the remote or the URI;
    ``clock_ms`` returns milliseconds since 1970 in UTC.
    """

    home: Path
    options: Mapping[str, str]
    clock_ms: Callable[[], int]


class Adapter(Protocol):
    """One opened backend. A port that it does not have at all is None.

    ``open_adapter(uri, *, context) -> Adapter`` is the entry point of the group ``trackbridge.adapters``,
    one line per URI scheme. Opening contacts nobody and imports no SDK.
    """

    tracking: TrackingStore | None
    artifacts: ArtifactStore | None
    registry: ModelRegistry | None
    jobs: JobBackend | None
    deployments: DeploymentTarget | None

    @abstractmethod
    def capabilities(self) -> Capabilities:
        """Return what the backend declares; contacts nobody."""
        ...

    @abstractmethod
    def check(self, *, write: bool = False) -> tuple[Finding, ...]:
        """Look whether the backend can be used, for ``bridge doctor``: reads only, unless ``write``.

        Never raises for a sick backend: that is a finding. What concerns who the user is, and may do, has
        the subject ``findings.CREDENTIALS``.
        """
        ...

    @abstractmethod
    def close(self) -> None:
        """Release connections. Closing twice succeeds."""
        ...


class OpenAdapter(Protocol):
    """The callable behind an entry point."""

    def __call__(self, uri: str, *, context: AdapterContext) -> Adapter:
        """Open the backend of the URI.

        Raises:
            ConfigError: The URI or an option is wrong.
            MissingExtra: A package is missing.
        """
        ...


class CanonicalUri(Protocol):
    """``canonical_uri``, which an adapter may offer in the module of its entry point.

    For URIs whose meaning depends on where they are read, such as ``azureml:``: delivery runs later, in
    another folder and with other variables.
    """

    def __call__(
        self, uri: str, *, options: Mapping[str, str], environment: Mapping[str, str], folder: Path
    ) -> str:
        """Return a URI, with options where it needs any, that means the same everywhere; contacts nobody.

        One that does already is returned as it is. It holds no credential.

        Raises:
            ConfigError: It means nothing in this folder and environment. Opening it says so again.
        """
        ...
