"""What every attempt reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trackbridge.calls.call import Attempt, Operation
from trackbridge.calls.world import World
from trackbridge.errors import BridgeError, RateLimited


@dataclass(frozen=True, slots=True, kw_only=True)
class CallObservation:
    """One attempt, after its end. ``attempt`` counts from 1; 0 is a call that was refused before any.

    ``error`` is the class name of what was raised, None for success. ``elapsed_s`` is the attempt's
    time with its wait for the throttle, without waits between attempts.
    """

    adapter: str
    operation: str
    attempt: int
    elapsed_s: float
    error: str | None = None
    retry_after_s: float | None = None


Observer = Callable[[CallObservation], None]
"""Called on the thread of the call. What it raises reaches the caller as it is: a bug of ours must show."""


class Observation:
    """The attempts of one call, counted and reported."""

    __slots__ = ("_attempts", "_observer", "_operation", "_world")

    def __init__(self, operation: Operation, observer: Observer | None, world: World) -> None:
        self._operation = operation
        self._observer = observer
        self._world = world
        self._attempts = 0

    def refused(self, error: BridgeError) -> None:
        """Report a call that was refused before any attempt."""
        self._report(0.0, error)

    def watch(self, attempt: Attempt) -> Any:
        """Make one attempt and report how it ended."""
        self._attempts += 1
        if self._observer is None:
            return attempt()
        started = self._world.clock_s()
        try:
            result = attempt()
        except BaseException as error:
            self._report(self._world.clock_s() - started, error)
            raise
        self._report(self._world.clock_s() - started, None)
        return result

    def _report(self, elapsed_s: float, error: BaseException | None) -> None:
        if self._observer is None:
            return
        self._observer(
            CallObservation(
                adapter=self._operation.adapter,
                operation=self._operation.name,
                attempt=self._attempts,
                elapsed_s=elapsed_s,
                error=type(error).__name__ if error is not None else None,
                retry_after_s=error.retry_after_s if isinstance(error, RateLimited) else None,
            )
        )
