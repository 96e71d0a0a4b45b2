"""Trouble on demand: throttling, and a service that fails before or after it did its work."""

from __future__ import annotations

from functools import partial

from trackbridge.testing.emulators import faults as shared
from trackbridge.testing.emulators.azureml.refusal import Refused

WORDS = {
    429: ("TooManyRequests", "The request is being throttled. Please try again later."),
    500: ("InternalServerError", "Received 500 from a service request"),
    503: ("ServiceUnavailable", "The service is temporarily unavailable."),
}


class Faults(shared.Faults):
    """What is to go wrong, by method and path without regard to case, such as ``PUT */models/*``."""

    def throttle(
        self,
        pattern: str = "*",
        *,
        times: int | None = None,
        per_second: float | None = None,
        retry_after_s: int = 1,
    ) -> None:
        """Answer 429 with ``Retry-After``: the next ``times``, or those beyond a rate; with neither, all."""
        refused = partial(Refused, 429, *WORDS[429], headers={"Retry-After": str(retry_after_s)})
        self._add(shared.Fault(pattern.lower(), refused, times, per_second))

    def fail(
        self,
        pattern: str = "*",
        *,
        times: int | None = 1,
        status: int = 500,
        code: str = "",
        after: bool = False,
    ) -> None:
        """Let requests fail: before anything was done, or ``after``, when only the answer is lost."""
        known, message = WORDS.get(status, ("UserError", "It was refused on demand."))
        refused = partial(Refused, status, code or known, message)
        self._add(shared.Fault(pattern.lower(), refused, times, is_after=after))

    def check(self, method: str, path: str, *, is_after: bool = False) -> None:
        """Raise what is to go wrong with a request.

        Raises:
            Refused: That.
        """
        self._check(f"{method} {path}".lower(), path.lower(), is_after=is_after)
