"""Logs of jobs: kept in Blob storage while they are written, as the service keeps them."""

from __future__ import annotations

import threading
from pathlib import Path

from trackbridge.testing.emulators.azureml.core import Cloud
from trackbridge.testing.emulators.azureml.jobs_records import Job
from trackbridge.testing.emulators.azureml.run_files import RunFiles, artifact_place

LOG_CHARS_MAX = 10_000_000
"""How much of a log is kept: it is brought to Blob storage as a whole, again and again."""
TAIL_CHARS = 1_500
"""How much of a log's end an error shows."""


class JobLogs:
    """The logs of one job."""

    def __init__(self, cloud: Cloud, job: Job) -> None:
        self._cloud, self._job = cloud, job
        self._files = cloud.part(RunFiles)
        self._place = artifact_place(cloud, job.workspace_id).below(job.folder)
        self._texts: dict[str, list[str]] = {}
        self._sizes: dict[str, int] = {}
        self._changed: set[str] = set()
        self._followed: dict[str, tuple[Path, int]] = {}
        self._lock = threading.Lock()

    def write(self, path: str, line: str) -> None:
        """Add a line to a log, such as ``user_logs/std_log.txt``."""
        with self._lock:
            size = self._sizes.get(path, 0)
            if size > LOG_CHARS_MAX:
                return
            self._sizes[path] = size + len(line) + 1
            if self._sizes[path] > LOG_CHARS_MAX:
                line = _bound()
            self._texts.setdefault(path, []).append(f"{line}\n")
            self._changed.add(path)

    def follow(self, path: str, file: Path) -> None:
        """Take what a program writes to a file of its own for a log, as it is."""
        with self._lock:
            self._followed[path] = (file, 0)

    def let_go(self) -> None:
        """Follow no file any more: they are gone, and what was kept of them stays."""
        with self._lock:
            self._followed.clear()

    def keep(self) -> None:
        """Bring to Blob storage what was written since the last time."""
        with self._lock:
            changed = {path: "".join(self._texts[path]).encode() for path in self._changed}
            self._changed.clear()
            for path, (file, size) in self._followed.items():
                content = _read(file)
                if len(content) != size or path in changed:
                    changed[path] = content + changed.get(path, b"")
                    self._followed[path] = (file, len(content))
        for path, content in changed.items():
            place = self._place.below(path)
            self._cloud.storage.put(place.path, content, container=place.container, account=place.account)
        if changed:
            with self._cloud.lock:
                self._files.add(self._job.workspace_id, self._job.name, changed)

    def tail(self, path: str) -> str:
        """Return the end of a log."""
        with self._lock:
            written = "".join(self._texts.get(path, ()))
            if path in self._followed:
                written = _read(self._followed[path][0]).decode("utf-8", "replace") + written
            return written[-TAIL_CHARS:].strip()


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(LOG_CHARS_MAX + 1)
    except FileNotFoundError:
        return b""
    if len(content) <= LOG_CHARS_MAX:
        return content
    return content[:LOG_CHARS_MAX].rpartition(b"\n")[0] + f"\n{_bound()}\n".encode()


def _bound() -> str:
    return f"The emulator keeps no more than {LOG_CHARS_MAX} characters of a log."
