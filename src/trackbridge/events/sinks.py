"""Sinks: where the figures of scoring servers go. Ours, and those of installed packages.

A package brings one by an entry point, and a server that finds the package tells it::

    [project.entry-points."trackbridge.telemetry_sinks"]
    warehouse = "my_package.telemetry:WarehouseSink"

A sink lives in a process of its own, as every subscriber (``docs/decisions/0014``): it may raise, hang, burn
the processor or crash, and no request is any slower for it. It is made there without arguments, and then
called with one window after the other; each call may take 30 seconds.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import msgspec

from trackbridge.domain.events import REQUESTS_SCORED, TEST, Event
from trackbridge.domain.serving import ScoredRequest, TelemetryWindow
from trackbridge.errors import ConfigError, Transient
from trackbridge.events.subscribers import OUR_SINKS, SINKS_GROUP, load_entry_point


@runtime_checkable
class TelemetrySink(Protocol):
    """Takes what scoring servers have counted.

    Whatever a method raises is counted and shown by ``bridge events list``; ``trackbridge.errors.Transient``
    asks for the same again later.
    """

    @abstractmethod
    def on_window(self, window: TelemetryWindow) -> None:
        """Take the figures of some seconds of one process; called about every ten seconds with requests."""

    @abstractmethod
    def on_request(self, request: ScoredRequest) -> None:
        """Take one request; called for the share that the setting ``telemetry_requests_percent`` says."""


TOLD_MAX = 1000
"""Of how many events that were taken in part the rest is told when they come again."""


class SinkSubscriber:
    """Hands the events of a scoring server to a sink; one with a method ``close`` is closed at the end."""

    def __init__(self, sink: TelemetrySink) -> None:
        self._sink = sink
        self._told: dict[str, int] = {}  # how many requests of an event that comes again were taken

    def __call__(self, event: Event) -> str:
        """Take one event of the kinds about requests, or that of ``bridge events test``."""
        if event.kind == REQUESTS_SCORED:
            about = {"name": event.subject, "model": event.data.get("model", "")}
            requests = event.data["requests"]
            begin = self._told.pop(event.event_id, 0)
            for number, fields in enumerate(requests[begin:], begin):
                request = msgspec.convert({**about, **fields}, ScoredRequest)
                try:
                    self._sink.on_request(request)
                except Transient:
                    self._remember(event.event_id, number)
                    raise
        else:
            self._sink.on_window(window_of(event))
        return "taken"

    def _remember(self, event_id: str, count: int) -> None:
        while len(self._told) >= TOLD_MAX:  # events that were given up
            self._told.pop(next(iter(self._told)))
        self._told[event_id] = count

    def close(self) -> None:
        """Let the sink send what it gathered."""
        close = getattr(self._sink, "close", None)
        if close is not None:
            close()


def window_of(event: Event) -> TelemetryWindow:
    """Return the window that an event tells; one without requests for that of ``bridge events test``."""
    fields = _NO_REQUESTS if event.kind == TEST else event.data
    return msgspec.convert({**fields, "name": event.subject, "time_ms": event.time}, TelemetryWindow)


_NO_REQUESTS: dict[str, Any] = {
    "model": "",
    "window_s": 10.0,
    **dict.fromkeys(("requests", "errors", "refused"), 0),
    **dict.fromkeys(("latency_p50_ms", "latency_p95_ms", "latency_p99_ms"), 0.0),
    **dict.fromkeys(("latency_sum_ms", "latency_min_ms", "latency_max_ms"), 0.0),
    "latency_counts": [],
    "statuses": {},
}


def load_sink(name: str) -> SinkSubscriber:
    """Make a sink, and return the subscriber that serves it.

    Raises:
        ConfigError: There is none of the name, or it is no ``TelemetrySink``; or its settings are wrong.
        MissingExtra: What it needs is not installed.
    """
    place = OUR_SINKS.get(name)
    made: Callable[[], Any]
    if place is None:
        made = load_entry_point(name, SINKS_GROUP)
    else:
        module, _, attribute = place.partition(":")
        made = getattr(import_module(module), attribute)
    sink = made()
    if not isinstance(sink, TelemetrySink):
        raise ConfigError(
            f"the telemetry sink {name!r} has no methods on_window and on_request",
            hint="see trackbridge.serving.TelemetrySink",
        )
    return SinkSubscriber(sink)
