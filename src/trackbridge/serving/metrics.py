"""Prometheus metrics, right over all worker processes, also after some died.

prometheus_client keeps each process's numbers in files. Here they are kept by the worker's place instead of
its process id, so that a replaced worker counts on where the dead one stopped.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from trackbridge.domain.serving import ServingSettings
from trackbridge.serving.observers import Answered

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
LATENCY_BUCKETS_S = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0,
)  # fmt: skip


def use_folder(folder: Path) -> None:
    """Name the folder of the numbers; before prometheus_client is imported for the first time."""
    os.environ[FOLDER_VARIABLE] = str(folder)


def leave_folder() -> None:
    """Let later users of prometheus_client in this process keep their numbers to themselves."""
    os.environ.pop(FOLDER_VARIABLE, None)
    values = sys.modules.get("prometheus_client.values")
    if values is not None:  # it looks at the variable once, when it is imported
        values.ValueClass = values.MutexValue  # type: ignore[attr-defined]


def forget_gauges(folder: Path, place: int) -> None:
    """Forget what a dead worker had in flight; its counters stay."""
    for path in folder.glob(f"gauge_live*_{place}.db"):
        path.unlink(missing_ok=True)


class Metrics:
    """The numbers of one worker; ``text`` gives those of all."""

    def __init__(self, settings: ServingSettings, *, place: int) -> None:
        from prometheus_client import Counter, Gauge, Histogram, values

        values.ValueClass = values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call, unused-ignore]
        labels = {"name": settings.name, "model": settings.model}
        self._folder = os.environ[FOLDER_VARIABLE]

        def made(kind: Any, name: str, text: str, extra: tuple[str, ...] = (), **options: Any) -> Any:
            metric = kind(f"bridge_serving_{name}", text, [*labels, *extra], registry=None, **options)
            return metric if extra else metric.labels(**labels)

        self._labels = labels
        self._requests = made(Counter, "requests", "Answered requests of /invocations.", ("status",))
        self._refused = made(Counter, "connections_refused", "Connections cut off in the head.", ("status",))
        self._dropped = made(Counter, "capture_dropped", "Captured payloads that were lost.", ("reason",))
        self._captured = made(Counter, "captured", "Payloads that were captured.")
        self._latency = made(
            Histogram,
            "latency_seconds",
            "From the head of a request to its answer.",
            buckets=LATENCY_BUCKETS_S,
        )
        self.in_flight = made(Gauge, "in_flight", "Requests in work.", multiprocess_mode="livesum")
        self.queue = made(Gauge, "queue", "Requests that wait for the model.", multiprocess_mode="livesum")
        self._by_status: dict[int, Any] = {}
        self.captured_count = 0
        """Payloads that this process has written."""

    def on_answered(self, answered: Answered) -> None:
        """Count one answer."""
        status = answered.answer.status
        counter = self._by_status.get(status)
        if counter is None:
            counter = self._by_status[status] = self._requests.labels(**self._labels, status=str(status))
        counter.inc()
        self._latency.observe(answered.duration_s)

    def on_refused(self, status: int) -> None:
        """Count a connection that never became a request."""
        self._refused.labels(**self._labels, status=str(status)).inc()

    def on_captured(self, count: int) -> None:
        """Count payloads that were written."""
        self.captured_count += count
        self._captured.inc(count)

    def on_dropped(self, reason: str, count: int) -> None:
        """Count payloads that were lost: ``full`` queue, ``write`` failed, larger than a file (``size``)."""
        self._dropped.labels(**self._labels, reason=reason).inc(count)

    def text(self) -> bytes:
        """Return the numbers of all workers in Prometheus' text format."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=self._folder)  # type: ignore[no-untyped-call, unused-ignore]
        return generate_latest(registry)
