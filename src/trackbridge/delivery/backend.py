"""An opened backend: the ports that delivery writes to, each behind the call pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trackbridge.errors import Unsupported
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.registry import ModelRegistry
from trackbridge.ports.tracking import TrackingStore


@dataclass(frozen=True, slots=True)
class Registry:
    """An opened registry, and whether it can read the artifacts of the backend that it was asked of."""

    port: ModelRegistry
    sees_artifacts: bool


def _no_registry(uri: str) -> Registry:
    raise Unsupported("the destination has no registry of models", resource=uri)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What one tracking URI leads to, opened.

    ``registry`` returns the registry of a tracking URI, which need not be this backend's.
    """

    uri: str
    tracking: TrackingStore
    artifacts: ArtifactStore | None
    capabilities: Capabilities
    registry: Callable[[str], Registry] = _no_registry
    close: Callable[[], None] = lambda: None
