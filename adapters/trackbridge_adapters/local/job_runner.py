"""The process that sees one job through: waits for its turn, starts the command, records the end.

``python -m trackbridge_adapters.local.job_runner STORE JOB_ID LOCK PARALLEL_MAX NOTICE_S UV`` is what
``submit`` starts, in a session of its own and with the environment of the submitter. ``LOCK`` is an inherited
descriptor that holds the lock of the job. The steps:

1. wait until no job that was submitted earlier waits, and one of PARALLEL_MAX slots is free;
2. resolve the secrets, make the environment;
3. start the command, up to ``attempts_max`` times, its output going straight to the log, and wait until none
   of its processes is left;
4. record the end, free the slot, wake the next runner, have the job's run closed.

A runner that dies leaves its lock free: whoever looks at the job next ends what is left and says so.

Imports little: each import is paid for with the user's time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from trackbridge_adapters.local import locks
from trackbridge_adapters.local.job_files import JobFiles, environments_folder, slots_folder
from trackbridge_adapters.local.job_processes import JOB_VARIABLE, adopt_orphans, birth_of
from trackbridge_adapters.local.job_records import JobRecord
from trackbridge_adapters.local.job_settling import start_settling
from trackbridge_adapters.local.job_supervision import IDLE_S, RETRY_S, Bell, Supervision

TYPE_CHECKING = False  # that of typing, without the 4 ms that its import takes
if TYPE_CHECKING:
    from typing import Any

TURN_S = 1.0
"""How often the first in the queue looks for a slot whose holder was killed; the others look less often."""

QUEUE_S = 5.0
PYTHONS = ("python", "python3", sys.executable)


class Failed(Exception):
    """The job cannot go on; the text says why."""


class Stopped(Exception):
    """The job is to end now."""


class Runner:
    """One job, from the queue to its end."""

    def __init__(self, store: str, job_id: str, *, parallel_max: int, notice_s: float, uv: str) -> None:
        self._store = store
        self._job_id = job_id
        self._parallel_max = parallel_max
        self._notice_s = notice_s
        self._uv = uv
        self._files = JobFiles(store, job_id)
        self._bell = Bell(self._files.open_wake())
        self._record = JobRecord(os.path.join(store, "store.db"), job_id)
        self._spec: dict[str, Any] = json.loads(self._record.spec())
        self._is_to_look = True
        self._stop: tuple[str, str] | None = None
        self._exit_code: int | None = None
        self._adopts_orphans = False

    def run(self) -> None:
        """See the job through; it has ended when this returns."""
        self._look()
        slot = self._slot()
        status, reason = self._outcome() if slot is not None else self._stop or ("FAILED", "")
        end_time = _now_ms()
        self._end(status, reason, end_time)
        if slot is not None:
            locks.release(slot)
            self._wake_next()
        start_settling(
            self._files,
            run_id=self._spec["run_id"],
            tracking_uri=self._spec["tracking_uri"],
            status=status,
            end_time=end_time,
        )

    # The queue.

    def _slot(self) -> int | None:
        """Wait for the job's turn and return the lock of its slot; None when it is to end instead."""
        folder = slots_folder(self._store)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        while self._stop is None:
            has_turn = self._has_turn()
            for number in range(self._parallel_max if has_turn else 0):
                slot = locks.hold(os.path.join(folder, str(number)))
                if slot is not None:
                    return slot
            self._wait(TURN_S if has_turn else QUEUE_S)
        return None

    def _has_turn(self) -> bool:
        waiting = self._record.queued()
        if waiting is None:
            return False
        older = (JobFiles(self._store, job_id) for job_id, is_older in waiting if is_older)
        return not any(locks.is_held(files.lock) for files in older)

    def _wake_next(self) -> None:
        """Ring at the first of those that wait; those whose runner has died do not hear."""
        for job_id, _ in self._record.queued() or ():
            if job_id != self._job_id and JobFiles(self._store, job_id).ring():
                return

    # The command.

    def _outcome(self) -> tuple[str, str]:
        """Run the job in its slot; return how it ended, and why."""
        self._adopts_orphans = adopt_orphans()
        try:
            log = os.open(self._files.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            variables = self._variables()
            self._attempts(self._command(variables, log), variables, log)
        except Stopped:
            return self._stop or ("FAILED", "")
        except Failed as error:
            return "FAILED", str(error)
        except OSError as error:
            return "FAILED", f"the files of the job cannot be written: {error}"
        return "SUCCEEDED", ""

    def _variables(self) -> dict[str, str]:
        """Return the environment of the command, with its secrets."""
        variables = {**os.environ, **self._spec["variables"]}
        variables.setdefault("PYTHONUNBUFFERED", "1")  # what was printed is in the log, whatever comes
        for name, reference in self._spec["secrets"].items():
            variables[name] = _secret(name, reference)
        variables[JOB_VARIABLE] = self._job_id
        return variables

    def _command(self, variables: dict[str, str], log: int) -> list[str]:
        """Return the command as it is to be started, once its environment is there.

        ``python`` is the interpreter of the environment, without one that of the submitter.
        """
        first, *rest = self._spec["command"]
        python = self._python(variables, log) if self._spec["environment"]["requirements"] else sys.executable
        return [python if first in PYTHONS else first, *rest]

    def _python(self, variables: dict[str, str], log: int) -> str:
        """Make the environment, enter it, and return its interpreter."""
        from trackbridge_adapters.local.environments import Builder, BuildFailed

        self._record.save({"status": "STARTING"})
        self._wake_next()

        def call(words: Sequence[str], kept_open: int) -> int:
            process = self._start(words, os.environ, log, folder=folder, kept_open=(kept_open,))
            code = self._to_the_end(process).exit_code
            self._go_on()
            return 1 if code is None else code

        folder = environments_folder(self._store)
        builder = Builder(folder, self._uv, log=self._files.log, call=call, pause=self._pause)
        try:
            environment = builder.ensure(self._spec["environment"]["requirements"])
        except BuildFailed as error:
            raise Failed(str(error)) from error
        environment.enter(variables)
        return environment.python

    def _pause(self, seconds: float) -> None:
        self._wait(seconds)
        self._go_on()

    def _attempts(self, command: Sequence[str], variables: Mapping[str, str], log: int) -> None:
        """Start the command as often as it takes.

        Raises:
            Failed: It failed every time.
            Stopped: It is not to go on.
        """
        attempts_max: int = self._spec["attempts_max"]
        for attempt in range(1, attempts_max + 1):
            self._go_on()
            reason = self._attempt(attempt, command, variables, log)
            if reason is None:
                return
        raise Failed(reason if attempts_max == 1 else f"{reason}, at the last of {attempts_max} attempts")

    def _attempt(
        self, number: int, command: Sequence[str], variables: Mapping[str, str], log: int
    ) -> str | None:
        """Start the command and see it to its end; return why it failed, None for success."""
        limit_s: int | None = self._spec["time_limit_s"]
        self._exit_code = None
        try:
            process = self._start(command, variables, log, folder=self._spec["code_dir"])
        except (OSError, ValueError) as error:  # ValueError: a secret with a NUL
            raise Failed(f"{command[0]!r} cannot be started: {error}") from error
        started: dict[str, str | int | None] = {"start_time": _now_ms()} if number == 1 else {}
        started |= {"status": "RUNNING", "attempt": number}
        started |= {"process_id": process.pid, "process_birth": birth_of(process.pid)}
        self._record.save(started)
        self._wake_next()
        supervision = self._to_the_end(process, limit_s=limit_s)
        self._exit_code = code = supervision.exit_code
        if code == 0 and not supervision.was_asked and not supervision.hit_limit:
            return None
        self._is_to_look = True
        self._go_on()
        return f"the time limit of {limit_s} s was reached" if supervision.hit_limit else _reason_of(code)

    def _start(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        log: int,
        *,
        folder: str | None = None,
        kept_open: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=kept_open,
            start_new_session=True,
        )

    def _to_the_end(self, process: subprocess.Popen[bytes], *, limit_s: float | None = None) -> Supervision:
        """Wait until nothing is left of a process that was started."""
        supervision = Supervision(
            process.pid,
            self._job_id,
            adopts_orphans=self._adopts_orphans,
            notice_s=self._notice_s,
            limit_s=limit_s,
        )
        supervision.to_the_end(self._wait, lambda: self._stop is not None)
        process.returncode = supervision.exit_code
        return supervision

    # What happens meanwhile.

    def _wait(self, seconds: float) -> None:
        """Wait so long, or until something happens, and take note of it."""
        has_to_retry = self._is_to_look or self._record.has_unsaved
        if self._bell.wait(min(seconds, RETRY_S if has_to_retry else IDLE_S)):
            self._is_to_look = True
        self._record.flush()
        self._look()

    def _look(self) -> None:
        """Learn whether the job is to end."""
        self._record.look()
        if self._is_to_look:
            is_cancelled = self._record.is_cancelled()
            self._is_to_look = is_cancelled is None
            if is_cancelled:
                self._stop = self._stop or ("CANCELLED", "it was cancelled")
        if self._bell.is_terminated:
            self._stop = self._stop or ("FAILED", "the runner of the job was terminated by a signal")
        if self._record.is_gone:
            self._stop = self._stop or ("CANCELLED", "the store was deleted")

    def _go_on(self) -> None:
        """Return, unless the job is to end.

        Raises:
            Stopped: It is.
        """
        self._look()
        if self._stop is not None:
            raise Stopped

    def _end(self, status: str, reason: str, end_time: int) -> None:
        """Record the end, however long the disk stays full."""
        ended = {"status": status, "reason": reason, "exit_code": self._exit_code, "end_time": end_time}
        self._record.save(ended)
        while self._record.has_unsaved and not self._record.is_gone:
            self._wait(RETRY_S)


def _secret(name: str, reference: str) -> str:
    """Return the value that a reference leads to; no error of it holds any of it.

    Raises:
        Failed: It leads to nothing.
    """
    kind, _, place = reference.partition(":")
    if kind == "env":
        if place not in os.environ:
            raise Failed(f"the secret {name} refers to the variable {place}, which is not set")
        return os.environ[place]
    try:
        with open(place, "rb") as file:
            return os.fsdecode(file.read()).rstrip("\r\n")
    except OSError as error:
        raise Failed(f"the secret {name} refers to {place}, which cannot be read: {error.strerror}") from None


def _reason_of(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"the command ended with exit code {exit_code}"
    try:
        return f"the command was killed by {signal.Signals(-exit_code).name}"
    except ValueError:  # a real-time signal has no name
        return f"the command was killed by signal {-exit_code}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def main(arguments: Sequence[str]) -> None:
    """See a job through, and end this process without tidying up: see ``JobRecord``."""
    store, job_id, lock, parallel_max, notice_s, uv = arguments
    os.set_inheritable(int(lock), False)
    code = 1
    try:
        Runner(store, job_id, parallel_max=int(parallel_max), notice_s=float(notice_s), uv=uv).run()
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
