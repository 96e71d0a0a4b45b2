"""Files of a job that go to Blob storage while its program runs: what it logs, its outputs, what is mounted.

The service does so with ``./outputs`` and ``./logs`` ("automatically uploaded"; what was there before a node
was taken away is still shown, MachineLearningNotebooks#1575), and with folders that are mounted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trackbridge.testing.emulators.azureml.core import Cloud
from trackbridge.testing.emulators.azureml.jobs_files import files_below
from trackbridge.testing.emulators.azureml.places import Place


class Stored:
    """A folder of a job, and where its files go.

    Args:
        cloud: That has the storage.
        folder: The folder.
        place: Where the files go.
        is_mount: Whether files that are deleted are deleted there, too.
    """

    def __init__(self, cloud: Cloud, folder: Path, place: Place, *, is_mount: bool = False) -> None:
        self._cloud, self._folder, self._place, self._is_mount = cloud, folder, place, is_mount
        self._known: dict[str, tuple[int, int]] = dict(self._states()) if is_mount else {}

    def bring_away(self) -> list[str]:
        """Upload what has changed since the last time; returns the paths of new files."""
        found = dict(self._states())
        added = [path for path in found if path not in self._known]
        for path, state in found.items():
            if self._known.get(path) != state:
                self._put(path)
        for path in self._known.keys() - found.keys() if self._is_mount else ():
            place = self._place.below(path)
            self._cloud.storage.delete(place.path, container=place.container, account=place.account)
        self._known = found
        return added

    def _put(self, path: str) -> None:
        try:
            content = (self._folder / path).read_bytes()
        except FileNotFoundError:  # gone meanwhile
            return
        place = self._place.below(path)
        self._cloud.storage.put(place.path, content, container=place.container, account=place.account)

    def _states(self) -> Iterator[tuple[str, tuple[int, int]]]:
        for path in files_below(self._folder):
            try:
                status = (self._folder / path).stat()
            except FileNotFoundError:
                continue
            yield path, (status.st_mtime_ns, status.st_size)


class StoredOfRun(Stored):
    """A folder whose files become the run's, such as ``outputs``; what is deleted in it stays there."""

    def __init__(self, cloud: Cloud, folder: Path, place: Place, name: str) -> None:
        super().__init__(cloud, folder, place)
        self.name = name
