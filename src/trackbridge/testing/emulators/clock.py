"""The emulator's clock, and what happens later by it."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable


class Clock:
    """Time as the emulated cloud has it: this machine's, moved on or stopped by a test.

    What is due runs with ``lock`` held: in a thread of the clock, or in ``advance`` when it is stopped.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._condition = threading.Condition(threading.Lock())
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._stopped_s: float | None = None
        self._ahead_s = 0.0
        self._closed = False
        self._thread: threading.Thread | None = None
        self.errors: list[BaseException] = []
        """What a function that was due raised: a fault of the emulator, told by ``raise_errors``."""

    def now_s(self) -> float:
        """Return the time, in seconds since 1970."""
        return (time.time() if self._stopped_s is None else self._stopped_s) + self._ahead_s

    def stop(self) -> None:
        """Let time stand still, but for ``advance``."""
        with self._condition:
            self._stopped_s = time.time() if self._stopped_s is None else self._stopped_s
            self._condition.notify_all()

    def go_on(self) -> None:
        """Let time run again."""
        with self._condition:
            if self._stopped_s is not None:
                self._ahead_s += self._stopped_s - time.time()
                self._stopped_s = None
            self._condition.notify_all()

    def advance(self, seconds: float) -> None:
        """Move on at once; what falls due on the way has run, in its order, when this returns."""
        with self._condition:
            was_running, end_s = self._stopped_s is None, self.now_s() + seconds
        self.stop()
        with self._lock:  # what the clock's thread runs has run
            while (entry := self._next(end_s)) is not None:
                self._ahead_s += max(0.0, entry[0] - self.now_s())
                self._run(entry[2])
        self._ahead_s += end_s - self.now_s()
        if was_running:
            self.go_on()

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call a function once, some seconds from now."""
        with self._condition:
            entry = (self.now_s() + seconds, next(self._order), function)
            heapq.heappush(self._due, entry)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._work, name="emulator-clock", daemon=True)
                self._thread.start()
            self._condition.notify_all()

    def reset(self) -> None:
        """Forget what was to happen, and run as this machine's clock does."""
        with self._condition:
            self._due.clear()
            self._stopped_s, self._ahead_s = None, 0.0
            self.errors.clear()

    def raise_errors(self) -> None:
        """Raise the first error of a function that was due."""
        if self.errors:
            raise self.errors.pop(0)

    def close(self) -> None:
        """Stop for good."""
        with self._condition:
            self._closed = True
            self._due.clear()
            self._condition.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _next(self, end_s: float) -> tuple[float, int, Callable[[], None]] | None:
        with self._condition:
            if not self._due or self._due[0][0] > end_s:
                return None
            return heapq.heappop(self._due)

    def _work(self) -> None:
        while True:
            with self._condition:
                while not self._closed and (wait_s := self._wait_s()) != 0.0:
                    self._condition.wait(wait_s)
                if self._closed:
                    return
            # The lock first: what is taken and has not run yet would be missed by ``advance`` and ``reset``.
            with self._lock:
                function = self._taken()
                if function is not None:
                    self._run(function)

    def _taken(self) -> Callable[[], None] | None:
        """Take what is due; None where somebody else has, or time was stopped meanwhile."""
        with self._condition:
            return heapq.heappop(self._due)[2] if self._wait_s() == 0.0 else None

    def _wait_s(self) -> float | None:
        """Return how long nothing is due: None for as long as nobody says otherwise."""
        if not self._due or self._stopped_s is not None:
            return None
        return max(0.0, self._due[0][0] - self.now_s())

    def _run(self, function: Callable[[], None]) -> None:
        try:
            with self._lock:
                function()
        except Exception as error:  # told by raise_errors: a clock that died would hide the rest
            self.errors.append(error)
