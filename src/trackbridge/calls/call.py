"""One call of a port's method, and which methods change nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.deployments import DeploymentTarget
from trackbridge.ports.jobs import JobBackend
from trackbridge.ports.registry import ModelRegistry
from trackbridge.ports.tracking import TrackingStore

PORTS: dict[type[Any], str] = {
    TrackingStore: "tracking",
    ArtifactStore: "artifacts",
    ModelRegistry: "registry",
    JobBackend: "jobs",
    DeploymentTarget: "deployments",
}
"""Every port, with its name in operations and on an adapter."""

READS = frozenset(
    {
        "tracking.get_run",
        "tracking.list_runs",
        "tracking.list_experiments",
        "tracking.metric_history",
        "tracking.search_runs",
        "tracking.get_logged_model",
        "tracking.list_logged_models",
        "tracking.get_trace",
        "tracking.list_traces",
        "artifacts.open",
        "artifacts.stat",
        "artifacts.list",
        "artifacts.presign",
        "registry.get_model",
        "registry.get_version",
        "registry.list_models",
        "registry.list_versions",
        "registry.list_changes",
        "jobs.check",
        "jobs.preview",
        "jobs.status",
        "jobs.read_logs",
        "jobs.list_jobs",
        "deployments.observe",
        "deployments.can_read",
        "deployments.check",
        "deployments.list_endpoints",
        "deployments.list_revisions",
        "deployments.plan",
        "deployments.plan_removal",
        "deployments.plan_traffic",
        "deployments.poll",
        "deployments.read_captured",
        "deployments.read_logs",
        "deployments.read_metrics",
    }
)
"""Operations that change nothing. One that is not here counts as a write: when it times out, it may have
been done."""

ONCE = frozenset({"deployments.invoke"})
"""Operations that are never repeated: whether that changes something is not ours to know."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a port as one adapter has it: what is the same for each of its calls."""

    adapter: str
    name: str
    feature: Feature | None

    @property
    def is_read(self) -> bool:
        """True when it changes nothing."""
        return self.name in READS

    @property
    def is_repeatable(self) -> bool:
        """True when an attempt that failed may be followed by another."""
        return self.name not in ONCE


Attempt = Callable[[], Any]


def operations_of(port: type[Any]) -> tuple[str, ...]:
    """Return the names of the methods of a port."""
    protocols = [
        kind for kind in port.__mro__ if kind not in (object, Protocol) and kind.__module__ != "typing"
    ]
    names = {name for kind in protocols for name, member in vars(kind).items() if callable(member)}
    return tuple(sorted(name for name in names if not name.startswith("_")))
