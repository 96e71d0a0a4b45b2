"""One journal's folder: its description, locks, segments, markers of open runs and staged files."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trackbridge.domain.file_uris import file_uri
from trackbridge.domain.ids import is_minted, mint_id
from trackbridge.errors import JournalCorrupt, JournalError
from trackbridge.journal.format import FORMAT

_PARENT_MARK = "file:{journal-root}/.."
"""Stands for a local store that holds this journal, so that a moved project delivers to itself."""

LEFTOVER_S = 3600.0
"""How old a hidden folder is before it counts as left by a process that died while it made or removed it."""

_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True, slots=True)
class Description:
    """What ``journal.json`` says. ``destinations`` are tracking URIs without credentials."""

    destinations: tuple[str, ...]
    pid: int
    host: str
    created_ms: int


DELIVERED = "delivered"
"""The folder of notes beside journals: see ``JournalFolder.note_delivered``."""


class Lock:
    """A held ``flock``; it is released by ``release`` or by the death of the process.

    A forked process lets go of it at once: it would keep what it inherited beyond its parent's death.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        _locks.add(self)

    def release(self) -> None:
        """Release it; twice succeeds."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class JournalFolder:
    """Paths and locks of one journal. Opening one touches nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.staged = path / "staged"

    @property
    def journal_id(self) -> str:
        """The id by which the folder is named."""
        return self.path.name

    @classmethod
    def create(cls, root: Path, destinations: tuple[str, ...]) -> tuple[JournalFolder, Lock]:
        """Make a new folder below ``root`` and hold its writer lock.

        The lock is taken before the folder gets its name, so that nobody sees it without a living writer.
        """
        root.mkdir(parents=True, exist_ok=True)
        journal_id = mint_id()
        hidden = root / f".{journal_id}"
        hidden.mkdir(mode=0o700)
        (hidden / "staged").mkdir()
        (hidden / "open").mkdir()
        (hidden / "created").mkdir()
        (hidden / "inherited").mkdir()
        (hidden / "resumed").mkdir()
        lock = _lock(hidden / "writer.lock", fcntl.LOCK_EX)
        assert lock is not None  # nobody else knows the name
        description = {
            "format": FORMAT,
            "destinations": [_portable(uri, root) for uri in destinations],
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "created_ms": time.time_ns() // 1_000_000,
        }
        (hidden / "journal.json").write_text(json.dumps(description), encoding="utf-8")
        path = root / journal_id
        hidden.rename(path)
        return cls(path), lock

    def describe(self) -> Description:
        """Read ``journal.json``.

        Raises:
            JournalCorrupt: It is missing or damaged.
        """
        return self._described(self.path / "journal.json")

    def described_by(self, file: Path) -> tuple[str, ...]:
        """Return the destinations that a description names which is to be this journal's.

        Raises:
            JournalCorrupt: It is missing or damaged.
        """
        return self._described(file).destinations

    def _described(self, file: Path) -> Description:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            named = content["destinations"]
            if not named or not isinstance(named, list) or not all(isinstance(uri, str) for uri in named):
                raise ValueError("it names no destination")
            return Description(
                destinations=tuple(self._absolute(uri) for uri in named),
                pid=int(content["pid"]),
                host=str(content["host"]),
                created_ms=int(content["created_ms"]),
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise JournalCorrupt(
                f"the description of journal {self.journal_id} cannot be read: {error}",
                resource=str(self.path),
                hint="name the destination by hand: bridge sync run URI",
            ) from error

    def _absolute(self, uri: str) -> str:
        return file_uri(self.path.parent.parent) if uri == _PARENT_MARK else uri

    def is_described(self) -> bool:
        """Tell whether ``journal.json`` is there, whatever it says."""
        return os.path.exists(self.path / "journal.json")

    def writer_lives(self) -> bool:
        """Tell whether the writing process is alive and has not closed the journal.

        A journal of another user, or on a read-only disk, counts as living: it is not ours to deliver.
        """
        try:
            lock = _lock(self.path / "writer.lock", fcntl.LOCK_SH)  # shared: not in the way of other checks
        except FileNotFoundError:
            return False
        if lock is None:
            return True
        lock.release()
        return False

    def lock_delivery(self) -> Lock | None:
        """Take the delivery lock, or return None when somebody else delivers or the folder is gone.

        None, too, for a journal of another user, or on a read-only disk.
        """
        if not self.is_described():
            return None
        try:
            lock = _lock(self.path / "delivery.lock", fcntl.LOCK_EX)
        except FileNotFoundError:
            return None
        if lock is not None and not self.is_described():  # delivered and gone meanwhile
            lock.release()
            return None
        return lock

    def segment(self, number: int) -> Path:
        """Return the path of a segment."""
        return self.path / f"{number:08d}.log"

    def segment_numbers(self) -> list[int]:
        """Return the numbers of the segments that exist, in order."""
        names = (path.name for path in self.path.glob("*.log"))
        return sorted(int(name[:8]) for name in names if name[:8].isdigit())

    def segment_bytes(self) -> int:
        """Return the size of all segments together."""
        total = 0
        for number in self.segment_numbers():
            with contextlib.suppress(FileNotFoundError):  # delivered and deleted meanwhile
                total += self.segment(number).stat().st_size
        return total

    def last_written_ms(self) -> int:
        """Return the time of the last record, by the clock of the file system."""
        numbers = self.segment_numbers()
        path = self.segment(numbers[-1]) if numbers else self.path
        return path.stat().st_mtime_ns // 1_000_000

    def mark_open(self, run_id: str) -> None:
        """Note that this process has the run open, for others in the same project to see."""
        (self.path / "open" / run_id).touch()

    def unmark_open(self, run_id: str) -> None:
        """Take the note back."""
        (self.path / "open" / run_id).unlink(missing_ok=True)

    def has_open(self, run_id: str) -> bool:
        """Tell whether the run is noted as open."""
        return (self.path / "open" / run_id).exists()

    def mark_created(self, run_id: str) -> None:
        """Note that this journal creates the run."""
        (self.path / "created" / run_id).touch()

    def creates(self, run_id: str) -> bool:
        """Tell whether this journal creates the run; it does until it, or a client's run, is delivered."""
        return (self.path / "created" / run_id).exists()

    def unmark_created(self, run_id: str) -> None:
        """Take the note back, once every destination has the run: a journal may live for months."""
        (self.path / "created" / run_id).unlink(missing_ok=True)

    def mark_resumed(self, run_id: str) -> None:
        """Note that this process has taken up a run that exists, and answers for its end."""
        (self.path / "resumed" / run_id).touch()

    def resumes(self, run_id: str) -> bool:
        """Tell whether this journal takes the run up; it does until it is delivered and gone."""
        return (self.path / "resumed" / run_id).exists()

    def mark_inherited(self, run_id: str) -> None:
        """Note that whoever else answered for the run has died, so that it is to be closed with this one."""
        with contextlib.suppress(FileNotFoundError):  # the folder is delivered and gone
            (self.path / "inherited" / run_id).touch()

    def inherits(self, run_id: str) -> bool:
        """Tell whether whoever else answered for the run has died."""
        return (self.path / "inherited" / run_id).exists()

    def mark_closed(self) -> None:
        """Note that the writer ended in good order: runs that it left open were left so on purpose."""
        with contextlib.suppress(OSError):  # a full disk does not keep a program from ending
            (self.path / "closed").touch()

    def was_closed(self) -> bool:
        """Tell whether the writer ended in good order."""
        return (self.path / "closed").exists()

    def request_flush(self) -> None:
        """Ask whoever delivers to do so at once."""
        if not self.is_described():
            return
        with contextlib.suppress(FileNotFoundError):  # the folder is delivered and gone meanwhile
            (self.path / "flush").touch()

    def flush_requested(self) -> bool:
        """Tell whether somebody waits, and take the request."""
        try:
            (self.path / "flush").unlink()
        except FileNotFoundError:
            return False
        return True

    def note_delivered(self) -> None:
        """Leave word, in the home that a platform keeps for a job, that the journal was delivered whole.

        What is deleted here stays in the platform's copy, as it was some time before: without the note,
        whoever brings it home would take old values for new ones.
        """
        if os.environ.get("BRIDGE_JOB_ID") and os.environ.get("BRIDGE_HOME"):
            note = self.path.parent / DELIVERED / self.journal_id
            note.parent.mkdir(mode=0o700, exist_ok=True)
            note.write_text("delivered\n", encoding="ascii")

    def remove(self) -> None:
        """Delete the folder; it is hidden first, so that nobody adopts or writes to what is left.

        Raises:
            OSError: It cannot be renamed. Nothing was deleted.
        """
        hidden = self.path.with_name(f".{self.journal_id}")
        with contextlib.suppress(FileNotFoundError):  # somebody has deleted it
            self.path.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def journals(root: Path) -> Iterator[JournalFolder]:
    """Iterate over the journals below ``root`` that this user may deliver, oldest first."""
    try:
        names = sorted(os.listdir(root))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    for name in names:
        folder = JournalFolder(root / name)
        if is_minted(name) and os.access(folder.path, os.R_OK | os.W_OK | os.X_OK) and folder.is_described():
            yield folder


def sweep(root: Path) -> None:
    """Delete what processes left that died while they made or removed a journal's folder."""
    old = time.time() - LEFTOVER_S
    for path in root.glob(".*"):
        if is_minted(path.name[1:]) and not JournalFolder(path).writer_lives():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < old:
                    shutil.rmtree(path, ignore_errors=True)


def _portable(uri: str, root: Path) -> str:
    return _PARENT_MARK if uri == file_uri(root.parent) else uri


def _lock(path: Path, kind: int) -> Lock | None:
    """Lock a file; None when somebody holds it, or the file is not this user's to lock.

    An exclusive lock makes the file, a shared one does not.

    Raises:
        FileNotFoundError: There is no file, or no folder for it.
        JournalError: It cannot be locked for another reason.
    """
    flags = os.O_RDONLY if kind == fcntl.LOCK_SH else os.O_RDWR | os.O_CREAT
    descriptor = -1
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        if isinstance(error, FileNotFoundError):
            raise
        if isinstance(error, BlockingIOError) or error.errno in _NOT_OURS:
            return None
        raise JournalError(
            f"{path} cannot be locked: {error}",
            resource=str(path),
            hint="set BRIDGE_HOME to a folder on a local disk, whose file system has locks",
        ) from error
    return Lock(descriptor)


_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


def _release_all_in_fork() -> None:
    for lock in tuple(_locks):
        lock.release()


os.register_at_fork(after_in_child=_release_all_in_fork)
