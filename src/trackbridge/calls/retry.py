"""Repeat what was transient, within bounds of attempts and time."""

from __future__ import annotations

import math
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_exception_type

from trackbridge.calls.call import Attempt, Operation
from trackbridge.calls.policy import CallPolicy
from trackbridge.calls.world import World
from trackbridge.domain.secrets import redact
from trackbridge.errors import Exhausted, NotRunning, RateLimited, Transient

LOG = "trackbridge.calls"
"""The logger that is told of long waits."""
TOLD_AFTER_S = 1.0
"""A wait that ends later than this after its call began is told."""
_DOUBLINGS_MAX = 60  # beyond it, the float of a backoff would only overflow


def retry_transient(
    attempt: Attempt, operation: Operation, policy: CallPolicy, world: World, deadline_s: float
) -> Any:
    """Make attempts until one succeeds, fails for good, or the policy's bounds are reached.

    Only ``Transient`` is repeated; an ambiguous timeout too, because every port's write may be. The wait is
    the longer of a jittered exponential backoff and what the backend asked for.

    Raises:
        Exhausted: From the last error, with its hint.
    """
    started = world.clock_s()
    try:
        return attempt()  # as nearly all go; the rest of the machinery costs more than some calls
    except Transient as error:
        attempts = _after_first(error, attempt)

    def wait(state: RetryCallState) -> float:
        doublings = min(state.attempt_number - 1, _DOUBLINGS_MAX)
        backoff_s = min(policy.backoff_s_max, policy.backoff_s * 2.0**doublings)
        return max(backoff_s * world.rng.uniform(0.5, 1.0), _asked_s(state))

    def stop(state: RetryCallState) -> bool:
        is_late = world.clock_s() + state.upcoming_sleep > deadline_s
        return is_late or state.attempt_number >= _attempts_max(state, policy) or world.closing.is_set()

    def tell(state: RetryCallState) -> None:
        if world.clock_s() + state.upcoming_sleep - started > TOLD_AFTER_S:
            _tell(state, policy)

    def sleep(seconds: float) -> None:
        world.pause(seconds)

    def give_up(state: RetryCallState) -> Any:
        raise _exhausted(state, operation, world, world.clock_s() - started)

    retrying = Retrying(
        retry=retry_if_exception_type(Transient),
        wait=wait,
        stop=stop,
        before_sleep=tell,
        sleep=sleep,
        retry_error_callback=give_up,
    )
    return retrying(attempts)


def _after_first(error: Transient, attempt: Attempt) -> Attempt:
    """Return attempts of which the first was made, and failed."""
    failed: list[Transient] = [error]

    def next_attempt() -> Any:
        if failed:
            raise failed.pop()
        return attempt()

    return next_attempt


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _attempts_max(state: RetryCallState, policy: CallPolicy) -> int:
    if policy.not_running_attempts_max is None or not isinstance(_error(state), NotRunning):
        return policy.attempts_max
    return min(policy.attempts_max, policy.not_running_attempts_max)


def _tell(state: RetryCallState, policy: CallPolicy) -> None:
    """Say that a call takes longer, and why; programs hear it at the level INFO."""
    import logging  # it costs 5 ms, and is needed in bad weather alone

    error = _error(state)
    assert isinstance(error, Transient)
    logging.getLogger(LOG).info(
        "%s; trying again in %.0f s (%d of %d) ...",
        redact(error.message),
        max(1.0, state.upcoming_sleep),
        state.attempt_number + 1,
        _attempts_max(state, policy),
    )


def _asked_s(state: RetryCallState) -> float:
    error = _error(state)
    asked_s = error.retry_after_s if isinstance(error, RateLimited) else None
    return asked_s if asked_s is not None and math.isfinite(asked_s) else 0.0


def _exhausted(state: RetryCallState, operation: Operation, world: World, elapsed_s: float) -> Exhausted:
    error = _error(state)
    assert isinstance(error, Transient)  # nothing else is repeated
    why = "; closed meanwhile" if world.closing.is_set() else ""
    asked_s = _asked_s(state)
    asked = f"; the backend asks to wait {asked_s:g} s" if asked_s else ""
    attempts = "1 attempt" if state.attempt_number == 1 else f"{state.attempt_number} attempts"
    exhausted = Exhausted(
        f"{error.message} ({attempts} in {elapsed_s:.1f} s{asked}{why})",
        attempts=state.attempt_number,
        elapsed_s=elapsed_s,
        adapter=error.adapter or operation.adapter,
        operation=error.operation or operation.name,
        resource=error.resource,
        hint=error.hint,
    )
    exhausted.__cause__ = error
    return exhausted
