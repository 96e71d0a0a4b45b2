"""A backend that speaks MLflow's REST protocol, as one object."""

from __future__ import annotations

from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.deployments import DeploymentTarget
from trackbridge.ports.findings import Finding
from trackbridge.ports.jobs import JobBackend
from trackbridge.ports.registry import ModelRegistry
from trackbridge_adapters._mlflow_rest.health import examine
from trackbridge_adapters._mlflow_rest.registry import RestRegistry
from trackbridge_adapters._mlflow_rest.service import Service
from trackbridge_adapters._mlflow_rest.tracking import RestTracking
from trackbridge_adapters._mlflow_rest.wire import Wire


class RestAdapter(Adapter):
    """The ports of one service."""

    def __init__(self, service: Service, context: AdapterContext) -> None:
        self._service = service
        self._context = context
        self._wire = Wire(service)
        self.tracking = RestTracking(self._wire, context)
        self.artifacts: ArtifactStore | None = (
            None if service.artifacts is None else service.artifacts(self.tracking)
        )
        self.registry: ModelRegistry | None = RestRegistry(self.tracking, self.artifacts)
        self.jobs: JobBackend | None = None
        self.deployments: DeploymentTarget | None = None

    def capabilities(self) -> Capabilities:
        """Return what the service declares."""
        return self.tracking.capabilities

    def check(self, *, write: bool = False) -> tuple[Finding, ...]:
        """Ask the server who it is, and whether it lets us in."""
        return (
            *examine(self._wire, self.tracking, self._context.clock_ms, write=write),
            *self._service.check(self._wire, write),
        )

    def close(self) -> None:
        """Close the connections."""
        self._service.http.close()
        self._service.close()
