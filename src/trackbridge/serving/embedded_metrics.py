"""The sink ``cloudwatch``: one line of CloudWatch's embedded metric format on stdout for each window.

What a container writes to stdout goes to CloudWatch Logs, which makes metrics of such lines by itself: on
SageMaker, on ECS and EKS and with CloudWatch's agent. See
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from trackbridge.domain.serving import TelemetryWindow

SINK = "cloudwatch"
NAMESPACE = "trackbridge/serving"
STDOUT = 1
UNITS = {
    "Requests": "Count",
    "Errors": "Count",
    "Refused": "Count",
    "Rows": "Count",
    "Captured": "Count",
    "QueuedMax": "Count",
    "ScoringTime": "Milliseconds",
    "LatencyP50": "Milliseconds",
    "LatencyP95": "Milliseconds",
    "LatencyP99": "Milliseconds",
    "LatencyMax": "Milliseconds",
}
"""Unit of each metric; CloudWatch computes no percentiles of its own from sums."""


def document(window: TelemetryWindow) -> dict[str, Any]:
    """Return the document of a window, with the dimensions ``Name`` and, where it is known, ``Model``."""
    dimensions = {"Name": window.name, **({"Model": window.model} if window.model else {})}
    metrics = [{"Name": name, "Unit": unit} for name, unit in UNITS.items()]
    directive = {"Namespace": NAMESPACE, "Dimensions": [list(dimensions)], "Metrics": metrics}
    return {
        "_aws": {"Timestamp": window.time_ms, "CloudWatchMetrics": [directive]},
        **dimensions,
        "Requests": window.requests,
        "Errors": window.errors,
        "Refused": window.refused,
        "Rows": window.rows,
        "Captured": window.captured,
        "QueuedMax": window.queued_max,
        "ScoringTime": window.scoring_ms,
        "LatencyP50": window.latency_p50_ms,
        "LatencyP95": window.latency_p95_ms,
        "LatencyP99": window.latency_p99_ms,
        "LatencyMax": window.latency_max_ms,
        "WindowS": window.window_s,
        "Statuses": window.statuses,
    }


def write(window: TelemetryWindow) -> None:
    """Write the line, whole or not at all: several processes share the descriptor."""
    line = msgspec.json.encode(document(window)) + b"\n"
    try:
        os.write(STDOUT, line)
    except OSError:
        return  # nobody listens any more; the server goes on
