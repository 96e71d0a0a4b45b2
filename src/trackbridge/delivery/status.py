"""How each journal of a project stands, for people: read from its files, without changing anything."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from trackbridge.errors import JournalCorrupt, JournalError
from trackbridge.journal.cursors import load_cursor
from trackbridge.journal.folder import Description, JournalFolder, journals
from trackbridge.journal.format import (
    FRAME,
    FRAME_BYTES,
    HEADER_BYTES,
    RECORD_BYTES_MAX,
    SEQUENCE_GAP_MAX,
    decode_header,
)
from trackbridge.journal.reader import Position, read_window

_CHUNK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStatus:
    """One destination of a journal, counted in points, params, tags and so on.

    ``delivered`` is what it has got or rejected, ``pending`` what it still gets. ``problem`` says why it gets
    nothing now, and ``failing_since_ms`` since when that is so.
    """

    destination: str
    delivered: int
    pending: int
    rejected: int
    problem: str | None
    failing_since_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStatus:
    """One journal. ``problem`` says why its description or its records cannot be read, None when they can.

    ``bytes`` is the size of its segments; times are milliseconds since 1970.
    """

    journal_id: str
    path: Path
    writer_lives: bool
    is_being_delivered: bool
    pid: int | None
    host: str
    created_ms: int | None
    last_written_ms: int
    bytes: int
    lanes: tuple[LaneStatus, ...]
    problem: str | None = None

    @property
    def pending(self) -> int:
        """Records that the destination furthest behind still gets."""
        return max((lane.pending for lane in self.lanes), default=0)


def journal_status(root: Path) -> list[JournalStatus]:
    """Return how each journal below ``root`` stands, oldest first, without those that go meanwhile."""
    found = (_status(folder) for folder in journals(root))
    return [status for status in found if status is not None]


def last_sequence(folder: JournalFolder) -> int:
    """Return the sequence of the last whole record, 0 when there is none.

    Reads the last segment alone, and of that only the frames, unless there is damage in it.

    Raises:
        JournalError: The journal was written by a newer version, or cannot be read.
    """
    numbers = folder.segment_numbers()
    for number in reversed(numbers):
        try:
            found = _last_of_segment(folder, number)
        except FileNotFoundError:  # delivered and deleted meanwhile
            continue
        if found:
            return found
    return 0


def _status(folder: JournalFolder) -> JournalStatus | None:
    description: Description | None = None
    problem, newest = None, 0
    try:
        description = folder.describe()
        newest = last_sequence(folder)
    except JournalError as error:
        if not (folder.path / "journal.json").exists():  # delivered meanwhile, and on its way out
            return None
        problem = f"{error.message}; {error.hint}" if error.hint else error.message
    lives = folder.writer_lives()
    try:
        last_written_ms = folder.last_written_ms()
    except FileNotFoundError:
        return None
    return JournalStatus(
        journal_id=folder.journal_id,
        path=folder.path,
        writer_lives=lives,
        is_being_delivered=_is_being_delivered(folder),
        pid=description.pid if description else None,
        host=description.host if description else "",
        created_ms=description.created_ms if description else None,
        last_written_ms=last_written_ms,
        bytes=folder.segment_bytes(),
        lanes=tuple(_lane(folder, uri, newest) for uri in (description.destinations if description else ())),
        problem=problem,
    )


def _lane(folder: JournalFolder, uri: str, newest: int) -> LaneStatus:
    cursor = load_cursor(folder, uri)
    pending = 0 if cursor.finished else max(0, newest - cursor.position.sequence)
    return LaneStatus(
        destination=uri,
        delivered=cursor.position.sequence,
        pending=pending,
        rejected=cursor.rejected,
        problem=cursor.problem,
        failing_since_ms=cursor.failing_since_ms,
    )


def _is_being_delivered(folder: JournalFolder) -> bool:
    if not (folder.path / "delivery.lock").exists():
        return False
    lock = folder.lock_delivery()
    if lock is None:
        return True
    lock.release()
    return False


def _last_of_segment(folder: JournalFolder, number: int) -> int:
    """Hop over the frames and read the last record; where that fails, read all as delivery would."""
    with open(folder.segment(number), "rb", buffering=0) as segment:
        header = os.pread(segment.fileno(), HEADER_BYTES, 0)
        found = _last_frame(segment.fileno())
    if found is not None:
        offset, sequence = found
        last, is_whole = _read_on(folder, Position(number, offset, sequence - 1))
        if is_whole:
            return last
    try:
        first_sequence = decode_header(header, number=number)
    except JournalCorrupt:
        first_sequence = 1
    return _read_on(folder, Position(number, HEADER_BYTES, first_sequence - 1))[0]


def _last_frame(descriptor: int) -> tuple[int, int] | None:
    """Return offset and sequence of the last whole record, None where there is none, or damage before it."""
    size, offset = os.fstat(descriptor).st_size, HEADER_BYTES
    last: tuple[int, int] | None = None
    chunk, chunk_begin = b"", 0
    while offset + FRAME_BYTES <= size:
        if offset + FRAME_BYTES > chunk_begin + len(chunk):
            chunk, chunk_begin = os.pread(descriptor, _CHUNK_BYTES, offset), offset
            if len(chunk) < FRAME_BYTES:  # cut meanwhile
                break
        length, _, sequence = FRAME.unpack_from(chunk, offset - chunk_begin)
        is_next = last is None or last[1] < sequence <= last[1] + SEQUENCE_GAP_MAX
        if length > RECORD_BYTES_MAX or not is_next:
            return None
        if offset + FRAME_BYTES + length > size:
            break
        last = (offset, sequence)
        offset += FRAME_BYTES + length
    return last


def _read_on(folder: JournalFolder, position: Position) -> tuple[int, bool]:
    """Read the segment to its end; return its last sequence (0: none), and whether it began with a record."""
    last, is_whole = 0, False
    number, begin = position.segment, position
    while position.segment == number:
        window = read_window(folder, position, writer_lives=True)
        if position == begin:
            is_whole = bool(window.records) and not window.damages
        last = window.position.sequence if window.records else last
        if window.at_end:
            break
        position = window.position
    return last, is_whole
