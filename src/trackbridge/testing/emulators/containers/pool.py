"""All containers of an emulator: started, ended together, and gone with it however it ends."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trackbridge.testing.emulators.containers import mounts
from trackbridge.testing.emulators.containers.process import Container, Launch, Watchdog

NAME_CHARS_MAX = 64
"""How much of a name a folder's has: file systems take 255 bytes, and clouds as many for a job's."""

ROOT_CHARS_MAX = 50
"""Of the folder of all, for temporary files in it: the path of a socket has 104 bytes at most, and 40 are
multiprocessing's own. macOS has longer ones."""


class Containers:
    """All containers of an emulator.

    Args:
        prefix: How the name of the folder that all their folders are in begins.
        roots: The paths that every container sees below its folder, such as ``/opt/ml``.
    """

    def __init__(self, prefix: str, roots: Sequence[str] = ()) -> None:
        self.is_mounted = mounts.namespace() is not None
        """Whether containers see their roots themselves; else the paths are rewritten."""
        self._prefix, self._roots = prefix, tuple(roots)
        self._root: Path | None = None
        self._watchdog: Watchdog | None = None
        self._running: dict[Container, Path] = {}  # with its folder for temporary files
        self._lock = threading.Lock()
        self._is_closed = False

    def folder(self, name: str) -> Path:
        """Make a scratch folder with an empty folder for every root.

        Raises:
            OSError: The emulator was closed.
        """
        with self._lock:
            if self._is_closed:
                raise OSError("the emulator is closed")
            if self._root is None:
                self._root = Path(tempfile.mkdtemp(prefix=self._prefix)).resolve()
                self._watchdog = Watchdog(self._root)
        made = Path(tempfile.mkdtemp(prefix=f"{name[:NAME_CHARS_MAX]}-", dir=self._root))
        for root in self._roots:
            (made / root.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return made

    def launch(self, launch: Launch) -> Container:
        """Start a program; ``python3`` in its command is this very Python.

        Args:
            launch: What runs, in a folder made by ``folder``; its variables are beside ``PATH``, ``HOME``,
                ``LANG`` and ``TMPDIR``, a folder that goes with it; its roots beside those that all see.

        Raises:
            OSError: It is not there, or the emulator was closed.
        """
        for root in launch.roots:
            (launch.folder / root.lstrip("/")).mkdir(parents=True, exist_ok=True)
        with self._lock:
            if self._is_closed:
                raise OSError("the emulator is closed")
            temporary = self._temporary()
            variables = base_variables(launch.folder) | {"TMPDIR": str(temporary)}
            whole = replace(
                launch,
                environment=variables | dict(launch.environment),
                roots=(*self._roots, *launch.roots),
            )
            try:
                made = Container(whole, is_mounted=self.is_mounted)
            except BaseException:
                temporary.rmdir()
                raise
            self._running[made] = temporary
            self._tell(made, is_running=True)
        return made

    def _temporary(self) -> Path:
        """Make a folder for temporary files; not in a container's own, whose path may be too long."""
        is_short = len(str(self._root)) <= ROOT_CHARS_MAX
        return Path(tempfile.mkdtemp(prefix="t", dir=self._root if is_short else None)).resolve()

    def _tell(self, container: Container, *, is_running: bool) -> None:
        if self._watchdog is not None:
            self._watchdog.tell(container.group, is_running=is_running)

    def forget(self, container: Container) -> None:
        """Kill a container, and remove its temporary files; its folder stays."""
        container.kill()
        self._tell(container, is_running=False)
        with self._lock:
            temporary = self._running.pop(container, None)
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)

    def discard(self, container: Container | None, folder: Path) -> None:
        """Kill a container, and remove its folder."""
        if container is not None:
            self.forget(container)
        shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Kill every container and remove all folders; none can be started any more."""
        with self._lock:
            self._is_closed = True
            running, self._running = self._running, {}
        for container, temporary in running.items():
            container.kill()
            shutil.rmtree(temporary, ignore_errors=True)
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
        if self._watchdog is not None:
            self._watchdog.close()


def base_variables(folder: Path) -> dict[str, str]:
    """Return what a container has before its own variables; ``python3`` is this very Python."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {"PATH": path, "HOME": str(folder / "work"), "LANG": "C.UTF-8"}
