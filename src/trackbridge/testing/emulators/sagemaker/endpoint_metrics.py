"""What SageMaker writes to CloudWatch of each request to an endpoint (``AWS/SageMaker``)."""

from __future__ import annotations

from typing import NamedTuple

from trackbridge.testing.emulators.sagemaker.container_logs import put_metrics
from trackbridge.testing.emulators.sagemaker.core import Cloud

NAMESPACE = "AWS/SageMaker"
OVERHEAD_MICROSECONDS = 1_000.0
"""What SageMaker itself takes besides the model; here a constant."""


class Outcome(NamedTuple):
    """How a request ended: the model's status, and how long it took."""

    status: int
    latency_s: float


NOT_OF_QUEUES = frozenset(
    {"Invocations", "InvocationsPerInstance", "InvocationModelErrors", "OverheadLatency"}
)
"""What asynchronous endpoints do not publish (async-inference-monitor of the developer guide)."""


def count(
    cloud: Cloud,
    endpoint: str,
    variant: str,
    instances: int,
    outcome: Outcome,
    *,
    is_asynchronous: bool = False,
) -> None:
    """Write the metrics of one request. Both latencies are in microseconds."""
    dimensions = {"EndpointName": endpoint, "VariantName": variant}
    is_client, is_server = 400 <= outcome.status < 500, outcome.status >= 500
    points = [
        ("Invocations", 1.0, "None"),
        ("InvocationsPerInstance", 1.0 / max(1, instances), "None"),
        ("Invocation4XXErrors", float(is_client), "None"),
        ("Invocation5XXErrors", float(is_server), "None"),
        ("InvocationModelErrors", float(is_client or is_server), "None"),
        ("ModelLatency", outcome.latency_s * 1e6, "Microseconds"),
        ("OverheadLatency", OVERHEAD_MICROSECONDS, "Microseconds"),
    ]
    left_out = NOT_OF_QUEUES if is_asynchronous else frozenset()
    put_metrics(cloud, NAMESPACE, dimensions, [point for point in points if point[0] not in left_out])
