"""Metric chunks: any order, splitting and repetition of writes gives one sorted, deduplicated history."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackbridge.domain.batches import Batch, MetricColumns
from trackbridge.domain.runs import RunSpec
from trackbridge.errors import InvalidInput
from trackbridge_adapters.local import metrics
from trackbridge_adapters.local.adapter import LocalAdapter
from trackbridge_adapters.local.config import Settings
from trackbridge_adapters.local.metrics import CHUNK_POINTS_MAX, CHUNK_POINTS_SMALL

Point = tuple[int, int, int]

INT64 = st.integers(-(2**63), 2**63 - 1)
BITS = st.one_of(
    INT64,
    st.sampled_from(
        [0.0, -0.0, 1.0, float("inf"), float("-inf"), float("nan"), 5e-324, -5e-324, 2.0**60]
    ).map(lambda value: struct.unpack("<q", struct.pack("<d", value))[0]),
    st.sampled_from([0x7FF8000000000123, -0x7FFFFFFFFFEDD, 0x7FF0000000000001]),
)
SMALL = st.integers(-2, 6)
POINTS = st.lists(st.one_of(st.tuples(SMALL, SMALL, BITS), st.tuples(INT64, INT64, BITS)), max_size=40)


def columns_of(points: Sequence[Point]) -> MetricColumns:
    values = array("d")
    values.frombytes(array("q", [bits for _, _, bits in points]).tobytes())
    return MetricColumns(
        steps=array("q", [step for step, _, _ in points]),
        timestamps=array("q", [time for _, time, _ in points]),
        values=values,
    )


def points_of(columns: MetricColumns) -> list[Point]:
    bits = array("q", columns.values.tobytes())
    return list(zip(columns.steps, columns.timestamps, bits, strict=True))


def open_run(adapter: LocalAdapter, run_id: str = "r") -> str:
    spec = RunSpec(run_id=run_id, experiment_id="e", experiment_name="E", name="n", user="u", start_time=1)
    return adapter.tracking.open_run(spec).info.run_id


def write(adapter: LocalAdapter, points: Sequence[Point], *, run_id: str = "r", key: str = "m") -> None:
    adapter.tracking.write(Batch(run_id=run_id, metrics={key: columns_of(points)}))


def history(adapter: LocalAdapter, *, run_id: str = "r", key: str = "m") -> list[Point]:
    return points_of(adapter.tracking.metric_history(run_id, key))


def last_bits(adapter: LocalAdapter) -> int:
    value = adapter.tracking.get_run("r").data.metrics["m"]
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def expected_last(points: Sequence[Point]) -> set[int]:
    """Return the bits that may be the last value; which NaN, of several, is open."""
    place = max((step, time) for step, time, _ in points)
    candidates = [bits for step, time, bits in points if (step, time) == place]
    numbers = [bits for bits in candidates if not is_nan(bits)]
    if not numbers:
        return set(candidates)
    greatest = max(map(float_of, numbers))
    return {bits for bits in numbers if float_of(bits) == greatest}


def float_of(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<q", bits))[0])


def is_nan(bits: int) -> bool:
    return float_of(bits) != float_of(bits)


def chunk_sizes(adapter: LocalAdapter) -> list[int]:
    with adapter._database.reading("test") as connection:
        assert connection is not None
        rows = connection.execute("SELECT points FROM metric_chunk ORDER BY first_step, first_time")
        return [size for (size,) in rows]


def assert_chunks_are_disjoint(adapter: LocalAdapter, run_id: str) -> None:
    with adapter._database.reading("test") as connection:
        assert connection is not None
        rows = connection.execute(
            "SELECT first_step, first_time, last_step, last_time FROM metric_chunk "
            "WHERE run = (SELECT row FROM run WHERE run_id = ?) ORDER BY first_step, first_time",
            (run_id,),
        ).fetchall()
    for before, after in pairwise(rows):
        assert before[:2] <= before[2:] < after[:2] <= after[2:]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAdapter]:
    """Return an adapter that the examples of a property share, each with a run of its own."""
    adapter = LocalAdapter(Settings(folder=tmp_path_factory.mktemp("shared")), lambda: 1)
    yield adapter
    adapter.close()


class TestAnyOrder:
    counter = 0

    @pytest.mark.parametrize(("largest", "small"), [(8192, 512), (4, 2), (1, 1)])
    @settings(deadline=None)
    @given(data=st.data(), points=POINTS)
    def test_any_permutation_repetition_and_splitting(
        self, shared: LocalAdapter, data: st.DataObject, points: list[Point], largest: int, small: int
    ) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(metrics, "CHUNK_POINTS_MAX", largest)
            patch.setattr(metrics, "CHUNK_POINTS_SMALL", small)
            self.check(shared, data, points)

    def check(self, adapter: LocalAdapter, data: st.DataObject, points: list[Point]) -> None:
        TestAnyOrder.counter += 1
        run_id = open_run(adapter, f"r{self.counter}")
        shuffled = data.draw(st.permutations(points + points))
        arrived: list[Point] = []
        while shuffled:
            size = data.draw(st.integers(1, len(shuffled)))
            part, shuffled = shuffled[:size], shuffled[size:]
            if data.draw(st.booleans()):
                part.sort()
            write(adapter, part, run_id=run_id)
            arrived += part
        wanted = sorted(dict.fromkeys(arrived), key=lambda point: point[:2])
        assert history(adapter, run_id=run_id) == wanted
        found = adapter.tracking.get_run(run_id).data.metrics
        assert len(found) == bool(points)
        for value in found.values():
            assert struct.unpack("<q", struct.pack("<d", value))[0] in expected_last(points)
        assert_chunks_are_disjoint(adapter, run_id)


class TestChunks:
    def test_small_writes_fill_one_chunk_before_the_next(self, adapter: LocalAdapter) -> None:
        open_run(adapter)
        for start in range(0, 3000, 100):
            write(adapter, [(step, step, step) for step in range(start, start + 100)])
        sizes = chunk_sizes(adapter)
        assert sum(sizes) == 3000
        assert all(size >= CHUNK_POINTS_SMALL for size in sizes[:-1])

    def test_a_large_write_is_cut(self, adapter: LocalAdapter) -> None:
        open_run(adapter)
        write(adapter, [(0, 0, 0)])
        write(adapter, [(step, 0, step) for step in range(1, 2 * CHUNK_POINTS_MAX)])
        assert chunk_sizes(adapter) == [CHUNK_POINTS_MAX, CHUNK_POINTS_MAX]

    def test_points_of_one_place_stay_in_one_chunk(self, adapter: LocalAdapter) -> None:
        open_run(adapter)
        points = [(0, 0, bits) for bits in range(CHUNK_POINTS_MAX + 10)]
        write(adapter, points)
        write(adapter, [(0, 0, -5), (1, 0, 1)])
        assert chunk_sizes(adapter)[0] == len(points) + 1
        assert history(adapter) == [*points, (0, 0, -5), (1, 0, 1)]

    def test_points_before_all_others_join_a_small_chunk(self, adapter: LocalAdapter) -> None:
        open_run(adapter)
        for step in reversed(range(50)):
            write(adapter, [(step, 0, step)])
        assert chunk_sizes(adapter) == [50]

    def test_a_repeated_write_rewrites_nothing(self, adapter: LocalAdapter, folder: Path) -> None:
        open_run(adapter)
        points = [(step, step, step * 7) for step in range(3 * CHUNK_POINTS_MAX)]
        write(adapter, points)
        with adapter._database.reading("test") as connection:
            assert connection is not None
            before = connection.total_changes
        write(adapter, points)
        write(adapter, points[100:9000])
        with adapter._database.reading("test") as connection:
            assert connection is not None
            assert connection.total_changes == before
        assert history(adapter) == points

    def test_bytes_are_little_endian(self, adapter: LocalAdapter) -> None:
        open_run(adapter)
        write(adapter, [(258, 3, float_bits(1.5))])
        with adapter._database.reading("test") as connection:
            assert connection is not None
            row = connection.execute("SELECT steps, timestamps, vals FROM metric_chunk").fetchone()
        assert row == (struct.pack("<q", 258), struct.pack("<q", 3), struct.pack("<d", 1.5))

    def test_a_machine_of_the_other_byte_order_swaps(
        self, adapter: LocalAdapter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open_run(adapter)
        monkeypatch.setattr(metrics.sys, "byteorder", "big")
        write(adapter, [(258, 3, 7)])
        write(adapter, [(257, 3, 9), (258, 3, 7)])
        assert history(adapter) == [(257, 3, 9), (258, 3, 7)]

    def test_columns_of_different_length_are_refused(self, adapter: LocalAdapter) -> None:
        open_run(adapter)
        columns = columns_of([(1, 1, 1)])
        columns.timestamps.append(2)
        with pytest.raises(InvalidInput):
            adapter.tracking.write(Batch(run_id="r", metrics={"m": columns}))
        assert history(adapter) == []


class TestLatest:
    @pytest.mark.parametrize(
        ("points", "last"),
        [
            ([(1, 1, 0.0), (1, 1, -0.0)], 0.0),
            ([(1, 1, -0.0), (1, 0, 5.0)], -0.0),
            ([(1, 1, float("nan")), (1, 1, float("-inf"))], float("-inf")),
            ([(2, 0, 1.0), (1, 9, 7.0)], 1.0),
            ([(2, 0, 1.0), (2, 9, -7.0)], -7.0),
        ],
    )
    @pytest.mark.parametrize("together", [True, False])
    @pytest.mark.parametrize("turned", [True, False])
    def test_the_last_value(
        self,
        adapter: LocalAdapter,
        points: list[tuple[int, int, float]],
        last: float,
        together: bool,
        turned: bool,
    ) -> None:
        open_run(adapter)
        as_bits = [(step, time, float_bits(value)) for step, time, value in points]
        if turned:
            as_bits.reverse()
        for part in [as_bits] if together else [[point] for point in as_bits]:
            write(adapter, part)
        assert last_bits(adapter) == float_bits(last)


def float_bits(value: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", value))[0])
