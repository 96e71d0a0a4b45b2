"""How hard to try."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPolicy:
    """Bounds of one call.

    Args:
        attempts_max: Attempts at most, the first included.
        elapsed_s_max: Seconds at most from the start of the call to the end of its last attempt. Waits are
            never begun that would end later; a running attempt is cut off only where ``timeout_s`` is set.
        backoff_s: Longest wait after the first failed attempt; it doubles with each, and is jittered.
        backoff_s_max: Bound of that doubling. A backend's ``Retry-After`` may ask for more.
        timeout_s: Seconds at most for one attempt, which then runs on another thread; None runs it inline.
        rate_per_s_min: The adaptive rate never falls below this many calls a second.
    """

    attempts_max: int = 6
    elapsed_s_max: float = 120.0
    backoff_s: float = 0.5
    backoff_s_max: float = 30.0
    timeout_s: float | None = None
    rate_per_s_min: float = 0.1
