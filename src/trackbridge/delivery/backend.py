"""An opened backend: the ports that delivery writes to, each behind the call pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.tracking import TrackingStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What one tracking URI leads to, opened."""

    uri: str
    tracking: TrackingStore
    artifacts: ArtifactStore | None
    capabilities: Capabilities
    close: Callable[[], None] = lambda: None
