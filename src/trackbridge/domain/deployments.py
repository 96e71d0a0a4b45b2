"""Endpoints that serve models: what is wanted, and what is there."""

from __future__ import annotations

from enum import Enum

import msgspec


class EndpointStatus(str, Enum):
    """State of an endpoint or of one of its deployments."""

    CREATING = "CREATING"
    READY = "READY"
    UPDATING = "UPDATING"
    FAILED = "FAILED"
    DELETING = "DELETING"


class Autoscale(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the number of instances, and the load per instance at which it grows."""

    instances_min: int
    instances_max: int
    requests_per_instance_target: float


class DeploymentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment of an endpoint, as wanted.

    ``traffic_percent`` is its share of live requests, ``mirror_percent`` the share of live requests whose
    copy it gets without answering, ``capture_percent`` the share whose payload is kept.
    """

    endpoint: str
    deployment: str
    model: str
    traffic_percent: int = 100
    mirror_percent: int = 0
    capture_percent: int = 0
    instance_type: str | None = None
    instance_count: int = 1
    autoscale: Autoscale | None = None
    image: str | None = None
    variables: dict[str, str] = msgspec.field(default_factory=dict)
    request_timeout_s: float = 60.0
    options: dict[str, str] = msgspec.field(default_factory=dict)


class DeploymentState(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment as it stands."""

    deployment: str
    model: str
    status: EndpointStatus
    traffic_percent: int = 0
    mirror_percent: int = 0
    instance_count: int | None = None
    reason: str = ""


class EndpointState(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as it stands."""

    endpoint: str
    status: EndpointStatus
    deployments: tuple[DeploymentState, ...] = ()
    url: str | None = None
    native_id: str | None = None


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A change under way. ``error`` is set once it failed."""

    operation_id: str
    done: bool
    error: str | None = None


class EndpointMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Telemetry of one deployment over a window; latencies in milliseconds."""

    deployment: str
    requests: int
    errors: int
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
