"""Which journal closes a run that its programs left open, when several of them had it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.journals import URI, Bench
from tests.support.memory_adapter import MemoryAdapter, MemoryState
from trackbridge.api.recorder import RunRecorder
from trackbridge.delivery.backend import Backend
from trackbridge.delivery.lane import Progress
from trackbridge.domain.records import OpenMode
from trackbridge.domain.runs import Run, RunStatus
from trackbridge.errors import Unavailable
from trackbridge.journal.cursors import load_cursor
from trackbridge.journal.folder import JournalFolder


class Family:
    """A program that created a run, and one that was forked from it and has joined the run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = MemoryState()
        self.benches: list[Bench] = []
        self.parent = self.member()
        self.run = self.parent.run()
        self.parent.deliver()
        self.worker, self.joined = self.join()

    def member(self, **options: object) -> Bench:
        bench = Bench(self.root, MemoryAdapter(self.state), **options)  # type: ignore[arg-type]
        self.benches.append(bench)
        return bench

    def join(self) -> tuple[Bench, RunRecorder]:
        bench = self.member()
        recorder = bench.run(run_id=self.run.run_id, how=OpenMode.JOIN)
        bench.deliver()
        return bench, recorder

    @property
    def status(self) -> RunStatus:
        return self.parent.backend(URI).tracking.get_run(self.run.run_id).info.status


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    family = Family(tmp_path / "journal")
    yield family
    for bench in family.benches:
        bench.writer.close()


def kill(bench: Bench) -> None:
    """Do to a writer what SIGKILL of its process does."""
    bench.writer._stop_keeper.set()
    bench.writer._writer_lock.release()


def finish(bench: Bench) -> None:
    """Deliver all of a journal whose writer is dead, and delete it."""
    assert bench.deliver() is Progress.FINISHED
    bench.writer.folder.remove()


def test_a_worker_does_not_close_what_its_parent_has_just_ended(family: Family) -> None:
    family.run.close(RunStatus.FINISHED)
    kill(family.worker)
    finish(family.worker)
    assert family.status is RunStatus.RUNNING, "the parent's own word is still on its way"
    family.parent.deliver()
    assert family.status is RunStatus.FINISHED


def test_a_run_that_is_ended_between_two_calls_stays_as_it_ended(family: Family) -> None:
    """The store says RUNNING; the parent's end arrives; a KILLED after that would replace it."""

    class Late:
        def __init__(self, tracking: object) -> None:
            self._tracking = tracking

        def __getattr__(self, name: str) -> object:
            return getattr(self._tracking, name)

        def get_run(self, run_id: str) -> Run:
            found: Run = self._tracking.get_run(run_id)  # type: ignore[attr-defined]
            if family.run.end_time is None:
                family.run.close(RunStatus.FINISHED)
                family.parent.deliver()
            return found

    def open_late(uri: str) -> Backend:
        backend = family.worker.backend(uri)
        late = Late(backend.tracking)
        return Backend(uri=uri, tracking=late, artifacts=None, capabilities=backend.capabilities)  # type: ignore[arg-type]

    kill(family.worker)
    family.worker.lane = family.worker.new_lane(open_late)
    finish(family.worker)
    if family.run.end_time is None:
        family.run.close(RunStatus.FINISHED)
    family.parent.deliver()
    assert family.status is RunStatus.FINISHED


@pytest.mark.parametrize("worker_first", [True, False])
@pytest.mark.parametrize("end_worker", [kill, lambda bench: bench.writer.close()])
def test_a_run_of_a_killed_program_is_closed_whoever_is_last(
    family: Family, end_worker: Callable[[Bench], None], worker_first: bool
) -> None:
    kill(family.parent)
    end_worker(family.worker)
    first, last = (family.worker, family.parent) if worker_first else (family.parent, family.worker)
    finish(first)
    finish(last)
    assert family.status is RunStatus.KILLED


def test_a_worker_that_outlives_its_killed_parent_inherits_the_run(family: Family) -> None:
    kill(family.parent)
    finish(family.parent)
    assert family.status is RunStatus.RUNNING
    family.worker.writer.close()
    finish(family.worker)
    assert family.status is RunStatus.KILLED


def test_an_inherited_run_is_handed_on(family: Family) -> None:
    kill(family.parent)
    finish(family.parent)
    second, _ = family.join()
    family.worker.writer.close()
    finish(family.worker)
    assert family.status is RunStatus.RUNNING
    second.writer.close()
    finish(second)
    assert family.status is RunStatus.KILLED


def test_a_run_left_open_on_purpose_stays_open_after_its_workers(family: Family) -> None:
    family.parent.writer.close()
    finish(family.parent)
    family.worker.writer.close()
    finish(family.worker)
    assert family.status is RunStatus.RUNNING


def test_a_worker_that_is_killed_after_everybody_else_closes_the_run(family: Family) -> None:
    family.parent.writer.close()
    finish(family.parent)
    kill(family.worker)
    finish(family.worker)
    assert family.status is RunStatus.KILLED


@pytest.mark.parametrize("before", [True, False])
def test_of_two_that_end_at_once_one_closes_the_run(
    family: Family, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """The worker ends, in good order, right before or after its parent's journal leaves the run to it."""
    mark = JournalFolder.mark_inherited

    def end_meanwhile(folder: JournalFolder, run_id: str) -> None:
        if before:
            family.worker.writer.close()
            assert family.worker.deliver() is Progress.FINISHED
            assert family.status is RunStatus.RUNNING
            mark(folder, run_id)
        else:
            mark(folder, run_id)
            family.worker.writer.close()
            assert family.worker.deliver() is Progress.FINISHED

    monkeypatch.setattr(JournalFolder, "mark_inherited", end_meanwhile)
    kill(family.parent)
    finish(family.parent)
    assert family.status is RunStatus.KILLED


def test_two_killed_workers_do_not_leave_the_run_to_each_other(family: Family) -> None:
    second, _ = family.join()
    family.parent.writer.close()
    finish(family.parent)
    kill(family.worker)
    kill(second)
    assert second.deliver() is family.worker.deliver() is Progress.FINISHED
    assert family.status is RunStatus.KILLED


def test_a_journal_for_another_destination_does_not_keep_the_run_open(tmp_path: Path) -> None:
    family = Family(tmp_path / "journal")
    other = family.member(uris=("other:",))
    other.run(run_id=family.run.run_id, how=OpenMode.JOIN)
    kill(family.parent)
    kill(family.worker)
    finish(family.parent)
    finish(family.worker)
    assert family.status is RunStatus.KILLED
    other.writer.close()


def test_a_run_taken_up_again_is_answered_for(family: Family) -> None:
    resumed = family.worker.run(run_id=family.run.run_id, how=OpenMode.RESUME)
    assert resumed.run_id == family.run.run_id
    family.worker.deliver()
    assert family.worker.lane.cursor.joined_runs == frozenset()
    family.parent.writer.close()
    kill(family.worker)
    finish(family.worker)
    assert family.status is RunStatus.KILLED


def test_closing_goes_on_where_a_deliverer_failed_or_died(family: Family) -> None:
    kill(family.worker)
    finish(family.worker)
    family.run.metric("loss", 1.0, 1, timestamp=1_700_000_123_456)
    kill(family.parent)

    def refuse(uri: str) -> Backend:
        backend = family.parent.backend(uri)
        broken = _NoReading(backend.tracking)
        return Backend(uri=uri, tracking=broken, artifacts=None, capabilities=backend.capabilities)  # type: ignore[arg-type]

    family.parent.lane = family.parent.new_lane(refuse)
    found = [family.parent.lane.advance() for _ in range(3)]
    assert found == [Progress.BLOCKED] * 3
    cursor = load_cursor(family.parent.writer.folder, URI)
    assert (cursor.drained, cursor.finished) == (True, False)
    assert "no reading" in str(cursor.problem)
    assert cursor.position.sequence == family.parent.writer.last_sequence
    family.parent.lane = family.parent.new_lane()
    finish(family.parent)
    info = family.parent.backend(URI).tracking.get_run(family.run.run_id).info
    assert (info.status, info.end_time) == (RunStatus.KILLED, 1_700_000_123_456)


class _NoReading:
    def __init__(self, tracking: object) -> None:
        self._tracking = tracking

    def __getattr__(self, name: str) -> object:
        return getattr(self._tracking, name)

    def get_run(self, run_id: str) -> Run:
        raise Unavailable("no reading")


def test_cursors_of_before_are_read(family: Family) -> None:
    """A cursor without the newer fields is one whose runs were all its own."""
    folder = family.parent.writer.folder
    (path,) = folder.path.glob("cursor-*.json")
    content = msgspec.json.decode(path.read_bytes())
    for name in ("joined_runs", "drained"):
        del content[name]
    path.write_bytes(msgspec.json.encode(content))
    cursor = load_cursor(folder, URI)
    assert cursor.open_runs.keys() == {family.run.run_id}
    assert (cursor.joined_runs, cursor.drained) == (frozenset(), False)
