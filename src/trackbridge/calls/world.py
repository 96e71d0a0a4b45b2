"""Time, chance and waiting, in one place, so that tests need neither."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the pipeline takes from outside.

    Args:
        clock_s: Seconds that only grow.
        rng: Where the jitter comes from.
        closing: Set when the adapter is closed: every wait ends at once.
        wait: Waits so many seconds or until ``closing``; by default ``closing.wait``.
    """

    clock_s: Callable[[], float] = time.monotonic
    rng: random.Random = field(default_factory=random.Random)
    closing: threading.Event = field(default_factory=threading.Event)
    wait: Callable[[float], object] | None = None

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond ``closing``."""
        if seconds > 0:
            (self.wait or self.closing.wait)(seconds)
