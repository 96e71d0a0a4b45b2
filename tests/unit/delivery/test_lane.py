"""A lane delivers every record exactly once in effect, past transient faults, poison and its own death."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.journals import URI, Bench, opened
from tests.support.memory_adapter import MemoryAdapter, MemoryState
from trackbridge.delivery.lane import Progress
from trackbridge.domain.metric_values import NON_FINITE
from trackbridge.domain.records import MetricLogged, OpenMode
from trackbridge.domain.runs import Metric, RunStatus
from trackbridge.errors import NotFound, Unavailable
from trackbridge.journal.cursors import load_cursor
from trackbridge.ports.capabilities import Feature, Limits
from trackbridge.testing.faults import BatchRecord, Faults, faulty_adapter


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "journal")
    yield bench
    bench.writer.close()


def steps_of(bench: Bench, run_id: str, key: str = "loss") -> list[int]:
    return list(bench.backend(URI).tracking.metric_history(run_id, key).steps)


def test_everything_of_a_run_arrives(bench: Bench, tmp_path: Path) -> None:
    recorder = bench.run()
    recorder.params({"lr": 0.1})
    recorder.tags({"kind": "test"})
    for step in range(100):
        recorder.metric("loss", 1 / (step + 1), step)
    recorder.metrics([Metric("acc", 0.5, 5, step) for step in range(7)])
    recorder.content(b"hello", "notes/a.txt")
    recorder.close(RunStatus.FINISHED)
    bench.writer.close()
    assert bench.deliver() is Progress.FINISHED
    backend = bench.backend(URI)
    run = backend.tracking.get_run(recorder.run_id)
    assert run.info.status is RunStatus.FINISHED
    assert run.info.end_time == recorder.end_time
    assert run.data.params == {"lr": "0.1"}
    assert run.data.tags["kind"] == "test"
    assert run.data.metrics == {"loss": 0.01, "acc": 0.5}
    assert steps_of(bench, recorder.run_id) == list(range(100))
    assert steps_of(bench, recorder.run_id, "acc") == list(range(7))
    assert backend.artifacts is not None
    with backend.artifacts.open(recorder.run_id, "notes/a.txt") as file:
        assert file.read() == b"hello"


def test_an_idle_lane_says_so_and_goes_on_with_what_comes(bench: Bench) -> None:
    recorder = bench.run()
    assert bench.lane.advance() is Progress.DELIVERED
    assert bench.lane.advance() is Progress.IDLE
    recorder.metric("loss", 1.0, 1)
    assert bench.lane.advance() is Progress.DELIVERED
    assert steps_of(bench, recorder.run_id) == [1]


def test_the_cursor_counts_what_is_delivered(bench: Bench) -> None:
    recorder = bench.run()
    for step in range(10):
        recorder.metric("loss", 1.0, step)
    bench.deliver()
    cursor = load_cursor(bench.writer.folder, URI)
    assert cursor.position.sequence == bench.writer.last_sequence == 11
    assert cursor.delivered == 11
    assert cursor.problem is None


@pytest.mark.parametrize("seed", range(5))
def test_exactly_once_through_a_storm(tmp_path: Path, seed: int) -> None:
    """30 % transient, 5 % ambiguous, 1 % poison: the good is there once, the poison with its reason."""
    chance = random.Random(seed)
    state = MemoryState()
    poison = {step for step in range(3000) if chance.random() < 0.01}
    faults = Faults(
        transient=0.3,
        ambiguous=0.05,
        partial=0.05,
        poison=lambda record: record.kind == "metric" and record.step in poison,
        rng=random.Random(seed),
    )
    bench = Bench(tmp_path / "journal", faulty_adapter(MemoryAdapter(state), faults))
    recorder = bench.run()
    for step in range(3000):
        recorder.metric("loss", step / 3, step)
        if step % 500 == 0:
            bench.lane.advance()
    recorder.close(RunStatus.FINISHED)
    bench.writer.close()
    bench.deliver()
    bench.adapter = MemoryAdapter(state)
    assert steps_of(bench, recorder.run_id) == [step for step in range(3000) if step not in poison]
    letters = bench.dead_letters.read()
    records = [letter.record for letter in letters]
    assert {record.step for record in records if isinstance(record, MetricLogged)} == poison
    assert len(letters) == len(poison) == bench.lane.cursor.rejected
    assert {letter.reason for letter in letters} == {
        "injected: the batch holds something that is not accepted"
    }
    assert faults.counts["transient"] > 0
    assert faults.counts["poison"] > 0


@pytest.mark.parametrize("seed", range(5))
def test_a_store_that_would_take_points_twice_does_not_get_them_twice(tmp_path: Path, seed: int) -> None:
    state = MemoryState()
    faults = Faults(transient=0.2, ambiguous=0.3, partial=0.2, rng=random.Random(seed))
    bench = Bench(tmp_path / "journal", faulty_adapter(MemoryAdapter(state, dedup=False), faults))
    recorder = bench.run()
    for step in range(400):
        recorder.metric("loss", math.nan if step % 7 == 0 else step / 3, step)
        if step % 40 == 0:
            bench.lane.advance()
        if step % 100 == 0:
            bench.lane = bench.new_lane()  # the deliverer died and another one took over
    bench.deliver()
    bench.adapter = MemoryAdapter(state, dedup=False)
    assert steps_of(bench, recorder.run_id) == list(range(400))
    bench.writer.close()


class _Death(BaseException):
    """Stands for SIGKILL at a call of the backend."""


@pytest.mark.parametrize("after", [False, True])
def test_death_at_every_call_changes_nothing(tmp_path: Path, after: bool) -> None:
    """The deliverer dies before or after each of its calls, and another one begins at the cursor."""
    for death_at in range(1, 12):
        state = MemoryState()
        bench = Bench(tmp_path / f"journal-{death_at}", _Mortal(MemoryAdapter(state), death_at, after=after))
        recorder = bench.run()
        for step in range(20):
            recorder.metric("loss", step / 3, step)
        recorder.params({"a": 1})
        recorder.content(b"x", "a.txt")
        recorder.close(RunStatus.FINISHED)
        bench.writer.close()
        try:
            bench.deliver()
        except _Death:
            bench.lane = bench.new_lane()
            bench.deliver()
        bench.adapter = MemoryAdapter(state)
        assert steps_of(bench, recorder.run_id) == list(range(20))
        run = bench.backend(URI).tracking.get_run(recorder.run_id)
        assert (run.info.status, run.data.params) == (RunStatus.FINISHED, {"a": "1"})
        assert bench.dead_letters.read() == []


class _Mortal:
    """Dies at the n-th call to a port."""

    def __init__(self, adapter: MemoryAdapter, death_at: int, *, after: bool) -> None:
        self._adapter = adapter
        self._left = [death_at]
        self.tracking = _MortalPort(adapter.tracking, self._left, after)
        self.artifacts = _MortalPort(adapter.artifacts, self._left, after)
        self.registry = self.jobs = self.deployments = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._adapter, name)


class _MortalPort:
    def __init__(self, port: object, left: list[int], after: bool) -> None:
        self._port, self._left, self._after = port, left, after

    def __getattr__(self, name: str) -> object:
        method = getattr(self._port, name)

        def call(*arguments: object, **options: object) -> object:
            self._left[0] -= 1
            if self._left[0] == 0 and not self._after:
                raise _Death
            result = method(*arguments, **options)
            if self._left[0] == 0:
                raise _Death
            return result

        return call


def test_a_backend_that_is_down_blocks_and_says_why(bench: Bench) -> None:
    recorder = bench.run()

    def refuse(uri: str) -> None:
        raise Unavailable("no route to host")

    bench.lane = bench.new_lane(refuse)  # type: ignore[arg-type]
    assert bench.lane.advance() is Progress.BLOCKED
    assert "no route to host" in str(load_cursor(bench.writer.folder, URI).problem)
    bench.lane = bench.new_lane()
    bench.deliver()
    assert load_cursor(bench.writer.folder, URI).problem is None
    assert bench.backend(URI).tracking.get_run(recorder.run_id)


def test_waiting_times_grow(bench: Bench) -> None:
    bench.run()

    def refuse(uri: str) -> None:
        raise Unavailable("down")

    bench.lane = bench.new_lane(refuse)  # type: ignore[arg-type]
    waits = []
    for _ in range(10):
        bench.lane.advance()
        waits.append(bench.lane._retry_s)
    assert waits == sorted(waits)
    assert waits[-1] == 60.0


def test_a_run_whose_program_died_is_closed_as_killed(bench: Bench) -> None:
    recorder = bench.run()
    recorder.metric("loss", 1.0, 1, timestamp=1_700_000_123_456)
    bench.writer._writer_lock.release()  # what death does to the lock
    assert bench.deliver() is Progress.FINISHED
    info = bench.backend(URI).tracking.get_run(recorder.run_id).info
    assert (info.status, info.end_time) == (RunStatus.KILLED, 1_700_000_123_456)


def test_a_run_left_open_by_a_program_that_ended_well_stays_open(bench: Bench) -> None:
    recorder = bench.run()
    bench.writer.close()
    assert bench.deliver() is Progress.FINISHED
    assert bench.backend(URI).tracking.get_run(recorder.run_id).info.status is RunStatus.RUNNING


def test_a_run_that_another_living_process_has_open_is_not_closed(tmp_path: Path) -> None:
    state = MemoryState()
    first = Bench(tmp_path / "journal", MemoryAdapter(state))
    recorder = first.run()
    second = Bench(tmp_path / "journal", MemoryAdapter(state))
    second.run(run_id=recorder.run_id, how=OpenMode.JOIN)
    first.writer._writer_lock.release()
    first.deliver()
    assert first.backend(URI).tracking.get_run(recorder.run_id).info.status is RunStatus.RUNNING
    second.writer._writer_lock.release()
    second.deliver()
    assert first.backend(URI).tracking.get_run(recorder.run_id).info.status is RunStatus.KILLED


def test_who_joins_a_run_waits_for_its_creator(tmp_path: Path) -> None:
    state = MemoryState()
    creator = Bench(tmp_path / "journal", MemoryAdapter(state))
    recorder = creator.run()
    joiner = Bench(tmp_path / "journal", MemoryAdapter(state))
    joined = joiner.run(run_id=recorder.run_id, how=OpenMode.JOIN, experiment="")
    joined.metric("loss", 2.0, 2)
    assert joiner.lane.advance() is Progress.BLOCKED
    creator.deliver()
    joiner.deliver()
    assert steps_of(creator, recorder.run_id) == [2]
    assert joiner.dead_letters.read() == []
    creator.writer.close()
    joiner.writer.close()


def test_records_of_a_run_that_does_not_exist_are_kept_with_the_reason(bench: Bench) -> None:
    recorder = bench.run(how=OpenMode.JOIN, experiment="")
    recorder.metric("loss", 2.0, 2)
    bench.deliver()
    letters = bench.dead_letters.read()
    assert [letter.kind for letter in letters] == ["RunOpened", "MetricLogged"]
    assert bench.lane.cursor.rejected == 2
    with pytest.raises(NotFound):
        bench.backend(URI).tracking.get_run(recorder.run_id)


def test_a_conflicting_param_is_kept_and_nothing_else_suffers(tmp_path: Path) -> None:
    state = MemoryState()
    first = Bench(tmp_path / "journal", MemoryAdapter(state))
    recorder = first.run()
    recorder.params({"lr": "0.1"})
    first.deliver()
    second = Bench(tmp_path / "journal", MemoryAdapter(state))
    resumed = second.run(run_id=recorder.run_id, how=OpenMode.RESUME)
    resumed.params({"lr": "0.2", "depth": 3})
    resumed.metric("loss", 1.0, 1)
    second.deliver()
    run = second.backend(URI).tracking.get_run(recorder.run_id)
    assert run.data.params == {"lr": "0.1", "depth": "3"}
    assert steps_of(second, recorder.run_id) == [1]
    (letter,) = second.dead_letters.read()
    assert "lr" in letter.reason
    first.writer.close()
    second.writer.close()


def test_what_exceeds_the_limits_arrives_in_parts_and_side_cars(tmp_path: Path) -> None:
    limits = Limits(metrics_per_write_max=10, param_value_chars_max=40, metric_values_unheld=NON_FINITE)
    adapter = MemoryAdapter(limits=limits)
    bench = Bench(tmp_path / "journal", adapter)
    recorder = bench.run()
    recorder.params({"text": "long " * 100})
    for step in range(95):
        recorder.metric("loss", math.inf if step == 50 else float(step), step)
    bench.deliver()
    assert bench.dead_letters.read() == []
    assert steps_of(bench, recorder.run_id) == [step for step in range(95) if step != 50]
    artifacts = bench.backend(URI).artifacts
    assert artifacts is not None
    assert len(artifacts.list(recorder.run_id, "bridge/spill")) == 1
    bench.writer.close()


def test_an_artifact_whose_staged_copy_vanished_is_reported(bench: Bench) -> None:
    recorder = bench.run()
    recorder.content(b"x", "a.txt")
    for staged in bench.writer.folder.staged.iterdir():
        staged.unlink()
    bench.deliver()
    (letter,) = bench.dead_letters.read()
    assert letter.kind == "ArtifactLogged"


def test_a_destination_without_artifacts_keeps_them_as_dead_letters(tmp_path: Path) -> None:
    adapter = MemoryAdapter()
    adapter.artifacts = None  # type: ignore[assignment]
    bench = Bench(tmp_path / "journal", adapter)
    recorder = bench.run()
    recorder.content(b"x", "a.txt")
    recorder.metric("loss", 1.0, 1)
    bench.deliver()
    assert [letter.kind for letter in bench.dead_letters.read()] == ["ArtifactLogged"]
    assert steps_of(bench, recorder.run_id) == [1]
    bench.writer.close()


def test_damage_is_reported_and_the_rest_delivered(bench: Bench) -> None:
    recorder = bench.run()
    for step in range(10):
        recorder.metric("loss", 1.0, step)
    bench.writer.close()
    segment = bench.writer.folder.segment(1)
    data = bytearray(segment.read_bytes())
    data[-200] ^= 0xFF
    segment.write_bytes(data)
    bench.deliver()
    assert len(steps_of(bench, recorder.run_id)) == 9
    (damage,) = bench.dead_letters.damages()
    assert (damage.records_max, damage.reason) == (1, "damaged records")


def test_poison_of_every_kind_is_isolated(tmp_path: Path) -> None:
    def is_poison(record: BatchRecord) -> bool:
        return record.key.startswith("bad")

    for tells in (False, True):
        state = MemoryState()
        faults = Faults(poison=is_poison, rejects_per_record=tells)
        bench = Bench(tmp_path / f"journal-{tells}", faulty_adapter(MemoryAdapter(state), faults))
        recorder = bench.run()
        recorder.params({"good": 1, "bad-param": 2})
        recorder.tags({"good": "1", "bad-tag": "2"})
        recorder.metric("good", 1.0, 1)
        recorder.metric("bad-metric", 2.0, 1)
        bench.deliver()
        kinds = sorted(letter.kind for letter in bench.dead_letters.read())
        assert kinds == ["MetricLogged", "ParamsSet", "TagsSet"]
        bench.adapter = MemoryAdapter(state)
        run = bench.backend(URI).tracking.get_run(recorder.run_id)
        assert run.data.params == {"good": "1"}
        assert run.data.metrics == {"good": 1.0}
        bench.writer.close()


def test_data_sets_go_to_a_side_car_where_there_are_none(tmp_path: Path) -> None:
    from trackbridge.domain.runs import DatasetInput

    adapter = MemoryAdapter(missing={Feature.TRACKING_DATASETS: "not in this one"})
    bench = Bench(tmp_path / "journal", adapter)
    recorder = bench.run()
    recorder.input(DatasetInput(name="wine", digest="d1"))
    bench.deliver()
    assert bench.dead_letters.read() == []
    artifacts = bench.backend(URI).artifacts
    assert artifacts is not None
    assert len(artifacts.list(recorder.run_id, "bridge/spill")) == 1
    bench.writer.close()


def test_opening_twice_opens_once(bench: Bench) -> None:
    record = opened()
    backend = bench.backend(URI)
    for _ in range(2):
        recorder = bench.run(run_id=record.run_id)
    bench.deliver()
    assert backend.tracking.get_run(recorder.run_id).info.run_name == "a run"


def test_files_of_a_run_that_could_not_be_opened_are_kept_with_its_other_records(bench: Bench) -> None:
    backend = bench.backend(URI)
    backend.tracking.ensure_experiment("tests", experiment_id="e" * 32)
    backend.tracking.delete_experiment("e" * 32)
    recorder = bench.run()
    recorder.content(b"x", "a.txt")
    recorder.metric("loss", 1.0, 1)
    bench.deliver()
    kinds = sorted(letter.kind for letter in bench.dead_letters.read())
    assert kinds == ["ArtifactLogged", "MetricLogged", "RunOpened"]
    assert backend.artifacts is not None
    assert len(backend.artifacts.list(recorder.run_id)) == 0
