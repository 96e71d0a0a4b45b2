"""examples/own_adapter, as its README.md has it: installed, true to the contracts, used by its URI."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.running import EXAMPLES, OTHERS
from tests.support.processes import eventually

pytestmark = pytest.mark.timeout(600)
FOLDER = EXAMPLES / "own_adapter"
LINES_MAX = 150
PROGRAM_S = 280
KILLED = """
import os, signal, sys
import trackbridge as tb

tb.set_tracking_uri(sys.argv[1])
tb.set_experiment("own")
with tb.start_run(run_name="killed"):
    tb.log_param("rate", 0.1)
    for step in range(100):
        tb.log_metric("loss", 1 / (step + 1), step=step)
    os.kill(os.getpid(), signal.SIGKILL)
"""
READ = """
import sys
import trackbridge as tb

tb.set_tracking_uri(sys.argv[1])
(run,) = tb.search_runs(experiment_names=["own"], filter_string="metrics.loss < 0.02 and params.rate = '0.1'")
print(run.info.run_name, run.info.status, len(tb.Client().get_metric_history(run.info.run_id, "loss")))
try:
    tb.Client().delete_run(run.info.run_id)
except tb.BridgeError as error:
    print(type(error).__name__)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a Python that has the package, as pip installs it."""
    folder = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--target", str(folder), str(FOLDER), variables={})
    assert sorted(path.name for path in folder.glob("*.py")) == ["trackbridge_sqlite.py"]
    return {"PYTHONPATH": str(folder)}


def run(*words: str, variables: dict[str, str], code: int = 0, folder: Path = FOLDER) -> str:
    mine = {name: value for name, value in os.environ.items() if not name.startswith((*OTHERS, "PYTEST_"))}
    done = subprocess.run(
        words,
        cwd=folder,
        env={**mine, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_it_is_small() -> None:
    lines = (FOLDER / "trackbridge_sqlite.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) < LINES_MAX


def test_it_passes_the_contracts(installed: dict[str, str], tmp_path: Path) -> None:
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={tmp_path}/in")
    assert " passed" in run(sys.executable, *words, "tests", variables=installed).splitlines()[-1]


def test_a_program_tracks_to_its_uri_and_may_be_killed(installed: dict[str, str], tmp_path: Path) -> None:
    variables = {**installed, "BRIDGE_HOME": str(tmp_path / ".bridge")}
    uri = f"sqlite:{tmp_path}/runs.db"
    words = (sys.executable, "-c")
    run(*words, KILLED, uri, variables=variables, code=-signal.SIGKILL, folder=tmp_path)
    variables["BRIDGE_TRACKING_URI"] = uri
    bridge = (sys.executable, "-m", "trackbridge")
    eventually(lambda: "KILLED" in run(*bridge, "runs", "list", variables=variables, folder=tmp_path))
    told = run(*words, READ, uri, variables=variables, folder=tmp_path).splitlines()
    assert told == ["killed KILLED 100", "Unsupported"]
    assert "sqlite" in run(*bridge, "doctor", variables=variables, folder=tmp_path)
