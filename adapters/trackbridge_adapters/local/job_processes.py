"""The processes of a job: which they are, and ending them without ever meeting another's.

On Linux, every process that a job started is found: below its runner, to which orphans fall back, and after
the runner's death by the variable ``BRIDGE_JOB_ID`` in its environment. Elsewhere only the process group of
the command is known, so that a process which has made itself independent is not found.

A process whose ``BRIDGE_JOB_ID`` is not that of the job belongs to somebody else: the runner of a job which
this job submitted, a server which it deployed. Neither it nor what is below it is touched.

Imports little: a job's runner pays for each import with the user's time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

IS_LINUX = sys.platform.startswith("linux")
JOB_VARIABLE = "BRIDGE_JOB_ID"
LEVEL_VARIABLE = "BRIDGE_JOB_LEVEL"
"""How many jobs a job was submitted from, one in the other."""

_SET_CHILD_SUBREAPER = 36
_ENDED = ("Z", "X")


class Process:
    """A process that is alive: its numbers, and its birth, which no later process of that number shares."""

    __slots__ = ("birth", "parent_id", "process_id", "session_id")

    def __init__(self, process_id: int, parent_id: int, session_id: int, birth: str) -> None:
        self.process_id = process_id
        self.parent_id = parent_id
        self.session_id = session_id
        self.birth = birth

    def send(self, number: signal.Signals) -> None:
        """Signal this process, and no other that has come in its place."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            try:
                handle = os.pidfd_open(self.process_id)
            except (AttributeError, OSError):  # an old Python or kernel; a process that is gone fails below
                handle = -1
            try:
                if birth_of(self.process_id) != self.birth:
                    return
                if handle >= 0:
                    signal.pidfd_send_signal(handle, number)
                else:
                    os.kill(self.process_id, number)
            finally:
                if handle >= 0:
                    os.close(handle)


def adopt_orphans() -> bool:
    """Let orphans below this process fall back to it rather than to the system; tell whether that works."""
    if not IS_LINUX:
        return False
    import ctypes

    try:
        return bool(ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (AttributeError, OSError):  # a libc without prctl
        return False


def birth_of(process_id: int) -> str | None:
    """Return what tells a process from any other that ever has its number; None when it has ended."""
    if IS_LINUX:
        found = _process(process_id)
        return found.birth if found else None
    import subprocess

    shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(process_id)], capture_output=True, text=True)
    return shown.stdout.strip() or None


def below(process_id: int, job_id: str) -> list[Process]:
    """Return the processes of the job below a process (Linux)."""
    children: dict[int, list[Process]] = {}
    for process in _processes():
        children.setdefault(process.parent_id, []).append(process)
    found, waiting = [], list(children.get(process_id, ()))
    while waiting:
        process = waiting.pop()
        if _job_of(process.process_id) in (job_id, None):
            found.append(process)
            waiting += children.get(process.process_id, ())
    return found


def remaining(job_id: str, leader_id: int | None, leader_birth: str | None) -> list[Process]:
    """Return the processes of a job whose runner is gone: by its variable, or by its leader's session."""
    leader_lives = leader_id is not None and birth_of(leader_id) == leader_birth is not None
    if not IS_LINUX:
        return [Process(leader_id, 0, leader_id, leader_birth or "")] if leader_id and leader_lives else []
    return [
        process
        for process in _processes()
        if _job_of(process.process_id) == job_id or (leader_lives and process.session_id == leader_id)
    ]


def group_lives(group_id: int) -> bool:
    """Tell whether a process group has members."""
    try:
        os.killpg(group_id, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def signal_group(group_id: int, number: signal.Signals) -> None:
    """Signal every member of a process group that is there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group_id, number)


def _processes() -> Iterator[Process]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            found = _process(int(name))
            if found is not None:
                yield found


def _process(process_id: int) -> Process | None:
    """Read /proc/PID/stat, see proc(5); the name in parentheses may hold anything."""
    try:
        with open(f"/proc/{process_id}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0].decode() in _ENDED:
        return None
    return Process(process_id, int(fields[1]), int(fields[3]), f"{_boot_id()} {int(fields[19])}")


def _boot_id() -> str:
    global _boot
    if not _boot:
        with open("/proc/sys/kernel/random/boot_id") as file:
            _boot = file.read().strip()
    return _boot


_boot = ""


def _job_of(process_id: int) -> str | None:
    """Return the job that a process was started in; None when its environment does not say."""
    prefix = f"{JOB_VARIABLE}=".encode()
    try:
        with open(f"/proc/{process_id}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:  # another user's, or gone
        return None
    return next(
        (item[len(prefix) :].decode("utf-8", "replace") for item in variables if item.startswith(prefix)),
        None,
    )
