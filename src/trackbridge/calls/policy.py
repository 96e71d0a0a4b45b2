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
        not_running_attempts_max: Attempts at most where nothing listens at an address of this machine; None
            for as many as of any other call.
    """

    attempts_max: int = 6
    elapsed_s_max: float = 120.0
    backoff_s: float = 0.5
    backoff_s_max: float = 30.0
    timeout_s: float | None = None
    rate_per_s_min: float = 0.1
    not_running_attempts_max: int | None = None

    @classmethod
    def for_waiting_people(cls, elapsed_s_max: float) -> CallPolicy:
        """Return a policy for calls that somebody waits for.

        A server of this machine that does not run is given up after one more look: whoever asked can start
        it, and asks again.
        """
        return cls(elapsed_s_max=elapsed_s_max, not_running_attempts_max=2)
