"""Sweeps that are killed run each trial once, and their runs tell the truth."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from trackbridge import Client
from trackbridge.operations.sweeps.records import SweepFolder, TrialState

TRIAL = """
import os, sys
import trackbridge as tb

x = float(sys.argv[sys.argv.index("--x") + 1])
with open("account", "a") as account:
    account.write(f"{x:g}\\n")
with tb.start_run():
    tb.log_metric("loss", (x - 3) ** 2)
    if x == 4:
        os.kill(os.getpid(), 9)
"""
SWEEP = """
import os, signal, sys
from trackbridge.operations.sweeps import records
from trackbridge.cli.main import run

left = int(sys.argv.pop(1))
noted = records.SweepFolder.note

def note(folder, trial):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    noted(folder, trial)

records.SweepFolder.note = note
sys.exit(run())
"""
COMMAND = ("sweep", "trial.py", "-P", "x=int(1,4)", "--metric", "loss", "--key", "night", "--parallel", "2")


def sweep(folder: Path, notes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Go on with the sweep until it has ended, or has noted so much and is killed."""
    hidden = ("BRIDGE_", "MLFLOW_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return subprocess.run(
        [sys.executable, "-c", SWEEP, str(notes), *arguments],
        cwd=folder,
        env={**environment, "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize("notes", [1, 3, 5, 8])
def test_a_sweep_that_is_killed_is_gone_on_with(tmp_path: Path, notes: int) -> None:
    (tmp_path / "trial.py").write_text(TRIAL)
    killed = sweep(tmp_path, notes, *COMMAND, "--sampler", "grid")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    client = Client(str(tmp_path / ".bridge"))
    shown = sweep(tmp_path, 1000, "sweep", "show", "night", "--json")
    assert shown.returncode == 0, shown.stderr
    parent = SweepFolder(tmp_path / ".bridge", "night").read()[0].run_id
    assert client.get_run(parent).info.status == "KILLED", "nobody goes on with it"
    again = sweep(tmp_path, 1000, "sweep", "resume", "night")
    assert again.returncode == 3, again.stderr
    account = Counter((tmp_path / "account").read_text().split())
    assert account == {"1": 1, "2": 1, "3": 1, "4": 1}, "each trial ran once"
    trials = SweepFolder(tmp_path / ".bridge", "night").trials()
    assert [trials[number].state for number in range(4)] == [TrialState.COMPLETE] * 3 + [TrialState.FAILED]
    assert [trials[number].value for number in range(4)] == [4.0, 1.0, 0.0, None]
    assert "SIGKILL" in trials[3].reason
    runs = [client.get_run(trials[number].run_id) for number in range(4)]
    assert [run.info.status.value for run in runs] == ["FINISHED"] * 3 + ["KILLED"]
    assert [run.data.metrics["loss"] for run in runs] == [4.0, 1.0, 0.0, 1.0], "no point is missing"
    assert client.get_run(parent).info.status == "FINISHED"
    assert client.get_run(parent).data.tags["bridge.sweep.best.trial"] == "2"
