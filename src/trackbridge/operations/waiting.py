"""Waiting for something that takes its time: seldom enough not to disturb, often enough not to be late."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

SHARE = 0.1
"""A wait is at most this share of the time waited so far: what took a minute may be seen 6 s late."""


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)  # nobody sets it; unlike a lock, Ctrl-C interrupts it


@dataclass(frozen=True, slots=True)
class Pace:
    """How waits are made: bounds in seconds, the share of the time waited so far, the clock, what waits."""

    wait_s_min: float = 0.02
    wait_s_max: float = 5.0
    share: float = SHARE
    clock: Callable[[], float] = field(default=time.monotonic)
    pause: Callable[[float], object] = field(default=_pause)

    def wait(self, since_s: float) -> None:
        """Wait a little, given when (by ``clock``) the waiting began, or something last happened."""
        waited_s = self.clock() - since_s
        self.pause(min(max(waited_s * self.share, self.wait_s_min), self.wait_s_max))


class Stop:
    """An event that a signal's handler may set.

    A handler runs between two steps of the main thread. Where that is about to wait for a ``threading.Event``
    it holds the event's lock, and ``set`` would wait for that lock for ever; a ``SimpleQueue`` may be
    interrupted by its own ``put``.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """End all waiting, now and later."""
        self._queue.put(None)

    def is_set(self) -> bool:
        """Tell whether it was set."""
        return not self._queue.empty()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it is set, or for so long in seconds; tell whether it is set."""
        try:
            self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return False
        self._queue.put(None)  # for whoever else waits
        return True
