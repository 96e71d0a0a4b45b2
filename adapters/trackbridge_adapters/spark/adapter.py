"""A Spark cluster as one object: jobs alone."""

from __future__ import annotations

from importlib.metadata import entry_points

import msgspec

from trackbridge.domain.file_uris import file_uri
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.findings import Finding
from trackbridge_adapters.spark.capabilities import capabilities_of
from trackbridge_adapters.spark.config import Settings
from trackbridge_adapters.spark.health import examine
from trackbridge_adapters.spark.jobs import SparkJobs

FOLDER = "spark-jobs"


class SparkAdapter(Adapter):
    """The jobs of one master.

    In client mode a driver is a program of this machine. The backend for such programs sees it through:
    queue, attempts, time limit, cancellation, log. It is reached as every backend is, by its entry point
    and its port.
    """

    tracking = None
    artifacts = None
    registry = None
    deployments = None

    def __init__(self, settings: Settings, context: AdapterContext) -> None:
        folder = (context.home / FOLDER / settings.folder_name).absolute()
        (entry,) = entry_points(group="trackbridge.adapters", name="file")
        self._settings = settings
        self._local: Adapter = entry.load()(
            file_uri(folder), context=msgspec.structs.replace(context, options=settings.runner)
        )
        self._capabilities = capabilities_of(settings.kind, self._local.capabilities())
        assert self._local.jobs is not None
        self.jobs = SparkJobs(settings, folder, self._local.jobs, self._capabilities)

    def capabilities(self) -> Capabilities:
        """Return what the master offers."""
        return self._capabilities

    def check(self, *, write: bool = False) -> tuple[Finding, ...]:
        """Look for spark-submit, Java and the master, and where the jobs are kept."""
        return (*examine(self._settings), *self._local.check(write=write))

    def close(self) -> None:
        """Release the connections."""
        self._local.close()
