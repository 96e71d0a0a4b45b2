"""Runs that take nothing: their records are refused together, and nothing else waits for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.journals import URI, Bench
from tests.support.memory_adapter import MemoryAdapter, MemoryArtifacts, MemoryTracking
from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.batches import Batch, Receipt
from trackbridge.domain.metric_values import NON_FINITE
from trackbridge.domain.records import OpenMode
from trackbridge.domain.runs import Run, RunStatus
from trackbridge.errors import NotFound, Rejected
from trackbridge.ports.capabilities import Limits


class Counting(MemoryTracking):
    """Counts the batches that it is asked to write."""

    writes = 0

    def write(self, batch: Batch) -> Receipt:
        self.writes += 1
        return super().write(batch)


class Strict(MemoryArtifacts):
    """Takes no file of a run that is not there, as a store does whose files lie below its runs."""

    def put(self, run_id: str, path: str, file: Path, *, digest: str, size: int) -> ArtifactInfo:
        if run_id not in self.state.runs:
            raise NotFound(f"there is no run {run_id}")
        return super().put(run_id, path, file, digest=digest, size=size)


class Gone(Bench):
    """A bench whose backend counts, and forgets runs."""

    def __init__(self, root: Path) -> None:
        adapter = MemoryAdapter(limits=Limits(metric_values_unheld=NON_FINITE, metrics_per_write_max=500))
        self.state = adapter.state
        self.tracking = Counting(adapter.state, adapter.capabilities(), lambda: 1)
        adapter.tracking = self.tracking
        adapter.artifacts = Strict(adapter.state, adapter.capabilities())
        super().__init__(root, adapter)

    def reasons(self) -> dict[str, set[str]]:
        """Return the reasons of the dead letters of each run."""
        found: dict[str, set[str]] = {}
        for letter in self.dead_letters.read():
            found.setdefault(letter.run_id, set()).add(letter.reason)
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Gone]:
    bench = Gone(tmp_path / "journal")
    yield bench
    bench.writer.close()


def test_a_batch_for_a_deleted_run_is_not_halved(bench: Gone) -> None:
    recorder = bench.run()
    bench.deliver()
    bench.tracking.delete_run(recorder.run_id)
    for step in range(1000):
        recorder.metric("loss", 1.0, step)
    bench.deliver()
    assert bench.tracking.writes == 2, "one for each batch of 500"
    assert len(bench.dead_letters.read()) == 1000
    (reason,) = bench.reasons()[recorder.run_id]
    assert "was deleted" in reason


def test_nothing_is_sent_to_a_run_whose_opening_was_refused(bench: Gone) -> None:
    first = bench.run()
    bench.deliver()
    bench.tracking.delete_experiment("e" * 32)
    late = bench.run()
    late.metric("loss", 1.0, 0)
    late.metric("loss", float("inf"), 1)
    late.params({"p": 1})
    late.close(RunStatus.FINISHED)
    bench.deliver()
    assert bench.tracking.writes == 0
    assert [letter.kind for letter in bench.dead_letters.read()] == [
        "RunOpened",
        "MetricLogged",
        "MetricLogged",
        "ParamsSet",
        "RunClosed",
    ]
    assert first.run_id not in bench.reasons()


def test_an_opening_that_is_taken_ends_the_refusals(bench: Gone) -> None:
    recorder = bench.run()
    bench.deliver()
    bench.tracking.delete_run(recorder.run_id)
    recorder.announce(OpenMode.RESUME)
    recorder.metric("loss", 1.0, 1)
    bench.deliver()
    bench.tracking.restore_run(recorder.run_id)
    recorder.metric("loss", 1.0, 2)
    bench.deliver()
    recorder.announce(OpenMode.RESUME)
    recorder.metric("loss", 1.0, 3)
    bench.deliver()
    assert list(bench.backend(URI).tracking.metric_history(recorder.run_id, "loss").steps) == [3]
    assert len(bench.dead_letters.read()) == 3, "an opening, and what came before the next"


def test_values_for_the_side_car_of_a_run_that_is_gone_block_nothing(bench: Gone) -> None:
    gone, there = bench.run(), bench.run()
    bench.deliver()
    del bench.state.runs[gone.run_id]
    for recorder in (gone, there):
        recorder.metric("loss", float("inf"), 1)
        recorder.metric("loss", 1.0, 2)
    bench.deliver(attempts_max=5)
    assert set(bench.reasons()) == {gone.run_id}
    assert len(bench.dead_letters.read()) == 2
    assert list(bench.backend(URI).tracking.metric_history(there.run_id, "loss").steps) == [2]
    assert len(bench.state.files[there.run_id]) == 1


class Picky(Counting):
    """Refuses a batch as a whole for one param in it, and counts how often it is asked for a run."""

    looks = 0

    def write(self, batch: Batch) -> Receipt:
        receipt = super().write(batch) if not any(param.key == "bad" for param in batch.params) else None
        if receipt is None:
            raise Rejected("'bad' is not allowed")
        return receipt

    def get_run(self, run_id: str) -> Run:
        self.looks += 1
        return super().get_run(run_id)


def test_a_run_that_is_there_is_looked_at_once_while_a_batch_is_halved(tmp_path: Path) -> None:
    adapter = MemoryAdapter()
    tracking = adapter.tracking = Picky(adapter.state, adapter.capabilities(), lambda: 1)
    bench = Bench(tmp_path / "journal", adapter)
    recorder = bench.run()
    bench.deliver()
    tracking.looks = 0
    for number in range(64):
        recorder.params({"bad" if number == 63 else f"p{number}": 1})
    bench.deliver()
    assert tracking.looks == 1
    assert len(tracking.get_run(recorder.run_id).data.params) == 63
    (letter,) = bench.dead_letters.read()
    assert "'bad' is not allowed" in letter.reason
    bench.writer.close()
