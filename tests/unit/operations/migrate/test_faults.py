"""What goes wrong in the middle of it: what was done is done, and what remains is said."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.corpus import Corpus, Size, problems, write_corpus
from tests.support.memory_adapter import MemoryAdapter, MemoryArtifacts, MemoryState, MemoryTracking
from tests.support.migrations import migrate, pair_of, patient_side
from trackbridge.domain.migration import State
from trackbridge.domain.plans import Action
from trackbridge.errors import AuthError, NotFound, Unavailable
from trackbridge.operations.migrate.applying import Applying, apply_migration
from trackbridge.operations.migrate.bounds import Bounds
from trackbridge.operations.migrate.pair import Asked, Pair
from trackbridge.operations.migrate.planning import plan_migration
from trackbridge.operations.migrate.report import Account

SIZE = Size(runs=10, points=6, long_points=20, files=1, large_bytes=1000, models=1, versions=3)
ONE_BY_ONE = Bounds(transfers=1)


@pytest.fixture
def states() -> tuple[MemoryState, MemoryState]:
    return MemoryState(), MemoryState()


@pytest.fixture
def corpus(states: tuple[MemoryState, MemoryState]) -> Corpus:
    return write_corpus(MemoryAdapter(states[0]), SIZE)


@pytest.fixture
def pair(states: tuple[MemoryState, MemoryState], corpus: Corpus, tmp_path: Path) -> Pair:
    source = patient_side(MemoryAdapter(states[0]), "memory:source")
    return pair_of(source, patient_side(MemoryAdapter(states[1]), "memory:target"), tmp_path / "home")


def found(corpus: Corpus, states: tuple[MemoryState, MemoryState]) -> list[str]:
    return problems(corpus, MemoryAdapter(states[1]), registry_uri="memory:source", renumbered=True)


class Breaking:
    """Stands for a method that raises from its so-manieth call on, of one of two stores."""

    def __init__(self, method: Callable[..., Any], state: MemoryState, after: int, error: Exception) -> None:
        self._method, self._state, self._left, self._error = method, state, after, error
        self._lock = threading.Lock()
        self.is_mended = False

    def __call__(self, store: Any, *arguments: Any, **options: Any) -> Any:
        with self._lock:
            if store.state is self._state and not self.is_mended:
                self._left -= 1
                if self._left < 0:
                    raise self._error
        return self._method(store, *arguments, **options)


def breaks(
    monkeypatch: pytest.MonkeyPatch, of: type, name: str, state: MemoryState, after: int, error: Exception
) -> Breaking:
    breaking = Breaking(getattr(of, name), state, after, error)
    monkeypatch.setattr(of, name, lambda *arguments, **options: breaking(*arguments, **options))
    return breaking


def assert_everything_is_told(account: Account, planned: int) -> None:
    """Every change of the plan is either done or among what remains, with a reason."""
    assert account.states[State.DONE] + account.states[State.HELD] + len(account.remaining) == planned
    assert all(outcome.error for outcome in account.remaining)
    assert not account.is_complete


@pytest.mark.parametrize("side", [0, 1])
def test_a_token_that_expires_on_the_way(
    states: tuple[MemoryState, MemoryState],
    corpus: Corpus,
    pair: Pair,
    monkeypatch: pytest.MonkeyPatch,
    side: int,
) -> None:
    plan = plan_migration(pair, Asked())
    planned = sum(change.action is not Action.KEEP for change in plan.changes)
    method = "get_run" if side == 0 else "write"
    expired = AuthError("the token has expired", hint="log in again")
    breaking = breaks(monkeypatch, MemoryTracking, method, states[side], 4, expired)
    account = apply_migration(plan, pair, Applying(bounds=ONE_BY_ONE, check_first=False))
    assert account.exit_code == 3
    assert "the token has expired" in account.stopped
    assert sum(outcome.state is State.FAILED for outcome in account.remaining) >= 1
    assert_everything_is_told(account, planned)
    breaking.is_mended = True
    assert migrate(pair).exit_code == 0
    assert found(corpus, states) == []


def test_a_target_that_is_away_when_it_is_compared_leaves_nothing_called_done(
    states: tuple[MemoryState, MemoryState], corpus: Corpus, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_migration(pair, Asked())
    planned = sum(change.action is not Action.KEEP for change in plan.changes)
    away = Unavailable("the server does not answer")
    breaking = breaks(monkeypatch, MemoryTracking, "list_runs", states[1], 0, away)
    account = apply_migration(plan, pair, Applying(check_first=False))
    assert account.exit_code == 3
    assert "does not answer" in account.stopped
    runs = [outcome for outcome in account.remaining if outcome.subject.startswith("run ")]
    assert {outcome.subject for outcome in runs} == {f"run {run_id}" for run_id in corpus.runs}
    assert {outcome.exit_code for outcome in runs} == {5}
    assert_everything_is_told(account, planned)
    breaking.is_mended = True
    assert migrate(pair).exit_code == 0
    assert found(corpus, states) == []


def test_a_disk_that_is_full_at_the_target_stops_it_and_says_what_remains(
    states: tuple[MemoryState, MemoryState], corpus: Corpus, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_migration(pair, Asked())
    planned = sum(change.action is not Action.KEEP for change in plan.changes)
    full = Unavailable("the disk of the store is full", hint="free some disk space")
    breaking = breaks(monkeypatch, MemoryArtifacts, "put", states[1], 2, full)
    account = apply_migration(plan, pair, Applying(bounds=ONE_BY_ONE))
    assert account.exit_code == 3
    assert "the disk of the store is full" in account.stopped
    assert_everything_is_told(account, planned)
    breaking.is_mended = True
    assert migrate(pair).exit_code == 0
    assert found(corpus, states) == []


def test_a_disk_that_is_full_here_stops_it_at_once(
    states: tuple[MemoryState, MemoryState], corpus: Corpus, pair: Pair
) -> None:
    """What no adapter translates, such as an error of a temporary folder, is an error of the item."""
    plan = plan_migration(pair, Asked())
    planned = sum(change.action is not Action.KEEP for change in plan.changes)

    def point(name: str) -> None:
        if name == "written":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    account = apply_migration(plan, pair, Applying(bounds=ONE_BY_ONE, on_point=point))
    assert account.exit_code == 3
    assert "No space left on device" in account.stopped
    assert sum(outcome.state is State.FAILED for outcome in account.remaining) == 1
    assert_everything_is_told(account, planned)
    assert migrate(pair).exit_code == 0
    assert found(corpus, states) == []


def test_a_file_that_is_gone_from_the_source_fails_its_run_only(
    states: tuple[MemoryState, MemoryState], corpus: Corpus, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = next(
        run
        for run in corpus.runs.values()
        if run.files and not any(version.run_id == run.run_id for version in corpus.versions)
    )
    read = MemoryArtifacts.open

    def missing(store: MemoryArtifacts, run_id: str, path: str) -> Any:
        if run_id == victim.run_id and store.state is states[0]:
            raise NotFound("there is no such file", resource=path)
        return read(store, run_id, path)

    monkeypatch.setattr(MemoryArtifacts, "open", missing)
    account = migrate(pair)
    assert account.exit_code == 3
    assert [outcome.subject for outcome in account.remaining] == [f"run {victim.run_id}"]
    assert "there is no such file" in account.remaining[0].error
    monkeypatch.undo()
    assert migrate(pair).exit_code == 0
    assert found(corpus, states) == []


def test_a_ledger_that_is_lost_is_made_again_from_the_target(
    states: tuple[MemoryState, MemoryState], corpus: Corpus, pair: Pair, tmp_path: Path
) -> None:
    assert migrate(pair).exit_code == 0
    known = {(entry.source_id, entry.target_id) for entry in pair.ledger.entries(kind_run())}
    again = pair_of(pair.source, pair.target, tmp_path / "another home")
    assert again.ledger.entries(kind_run()) == []
    planned = plan_migration(again, Asked())
    unended = sum(not run.status.is_final for run in corpus.runs.values())
    assert sum(change.action is not Action.KEEP for change in planned.changes) == unended
    ended = {run.run_id for run in corpus.runs.values() if run.status.is_final}
    rebuilt = {(entry.source_id, entry.target_id) for entry in again.ledger.entries(kind_run())}
    assert rebuilt == {(source, target) for source, target in known if source in ended}


def kind_run() -> Any:
    from trackbridge.domain.migration import Kind

    return Kind.RUN


def test_interrupted_the_account_says_what_was_done_and_what_remains(
    states: tuple[MemoryState, MemoryState], corpus: Corpus, pair: Pair
) -> None:
    plan = plan_migration(pair, Asked())
    planned = sum(change.action is not Action.KEEP for change in plan.changes)
    how = Applying(bounds=ONE_BY_ONE)
    points = 0

    def point(name: str) -> None:
        nonlocal points
        points += 1
        if points == 30:
            raise KeyboardInterrupt  # on whichever thread: it comes out of the first that is waited for

    how.on_point = point
    with pytest.raises(KeyboardInterrupt):
        apply_migration(plan, pair, how)
    assert how.account.stopped == "interrupted"
    assert any(outcome.state is State.LEFT for outcome in how.account.remaining)
    assert_everything_is_told(how.account, planned)
    fresh = pair_of(
        patient_side(MemoryAdapter(states[0]), "memory:source"),
        patient_side(MemoryAdapter(states[1]), "memory:target"),
        pair.ledger.home,
    )
    assert migrate(fresh).exit_code == 0
    assert found(corpus, states) == []
