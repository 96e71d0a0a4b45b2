"""Ending a rollout from outside, also one that another process goes on with.

What is written to the ledger here makes that process stop at its next look, wherever it is; then its lock is
free, and nothing of it is under way any more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from trackbridge.domain.rollouts import Rollout, RolloutState
from trackbridge.errors import Conflict
from trackbridge.operations.applying import OnProgress
from trackbridge.operations.deploy import now_ms
from trackbridge.operations.model_source import ModelSource
from trackbridge.operations.opening import Opened
from trackbridge.operations.rollout.engine import Engine, OnRollout, say_nothing, show_nothing
from trackbridge.operations.rollout.ledger import TAKE_OVER_S_MAX, RolloutLedger
from trackbridge.operations.rollout.notes import note_on_version, publish_ending
from trackbridge.operations.waiting import Pace

_ATTEMPTS_MAX = 20


def abort_rollout(
    rollout: Rollout,
    place: Opened,
    *,
    ledger: RolloutLedger,
    models: ModelSource,
    user: str = "",
    why: str = "",
    on_progress: OnRollout = say_nothing,
    on_change: OnProgress = show_nothing,
    pace: Pace | None = None,
    clock_ms: Callable[[], int] = now_ms,
) -> Rollout:
    """Give the traffic back and end a rollout; an endpoint that somebody else has changed is left as it is.

    Args:
        rollout: As the ledger has it.
        place: Where it goes on: its ``target``.
        ledger: Where it is written down.
        models: Where the model is registered.
        user: Who ends it.
        why: Why.
        on_progress: Told what happens.
        on_change: Told about each change of the endpoint.
        pace: How to wait.
        clock_ms: The time, in milliseconds since 1970.

    Raises:
        Conflict: It is over already.
        Locked: The process that goes on with it does not stop.
        BridgeError: It cannot go back now; ``resume_rollout`` tries again.
    """
    reason = _reason("aborted", user, why)
    stopping = ledger.get(rollout.name)
    if stopping.state is not RolloutState.ROLLING_BACK or stopping.waits_for:
        reason = f"{stopping.reason}; {reason}" if stopping.reason else reason
        _write(ledger, rollout.name, state=RolloutState.ROLLING_BACK, reason=reason, waits_for="")
    with ledger.going_on(rollout.target, rollout.endpoint, wait_s=TAKE_OVER_S_MAX):
        current = ledger.get(rollout.name)
        if current.state.is_final:
            return current
        engine = Engine(current, ledger, place, models, on_progress, on_change, pace or Pace(), clock_ms)
        engine.leaves_foreign = True
        return engine.run()


@contextlib.contextmanager
def ended_rollout(
    ledger: RolloutLedger, place: Opened, endpoint: str, *, models: ModelSource, reason: str
) -> Iterator[Rollout | None]:
    """End the rollout of an endpoint, if there is one, and keep others from beginning one meanwhile.

    Nothing of the endpoint is changed here: that is for who ends it to do, within the block.

    Args:
        ledger: Where rollouts are written down.
        place: Where the endpoint is.
        endpoint: Its name.
        models: Where the model is registered.
        reason: Why it ends: what is done to the endpoint instead, and by whom.

    Raises:
        Locked: The process that goes on with it does not stop.
    """
    rollout = ledger.unfinished(place.uri, endpoint)
    if rollout is not None:
        with contextlib.suppress(Conflict):  # it has just ended by itself
            rollout = _write(ledger, rollout.name, state=RolloutState.ENDED, reason=reason, waits_for="")
            problem = note_on_version(rollout, models)
            if problem:
                rollout = ledger.write(msgspec.structs.replace(rollout, problems=(problem,)), problem)
            publish_ending(rollout)
    with ledger.going_on(place.uri, endpoint, wait_s=TAKE_OVER_S_MAX):
        yield rollout


def _reason(what: str, user: str, why: str) -> str:
    return what + (f" by {user}" if user else "") + (f": {why}" if why else "")


def _write(ledger: RolloutLedger, name: str, **fields: Any) -> Rollout:
    """Write to a rollout that another process may be going on with.

    Raises:
        Conflict: It is over already, or never stands still.
    """
    for _ in range(_ATTEMPTS_MAX):
        rollout = ledger.get(name)
        if rollout.state.is_final:
            raise Conflict(
                f"the rollout {name} is over: {rollout.state.value}",
                operation="rollout",
                hint=f"bridge endpoints rollback {rollout.endpoint} goes back to how it stood before",
            )
        following = msgspec.structs.replace(rollout, update_time=now_ms(), **fields)
        with contextlib.suppress(Conflict):  # the other process has just come further
            return ledger.write(following, str(fields["reason"]))
    raise Conflict(f"the rollout {name} never stands still", operation="rollout", hint="try again")
