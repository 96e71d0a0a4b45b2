"""Volumes of the Databricks double as folders of this machine, which is how the programs of jobs see them."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

VOLUMES = "/Volumes/"
PART = ".part"


class MountedVolumes:
    """A folder with the files of the volumes, once a job needs it, and what programs write there.

    Args:
        files: The double's files, by path, with the times of their changes in milliseconds.
        folders: The double's folders.
        now_s: The double's clock.
    """

    def __init__(
        self, files: dict[str, tuple[bytes, int]], folders: set[str], now_s: Callable[[], float]
    ) -> None:
        self._files = files
        self._folders = folders
        self._now_s = now_s
        self._lock = threading.Lock()
        self._root: Path | None = None
        self._seen: dict[str, tuple[int, int, int]] = {}

    def mount(self) -> str:
        """Return the folder above ``/Volumes``, with all files that there are."""
        with self._lock:
            if self._root is None:
                self._root = Path(tempfile.mkdtemp(prefix="trackbridge-volumes-"))
                for path in [path for path in self._files if path.startswith(VOLUMES)]:
                    self._put(path, self._files[path][0])
            return str(self._root)

    def unmount(self) -> None:
        """Forget the folder and all that is in it."""
        with self._lock:
            if self._root is not None:
                shutil.rmtree(self._root, ignore_errors=True)
            self._root = None
            self._seen.clear()

    def write(self, path: str, content: bytes) -> None:
        """Show programs a file that came by the Files API."""
        with self._lock:
            if self._root is not None and path.startswith(VOLUMES):
                self._put(path, content)

    def remove(self, path: str) -> None:
        """Take a file away that was deleted by the Files API."""
        with self._lock:
            if self._root is not None and path.startswith(VOLUMES):
                self._at(path).unlink(missing_ok=True)
                self._seen.pop(path, None)

    def read(self) -> None:
        """Take over what programs have written, changed and deleted."""
        with self._lock:
            if self._root is None:
                return
            found = {}
            for entry in self._root.rglob("*"):
                path = f"/{entry.relative_to(self._root)}"
                try:
                    if entry.is_dir():
                        if path.count("/") > 3:
                            self._folders.add(path)
                    elif not path.endswith(PART):
                        status = entry.stat()
                        found[path] = (status.st_size, status.st_mtime_ns, status.st_ino)
                        if self._seen.get(path) != found[path]:
                            self._files[path] = (entry.read_bytes(), int(self._now_s() * 1000))
                except FileNotFoundError:  # it was renamed meanwhile
                    continue
            for path in self._seen.keys() - found.keys():
                self._files.pop(path, None)
            self._seen = found

    def _put(self, path: str, content: bytes) -> None:
        place = self._at(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        status = place.stat()
        self._seen[path] = (status.st_size, status.st_mtime_ns, status.st_ino)

    def _at(self, path: str) -> Path:
        assert self._root is not None
        return self._root / path.lstrip("/")
