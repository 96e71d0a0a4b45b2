"""Where models are served."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Protocol

from trackbridge.domain.deployments import (
    DeploymentSpec,
    EndpointMetrics,
    EndpointState,
    Operation,
)
from trackbridge.domain.jobs import LogChunk
from trackbridge.domain.plans import Change
from trackbridge.ports.capabilities import Feature, needs


class DeploymentTarget(Protocol):
    """Serves registered models at endpoints. Same rules as for TrackingStore: one attempt, repeatable.

    Mirroring, autoscaling and payload capture are asked for in the spec; where their features are not
    declared, ``plan`` raises Unsupported.
    """

    # Required.

    @abstractmethod
    def observe(self, endpoint: str) -> EndpointState | None:
        """Return the endpoint as it stands now, or None when there is none."""
        ...

    @abstractmethod
    def plan(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Change, ...]:
        """Return the changes that lead from the observed state to the spec; none when it holds.

        Pure: contacts nobody. The adapter alone knows what forces a replacement.

        Raises:
            Rejected: The target cannot hold the spec.
            Unsupported: The spec asks for a feature that is not declared.
        """
        ...

    @abstractmethod
    def apply(self, change: Change) -> Operation:
        """Start one change and return at once. Applying what holds already is a finished operation."""
        ...

    @abstractmethod
    def poll(self, operation: Operation) -> Operation:
        """Return how the operation stands.

        Raises:
            NotFound: There is no such operation.
        """
        ...

    @abstractmethod
    def delete(self, endpoint: str) -> Operation:
        """Start deleting an endpoint with all its deployments. Deleting an absent one succeeds."""
        ...

    # Optional.

    @needs(Feature.DEPLOYMENTS_TRAFFIC)
    @abstractmethod
    def set_traffic(self, endpoint: str, *, percent_by_deployment: Mapping[str, int]) -> Operation:
        """Share live requests among deployments; the percentages add up to 100.

        Raises:
            NotFound: There is no such endpoint or deployment.
        """
        ...

    @needs(Feature.DEPLOYMENTS_INVOKE)
    @abstractmethod
    def invoke(
        self, endpoint: str, payload: bytes, *, content_type: str, deployment: str | None = None
    ) -> bytes:
        """Send one request and return the answer's body; ``deployment`` bypasses the traffic rule.

        Raises:
            NotFound: There is no such endpoint or deployment.
            Rejected: The model refuses the payload.
        """
        ...

    @needs(Feature.DEPLOYMENTS_LOGS)
    @abstractmethod
    def read_logs(self, endpoint: str, deployment: str, *, cursor: str = "") -> LogChunk:
        """Return what a deployment logged after the cursor ("" is the beginning)."""
        ...

    @needs(Feature.DEPLOYMENTS_METRICS)
    @abstractmethod
    def read_metrics(self, endpoint: str, *, window_s: int) -> tuple[EndpointMetrics, ...]:
        """Return telemetry of each deployment over the last seconds."""
        ...
