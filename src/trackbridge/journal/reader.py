"""The reading side of a journal: windows of records from a position on, past any damage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from zlib import crc32

import msgspec

from trackbridge.domain.records import MetricLogged, Record, sequence_count
from trackbridge.errors import JournalCorrupt, JournalError
from trackbridge.journal.folder import JournalFolder
from trackbridge.journal.format import (
    FRAME,
    FRAME_BYTES,
    HEADER_BYTES,
    RECORD_BYTES_MAX,
    SEQUENCE_GAP_MAX,
    SEQUENCE_STEP_BACK_MAX,
    checksum,
    decode_header,
)

WINDOW_BYTES = 4 * 1024 * 1024

_decode = msgspec.msgpack.Decoder(Record).decode


class Position(msgspec.Struct, frozen=True):
    """A place between two records: segment, offset in it, and the last sequence before it."""

    segment: int = 0
    offset: int = HEADER_BYTES
    sequence: int = 0


def is_before(first: Position, second: Position) -> bool:
    """Tell whether the first position lies before the second."""
    return (first.segment, first.offset) < (second.segment, second.offset)


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that were skipped. ``records_max`` bounds how many records they held."""

    segment: int
    offset: int
    bytes: int
    records_max: int
    reason: str


@dataclass(slots=True)
class Window:
    """Records in the order of the file, each with its (first) sequence, and the position after them.

    ``undecodable`` are records whose bytes are sound but which this version cannot read. ``at_end``
    tells that nothing more was there to read.
    """

    position: Position
    records: list[tuple[int, Record]] = field(default_factory=list)
    undecodable: list[tuple[int, bytes]] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)
    at_end: bool = False


def read_window(
    folder: JournalFolder, position: Position, *, writer_lives: bool, bytes_max: int = WINDOW_BYTES
) -> Window:
    """Return the records that follow a position, at most about ``bytes_max`` of them.

    Args:
        folder: The journal.
        position: Where to begin; ``Position()`` is the beginning.
        writer_lives: Whether the writer lived *before* this call: then an unfinished record at the end
            is one that is being written.
        bytes_max: How much to read at once; a record that is larger is read whole.

    Raises:
        JournalError: The journal was written by a newer version, or cannot be read.
    """
    numbers = folder.segment_numbers()
    window = Window(position)
    if not numbers:
        window.at_end = True
        return window
    number = _enter_segment(window, numbers)
    is_last = number == numbers[-1]
    final = not (is_last and writer_lives)
    try:
        with open(folder.segment(number), "rb", buffering=0) as segment:
            _read_segment(window, segment.fileno(), final=final, bytes_max=bytes_max)
    except OSError as error:
        raise JournalError(f"segment {number} cannot be read: {error}", resource=str(folder.path)) from error
    if window.at_end and not is_last:
        following = numbers[numbers.index(number) + 1]
        window.position = Position(following, 0, window.position.sequence)
        window.at_end = False
    return window


def _enter_segment(window: Window, numbers: list[int]) -> int:
    """Return the number of the segment to read, and note those that are missing before it."""
    position = window.position
    number = next((number for number in numbers if number >= position.segment), None)
    if number is None:
        raise JournalError(f"segment {position.segment} is missing and nothing follows it")
    if number != position.segment:
        if position.segment > 0:
            window.damages.append(
                Damage(position.segment, position.offset, 0, SEQUENCE_GAP_MAX, "segments are missing")
            )
        window.position = Position(number, 0, position.sequence)
    return number


def _read_segment(window: Window, descriptor: int, *, final: bool, bytes_max: int) -> None:
    """Take what is sound from the position on; when nothing is, step over the damage."""
    position = window.position
    if position.offset < HEADER_BYTES:
        position = _enter_records(window, descriptor, final=final)
        if window.at_end:
            return
    data = os.pread(descriptor, bytes_max, position.offset)
    if not data:
        window.at_end = True
        return
    taken = _scan(window, data)
    if taken == 0:
        rest = os.pread(descriptor, os.fstat(descriptor).st_size - position.offset, position.offset)
        _step_over(window, rest, final=final)


def _enter_records(window: Window, descriptor: int, *, final: bool) -> Position:
    """Go from a segment's header to its first record."""
    number, sequence = window.position.segment, window.position.sequence
    header = os.pread(descriptor, HEADER_BYTES, 0)
    if len(header) < HEADER_BYTES and not final:
        window.at_end = True  # the header is being written
        return window.position
    try:
        sequence = max(sequence, decode_header(header, number=number) - 1)
    except JournalCorrupt as error:
        window.damages.append(Damage(number, 0, len(header), 0, error.message))
    window.position = Position(number, HEADER_BYTES, sequence)
    return window.position


def _scan(window: Window, data: bytes) -> int:
    """Take sound records from the beginning of ``data``; return how many bytes they fill.

    This loop bounds the speed of delivery: everything in it is a local name.
    """
    unpack, crc, decode, view = FRAME.unpack_from, crc32, _decode, memoryview(data)
    append, size = window.records.append, len(data)
    sequence, offset = window.position.sequence, 0
    gap, step_back = SEQUENCE_GAP_MAX, SEQUENCE_STEP_BACK_MAX
    while offset + FRAME_BYTES <= size:
        length, stored, found = unpack(data, offset)
        end = offset + FRAME_BYTES + length
        if end > size or not sequence - step_back < found <= sequence + gap:
            break
        body = view[offset + FRAME_BYTES : end]
        if crc(body, found & 0xFFFFFFFF) != stored:
            break
        try:
            record = decode(body)
        except msgspec.DecodeError:
            window.undecodable.append((found, bytes(body)))
            sequence = max(sequence, found)
        else:
            append((found, record))
            count = 1 if type(record) is MetricLogged else sequence_count(record)
            sequence = max(sequence, found + count - 1)
        offset = end
    position = window.position
    window.position = Position(position.segment, position.offset + offset, sequence)
    return offset


def _step_over(window: Window, rest: bytes, *, final: bool) -> None:
    """Deal with a position where no sound record begins; ``rest`` is the segment from there on."""
    position = window.position
    if _scan(window, rest[: _record_bytes(rest)]):
        return  # it was only larger than what was read at once
    offset = next(_sound_records(rest, position.sequence), None)
    if offset is None and not final:
        window.at_end = True  # the record is being written
        return
    if offset is None:
        damage = Damage(position.segment, position.offset, len(rest), 1, "an unfinished or damaged record")
        window.position = Position(position.segment, position.offset + len(rest), position.sequence)
    else:
        _, _, found = FRAME.unpack_from(rest, offset)
        lost = max(1, found - position.sequence - 1)
        damage = Damage(position.segment, position.offset, offset, lost, "damaged records")
        window.position = Position(position.segment, position.offset + offset, position.sequence)
    window.damages.append(damage)


def _record_bytes(data: bytes) -> int:
    """Return the size of the record at the beginning by its own account, 0 when it has no room."""
    if len(data) < FRAME_BYTES:
        return 0
    size = FRAME_BYTES + int(FRAME.unpack_from(data)[0])
    return size if size <= min(len(data), FRAME_BYTES + RECORD_BYTES_MAX) else 0


def _sound_records(data: bytes, sequence: int) -> Iterator[int]:
    """Iterate over the offsets after the first byte at which a sound record begins."""
    view = memoryview(data)
    for offset in range(1, len(data) - FRAME_BYTES + 1):
        length, stored, found = FRAME.unpack_from(data, offset)
        end = offset + FRAME_BYTES + length
        if end > len(data) or not sequence - SEQUENCE_STEP_BACK_MAX < found <= sequence + SEQUENCE_GAP_MAX:
            continue
        if checksum(view[offset + FRAME_BYTES : end], found) == stored:
            yield offset
