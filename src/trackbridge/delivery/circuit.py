"""A destination that takes nothing for long: told once when that is certain, and once when it is over."""

from __future__ import annotations

import time

from trackbridge.domain.secrets import redact

CIRCUIT_S = 30.0
"""How long nothing must have succeeded before that is told."""


class Circuit:
    """Watches the calls to one destination. While it is open the lane only probes, ever less often.

    Args:
        destination: The tracking URI.
    """

    def __init__(self, destination: str) -> None:
        self._destination = destination
        self._failing_since: float | None = None  # time.monotonic
        self.failing_since_ms: int | None = None
        """Since when nothing has succeeded, in milliseconds since 1970; None while all is well."""
        self.is_open = False

    def fail(self, problem: str) -> str:
        """Take account of a failure; return the problem in the words in which people are to see it."""
        now = time.monotonic()
        if self._failing_since is None or self.failing_since_ms is None:
            self._failing_since, self.failing_since_ms = now, time.time_ns() // 1_000_000
        if not self.is_open and now - self._failing_since >= CIRCUIT_S:
            self.is_open = True
            self._tell(
                f"{self._destination} has taken nothing since {self._since()}; it is tried ever less "
                f"often, and what is logged is kept: {problem}"
            )
        return f"nothing was taken since {self._since()}: {problem}" if self.is_open else problem

    def succeed(self) -> None:
        """Take account of a call that succeeded."""
        if self.is_open:
            self._tell(f"{self._destination} takes records again, which it had not since {self._since()}")
        self.is_open, self._failing_since, self.failing_since_ms = False, None, None

    def _since(self) -> str:
        return _clock((self.failing_since_ms or 0) // 1000)

    def _tell(self, line: str) -> None:
        import logging  # it costs 5 ms, and is needed in bad weather alone

        logging.getLogger("trackbridge.delivery").warning("%s: %s", _clock(time.time()), redact(line))


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
