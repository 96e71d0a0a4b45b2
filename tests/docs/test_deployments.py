"""docs/deployments.md: it names every field of a deployment file, and its file is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trackbridge.cli.deploy import deploy
from trackbridge.operations.deployment_requests import READERS, read_deployment_file

PAGE = (Path(__file__).resolve().parents[2] / "docs/deployments.md").read_text(encoding="utf-8")


def test_it_names_every_field_and_no_other() -> None:
    rows = re.findall(r"(?m)^\| (`[^|]+`) \| (`[^|]+`) \|", PAGE[PAGE.index("| field |") :])
    fields = {name for cell, _ in rows for name in re.findall(r"`([a-z_]+)`", cell)}
    assert fields == set(READERS) - {"targets"}


def test_every_flag_that_it_names_is_there() -> None:
    known = {option for parameter in deploy.params for option in (*parameter.opts, *parameter.secondary_opts)}
    named = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", PAGE))
    assert named <= known


def test_its_file_can_be_read(tmp_path: Path) -> None:
    (block,) = re.findall(r"(?ms)^```yaml\n(.*?)^```", PAGE)
    path = tmp_path / "wine.yaml"
    path.write_text(block, "utf-8")
    request = read_deployment_file(path)
    assert request.canary == (5, 25, 100)
    assert request.at("sagemaker").fields["image"].endswith("wine:1")


@pytest.mark.parametrize("page", ["telemetry", "rollouts", "drift"])
def test_the_pages_that_it_leads_to_are_there(page: str) -> None:
    assert f"({page}.md)" in PAGE
    assert (Path(__file__).resolve().parents[2] / f"docs/{page}.md").is_file()
