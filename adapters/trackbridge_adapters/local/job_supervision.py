"""Watching one process of a job, and everything that it starts, to the end.

Imports little: a job's runner pays for each import with the user's time.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable

from trackbridge_adapters.local.job_processes import Process, below, group_lives, signal_group

RETRY_S = 1.0
"""Pause between attempts at what nobody can wake us for: a full disk, a process that does not die."""

IDLE_S = 30.0
"""How often a runner looks whether its store is still there."""

_LEFT_BEHIND_S = 0.02
"""Pause while processes are left and the system does not tell of their end."""


class Bell:
    """What a runner waits for: a ring through its pipe, the end of a child, SIGTERM, the time.

    Args:
        pipe: Descriptor of the pipe; -1 where there is none, so that every second may have been a ring.
    """

    def __init__(self, pipe: int) -> None:
        self.is_terminated = False
        self._pipe = pipe
        self._signals, written = os.pipe()
        os.set_blocking(self._signals, False)
        os.set_blocking(written, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _noted)
        signal.signal(signal.SIGTERM, self._terminate)
        signal.signal(signal.SIGINT, self._terminate)

    def wait(self, timeout_s: float) -> bool:
        """Wait for something to happen; tell whether it was a ring, or may have been one."""
        inputs = [self._signals] if self._pipe < 0 else [self._signals, self._pipe]
        timeout_s = min(timeout_s, RETRY_S) if self._pipe < 0 else timeout_s
        ready = select.select(inputs, [], [], max(0.0, timeout_s))[0]
        for descriptor in ready:
            os.read(descriptor, 65536)
        return self._pipe < 0 or self._pipe in ready

    def _terminate(self, number: int, frame: object) -> None:
        self.is_terminated = True


def _noted(number: int, frame: object) -> None:
    """Let the signal reach the pipe, which an ignored one does not."""


class Supervision:
    """One started process with its group and descendants.

    Args:
        leader_id: The process: a child of this one, and leader of a session of its own.
        job_id: The job that it belongs to.
        adopts_orphans: Whether orphans below this process fall back to it.
        notice_s: How long after SIGTERM comes SIGKILL.
        limit_s: How long it may run, None for ever.
    """

    def __init__(
        self, leader_id: int, job_id: str, *, adopts_orphans: bool, notice_s: float, limit_s: float | None
    ) -> None:
        self.exit_code: int | None = None
        self.hit_limit = False
        self.was_asked = False
        self._limit_at = None if limit_s is None else time.monotonic() + limit_s
        self._leader_id = leader_id
        self._job_id = job_id
        self._adopts_orphans = adopts_orphans
        self._notice_s = notice_s
        self._kill_at: float | None = None
        self._has_children = True

    def to_the_end(self, wait: Callable[[float], None], is_to_stop: Callable[[], bool]) -> None:
        """Return when no process is left. What outlives the leader is ended.

        Args:
            wait: Waits so many seconds, or until something happens.
            is_to_stop: Tells whether the process is to be stopped.
        """
        while True:
            self._reap()
            has_ended = self.exit_code is not None
            if has_ended and not self._is_any_left():
                return
            now = time.monotonic()
            if self._kill_at is None:
                self.hit_limit = not has_ended and self._limit_at is not None and now >= self._limit_at
                self.was_asked = not has_ended and is_to_stop()
                if has_ended or self.hit_limit or self.was_asked:
                    self._signal(signal.SIGTERM)
                    self._kill_at = now + self._notice_s
            elif now >= self._kill_at:
                self._signal(signal.SIGKILL)
                self._kill_at = now + RETRY_S
            wait(self._pause_s(now))

    def _pause_s(self, now: float) -> float:
        next_at = self._limit_at if self._kill_at is None else self._kill_at
        pause_s = IDLE_S if next_at is None else max(0.0, next_at - now)
        tells_of_ends = self.exit_code is None or self._adopts_orphans
        return pause_s if tells_of_ends else min(pause_s, _LEFT_BEHIND_S)

    def _reap(self) -> None:
        while True:
            try:
                process_id, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._has_children = False
                return
            if process_id == 0:
                return
            if process_id == self._leader_id:
                self.exit_code = os.waitstatus_to_exitcode(status)

    def _is_any_left(self) -> bool:
        if self._adopts_orphans:
            return self._has_children and bool(self._below())
        return group_lives(self._leader_id)

    def _below(self) -> list[Process]:
        return below(os.getpid(), self._job_id)

    def _signal(self, number: signal.Signals) -> None:
        # The group in one step, so that no member escapes by a fork. Without its leader, on Linux, its number
        # could be another's already.
        is_whole = self.exit_code is None or not self._adopts_orphans
        if is_whole:
            signal_group(self._leader_id, number)
        for process in self._below() if self._adopts_orphans else ():
            if not (is_whole and process.session_id == self._leader_id):
                process.send(number)
