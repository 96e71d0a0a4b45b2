"""Endpoints that serve models: what is wanted, and what is there."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import msgspec

from trackbridge.errors import InvalidInput


class EndpointStatus(str, Enum):
    """State of an endpoint or of one of its deployments."""

    CREATING = "CREATING"
    READY = "READY"
    UPDATING = "UPDATING"
    FAILED = "FAILED"
    DELETING = "DELETING"


class Serving(str, Enum):
    """How requests are answered: at once by machines that are kept, at once by machines that come and go,
    from a queue into files, or file by file on request."""

    REALTIME = "realtime"
    SERVERLESS = "serverless"
    ASYNCHRONOUS = "asynchronous"
    BATCH = "batch"


class Authentication(str, Enum):
    """What a caller of an endpoint shows: a fixed key, a token that ends, or who the cloud says it is."""

    KEY = "key"
    TOKEN = "token"
    IDENTITY = "identity"


class Autoscale(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the number of instances, and the load per instance at which it grows."""

    instances_min: int
    instances_max: int
    requests_per_instance_target: float


class DeploymentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment of an endpoint, as wanted.

    ``model`` names one version for good (``models:/wine/3``), ``model_source`` is where its payload lies and
    ``model_digest`` the digest of its content. ``traffic_percent`` is the share of live requests,
    ``mirror_percent`` the share of live requests whose copy it gets without answering, ``capture_percent``
    the share whose payload is kept. The endpoint's other deployments share the rest of the traffic as they
    share it now.

    ``memory_mib`` is the memory of a serverless deployment, in MiB; ``concurrency_max`` how many requests are
    answered at once, by one machine or by the whole of a serverless deployment. ``authentication`` None is
    the target's usual one. ``image`` is a container's image, ``environment`` one that the platform has a name
    for. ``detailed_metrics`` asks for figures that the platform bills apart (Application Insights of Azure,
    enhanced metrics of SageMaker). ``alarms`` are the platform's own alarms that undo a change while it is
    made. ``options`` are the target's own.
    """

    endpoint: str
    deployment: str
    model: str
    model_source: str = ""
    model_digest: str = ""
    traffic_percent: int = 100
    mirror_percent: int = 0
    capture_percent: int = 0
    instance_type: str | None = None
    instance_count: int = 1
    autoscale: Autoscale | None = None
    serving: Serving = Serving.REALTIME
    memory_mib: int | None = None
    concurrency_max: int | None = None
    authentication: Authentication | None = None
    image: str | None = None
    environment: str | None = None
    detailed_metrics: bool = False
    alarms: list[str] = msgspec.field(default_factory=list)
    variables: dict[str, str] = msgspec.field(default_factory=dict)
    request_timeout_s: float = 60.0
    options: dict[str, str] = msgspec.field(default_factory=dict)


class DeploymentState(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment as it stands. ``spec`` is what it was made from, as far as the target knows.

    ``time`` is since when it serves what it serves, in milliseconds since 1970, ``user`` who brought it; None
    and nothing where the target keeps no note of it (then its revisions may).
    """

    deployment: str
    model: str
    status: EndpointStatus
    traffic_percent: int = 0
    mirror_percent: int = 0
    instance_count: int | None = None
    reason: str = ""
    spec: DeploymentSpec | None = None
    time: int | None = None
    user: str = ""
    native_id: str | None = None


class EndpointState(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as it stands; ``deployments`` in order of name."""

    endpoint: str
    status: EndpointStatus
    deployments: tuple[DeploymentState, ...] = ()
    url: str | None = None
    reason: str = ""
    native_id: str | None = None

    @property
    def traffic(self) -> dict[str, int]:
        """The share of live requests of each deployment, in percent."""
        return {found.deployment: found.traffic_percent for found in self.deployments}

    def find(self, deployment: str) -> DeploymentState | None:
        """Return the deployment of this name, or None."""
        return next((found for found in self.deployments if found.deployment == deployment), None)


class EndpointRevision(msgspec.Struct, frozen=True, kw_only=True):
    """How an endpoint stood before an operation on it; rolling back returns there.

    ``number`` counts from 1, given by the target. ``deployments`` are their specs with their shares of the
    traffic at that time; none means that there was no endpoint. ``operation`` is what came after:
    ``deploy``, ``rollback`` or ``delete``.
    """

    endpoint: str
    deployments: tuple[DeploymentSpec, ...]
    operation: str
    user: str
    time: int
    why: str = ""
    number: int = 0


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A change under way. ``error`` is set once it failed."""

    operation_id: str
    done: bool
    error: str | None = None


class EndpointMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Telemetry of one deployment over a window; latencies in milliseconds, None without requests.

    ``errors`` are answers with a status of 500 and above, or none at all; ``refused`` are those from 400 to
    499. A model's own failure is an error, whatever status the platform wraps it in. ``mirrored`` counts
    copies of live requests, which are in none of the other figures. The rest is None where the platform does
    not tell it: ``queued`` requests that wait now, ``instances`` that serve now, ``captured`` payloads that
    were kept. ``latency_counts`` is a histogram: pairs of an upper bound in milliseconds (None: no bound) and
    how many requests took at most that long and longer than the bound before; empty where there is none.
    ``window_s`` is the window that was really summed up, in seconds; clouds count by minutes.
    """

    deployment: str
    requests: int
    errors: int
    refused: int = 0
    mirrored: int = 0
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    latency_counts: tuple[tuple[float | None, int], ...] = ()
    queued: int | None = None
    instances: int | None = None
    captured: int | None = None
    window_s: int = 0


class CapturedPayload(msgspec.Struct, frozen=True, kw_only=True):
    """One request whose payload was kept, with its answer.

    ``time`` is milliseconds since 1970. ``status`` is the answer's, None where the platform does not keep it.
    A body is None where it was not kept.
    """

    deployment: str
    request_id: str
    time: int
    content_type: str
    request: bytes | None
    response_content_type: str = ""
    response: bytes | None = None
    status: int | None = None


def shared_traffic(current: Mapping[str, int], deployment: str, percent: int) -> dict[str, int]:
    """Return the shares once a deployment has so many percent: the others share the rest as they do now.

    Shares are whole percents that add up to 100; what rounding leaves goes to the largest fractions. Others
    that have no traffic now share the rest evenly.

    Raises:
        InvalidInput: The percentage is not within 0 and 100, or nobody else could take the rest.
    """
    if not 0 <= percent <= 100:
        raise InvalidInput(f"a share of {percent} % of the traffic is not possible", hint="use 0 to 100")
    others = {name: share for name, share in sorted(current.items()) if name != deployment}
    rest = 100 - percent
    if not others:
        if rest:
            raise InvalidInput(
                f"{deployment!r} is the endpoint's only deployment that serves, and nobody could take "
                f"the other {rest} %",
                hint="leave the share of the traffic out, or deploy with 100 %",
            )
        return {deployment: 100}
    weights = others if any(others.values()) else dict.fromkeys(others, 1)
    exact = {name: rest * weight / sum(weights.values()) for name, weight in weights.items()}
    shares = {name: int(share) for name, share in exact.items()}
    by_fraction = sorted(exact, key=lambda name: (shares[name] - exact[name], name))
    for name in by_fraction[: rest - sum(shares.values())]:
        shares[name] += 1
    return {**shares, deployment: percent}
