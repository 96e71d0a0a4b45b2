"""docs/models.md: its programs and commands do what it says, one after the other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.endpoints import no_process_left

PAGE = (Path(__file__).resolve().parents[2] / "docs/models.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
PROGRAMS = [text for kind, text in BLOCKS if kind == "python" and "spark" not in text]
"""Spark's is run by tests/examples/test_spark.py."""
COMMANDS = [
    line.partition("#")[0].strip() for kind, text in BLOCKS if kind == "" for line in text.splitlines()
]
BRIDGE = f"{sys.executable} -m trackbridge"


def run(command: list[str] | str, folder: Path) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BRIDGE_", "MLFLOW_"))}
    done = subprocess.run(
        command,
        shell=isinstance(command, str),
        cwd=folder,
        env={**kept, "BRIDGE_HOME": str(folder / ".bridge")},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def bridge(command: str, folder: Path) -> str:
    assert command.startswith("bridge "), command
    return run(BRIDGE + command.removeprefix("bridge"), folder)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project in which the page's first two programs have run, the first of them twice."""
    folder = tmp_path_factory.mktemp("models")
    log_and_register, load = PROGRAMS[:2]
    run([sys.executable, "-c", log_and_register], folder)
    run([sys.executable, "-c", f"{log_and_register}\n{load}"], folder)
    yield folder
    no_process_left(folder)


def commands(beginning: str) -> list[str]:
    found = [command for command in COMMANDS if command.startswith(beginning)]
    assert found, beginning
    return found


def test_models_are_promoted_with_who_and_why(project: Path) -> None:
    for command in commands("bridge models"):
        shown = bridge(command, project)
    assert "reviewed by Ada" in shown
    assert "champion" in shown


def test_models_are_deployed_asked_and_rolled_back(project: Path) -> None:
    bridge("bridge models alias wine/1 champion", project)
    try:
        for command in commands("bridge deploy"):
            bridge(f"{command} --yes", project)
        run(
            [sys.executable, "-c", f"{PROGRAMS[0].partition('tb.set_experiment')[0]}\n{PROGRAMS[2]}"], project
        )
        (show,) = commands("bridge endpoints show")
        assert re.search(r"v1.*90 %", bridge(show, project))
        (back,) = commands("bridge endpoints rollback")
        bridge(f"{back} --yes", project)
        assert re.search(r"v1.*100 %", bridge(show, project))
    finally:
        run(f"{BRIDGE} endpoints delete wine --yes", project)


def test_a_script_runs_as_a_job(project: Path) -> None:
    (project / "train.py").write_text("import sys; print('trained with', *sys.argv[1:])\n")
    assert "trained with --lr 0.1" in bridge(commands("bridge run train.py -P")[0], project)
