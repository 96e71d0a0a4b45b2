"""Dead letters are delivered again, once in effect, with the files that belong to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.journals import URI, Bench
from tests.support.memory_adapter import MemoryAdapter, MemoryArtifacts, MemoryState, MemoryTracking
from trackbridge.delivery.lane import Progress
from trackbridge.delivery.replay import replay
from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.batches import Batch, Receipt, Rejection
from trackbridge.domain.runs import Run, RunSpec, RunStatus
from trackbridge.errors import NotFound, Rejected, Unavailable


class Picky:
    """A backend in memory whose every port can be told to refuse."""

    def __init__(self) -> None:
        self.refuses: set[str] = set()
        self.is_away = False
        self.adapter = MemoryAdapter(MemoryState())
        self.adapter.tracking = PickyTracking(self)
        self.adapter.artifacts = PickyArtifacts(self)

    def check(self, what: str) -> None:
        if self.is_away:
            raise Unavailable("away")
        if what in self.refuses:
            raise Rejected(f"no {what}s here")


class PickyTracking(MemoryTracking):
    def __init__(self, picky: Picky) -> None:
        self.picky = picky
        super().__init__(picky.adapter.state, picky.adapter.capabilities(), lambda: 0)

    def open_run(self, spec: RunSpec) -> Run:
        self.picky.check("run")
        return super().open_run(spec)

    def write(self, batch: Batch) -> Receipt:
        self.picky.check("batch")
        if "param" in self.picky.refuses and batch.params:
            refused = [Rejection(item.sequence, "no params here") for item in batch.params]
            super().write(replace(batch, params=[]))
            return Receipt(rejected=tuple(refused))
        return super().write(batch)


class PickyArtifacts(MemoryArtifacts):
    def __init__(self, picky: Picky) -> None:
        self.picky = picky
        super().__init__(picky.adapter.state, picky.adapter.capabilities())

    def put(self, run_id: str, path: str, file: Path, **details: Any) -> ArtifactInfo:
        self.picky.check("artifact")
        return super().put(run_id, path, file, **details)


@pytest.fixture
def picky() -> Picky:
    return Picky()


@pytest.fixture
def bench(tmp_path: Path, picky: Picky) -> Bench:
    return Bench(tmp_path / "journal", picky.adapter)


def log_and_reject(bench: Bench, picky: Picky, *what: str, close: bool = True) -> str:
    """Log a run and deliver it to a backend that refuses; return its id. The journal is gone afterwards."""
    recorder = bench.run()
    recorder.params({"lr": "0.1"})
    recorder.metric("loss", 0.5, 1, 1_700_000_001_000)
    recorder.content(b"weights", "model.bin")
    if close:
        recorder.close(RunStatus.FINISHED)
        bench.writer.close()
    else:
        bench.writer._writer_lock.release()  # as the death of the process does
    picky.refuses = set(what)
    assert bench.deliver() is Progress.FINISHED
    bench.lane.folder.remove()
    picky.refuses = set()
    return recorder.run_id


def replayed(bench: Bench, numbers: list[int] | None = None) -> tuple[int, int, int]:
    report = replay(bench.root, numbers, bench.backend)
    return len(report.delivered), len(report.kept), len(report.waiting)


def test_everything_of_a_refused_run(bench: Bench, picky: Picky) -> None:
    run_id = log_and_reject(bench, picky, "run", "artifact")
    count = len(bench.dead_letters.read())
    assert count >= 5
    assert replayed(bench) == (count, 0, 0)
    assert bench.dead_letters.read() == []
    run = picky.adapter.state.runs[run_id]
    assert run.params == {"lr": "0.1"}
    assert run.points["loss"] == [(1, 1_700_000_001_000, 0.5)]
    assert run.status is RunStatus.FINISHED
    assert picky.adapter.state.files[run_id]["model.bin"].content == b"weights"


def test_file_of_a_dead_letter_is_kept_until_it_is_delivered(bench: Bench, picky: Picky) -> None:
    log_and_reject(bench, picky, "artifact")
    (letter,) = bench.dead_letters.read()
    (kept,) = bench.dead_letters.files_of(letter.journal).iterdir()
    assert kept.read_bytes() == b"weights"
    picky.refuses = {"artifact"}
    assert replayed(bench) == (0, 1, 0)
    assert kept.exists()
    picky.refuses = set()
    assert replayed(bench) == (1, 0, 0)
    assert not kept.parent.exists()


def test_file_goes_with_a_dropped_dead_letter(bench: Bench, picky: Picky) -> None:
    log_and_reject(bench, picky, "artifact")
    (letter,) = bench.dead_letters.read()
    bench.dead_letters.remove([letter.number])
    assert not bench.dead_letters.files_of(letter.journal).exists()


def test_file_stays_while_another_destination_needs_it(bench: Bench, picky: Picky) -> None:
    log_and_reject(bench, picky, "artifact")
    (letter,) = bench.dead_letters.read()
    item = (letter.sequence, letter.run_id, letter.kind, "no", letter.body)
    bench.dead_letters.add("other:", letter.journal, [item])
    bench.dead_letters.remove([letter.number])
    assert len(list(bench.dead_letters.files_of(letter.journal).iterdir())) == 1
    bench.dead_letters.remove([found.number for found in bench.dead_letters.read()])
    assert not bench.dead_letters.files_of(letter.journal).exists()


def test_what_is_refused_again_keeps_the_new_reason(bench: Bench, picky: Picky) -> None:
    log_and_reject(bench, picky, "batch")
    picky.refuses = {"param"}
    before = len(bench.dead_letters.read())
    assert replayed(bench) == (before - 1, 1, 0)
    (letter,) = bench.dead_letters.read()
    assert letter.kind == "ParamsSet"
    assert letter.reason == "no params here"


def test_only_those_that_are_named(bench: Bench, picky: Picky) -> None:
    log_and_reject(bench, picky, "batch")
    numbers = {letter.kind: letter.number for letter in bench.dead_letters.read()}
    assert replayed(bench, [numbers["MetricLogged"]]) == (1, 0, 0)
    assert "ParamsSet" in {letter.kind for letter in bench.dead_letters.read()}


def test_unknown_number(bench: Bench, picky: Picky) -> None:
    log_and_reject(bench, picky, "batch")
    with pytest.raises(NotFound, match="999"):
        replay(bench.root, [999], bench.backend)


def test_destination_that_is_away_loses_nothing(bench: Bench, picky: Picky) -> None:
    run_id = log_and_reject(bench, picky, "run", "artifact")
    count = len(bench.dead_letters.read())
    picky.is_away = True
    assert replayed(bench) == (0, 0, count)
    assert len(bench.dead_letters.read()) == count
    picky.is_away = False
    assert replayed(bench) == (count, 0, 0)
    assert picky.adapter.state.runs[run_id].status is RunStatus.FINISHED


def test_backend_that_cannot_be_opened(bench: Bench, picky: Picky) -> None:
    log_and_reject(bench, picky, "run")
    count = len(bench.dead_letters.read())

    def closed(uri: str) -> Any:
        raise Unavailable(f"{uri} is closed")

    report = replay(bench.root, None, closed)
    assert set(report.waiting.values()) == {f"{URI} is closed"}
    assert len(bench.dead_letters.read()) == count


def test_run_of_a_dead_program_is_closed_as_killed(bench: Bench, picky: Picky) -> None:
    run_id = log_and_reject(bench, picky, "run", close=False)
    assert run_id not in picky.adapter.state.runs
    replayed(bench)
    run = picky.adapter.state.runs[run_id]
    assert run.status is RunStatus.KILLED
    assert run.end_time is not None
    assert run.end_time >= 1_700_000_001_000


def test_record_of_a_newer_version_is_kept(bench: Bench, picky: Picky) -> None:
    log_and_reject(bench, picky, "param")
    bench.dead_letters.add(URI, "j" * 32, [(1, "", "unknown", "too new", b"\x91\xcc\xff")])
    assert replayed(bench) == (1, 1, 0)
    (letter,) = bench.dead_letters.read()
    assert "cannot be read by this version" in letter.reason


def test_doing_it_twice_equals_doing_it_once(bench: Bench, picky: Picky) -> None:
    run_id = log_and_reject(bench, picky, "batch")
    letters = bench.dead_letters.read()
    replayed(bench)
    for letter in letters:  # as if the process had died before they were removed
        item = (letter.sequence, letter.run_id, letter.kind, letter.reason, letter.body)
        bench.dead_letters.add(letter.destination, letter.journal, [item])
    assert replayed(bench) == (len(letters), 0, 0)
    assert picky.adapter.state.runs[run_id].points["loss"] == [(1, 1_700_000_001_000, 0.5)]
