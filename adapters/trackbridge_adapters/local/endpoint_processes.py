"""Processes that outlive the one that started them, and are found again by the lock that each holds.

A process gets a descriptor with an exclusive lock before its program begins, and writes its id into the
file. The lock, not the id, says whether it lives: it cannot be taken for another process that got its id.
"""

from __future__ import annotations

import fcntl
import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from trackbridge.errors import BridgeError
from trackbridge_adapters.local.locks import is_held

# Not ``-m``: that puts the current folder first on the path, where a user's ``logging.py`` would be taken
# for Python's own. The last entries serve interpreters that do not have this package installed.
_BOOTSTRAP = (
    "import sys, runpy; sys.path[:] = [entry for entry in sys.path if entry]; "
    "module, *sys.path[len(sys.path):] = sys.argv.pop(1).split({separator!r}); "
    "runpy.run_module(module, run_name='__main__', alter_sys=True)"
)


def python_command(module: str, *arguments: str, python: str = sys.executable) -> list[str]:
    """Return the command that runs a module of ours."""
    adapters = str(Path(__file__).parent.parent.parent)
    core = str(Path(inspect.getfile(BridgeError)).parent.parent)
    places = os.pathsep.join([module, core, adapters])
    return [python, "-c", _BOOTSTRAP.format(separator=os.pathsep), places, *arguments]


class Process:
    """One process that holds a lock; started here, or adopted."""

    def __init__(self, lock: Path, popen: subprocess.Popen[bytes] | None, pid: int) -> None:
        self._lock = lock
        self._popen = popen
        self.pid = pid

    @property
    def is_running(self) -> bool:
        """False once it has ended."""
        if self._popen is not None:
            return self._popen.poll() is None
        return is_held(self._lock) and _lives(self.pid)

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs, and for one that was adopted."""
        return self._popen.returncode if self._popen is not None else None

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self.exit_code
        if code is None:
            return "it ended"
        return f"it was killed by signal {-code}" if code < 0 else f"it ended with exit code {code}"

    def terminate(self) -> None:
        """Ask it to end."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it with everything that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def start(command: Sequence[str], *, lock: Path, log: int, environment: Mapping[str, str]) -> Process:
    """Start a process in a session of its own; it holds the lock until it ends."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)

    def hold() -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)

    try:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(environment),
            cwd="/",
            start_new_session=True,
            pass_fds=(descriptor,),
            preexec_fn=hold,
        )
    finally:
        os.close(descriptor)
    return Process(lock, popen, popen.pid)


def adopt(lock: Path) -> Process | None:
    """Return the process that holds a lock, None when nobody does.

    What a process that has died left behind (its workers inherit the lock) is ended.
    """
    if not is_held(lock):
        return None
    text = lock.read_text("ascii")
    if not text.isdecimal():  # between the locking and the writing: the one who started it was killed there
        return None
    found = Process(lock, None, int(text))
    if found.is_running:
        return found
    found.kill()
    return None


def _lives(pid: int) -> bool:
    """Tell whether a process runs; one that is dead and not yet collected does not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except FileNotFoundError:  # no such file system here, or the process ended just now
        return not Path("/proc/self/stat").exists()
    return state != "Z"
