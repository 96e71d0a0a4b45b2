"""``publish``, for those to whom things happen: nearly free where nobody subscribed."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trackbridge.calls.observe import CallObservation, Observer
    from trackbridge.events.bus import Bus

LOCK_WAIT_S = 1.0

_wanted: frozenset[str] | None = None  # kinds that somebody subscribed to; None: not looked yet
_bus: Bus | None = None
_opening = threading.Lock()


def publish(
    kind: str,
    *,
    subject: str,
    source: str = "",
    data: Mapping[str, Any] | None = None,
    time_ms: int | None = None,
) -> None:
    """Tell the subscribers that something happened. Never waits for them, and never raises.

    Args:
        kind: One of ``trackbridge.domain.events.KINDS``.
        subject: What it is about: a run id, ``models:/wine/3``, an endpoint's name.
        source: Where it happened: a tracking URI without credentials.
        data: What can be written as JSON, without secrets. ``start_time`` and ``end_time``, in milliseconds
            since 1970, make a span of it where OpenTelemetry is on.
        time_ms: When, in milliseconds since 1970; by default now.
    """
    if _wanted is not None and kind not in _wanted:
        return
    bus = _open()
    if bus is None or _wanted is None or kind not in _wanted:
        return
    from trackbridge.events import messages

    try:
        event = messages.new_event(
            kind, subject=subject, source=source, data=data, time_ms=time_ms or time.time_ns() // 1_000_000
        )
        line = messages.encode(messages.Message(event=event))
    except messages.UNENCODABLE:  # values from anywhere, such as text that is no Unicode
        bus.drop()
        return
    bus.send(line)


def call_observer() -> Observer | None:
    """Return what is to be told of every call of a backend; None unless OpenTelemetry is on.

    It never waits and never raises.
    """
    from trackbridge.errors import BridgeError
    from trackbridge.resolve.config import Settings

    try:
        is_on = Settings().value("opentelemetry")
    except BridgeError:  # whoever asks for settings in earnest is told
        return None
    return _observe if is_on else None


def _observe(observation: CallObservation) -> None:
    from trackbridge.events.messages import Message, encode

    bus = _open()
    if bus is not None:
        bus.send(encode(Message(call=observation)))


def _open() -> Bus | None:
    """Return the bus; None where nobody subscribed, or the settings are wrong (``bridge doctor`` tells)."""
    global _bus, _wanted
    if _wanted is not None:
        return _bus
    if not _opening.acquire(timeout=LOCK_WAIT_S):
        return None
    try:
        if _wanted is None:
            _wanted, _bus = _look()
            atexit.register(_close)
        return _bus
    finally:
        _opening.release()


def _look() -> tuple[frozenset[str], Bus | None]:
    from trackbridge.domain.events import KINDS
    from trackbridge.errors import BridgeError
    from trackbridge.events.subscribers import read_subscribers
    from trackbridge.resolve.config import Settings

    try:
        settings = Settings()
        subscribers = [item for item in read_subscribers(settings) if item.problem is None]
        if not subscribers:
            return frozenset(), None
        from trackbridge.events.bus import Bus
        from trackbridge.events.store import events_folder

        wanted = frozenset(kind for kind in KINDS if any(item.wants(kind) for item in subscribers))
        return wanted, Bus(events_folder(settings.around), settings.around.cwd)
    except (BridgeError, OSError, ValueError):
        return frozenset(), None


def _close() -> None:
    if _bus is not None:
        _bus.close()


def _forget() -> None:
    """Look for subscribers anew at the next event."""
    global _bus, _wanted
    _close()
    atexit.unregister(_close)
    _bus = _wanted = None


def _renew_in_fork() -> None:
    """A fork has its own dispatcher; who subscribed stays known."""
    global _bus, _opening
    _opening = threading.Lock()
    if _bus is not None:
        _bus = _bus.renewed()


os.register_at_fork(after_in_child=_renew_in_fork)
