"""docs/emulators.md: its tests pass, its table is the emulator's own, and what it says to write exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.azureml_emulators import azureml_emulator
from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.testing.emulators.azureml import table as azure_table
from trackbridge.testing.emulators.azureml.blob_server import FOLDER_VARIABLE
from trackbridge.testing.emulators.sagemaker import table

PAGE = (Path(__file__).resolve().parents[2] / "docs/emulators.md").read_text(encoding="utf-8")
CONFTEST, TESTS, AZURE_CONFTEST, AZURE_TESTS = re.findall(
    r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE
)


@pytest.mark.parametrize(
    ("conftest", "tests"), [(CONFTEST, TESTS), (AZURE_CONFTEST, AZURE_TESTS)], ids=["sagemaker", "azureml"]
)
def test_its_tests_pass(conftest: str, tests: str, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_page.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    # A home of its own: in the user's, its delivery would take over what others left there. What is read
    # waits for delivery, which has to start first.
    own = {"BRIDGE_HOME": str(tmp_path / ".bridge"), "BRIDGE_READ_WAIT_S": "60"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name == FOLDER_VARIABLE or not name.startswith(("BRIDGE_", "MLFLOW_"))
    }
    done = subprocess.run(command, cwd=tmp_path, env=kept | own, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{tests.count('def test_')} passed" in done.stdout


@pytest.mark.parametrize("row", [*table.rows(), *azure_table.rows()], ids=lambda row: row[0])
def test_its_table_is_current(row: tuple[str, str, str, str]) -> None:
    assert f"| {' | '.join(row)} |" in PAGE


def test_what_it_says_to_write_can_be_written() -> None:
    said = re.findall(r"`(emulator\.[^`]+)`", PAGE)
    assert len(said) > 9
    with sagemaker_emulator() as emulator:
        names = {"emulator": emulator, "arn": "arn:aws:iam::1:role/r", "key": emulator.keys.issue()}
        for line in said:
            exec(line, dict(names))


def test_what_it_says_to_write_for_azure_can_be_written() -> None:
    said = re.findall(r"`(azure\.[^`]+)`", PAGE)
    assert len(said) > 5
    with azureml_emulator(mlflow="") as azure:
        for line in said:
            exec(line, {"azure": azure})
