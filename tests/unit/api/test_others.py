"""Waiting for what other processes of a project have logged."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from trackbridge.api import others
from trackbridge.api.others import await_others
from trackbridge.domain.records import MetricLogged
from trackbridge.journal.cursors import Cursor, store_cursor
from trackbridge.journal.reader import Position
from trackbridge.journal.writer import JournalWriter

HERE, ELSEWHERE = "https://here.example", "https://elsewhere.example"


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[JournalWriter]:
    made = JournalWriter(tmp_path / "journal", (HERE,))
    made.append(msgspec.msgpack.encode(MetricLogged("r", "loss", 0.5, 1, 0)))
    yield made
    made.close()


def end_of(writer: JournalWriter) -> Position:
    return Position(1, writer.folder.segment(1).stat().st_size, writer.last_sequence)


def test_what_another_process_has_logged_is_waited_for(
    writer: JournalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not await_others(writer.root, None, HERE, 0.0)

    def deliver(_: float) -> None:
        assert writer.folder.flush_requested()
        end = end_of(writer)
        writer.append(msgspec.msgpack.encode(MetricLogged("r", "loss", 0.5, 2, 1)))  # not waited for any more
        store_cursor(writer.folder, Cursor(destination=HERE, position=end))

    monkeypatch.setattr(time, "sleep", deliver)
    assert await_others(writer.root, None, HERE, 60.0)
    assert not await_others(writer.root, None, HERE, 0.0)  # what was logged since


def test_a_journal_that_nobody_delivers_keeps_no_second_reader_waiting(
    writer: JournalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(others, "STANDING_S", 0.0)
    assert not await_others(writer.root, None, HERE, 0.01)
    waits.clear()
    assert not await_others(writer.root, None, HERE, 60.0)
    assert not waits
    assert writer.folder.flush_requested()  # whoever delivers is still asked
    store_cursor(writer.folder, Cursor(destination=HERE, position=end_of(writer)))
    assert await_others(writer.root, None, HERE, 60.0)
    writer.append(msgspec.msgpack.encode(MetricLogged("r", "loss", 0.5, 2, 1)))
    assert not await_others(writer.root, None, HERE, 0.01)
    assert waits


def test_neither_the_own_journal_nor_those_for_elsewhere_are_waited_for(writer: JournalWriter) -> None:
    assert await_others(writer.root, writer.folder.journal_id, HERE, 0.0)
    assert await_others(writer.root, None, ELSEWHERE, 0.0)
    assert await_others(writer.root / "none", None, HERE, 0.0)


def test_a_journal_that_is_drained_or_gone_is_not_waited_for(writer: JournalWriter) -> None:
    store_cursor(writer.folder, Cursor(destination=HERE, drained=True))
    assert await_others(writer.root, None, HERE, 0.0)
    writer.folder.remove()
    assert await_others(writer.root, None, HERE, 0.0)
