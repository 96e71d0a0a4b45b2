"""Threads that send several parts of a window at once.

They are daemons: a request that hangs never holds up the end of a program. Where no thread can be had (at the
end of a program, or at a limit of the system) the work is done in the caller's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Job, Result]):
    """How a job ended: with a result, or with an error of any kind."""

    job: Job
    result: Result | None
    error: BaseException | None


class Crew(Generic[Job, Result]):
    """Does jobs, as many at once as are begun. One thread begins them and waits for them.

    Args:
        work: Does one job, on any thread.
    """

    def __init__(self, work: Callable[[Job], Result]) -> None:
        self._work = work
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._outcomes: SimpleQueue[Outcome[Job, Result]] = SimpleQueue()
        self._threads = 0
        self.busy = 0
        """Jobs that were begun and not waited for."""

    def begin(self, job: Job) -> None:
        """Begin a job."""
        self.busy += 1
        if self._threads < self.busy:
            self._threads += self._hire()
        if self._threads:
            self._jobs.put(job)
        else:
            self._do(job)

    def wait(self) -> Outcome[Job, Result]:
        """Wait until a job has ended."""
        outcome = self._outcomes.get()
        self.busy -= 1
        return outcome

    def close(self) -> None:
        """Let the threads end after what they are doing."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = 0

    def _hire(self) -> int:
        try:
            threading.Thread(target=self._serve, name="trackbridge-send", daemon=True).start()
        except RuntimeError:  # none to be had
            return 0
        return 1

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._do(job)
            del job

    def _do(self, job: Job) -> None:
        outcome: Outcome[Job, Result]
        try:
            outcome = Outcome(job, self._work(job), None)
        except BaseException as error:  # raised again by who waits, whatever it is
            outcome = Outcome(job, None, error)
        self._outcomes.put(outcome)
