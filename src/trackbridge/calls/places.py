"""How many calls of one backend may be under way at once: without bound until the first trouble.

A call that fails for a ``Transient`` reason halves the number of those that were under way (once a second at
most, since calls under way fail together); each that succeeds adds its share of one. When the number has
outgrown what was seen before the first trouble twice over, there is no bound again. The pace of calls is
``throttle``'s; this is what keeps eight of them from waiting at a server that has stopped answering.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trackbridge.calls.world import World
from trackbridge.errors import Transient, Unavailable

DECREASE_FACTOR = 0.5
DECREASE_INTERVAL_S = 1.0
OFF_AGAIN_FACTOR = 2.0
_LOOK_S = 0.1  # how soon a call that waits for a place sees that the adapter was closed


class Places:
    """The places of one backend, shared by all ports and threads that talk to it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._freed = threading.Condition()
        self._under_way = 0
        self._most: float | None = None
        self._most_before = 0.0
        self._decreased_s = -math.inf

    @property
    def most(self) -> float | None:
        """Calls that may be under way now; None is without bound."""
        return self._most

    @contextmanager
    def taken(self, deadline_s: float) -> Iterator[None]:
        """Wait for a place, hold it for the block, and learn from how that ends.

        Raises:
            Unavailable: None was free before the deadline; the block was not entered.
        """
        self._take(deadline_s)
        try:
            yield
        except Transient:
            self._give_back(self._decrease)
            raise
        except BaseException:  # says nothing about the load
            self._give_back(lambda: None)
            raise
        else:
            self._give_back(self._grow)

    def _take(self, deadline_s: float) -> None:
        with self._freed:
            while self._most is not None and self._under_way >= max(1, int(self._most)):
                if self._world.clock_s() >= deadline_s or self._world.closing.is_set():
                    raise Unavailable("other calls that are under way leave no place for this one")
                self._freed.wait(_LOOK_S)
            self._under_way += 1

    def _give_back(self, learn: Callable[[], None]) -> None:
        with self._freed:
            learn()
            self._under_way -= 1
            self._freed.notify_all()

    def _decrease(self) -> None:
        now = self._world.clock_s()
        if now - self._decreased_s < DECREASE_INTERVAL_S:
            return
        if self._most is None:
            self._most_before = self._most = float(self._under_way)
        self._most = max(1.0, self._most * DECREASE_FACTOR)
        self._decreased_s = now

    def _grow(self) -> None:
        if self._most is None:
            return
        self._most += 1.0 / self._most
        if self._most > self._most_before * OFF_AGAIN_FACTOR:
            self._most = None
