"""Containers without docker: a program of this machine in a process group and a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from trackbridge.testing.emulators.sagemaker import opt_ml
from trackbridge.testing.emulators.sagemaker.core import Cloud

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


class Container:
    """A program that runs; its output goes line by line to ``on_line``.

    Args:
        command: What runs; a path in it below ``/opt/ml`` is seen below ``folder``.
        folder: Its scratch folder; ``folder/opt/ml`` is its ``/opt/ml``.
        environment: All variables that it gets.
        on_line: Takes each line of output and error, called from a thread.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
        is_mounted: bool,
    ) -> None:
        self.folder = folder
        work = folder / "work"
        work.mkdir(parents=True, exist_ok=True)
        variables = dict(environment)
        if not is_mounted:
            variables = {name: opt_ml.rewritten(value, folder) for name, value in variables.items()}
        self._process = subprocess.Popen(
            opt_ml.command_seeing(folder, command, is_mounted=is_mounted),
            cwd=work,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=_read, args=(self._process.stdout, on_line), daemon=True)
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


class Containers:
    """All containers of an emulator, and what each of them gets."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.is_mounted = opt_ml.namespace() is not None
        """Whether containers see ``/opt/ml`` itself; else the path is rewritten."""
        self._root: Path | None = None
        self._watchdog: Watchdog | None = None
        self._running: set[Container] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def folder(self, name: str) -> Path:
        """Make a scratch folder with an empty ``opt/ml``."""
        with self._lock:
            if self._root is None:
                self._root = Path(tempfile.mkdtemp(prefix="bridge-sagemaker-")).resolve()
                self._watchdog = Watchdog(self._root)
        made = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._root))
        (made / "opt" / "ml").mkdir(parents=True)
        return made

    def start(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        role: str = "",
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
    ) -> Container:
        """Start a program, with the keys of a role.

        Raises:
            OSError: It is not there, or the emulator was closed.
        """
        variables = self.variables(folder, role) | dict(environment)
        with self._lock:
            if self._is_closed:
                raise OSError("the emulator is closed")
            made = Container(
                command, folder=folder, environment=variables, on_line=on_line, is_mounted=self.is_mounted
            )
            self._running.add(made)
            self._tell(made, is_running=True)
        return made

    def _tell(self, container: Container, *, is_running: bool) -> None:
        if self._watchdog is not None:
            self._watchdog.tell(container.group, is_running=is_running)

    def variables(self, folder: Path, role: str = "") -> dict[str, str]:
        """Return what a container has before its own variables; ``python3`` is this very Python."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        place = {"AWS_REGION": self.cloud.region, "AWS_DEFAULT_REGION": self.cloud.region}
        return {
            "PATH": path,
            "HOME": str(folder / "work"),
            "LANG": "C.UTF-8",
            **place,
            **self.cloud.role_environment(role),
        }

    def forget(self, container: Container) -> None:
        """Kill a container; its folder stays."""
        container.kill()
        self._tell(container, is_running=False)
        with self._lock:
            self._running.discard(container)

    def discard(self, container: Container | None, folder: Path) -> None:
        """Kill a container, and remove its folder."""
        if container is not None:
            self.forget(container)
        shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Kill every container and remove all folders; none can be started any more."""
        with self._lock:
            self._is_closed = True
            running, self._running = self._running, set()
        for container in running:
            container.kill()
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
        if self._watchdog is not None:
            self._watchdog.close()
