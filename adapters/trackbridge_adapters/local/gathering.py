"""The local backend for a program that writes many runs and waits for the disk once for all of them."""

from __future__ import annotations

from collections.abc import Callable

from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.findings import Finding
from trackbridge.ports.gathering import Gathering
from trackbridge_adapters.local.artifacts import LocalArtifacts
from trackbridge_adapters.local.capabilities import CAPABILITIES
from trackbridge_adapters.local.config import Settings
from trackbridge_adapters.local.database import Database, GatheredDatabase
from trackbridge_adapters.local.errors import Translating
from trackbridge_adapters.local.syncing import Together
from trackbridge_adapters.local.tracking import LocalTracking


class LocalGathering(Gathering):
    """Tracking and artifacts of a folder; commits wait for no disk until ``settle``."""

    registry = None
    jobs = None
    deployments = None

    def __init__(self, settings: Settings, database: Database, clock_ms: Callable[[], int]) -> None:
        self._syncing = Together()
        self._database = GatheredDatabase(database)
        self._artifacts = LocalArtifacts(settings.artifacts, self._database, self._syncing)
        self.tracking = LocalTracking(self._database, clock_ms)
        self.artifacts = self._artifacts

    def capabilities(self) -> Capabilities:
        """Return what the local backend declares."""
        return CAPABILITIES

    def check(self, *, write: bool = False) -> tuple[Finding, ...]:
        """Find nothing: the adapter itself looks."""
        return ()

    def settle(self) -> None:
        """Sync files and folders; then keep their digests by a commit that all earlier ones last with."""
        with Translating("gathering.settle", None):
            self._syncing.settle()
        with self._database.settling("gathering.settle") as connection:
            self._artifacts.keep_known(connection, self._syncing.known)
        self._syncing.known.clear()

    def close(self) -> None:
        """Release nothing: the connections are the adapter's."""
