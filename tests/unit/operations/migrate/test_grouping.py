"""Runs that are ended together: never before all of them lasts, and each for itself when one fails."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.corpus import Corpus, problems
from tests.support.migrations import local_side, migrate
from trackbridge.domain.migration import Outcome, State
from trackbridge.domain.plans import Action, Change
from trackbridge.domain.runs import RunStatus
from trackbridge.errors import Conflict, Rejected, Unavailable
from trackbridge.operations.migrate import grouping
from trackbridge.operations.migrate.applying import Applying
from trackbridge.operations.migrate.bounds import Bounds
from trackbridge.operations.migrate.grouping import RunGroup, groups_of
from trackbridge.operations.migrate.pair import Pair
from trackbridge.operations.migrate.runs import BegunRun, CopiedRun
from trackbridge.operations.migrate.side import Gathered
from trackbridge.testing.contracts.samples import digest_of, file_of, run_spec


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> set[tuple[int, int]]:
    """Every file and folder that was synced, by device and inode."""
    found: set[tuple[int, int]] = set()
    sync = os.fsync

    def noting(descriptor: int) -> None:
        sync(descriptor)
        status = os.fstat(descriptor)
        found.add((status.st_dev, status.st_ino))

    monkeypatch.setattr(os, "fsync", noting)
    return found


def lasts(path: Path, synced: set[tuple[int, int]]) -> bool:
    status = path.stat()
    return (status.st_dev, status.st_ino) in synced


def test_nothing_is_ended_before_all_of_its_group_is_on_the_disk(
    pair: Pair, corpus: Corpus, synced: set[tuple[int, int]], tmp_path: Path
) -> None:
    early: list[Path] = []
    ended: list[str] = []

    def on_point(name: str) -> None:
        if name == "ended":
            ended.append(name)
            early.extend(
                path for path in (tmp_path / "b/artifacts").glob("[!.]*/**/*") if not lasts(path, synced)
            )

    migrate(pair, how=Applying(on_point=on_point, bounds=Bounds(transfers=1)))
    assert (early, problems(corpus, pair.target.adapter, registry_uri=pair.source.uri, renumbered=True)) == (
        [],
        [],
    )
    assert len(ended) > 10


def test_a_digest_is_kept_only_once_the_bytes_last(tmp_path: Path, synced: set[tuple[int, int]]) -> None:
    side, content = local_side(tmp_path / "store"), b"some bytes"
    gathered, spec = gathered_of(side.gather), run_spec()
    gathered.side.tracking.open_run(spec)
    assert gathered.side.artifacts is not None
    assert side.artifacts is not None
    digest = digest_of(content)
    file = file_of(tmp_path, content)
    info = gathered.side.artifacts.put(spec.run_id, "a/b", file, digest=digest, size=len(content))
    assert info.digest == gathered.side.artifacts.stat(spec.run_id, "a/b").digest == digest
    stored = tmp_path / "store/artifacts" / spec.run_id / "a/b"
    assert side.artifacts.stat(spec.run_id, "a/b").digest is None
    assert not lasts(stored, synced)
    gathered.settle()
    assert side.artifacts.stat(spec.run_id, "a/b").digest == digest
    assert all(lasts(path, synced) for path in (stored, stored.parent, stored.parent.parent))
    side.close()


def test_a_file_that_was_deleted_before_it_was_settled_is_forgotten(tmp_path: Path) -> None:
    side = local_side(tmp_path / "store")
    gathered, spec = gathered_of(side.gather), run_spec()
    gathered.side.tracking.open_run(spec)
    artifacts = gathered.side.artifacts
    assert artifacts is not None
    for path in ("a/b", "a/c", "d"):
        file = file_of(tmp_path, path.encode())
        artifacts.put(spec.run_id, path, file, digest=digest_of(path.encode()), size=len(path))
    artifacts.delete(spec.run_id, "a")
    gathered.settle()
    assert [info.path for info in side.files(spec.run_id)] == ["d"]
    side.close()


def test_a_disk_that_refuses_leaves_runs_that_are_gone_on_with(pair: Pair, corpus: Corpus) -> None:
    whole = pair.target
    gather = whole.gather
    assert gather is not None

    def refuse() -> None:
        raise Unavailable("the disk is full")

    pair.target = replace(whole, gather=lambda: Gathered(gather().side, refuse))
    account = migrate(pair)
    assert account.exit_code == 3
    assert {outcome.state for outcome in runs_of(account.remaining)} == {State.FAILED, State.LEFT}
    copies = [run for item in whole.experiments() for run in whole.runs(item.experiment_id)]
    assert {run.info.status for run in copies} == {RunStatus.RUNNING}
    pair.target = whole
    assert migrate(pair).exit_code == 0
    assert problems(corpus, pair.target.adapter, registry_uri=pair.source.uri, renumbered=True) == []


def test_large_runs_are_settled_before_others_are_begun(
    pair: Pair, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grouping, "BYTES_AT_ONCE", 0)
    settled: list[None] = []
    gather = pair.target.gather
    assert gather is not None

    def counted() -> Gathered:
        gathered = gather()
        return replace(gathered, settle=lambda: (settled.append(None), gathered.settle())[1])

    pair.target = replace(pair.target, gather=counted)
    assert migrate(pair).exit_code == 0
    assert len(settled) == 2 * len(corpus.runs)


def test_a_run_that_cannot_be_ended_keeps_no_other_from_it() -> None:
    ended: list[str] = []

    def refuse() -> None:
        raise Rejected("the run was deleted")

    group = RunGroup(None, Gathered(None, lambda: None))  # type: ignore[arg-type]
    group.begun = [
        begun("a", lambda: ended.append("a")),
        begun("b", refuse),
        begun("c", lambda: ended.append("c")),
    ]
    errors = [error for _, _, error in group.end()]
    assert ended == ["a", "c"]
    assert [type(error) for error in errors] == [type(None), Rejected, type(None)]
    assert group.end() == []


def test_what_cannot_be_settled_is_told_of_every_run() -> None:
    error = Conflict("somebody else writes")

    def refuse() -> None:
        raise error

    group = RunGroup(None, Gathered(None, refuse))  # type: ignore[arg-type]
    group.begun = [begun("a", lambda: pytest.fail("ended")), begun("b", lambda: pytest.fail("ended"))]
    assert [found for _, _, found in group.end()] == [error, error]


@pytest.mark.parametrize(
    ("count", "transfers", "sizes"), [(0, 4, []), (3, 4, [1, 1, 1]), (100, 2, [32, 32, 32, 4])]
)
def test_groups_are_as_many_as_are_copied_at_once(count: int, transfers: int, sizes: list[int]) -> None:
    changes = [Change(action=Action.CREATE, subject=f"run {number}") for number in range(count)]
    groups = groups_of(changes, transfers=transfers)
    assert [len(group) for group in groups] == sizes
    assert [change for group in groups for change in group] == changes


def begun(name: str, end: Callable[[], None]) -> tuple[Change, BegunRun]:
    outcome = Outcome(subject=f"run {name}", action="create", state=State.DONE)
    return Change(action=Action.CREATE, subject=f"run {name}"), BegunRun(CopiedRun(outcome), end)


def gathered_of(gather: Callable[[], Gathered] | None) -> Gathered:
    assert gather is not None
    return gather()


def runs_of(outcomes: Any) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.subject.startswith("run ")]
