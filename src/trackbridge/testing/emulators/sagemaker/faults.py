"""Trouble on demand: throttling, and a service that fails before or after it did its work."""

from __future__ import annotations

from functools import partial

from trackbridge.testing.emulators import faults as shared
from trackbridge.testing.emulators.sagemaker.refusal import Refused


class Faults(shared.Faults):
    """What is to go wrong, by operation; names may hold ``*``, such as ``BatchPutMetrics`` or ``*Trial*``."""

    def throttle(
        self, operation: str = "*", *, times: int | None = None, per_second: float | None = None
    ) -> None:
        """Refuse calls as too many: the next ``times``, or those beyond a rate; with neither, all."""
        refused = partial(Refused, "ThrottlingException", "Rate exceeded")
        self._add(shared.Fault(operation, refused, times, per_second))

    def fail(
        self,
        operation: str = "*",
        *,
        times: int | None = 1,
        code: str = "InternalFailure",
        message: str = "The request processing has failed because of an unknown error.",
        status: int = 500,
        after: bool = False,
    ) -> None:
        """Let calls fail: before anything was done, or ``after``, when only the answer is lost."""
        self._add(shared.Fault(operation, partial(Refused, code, message, status), times, is_after=after))

    def check(self, operation: str, *, is_after: bool = False) -> None:
        """Raise what is to go wrong with a call.

        Raises:
            Refused: That.
        """
        self._check(operation, is_after=is_after)
