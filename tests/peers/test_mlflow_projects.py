"""Projects in the shape of mlflow's examples: ``bridge run`` and ``mlflow run`` track the same.

They are programs of mlflow that know nothing of us. Those of mlflow's own examples that need no download were
tried by hand; see docs/jobs.md for what differs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import trackbridge as tb

PROJECTS = Path(__file__).parent / "mlflow_projects"
OURS = ("BRIDGE_", "MLFLOW_")
PROCESS_S = 280
PLACES = ("data",)
"""Params that hold the path of a temporary file."""

pytestmark = pytest.mark.timeout(900)  # up to six processes, each of which imports mlflow

Runs = list[dict[str, Any]]


def summary(runs: Iterable[Any], histories: Any) -> Runs:
    """Return what was tracked, in an order that does not depend on ids."""
    found = [
        {
            "params": {key: value for key, value in run.data.params.items() if key not in PLACES},
            "points": {name: points(histories(run.info.run_id, name)) for name in sorted(run.data.metrics)},
            "status": str(run.info.status),
            "nested": "mlflow.parentRunId" in run.data.tags,
            "entry_point": run.data.tags.get("mlflow.project.entryPoint"),
            "source_type": run.data.tags.get("mlflow.source.type"),
        }
        for run in runs
    ]
    return sorted(found, key=lambda one: json.dumps(one, sort_keys=True))


def points(history: Iterable[Any]) -> list[tuple[int, float]]:
    """Return points as a set: mlflow's file store has those of a logged model twice."""
    return sorted({(point.step, point.value) for point in history})


def run(command: list[str], folder: Path, **variables: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    programs = os.pathsep.join((str(Path(sys.executable).parent), kept.get("PATH", os.defpath)))
    done = subprocess.run(
        command,
        cwd=folder,
        env={
            **kept,
            "PATH": programs,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=PROCESS_S,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def with_mlflow(project: Path, arguments: list[str], store: Path) -> Runs:
    from mlflow import MlflowClient

    uri = store.as_uri()
    words = [sys.executable, "-m", "mlflow", "run", str(project), "--env-manager", "local", *arguments]
    run(words, project, MLFLOW_TRACKING_URI=uri, MLFLOW_ALLOW_FILE_STORE="true")
    client = MlflowClient(uri)
    return summary(
        client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]),
        client.get_metric_history,
    )


def with_bridge(project: Path, arguments: list[str], store: Path) -> Runs:
    words = [sys.executable, "-m", "trackbridge", "run", str(project), "--env-manager", "local", *arguments]
    run(words, project, BRIDGE_TRACKING_URI=str(store))
    client = tb.Client(str(store))
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    found = summary(
        runs,
        client.get_metric_history,
    )
    client.session.close(10.0)
    return found


@pytest.mark.parametrize(
    ("name", "arguments", "count"),
    [
        ("elastic", ["-P", "alpha=0.4"], 1),
        ("search", ["-P", "runs=2", "-P", "metric=cost"], 3),
        ("steps", ["-P", "rows=50"], 3),
    ],
)
def test_the_same_is_tracked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, arguments: list[str], count: int
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    project = tmp_path / name
    shutil.copytree(PROJECTS / name, project)
    ours = with_bridge(project, arguments, tmp_path / "ours")
    theirs = with_mlflow(project, arguments, tmp_path / "theirs")
    assert ours == theirs
    assert len(ours) == count
    assert any(run["points"] for run in ours)
