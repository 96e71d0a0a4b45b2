"""What Prometheus is told: requests by route and status, how long they took, what waits in the journal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from trackbridge.delivery.dead_letters import DeadLetters

if TYPE_CHECKING:
    from trackbridge.gateway.gateway import Gateway

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATENCY_BUCKETS_S = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip


class Telemetry:
    """The numbers of one gateway.

    Args:
        gateway: Whose journal is looked into when somebody asks.
    """

    def __init__(self, gateway: Gateway) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = CollectorRegistry()
        self._requests = Counter(
            "bridge_gateway_requests",
            "Answered requests.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._latency = Histogram(
            "bridge_gateway_latency_seconds",
            "From the head of a request to the end of its answer.",
            ("route",),
            buckets=LATENCY_BUCKETS_S,
            registry=self._registry,
        )
        self._refused = Counter(
            "bridge_gateway_connections_refused",
            "Connections that were cut off before a request was whole.",
            ("status",),
            registry=self._registry,
        )
        self.in_flight = Gauge("bridge_gateway_in_flight", "Requests in work.", registry=self._registry)
        self.connections = Gauge("bridge_gateway_connections", "Open connections.", registry=self._registry)
        self.log_lines_dropped = Gauge(
            "bridge_gateway_access_log_dropped", "Lost lines of the access log.", registry=self._registry
        )
        self._registry.register(_Delivery(gateway))
        self._by_label: dict[tuple[str, str, int], tuple[Any, Any]] = {}
        self.requests = 0
        """How many requests were answered."""

    def on_answered(self, method: str, route: str, status: int, duration_s: float) -> None:
        """Count one answer; ``route`` is a pattern, so that there are only so many."""
        self.requests += 1
        found = self._by_label.get((method, route, status))
        if found is None:
            found = (self._requests.labels(method, route, str(status)), self._latency.labels(route))
            self._by_label[method, route, status] = found
        found[0].inc()
        found[1].observe(duration_s)

    def on_refused(self, status: int) -> None:
        """Count a connection that never became a request."""
        self._refused.labels(str(status)).inc()

    def text(self) -> bytes:
        """Return the numbers in Prometheus' text format; asks the journal's folder, so that it may wait."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)


class _Delivery:
    """Looks what waits, at each asking."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def collect(self) -> Iterator[Any]:
        """Return the numbers as they stand."""
        from prometheus_client.core import GaugeMetricFamily

        session = self._gateway.client.session
        backlog = GaugeMetricFamily(
            "bridge_gateway_journal_backlog",
            "Records of this gateway that a backend has still to get.",
            labels=("backend",),
        )
        for uri, count in session.pending().items():
            backlog.add_metric([uri], count)
        yield backlog
        counts = GaugeMetricFamily(
            "bridge_gateway_dead_letters",
            "Records that a backend has rejected, of everybody who shares the journal's folder.",
            labels=("backend",),
        )
        for uri, count in {
            **dict.fromkeys(session.destinations, 0),
            **DeadLetters(session.root).count(),
        }.items():
            counts.add_metric([uri], count)
        yield counts
