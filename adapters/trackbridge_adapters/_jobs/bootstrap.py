"""Carries out the plan of a job, on the machine of the job: ``python bootstrap.py plan.json``.

One file, the standard library, Python 3.8 or later: it runs on any image that has a Python. What it does:

1. take away the variables that the platform presets (``MLFLOW_*``), set ours, resolve the secrets;
2. make a virtual environment on top of what the image has, when there are requirements;
3. start the command, on several processes where that is asked for, in process groups of its own; at the time
   limit, or when the platform asks for the end (SIGTERM), tell it so, and kill it after the notice;
4. kill what the command has left behind, and start it again when it failed and attempts are left;
5. write the result file, and exit as the command did: with its code, 128 + n after signal n, 124 at the time
   limit, 143 when the platform asked for the end and the command left with 0.

The result file is written when an attempt begins, too: a machine that was lost says nothing at its end, and
the one that comes in its place learns from the file which attempt this is.

Beside it may lie ``platform_hooks.py``, with any of these functions; what they raise makes the job fail:

- ``prepare(plan)`` comes first of all; it may change the plan (a dict, as in the file);
- ``machines()`` returns ``{"rank", "count", "main_address", "main_port"}``, this one's rank from 0;
- ``variables()`` returns variables to set; it still sees those that are taken away afterwards;
- ``secret(reference)`` returns the value of a reference other than ``env:NAME`` and ``file:PATH``;
- ``keep(home, kept)`` copies the folder of the journals to ``paths.kept``, every few seconds and at the end
  of each attempt, where the platform keeps nothing that is appended to; what it raises is told once;
- ``finish(plan, result)`` comes last, with the content of the result file.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import re
import select
import shutil
import signal
import site
import subprocess
import sys
import tarfile
import tempfile
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

PYTHONS = ("python", "python3")
ENDED_AT_LIMIT = 124
ENDED_WHEN_ASKED = 143
KILLED_AGAIN_S = 1.0
LEFT_BEHIND_S = 0.02
IDLE_S = 30.0
KEEPING_S = 5.0

_IS_LINUX = sys.platform.startswith("linux")
_SET_PARENT_DEATH_SIGNAL = 1
_SET_CHILD_SUBREAPER = 36
_PLACE = re.compile(r"\{(inputs|outputs)\.([^{}]+)\}|\{(checkpoints)\}")


class Machines(NamedTuple):
    """Which of a job's machines this is, how many there are, and how the first of them is reached."""

    rank: int = 0
    count: int = 1  # type: ignore[assignment]  # a word of ours, and a method of every tuple
    main_address: str = "127.0.0.1"
    main_port: int = 29500


class Failed(Exception):
    """The job cannot go on; the text says why, and holds no secret."""


class Stopped(Exception):
    """The platform has asked for the end."""


class Signals:
    """What interrupts waiting: the end of a child, and the platform's wish to end."""

    def __init__(self) -> None:
        self.is_asked = False
        self._read, written = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(written, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # an ignored signal would not reach the pipe
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def wait(self, timeout_s: float) -> None:
        """Wait so long, or until something happens."""
        if select.select([self._read], [], [], max(0.0, timeout_s))[0]:
            os.read(self._read, 65536)

    def _ask(self, number: int, frame: object) -> None:
        self.is_asked = True


class Processes:
    """Started processes, with all that they start."""

    def __init__(
        self,
        signals: Signals,
        notice_s: float,
        limit_s: float | None = None,
        keep: Callable[[], None] | None = None,
    ) -> None:
        self.exit_code = 0
        self.hit_limit = False
        self.was_asked = False
        self._signals = signals
        self._notice_s = notice_s
        self._limit_at = None if limit_s is None else time.monotonic() + limit_s
        self._leaders: dict[int, subprocess.Popen[bytes]] = {}
        self._running: set[int] = set()
        self._kill_at: float | None = None
        self._keep = keep

    def start(self, words: list[str], variables: dict[str, str], folder: str) -> None:
        """Start one, as the leader of a session of its own."""
        try:
            process = subprocess.Popen(
                words,
                cwd=folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # without it, who kills only this program leaves the command
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL
            raise Failed(f"{words[0]!r} cannot be started: {error}") from error
        self._leaders[process.pid] = process
        self._running.add(process.pid)

    def to_the_end(self) -> None:
        """Return when no process is left. What outlives the first ones is ended, and all when one fails."""
        while True:
            self._reap()
            if not self._running and not self._is_any_left():
                return
            now = time.monotonic()
            if self._kill_at is None:
                self.was_asked = bool(self._running) and self._signals.is_asked
                self.hit_limit = bool(self._running) and self._limit_at is not None and now >= self._limit_at
                if self.was_asked or self.hit_limit or self.exit_code != 0 or not self._running:
                    self._send(signal.SIGTERM)
                    self._kill_at = now + self._notice_s
            elif now >= self._kill_at:
                self._send(signal.SIGKILL)
                self._kill_at = now + KILLED_AGAIN_S
            self._signals.wait(self._pause_s(now))
            if self._keep is not None:
                self._keep()

    def end(self) -> None:
        """Kill all at once."""
        self._send(signal.SIGKILL)
        self.to_the_end()

    def _pause_s(self, now: float) -> float:
        due_at = self._limit_at if self._kill_at is None else self._kill_at
        pause_s = IDLE_S if self._keep is None else KEEPING_S
        pause_s = pause_s if due_at is None else min(pause_s, due_at - now)
        return pause_s if self._running else min(pause_s, LEFT_BEHIND_S)

    def _reap(self) -> None:
        while True:
            try:
                process_id, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if process_id == 0:
                return
            if process_id in self._running:
                self._running.discard(process_id)
                code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
                self._leaders[process_id].returncode = code
                self.exit_code = self.exit_code or code

    def _groups(self) -> set[int]:
        # Without its leader, the number of a group could be another's already: where orphans fall back to
        # this process, they are looked for one by one.
        return self._running if _libc is not None else set(self._leaders)

    def _is_any_left(self) -> bool:
        return bool(_below(os.getpid())) or any(_sent_to_group(group, 0) for group in self._groups())

    def _send(self, number: int) -> None:
        for group in self._groups():
            _sent_to_group(group, number)
        for process_id, session_id in _below(os.getpid()):
            if session_id not in self._running:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process_id, number)


class Job:
    """One plan on one machine.

    Args:
        path: The plan's file.
    """

    def __init__(self, path: str) -> None:
        self._folder = os.path.dirname(os.path.abspath(path))
        with open(path, encoding="utf-8") as file:
            self._plan = json.load(file)
        self._hooks = _load_hooks(self._folder)
        self._signals = Signals()
        self._machines = Machines()
        self._places: dict[str, str] = {}
        self._home = ""
        self._interpreter = sys.executable
        self._keep_at = 0.0
        self._has_told = False
        self._temporary: list[str] = []
        self._result_path = ""
        self._result: dict[str, Any] = {
            "job_id": self._plan["job_id"],
            "attempt": 0,
            "exit_code": None,
            "reason": "",
            "is_asked": False,
            "interruptions": 0,
            "start_time": None,
            "end_time": None,
        }

    def run(self) -> int:
        """See the job through and return the exit code of this program."""
        _adopt_orphans()
        try:
            code = self._to_the_end()
        except Stopped:
            code = self._note_end(None, "the platform asked it to stop") or ENDED_WHEN_ASKED
        except (Failed, OSError) as error:
            code = self._fail(error, None)
        try:
            self._hook("finish", self._plan, dict(self._result))
        except Failed as error:
            code = self._fail(error, self._result["exit_code"])
        for folder in self._temporary:
            shutil.rmtree(folder, ignore_errors=True)
        return code

    def _fail(self, error: Exception, exit_code: int | None) -> int:
        sys.stderr.write(f"trackbridge: {error}\n")
        return self._note_end(exit_code, str(error)) or 1

    def _to_the_end(self) -> int:
        self._hook("prepare", self._plan)
        self._machines = Machines(**(self._hook("machines") or {}))
        self._result_path = self._own_result_path()
        self._continue_result()
        code_dir = self._code_dir()
        variables = self._variables()
        self._interpreter = self._python(variables, code_dir)
        _lead_to(self._interpreter, variables)
        first, *rest = [filled(word, self._places) for word in self._plan["command"]]
        command = [self._interpreter if first in PYTHONS else first, *rest]
        return self._attempts(command, variables, code_dir)

    def _hook(self, name: str, *values: object) -> Any:
        """Call a function of the platform's hooks, where there is one."""
        function = getattr(self._hooks, name, None)
        try:
            return None if function is None else function(*values)
        except Exception as error:  # of any kind: the platform's own
            raise Failed(f"{name} in platform_hooks.py failed: {type(error).__name__}: {error}") from error

    # What lies where.

    def _path(self, path: str) -> str:
        """Return a path of the plan as it is on this machine."""
        first, slash, rest = path.partition("/")
        if first.startswith("$"):
            if first[1:] not in os.environ:
                raise Failed(f"the platform has not set {first[1:]}, where {path} is to be")
            path = os.environ[first[1:]] + slash + rest
        return os.path.normpath(os.path.join(self._folder, path))

    def _own_result_path(self) -> str:
        path = self._path(self._plan["paths"]["result"])
        if self._machines.rank == 0:
            return path
        stem, ending = os.path.splitext(path)  # the machines may see one folder
        return f"{stem}.{self._machines.rank}{ending}"

    def _code_dir(self) -> str:
        """Return the folder that the command runs in; an archive is unpacked."""
        path = self._path(self._plan["paths"]["code"])
        if path.endswith(".tar.gz") and os.path.isfile(path):
            folder = self._temporary_folder("bridge-code-")
            with tarfile.open(path) as archive:
                if hasattr(tarfile, "data_filter"):  # a Python that asks for it
                    archive.extraction_filter = tarfile.data_filter
                archive.extractall(folder)
            return folder
        return path if os.path.isdir(path) else self._folder

    def _temporary_folder(self, prefix: str) -> str:
        folder = tempfile.mkdtemp(prefix=prefix)
        self._temporary.append(folder)
        return folder

    def _variables(self) -> dict[str, str]:
        """Return the environment of the command, with its secrets, and make the folders it may write to."""
        secrets = {name: self._secret(name, where) for name, where in self._plan["secrets"].items()}
        dropped = self._plan["dropped_variables"]
        variables = {
            name: value
            for name, value in os.environ.items()
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in dropped)
        }
        variables.setdefault("PYTHONUNBUFFERED", "1")  # what was printed is in the log, whatever comes
        variables.update(self._hook("variables") or {})
        variables.update(self._plan["variables"])
        variables.update(secrets)
        variables.update(self._place_variables())
        self._set_home(variables)
        return variables

    def _set_home(self, variables: dict[str, str]) -> None:
        """Say where journals lie, how long delivery may take at the end, and whether it has to wait."""
        variables["BRIDGE_JOB_ID"] = self._plan["job_id"]
        variables["BRIDGE_HOME"] = self._home = _made(self._path(self._plan["paths"]["home"]))
        variables.setdefault("BRIDGE_DELIVERY_EXIT_WAIT_S", str(max(1.0, self._plan["notice_s"] - 5.0)))
        if variables.get("BRIDGE_TRACKING_URI", "").startswith("file:"):
            variables.setdefault("BRIDGE_DELIVERY", "later")

    def _place_variables(self) -> dict[str, str]:
        paths = self._plan["paths"]
        found = {}
        for name, path in paths["inputs"].items():
            self._places["inputs." + name] = found["BRIDGE_INPUT_" + name.upper()] = place = self._path(path)
            if not os.path.exists(place):
                raise Failed(f"the input {name} is not at {place}: the platform has not brought it")
        for name, path in paths["outputs"].items():
            place = _made(self._path(path))
            self._places["outputs." + name] = found["BRIDGE_OUTPUT_" + name.upper()] = place
        if paths["checkpoints"] is not None:
            place = _made(self._path(paths["checkpoints"]))
            self._places["checkpoints"] = found["BRIDGE_CHECKPOINTS"] = place
        return found

    def _secret(self, name: str, reference: str) -> str:
        kind, _, place = reference.partition(":")
        if kind == "env":
            if place not in os.environ:
                raise Failed(f"the secret {name} refers to the variable {place}, which is not set here")
            return os.environ[place]
        try:
            if kind == "file":
                with open(place, "rb") as file:
                    return os.fsdecode(file.read()).rstrip("\r\n")
            if hasattr(self._hooks, "secret"):
                return str(self._hook("secret", reference))
        except (Failed, OSError) as error:
            raise Failed(f"the secret {name} cannot be had from {place}: {error}") from error
        raise Failed(f"the secret {name} refers to {reference}, which this platform does not know")

    # The environment.

    def _python(self, variables: dict[str, str], code_dir: str) -> str:
        """Make the environment of the requirements, enter it, and return its interpreter."""
        self._tell_python()
        requirements = self._plan["requirements"]
        if not requirements:
            return sys.executable
        folder = self._temporary_folder("bridge-env-")
        # Where the image's Python is an environment itself, what its system has may be none of its own.
        options = ["--without-pip"] if _is_environment() else ["--without-pip", "--system-site-packages"]
        self._installed([sys.executable, "-m", "venv", *options, folder], variables)
        python = os.path.join(folder, "bin", "python")
        _let_see_ours(folder)
        listed = os.path.join(folder, "requirements.txt")
        with open(os.open(listed, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as file:
            file.writelines(f"{requirement}\n" for requirement in requirements)
        self._installed([*_installer(python), "-r", listed], variables, code_dir)
        variables["VIRTUAL_ENV"] = folder
        variables.pop("PYTHONHOME", None)
        return python

    def _tell_python(self) -> None:
        wanted = self._plan.get("python")
        found = "{}.{}.{}".format(*sys.version_info[:3])
        if wanted and not f"{found}.".startswith(f"{wanted}."):
            sys.stderr.write(f"trackbridge: Python {wanted} is asked for, and the image has {found}\n")

    def _installed(self, words: list[str], variables: dict[str, str], folder: str | None = None) -> None:
        sys.stdout.flush()
        processes = Processes(self._signals, self._plan["notice_s"])
        processes.start(words, variables, folder or self._folder)
        processes.to_the_end()
        if processes.was_asked:
            raise Stopped
        if processes.exit_code != 0:
            step = " ".join(words[1:4])
            raise Failed(
                f"the requirements cannot be installed, see the log: {step} ended with {processes.exit_code}"
            )

    # The attempts.

    def _attempts(self, command: list[str], variables: dict[str, str], code_dir: str) -> int:
        """Start the command as often as it takes; return the exit code of this program."""
        failures = max(0, self._result["attempt"] - self._result["interruptions"])
        while not self._signals.is_asked:
            self._result["attempt"] += 1
            self._note_start()
            processes = self._attempt(command, variables, code_dir)
            reason = self._reason(processes)
            code = self._note_end(processes.exit_code, reason)
            failures += 1
            if not reason or processes.was_asked or failures >= self._plan["attempts_max"]:
                return (code or _code_without(processes)) if reason else 0
        raise Stopped

    def _attempt(self, command: list[str], variables: dict[str, str], code_dir: str) -> Processes:
        keep = self._keep if hasattr(self._hooks, "keep") else None
        processes = Processes(self._signals, self._plan["notice_s"], self._plan["time_limit_s"], keep)
        try:
            for words, more in self._launched(command):
                processes.start(words, {**variables, **more}, code_dir)
        except Failed:
            processes.end()
            raise
        processes.to_the_end()
        if keep is not None:
            keep(is_last=True)
        return processes

    def _keep(self, *, is_last: bool = False) -> None:
        """Have the journals copied, if it is time for it."""
        now = time.monotonic()
        if now < self._keep_at and not is_last:
            return
        self._keep_at = now + KEEPING_S
        kept = self._plan["paths"]["kept"]
        try:
            self._hook("keep", self._home, kept and self._path(kept))
        except Failed as error:
            if not self._has_told:
                sys.stderr.write(f"trackbridge: {error}\n")
            self._has_told = True

    def _launched(self, command: list[str]) -> list[tuple[list[str], dict[str, str]]]:
        """Return what to start on this machine, each with its own variables."""
        return launched(
            self._plan["launcher"],
            command,
            self._interpreter,
            processes=self._plan["processes_per_node"],
            machines=self._machines,
            all_ranks_track=self._plan["all_ranks_track"],
        )

    def _reason(self, processes: Processes) -> str:
        """Return why an attempt is no success, "" when it is one."""
        if processes.was_asked:
            return "the platform asked it to stop"
        if processes.hit_limit:
            return "the time limit of {} s was reached".format(self._plan["time_limit_s"])
        code = processes.exit_code
        if code >= 0:
            return f"the command ended with exit code {code}" if code else ""
        with contextlib.suppress(ValueError):  # a real-time signal has no name
            return f"the command was killed by {signal.Signals(-code).name}"
        return f"the command was killed by signal {-code}"

    # The result.

    def _continue_result(self) -> None:
        """Go on counting where an earlier machine of the same job has left off."""
        try:
            with open(self._result_path, encoding="utf-8") as file:
                earlier = json.load(file)
        except (OSError, ValueError):  # none, or one that was torn
            return
        if earlier.get("job_id") == self._result["job_id"]:
            was_interrupted = earlier["is_asked"] or earlier["end_time"] is None
            self._result["attempt"] = earlier["attempt"]
            self._result["interruptions"] = earlier["interruptions"] + was_interrupted

    def _note_start(self) -> None:
        self._result.update(exit_code=None, reason="", is_asked=False, start_time=_now_ms(), end_time=None)
        self._write_result()

    def _note_end(self, exit_code: int | None, reason: str) -> int:
        self._result.update(
            exit_code=exit_code, reason=reason, is_asked=self._signals.is_asked, end_time=_now_ms()
        )
        self._write_result()
        return 0 if exit_code is None else exit_code if exit_code >= 0 else 128 - exit_code

    def _write_result(self) -> None:
        if not self._result_path:
            return
        partial = f"{self._result_path}.{os.getpid()}.part"
        try:
            _made(os.path.dirname(self._result_path))
            with open(partial, "w", encoding="utf-8") as file:
                json.dump(self._result, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self._result_path)
        except OSError as error:  # the job itself can do without
            sys.stderr.write(f"trackbridge: the result of the job cannot be written: {error}\n")


def filled(word: str, places: dict[str, str]) -> str:
    """Return a word of a command with its ``{inputs.NAME}``, ``{outputs.NAME}``, ``{checkpoints}`` filled in.

    What is not among the places stays as it is: it may be the program's own.
    """
    return _PLACE.sub(lambda found: places.get(found.group(0)[1:-1], found.group(0)), word)


def launched(
    launcher: str,
    command: list[str],
    python: str,
    *,
    processes: int,
    machines: Machines,
    all_ranks_track: bool,
) -> list[tuple[list[str], dict[str, str]]]:
    """Return the words to start on this machine, each with the variables that only it gets."""
    world = processes * machines.count
    who_tracks = {"BRIDGE_TRACKING": "on"} if all_ranks_track else {}  # else the program looks for its rank
    if launcher == "direct":
        if world == 1:  # or the platform itself starts the others
            return [(command, who_tracks)]
        return [
            (command, _rank_variables(local, processes, machines, all_ranks_track))
            for local in range(processes)
        ]
    if launcher == "torchrun":
        torchrun = [python, "-m", "torch.distributed.run", *_rendezvous(processes, machines)]
        return [([*torchrun, *command], who_tracks)]
    if launcher != "mpi":
        raise Failed(f"the launcher {launcher!r} is not for this kind of machine")
    if machines.count > 1:
        raise Failed("MPI starts the processes of one machine here; use torchrun for several")
    return [(["mpirun", "-np", str(processes), *command], {**_MPI_VARIABLES, **who_tracks})]


# Containers run as root, and count few cores: Open MPI before and since version 5 refuses both unless told.
_MPI_VARIABLES = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def _rendezvous(processes: int, machines: Machines) -> list[str]:
    each = [f"--nproc_per_node={processes}", "--no_python"]
    if machines.count == 1:
        return ["--standalone", *each]  # at a free port: other jobs may run beside it
    return [
        f"--nnodes={machines.count}",
        f"--node_rank={machines.rank}",
        f"--master_addr={machines.main_address}",
        f"--master_port={machines.main_port}",
        *each,
    ]


def _rank_variables(local: int, processes: int, machines: Machines, all_ranks_track: bool) -> dict[str, str]:
    rank = machines.rank * processes + local
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(local),
        "WORLD_SIZE": str(processes * machines.count),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": str(machines.main_address),
        "MASTER_PORT": str(machines.main_port),
        "BRIDGE_TRACKING": "on" if rank == 0 or all_ranks_track else "off",
    }


def _lead_to(python: str, variables: dict[str, str]) -> None:
    """Let ``python`` in a script of the shell be the same interpreter."""
    found = shutil.which("python", path=variables.get("PATH", os.defpath))
    if found is None or os.path.dirname(found) != os.path.dirname(python):
        variables["PATH"] = os.path.dirname(python) + os.pathsep + variables.get("PATH", os.defpath)


def _code_without(processes: Processes) -> int:
    return ENDED_WHEN_ASKED if processes.was_asked else ENDED_AT_LIMIT


def _installer(python: str) -> list[str]:
    """Return how to install; pip takes what the image has for installed, uv would bring it again."""
    has_pip = subprocess.run([python, "-c", "import pip"], stderr=subprocess.DEVNULL).returncode == 0
    if has_pip:
        return [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    uv = shutil.which("uv")
    if uv is None:
        raise Failed("there are requirements, but the image has neither pip nor uv to install them")
    return [uv, "pip", "install", "--python", python]


def _is_environment() -> bool:
    return sys.prefix != sys.base_prefix


def _let_see_ours(folder: str) -> None:
    """Let an environment made from another one see the packages of that, as it sees those of a system."""
    if not _is_environment():
        return
    packages = os.path.join(
        folder, "lib", "python{}.{}".format(*sys.version_info[:2]), "site-packages", "_outer.pth"
    )
    with open(packages, "w", encoding="utf-8") as file:
        file.writelines(f"import site; site.addsitedir({p!r})\n" for p in site.getsitepackages())


def _load_hooks(folder: str) -> object:
    path = os.path.join(folder, "platform_hooks.py")
    if not os.path.exists(path):
        return None
    import importlib.util

    spec = importlib.util.spec_from_file_location("platform_hooks", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _made(folder: str) -> str:
    os.makedirs(folder, exist_ok=True)
    return folder


def _now_ms() -> int:
    return time.time_ns() // 1000000


def _prctl(option: int, value: int) -> None:
    if _libc is not None:
        _libc.prctl(option, value, 0, 0, 0)


def _adopt_orphans() -> None:
    """Let orphans below this process fall back to it, where the system knows how."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def _end_with_parent() -> None:
    """Have this process asked to end when its parent dies."""
    _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


def _load_libc() -> Any:
    with contextlib.suppress(ImportError, AttributeError, OSError):  # small images leave ctypes out
        import ctypes

        libc = ctypes.CDLL(None)
        return libc if libc.prctl else None
    return None


_libc = _load_libc() if _IS_LINUX else None


def _sent_to_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _below(root: int) -> list[tuple[int, int]]:
    """Return the living processes below one, each with its session: /proc/PID/stat, see proc(5) (Linux)."""
    children: dict[int, list[tuple[int, int, bool]]] = {}
    for name in os.listdir("/proc") if _IS_LINUX else ():
        if not name.isdigit():
            continue
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()  # the name before it may hold anything
            is_dead = fields[0] in (b"Z", b"X")
            children.setdefault(int(fields[1]), []).append((int(name), int(fields[3]), is_dead))
    found, waiting = [], [root]
    while waiting:
        for process_id, session_id, is_dead in children.get(waiting.pop(), ()):
            waiting.append(process_id)
            if not is_dead:
                found.append((process_id, session_id))
    return found


def main(arguments: list[str]) -> int:
    """Carry out the plan in a file, and return the exit code."""
    return Job(arguments[0]).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
