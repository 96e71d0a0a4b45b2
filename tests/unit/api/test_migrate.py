"""``tb.migrate``: plan, save, load, apply, check."""

from __future__ import annotations

from pathlib import Path

import pytest

import trackbridge as tb
from tests.support.corpus import Corpus, Size, problems, write_corpus
from tests.support.migrations import local_side
from trackbridge.errors import PlanStale


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "home"))
    side = local_side(tmp_path / "a")
    corpus = write_corpus(side.adapter, Size(experiments=2, runs=4, files=1, models=1, versions=1))
    side.close()
    return corpus


def test_a_program_plans_applies_and_checks(corpus: Corpus, tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    plan = tb.migrate.plan(source, target)
    assert plan.changes_something
    assert plan.counts == {"create": 2 + 4 + 1 + 1}
    assert plan.losses == ()
    assert str(plan) == "8 to create; 0 items are not held as they are"
    told: list[str] = []
    report = plan.apply(on_outcome=lambda outcome: told.append(outcome.subject))
    assert report.is_complete
    assert report.exit_code == 0
    assert (report.source.runs, report.target.runs) == (4, 4)
    assert len(told) == 8
    assert report.remaining == ()
    assert report.to_dict()["source"] == report.to_dict()["target"]
    side = local_side(target)
    assert problems(corpus, side.adapter, registry_uri=local_side(source).uri) == []
    check = tb.migrate.check(source, target, download=True)
    assert check.is_same
    assert check.counts == {"=": 8}
    assert not tb.migrate.plan(source, target).changes_something


def test_a_saved_plan_is_applied_elsewhere(corpus: Corpus, tmp_path: Path) -> None:
    plan = tb.migrate.plan(tmp_path / "a", tmp_path / "b", experiments="plain")
    loaded = tb.migrate.load(plan.save(tmp_path / "x.plan"))
    assert loaded.counts == plan.counts
    assert loaded.apply(strict=True).is_complete
    assert [item.symbol.value for item in tb.migrate.check(tmp_path / "a", tmp_path / "b").differences] != []


def test_a_stale_plan_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    from trackbridge.domain.batches import Batch, Setting

    plan = tb.migrate.plan(tmp_path / "a", tmp_path / "b")
    side = local_side(tmp_path / "a")
    run = next(run for run in corpus.runs.values() if not run.deleted)
    side.tracking.write(Batch(run_id=run.run_id, tags=[Setting("later", "x", 1)]))
    with pytest.raises(PlanStale):
        plan.apply()


def test_a_run_is_found_by_the_id_that_it_had_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trackbridge.testing.contracts.samples import run_spec

    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "home"))
    source = local_side(tmp_path / "a")
    source.tracking.open_run(run_spec("job", run_id="sweep_job-1"))
    source.close()
    assert tb.migrate.plan(tmp_path / "a", tmp_path / "b").apply().is_complete
    client = tb.Client(tmp_path / "b")
    found = client.get_run("sweep_job-1")
    assert found.info.run_name == "job"
    assert found.info.run_id != "sweep_job-1"
    with pytest.raises(LookupError):
        client.get_run("another_job")
    client.session.close(10.0)


def test_subscribers_are_told_how_it_ended(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, dict[str, object]]] = []

    def publish(kind: str, **fields: object) -> None:
        told.append((kind, fields))

    monkeypatch.setattr("trackbridge.operations.migrate.migration.publish", publish)
    plan = tb.migrate.plan(tmp_path / "a", tmp_path / "b", bytes_max=1, transfers=1)
    assert told == []
    assert not plan.apply().is_complete
    assert tb.migrate.plan(tmp_path / "a", tmp_path / "b").apply().is_complete
    (kind, first), (_, second) = told
    assert kind == "migration.ended"
    assert first["subject"] == f"file:{tmp_path / 'b'}"
    data = [fields["data"] for fields in (first, second)]
    assert [found["complete"] for found in data] == [False, True]  # type: ignore[index]
    assert "bytes were moved" in data[0]["stopped"]  # type: ignore[index]
