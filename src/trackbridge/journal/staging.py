"""Copies of artifacts that wait for delivery: what was logged is what is sent, whatever the file becomes."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from trackbridge.domain.ids import mint_id
from trackbridge.errors import InvalidInput, JournalFull
from trackbridge.journal.folder import JournalFolder

if TYPE_CHECKING:
    from typing_extensions import Buffer

_FICLONE = 0x40049409  # ioctl of linux/fs.h: share the bytes, copy on write
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Staged:
    """A staged copy: its name below ``staged/``, digest (``sha256:…``) and size in bytes."""

    name: str
    digest: str
    size: int


def staged_path(folder: Path, name: str) -> Path:
    """Return a staged file by the name that a record has for it.

    A name that leads out of the folder, as only a forged journal has it, leads to nothing.
    """
    is_inside = name not in ("", ".", "..") and "/" not in name and "\0" not in name
    return folder / (name if is_inside else NOTHING)


NOTHING = "none"
"""Names no staged file: these have minted ids."""


def stage_file(folder: JournalFolder, source: Path) -> Staged:
    """Copy a file into the journal, sharing its blocks where the file system can.

    Raises:
        InvalidInput: The source is not a readable regular file.
        JournalFull: The disk is full; nothing is left behind.
    """
    try:
        with open(source, "rb", opener=_without_waiting) as original:
            if not os.path.isfile(original.fileno()):
                raise InvalidInput(f"{source} is not a regular file", operation="log_artifact")
            return _stage(folder, original.fileno())
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise InvalidInput(
            f"{source} cannot be read: {error.strerror}",
            operation="log_artifact",
            hint="check the path; folders are logged with log_artifacts",
        ) from error


def stage_bytes(folder: JournalFolder, content: bytes) -> Staged:
    """Stage what is in memory.

    Raises:
        JournalFull: The disk is full; nothing is left behind.
    """
    name = mint_id()
    _write(folder.staged / name, content)
    return Staged(name, f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))


class Incoming:
    """A staged file that comes block by block; until it is finished nothing counts on it.

    ``write`` and ``digest`` may run on two threads for the same block, each for one block after the other.

    Args:
        folder: Where it lies: the staged files of a journal.

    Raises:
        JournalFull: The disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / mint_id()
        self._lock = threading.Lock()
        self.size = 0
        """Bytes that were written."""
        self._digest = hashlib.sha256()
        try:
            self._descriptor = _private(str(self.path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
        except OSError as error:
            raise _full(error) from error

    def write(self, block: Buffer) -> None:
        """Append a block.

        Raises:
            JournalFull: The disk is full; what there is of the file is to be discarded.
        """
        rest = memoryview(block)
        try:
            with self._lock:
                while rest:
                    written = os.write(self._descriptor, rest)
                    rest = rest[written:]
                    self.size += written
        except OSError as error:
            raise _full(error) from error

    def digest(self, block: Buffer) -> None:
        """Take a block into the digest."""
        self._digest.update(block)

    def finish(self) -> Staged:
        """Return the file as a whole one."""
        self._close()
        return Staged(self.path.name, f"sha256:{self._digest.hexdigest()}", self.size)

    def discard(self) -> None:
        """Remove the file; twice succeeds."""
        self._close()
        self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        with self._lock:  # another thread may be about to write, and the number go to another file
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1


def _stage(folder: JournalFolder, source: int) -> Staged:
    path = folder.staged / mint_id()
    try:
        with open(path, "x+b", opener=_private) as copy:
            shared = _share(source, copy.fileno())
            digest, size = _digest(copy.fileno()) if shared else _digest(source, copy)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _full(error) from error
    return Staged(path.name, digest, size)


def _digest(source: int, copy: BinaryIO | None = None) -> tuple[str, int]:
    """Return the digest and size of an open file, copying it on the way where asked."""
    digest, size = hashlib.sha256(), 0
    while chunk := os.pread(source, _CHUNK_BYTES, size):
        digest.update(chunk)
        size += len(chunk)
        if copy is not None:
            copy.write(chunk)
    return f"sha256:{digest.hexdigest()}", size


def _share(source: int, target: int) -> bool:
    """Let the target share the source's blocks; False where the file system cannot."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    try:
        with open(path, "xb", opener=_private) as file:
            file.write(content)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _full(error) from error


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe has nobody who writes


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _full(error: OSError) -> Exception:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return error
    return JournalFull(
        f"the artifact was not staged: {error.strerror}",
        operation="log_artifact",
        hint="free disk space and log it again",
    )
