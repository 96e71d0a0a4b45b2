"""What every adapter must do, as tests. Bind a suite by a subclass with one fixture::

    from trackbridge.testing.contracts import ArtifactContract, CapabilitiesContract, TrackingContract

    class TestMyTracking(TrackingContract):
        @pytest.fixture
        def adapter(self, tmp_path):
            return open_adapter("mine://" + str(tmp_path), context=...)

The fixture returns an adapter that is opened, empty and not shared with another test; the suite closes it.
A feature that the adapter declares must work. One that it does not declare must raise ``Unsupported`` with
the declared reason, and the test is then reported as an expected failure; silently working is a failure.
"""

import pytest

# Before the suites are imported, so that a failing assert shows the values.
_SUITES = (
    "artifacts",
    "base",
    "capabilities",
    "deployments",
    "jobs",
    "registry",
    "signatures",
    "state_machine",
    "tracking",
)
_PARTS = ("base", "concurrency", "experiments", "hostile", "metrics", "runs", "search", "settings", "traces")
_REGISTRY_PARTS = ("base", "concurrency", "deletion", "history", "hostile", "labels", "models", "versions")
_JOB_PARTS = ("base", "data", "launchers", "life", "listing", "logs", "preview", "program", "refusals")
_DEPLOYMENT_PARTS = ("base", "changes", "plans", "requests")
for _name in (
    *_SUITES,
    *(f"deployments_{part}" for part in _DEPLOYMENT_PARTS),
    *(f"jobs_{part}" for part in _JOB_PARTS),
    *(f"tracking_{part}" for part in _PARTS),
    *(f"registry_{part}" for part in (*_REGISTRY_PARTS, "state_machine")),
):
    pytest.register_assert_rewrite(f"{__name__}.{_name}")

from trackbridge.testing.contracts.artifacts import ArtifactContract  # noqa: E402
from trackbridge.testing.contracts.base import Contract, requires  # noqa: E402
from trackbridge.testing.contracts.capabilities import CapabilitiesContract  # noqa: E402
from trackbridge.testing.contracts.deployments import DeploymentContract  # noqa: E402
from trackbridge.testing.contracts.jobs import JobContract  # noqa: E402
from trackbridge.testing.contracts.registry import RegistryContract  # noqa: E402
from trackbridge.testing.contracts.registry_state_machine import RegistryStateMachine  # noqa: E402
from trackbridge.testing.contracts.signatures import signature_differences  # noqa: E402
from trackbridge.testing.contracts.state_machine import TrackingStateMachine  # noqa: E402
from trackbridge.testing.contracts.tracking import TrackingContract  # noqa: E402

__all__ = [
    "ArtifactContract",
    "CapabilitiesContract",
    "Contract",
    "DeploymentContract",
    "JobContract",
    "RegistryContract",
    "RegistryStateMachine",
    "TrackingContract",
    "TrackingStateMachine",
    "requires",
    "signature_differences",
]
