"""Runs with ids of other forms: mapped, found again, and every link to them rewritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.memory_adapter import MemoryAdapter, MemoryState
from tests.support.migrations import migrate, pair_of, patient_side, to_do
from trackbridge.domain.batches import Batch, Setting
from trackbridge.domain.ids import is_minted
from trackbridge.domain.migration import (
    TAG_SOURCE_RUN_ID,
    TAG_SOURCE_START,
    TAG_SOURCE_URI,
    Kind,
    Selection,
    Symbol,
    Treatment,
)
from trackbridge.domain.model_digest import digest_of_members
from trackbridge.domain.models import ModelVersionSpec
from trackbridge.domain.runs import TAG_PARENT, RunSpec, RunStatus
from trackbridge.operations.migrate.checking import check
from trackbridge.operations.migrate.identity import target_run_id
from trackbridge.operations.migrate.pair import Asked, Pair
from trackbridge.operations.migrate.planning import plan_migration
from trackbridge.operations.migrate.rewriting import TAG_LOGGED_MODELS, Rewriter
from trackbridge.testing.contracts.samples import digest_of, file_of

SOURCE = "memory:jobs"
PARENT, CHILD = "sweep_job-1", "sweep_job-1_0"
MLMODEL = f"artifact_path: model\nrun_id: {CHILD}\nutc_time_created: x\n".encode()


def target_id(run_id: str) -> str:
    return target_run_id(run_id, source_uri=SOURCE)


@pytest.fixture
def states(tmp_path: Path) -> tuple[MemoryState, MemoryState]:
    """A service that names runs itself, and an empty one."""
    service = MemoryState()
    adapter = MemoryAdapter(service)
    tracking, artifacts, registry = adapter.tracking, adapter.artifacts, adapter.registry
    assert tracking is not None
    assert artifacts is not None
    assert registry is not None
    tags = {
        TAG_PARENT: PARENT,
        TAG_LOGGED_MODELS: json.dumps([{"run_id": CHILD, "artifact_path": "model"}]),
        "note": f"see runs:/{CHILD}/model and runs:/{PARENT}/x, not runs of {CHILD}",
    }
    for run_id, own in ((CHILD, tags), (PARENT, {})):
        spec = RunSpec(
            run_id=run_id,
            experiment_id="7",
            experiment_name="sweep",
            name=run_id,
            user="azure",
            start_time=1000,
            tags=own,
        )
        tracking.open_run(spec)
        tracking.write(Batch(run_id=run_id, params=[Setting("p", "1", 1)]))
        tracking.close_run(run_id, status=RunStatus.FINISHED, end_time=2000)
    for path, content in (("model/MLmodel", MLMODEL), ("model/data", b"data")):
        file = file_of(tmp_path, content)
        artifacts.put(CHILD, path, file, digest=digest_of(content), size=len(content))
    registry.ensure_model("swept")
    registry.create_version(
        ModelVersionSpec(
            name="swept",
            source=f"bridge-artifacts:/{CHILD}/model",
            digest=content_digest(MLMODEL),
            run_id=CHILD,
        ),
        key="k",
    )
    return service, MemoryState()


def content_digest(mlmodel: bytes) -> str:
    import io

    return digest_of_members([("MLmodel", io.BytesIO(mlmodel)), ("data", io.BytesIO(b"data"))])


@pytest.fixture
def pair(states: tuple[MemoryState, MemoryState], tmp_path: Path) -> Pair:
    source = patient_side(MemoryAdapter(states[0]), SOURCE)
    return pair_of(source, patient_side(MemoryAdapter(states[1]), "memory:target"), tmp_path / "home")


def test_ids_of_other_forms_are_mapped_the_same_everywhere() -> None:
    kept = "0123456789abcdef0123456789abcdef"
    assert target_run_id(kept, source_uri=SOURCE) == kept
    assert is_minted(target_id(PARENT))
    assert target_id(PARENT) == target_id(PARENT) != target_id(CHILD)
    assert target_run_id(PARENT, source_uri="memory:other") != target_id(PARENT)


def test_links_in_tags_are_those_of_the_target(pair: Pair, states: tuple[MemoryState, MemoryState]) -> None:
    assert migrate(pair).exit_code == 0
    run = states[1].runs[target_id(CHILD)]
    assert run.tags[TAG_PARENT] == target_id(PARENT)
    assert json.loads(run.tags[TAG_LOGGED_MODELS])[0]["run_id"] == target_id(CHILD)
    assert run.tags["note"] == (
        f"see runs:/{target_id(CHILD)}/model and runs:/{target_id(PARENT)}/x, not runs of {CHILD}"
    )


def test_a_copy_says_what_it_was_made_of(pair: Pair, states: tuple[MemoryState, MemoryState]) -> None:
    migrate(pair)
    tags = states[1].runs[target_id(PARENT)].tags
    assert tags[TAG_SOURCE_URI] == SOURCE
    assert tags[TAG_SOURCE_RUN_ID] == PARENT
    assert tags[TAG_SOURCE_START] == "1000"
    entry = pair.ledger.find(Kind.RUN, PARENT)
    assert entry is not None
    assert entry.target_id == target_id(PARENT)


def test_a_model_names_its_run_at_the_target_and_has_the_same_digest(
    pair: Pair, states: tuple[MemoryState, MemoryState]
) -> None:
    account = migrate(pair)
    assert states[1].files[target_id(CHILD)]["model/MLmodel"].content == MLMODEL.replace(
        CHILD.encode(), target_id(CHILD).encode()
    )
    (version,) = pair.target.versions("swept")
    assert version.digest == content_digest(MLMODEL)
    assert version.run_id == target_id(CHILD)
    assert version.source == f"bridge-artifacts:/{target_id(CHILD)}/model"
    rewritten = [loss for loss in account.losses if loss.treatment is Treatment.REWRITTEN]
    assert [loss.field for loss in rewritten] == ["files.model/MLmodel"]


def test_parents_come_first(pair: Pair, states: tuple[MemoryState, MemoryState]) -> None:
    migrate(pair)
    assert list(states[1].runs) == [target_id(PARENT), target_id(CHILD)]


def test_repeated_they_are_found_again(pair: Pair, tmp_path: Path) -> None:
    migrate(pair)
    assert to_do(plan_migration(pair, Asked())) == []
    other = pair_of(pair.source, pair.target, tmp_path / "another home")
    assert to_do(plan_migration(other, Asked())) == []
    assert {item.symbol for item in check(pair, Selection(), download=True)} == {Symbol.SAME}


def test_back_at_the_service_they_are_the_runs_that_they_were(pair: Pair, tmp_path: Path) -> None:
    migrate(pair)
    back = pair_of(pair.target, pair.source, tmp_path / "home")
    assert to_do(plan_migration(back, Asked())) == []
    assert {item.symbol for item in check(back, Selection(), download=True)} == {Symbol.SAME}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("models:/a/3", "models:/a/9"),
        ("x models:/a/3/MLmodel y", "x models:/a/9/MLmodel y"),
        ("models:/a/33 models:/a/3", "models:/a/33 models:/a/9"),
        ("models:/a@alias models:/a/Production", "models:/a@alias models:/a/Production"),
        ("models:/b/3", "models:/b/3"),
        ("runs:/0123456789abcdef0123456789abcdef/m", "runs:/0123456789abcdef0123456789abcdef/m"),
        ("no link", "no link"),
    ],
)
def test_links_to_versions(text: str, expected: str) -> None:
    assert Rewriter(SOURCE, versions={("a", "3"): "9"}).text(text) == expected


@pytest.mark.parametrize("value", ["not json", "{}", "[1, null]", '[{"run_id": 7}]', "[" * 2000])
def test_what_is_no_list_of_logged_models_stays_as_it_is(value: str) -> None:
    assert Rewriter(SOURCE).tags({TAG_LOGGED_MODELS: value}) == {TAG_LOGGED_MODELS: value}


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_only_the_line_of_the_run_changes(quote: str) -> None:
    content = f"a: run_id: x\n  run_id: {PARENT}\nrun_id: {quote}{PARENT}{quote}\r\nb: 1\n".encode()
    changed = (
        f"a: run_id: x\n  run_id: {PARENT}\nrun_id: {quote}{target_id(PARENT)}{quote}\r\nb: 1\n".encode()
    )
    assert Rewriter(SOURCE).mlmodel(content) == changed
