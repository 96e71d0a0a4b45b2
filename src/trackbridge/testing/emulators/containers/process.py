"""A container: a program of this machine in a process group and a folder of its own; and who ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from trackbridge.testing.emulators.containers import mounts

KILL_S = 10.0
"""How long a killed process may take to be gone."""
OUTPUT_S = 5.0
"""How long the last output of a container may take to be read after its end."""
_WATCH = """
import os, shutil, signal, sys
groups = set()
for line in sys.stdin:
    group = int(line)
    (groups.add if group > 0 else groups.discard)(abs(group))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


@dataclass(frozen=True, slots=True)
class Launch:
    """What a container runs.

    Args:
        command: What runs; paths in it below a root are seen below ``folder``.
        folder: Its scratch folder; ``folder/opt/ml`` is its ``/opt/ml``, when that is one of its roots.
        environment: Its variables.
        on_line: Takes each line of output and error, called from a thread.
        roots: The paths that it sees below its folder.
        work: Where it begins, as it sees it, such as ``/opt/ml/code``; without one, a folder of its own.
    """

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    on_line: Callable[[str], None]
    roots: Sequence[str] = ()
    work: str = ""


class Container:
    """A program that runs; its output goes line by line to ``on_line``.

    Args:
        launch: What runs, with all variables that it gets.
        is_mounted: Whether it sees its roots themselves; else the paths are rewritten.
    """

    def __init__(self, launch: Launch, *, is_mounted: bool) -> None:
        folder = self.folder = launch.folder
        (folder / "work").mkdir(parents=True, exist_ok=True)
        mounted = [root for root in launch.roots if is_mounted and mounts.can_mount(root)]
        others = [root for root in launch.roots if root not in mounted]
        begins = mounts.rewritten(launch.work, folder, others) or str(folder / "work")
        variables = launch.environment.items()
        self._process = subprocess.Popen(
            mounts.command_seeing(
                folder, launch.command, mounted=mounted, rewritten_roots=others, work=begins
            ),
            cwd=folder / "work" if mounted else begins,
            env={name: mounts.rewritten(value, folder, others) for name, value in variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(
            target=_read, args=(self._process.stdout, launch.on_line), daemon=True
        )
        self._reader.start()

    @property
    def group(self) -> int:
        """Its process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Its exit code, as docker tells it (128 + signal); None while it runs."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end and its last output; returns the exit code, None when it still runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
            self._reader.join(OUTPUT_S)
        return self.exit_code

    def ends_within(self, timeout_s: float) -> bool:
        """Wait for its end alone, and not for output that what it started may still write."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        return self._process.poll() is not None

    def terminate(self) -> None:
        """Ask it to end, as docker does: only its first process is told."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End it and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.wait(KILL_S)


def _read(output: IO[bytes], on_line: Callable[[str], None]) -> None:
    with output:
        for line in output:
            on_line(line.decode("utf-8", "replace").rstrip("\r\n"))


class Watchdog:
    """A process that ends what is left of containers when this one is killed; no cleanup of ours runs then.

    Args:
        root: The folder that is removed with them.
    """

    def __init__(self, root: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-SEc", _WATCH, str(root)],
            stdin=subprocess.PIPE,
            start_new_session=True,
            env={"PATH": os.defpath},
        )
        self._lock = threading.Lock()

    def tell(self, group: int, *, is_running: bool) -> None:
        """Tell it of a process group that runs, or does no longer."""
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(BrokenPipeError):
            if self._process.stdin.closed:
                return  # it has ended all that it was told of
            self._process.stdin.write(f"{group if is_running else -group}\n".encode())
            self._process.stdin.flush()

    def close(self) -> None:
        """Let it end what is left, and itself."""
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(KILL_S)
