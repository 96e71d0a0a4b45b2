"""The writing side of a journal: one ``append`` a record, a few microseconds each.

States a user is told of, each once, by ``warnings.warn``: the journal is full (the disk, or its bound)
and records are refused; it accepts again, and how many were refused meanwhile. With ``strict`` a refused
record raises JournalFull instead.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from trackbridge.errors import InvalidInput, JournalError, JournalFull
from trackbridge.journal.folder import JournalFolder, Lock
from trackbridge.journal.format import (
    FRAME,
    FRAME_BYTES,
    FSYNC_INTERVAL_S,
    HEADER_BYTES,
    RECORD_BYTES_MAX,
    SEGMENT_BYTES_MAX,
    encode_header,
    encode_record,
)

BYTES_MAX = 10 * 1000**3
"""Default bound of one journal: 10 GB, or a tenth of the free disk, whichever is less."""
FREE_SHARE_MAX = 0.1

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class JournalWarning(UserWarning):
    """The journal's state changed in a way that the user should know of."""


@dataclass(frozen=True, slots=True)
class WriterOptions:
    """Bounds of a writer. ``bytes_max`` counts what is not delivered yet, per process."""

    bytes_max: int | None = None
    segment_bytes_max: int = SEGMENT_BYTES_MAX
    fsync_interval_s: float = FSYNC_INTERVAL_S
    strict: bool = False


class JournalWriter:
    """Appends records to a journal of its own; safe for threads, signal handlers and forks.

    A forked process gets a new journal with its first record; ``on_start`` is called with the writer
    whenever one was made (also the first), and every ``fsync_interval_s`` ``on_tick`` from the keeper
    thread, which also syncs the file.

    Args:
        root: The ``journal`` folder of the project.
        destinations: Tracking URIs to deliver to.
    """

    keeps_nothing = False

    def __init__(
        self,
        root: Path,
        destinations: tuple[str, ...],
        *,
        options: WriterOptions | None = None,
        on_start: Callable[[JournalWriter], None] = lambda writer: None,
        on_tick: Callable[[JournalWriter], None] = lambda writer: None,
    ) -> None:
        self.root = root
        self.destinations = destinations
        self._options = options or WriterOptions()
        self._on_start = on_start
        self._on_tick = on_tick
        self._lock = threading.RLock()
        self._next_sequence = 1
        self._descriptor = -1
        self._finished: list[int] = []
        self._segment = 0
        self._offset = 0
        self._offset_max = 0
        self._bytes_allowed = 0
        self._is_full = False
        self._closed = False
        self._process_id = os.getpid()
        self._stop_keeper = threading.Event()
        self._owed: list[bytes] = []
        self.refused = 0
        self.folder: JournalFolder
        self._writer_lock: Lock
        self._start()
        _writers.add(self)

    # What the program calls.

    def append(self, body: bytes, count: int = 1) -> int:
        """Append one record; once this returns a sequence, the record outlives the process.

        Args:
            body: An encoded record of ``domain.records``.
            count: How many sequence numbers it takes: one for each point, param or tag in it.

        Returns:
            The first of its sequence numbers, or 0 when the journal refused it (see the module's text).

        Raises:
            InvalidInput: The record is larger than 16 MiB.
            JournalFull: It was refused and the writer is strict.
            JournalError: The journal is closed, or the disk failed.
        """
        with self._lock:
            sequence = self._next_sequence
            self._next_sequence = sequence + count
            length = len(body)
            frame = FRAME.pack(length, crc32(body, sequence & 0xFFFFFFFF), sequence) + body
            if self._offset + length > self._offset_max or length > RECORD_BYTES_MAX:
                return self._append_slowly(body, sequence, count)
            try:
                written = os.write(self._descriptor, frame)
            except OSError:
                return self._append_slowly(body, sequence, count)
            if written != length + FRAME_BYTES:
                self._cut(written)
                return self._append_slowly(body, sequence, count)
            self._offset += written
        return sequence

    def append_control(self, body: bytes) -> None:
        """Append a record that opens or ends a run, or names an experiment.

        The journal's bound does not refuse it. A full disk delays it: it is written before anything else
        once there is room.

        Raises:
            JournalFull: The disk is full and the writer is strict; it is forgotten then.
            JournalError: The journal is closed, or the disk failed.
        """
        with self._lock:
            self._enter()
            self._owed.append(body)
            try:
                self._settle()
            except OSError as error:
                if self._options.strict:
                    self._owed.remove(body)
                self._refuse(error)

    @property
    def last_sequence(self) -> int:
        """Number of the last record that was appended, 0 when there is none."""
        return self._next_sequence - 1

    @property
    def is_closed(self) -> bool:
        """True once ``close`` was called in this process."""
        return self._closed

    @property
    def is_own(self) -> bool:
        """False in a forked process that has not logged yet: the journal is its parent's."""
        return self._process_id == os.getpid()

    def enter_process(self) -> None:
        """Make sure that ``folder`` is this process's own and exists, as an append does."""
        with self._lock:
            self._enter()
            if not self.folder.path.exists():
                self._begin_again()

    def refuse(self, error: JournalFull) -> None:
        """Count something that could not be accepted, and tell the user once, or raise when strict."""
        self.refused += 1
        if self._options.strict:
            raise error
        if not self._is_full:
            self._is_full = True
            self._offset_max = 0
            warnings.warn(f"{error.message}. {error.hint}.", JournalWarning, stacklevel=5)

    def sync(self) -> None:
        """Make every record so far, and every file that was staged, survive a power failure."""
        with self._lock:
            for descriptor in (*self._finished, self._descriptor):
                if descriptor >= 0:
                    os.fsync(descriptor)
        for path in (*self.folder.staged.glob("*"), self.folder.staged, self.folder.path):
            with contextlib.suppress(FileNotFoundError):  # delivered and deleted meanwhile
                _sync_path(path)

    def close(self) -> None:
        """Sync, and give up the writer lock: whoever delivers may finish. Closing twice succeeds."""
        with self._lock:
            if self._closed:
                return
            if self.is_own:
                with contextlib.suppress(OSError):  # a full disk does not keep us from closing
                    self._settle()
            self._closed = True
            self._stop_keeper.set()
            for descriptor in [*self._finished, self._descriptor]:
                if descriptor >= 0:
                    with contextlib.suppress(OSError):
                        os.fsync(descriptor)
                    os.close(descriptor)
            self._finished, self._descriptor = [], -1
            if self.is_own and not self._owed:  # else a run's end is missing: as if we had died
                self.folder.mark_closed()
            self._writer_lock.release()

    # Beginning: a new folder, its first segment, the keeper.

    def _start(self) -> None:
        """Begin a journal: with the writer, and again with the first record of a forked process."""
        try:
            self.folder, self._writer_lock = JournalFolder.create(self.root, self.destinations)
            self._next_sequence, self._segment, self.refused = 1, 0, 0
            self._is_full, self._owed = False, []
            self._roll(first_sequence=1)
        except OSError as error:
            raise JournalError(
                f"no journal can be made: {error}",
                resource=str(self.root),
                hint="make the folder writable, or set BRIDGE_HOME to another one",
            ) from error
        self._process_id = os.getpid()  # last: a failed beginning is tried again by the next record
        self._stop_keeper = threading.Event()
        self._keeper = threading.Thread(
            target=_keep,
            args=(weakref.ref(self), self._stop_keeper, self._options.fsync_interval_s),
            name="trackbridge-journal-keeper",
            daemon=True,
        )
        self._keeper.start()
        self._on_start(self)

    def _roll(self, first_sequence: int) -> None:
        """Begin the next segment; the old one is kept when that fails."""
        number = self._segment + 1
        path = self.folder.segment(number)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            header = encode_header(number, first_sequence)
            if os.write(descriptor, header) != HEADER_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except BaseException:  # also Ctrl-C: a file that is left would be in the way of the next try
            os.close(descriptor)
            path.unlink()
            raise
        if self._descriptor >= 0:
            self._finished.append(self._descriptor)  # the keeper syncs it: logging does not wait
        self._descriptor, self._segment, self._offset = descriptor, number, HEADER_BYTES
        self._measure()

    # The rare ways of an append.

    def _append_slowly(self, body: bytes, sequence: int, count: int) -> int:
        """Append where the short way did not: after a fork, at a segment's end, on a full disk."""
        if self._next_sequence == sequence + count:
            self._next_sequence = sequence  # what is refused takes no number
        if len(body) > RECORD_BYTES_MAX:
            raise InvalidInput(
                f"a record of {len(body):,} bytes exceeds the limit of {RECORD_BYTES_MAX:,}",
                hint="log large values as artifacts: log_text, log_dict, log_artifact",
            )
        self._enter()
        try:
            self._settle()
            self._make_room(FRAME_BYTES + len(body), is_bounded=True)
            sequence = self._write(body, count)
        except OSError as error:
            return self._refuse(error)
        self._tell_accepting()
        return sequence

    def _enter(self) -> None:
        """Go on in a journal of this process's own."""
        if self._closed:
            raise JournalError("the journal is closed", resource=self.folder.journal_id)
        if not self.is_own:
            self._start()

    def _settle(self) -> None:
        """Write the control records that a full disk delayed."""
        while self._owed:
            self._make_room(FRAME_BYTES + len(self._owed[0]), is_bounded=False)
            self._write(self._owed[0], 1)
            self._owed.pop(0)

    def _make_room(self, size: int, *, is_bounded: bool) -> None:
        """Begin a segment where this one is full; refuse what exceeds the bound."""
        if self._offset + size > self._options.segment_bytes_max and self._offset > HEADER_BYTES:
            self._roll(self._next_sequence)
        self._measure()
        if is_bounded and self._bytes_allowed < size:
            if self._offset > HEADER_BYTES:  # a finished segment can be deleted once it is delivered
                self._roll(self._next_sequence)
            if self._bytes_allowed < size:
                raise OSError(errno.ENOSPC, "the journal has reached its bound")

    def _write(self, body: bytes, count: int) -> int:
        frame = encode_record(body, self._next_sequence)
        written = os.write(self._descriptor, frame)
        if written != len(frame):
            self._cut(written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._offset += written
        sequence = self._next_sequence
        self._next_sequence = sequence + count
        return sequence

    def _cut(self, written: int) -> None:
        """Take back a record that the disk took only in part."""
        os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)

    def _measure(self) -> None:
        """Set how far the present segment may grow, from the bound and the free disk."""
        in_use = self.folder.segment_bytes()
        bytes_max = self._options.bytes_max
        if bytes_max is None:
            disk = os.statvfs(self.folder.path)
            free = disk.f_bavail * disk.f_frsize
            bytes_max = min(BYTES_MAX, int((free + in_use) * FREE_SHARE_MAX))
        self._bytes_allowed = bytes_max - in_use
        room = min(self._options.segment_bytes_max, self._offset + max(0, self._bytes_allowed))
        self._offset_max = 0 if self._is_full else room  # while full every append goes the slow way

    def _refuse(self, error: OSError) -> int:
        if error.errno not in _FULL:
            raise JournalError(f"the journal cannot be written: {error}", resource=str(self.folder.path))
        self.refuse(
            JournalFull(
                f"the journal {self.folder.path} refuses records: {error.strerror}; what it accepted is safe",
                hint="free disk space, or raise BRIDGE_JOURNAL_BYTES_MAX; logging goes on by itself",
            )
        )
        return 0

    def _tell_accepting(self) -> None:
        if not self._is_full:
            return
        self._is_full = False
        self._measure()
        warnings.warn(
            f"the journal accepts records again; {self.refused} were refused", JournalWarning, stacklevel=5
        )

    # The keeper and forks.

    def keep(self) -> None:
        """Do what is due every ``fsync_interval_s``: sync, measure the free disk, call ``on_tick``."""
        with self._lock:
            if self._closed or not self.is_own:
                return
            if not self.folder.segment(self._segment).exists():
                self._begin_again()
            descriptors = [*self._finished, os.dup(self._descriptor)]
            self._finished = []
            self._measure()
        for descriptor in descriptors:  # outside of the lock: logging goes on meanwhile
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        self._on_tick(self)

    def _begin_again(self) -> None:
        """Go on in a new journal, because somebody has deleted this one."""
        warnings.warn(
            f"the journal {self.folder.path} was deleted; what was not delivered of it is lost, and a "
            "new one begins",
            JournalWarning,
            stacklevel=2,
        )
        for descriptor in [*self._finished, self._descriptor]:
            os.close(descriptor)
        self._finished, self._descriptor = [], -1
        self._stop_keeper.set()
        self._writer_lock.release()
        self._process_id = 0  # until the new one stands: if it cannot be made, the next record tries again
        self._start()

    def forget_in_fork(self) -> None:
        """Let go of the parent's journal, right after a fork and in the child only."""
        self._lock = threading.RLock()  # the old one may be held by a thread that is not here
        for descriptor in [*self._finished, self._descriptor]:
            if descriptor >= 0:
                os.close(descriptor)
        self._finished, self._descriptor = [], -1
        self._writer_lock.release()


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _keep(reference: weakref.ref[JournalWriter], stop: threading.Event, interval_s: float) -> None:
    told: set[str] = set()
    while not stop.wait(interval_s):
        writer = reference()
        if writer is None:
            return
        try:
            writer.keep()
        except (OSError, JournalError) as error:  # the next time may go well; the journal itself goes on
            if str(error) not in told:
                told.add(str(error))
                warnings.warn(f"the journal cannot be cared for: {error}", JournalWarning, stacklevel=1)
        del writer


_writers: weakref.WeakSet[JournalWriter] = weakref.WeakSet()


def _forget_all_in_fork() -> None:
    for writer in tuple(_writers):
        writer.forget_in_fork()


os.register_at_fork(after_in_child=_forget_all_in_fork)
