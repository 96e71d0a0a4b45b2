"""When what is written to the disk is made to survive a loss of power: at once, or many together.

A disk that is asked for sixteen files at once writes them in little more time than one.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

SYNCS_AT_ONCE = 16

Known = dict[tuple[str, str], tuple[int, int, str]]
"""Size, time of change and digest of files, by run and path."""


class Syncing(Protocol):
    """What an artifact store does with each file and folder that it writes."""

    known: Known | None
    """Digests that wait until the bytes of their files last; None where none has to wait."""

    def written(self, file: BinaryIO) -> None:
        """Take note of a file whose bytes are complete, before it gets its name."""

    def placed(self, file: Path) -> None:
        """Take note of a file that has got its name."""

    def folder(self, folder: Path) -> None:
        """Take note of a folder that has other entries than before."""


class AtOnce(Syncing):
    """Each by itself, before the call returns."""

    known = None

    def written(self, file: BinaryIO) -> None:
        """Sync the bytes."""
        file.flush()
        os.fsync(file.fileno())

    def placed(self, file: Path) -> None:
        """Sync the name."""
        sync_folder(file.parent)

    def folder(self, folder: Path) -> None:
        """Sync the entries."""
        sync_folder(folder)


class Together(Syncing):
    """All when ``settle`` is called. Until then nothing that lasts says which bytes a file has."""

    known: Known

    def __init__(self) -> None:
        self.known = {}
        self._files: dict[Path, None] = {}
        self._folders: dict[Path, None] = {}

    def written(self, file: BinaryIO) -> None:
        """Leave the bytes to the system for now."""
        file.flush()

    def placed(self, file: Path) -> None:
        """Note the file for later."""
        self._files[file] = None
        self._folders[file.parent] = None

    def folder(self, folder: Path) -> None:
        """Note the folder for later."""
        self._folders[folder] = None

    def settle(self) -> None:
        """Sync the bytes of all files, then all names."""
        with ThreadPoolExecutor(SYNCS_AT_ONCE) as pool:
            list(pool.map(_sync_file, self._files))
            list(pool.map(_sync_there, self._folders))
        self._files.clear()
        self._folders.clear()


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder survive a power loss, where the system can open folders."""
    if os.name != "nt":
        _sync(folder)


def _sync_file(file: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):  # deleted meanwhile
        _sync(file)


def _sync_there(folder: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        sync_folder(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
