"""``bridge migrate``, ``bridge check`` and ``bridge apply`` of a migration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Bridge
from tests.support.corpus import Corpus, Size, problems, write_corpus
from tests.support.migrations import local_side
from trackbridge.domain.batches import Batch, Setting

SIZE = Size(experiments=2, runs=5, files=1, models=1, versions=3)


@pytest.fixture
def corpus(project: Path) -> Corpus:
    side = local_side(project / "a")
    corpus = write_corpus(side.adapter, SIZE)
    side.close()
    return corpus


def differences(project: Path, corpus: Corpus) -> list[str]:
    source, target = local_side(project / "a"), local_side(project / "b")
    found = problems(corpus, target.adapter, registry_uri=source.uri, renumbered=True)
    source.close()
    target.close()
    return found


def test_without_agreement_nothing_is_changed(bridge: Bridge, corpus: Corpus, project: Path) -> None:
    result = bridge("migrate", "./a", "./b", code=2)
    assert "there is no terminal to ask on" in result.err
    assert not (project / "b" / "store.db").exists()


def test_a_plan_is_shown_and_changes_nothing(bridge: Bridge, corpus: Corpus, project: Path) -> None:
    shown = bridge("migrate", "./a", "./b", "--plan").out
    assert "create" in shown
    assert "+ experiment plain" in shown
    assert all(run_id in shown for run_id in corpus.runs)
    assert not (project / "b" / "store.db").exists()
    bridge("migrate", "./a", "./b", "--plan", "--detailed-exitcode", code=4)


def test_what_was_agreed_to_is_done_and_summed_up(bridge: Bridge, corpus: Corpus, project: Path) -> None:
    result = bridge("migrate", "./a", "./b", "--yes", "--json")
    assert differences(project, corpus) == []
    kinds = [item["type"] for item in result.objects]
    assert set(kinds) - {"preflight"} == {"planned", "item", "summary"}
    assert kinds.count("planned") == kinds.count("item")
    account = result.summary["account"]
    assert account["source"] == account["target"]
    assert account["source"]["runs"] == len(corpus.runs)
    assert account["unexplained"] == {}
    assert result.summary["complete"] is True


def test_repeated_there_is_nothing_to_do(bridge: Bridge, corpus: Corpus) -> None:
    bridge("migrate", "./a", "./b", "--yes")
    assert "everything is there already" in bridge("migrate", "./a", "./b", "--yes").out
    bridge("migrate", "./a", "./b", "--plan", "--detailed-exitcode", code=0)


def test_a_saved_plan_is_applied_exactly(bridge: Bridge, corpus: Corpus, project: Path) -> None:
    bridge("migrate", "./a", "./b", "--out", "wine.plan", "--experiment", "plain")
    result = bridge("apply", "wine.plan", "--yes", "--json")
    of_plain = sum(run.experiment == "plain" for run in corpus.runs.values())
    assert result.summary["account"]["source"]["runs"] == of_plain
    assert "nothing" not in bridge("apply", "wine.plan", "--yes").out


def test_a_plan_is_refused_once_the_source_has_changed(bridge: Bridge, corpus: Corpus, project: Path) -> None:
    bridge("migrate", "./a", "./b", "--out", "wine.plan")
    run = next(run for run in corpus.runs.values() if not run.deleted and run.status.is_final)
    side = local_side(project / "a")
    side.tracking.write(Batch(run_id=run.run_id, tags=[Setting("later", "x", 1)]))
    side.close()
    result = bridge("apply", "wine.plan", "--yes", code=1)
    assert "is not as it was when the plan was made" in result.err
    assert not (project / "b" / "store.db").exists()


def test_a_check_tells_what_differs(bridge: Bridge, corpus: Corpus, project: Path) -> None:
    assert bridge("check", "./a", "./b", code=4).out.count("+ run") == len(corpus.runs)
    bridge("migrate", "./a", "./b", "--yes")
    assert "the same, 0 items not" in bridge("check", "./a", "./b", "--download").out
    run = next(run for run in corpus.runs.values() if not run.deleted and run.status.is_final)
    side = local_side(project / "b")
    side.tracking.write(Batch(run_id=run.run_id, tags=[Setting("kind", "other", 1)]))
    side.close()
    result = bridge("check", "./a", "./b", "--json", code=4)
    assert result.summary["counts"]["*"] == 1
    (different,) = [item for item in result.objects if item.get("symbol") == "*"]
    assert different["subject"] == f"run {run.run_id}"
    assert different["differences"] == [f"tags.kind: {run.tags['kind']} != other"]


def test_only_a_model_and_the_runs_that_it_needs(bridge: Bridge, corpus: Corpus, project: Path) -> None:
    result = bridge("migrate", "./a", "./b", "--model", "wi*", "--yes", "--json")
    needed = {true.run_id for true in corpus.versions}
    assert result.summary["account"]["source"]["runs"] == len(needed)
    assert result.summary["account"]["source"]["versions"] == len(corpus.versions)


def test_a_bound_ends_with_its_code_and_the_next_time_goes_on(
    bridge: Bridge, corpus: Corpus, project: Path
) -> None:
    result = bridge(
        "migrate", "./a", "./b", "--yes", "--json", "--max-transfer", "1", "--transfers", "1", code=8
    )
    assert "bytes were moved" in result.summary["account"]["stopped"]
    bridge("migrate", "./a", "./b", "--yes")
    assert differences(project, corpus) == []


@pytest.mark.parametrize("option", [["--run", "x"], ["--filter", "params.a = '1'"], ["--since", "7d"]])
def test_nothing_is_deleted_by_a_look_at_some_runs(bridge: Bridge, corpus: Corpus, option: list[str]) -> None:
    assert "--delete" in bridge("migrate", "./a", "./b", "--delete", *option, code=2).err


def test_more_deletions_than_allowed_change_nothing(bridge: Bridge, corpus: Corpus, project: Path) -> None:
    bridge("migrate", "./a", "./b", "--yes")
    (project / "a").rename(project / "old")
    side = local_side(project / "a")
    write_corpus(side.adapter, Size(experiments=1, runs=1, files=1, models=0), seed=99)
    side.close()
    result = bridge("migrate", "./a", "./b", "--delete", "--max-delete", "1", "--yes", code=8)
    assert "would be deleted" in result.err


def test_what_looks_like_a_secret_is_in_no_plan(bridge: Bridge, corpus: Corpus, project: Path) -> None:
    side = local_side(project / "a")
    secret = "hunter2hunter2"
    side.tracking.ensure_experiment(
        "plain", experiment_id=corpus.experiments["plain"].experiment_id, tags={"api_token": secret}
    )
    side.close()
    corpus.experiments["plain"].tags["api_token"] = secret
    result = bridge("migrate", "./a", "./b", "--out", "wine.plan", "--json")
    assert secret not in result.out + result.err + (project / "wine.plan").read_text(encoding="utf-8")
    bridge("apply", "wine.plan", "--yes")
    assert differences(project, corpus) == []


def test_the_plan_file_is_a_plan_for_programs_too(bridge: Bridge, corpus: Corpus, project: Path) -> None:
    bridge("migrate", "./a", "./b", "--out", "wine.plan")
    plan = json.loads((project / "wine.plan").read_text(encoding="utf-8"))["plan"]
    assert plan["operation"] == "migrate"
    subjects = [change["subject"] for change in plan["changes"]]
    assert len(subjects) == len(set(subjects))


def test_a_source_that_is_not_there_is_an_error(bridge: Bridge, project: Path) -> None:
    assert "there is no store" in bridge("migrate", "./nowhere", "./b", "--plan", code=1).err
    assert "there is no store" in bridge("check", "./nowhere", "./b", code=1).err
    assert not (project / "nowhere").exists()


def test_a_run_of_an_experiment_that_was_not_named(bridge: Bridge, corpus: Corpus) -> None:
    run = next(run for run in corpus.runs.values() if run.experiment != "plain")
    arguments = ("migrate", "./a", "./b", "--experiment", "plain", "--run", run.run_id, "--plan")
    assert "is in none of the experiments" in bridge(*arguments, code=1).err


def test_stages_in_any_case_and_nothing_that_matches(bridge: Bridge, corpus: Corpus) -> None:
    stage = next(true.stage for true in corpus.versions if true.stage != "None")
    found = bridge("migrate", "./a", "./b", "--stage", stage.lower(), "--plan", "--json").summary["planned"]
    assert found["version"]["create"] == sum(true.stage == stage for true in corpus.versions)
    nothing = bridge("migrate", "./a", "./b", "--filter", "params.no = 'x'", "--model", "w*", "--stage", "no")
    assert "the source has nothing of what was named" in nothing.out
    assert "already" not in nothing.out


def test_a_saved_plan_keeps_its_bounds(bridge: Bridge, corpus: Corpus, project: Path) -> None:
    bridge("migrate", "./a", "./b", "--out", "x.plan", "--max-transfer", "1", "--transfers", "1")
    result = bridge("apply", "x.plan", "--yes", "--json", code=8)
    assert "bytes were moved" in result.summary["account"]["stopped"]


def test_what_is_not_delivered_yet_is_told_of(bridge: Bridge, project: Path) -> None:
    import trackbridge as tb

    client = tb.Client("./a")
    with_tags = client.create_run(client.open_experiment("wine").experiment_id, run_name="x")
    client.set_tag(with_tags.info.run_id, "k", "v")
    result = bridge("migrate", "./a", "./b", "--plan")
    assert "records of the source are not delivered yet; first: bridge sync run" in result.err
    client.session.close(10.0)
    assert "not delivered" not in bridge("migrate", "./a", "./b", "--plan").err
