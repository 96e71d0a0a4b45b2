"""The local backend as one object."""

from __future__ import annotations

from collections.abc import Callable

from trackbridge.ports.adapter import Adapter
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.findings import Finding
from trackbridge_adapters.local.artifacts import LocalArtifacts
from trackbridge_adapters.local.capabilities import CAPABILITIES
from trackbridge_adapters.local.config import Settings
from trackbridge_adapters.local.database import Database
from trackbridge_adapters.local.deployments import LocalDeployments
from trackbridge_adapters.local.gathering import LocalGathering
from trackbridge_adapters.local.health import examine
from trackbridge_adapters.local.jobs import LocalJobs
from trackbridge_adapters.local.registry import LocalRegistry
from trackbridge_adapters.local.tracking import LocalTracking


class LocalAdapter(Adapter):
    """All ports in a folder."""

    def __init__(self, settings: Settings, clock_ms: Callable[[], int]) -> None:
        self._settings = settings
        self._clock_ms = clock_ms
        self._database = Database(settings)
        self.tracking = LocalTracking(self._database, clock_ms)
        self.artifacts = LocalArtifacts(settings.artifacts, self._database)
        self.registry = LocalRegistry(self._database, self.artifacts, clock_ms)
        self.jobs = LocalJobs(settings, self._database, CAPABILITIES, clock_ms)
        self.deployments = LocalDeployments(settings.folder, self._database, clock_ms)

    def capabilities(self) -> Capabilities:
        """Return what the local backend declares."""
        return CAPABILITIES

    def check(self, *, write: bool = False) -> tuple[Finding, ...]:
        """Look at the folder, the disk, the file system and the database."""
        return tuple(examine(self._settings, self._database, write=write))

    def gathering(self) -> LocalGathering:
        """Return the ports for writes that are made lasting together."""
        return LocalGathering(self._settings, self._database, self._clock_ms)

    def close(self) -> None:
        """Release the connections."""
        self._database.close()
