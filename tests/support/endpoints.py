"""Endpoints of the local backend in tests: their processes, and waiting."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PATIENCE_S = 60.0


def processes_of(folder: Path, *parts: str) -> dict[int, str]:
    """Return the living processes whose command names a folder, and all of these parts."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if str(folder) in command and state != "Z" and all(part in command for part in parts):
            found[int(entry.name)] = command
    return found


def wait_until(holds: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {patience_s} s"
        time.sleep(0.01)


def no_process_left(folder: Path) -> None:
    """See that every process of a store's endpoints has ended; what has not is killed, and told."""
    deadline = time.monotonic() + 10
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = processes_of(folder)
    for process_id in left:
        kill(process_id)
    assert not left


def kill(process_id: int) -> None:
    """Send SIGKILL to a process that may be gone, and wait for its end."""
    with suppress(ProcessLookupError):
        os.kill(process_id, signal.SIGKILL)
    wait_until(lambda: not _lives(process_id), f"the end of process {process_id}")


def _lives(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
