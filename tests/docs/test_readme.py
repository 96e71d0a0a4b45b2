"""README.md: the walk through both clouds does what it says, in the order in which it says it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trackbridge.testing.emulators.azureml.blob_server import FOLDER_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
WALK = (
    (ROOT / "README.md")
    .read_text(encoding="utf-8")
    .split("\n## Two clouds in two minutes")[1]
    .split("\n## ")[0]
)
PROGRAM, COMMANDS, SHOWN = re.findall(r"^```\w*\n(.*?)^```$", WALK, re.DOTALL | re.MULTILINE)
EMULATED = [line for line in COMMANDS.splitlines() if line.startswith("bridge emulate") and " -- " in line]
WALK_S = 600


def comparable(text: str) -> str:
    """Return what is the same each time: no ids, times, names of users, nor how wide columns are."""
    plain = re.sub(r"\b[0-9a-f]{12,32}\b", "<id>", text)
    plain = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "<time>", plain)
    plain = re.sub(r"\b(?:\d[\d.]* (?:ms|s)|\d+[dhm] \d+[hms])\b", "<duration>", plain)
    plain = re.sub(r"\S+(?= +<id>$)", "<user>", plain, flags=re.MULTILINE)
    return re.sub(r" +", " ", plain)


@pytest.mark.timeout(WALK_S + 60)
@pytest.mark.parametrize("command", EMULATED, ids=lambda command: command.split()[2])
def test_the_walk(command: str, tmp_path: Path) -> None:
    (tmp_path / "walk.py").write_text(PROGRAM)
    others = {
        name: value
        for name, value in os.environ.items()
        if name == FOLDER_VARIABLE or not name.startswith(("BRIDGE_", "MLFLOW_", "AWS_", "AZURE"))
    }
    # Waiting is only ever as long as it has to be: a busy machine takes longer to deliver.
    own = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "BRIDGE_HOME": str(tmp_path / ".bridge"),
        "BRIDGE_READ_WAIT_S": "120",
    }
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path,
        env=others | own,
        capture_output=True,
        text=True,
        timeout=WALK_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert comparable(done.stdout.strip()) == comparable(SHOWN.strip())


def test_both_clouds_are_walked_through() -> None:
    assert [command.split()[2] for command in EMULATED] == ["azureml", "sagemaker"]
