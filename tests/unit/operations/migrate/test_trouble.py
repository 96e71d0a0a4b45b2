"""Backends that fail on the way: it finishes, or stops and says what remains."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.corpus import Corpus, Size, problems, write_corpus
from tests.support.memory_adapter import MemoryAdapter, MemoryState
from tests.support.migrations import migrate, pair_of, patient_side, to_do
from trackbridge.domain.batches import Batch, Setting
from trackbridge.domain.migration import State
from trackbridge.domain.plans import Action
from trackbridge.errors import AuthError, Locked, PlanStale
from trackbridge.operations.migrate.applying import Applying, apply_migration
from trackbridge.operations.migrate.bounds import Bounds
from trackbridge.operations.migrate.pair import Asked, Pair
from trackbridge.operations.migrate.planning import plan_migration
from trackbridge.testing.faults import Faults, faulty_adapter

SIZE = Size(runs=10, points=6, long_points=20, files=1, large_bytes=1000, models=1, versions=3)


@pytest.fixture
def states() -> tuple[MemoryState, MemoryState]:
    return MemoryState(), MemoryState()


@pytest.fixture
def corpus(states: tuple[MemoryState, MemoryState]) -> Corpus:
    return write_corpus(MemoryAdapter(states[0]), SIZE)


def pair_between(states: tuple[MemoryState, MemoryState], tmp_path: Path) -> Pair:
    source = patient_side(MemoryAdapter(states[0]), "memory:source")
    return pair_of(source, patient_side(MemoryAdapter(states[1]), "memory:target"), tmp_path / "home")


def found(corpus: Corpus, states: tuple[MemoryState, MemoryState]) -> list[str]:
    return problems(corpus, MemoryAdapter(states[1]), registry_uri="memory:source", renumbered=True)


@pytest.mark.parametrize("dedup", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_storms_on_both_sides_change_nothing_of_the_outcome(
    states: tuple[MemoryState, MemoryState], corpus: Corpus, tmp_path: Path, dedup: bool, seed: int
) -> None:
    import random

    def weather(number: int) -> Faults:
        return Faults(
            transient=0.05,
            rate_limited=0.05,
            ambiguous=0.05,
            partial=0.05,
            rng=random.Random(100 * seed + number),
        )

    storms = weather(1), weather(2)
    source = faulty_adapter(MemoryAdapter(states[0]), storms[0])
    target = faulty_adapter(MemoryAdapter(states[1], dedup=dedup), storms[1])
    sides = patient_side(source, "memory:source"), patient_side(target, "memory:target")
    account = migrate(pair_of(*sides, tmp_path / "home"), how=Applying(bounds=Bounds(transfers=2)))
    assert account.remaining == []
    assert found(corpus, states) == []
    assert storms[0].counts["transient"] > 0
    assert storms[1].counts["ambiguous_done"] + storms[1].counts["partial"] > 0


def test_a_target_that_is_down_stops_it_and_the_next_time_goes_on(
    states: tuple[MemoryState, MemoryState], corpus: Corpus, tmp_path: Path
) -> None:
    pair = pair_between(states, tmp_path)
    plan = plan_migration(pair, Asked())
    down = Faults(transient=1.0, methods=frozenset({"write"}))
    target = faulty_adapter(MemoryAdapter(states[1]), down)
    broken = pair_of(pair.source, patient_side(target, "memory:target"), tmp_path / "home")
    account = apply_migration(plan, broken, Applying(bounds=Bounds(transfers=1)))
    assert account.exit_code == 3
    failed = [outcome for outcome in account.remaining if outcome.state is State.FAILED]
    assert all(outcome.exit_code == 5 for outcome in failed)
    assert len(failed) == 3
    assert account.stopped
    left = [outcome for outcome in account.remaining if outcome.state is State.LEFT]
    assert len(failed) + len(left) + account.states[State.DONE] == len(plan.changes)
    assert migrate(pair).exit_code == 0
    assert found(corpus, states) == []


def test_without_credentials_nothing_more_is_begun(
    states: tuple[MemoryState, MemoryState], corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = pair_between(states, tmp_path)
    plan = plan_migration(pair, Asked())

    def refuse(*_: object, **__: object) -> None:
        raise AuthError("the token has expired", hint="log in again")

    monkeypatch.setattr("tests.support.memory_adapter.MemoryTracking.ensure_experiment", refuse)
    account = apply_migration(plan, pair)
    assert account.exit_code == 6
    assert account.states[State.DONE] == 0
    assert sum(outcome.state is State.FAILED for outcome in account.remaining) == 1
    assert account.stopped.startswith("the token has expired")
    assert account.stopped.endswith("log in again")


def test_a_run_that_is_gone_meanwhile_remains(
    states: tuple[MemoryState, MemoryState], corpus: Corpus, tmp_path: Path
) -> None:
    pair = pair_between(states, tmp_path)
    plan = plan_migration(pair, Asked(), with_losses=False)
    gone = next(
        run for run in corpus.runs.values() if not any(v.run_id == run.run_id for v in corpus.versions)
    )
    del states[0].runs[gone.run_id]
    account = apply_migration(plan, pair)
    assert account.exit_code == 3
    (remaining,) = account.remaining
    assert (remaining.subject, remaining.state) == (f"run {gone.run_id}", State.GONE)
    del corpus.runs[gone.run_id]
    assert found(corpus, states) == []


def test_a_plan_is_stale_when_a_run_has_changed_since(
    states: tuple[MemoryState, MemoryState], corpus: Corpus, tmp_path: Path
) -> None:
    pair = pair_between(states, tmp_path)
    plan = plan_migration(pair, Asked())
    run = next(run for run in corpus.runs.values() if run.status.is_final)
    states[0].runs[run.run_id].tags["later"] = "x"
    with pytest.raises(PlanStale):
        apply_migration(plan, pair)
    assert not states[1].experiments


def test_a_run_that_goes_on_makes_no_plan_stale(
    states: tuple[MemoryState, MemoryState], tmp_path: Path
) -> None:
    write_corpus(MemoryAdapter(states[0]), Size(experiments=1, runs=11, files=1, models=0))
    pair = pair_between(states, tmp_path)
    plan = plan_migration(pair, Asked())
    run = next(run for run in states[0].runs.values() if not run.status.is_final)
    run.tags["later"] = "x"
    assert apply_migration(plan, pair).exit_code == 0
    assert states[1].runs[run.run_id].tags["later"] == "x"


def test_a_run_that_changed_under_our_hands_remains(
    states: tuple[MemoryState, MemoryState], corpus: Corpus, tmp_path: Path
) -> None:
    pair = pair_between(states, tmp_path)
    plan = plan_migration(pair, Asked())
    run = corpus.runs[corpus.versions[0].run_id]
    states[0].runs[run.run_id].tags["later"] = "x"
    account = apply_migration(plan, pair, Applying(check_first=False))
    errors = {outcome.subject: outcome.error for outcome in account.remaining}
    needing = {f"version {item.name}/{item.version}" for item in corpus.versions if item.run_id == run.run_id}
    assert set(errors) == {f"run {run.run_id}", *needing}
    assert "has changed at the source" in errors[f"run {run.run_id}"]
    assert all("the run that holds its files" in errors[version] for version in needing)
    assert account.exit_code == 3


def test_a_target_that_drops_what_it_takes_is_found_out(
    states: tuple[MemoryState, MemoryState],
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.support.memory_adapter import MemoryTracking

    write = MemoryTracking.write

    def forgetful(self: MemoryTracking, batch: Batch) -> object:
        batch.params = [param for param in batch.params if param.key != "lr"]
        return write(self, batch)

    monkeypatch.setattr(MemoryTracking, "write", forgetful)
    account = migrate(pair_between(states, tmp_path))
    assert account.exit_code == 3
    assert {outcome.subject for outcome in account.remaining} == {f"run {run_id}" for run_id in corpus.runs}
    assert all("params.lr" in outcome.error for outcome in account.remaining)


def test_a_record_that_the_target_refuses_is_listed_and_the_rest_is_there(
    states: tuple[MemoryState, MemoryState], corpus: Corpus, tmp_path: Path
) -> None:
    for rejects in (True, False):
        poison = Faults(poison=lambda record: record.key == "lr", rejects_per_record=rejects)
        state = MemoryState()
        target = faulty_adapter(MemoryAdapter(state), poison)
        source = patient_side(MemoryAdapter(states[0]), "memory:source")
        pair = pair_of(source, patient_side(target, f"memory:{rejects}"), tmp_path / "home")
        account = migrate(pair)
        refused = {(loss.item, loss.field) for loss in account.losses if loss.treatment.value == "refused"}
        assert refused == {(f"run {run_id}", "params.lr") for run_id in corpus.runs}
        assert account.unexplained() == {}
        assert account.source.params - account.target.params == len(corpus.runs)


def test_a_run_of_this_id_elsewhere_at_the_target_is_not_touched(
    states: tuple[MemoryState, MemoryState], corpus: Corpus, tmp_path: Path
) -> None:
    run = next(run for run in corpus.runs.values() if run.status.is_final)
    from trackbridge.testing.contracts.samples import run_spec

    MemoryAdapter(states[1]).tracking.open_run(run_spec("other", run_id=run.run_id, experiment="elsewhere"))  # type: ignore[union-attr]
    account = migrate(pair_between(states, tmp_path))
    remaining = {outcome.subject: outcome.error for outcome in account.remaining}
    assert "in another experiment" in remaining[f"run {run.run_id}"]
    assert states[1].runs[run.run_id].name == "other"


def test_two_at_once_are_refused(
    states: tuple[MemoryState, MemoryState], corpus: Corpus, tmp_path: Path
) -> None:
    pair = pair_between(states, tmp_path)
    with pair.ledger.applying(), pytest.raises(Locked):
        migrate(pair_between(states, tmp_path))


def test_only_copies_are_deleted_and_only_when_asked(
    states: tuple[MemoryState, MemoryState], corpus: Corpus, tmp_path: Path
) -> None:
    pair = pair_between(states, tmp_path)
    migrate(pair)
    from trackbridge.testing.contracts.samples import run_spec

    own = run_spec("own", experiment="plain")
    pair.target.tracking.open_run(own)
    pair.target.tracking.write(
        Batch(run_id=next(iter(corpus.runs)), tags=[Setting("extra", "x", 1)])
        if not corpus.runs[next(iter(corpus.runs))].deleted
        else Batch(run_id=own.run_id)
    )
    needed = {version.run_id for version in corpus.versions}
    gone = next(
        run
        for run in corpus.runs.values()
        if run.experiment == "plain" and not run.deleted and run.run_id not in needed
    )
    del states[0].runs[gone.run_id]
    deletions = [
        change
        for change in plan_migration(pair, Asked(delete=True)).changes
        if change.action is Action.DELETE
    ]
    assert [change.subject for change in deletions] == [f"run {gone.run_id}"]
    assert not any(line.startswith("delete") for line in to_do(plan_migration(pair, Asked())))
    assert migrate(pair, Asked(delete=True)).exit_code == 0
    assert states[1].runs[gone.run_id].is_gone
    assert not states[1].runs[own.run_id].is_gone
    assert "extra" not in states[1].runs[next(iter(corpus.runs))].tags


def test_files_that_others_change_under_our_hands_are_no_success(
    states: tuple[MemoryState, MemoryState],
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.support.memory_adapter import MemoryArtifacts

    put = MemoryArtifacts.put

    def cutting(self: MemoryArtifacts, *arguments: object, **options: object) -> object:
        info = put(self, *arguments, **options)  # type: ignore[arg-type]
        for files in self.state.files.values():
            for file in files.values():
                file.content = file.content[:10]
        return info

    monkeypatch.setattr(MemoryArtifacts, "put", cutting)
    pair = pair_between(states, tmp_path)
    plan = plan_migration(pair, Asked())
    change = next(change for change in plan.changes if change.subject.startswith("run "))
    assert change.action is Action.CREATE
    account = apply_migration(plan, pair)
    assert account.exit_code == 3
    assert any("is not what was copied" in outcome.error for outcome in account.remaining)
