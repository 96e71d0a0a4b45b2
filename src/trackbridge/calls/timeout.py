"""A hard limit on the time of one attempt, also for calls that have none of their own.

The attempt runs on a worker thread. When it does not end in time, the thread is left to itself and another
takes its place, because Python cannot stop a thread. Their number is bounded.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from trackbridge.calls.call import Attempt, Operation
from trackbridge.errors import TimedOut, Unavailable

ABANDONED_MAX = 16
LOOK_S = 1.0
"""How often a waiting caller looks up: Python can miss an interrupt that comes just before it waits."""


class _Job:
    """One attempt on its way through a worker."""

    __slots__ = ("attempt", "context", "done", "error", "result")

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.context = contextvars.copy_context()  # so that traces and log fields reach the thread
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.context.run(self.attempt)
        except BaseException as error:  # raised again in the caller's thread, whatever it is
            self.error = error
        finally:
            self.done.set()

    def outcome(self) -> Any:
        if self.error is None:
            return self.result
        try:
            raise self.error
        finally:
            self.error = None  # its traceback holds this frame, which holds the job


class _Worker:
    """A thread that runs one job after another until it is told to end."""

    def __init__(self, ended: Callable[[_Worker], None]) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._ended = ended
        self.thread = threading.Thread(target=self._work, name="trackbridge-call", daemon=True)
        self.thread.start()

    def submit(self, job: _Job | None) -> None:
        self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            del job
        self._ended(self)


class _Pool:
    """The threads of one process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.idle: list[_Worker] = []
        self.abandoned: set[_Worker] = set()

    def take(self) -> _Worker:
        with self.lock:
            if self.idle:
                return self.idle.pop()
        return _Worker(self._forget)

    def give_back(self, worker: _Worker) -> None:
        with self.lock:
            self.idle.append(worker)

    def abandon(self, worker: _Worker) -> None:
        with self.lock:
            self.abandoned.add(worker)
        worker.submit(None)  # it ends once the attempt does

    def _forget(self, worker: _Worker) -> None:
        with self.lock:
            self.abandoned.discard(worker)


class Timeouts:
    """Runs attempts with a time limit. Idle threads are kept; all are daemons and never hold up an exit."""

    def __init__(self, *, abandoned_max: int = ABANDONED_MAX) -> None:
        self._abandoned_max = abandoned_max
        self._pool = _Pool()

    @property
    def abandoned(self) -> int:
        """How many threads still hang in an attempt that nobody waits for."""
        return len(self._pool.abandoned)

    def run(self, attempt: Attempt, operation: Operation, timeout_s: float | None) -> Any:
        """Make the attempt, inline when there is no limit.

        Raises:
            TimedOut: It did not end in time; ``ambiguous`` unless the operation only reads.
            Unavailable: So many attempts hang already that no further one is begun.
        """
        if timeout_s is None:
            return attempt()
        if self._pool.pid != os.getpid():  # threads do not survive a fork
            self._pool = _Pool()
        self._refuse_too_many(operation)
        pool = self._pool
        worker, job = pool.take(), _Job(attempt)
        worker.submit(job)
        try:
            ended = _ended_within(job.done, timeout_s)
        except BaseException:  # an interrupt from the keyboard: leave the attempt as a timeout does
            pool.abandon(worker)
            raise
        if not ended:
            pool.abandon(worker)
            raise TimedOut(
                f"no answer within {timeout_s:g} s",
                ambiguous=not operation.is_read,
                adapter=operation.adapter,
                operation=operation.name,
            )
        pool.give_back(worker)
        return job.outcome()

    def close(self) -> None:
        """End the idle threads."""
        with self._pool.lock:
            idle, self._pool.idle = self._pool.idle, []
        for worker in idle:
            worker.submit(None)

    def _refuse_too_many(self, operation: Operation) -> None:
        if self.abandoned < self._abandoned_max:
            return
        raise Unavailable(
            f"{self.abandoned} calls hang without an answer; no other is made until one ends",
            adapter=operation.adapter,
            operation=operation.name,
            hint="bridge doctor",
        )


def _ended_within(done: threading.Event, timeout_s: float) -> bool:
    end_s = time.monotonic() + timeout_s
    while (left_s := end_s - time.monotonic()) > LOOK_S:
        if done.wait(LOOK_S):
            return True
    return done.wait(max(0.0, left_s))
