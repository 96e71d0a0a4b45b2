"""Everything from one local store to another, compared with what was written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from tests.support.corpus import Corpus, problems
from tests.support.migrations import local_side, migrate, pair_of, to_do
from trackbridge.domain.artifacts import artifact_uri
from trackbridge.domain.batches import Batch, Setting
from trackbridge.domain.ids import experiment_id_of
from trackbridge.domain.migration import Kind, Selection, State, Symbol
from trackbridge.domain.models import Origin
from trackbridge.domain.runs import RunStatus
from trackbridge.operations.migrate.checking import check
from trackbridge.operations.migrate.history import read_history
from trackbridge.operations.migrate.pair import Asked, Pair
from trackbridge.operations.migrate.planning import plan_migration


def found(corpus: Corpus, pair: Pair) -> list[str]:
    return problems(corpus, pair.target.adapter, registry_uri=pair.source.uri, renumbered=True)


def unended(corpus: Corpus) -> list[str]:
    return [f"run {run.run_id}" for run in corpus.runs.values() if not run.status.is_final]


def test_everything_arrives_as_it_was_written(pair: Pair, corpus: Corpus) -> None:
    account = migrate(pair)
    assert account.exit_code == 0
    assert found(corpus, pair) == []
    assert account.unexplained() == {}
    assert account.source.runs == len(corpus.runs)
    assert account.source.points == sum(len(p) for run in corpus.runs.values() for p in run.points.values())
    assert account.target.files == sum(len(run.files) for run in corpus.runs.values())
    assert {loss.treatment.value for loss in account.losses} == {"renumbered"}


def test_the_source_is_left_as_it_was(pair: Pair, corpus: Corpus) -> None:
    migrate(pair)
    assert problems(corpus, pair.source.adapter, registry_uri=pair.source.uri) == []


def test_repeated_it_does_nothing_but_look_after_runs_that_go_on(pair: Pair, corpus: Corpus) -> None:
    migrate(pair)
    again = plan_migration(pair, Asked())
    assert [line.partition(":")[0] for line in to_do(again)] == [f"update {run}" for run in unended(corpus)]
    assert migrate(pair).exit_code == 0
    assert found(corpus, pair) == []


def test_a_lost_ledger_loses_nothing(pair: Pair, corpus: Corpus, tmp_path: Path) -> None:
    migrate(pair)
    other = pair_of(pair.source, pair.target, tmp_path / "other home")
    assert len(to_do(plan_migration(other, Asked()))) == len(unended(corpus))
    kept = [run for run in corpus.runs.values() if run.status.is_final]
    assert {entry.source_id for entry in other.ledger.entries(Kind.RUN)} == {run.run_id for run in kept}


def test_a_check_finds_every_item_the_same(pair: Pair, corpus: Corpus) -> None:
    migrate(pair)
    compared = list(check(pair, Selection(), download=True))
    assert {item.symbol for item in compared} == {Symbol.SAME}
    count = len(corpus.experiments) + len(corpus.runs) + len(corpus.models) + len(corpus.versions)
    assert len(compared) == count


def test_back_where_it_came_from_there_is_nothing_to_do(pair: Pair, corpus: Corpus, tmp_path: Path) -> None:
    migrate(pair)
    back = pair_of(pair.target, pair.source, tmp_path / "back")
    planned = to_do(plan_migration(back, Asked()))
    assert [line.partition(":")[0] for line in planned] == [f"update {run}" for run in unended(corpus)]


def test_a_chain_of_copies_keeps_where_versions_were_first_registered(
    pair: Pair, corpus: Corpus, tmp_path: Path
) -> None:
    migrate(pair)
    chained = pair_of(pair.target, local_side(tmp_path / "c"), tmp_path / "home")
    migrate(chained)
    assert problems(corpus, chained.target.adapter, registry_uri=pair.source.uri, renumbered=True) == []


def test_the_history_of_a_version_comes_along_through_every_registry(
    pair: Pair, corpus: Corpus, tmp_path: Path
) -> None:
    migrate(pair)
    true = corpus.versions[0]
    registry = pair.target.registry
    assert registry is not None
    origin = Origin(registry=pair.source.uri, name=true.name, version=true.version)
    copy = next(item for item in pair.target.versions(true.name) if item.origin == origin)
    registry.set_stage(true.name, copy.version, stage="Archived")
    chained = pair_of(pair.target, local_side(tmp_path / "c"), tmp_path / "home")
    migrate(chained)
    assert chained.target.artifacts is not None
    carried = read_history(chained.target.artifacts, true.run_id, origin)
    told = {(item.registry, item.change.what, item.change.after) for item in carried}
    assert (pair.source.uri, f"alias:{true.aliases[0]}", "1") in told
    assert (pair.target.uri, "stage", "Archived") in told
    assert any(item.change.what == "deleted" and item.change.version == "2" for item in carried)
    assert [item.change.time for item in carried] == sorted(item.change.time for item in carried)


def test_what_was_added_to_a_run_comes_the_next_time(pair: Pair, corpus: Corpus) -> None:
    migrate(pair)
    run = next(run for run in corpus.runs.values() if run.status.is_final and not run.deleted)
    run.tags["later"] = "yes"
    pair.source.tracking.write(Batch(run_id=run.run_id, tags=[Setting("later", "yes", 1)]))
    planned = to_do(plan_migration(pair, Asked()))
    assert f"update run {run.run_id}: it has changed at the source" in planned
    assert migrate(pair).exit_code == 0
    assert found(corpus, pair) == []


def test_a_run_that_ended_meanwhile_ends(pair: Pair, corpus: Corpus) -> None:
    migrate(pair)
    run = next(run for run in corpus.runs.values() if not run.status.is_final)
    run.status, run.end_time = RunStatus.FAILED, run.start_time + 77
    pair.source.tracking.close_run(run.run_id, status=run.status, end_time=run.end_time)
    migrate(pair)
    assert found(corpus, pair) == []
    assert to_do(plan_migration(pair, Asked())) == []


def test_what_only_a_deep_look_shows_is_found_by_one(pair: Pair, corpus: Corpus, tmp_path: Path) -> None:
    migrate(pair)
    run = next(run for run in corpus.runs.values() if run.status.is_final and not run.deleted)
    content = tmp_path / "content"
    content.write_bytes(b"new")
    digest = "sha256:11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"
    assert pair.source.artifacts is not None
    pair.source.artifacts.put(run.run_id, "later.txt", content, digest=digest, size=3)
    run.files["later.txt"] = (3, digest.removeprefix("sha256:"))
    subject = f"run {run.run_id}"
    assert not any(subject in line for line in to_do(plan_migration(pair, Asked())))
    assert any(subject in line for line in to_do(plan_migration(pair, Asked(deep=True))))
    migrate(pair, Asked(deep=True))
    assert found(corpus, pair) == []


def test_what_was_changed_at_the_target_is_put_back(pair: Pair, corpus: Corpus) -> None:
    migrate(pair)
    run = next(run for run in corpus.runs.values() if run.status.is_final and not run.deleted)
    changed = [Setting("kind", "other", 1), Setting("of the target", "stays", 2)]
    pair.target.tracking.write(Batch(run_id=run.run_id, tags=changed))
    planned = to_do(plan_migration(pair, Asked()))
    assert any(f"update run {run.run_id}: it differs: tags.kind" in line for line in planned)
    migrate(pair)
    tags = pair.target.tracking.get_run(run.run_id).data.tags
    assert tags["kind"] == run.tags["kind"]
    assert tags["of the target"] == "stays"
    assert [line for line in to_do(plan_migration(pair, Asked())) if run.run_id in line] == []


def test_links_to_versions_with_other_numbers_are_rewritten(pair: Pair, corpus: Corpus) -> None:
    run = next(run for run in corpus.runs.values() if run.status.is_final and not run.deleted)
    tag = Setting("uses", "models:/wine/3 and models:/wine/1", 1)
    pair.source.tracking.write(Batch(run_id=run.run_id, tags=[tag]))
    plain = corpus.experiments["plain"].experiment_id
    pair.source.tracking.ensure_experiment("plain", experiment_id=plain, tags={"best": "models:/wine/4"})
    migrate(pair)
    assert {item.name: item for item in pair.target.experiments()}["plain"].tags["best"] == "models:/wine/3"
    assert pair.target.tracking.get_run(run.run_id).data.tags["uses"] == "models:/wine/2 and models:/wine/1"
    planned = to_do(plan_migration(pair, Asked()))
    assert [line for line in planned if run.run_id in line or "plain" in line] == []
    assert {item.symbol for item in check(pair, Selection())} == {Symbol.SAME}


def test_a_version_of_files_outside_of_runs_gets_a_run_that_holds_them(pair: Pair, tmp_path: Path) -> None:
    from trackbridge.domain.model_digest import digest_of_path
    from trackbridge.domain.models import ModelVersionSpec

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "MLmodel").write_bytes(b"flavors: {}\n")
    registry = pair.source.registry
    assert registry is not None
    registry.ensure_model("loose")
    digest = digest_of_path(folder)
    registry.create_version(ModelVersionSpec(name="loose", source=str(folder), digest=digest), key="k")
    account = migrate(pair)
    assert account.exit_code == 0
    (version,) = pair.target.versions("loose")
    assert version.digest == digest
    assert version.source.startswith(artifact_uri(""))
    assert [loss.treatment.value for loss in account.losses] == ["rewritten"]
    assert to_do(plan_migration(pair, Asked())) == []


def test_the_ledger_knows_both_ids_and_prints(pair: Pair, corpus: Corpus, tmp_path: Path) -> None:
    migrate(pair)
    entries = {entry.source_id: entry for entry in pair.ledger.entries(Kind.RUN)}
    assert set(entries) == set(corpus.runs)
    linked = {
        run.run_id for run in corpus.runs.values() if any("models:/" in tag for tag in run.tags.values())
    }
    assert all(entry.target_print for entry in entries.values())
    assert all(
        entry.source_print == entry.target_print
        for source_id, entry in entries.items()
        if source_id not in linked  # links to versions of another number are rewritten
    )
    with closing(sqlite3.connect(tmp_path / "home" / "ledger.db")) as database:
        assert database.execute("SELECT count(*) FROM item WHERE kind = 'version'").fetchone() == (
            len(corpus.versions),
        )


def test_plans_survive_being_saved(pair: Pair, corpus: Corpus, tmp_path: Path) -> None:
    from trackbridge.operations.migrate.applying import apply_migration
    from trackbridge.operations.plans import load_plan, save_plan

    plan = plan_migration(pair, Asked())
    save_plan(plan, tmp_path / "plan.json")
    loaded = load_plan(tmp_path / "plan.json")
    assert msgspec.json.encode(loaded) == msgspec.json.encode(plan)
    account = apply_migration(loaded, pair)
    assert account.states[State.DONE] == len(plan.changes)
    assert found(corpus, pair) == []
    held = apply_migration(loaded, pair)
    again = len(unended(corpus))
    assert (held.states[State.HELD], held.states[State.DONE]) == (len(plan.changes) - again, again)
    assert experiment_id_of("plain") == corpus.experiments["plain"].experiment_id
