"""``bridge models sync``, ``diff`` and ``where``."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Bridge, bridge_process, clean_environment, rest_of
from tests.cli.test_process import on_a_terminal
from tests.support.corpus import Size, write_corpus
from tests.support.migrations import local_side


@pytest.fixture
def places(project: Path) -> Path:
    side = local_side(project / "a")
    write_corpus(side.adapter, Size(experiments=1, runs=2, files=0, points=2, models=1, versions=2))
    side.close()
    return project


def test_one_way_and_again_there_is_nothing_to_do(bridge: Bridge, places: Path) -> None:
    shown = bridge("models", "sync", "./a", "./b", "--plan").out
    assert "+ version wine/1 at the target" in shown
    assert re.search(r"\nat the target +1 +2 +2 +2\n", shown)
    assert not (places / "b" / "store.db").exists()
    result = bridge("models", "sync", "./a", "./b", "--yes", "--json")
    assert result.summary["copied"] == 2
    assert result.summary["complete"] is True
    assert [result.summary[name] for name in ("runs_to_copy", "runs_there", "runs_copied")] == [2, 0, 2]
    assert "both agree" in bridge("models", "sync", "./a", "./b", "--yes").out
    assert "3 items the same, 0 items not" in bridge("models", "diff", "./a", "./b").out


def test_runs_that_are_there_are_no_runs_to_copy(bridge: Bridge, places: Path) -> None:
    bridge("migrate", "./a", "./b", "--experiment", "*", "--yes")
    shown = bridge("models", "sync", "./a", "./b", "--yes").out
    assert re.search(r"\nat the target +1 +2 +0 \(2 are there\) +2\n", shown)
    assert "2 versions copied, 0 runs copied (2 were there), 2 fields set" in shown
    assert len(bridge("runs", "list", "--uri", "./b", "--json").objects) == 3, "two runs and the summary"


@pytest.mark.usefixtures("places")
def test_a_terminal_is_told_what_takes_seconds() -> None:
    code, said = on_a_terminal("models", "sync", "./a", "./b", "--plan")
    assert code == 0
    assert said.index("comparing the two registries ...") < said.index("versions to copy")


def test_edits_of_both_sides_meet(bridge: Bridge, places: Path) -> None:
    bridge("models", "sync", "./a", "./b", "--two-way", "--yes")
    bridge("models", "alias", "wine/1", "left", "--uri", "./a")
    bridge("models", "approve", "wine/1", "--uri", "./b")
    assert "* version" in bridge("models", "diff", "./a", "./b", code=4).out
    bridge("models", "sync", "./a", "./b", "--two-way", "--plan", "--detailed-exitcode", code=4)
    result = bridge("models", "sync", "./a", "./b", "--two-way", "--yes", "--json")
    assert result.summary["done"] == 2
    assert "3 items the same, 0 items not" in bridge("models", "diff", "./a", "./b").out
    history = bridge("models", "history", "wine", "--uri", "./b").out
    assert "in step with file:" in history
    told = bridge("models", "history", "wine/1", "--uri", "./b", "--json").objects
    carried = [item for item in told if item["type"] == "carried"]
    assert {item["registry"] for item in carried} == {f"file:{places}/a"}
    assert "created" in {item["change"]["what"] for item in carried}


def test_a_conflict_shows_all_three_values_and_changes_nothing(bridge: Bridge, places: Path) -> None:
    bridge("models", "sync", "./a", "./b", "--two-way", "--yes")
    bridge("models", "stage", "wine/1", "production", "--uri", "./a")
    bridge("models", "stage", "wine/1", "archived", "--uri", "./b")
    result = bridge("models", "sync", "./a", "./b", "--two-way", "--yes", code=1)
    assert "agreed on: None" in result.out
    assert "source: Production" in result.out
    assert "target: Archived" in result.out
    assert "--conflict newer" in result.err
    bridge("models", "sync", "./a", "./b", "--two-way", "--conflict", "target", "--yes")
    assert "3 items the same, 0 items not" in bridge("models", "diff", "./a", "./b").out


def test_a_saved_plan_is_applied_exactly_or_refused(bridge: Bridge, places: Path) -> None:
    arguments = ("models", "sync", "./a", "./b", "--two-way", "--no-preflight", "--out")
    bridge(*arguments, "first.plan")
    assert not (places / "b" / "store.db").exists()
    result = bridge("apply", "first.plan", "--yes", "--json")
    assert (result.summary["copied"], result.summary["complete"]) == (2, True)
    assert "both agree" in bridge("apply", "first.plan", "--yes").out
    bridge("models", "alias", "wine/1", "left", "--uri", "./a")
    bridge(*arguments, "second.plan")
    bridge("models", "alias", "wine/1", "other", "--uri", "./b")
    refused = bridge("apply", "second.plan", "--yes", code=1)
    assert "is not as it was when the plan was made" in refused.err
    assert "left" not in bridge("models", "show", "wine", "--uri", "./b").out


def test_where_says_which_place_was_not_asked(bridge: Bridge, places: Path) -> None:
    bridge("remotes", "add", "left", "./a")
    bridge("remotes", "add", "gone", "azureml:")
    result = bridge("models", "where", "wine", "--json", code=3)
    assert result.summary["unreached"] == ["gone"]
    assert {item["found"]["place"] for item in result.objects if item["type"] == "version"} == {"left"}


def test_where_a_model_is(bridge: Bridge, places: Path) -> None:
    bridge("models", "sync", "./a", "./b", "--yes")
    bridge("remotes", "add", "left", "./a")
    bridge("remotes", "add", "right", "./b")
    result = bridge("models", "where", "wine", "--json")
    found = [item["found"] for item in result.objects if item["type"] == "version"]
    assert sorted((item["place"], item["version"]["version"]) for item in found) == [
        ("left", "1"),
        ("left", "2"),
        ("right", "1"),
        ("right", "2"),
    ]
    digests = {item["version"]["version"]: set() for item in found}  # type: ignore[var-annotated]
    for item in found:
        digests[item["version"]["version"]].add(item["version"]["digest"])
    assert all(len(held) == 1 for held in digests.values())
    assert "left" in bridge("models", "where", "wine").out
    assert "there is no model" in bridge("models", "where", "beer").out
    assert "did you mean 'wine'?" in bridge("models", "where", "wien").out
    assert "did you mean 'wine'?" in bridge("models", "diff", "left", "right", "wien", code=1).err


def test_watching_goes_on_until_it_is_interrupted(places: Path) -> None:
    environment = {**clean_environment(), "BRIDGE_DELIVERY": "off"}
    arguments = ("models", "sync", "./a", "./b", "--watch", "50ms", "--yes", "--json")
    process = bridge_process(*arguments, cwd=places, env=environment)
    assert process.stdout is not None
    summaries = 0
    while summaries < 3:
        summaries += '"type": "summary"' in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    code, _, _ = rest_of(process)
    assert code == 130


def test_watching_tells_of_a_conflict_and_goes_on(bridge: Bridge, places: Path) -> None:
    bridge("models", "sync", "./a", "./b", "--two-way", "--yes", "--no-preflight")
    bridge("models", "stage", "wine/1", "archived", "--uri", "./a")
    bridge("models", "stage", "wine/1", "staging", "--uri", "./b")
    environment = {**clean_environment(), "BRIDGE_DELIVERY": "off"}
    arguments = ("models", "sync", "./a", "./b", "--two-way", "--watch", "50ms", "--yes", "--json")
    process = bridge_process(*arguments, cwd=places, env=environment)
    assert process.stdout is not None
    troubles = 0
    while troubles < 2:
        line = process.stdout.readline()
        assert line, "it ended"
        troubles += '"type": "trouble"' in line
    process.send_signal(signal.SIGINT)
    code, _, errors = rest_of(process)
    assert code == 130
    assert "--conflict newer" in errors
    assert "Traceback" not in errors


def test_watching_does_not_ask(bridge: Bridge, places: Path) -> None:
    assert "--yes" in bridge("models", "sync", "./a", "./b", "--watch", "1s", code=2).err
