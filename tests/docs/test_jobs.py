"""docs/jobs.md: its files, programs and commands do what it says, and it names every field of a job file."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from trackbridge.operations.job_sources.job_files import FIELDS

PAGE = (Path(__file__).resolve().parents[2] / "docs/jobs.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
FILES = {text.partition("\n")[0].removeprefix("# "): text for _, text in BLOCKS if text.startswith("# ")}
PROGRAMS = [text for kind, text in BLOCKS if kind == "python"]
COMMANDS = [line for kind, text in BLOCKS if kind == "" for line in text.splitlines()]
TRAIN = """
import argparse
import trackbridge as tb

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--epochs", type=int)
given = parser.parse_args()
with tb.start_run():
    for step in range(given.epochs):
        tb.log_metric("loss", given.lr / (step + 1), step=step)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {**FILES, "train.py": TRAIN, "wine/train.py": TRAIN, "wine/data.csv": "a\nb\n"}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def run(command: list[str], folder: Path) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BRIDGE_", "MLFLOW_"))}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**kept, "HOME": str(folder), "BRIDGE_HOME": str(folder / ".bridge")},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_its_commands(folder: Path) -> None:
    out = {}
    for line in COMMANDS:
        words = shlex.split(line)
        assert words[0] == "bridge", line
        out[line] = run([sys.executable, "-m", "trackbridge", *words[1:]], folder)
    assert out["bridge run wine -P alpha=0.4"] == "2\nalpha is 0.4\n"
    assert out["bridge jobs logs checks"] == "fine\n"
    assert "Billed        to nobody" in out["bridge run wine -P alpha=0.4 --plan"]
    names = [line.split()[1] for line in out["bridge jobs list"].splitlines()[1:]]
    assert names == ["checks", "train.py", "wine", "wine", "train.py"]
    assert out["bridge jobs list --all"].count("local") == 5


def test_its_programs(folder: Path) -> None:
    submitted, pipeline, function = PROGRAMS
    assert run([sys.executable, "-c", submitted], folder) == "SUCCEEDED {'loss': 0.05}\n"
    run([sys.executable, "-c", pipeline], folder)
    assert run([sys.executable, "squares.py"], folder) == "144\n"
    assert function == (folder / "squares.py").read_text()


def test_its_table_names_every_field() -> None:
    section = PAGE.partition("## Job files")[2].partition("## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(FIELDS)
