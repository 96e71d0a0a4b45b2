"""How the benchmarks' figures are compared and told, and how the delivery lag is looked up."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from benchmarks.figures import Figure, at_least, at_most, markdown, number
from benchmarks.log_metric import oldest_pending_ms

from trackbridge.domain.records import MetricLogged, ParamsSet
from trackbridge.journal.cursors import Cursor, store_cursor
from trackbridge.journal.reader import read_window
from trackbridge.journal.writer import JournalWriter


def test_a_ratio_says_how_many_times_better_we_are() -> None:
    assert Figure("time", "s", 2.0, {"peer": 10.0}).ratio("peer") == 5.0
    assert Figure("rate", "points/s", 2.0, {"peer": 10.0}, more_is_better=True).ratio("peer") == 0.2


def test_the_bound_itself_is_met() -> None:
    assert at_most(10, 10.0, "µs").is_met
    assert not at_most(10, 10.1, "µs").is_met
    assert at_least(10, 10.0, "points/s").is_met
    assert not at_least(10, 9.9, "points/s").is_met


def test_a_missed_target_stands_out_in_the_table() -> None:
    figures = [
        Figure("one call", "µs", 12.0, {"peer": 6.0}, (at_most(10, 12.0, "µs"),), note="in a loop"),
        Figure("rate", "points/s", 200_000, {"peer": 100_000.0}, (at_least(1, 2, "x"),), more_is_better=True),
    ]
    lines = markdown(figures).splitlines()
    assert lines[2] == (
        "| one call (1) | 12 µs | peer: 6 µs; ours is 2 times worse | at most 10 µs | **no** |"
    )
    assert "200,000 points/s | peer: 100,000 points/s; ours is 2 times better" in lines[3]
    assert lines[5].strip() == "(1) in a loop"


@pytest.mark.parametrize(
    ("value", "text"), [(0.01234, "0.0123"), (1.5, "1.5"), (123.4, "123"), (1_234_567.0, "1,234,567")]
)
def test_numbers_are_told_with_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_the_lag_is_that_of_the_first_point_behind_the_cursor(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "journal", ("file:/x",))
    writer.append(msgspec.msgpack.encode(ParamsSet("run", 1, {"a": "b"})))
    for step in range(3):
        writer.append(msgspec.msgpack.encode(MetricLogged("run", "loss", 0.5, 100 + step, step)))
    assert oldest_pending_ms(tmp_path / "journal") == 100

    position = read_window(writer.folder, Cursor(destination="").position, writer_lives=True).position
    store_cursor(writer.folder, Cursor(destination="file:/x", position=position))
    assert oldest_pending_ms(tmp_path / "journal") is None

    writer.append(msgspec.msgpack.encode(MetricLogged("run", "loss", 0.5, 200, 3)))
    assert oldest_pending_ms(tmp_path / "journal") == 200
    writer.close()


def test_what_is_too_small_to_be_measured_has_no_ratio() -> None:
    (line,) = markdown([Figure("overhead", "ms", -3.0, {"peer": 6.0})]).splitlines()[2:3]
    assert "| overhead | -3 ms | peer: 6 ms; ours is too small to be measured |" in line
