"""What a cloud has whichever it is: its clock, its lock, and the state of its modules."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from trackbridge.testing.emulators.clock import Clock

Part = TypeVar("Part")
AnyCloud = TypeVar("AnyCloud", bound="EmulatedCloud")


class EmulatedCloud:
    """A cloud.

    Args:
        pace: Seconds that a second of a life cycle takes; less is quicker.
    """

    def __init__(self, pace: float) -> None:
        self.pace = pace
        self.lock = threading.RLock()
        """Held during an operation, and while something that was due runs."""
        self.clock = Clock(self.lock)
        self.environment: dict[str, str] = {}
        """The variables by which a program finds this cloud: for what is started in it."""
        self._parts: dict[type[Any], Any] = {}
        self._callers = threading.local()

    def part(self: AnyCloud, kind: Callable[[AnyCloud], Part]) -> Part:
        """Return the state of a module: an instance of its class, made with this cloud when first asked for.

        A ``close()`` that it has is called by ``reset`` and ``close``.
        """
        with self.lock:
            if kind not in self._parts:
                self._parts[kind] = kind(self)  # type: ignore[index]  # a class
            part: Part = self._parts[kind]  # type: ignore[index]
            return part

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call a function with the lock held, some seconds of a life cycle from now."""
        self.clock.later(seconds * self.pace, function)

    def reset(self) -> None:
        """Make everything new. What runs is stopped."""
        self.clock.reset()
        self._close_parts()
        self.clock.reset()

    def close(self) -> None:
        """Stop the clock and everything that was started."""
        self.clock.close()
        self._close_parts()

    def _close_parts(self) -> None:
        with self.lock:
            parts, self._parts = self._parts, {}
        # Without the lock: a process that ends may want it to say so.
        for part in parts.values():
            close = getattr(part, "close", None)
            if close is not None:
                close()
