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
from trackbridge_adapters.local.job_processes import JOB_VARIABLE, LEVEL_VARIABLE, adopt_orphans, birth_of
from trackbridge_adapters.local.job_records import JobRecord
from trackbridge_adapters.local.job_settling import start_settling
from trackbridge_adapters.local.job_supervision import IDLE_S, RETRY_S, Bell, Supervision

TYPE_CHECKING = False  # that of typing, without the 4 ms that its import takes
if TYPE_CHECKING:
    from typing import Any

TURN_S = 1.0
"""How often the first in the queue looks for a slot whose holder was killed; the others look less often."""

QUEUE_S = 5.0
TOLD_BYTES = 2000
FOLLOWER_S = 3.0
FOLLOWER_PAUSE_S = 0.05
PYTHONS = ("python", "python3", sys.executable)
OF_ANOTHER_RUN = ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", "MLFLOW_RUN_NAME")
"""What mlflow sets for the submitter's own run."""


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
        self._level = int(os.environ.get(LEVEL_VARIABLE, "0"))
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
        if self._is_settled():
            return
        start_settling(
            self._files,
            run_id=self._spec["run_id"],
            tracking_uri=self._spec["tracking_uri"],
            status=status,
            end_time=end_time,
            job_id=self._job_id,
            exit_code=self._exit_code,
            reason=reason,
        )

    def _is_settled(self) -> bool:
        """Tell whether the run says how the job has ended, having waited a little for that.

        Whoever follows the job writes it at once; a process for it alone would cost half a second of work.
        """
        run_id, deadline_s = self._spec["run_id"], time.monotonic() + FOLLOWER_S
        while run_id and not self._bell.is_terminated:
            is_settled = self._record.is_settled(run_id)
            if is_settled is not False:
                return bool(is_settled)
            if time.monotonic() > deadline_s:
                return False
            self._bell.wait(FOLLOWER_PAUSE_S)
        return False

    # The queue.

    def _slot(self) -> int | None:
        """Wait for the job's turn and return the lock of its slot; None when it is to end instead."""
        folder = slots_folder(self._store, self._level)
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
        if self._level > 0:  # who waits before it may be waiting for the job that waits for this one
            return True
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
        finally:
            self._discard_inputs()
        return "SUCCEEDED", ""

    def _variables(self) -> dict[str, str]:
        """Return the environment of the command, with its secrets."""
        variables = {name: value for name, value in os.environ.items() if name not in OF_ANOTHER_RUN}
        variables.update(self._spec["variables"])
        variables.setdefault("PYTHONUNBUFFERED", "1")  # what was printed is in the log, whatever comes
        for name, reference in self._spec["secrets"].items():
            variables[name] = _secret(name, reference)
        variables[JOB_VARIABLE] = self._job_id
        return variables

    def _command(self, variables: dict[str, str], log: int) -> list[str]:
        """Return the command as it is to be started, once its environment is there.

        ``python`` is the interpreter of the environment, without one that of the submitter.
        """
        first, *rest = self._words(variables, log)
        environment = self._spec["environment"]
        if environment["requirements"] or environment.get("python"):
            python = self._python(variables, log)
        else:
            python = sys.executable
            _lead_to(python, variables, self._spec["variables"])
        command = [python if first in PYTHONS else first, *rest]
        return self._launched(command, python, variables)

    def _words(self, variables: dict[str, str], log: int) -> list[str]:
        """Return the words of the command, with the places of its data, which become variables, too."""
        words: list[str] = self._spec["command"]
        if not any(map(self._spec.get, ("inputs", "outputs", "checkpoints"))):
            return words
        from trackbridge_adapters._jobs.bootstrap import filled
        from trackbridge_adapters.local.job_data import places_of

        places = {}
        found = places_of(self._spec, lambda name, address: self._bring(name, address, log))
        for word, variable, path in found:
            places[word] = variables[variable] = path
        return [filled(word, places) for word in words]

    def _bring(self, name: str, address: str, log: int) -> str:
        """Bring an input here, and return where it is.

        Raises:
            Failed: It cannot be brought.
        """
        from trackbridge_adapters.local.job_data import bringing, brought

        self._record.save({"status": "STARTING"})
        self._wake_next()
        folder = os.path.join(self._files.inputs, name)
        before = os.path.getsize(self._files.log)
        code = self._to_the_end(self._start(bringing(address, folder), os.environ, log)).exit_code
        self._go_on()
        if code != 0:
            with open(self._files.log, "rb") as file:
                file.seek(before)
                told = file.read(TOLD_BYTES).decode("utf-8", "replace").strip()
            raise Failed(f"the input {name} cannot be brought: {told}")
        return brought(address, folder)

    def _discard_inputs(self) -> None:
        if os.path.isdir(self._files.inputs):
            import shutil

            shutil.rmtree(self._files.inputs, ignore_errors=True)

    def _launched(self, command: list[str], python: str, variables: dict[str, str]) -> list[str]:
        """Return what starts the command, several times where that is asked for."""
        launcher, processes = self._spec.get("launcher", "direct"), self._spec.get("processes_per_node", 1)
        if launcher == "direct" and processes == 1:
            return command
        from trackbridge_adapters._jobs.bootstrap import Machines, launched
        from trackbridge_adapters.local import job_ranks

        all_ranks_track: bool = self._spec.get("all_ranks_track", False)
        machines = Machines(main_port=_free_port())
        started = launched(
            launcher,
            command,
            python,
            processes=processes,
            machines=machines,
            all_ranks_track=all_ranks_track,
        )
        words, own = started[0]
        if len(started) == 1:
            variables.update(own)
            return words
        return [sys.executable, "-I", job_ranks.__file__, json.dumps([own for _, own in started]), *words]

    def _python(self, variables: dict[str, str], log: int) -> str:
        """Make the environment, enter it, and return its interpreter."""
        from trackbridge_adapters.local.environments import Builder, BuildFailed

        self._record.save({"status": "STARTING"})
        self._wake_next()

        def call(words: Sequence[str], kept_open: int) -> int:
            process = self._start(words, variables, log, folder=folder, kept_open=(kept_open,))
            code = self._to_the_end(process).exit_code
            self._go_on()
            return 1 if code is None else code

        folder = environments_folder(self._store)
        builder = Builder(folder, self._uv, log=self._files.log, call=call, pause=self._pause)
        try:
            wanted = self._spec["environment"]
            environment = builder.ensure(
                wanted["requirements"], python=wanted.get("python"), variables=variables
            )
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


def _lead_to(python: str, variables: dict[str, str], asked_for: Mapping[str, str]) -> None:
    """Let ``python`` in a script of the shell be the submitter's, unless the spec has a path of its own."""
    if "PATH" in asked_for:
        return
    programs = os.path.dirname(python)
    folders = variables.get("PATH", os.defpath).split(os.pathsep)
    found = next((folder for folder in folders if os.access(os.path.join(folder, "python"), os.X_OK)), None)
    if found != programs:
        variables["PATH"] = os.pathsep.join((programs, *folders))


def _free_port() -> int:
    """Return a port for processes to meet at; other jobs on this machine meet elsewhere."""
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
    return port


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
