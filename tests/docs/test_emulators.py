"""docs/emulators.md: its tests pass, its table is the emulator's own, and what it says to write exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.testing.emulators.sagemaker import table

PAGE = (Path(__file__).resolve().parents[2] / "docs/emulators.md").read_text(encoding="utf-8")
CONFTEST, TESTS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_its_tests_pass(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_page.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    # A home of its own: in the user's, its delivery would take over what others left there. What is read
    # waits for delivery, which has to start first.
    own = {"BRIDGE_HOME": str(tmp_path / ".bridge"), "BRIDGE_READ_WAIT_S": "60"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BRIDGE_", "MLFLOW_"))}
    done = subprocess.run(command, cwd=tmp_path, env=kept | own, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{TESTS.count('def test_')} passed" in done.stdout


@pytest.mark.parametrize("row", table.rows(), ids=lambda row: row[0])
def test_its_table_is_current(row: tuple[str, str, str, str]) -> None:
    assert f"| {' | '.join(row)} |" in PAGE


def test_what_it_says_to_write_can_be_written() -> None:
    said = re.findall(r"`(emulator\.[^`]+)`", PAGE)
    assert len(said) > 9
    with sagemaker_emulator() as emulator:
        names = {"emulator": emulator, "arn": "arn:aws:iam::1:role/r", "key": emulator.keys.issue()}
        for line in said:
            exec(line, dict(names))
