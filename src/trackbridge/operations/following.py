"""Waiting for jobs, and reading logs as they are written: generators over the ports, with a cursor."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from trackbridge.domain.jobs import JobState, LogChunk
from trackbridge.errors import Exhausted, TimedOut, Transient
from trackbridge.operations.waiting import Pace
from trackbridge.ports.jobs import JobBackend

QUICK = Pace(wait_s_min=0.005, wait_s_max=1.0)
"""For jobs: an empty script ends within a tenth of a second, and its user waits for it."""

READS_FAILED_MAX = 20


def wait_for_job(
    job_id: str,
    jobs: JobBackend,
    *,
    timeout_s: float | None = None,
    pace: Pace = QUICK,
    on_state: Callable[[JobState], None] = lambda state: None,
) -> JobState:
    """Return a job once it has ended.

    Args:
        job_id: The job.
        jobs: Where it runs.
        timeout_s: How long to wait; None for as long as it takes.
        pace: How to wait.
        on_state: Told how the job stands whenever that was looked at.

    Raises:
        NotFound: There is no such job.
        TimedOut: It has not ended; it goes on.
    """
    started_s = pace.clock()
    while True:
        state = jobs.status(job_id)
        on_state(state)
        if state.status.is_final:
            return state
        if timeout_s is not None and pace.clock() - started_s >= timeout_s:
            raise TimedOut(
                f"the job has not ended within {timeout_s:g} s; it is {state.status.value}",
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
    cursor, last_s, failed = "", pace.clock(), 0
    while True:
        try:
            chunk = read(cursor)
        except (Transient, Exhausted) as error:
            failed += 1
            if failed >= READS_FAILED_MAX:
                raise
            if failed == 1:
                on_trouble(f"{error}; trying again")
            pace.wait(last_s)
            continue
        failed, cursor = 0, chunk.cursor
        if chunk.text:
            last_s = pace.clock()
            yield chunk.text
        if chunk.done:
            return
        if not chunk.text:
            if not goes_on():
                return
            pace.wait(last_s)
