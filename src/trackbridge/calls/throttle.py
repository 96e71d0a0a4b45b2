"""A rate that a backend teaches us: off until it first says that it is too much.

After the first ``RateLimited`` calls are spaced evenly. The rate is halved for each further refusal (once a
second at most, since calls under way are refused together) and grows by a constant for each second without
one: additive increase, multiplicative decrease, as in TCP. When it has outgrown what was seen before the
first refusal four times over, it is off again.
"""

from __future__ import annotations

import math
import threading
from collections import deque

from trackbridge.calls.world import World
from trackbridge.errors import BridgeError, RateLimited, Unavailable

DECREASE_FACTOR = 0.5
INCREASE_PER_S_SHARE = 0.05  # of the rate at the first refusal, each second
INCREASE_PER_S_MIN = 0.5  # for a refusal that came when hardly any calls had been made
OFF_AGAIN_FACTOR = 4.0
DECREASE_INTERVAL_S = 1.0
_RECENT_CALLS_MAX = 200


class Throttle:
    """The pace of one backend, shared by all ports and threads that talk to it."""

    def __init__(self, world: World, *, rate_per_s_min: float = 0.1) -> None:
        self._world = world
        self._rate_min = rate_per_s_min
        self._lock = threading.Lock()
        self._recent: deque[float] = deque(maxlen=_RECENT_CALLS_MAX)
        self._rate: float | None = None
        self._rate_before = 0.0
        self._rate_changed_s = 0.0
        self._decreased_s = -math.inf
        self._next_s = 0.0

    @property
    def rate_per_s(self) -> float | None:
        """Calls per second that are let through now; None is without bound."""
        return self._rate

    def take_turn(self, deadline_s: float) -> None:
        """Wait until the backend may be called.

        Raises:
            RateLimited: That would be after the deadline; nothing was reserved.
        """
        now = self._world.clock_s()
        with self._lock:
            self._recent.append(now)
            self._grow(now)
            if self._rate is None:
                return
            turn_s = max(now, self._next_s)
            if turn_s > deadline_s:
                raise RateLimited(
                    "the rate that the backend allows leaves no room for this call before its deadline",
                    retry_after_s=turn_s - now,
                )
            self._next_s = turn_s + 1.0 / self._rate
        self._world.pause(turn_s - now)

    def learn(self, error: BridgeError) -> None:
        """Slow down for a refusal. ``Unavailable`` counts only where the backend has limited us before.

        Any other error says nothing about the pace.
        """
        is_limit = isinstance(error, RateLimited)
        if not is_limit and not (self._rate is not None and isinstance(error, Unavailable)):
            return
        now = self._world.clock_s()
        with self._lock:
            asked_s = (error.retry_after_s or 0.0) if isinstance(error, RateLimited) else 0.0
            self._decrease(now)
            if math.isfinite(asked_s):
                self._next_s = max(self._next_s, now + asked_s)

    def _decrease(self, now: float) -> None:
        if now - self._decreased_s < DECREASE_INTERVAL_S:
            return
        if self._rate is None:
            self._rate_before = self._rate = max(self._seen_rate(now), self._rate_min)
        self._rate = max(self._rate * DECREASE_FACTOR, self._rate_min)
        self._decreased_s = self._rate_changed_s = now

    def _grow(self, now: float) -> None:
        if self._rate is None:
            return
        grown_for_s = max(0.0, now - self._rate_changed_s)
        self._rate += max(self._rate_before * INCREASE_PER_S_SHARE, INCREASE_PER_S_MIN) * grown_for_s
        self._rate_changed_s = now
        if self._rate > self._rate_before * OFF_AGAIN_FACTOR:
            self._rate = None

    def _seen_rate(self, now: float) -> float:
        """Return the calls per second over the last of them, at least over a second."""
        seen_for_s = now - self._recent[0] if self._recent else 0.0
        return len(self._recent) / max(seen_for_s, 1.0)
