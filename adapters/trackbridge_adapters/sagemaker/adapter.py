"""SageMaker as a whole backend, as one object."""

from __future__ import annotations

from trackbridge.ports.adapter import Adapter
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.findings import Finding
from trackbridge_adapters.sagemaker.artifacts import SageMakerArtifacts
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.deployments import SageMakerDeployments
from trackbridge_adapters.sagemaker.health_experiments import examine
from trackbridge_adapters.sagemaker.jobs import SageMakerJobs
from trackbridge_adapters.sagemaker.registry import SageMakerRegistry
from trackbridge_adapters.sagemaker.tracking import SageMakerTracking


class SageMakerAdapter(Adapter):
    """The ports of one place."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.tracking = SageMakerTracking(backend)
        self.artifacts = SageMakerArtifacts(backend, self.tracking)
        self.registry = SageMakerRegistry(backend, self.artifacts, self.tracking)
        self.jobs = SageMakerJobs(backend, self.tracking, self.registry)
        self.deployments = SageMakerDeployments(backend)

    @property
    def backend(self) -> Backend:
        """What the ports share."""
        return self._backend

    def capabilities(self) -> Capabilities:
        """Return what the place declares."""
        return self._backend.capabilities

    def check(self, *, write: bool = False) -> tuple[Finding, ...]:
        """Ask AWS who we are, and what we may do."""
        return tuple(examine(self._backend, self.tracking, write=write))

    def close(self) -> None:
        """Close the connections."""
        self._backend.clients.close()
