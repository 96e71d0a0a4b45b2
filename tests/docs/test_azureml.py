"""docs/azureml.md: its limits, options, words of errors and commands are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trackbridge_adapters.azureml import errors, workspace
from trackbridge_adapters.azureml.clouds import CLOUDS
from trackbridge_adapters.azureml.config import OPTIONS
from trackbridge_adapters.azureml.identity import CREDENTIALS
from trackbridge_adapters.azureml.limits import LIMITS, NAME_IN_WORDS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/azureml.md").read_text(encoding="utf-8")
CODE = "\n".join(
    file.read_text(encoding="utf-8")
    for folder in ("adapters/trackbridge_adapters/azureml", "adapters/trackbridge_adapters/_mlflow_rest")
    for file in (ROOT / folder).glob("*.py")
)


def section(title: str) -> str:
    """Return the text below a heading."""
    return re.split(r"^## ", TEXT.split(f"\n## {title}\n")[1], flags=re.MULTILINE)[0]


ROWS = {
    "name of an experiment": "experiment.name",
    "params of a run": "run.params",
    "tags of a run": "run.tags",
    "value of a param": "run.param.value",
    "value of a tag": "run.tag.value",
    "key of a tag": "run.tag.key",
    "name of a metric": "metric.name",
    "points of one metric in a batch": "batch.points",
    "points of a history in a page": "history.page",
    "name of a blob: path of a file and folder of its run": "blob.name",
    "files of a version of a model": "model.files",
    "names of metrics of a run": "metric.names",
}


@pytest.mark.parametrize(("words", "limit"), ROWS.items())
def test_limits_are_those_of_the_table(words: str, limit: str) -> None:
    row = re.search(rf"^\| {re.escape(words)} \| (\d+)[^|]* \| (.*?) ?\|$", section("Limits"), re.MULTILINE)
    assert row, words
    assert int(row[1]) == LIMITS[limit].most
    assert (row[2] == "warns") is not LIMITS[limit].is_hard


def test_every_limit_that_is_told_is_checked() -> None:
    told = re.findall(r"^\| ([a-z].*?) \| \d", section("Limits"), re.MULTILINE)
    assert told == list(ROWS)
    assert NAME_IN_WORDS.startswith("use letters, digits, '-' and '_', at most 255")


def test_every_option_is_told() -> None:
    rows = re.findall(r"^\| (`[a-z_`, ]+) \|", section("Options"), re.MULTILINE)
    assert {option for row in rows for option in re.findall(r"`(\w+)`", row)} == set(OPTIONS)


def test_values_of_options_are_those_of_the_code() -> None:
    options = section("Options")
    assert [cloud.name for cloud in CLOUDS if f"`{cloud.name}`" not in options] == []
    assert [kind for kind in CREDENTIALS if f"`{kind}`" not in options] == []


def test_what_it_says_is_wrong_is_what_the_code_says() -> None:
    rows = re.findall(r"^\| (.+?) \| .+? \| .+? \|$", section("When something is wrong"), re.MULTILINE)[2:]
    parts = [part for row in rows for part in re.split(r" ?… ?", row) if part]
    known = CODE + "does not have authorization to perform action"  # Azure's own words
    assert len(parts) > 8
    assert [part for part in parts if part not in known.replace("}, and", "} and")] == []
    assert {"SubscriptionNotFound", "ResourceGroupNotFound", "ResourceNotFound"} <= set(workspace._MISSING)
    assert "AzureML Data Scientist" in errors.ROLE_HINT


def test_commands_and_targets_that_are_named_exist() -> None:
    from trackbridge.cli.main import COMMANDS

    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", TEXT)) <= targets
    assert set(re.findall(r"\bbridge ([a-z]+) ", TEXT)) <= set(COMMANDS)


def test_live_tests_are_as_it_says() -> None:
    from tests.support import azureml_places

    live = (ROOT / "tests/live/test_azure.py").read_text(encoding="utf-8")
    assert "BRIDGE_LIVE_AZURE_WORKSPACE" in live
    assert f"tag `{azureml_places.OWN_TAG}`" in TEXT
    assert f"`{azureml_places.MARK}…`" in TEXT
