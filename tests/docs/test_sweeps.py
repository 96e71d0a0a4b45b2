"""docs/sweeps.md: its words for spaces, samplers, fields, tags and commands are those of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from trackbridge.cli.sweep import sweep
from trackbridge.domain.sweeps import Choice, parse_dimension
from trackbridge.operations.job_sources.requests import JobRequest
from trackbridge.operations.sweeps import parent
from trackbridge.operations.sweeps.definition import FAILURES_MAX, Sampler
from trackbridge.operations.sweeps.requests import SweepRequest, with_sweep_file

TEXT = (Path(__file__).resolve().parents[2] / "docs/sweeps.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_spaces_are_read_as_told() -> None:
    rows = re.findall(
        r"^\| (`.*) \| (.*) \|$", TEXT.split("## What is searched")[1].split("`--sampler`")[0], re.MULTILINE
    )
    assert len(rows) == 7
    for written, meaning in rows:
        for text in re.findall(r"`([^`]+)`", written):
            is_choice = isinstance(parse_dimension("x", text), Choice)
            assert is_choice == (meaning == "one of these" or "every trial" in meaning), text


def test_every_sampler_is_told() -> None:
    table = TEXT.split("| `--sampler` | proposes |")[1].split("\n\n")[0]
    told = [
        word
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for word in re.findall(r"`(\w+)`", row)
    ]
    assert told == [sampler.value for sampler in Sampler]
    assert f"({FAILURES_MAX} unless said otherwise)" in TEXT


def test_the_sweep_file_is_one(tmp_path: Path) -> None:
    (block,) = blocks("yaml")
    (tmp_path / "sweep.yaml").write_text(block)
    said, job, folder = with_sweep_file(SweepRequest(), JobRequest(words=(str(tmp_path / "sweep.yaml"),)))
    assert (said.trials, said.space["batch"], said.register) == (50, [16, 32, 64], "wine")
    assert (job.words, job.parameters, folder) == ((str(tmp_path / "train.py"),), {"epochs": "5"}, tmp_path)
    fields = TEXT.split("Its fields are those of `tb.sweep`: `")[1].split("`")[0]
    assert fields.split() == list(SweepRequest.__struct_fields__)


@pytest.mark.parametrize("line", blocks("bash")[0].replace("\\\n", " ").splitlines())
def test_commands_parse(line: str) -> None:
    words = shlex.split(line)
    assert words[:2] == ["bridge", "sweep"]
    name, rest = (words[2], words[3:]) if words[2] in sweep.commands else ("start", words[2:])
    sweep.commands[name].make_context("bridge", rest, parent=click.Context(sweep))


def test_tags_are_those_of_the_code() -> None:
    code = Path(parent.__file__).read_text(encoding="utf-8")
    names = ["sampler", "metric", "mode", "seed", "space"]
    names += ["best.run_id", "best.trial", "best.value", "best.params"]
    for name in names:
        assert f"{{TAG_SWEEP}}.{name}" in code
        assert f".{name.removeprefix('best.')}" in TEXT
