"""Files in a folder of this machine, for servers that hand out ``file:`` roots.

Symbolic links below the run's folder are never followed: as a file or folder they do not exist.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from trackbridge.errors import AuthError, BridgeError, NotFound, Rejected, Unavailable, Unsupported
from trackbridge_adapters._mlflow_rest.artifacts_files import (
    BLOCK_BYTES,
    INCOMING,
    Entry,
    Files,
    incoming_problem,
)

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_COLLISIONS = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP)
_NAMES = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)


class FolderFiles(Files):
    """Files of one run below a folder."""

    keeps_digests = False
    may_collide = True

    def __init__(self, folder: Path, *, adapter: str) -> None:
        self.root = folder.as_uri()
        self._folder = folder
        self._adapter = adapter

    def problem(self, path: str) -> str | None:
        return incoming_problem(path)

    def address(self, path: str) -> str:
        return (self._folder / path).as_uri()

    def held(self, path: str) -> Entry | None:
        return self.find(path)

    def put(self, path: str, source: BinaryIO, *, digest: str, size: int) -> str:
        with self._translating("artifacts.put", path):
            target = self._folder / path
            if not self._is_reachable(path):
                self._make_folders(target.parent)
            temporary = target.parent / f"{INCOMING}{os.getpid()}-{os.urandom(8).hex()}"
            try:
                with temporary.open("xb") as writer:
                    shutil.copyfileobj(source, writer, BLOCK_BYTES)
                    writer.flush()
                    os.fsync(writer.fileno())
                    version = _version(os.fstat(writer.fileno()))
                os.replace(temporary, target)
            finally:
                with suppress(FileNotFoundError):
                    temporary.unlink()
            return version

    def open(self, path: str) -> BinaryIO:
        with self._translating("artifacts.open", path):
            if not self._is_reachable(path):
                raise NotFound("there is no such artifact", adapter=self._adapter)
            return os.fdopen(os.open(self._folder / path, os.O_RDONLY | _NO_FOLLOW), "rb")

    def find(self, path: str) -> Entry | None:
        with self._translating("artifacts.stat", path):
            return self._entry(path) if self._is_reachable(path) else None

    def children(self, folder: str) -> Sequence[Entry]:
        with self._translating("artifacts.list", folder):
            if not self._is_reachable(f"{folder}/any" if folder else "any"):
                return ()
            names = os.listdir(self._folder / folder)
            found = [self._entry(f"{folder}/{name}" if folder else name) for name in names if _is_shown(name)]
            return [entry for entry in found if entry is not None]

    def delete(self, path: str, entry: Entry) -> None:
        with self._translating("artifacts.delete", path), suppress(FileNotFoundError):
            if entry.is_dir:
                shutil.rmtree(self._folder / path)
            else:
                (self._folder / path).unlink()
            for parent in (self._folder / path).parents:
                if parent == self._folder or not _drop_if_empty(parent):
                    return

    def digest(self, path: str) -> str | None:
        return None

    def presign(self, path: str, expires_s: int) -> str:
        raise Unsupported(
            "files in a folder have no address for others",
            adapter=self._adapter,
            operation="artifacts.presign",
        )

    def _entry(self, path: str) -> Entry | None:
        status = _status(self._folder / path)
        name = path.rpartition("/")[2]
        if status is not None and stat.S_ISDIR(status.st_mode):
            return Entry(name, is_dir=True)
        if status is not None and stat.S_ISREG(status.st_mode):
            return Entry(name, size=status.st_size, version=_version(status))
        return None

    def _is_reachable(self, path: str) -> bool:
        """Tell whether real folders, no symbolic links, lead from the run's folder to the path's."""
        folder = self._folder
        for part in ("", *path.split("/")[:-1]):
            folder = folder / part
            status = _status(folder)
            if status is None or not stat.S_ISDIR(status.st_mode):
                return False
        return True

    def _make_folders(self, parent: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = self._folder
        for part in parent.relative_to(self._folder).parts:
            folder = folder / part
            with suppress(FileExistsError):
                folder.mkdir()
            if not stat.S_ISDIR(folder.lstat().st_mode):
                raise NotADirectoryError(errno.ENOTDIR, "no folder", str(folder))

    @contextmanager
    def _translating(self, operation: str, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if isinstance(error, BridgeError):
                raise
            raise self._meaning(error, operation, f"artifact {path[:80]!r}") from error

    def _meaning(self, error: OSError, operation: str, resource: str) -> BridgeError:
        where = {"adapter": self._adapter, "operation": operation, "resource": resource}
        if isinstance(error, PermissionError):
            hint = (
                "check who owns the folder, or let the server hand files on (mlflow server --serve-artifacts)"
            )
            return AuthError(f"the folder does not allow it ({error.strerror})", hint=hint, **where)
        if isinstance(error, FileNotFoundError) and operation != "artifacts.put":
            return NotFound("there is no such artifact", **where)
        if error.errno in _COLLISIONS:
            return Rejected("the path is both a file and a folder", hint="use another path", **where)
        if error.errno in _NAMES:
            return Rejected("the file system cannot hold the name", hint="use a plainer name", **where)
        return Unavailable(f"the folder cannot be used ({error.strerror})", **where)


def _version(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns}-{status.st_ino}"


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_shown(name: str) -> bool:
    """Tell whether a name is Unicode, and not that of a file on its way."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return not name.startswith(INCOMING)


def _drop_if_empty(folder: Path) -> bool:
    with suppress(OSError):
        folder.rmdir()
        return True
    return False
