"""How a journal stands is counted right, whatever its last segment looks like."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.journals import URI, Bench
from trackbridge.delivery.status import journal_status, last_sequence
from trackbridge.domain.runs import RunStatus


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "journal")


def segment_of(bench: Bench) -> Path:
    folder = bench.writer.folder
    return folder.segment(folder.segment_numbers()[-1])


def test_no_journals(tmp_path: Path) -> None:
    assert journal_status(tmp_path / "nowhere") == []


def test_before_and_after_delivery(bench: Bench) -> None:
    recorder = bench.run()
    recorder.params({"a": "1", "b": "2", "c": "3"})
    for step in range(100):
        recorder.metric("loss", 0.5, step)
    (status,) = journal_status(bench.root)
    assert status.writer_lives
    assert not status.is_being_delivered
    assert status.problem is None
    (lane,) = status.lanes
    assert (lane.destination, lane.delivered, lane.pending) == (URI, 0, bench.writer.last_sequence)
    assert status.pending == bench.writer.last_sequence
    bench.deliver()
    (lane,) = journal_status(bench.root)[0].lanes
    assert (lane.delivered, lane.pending, lane.problem) == (bench.writer.last_sequence, 0, None)
    recorder.close(RunStatus.FINISHED)
    bench.writer.close()
    (status,) = journal_status(bench.root)
    assert not status.writer_lives
    assert status.pending == 1


def test_several_numbers_of_the_last_record_count(bench: Bench) -> None:
    recorder = bench.run()
    recorder.params({str(number): "x" for number in range(7)})
    assert last_sequence(bench.writer.folder) == bench.writer.last_sequence


def test_fresh_journal(bench: Bench) -> None:
    assert last_sequence(bench.writer.folder) == 0
    assert journal_status(bench.root)[0].pending == 0


def test_being_delivered(bench: Bench) -> None:
    lock = bench.writer.folder.lock_delivery()
    assert lock is not None
    assert journal_status(bench.root)[0].is_being_delivered
    lock.release()
    assert not journal_status(bench.root)[0].is_being_delivered


def test_over_many_segments(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "journal", segment_bytes_max=4096)
    recorder = bench.run()
    for step in range(500):
        recorder.metric("loss", 0.5, step)
    assert len(bench.writer.folder.segment_numbers()) > 3
    assert last_sequence(bench.writer.folder) == bench.writer.last_sequence


def test_record_larger_than_what_is_read_at_once(bench: Bench) -> None:
    recorder = bench.run()
    recorder.tags({"big": "x" * 6_000_000})
    recorder.metric("loss", 0.5, 0)
    recorder.tags({"big": "y" * 6_000_000})
    assert last_sequence(bench.writer.folder) == bench.writer.last_sequence


@pytest.mark.parametrize("cut", [1, 8, 15, 16, 17, 30])
def test_unfinished_record_at_the_end_does_not_count(bench: Bench, cut: int) -> None:
    recorder = bench.run()
    for step in range(10):
        recorder.metric("loss", 0.5, step)
    whole = bench.writer.last_sequence
    data = segment_of(bench).read_bytes()
    recorder.metric("loss", 0.5, 10)
    longer = segment_of(bench).read_bytes()
    segment_of(bench).write_bytes(longer[: len(data) + cut])
    assert last_sequence(bench.writer.folder) == whole


def test_damage_anywhere_counts_as_delivery_will(bench: Bench) -> None:
    """Any one byte flipped: what is counted is the sequence that delivery gets to."""
    recorder = bench.run()
    for step in range(5):
        recorder.metric("loss", 0.5, step)
    recorder.params({"a": "1", "b": "2"})
    sound = segment_of(bench).read_bytes()
    bench.writer._writer_lock.release()
    for place in range(len(sound)):
        damaged = bytearray(sound)
        damaged[place] ^= 0xFF
        segment_of(bench).write_bytes(damaged)
        assert last_sequence(bench.writer.folder) == delivered_sequence(bench), place


def delivered_sequence(bench: Bench) -> int:
    from trackbridge.journal.reader import Position, read_window

    position = Position()
    while not (window := read_window(bench.writer.folder, position, writer_lives=False)).at_end:
        position = window.position
    return window.position.sequence


def test_damaged_description_is_a_problem_of_that_journal(bench: Bench, tmp_path: Path) -> None:
    other = Bench(tmp_path / "journal")
    (bench.writer.folder.path / "journal.json").write_text("[]")
    statuses = {status.journal_id: status for status in journal_status(bench.root)}
    broken = statuses[bench.writer.folder.journal_id]
    assert broken.problem is not None
    assert "bridge sync run URI" in broken.problem
    assert broken.lanes == ()
    assert statuses[other.writer.folder.journal_id].problem is None
