"""Targets that hold less than the source: what does not fit comes back, or is told to be lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.corpus import Corpus, Size, TrueRun, problems, write_corpus
from tests.support.memory_adapter import MemoryAdapter, MemoryState
from tests.support.migrations import migrate, pair_of, patient_side, to_do, unended
from trackbridge.domain.batches import Batch, Setting
from trackbridge.domain.metric_values import ValueKind
from trackbridge.domain.migration import Selection, Symbol, Treatment
from trackbridge.domain.models import Approval
from trackbridge.domain.runs import LifecycleStage, RunStatus
from trackbridge.errors import Rejected
from trackbridge.operations.migrate.applying import Applying
from trackbridge.operations.migrate.checking import check
from trackbridge.operations.migrate.pair import Asked, Pair
from trackbridge.operations.migrate.planning import losses_of, plan_migration
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.capabilities import Feature, Limits

SIZE = Size(runs=14, points=8, long_points=40, files=1, large_bytes=2000)
NARROW = Limits(
    metrics_per_write_max=20,
    params_per_write_max=30,
    tags_per_write_max=20,
    params_per_run_max=100,
    tags_per_run_max=14,
    key_chars_max=100,
    key_pattern=r"[A-Za-z0-9_.\- /]+",
    param_value_chars_max=200,
    tag_value_chars_max=300,
    metric_values_unheld=frozenset(ValueKind) - {ValueKind.NUMBER},
)


def narrow_pair(tmp_path: Path, target: MemoryAdapter) -> tuple[Pair, Corpus]:
    source = MemoryAdapter()
    corpus = write_corpus(source, SIZE)
    sides = patient_side(source, "memory:source"), patient_side(target, "memory:target")
    return pair_of(*sides, tmp_path / "home"), corpus


@pytest.mark.parametrize("dedup", [True, False])
@pytest.mark.parametrize("datasets", [True, False])
def test_a_narrow_target_gives_everything_back(tmp_path: Path, dedup: bool, datasets: bool) -> None:
    missing = {} if datasets else {Feature.TRACKING_DATASETS: "no data sets"}
    pair, corpus = narrow_pair(tmp_path, MemoryAdapter(limits=NARROW, dedup=dedup, missing=missing))
    planned = plan_migration(pair, Asked())
    account = migrate(pair)
    assert account.exit_code == 0
    assert problems(corpus, pair.target.adapter, registry_uri="memory:source", renumbered=True) == []
    assert account.unexplained() == {}
    told = {
        (loss.item, loss.field, loss.treatment) for change in planned.changes for loss in losses_of(change)
    }
    assert {(loss.item, loss.field, loss.treatment) for loss in account.losses} == told
    assert {treatment for _, _, treatment in told} == {
        Treatment.SPILLED,
        Treatment.ESCAPED,
        Treatment.RENUMBERED,
    }
    assert {item.symbol for item in check(pair, Selection(), download=True)} == {Symbol.SAME}


def test_what_came_through_a_narrow_target_is_whole_again(tmp_path: Path) -> None:
    pair, corpus = narrow_pair(tmp_path, MemoryAdapter(limits=NARROW, dedup=False))
    migrate(pair)
    onward = pair_of(pair.target, patient_side(MemoryAdapter(), "memory:end"), tmp_path / "home")
    assert migrate(onward).exit_code == 0
    assert problems(corpus, onward.target.adapter, registry_uri="memory:source", renumbered=True) == []
    again = patient_side(MemoryAdapter(limits=NARROW), "memory:narrow too")
    narrow = pair_of(pair.target, again, tmp_path / "home")
    assert migrate(narrow).exit_code == 0
    assert problems(corpus, again.adapter, registry_uri="memory:source", renumbered=True) == []


def test_nothing_is_there_twice_where_points_are_appended(tmp_path: Path) -> None:
    pair, corpus = narrow_pair(tmp_path, MemoryAdapter(limits=NARROW, dedup=False))
    migrate(pair)
    migrate(pair, Asked(deep=True))
    run = next(run for run in corpus.runs.values() if run.status is RunStatus.RUNNING)
    assert any(run.run_id in line for line in to_do(plan_migration(pair, Asked())))
    assert problems(corpus, pair.target.adapter, registry_uri="memory:source", renumbered=True) == []


def test_a_registry_that_knows_no_labels_is_told_of(tmp_path: Path) -> None:
    lacking = {
        Feature.REGISTRY_ALIAS: "no aliases",
        Feature.REGISTRY_STAGE: "no stages",
        Feature.REGISTRY_APPROVAL: "no approval",
        Feature.REGISTRY_DESCRIPTION: "no descriptions",
    }
    pair, corpus = narrow_pair(tmp_path, MemoryAdapter(missing=lacking))
    account = migrate(pair)
    refused = {(loss.item, loss.field) for loss in account.losses if loss.treatment is Treatment.REFUSED}
    for true in corpus.versions:
        subject = f"version {true.name}/{true.version}"
        assert ((subject, "stage") in refused) is (true.stage != "None")
        assert ((subject, "approval") in refused) is (true.approval is not Approval.PENDING)
        assert (subject, "aliases") in refused
    assert all((f"model {name}", "description") in refused for name in corpus.models)
    assert account.exit_code == 0
    assert [line for line in to_do(plan_migration(pair, Asked())) if "version" in line] == []


def test_a_target_that_deletes_nothing_is_told_of(tmp_path: Path) -> None:
    pair, corpus = narrow_pair(tmp_path, MemoryAdapter(missing={Feature.TRACKING_DELETE: "never"}))
    account = migrate(pair)
    clamped = {loss.item for loss in account.losses if loss.treatment is Treatment.CLAMPED}
    gone = {run.run_id for run in corpus.runs.values() if corpus.stage_of(run) is LifecycleStage.DELETED}
    assert {f"run {run_id}" for run_id in gone} <= clamped
    assert account.exit_code == 0
    unended = [run for run in corpus.runs.values() if not run.status.is_final]
    assert len(to_do(plan_migration(pair, Asked()))) == len(unended)


def test_strictly_nothing_is_begun_when_anything_would_be_lost(tmp_path: Path) -> None:
    state = MemoryState()
    target = MemoryAdapter(state, missing={Feature.TRACKING_DELETE: "never"})
    pair, _ = narrow_pair(tmp_path, target)
    with pytest.raises(Rejected, match="cannot hold everything"):
        migrate(pair, how=Applying(strict=True))
    assert not state.runs
    assert not state.experiments


def test_strictly_what_comes_back_whole_is_no_loss(tmp_path: Path) -> None:
    pair, _ = narrow_pair(tmp_path, MemoryAdapter(limits=NARROW))
    assert migrate(pair, how=Applying(strict=True)).exit_code == 0


def test_files_that_have_no_place_are_told_of(tmp_path: Path) -> None:
    target = MemoryAdapter()
    target.artifacts = None
    target.registry = None
    pair, corpus = narrow_pair(tmp_path, target)
    planned = plan_migration(pair, Asked())
    refused = [
        loss for change in planned.changes for loss in losses_of(change) if loss.field.startswith("files.")
    ]
    assert len(refused) == sum(len(run.files) for run in corpus.runs.values())
    assert any("no registry" in note for note in planned.notes)
    account = migrate(pair)
    assert account.exit_code == 0
    assert account.target.files == 0
    assert account.unexplained() == {}


def test_files_that_are_too_large_are_told_of(tmp_path: Path) -> None:
    pair, corpus = narrow_pair(tmp_path, MemoryAdapter(limits=Limits(artifact_bytes_max=1000)))
    account = migrate(pair)
    (loss,) = [loss for loss in account.losses if loss.treatment is Treatment.REFUSED]
    assert loss.field == "files.large.bin"
    run = next(run for run in corpus.runs.values() if "large.bin" in run.files)
    assert loss.item == f"run {run.run_id}"
    assert account.source.bytes - account.target.bytes == run.files["large.bin"][0]


def test_a_run_that_waits_to_begin_is_told_of(tmp_path: Path) -> None:
    state = MemoryState()
    write_corpus(MemoryAdapter(state), Size(experiments=1, runs=1, files=1, models=0))
    (run,) = state.runs.values()
    run.status, run.end_time = RunStatus.SCHEDULED, None
    source = patient_side(MemoryAdapter(state), "memory:a")
    pair = pair_of(source, patient_side(MemoryAdapter(), "memory:b"), tmp_path / "home")
    account = migrate(pair)
    assert [(loss.field, loss.treatment) for loss in account.losses] == [("status", Treatment.CLAMPED)]
    assert account.exit_code == 0


def test_a_run_with_more_tags_than_the_target_takes_is_copied_again_as_it_changes(tmp_path: Path) -> None:
    target = MemoryAdapter(limits=NARROW)
    pair, corpus = narrow_pair(tmp_path, target)
    migrate(pair)
    assert max(len(run.tags) for run in target.state.runs.values()) == NARROW.tags_per_run_max
    run = max(corpus.runs.values(), key=lambda run: len(run.tags))
    assert len(run.tags) > 14
    run.tags = {key: f"new {value}" for key, value in run.tags.items() if not key.startswith("mlflow.")} | {
        key: value for key, value in run.tags.items() if key.startswith("mlflow.")
    }
    change_tags(pair.source.adapter, run)
    account = migrate(pair)
    assert account.exit_code == 0
    assert problems(corpus, pair.target.adapter, registry_uri="memory:source", renumbered=True) == []
    assert max(len(found.tags) for found in target.state.runs.values()) == NARROW.tags_per_run_max


def change_tags(adapter: Adapter, run: TrueRun) -> None:
    tags = [Setting(key, value, number) for number, (key, value) in enumerate(run.tags.items(), 1)]
    assert adapter.tracking is not None
    if run.deleted:
        adapter.tracking.restore_run(run.run_id)
    adapter.tracking.write(Batch(run_id=run.run_id, tags=tags))
    if run.deleted:
        adapter.tracking.delete_run(run.run_id)


def test_tags_of_models_that_are_too_long_are_told_to_be_lost(tmp_path: Path) -> None:
    limits = Limits(model_tag_key_chars_max=20, model_tag_value_chars_max=50, model_name_pattern="[a-z]+")
    pair, corpus = narrow_pair(tmp_path, MemoryAdapter(limits=limits))
    registry = pair.source.adapter.registry
    assert registry is not None
    name, version = corpus.versions[0].name, corpus.versions[0].version
    registry.set_tags(name, None, tags={"k" * 21: "v", "fits": "v" * 50})
    registry.set_tags(name, version, tags={"long": "v" * 51})
    planned = {loss for change in plan_migration(pair, Asked()).changes for loss in losses_of(change)}
    account = migrate(pair)
    assert account.remaining == []
    assert set(account.losses) == planned
    lost = {(loss.item, loss.field) for loss in planned if loss.treatment is Treatment.REFUSED}
    assert lost == {(f"model {name}", f"tags.{'k' * 21}"), (f"version {name}/{version}", "tags.long")}
    escaped = {loss.item for loss in planned if loss.treatment is Treatment.ESCAPED}
    assert escaped == {f"model {model}" for model in corpus.models if not model.isascii()}
    assert pair.target.adapter.registry is not None
    assert pair.target.adapter.registry.get_model(name).tags.get("fits") == "v" * 50
    assert len(to_do(plan_migration(pair, Asked()))) == unended(corpus)
