"""The end of a container with all that runs in it, also what its program put in groups of its own."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from trackbridge.testing.emulators.containers import Container

ROUNDS_MAX = 100


def kill_all(container: Container) -> None:
    """Kill a container's program and everything below it, without notice."""
    if container.exit_code is not None:  # its number may be another's by now
        container.kill()
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(container.group, signal.SIGSTOP)  # so that it starts nothing in place of what ends
    for _ in range(ROUNDS_MAX):
        found = _below(container.group)
        if not found:
            break
        for process in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
    container.kill()


def _below(root: int) -> list[int]:
    """Return the living processes below one; none where the system has no /proc."""
    children: dict[int, list[tuple[int, bool]]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append((int(folder.name), fields[0] in "ZX"))
    found, waiting = [], [root]
    while waiting:
        for process, is_dead in children.get(waiting.pop(), ()):
            waiting.append(process)
            if not is_dead:
                found.append(process)
    return found
