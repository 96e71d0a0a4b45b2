"""A journal that was torn or damaged anywhere gives back every record before and after the damage."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackbridge.domain.records import MetricLogged, ParamsSet, Record, sequence_count
from trackbridge.errors import JournalCorrupt, JournalError
from trackbridge.journal.folder import JournalFolder
from trackbridge.journal.format import (
    HEADER_BYTES,
    RECORD_BYTES_MAX,
    encode_header,
    encode_record,
)
from trackbridge.journal.reader import Position, Window, read_window


def point(number: int) -> MetricLogged:
    return MetricLogged("a" * 32, "loss", number / 7, 1_700_000_000_000 + number, number)


def write_segment(folder: Path, number: int, first: int, count: int) -> list[int]:
    """Write a segment of points; return the offset of each record and of the end."""
    offsets = [HEADER_BYTES]
    data = encode_header(number, first)
    for sequence in range(first, first + count):
        data += encode_record(msgspec.msgpack.encode(point(sequence)), sequence)
        offsets.append(len(data))
    (folder / f"{number:08d}.log").write_bytes(data)
    return offsets


def read_all(folder: JournalFolder, *, writer_lives: bool = False, bytes_max: int = 200) -> Window:
    """Read a journal to its end in small windows."""
    whole = Window(Position())
    while True:
        window = read_window(folder, whole.position, writer_lives=writer_lives, bytes_max=bytes_max)
        whole.records += window.records
        whole.damages += window.damages
        whole.undecodable += window.undecodable
        whole.position = window.position
        if window.at_end:
            return whole


def sequences(window: Window) -> list[int]:
    return [sequence for sequence, _ in window.records]


@pytest.fixture
def folder(tmp_path: Path) -> JournalFolder:
    return JournalFolder(tmp_path)


def test_records_come_back_in_order_and_unchanged(folder: JournalFolder) -> None:
    write_segment(folder.path, 1, 1, 5)
    write_segment(folder.path, 2, 6, 5)
    window = read_all(folder)
    assert window.records == [(number, point(number)) for number in range(1, 11)]
    assert window.damages == []
    assert window.position.sequence == 10


def test_an_empty_folder_is_at_its_end(folder: JournalFolder) -> None:
    assert read_window(folder, Position(), writer_lives=False).at_end


def test_truncated_at_every_offset_of_the_last_records(folder: JournalFolder) -> None:
    offsets = write_segment(folder.path, 1, 1, 6)
    path = folder.segment(1)
    whole = path.read_bytes()
    for size in range(offsets[3], offsets[-1]):
        path.write_bytes(whole[:size])
        kept = sum(1 for offset in offsets[1:] if offset <= size)
        window = read_all(folder)
        assert sequences(window) == list(range(1, kept + 1))
        assert bool(window.damages) == (size not in offsets), "a torn record is reported, a clean end is not"


def test_any_flipped_byte_costs_its_record_alone(folder: JournalFolder) -> None:
    offsets = write_segment(folder.path, 1, 1, 6)
    path = folder.segment(1)
    whole = path.read_bytes()
    for position in range(HEADER_BYTES, len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        hit = sum(1 for offset in offsets[1:] if offset <= position) + 1
        window = read_all(folder)
        assert sequences(window) == [number for number in range(1, 7) if number != hit], position
        assert sum(damage.records_max for damage in window.damages) == 1


def test_any_flipped_byte_of_a_header_costs_nothing(folder: JournalFolder) -> None:
    write_segment(folder.path, 1, 1, 4)
    path = folder.segment(1)
    whole = path.read_bytes()
    for position in range(HEADER_BYTES):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        window = read_all(folder)
        assert sequences(window) == [1, 2, 3, 4]
        assert [damage.offset for damage in window.damages] == [0]


@settings(max_examples=150, deadline=None)
@given(
    start=st.integers(HEADER_BYTES, 700),
    garbage=st.binary(max_size=300),
    replaced=st.integers(0, 300),
)
def test_garbage_anywhere_keeps_the_records_around_it(
    tmp_path_factory: pytest.TempPathFactory, start: int, garbage: bytes, replaced: int
) -> None:
    folder = JournalFolder(tmp_path_factory.mktemp("journal"))
    offsets = write_segment(folder.path, 1, 1, 12)
    path = folder.segment(1)
    whole = path.read_bytes()
    path.write_bytes(whole[:start] + garbage + whole[start + replaced :])
    untouched = [
        number
        for number in range(1, 13)
        if offsets[number] <= start or offsets[number - 1] >= start + replaced
    ]
    window = read_all(folder)
    assert set(untouched) <= set(sequences(window))
    assert all(record == point(number) for number, record in window.records)
    is_changed = whole[start : start + replaced] != garbage
    assert bool(window.damages) or not is_changed or start + replaced >= len(whole)


def test_an_unfinished_record_is_waited_for_while_the_writer_lives(folder: JournalFolder) -> None:
    offsets = write_segment(folder.path, 1, 1, 3)
    path = folder.segment(1)
    whole = path.read_bytes()
    path.write_bytes(whole[: offsets[2] + 10])
    window = read_window(folder, Position(), writer_lives=True)
    waiting = read_window(folder, window.position, writer_lives=True)
    assert waiting.at_end
    assert waiting.damages == []
    path.write_bytes(whole)
    assert sequences(read_window(folder, waiting.position, writer_lives=True)) == [3]


def test_a_missing_segment_is_reported_and_the_next_one_is_read(folder: JournalFolder) -> None:
    write_segment(folder.path, 1, 1, 3)
    write_segment(folder.path, 2, 4, 3)
    write_segment(folder.path, 3, 7, 3)
    first = read_window(folder, Position(), writer_lives=False)
    folder.segment(1).unlink()
    folder.segment(2).unlink()
    window = read_window(folder, first.position, writer_lives=False)
    assert sequences(window) == [7, 8, 9]
    assert [damage.reason for damage in window.damages] == ["segments are missing"]


def test_a_record_larger_than_a_window_is_read_whole(folder: JournalFolder) -> None:
    large = ParamsSet("a" * 32, 1, {"text": "x" * 5000})
    body = msgspec.msgpack.encode(large)
    data = encode_header(1, 1) + encode_record(body, 1) + encode_record(msgspec.msgpack.encode(point(2)), 2)
    folder.segment(1).write_bytes(data)
    assert read_all(folder, bytes_max=64).records == [(1, large), (2, point(2))]


def test_a_sound_record_of_a_future_kind_is_kept_as_bytes(folder: JournalFolder) -> None:
    future = msgspec.msgpack.encode([99, "a" * 32, "new"])
    data = encode_header(1, 1) + encode_record(future, 1) + encode_record(msgspec.msgpack.encode(point(2)), 2)
    folder.segment(1).write_bytes(data)
    window = read_all(folder)
    assert window.undecodable == [(1, future)]
    assert sequences(window) == [2]


def test_a_record_takes_a_sequence_for_each_thing_in_it(folder: JournalFolder) -> None:
    params: Record = ParamsSet("a" * 32, 1, {"a": "1", "b": "2", "c": "3"})
    assert sequence_count(params) == 3
    data = encode_header(1, 1) + encode_record(msgspec.msgpack.encode(params), 1)
    data += encode_record(msgspec.msgpack.encode(point(4)), 4)
    folder.segment(1).write_bytes(data)
    window = read_all(folder)
    assert sequences(window) == [1, 4]
    assert window.damages == []


def test_an_interrupted_call_leaves_a_gap_that_is_no_damage(folder: JournalFolder) -> None:
    data = encode_header(1, 1)
    for sequence in (1, 2, 5):
        data += encode_record(msgspec.msgpack.encode(point(sequence)), sequence)
    folder.segment(1).write_bytes(data)
    assert read_all(folder).damages == []


def test_neighbours_that_changed_places_are_no_damage(folder: JournalFolder) -> None:
    data = encode_header(1, 1)
    for sequence in (1, 3, 2, 4):
        data += encode_record(msgspec.msgpack.encode(point(sequence)), sequence)
    folder.segment(1).write_bytes(data)
    window = read_all(folder)
    assert sequences(window) == [1, 3, 2, 4]
    assert window.damages == []
    assert window.position.sequence == 4


def test_a_length_beyond_the_limit_is_not_believed(folder: JournalFolder) -> None:
    huge = (RECORD_BYTES_MAX + 1).to_bytes(4, "little") + bytes(12)
    good = encode_record(msgspec.msgpack.encode(point(1)), 1)
    folder.segment(1).write_bytes(encode_header(1, 1) + huge + good)
    assert sequences(read_all(folder)) == [1]


def test_a_newer_format_is_refused_with_the_next_step(folder: JournalFolder) -> None:
    folder.segment(1).write_bytes(encode_header(1, 1, version=9))
    with pytest.raises(JournalError, match="format 9") as caught:
        read_all(folder)
    assert not isinstance(caught.value, JournalCorrupt), "it is not damaged: nothing may be skipped"
    assert "update trackbridge" in str(caught.value.hint)


def test_an_unreadable_segment_is_an_error_not_a_loss(folder: JournalFolder) -> None:
    folder.segment(1).mkdir()
    with pytest.raises(JournalError, match="cannot be read"):
        read_window(folder, Position(), writer_lives=False)
