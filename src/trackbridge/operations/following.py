"""Waiting for jobs, and reading logs as they are written: generators over the ports, with a cursor.

A network that goes away for a while ends neither: what cannot be asked now is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from trackbridge.domain.jobs import JobState, LogChunk
from trackbridge.errors import Exhausted, TimedOut, Transient
from trackbridge.operations.waiting import Pace
from trackbridge.ports.jobs import JobBackend

QUICK = Pace(wait_s_min=0.005, wait_s_max=1.0)
"""For jobs of this machine: an empty script ends within a tenth of a second, and its user waits for it."""

UNHURRIED = Pace(wait_s_min=2.0, wait_s_max=30.0)
"""For jobs elsewhere: machines take minutes to come up, and many users ask the same service."""

FAILED_MAX = 20
"""How often in a row a backend may fail to answer; each time was tried for half a minute before."""


def pace_of(*, is_local: bool) -> Pace:
    """Return how often to look at a job."""
    return QUICK if is_local else UNHURRIED


class _Patience:
    """Lets a backend fail a number of times in a row; says so the first time."""

    def __init__(self, pace: Pace, on_trouble: Callable[[str], None]) -> None:
        self._pace = pace
        self._on_trouble = on_trouble
        self._failed = 0
        self._since_s = 0.0

    def bear(self, error: Transient | Exhausted) -> None:
        """Wait a little after a failure.

        Raises:
            BridgeError: The given one, when that has gone on for too long.
        """
        self._failed += 1
        if self._failed >= FAILED_MAX:
            raise error
        if self._failed == 1:
            self._since_s = self._pace.clock()
            self._on_trouble(f"{error}; trying again")
        self._pace.wait(self._since_s)

    def forget(self) -> None:
        """Begin anew: it has answered."""
        self._failed = 0


def wait_for_job(
    job_id: str,
    jobs: JobBackend,
    *,
    timeout_s: float | None = None,
    pace: Pace = QUICK,
    on_state: Callable[[JobState], None] = lambda state: None,
    on_trouble: Callable[[str], None] = lambda message: None,
) -> JobState:
    """Return a job once it has ended.

    Args:
        job_id: The job.
        jobs: Where it runs.
        timeout_s: How long to wait; None for as long as it takes.
        pace: How to wait.
        on_state: Told how the job stands whenever that was looked at.
        on_trouble: Told once that looking fails, and why.

    Raises:
        NotFound: There is no such job.
        TimedOut: It has not ended; it goes on.
    """
    started_s, patience = pace.clock(), _Patience(pace, on_trouble)
    state: JobState | None = None
    while True:
        try:
            state = jobs.status(job_id)
            patience.forget()
            on_state(state)
            if state.status.is_final:
                return state
        except (Transient, Exhausted) as error:
            patience.bear(error)
        if timeout_s is not None and pace.clock() - started_s >= timeout_s:
            stands = f"; it is {state.status.value}" if state is not None else ""
            raise TimedOut(
                f"the job has not ended within {timeout_s:g} s{stands}",
                ambiguous=False,
                operation="jobs.wait",
                resource=f"job {job_id}",
                hint=f"wait on with: bridge jobs wait {job_id}",
            )
        pace.wait(started_s)


def follow_log(
    read: Callable[[str], LogChunk],
    *,
    pace: Pace = QUICK,
    goes_on: Callable[[], bool] = lambda: True,
    on_trouble: Callable[[str], None] = lambda message: None,
) -> Iterator[str]:
    """Yield the pieces of a log as they come, until there will be no more.

    A backend that cannot be read now is asked again; only when that goes on it is an error.

    Args:
        read: Returns what comes after a cursor; "" is the beginning.
        pace: How to wait while nothing comes.
        goes_on: Asked before waiting: False ends it with what is there.
        on_trouble: Told once that reading fails, and why.
    """
    cursor, last_s, patience = "", pace.clock(), _Patience(pace, on_trouble)
    while True:
        try:
            chunk = read(cursor)
        except (Transient, Exhausted) as error:
            patience.bear(error)
            continue
        patience.forget()
        cursor = chunk.cursor
        if chunk.text:
            last_s = pace.clock()
            yield chunk.text
        if chunk.done:
            return
        if not chunk.text:
            if not goes_on():
                return
            pace.wait(last_s)
