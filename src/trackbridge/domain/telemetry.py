"""The schema of telemetry: what is known of an endpoint's requests, by which names, on every target.

=======================================  ==========  ===========  =====================================
metric of OpenTelemetry                  kind        unit         attributes
=======================================  ==========  ===========  =====================================
``trackbridge.endpoint.requests``        counter     {request}    ``trackbridge.outcome``
``trackbridge.endpoint.duration``        histogram   s            none
``trackbridge.endpoint.duration.p``      gauge       s            ``trackbridge.percent`` (50, 95, 99)
``trackbridge.endpoint.mirrored``        counter     {request}    none
``trackbridge.endpoint.captured``        counter     {payload}    none
``trackbridge.endpoint.queued``          gauge       {request}    none
``trackbridge.endpoint.instances``       gauge       {instance}   none
``trackbridge.endpoint.traffic``         gauge       %            none
=======================================  ==========  ===========  =====================================

The outcome is ``ok``, ``refused`` (the answer's status is 400 to 499) or ``error`` (500 and above, or no
answer). Counters and the histogram are deltas over the window that was read. The resource is the deployment:
``service.name`` is ``wine/v2``, ``trackbridge.model`` its model, ``trackbridge.target`` where it is. What a
target does not tell is left out.
"""

from __future__ import annotations

import msgspec

from trackbridge.domain.deployments import EndpointMetrics

LATENCY_BOUNDS_MS = (
    0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0,
    10000.0, 30000.0, 60000.0,
)  # fmt: skip
"""Upper bounds of the histograms that we count ourselves, in milliseconds; clouds have their own."""


class TelemetryPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One look at one deployment. ``time`` is its end, in milliseconds since 1970.

    ``metrics.window_s`` is how many seconds were summed up; ``model`` is the deployment's, ``target`` where
    the endpoint is, without credentials.
    """

    endpoint: str
    deployment: str
    model: str
    target: str
    time: int
    traffic_percent: int
    status: str
    metrics: EndpointMetrics

    @property
    def requests_per_s(self) -> float:
        """Requests a second, over the window."""
        return self.metrics.requests / max(1, self.metrics.window_s)

    @property
    def error_rate(self) -> float:
        """The share of requests that failed; 0 without requests."""
        return self.metrics.errors / self.metrics.requests if self.metrics.requests else 0.0


_COUNTS = ("requests", "errors", "refused", "mirrored", "queued", "instances", "captured")
_LATENCIES = ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms")


def run_metrics(point: TelemetryPoint) -> dict[str, float]:
    """Return a look as metrics of a run, by name: ``endpoint/wine/v2/requests`` and so on.

    What the target does not tell is left out.
    """
    named = {name: getattr(point.metrics, name) for name in (*_COUNTS, *_LATENCIES)}
    named |= {"error_rate": point.error_rate, "traffic_percent": point.traffic_percent}
    prefix = f"endpoint/{point.endpoint}/{point.deployment}"
    return {f"{prefix}/{name}": float(value) for name, value in named.items() if value is not None}
