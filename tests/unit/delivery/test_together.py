"""Several calls under way at once: what may overtake what, and that failures stay where they are."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.deliveries import until
from tests.support.journals import URI, Bench, opened
from tests.support.memory_adapter import MemoryAdapter, MemoryState, MemoryTracking, now_ms
from trackbridge.api.recorder import RunRecorder
from trackbridge.delivery import circuit as circuit_module
from trackbridge.delivery import windows as windows_module
from trackbridge.delivery.agenda import Agenda
from trackbridge.delivery.crew import Crew
from trackbridge.delivery.lane import CALLS_AT_ONCE, WINDOWS_MAX, Progress
from trackbridge.delivery.sending import REPEATED_RECORDS_MAX, Errand
from trackbridge.delivery.service import DeliveryService
from trackbridge.delivery.status import journal_status
from trackbridge.delivery.steps import BatchStep, ControlStep, Step, plan_steps
from trackbridge.domain.batches import Batch, MetricColumns, Receipt
from trackbridge.domain.records import ArtifactLogged, MetricLogged, Record, RunClosed, TagsSet
from trackbridge.domain.runs import TAG_PARENT, RunStatus
from trackbridge.errors import RateLimited, TimedOut, Unavailable
from trackbridge.ports.capabilities import Capabilities, Limits
from trackbridge.testing.faults import Faults, faulty_adapter

LIMITS = Limits(metrics_per_write_max=10)


class Watched(MemoryTracking):
    """Notes every write and how many are under way at once, and does what a test wants around each."""

    def __init__(self, state: MemoryState, capabilities: Capabilities) -> None:
        super().__init__(state, capabilities, now_ms)
        self.under_way = self.most_under_way = self.histories = 0
        self.written: list[Batch] = []
        self.before: Callable[[Batch], None] = lambda batch: None
        self.after: Callable[[Batch], None] = lambda batch: None
        self.lock = threading.Lock()

    def write(self, batch: Batch) -> Receipt:
        with self.lock:
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            self.before(batch)
            receipt = super().write(batch)
            with self.lock:
                self.written.append(batch)
            self.after(batch)
            return receipt
        finally:
            with self.lock:
                self.under_way -= 1

    def metric_history(self, run_id: str, key: str) -> MetricColumns:
        self.histories += 1
        return super().metric_history(run_id, key)


class Scene:
    """A journal, and a lane to a store that is watched."""

    def __init__(self, root: Path, *, dedup: bool = True, limits: Limits = LIMITS) -> None:
        adapter = MemoryAdapter(limits=limits, dedup=dedup)
        self.store = adapter.tracking = Watched(adapter.state, adapter.capabilities())
        self.bench = Bench(root, adapter)

    def logged(self, steps: int = 200) -> RunRecorder:
        recorder = self.bench.run()
        for step in range(steps):
            recorder.metric("loss", float(step), step)
        return recorder

    def steps(self, run_id: str) -> list[int]:
        return list(MemoryTracking.metric_history(self.store, run_id, "loss").steps)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "journal")
    yield scene
    scene.bench.writer.close()


def together(scene: Scene, count: int) -> None:
    """Let no write go on before so many are under way: fewer would wait in vain."""
    barrier = threading.Barrier(count)

    def wait(batch: Batch) -> None:
        barrier.wait(20)

    scene.store.before = wait


# What is sent at once.


def test_metric_batches_of_one_run_are_under_way_at_once(scene: Scene) -> None:
    recorder = scene.logged(80)
    together(scene, CALLS_AT_ONCE)
    scene.bench.deliver()
    assert scene.steps(recorder.run_id) == list(range(80))
    assert scene.store.most_under_way == CALLS_AT_ONCE


def test_runs_are_under_way_at_once(scene: Scene) -> None:
    recorders = [scene.logged(5) for _ in range(4)]
    together(scene, 4)
    scene.bench.deliver()
    for recorder in recorders:
        assert scene.steps(recorder.run_id) == list(range(5))


def test_a_backend_may_ask_for_fewer(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "journal", limits=Limits(metrics_per_write_max=10, calls_at_once_max=2))
    scene.logged(200)
    scene.store.before = lambda batch: time.sleep(0.002)
    scene.bench.deliver()
    assert scene.store.most_under_way == 2
    scene.bench.writer.close()


def test_batches_are_as_full_as_may_be_across_calls_and_artifacts(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "journal", limits=Limits(metrics_per_write_max=1000, params_per_write_max=100))
    recorder = scene.bench.run()
    recorder.params({f"p{number}": number for number in range(40)})
    for step in range(2500):
        recorder.metric(f"m{step % 7}", float(step), step)
        if step % 500 == 0:
            recorder.content(b"x", f"at-{step}.txt")
    scene.bench.deliver()
    assert sorted(map(len, scene.store.written)) == [540, 1000, 1000]
    scene.bench.writer.close()


def test_params_and_tags_keep_their_order(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "journal", limits=Limits(metrics_per_write_max=10, tags_per_write_max=1))
    chance = random.Random(0)
    scene.store.before = lambda batch: time.sleep(chance.random() * 0.003)
    recorder = scene.logged(100)
    for number in range(50):
        recorder.tags({"last": str(number)})
    scene.bench.deliver()
    assert scene.bench.backend(URI).tracking.get_run(recorder.run_id).data.tags["last"] == "49"
    values = [tag.value for batch in scene.store.written for tag in batch.tags if tag.key == "last"]
    assert values == [str(number) for number in range(50)]
    scene.bench.writer.close()


def order_of(windows: list[list[Step]], chance: random.Random) -> list[Step]:
    """Finish the steps as a crew might, in any order that the agenda allows, while windows are added."""
    agenda: Agenda[None] = Agenda()
    begun: list[Errand] = []
    done: list[Step] = []
    while agenda or begun or windows:
        if windows and chance.random() < 0.5:
            agenda.add(windows.pop(0), None, is_repeating=False)
        while agenda and chance.random() < 0.7:
            begun.append(agenda.take())
        if begun:
            errand = begun.pop(chance.randrange(len(begun)))
            finished = agenda.finish(errand, [])
            assert finished is not None
            done.append(finished[1])
    return done


@pytest.mark.parametrize("windows", [1, 2, 9])
@pytest.mark.parametrize("seed", range(20))
def test_what_must_be_in_order_is(seed: int, windows: int) -> None:
    chance = random.Random(seed)
    parent, child = opened(), opened()
    child = msgspec.structs.replace(child, tags={TAG_PARENT: parent.run_id})
    other = opened(experiment="tests")
    records: list[Record] = [parent, child, other]
    for number, run in enumerate((parent, child, other)):
        records += [MetricLogged(run.run_id, "loss", 1.0, 1, number)]
        records += [RunClosed(run.run_id, RunStatus.FINISHED, 2)]
    cuts = sorted(chance.sample(range(1, len(records)), windows - 1))
    numbered = list(enumerate(records, 1))
    parts = [numbered[start:end] for start, end in zip([0, *cuts], [*cuts, len(records)], strict=True)]
    done = order_of([plan_steps(part) for part in parts], chance)
    assert len(done) == 9
    place = {_name(step): number for number, step in enumerate(done)}
    for run in (parent, child, other):
        names = [(kind, run.run_id) for kind in ("RunOpened", "data", "RunClosed")]
        assert [place[name] for name in names] == sorted(place[name] for name in names)
    first = place[("RunOpened", parent.run_id)]
    assert first < place[("RunOpened", child.run_id)], "the parent is there before its child"
    assert first < place[("RunOpened", other.run_id)], "one opening creates the experiment"


@pytest.mark.parametrize("seed", range(20))
def test_params_tags_and_artifacts_of_a_run_keep_their_order_across_windows(seed: int) -> None:
    run = opened()
    windows: list[list[Step]] = [plan_steps([(1, run)])]
    for number in range(2, 40, 4):
        tag = TagsSet(run.run_id, number, {"last": str(number)})
        point = MetricLogged(run.run_id, "loss", 1.0, number, number)
        artifact = ArtifactLogged(run.run_id, number, "a.txt", "sha256:0", 1, f"{number}")
        windows.append(plan_steps([(number, tag), (number + 1, artifact)]))
        windows.append(plan_steps([(number + 2, point)]))
    done = order_of(windows, random.Random(seed))
    tags = [step.batch.tags[0].value for step in done if isinstance(step, BatchStep) and step.batch.tags]
    artifacts = [step.sequence for step in done if isinstance(step, ControlStep)]
    assert tags == [str(number) for number in range(2, 40, 4)]
    assert artifacts == sorted(artifacts)


def _name(step: Step) -> tuple[str, str]:
    if isinstance(step, BatchStep):
        return ("data", step.batch.run_id)
    assert isinstance(step, ControlStep)
    return (type(step.record).__name__, getattr(step.record, "run_id", ""))


# Windows.

SMALL_BYTES = 4096
"""A window of some thirty points."""


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows_module, "WINDOW_BYTES", SMALL_BYTES)


@pytest.mark.usefixtures("small_windows")
def test_the_next_window_is_under_way_while_one_is_not_done_and_no_further_one(scene: Scene) -> None:
    recorder = scene.logged(600)
    writes_again = threading.Event()
    scene.bench.lane.advance(lambda: False)
    after_first = scene.bench.lane.cursor.position
    written_first = len(scene.store.written)
    held = after_first.sequence - 1  # of the second window: sequence 1 opens the run

    def hold(batch: Batch) -> None:
        if held in batch.metrics["loss"].steps:
            assert writes_again.wait(20)

    scene.store.before = hold
    thread = threading.Thread(target=scene.bench.deliver)
    thread.start()
    try:
        lane = scene.bench.lane
        until(lambda: len(lane._works) == WINDOWS_MAX and lane._crew.busy == 1 and not lane._agenda)
        assert lane.cursor.position == after_first, "not everything before the rest is durable"
        points = sum(map(len, scene.store.written[written_first:]))
        assert points > SMALL_BYTES / 100, "the window behind the one that waits is sent"
    finally:
        writes_again.set()
        thread.join(20)
    assert scene.steps(recorder.run_id) == list(range(600))


@pytest.mark.usefixtures("small_windows")
def test_a_window_is_committed_while_the_next_one_fails(scene: Scene) -> None:
    recorder = scene.logged(200)
    scene.bench.writer.close()

    def fail(batch: Batch) -> None:
        if 199 in batch.metrics["loss"].steps:
            raise Unavailable("not the last one")

    scene.store.before = fail
    while scene.bench.lane.advance() is not Progress.BLOCKED:
        pass
    before_last = scene.bench.lane.cursor.position.sequence
    assert 0 < before_last < 200
    assert scene.bench.lane.cursor.problem is not None
    scene.store.before = lambda batch: None
    assert scene.bench.deliver() is Progress.FINISHED
    assert scene.steps(recorder.run_id) == list(range(200))
    assert sum(map(len, scene.store.written)) == 200, "nothing was written again"


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("seed", range(10))
def test_a_kill_with_two_windows_under_way_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The store takes points twice; each lane reads windows of a size of its own."""
    chance = random.Random(seed)
    scene = Scene(tmp_path / "journal", dedup=False)
    recorder = scene.logged(600)
    scene.bench.writer.close()

    def kill(batch: Batch) -> None:
        if chance.random() < 0.1:
            raise Killed

    scene.store.before = scene.store.after = kill
    kills, progress = 0, Progress.DELIVERED
    while progress is not Progress.FINISHED:
        monkeypatch.setattr(windows_module, "WINDOW_BYTES", chance.choice([500, 1000, 4096, 10_000]))
        try:
            progress = scene.bench.lane.advance()
        except Killed:
            kills += 1
            scene.bench.lane = scene.bench.new_lane()
    assert kills > 3
    assert scene.steps(recorder.run_id) == list(range(600))


@pytest.mark.usefixtures("small_windows")
def test_a_cursor_that_cannot_be_read_doubles_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "journal", dedup=False)
    recorder = scene.logged(300)
    scene.bench.deliver()
    (cursor,) = scene.bench.writer.folder.path.glob("cursor-*.json")
    cursor.write_bytes(b"{")
    scene.bench.lane = scene.bench.new_lane()
    scene.bench.deliver()
    assert scene.steps(recorder.run_id) == list(range(300))
    scene.bench.writer.close()


# Failures.


def test_a_part_that_fails_keeps_nothing_from_the_others(scene: Scene) -> None:
    recorder = scene.logged(200)
    failures: list[Batch] = []

    def fail(batch: Batch) -> None:
        if 55 in batch.metrics["loss"].steps and len(failures) < 3:
            failures.append(batch)
            raise Unavailable("not this one")

    scene.store.before = fail
    assert scene.bench.lane.advance() is Progress.BLOCKED
    assert "not this one" in str(scene.bench.lane.cursor.problem)
    assert scene.bench.lane.cursor.position.sequence == 0, "the window is not whole"
    scene.bench.deliver()
    assert scene.steps(recorder.run_id) == list(range(200))
    assert len(failures) == 3
    assert len(scene.store.written) == 20, "what was written is not written again"


def test_what_fails_for_good_lets_everything_else_through(scene: Scene) -> None:
    recorder = scene.logged(200)

    def fail(batch: Batch) -> None:
        if 55 in batch.metrics["loss"].steps:
            raise Unavailable("never this one")

    scene.store.before = fail
    for _ in range(50):
        assert scene.bench.lane.advance() is Progress.BLOCKED
    assert scene.steps(recorder.run_id) == [step for step in range(200) if not 50 <= step < 60]
    assert scene.bench.lane.cursor.position.sequence == 0


def test_one_call_goes_ahead_after_a_failure(scene: Scene) -> None:
    scene.logged(200)
    calls: list[Batch] = []

    def fail(batch: Batch) -> None:
        calls.append(batch)
        raise Unavailable("down")

    scene.store.before = fail
    scene.bench.lane.advance()
    begun = len(calls)
    assert begun <= CALLS_AT_ONCE
    for _ in range(5):
        scene.bench.lane.advance()
    assert len(calls) == begun + 5


@pytest.mark.parametrize("seed", range(5))
def test_a_store_that_takes_points_twice_gets_them_once_in_any_weather(tmp_path: Path, seed: int) -> None:
    state, chance = MemoryState(), random.Random(seed)
    faults = Faults(
        transient=0.1,
        ambiguous=0.2,
        partial=0.1,
        rng=random.Random(seed),
        latency_s=0.0005,
        poison=lambda record: record.step == 77,
        methods=frozenset({"write"}),
    )
    bench = Bench(
        tmp_path / "journal", faulty_adapter(MemoryAdapter(state, dedup=False, limits=LIMITS), faults)
    )
    recorders = [bench.run() for _ in range(3)]
    for step in range(300):
        for recorder in recorders:
            recorder.metric("loss", float(step), step)
        if step % 60 == 0:
            bench.lane.advance()
        if chance.random() < 0.01:
            bench.lane.close()
            bench.lane = bench.new_lane()
    bench.deliver()
    bench.adapter = MemoryAdapter(state, dedup=False)
    history = bench.backend(URI).tracking.metric_history
    for recorder in recorders:
        assert list(history(recorder.run_id, "loss").steps) == [step for step in range(300) if step != 77]
    assert len(bench.dead_letters.read()) == 3
    bench.writer.close()


def test_only_what_may_have_been_sent_is_read_back(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "journal", dedup=False)
    scene.bench.run()
    scene.bench.deliver()  # the first window may have been sent by another process
    recorder = scene.logged(400)
    failed = threading.Event()

    def break_off(batch: Batch) -> None:
        if "loss" in batch.metrics and 5 in batch.metrics["loss"].steps and not failed.is_set():
            failed.set()
            raise TimedOut("no answer", ambiguous=True)

    scene.store.after = break_off
    scene.bench.deliver()
    assert failed.is_set()
    assert scene.store.histories == 1
    assert scene.steps(recorder.run_id) == list(range(400))
    scene.bench.writer.close()


def test_what_was_too_much_to_be_repeated_in_time_comes_through_in_small_writes(tmp_path: Path) -> None:
    """As a server on SQLite that has the points already, and needs too long to see it."""
    scene = Scene(tmp_path / "journal", limits=Limits(metrics_per_write_max=1000, tags_per_write_max=100))

    def be_slow(batch: Batch) -> None:
        if len(batch) > REPEATED_RECORDS_MAX:
            raise TimedOut("no answer", ambiguous=True)

    scene.store.after = be_slow
    recorder = scene.logged(2500)
    recorder.tags({f"t{number}": "x" for number in range(90)})
    recorder.tags({"t0": "y"})
    scene.bench.deliver(attempts_max=20)
    assert scene.steps(recorder.run_id) == list(range(2500))
    assert scene.bench.backend(URI).tracking.get_run(recorder.run_id).data.tags["t0"] == "y"
    scene.bench.writer.close()


def test_no_call_begins_after_the_deadline(scene: Scene) -> None:
    recorder = scene.logged(400)

    def end(batch: Batch) -> None:
        scene.bench.lane.deadline = 0.0

    scene.store.before = end
    assert scene.bench.lane.advance() is Progress.BLOCKED
    assert len(scene.store.written) <= CALLS_AT_ONCE
    scene.store.before = lambda batch: None
    scene.bench.lane.deadline = float("inf")
    scene.bench.deliver()
    assert scene.steps(recorder.run_id) == list(range(400))


def test_a_service_that_is_stopped_ends_in_the_middle_of_a_window(scene: Scene) -> None:
    scene.logged(2000)
    scene.store.before = lambda batch: time.sleep(0.05)
    service = DeliveryService(
        scene.bench.root, own=scene.bench.writer.folder, open_backend=scene.bench.backend
    )
    thread = threading.Thread(target=service.run)
    thread.start()
    until(lambda: len(scene.store.written) > 2)
    service.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert len(scene.store.written) < 200


def test_what_a_backend_asks_to_wait_is_waited_for(scene: Scene) -> None:
    scene.logged(5)

    def limit(batch: Batch) -> None:
        raise RateLimited("slower", retry_after_s=3600)

    scene.store.before = limit
    assert scene.bench.lane.advance() is Progress.BLOCKED
    assert scene.bench.lane.retry_at > time.monotonic() + 3000


# The crew.


def test_a_crew_without_threads_does_the_work_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    crew: Crew[int, int] = Crew(lambda number: number * 2)
    crew.begin(1)
    crew.begin(2)
    assert [crew.wait().result, crew.wait().result] == [2, 4]
    assert crew.busy == 0


def test_a_crew_hands_on_errors_of_every_kind() -> None:
    def fail(number: int) -> None:
        raise KeyboardInterrupt

    crew: Crew[int, None] = Crew(fail)
    crew.begin(1)
    assert isinstance(crew.wait().error, KeyboardInterrupt)
    crew.close()


# The circuit.


def test_a_long_outage_is_told_once_and_its_end_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(circuit_module, "CIRCUIT_S", 0.0)
    caplog.set_level(logging.WARNING, "trackbridge.delivery")
    scene.logged(5)

    def refuse(uri: str) -> None:
        raise Unavailable("no route to https://me:hunter2@example.org/x")

    scene.bench.lane = scene.bench.new_lane(refuse)  # type: ignore[arg-type]
    for _ in range(5):
        assert scene.bench.lane.advance() is Progress.BLOCKED
    (line,) = caplog.messages
    assert "has taken nothing since" in line
    assert "hunter2" not in line
    (status,) = journal_status(scene.bench.root)
    assert "nothing was taken since" in str(status.lanes[0].problem)
    assert status.lanes[0].failing_since_ms is not None
    monkeypatch.setattr(scene.bench.lane, "_open_backend", scene.bench.backend)
    scene.bench.deliver()
    assert len(caplog.messages) == 2
    assert "takes records again" in caplog.messages[1]
    (status,) = journal_status(scene.bench.root)
    assert (status.lanes[0].problem, status.lanes[0].failing_since_ms) == (None, None)


def test_a_short_outage_is_not_told(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.logged(5)
    scene.store.before = _fails_times(3)
    scene.bench.deliver()
    assert caplog.messages == []


def _fails_times(times: int) -> Callable[[Batch], None]:
    left = [times]

    def fail(batch: Batch) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise Unavailable("down")

    return fail
