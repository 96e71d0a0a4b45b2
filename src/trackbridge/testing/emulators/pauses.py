"""Waiting on an emulated cloud's own clock, for life cycles that run in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Pauses:
    """Waits that can be cut short: by ``end`` for good, by ``wake`` for one look at what has changed.

    Args:
        later: The cloud's: calls a function some seconds of a life cycle from now.
    """

    def __init__(self, later: Callable[[float, Callable[[], None]], None]) -> None:
        self._later = later
        self._changed = threading.Condition()
        self.is_ended = False

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait; returns False when it ended before its time, because of ``end`` or of the condition."""
        due = threading.Event()

        def ring() -> None:
            due.set()
            self.wake()

        self._later(seconds, ring)
        with self._changed:
            self._changed.wait_for(lambda: due.is_set() or self.is_ended or until())
        return due.is_set() and not self.is_ended and not until()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, which is looked at with every ``wake``; or until ``end``."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_ended or condition())

    def wake(self) -> None:
        """Let the waits look at their conditions again."""
        with self._changed:
            self._changed.notify_all()

    def end(self) -> None:
        """End every wait, now and later."""
        with self._changed:
            self.is_ended = True
            self._changed.notify_all()
