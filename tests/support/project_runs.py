"""examples/project as it is run on any backend, and what of its runs has to be the same everywhere.

::

    job = tb.submit(PROJECT, entry_point="main", env_manager="local", on="azureml:", parameters=QUICK["main"])
    assert job.wait().status == "SUCCEEDED"
    assert tracked(tb.Client(), job.run_id) == expected("main")

``expected`` runs the entry point in this process's environment without any job, once a session.
"""

from __future__ import annotations

import functools
import hashlib
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import trackbridge as tb
from tests.support.wheels import write_wheel

PROJECT = Path(__file__).resolve().parents[2] / "examples/project"
QUICK: Mapping[str, Mapping[str, Any]] = {
    "main": {"depth": 3, "trees": 8},
    "network": {"epochs": 3, "learning_rate": 0.05},
}
"""Parameters with which the entry points take about a second beside their imports."""

COMMANDS = {
    "main": ("train_forest.py", "--depth", "3", "--trees", "8"),
    "network": ("train_network.py", "--epochs", "3", "--learning-rate", "0.05"),
}
OF_THE_JOB = ("bridge/", "job/")
"""Artifacts that say where a run came from, not what its program computed."""


class Tracked(NamedTuple):
    """What a run's program has logged: params, points by metric as steps and bits, digests by path."""

    params: dict[str, str]
    points: dict[str, tuple[tuple[int, bytes], ...]]
    digests: dict[str, str]


def tracked(client: tb.Client, run_id: str) -> Tracked:
    """Return what there is of a run, to be compared with another."""
    run = client.get_run(run_id)
    points = {
        name: tuple(sorted((point.step, struct.pack(">d", point.value)) for point in history))
        for name in run.data.metrics
        if not name.startswith("system/") and (history := client.get_metric_history(run_id, name))
    }
    with tempfile.TemporaryDirectory() as folder:
        client.download_artifacts(run_id, "", folder)
        digests = {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }
    kept = {path: digest for path, digest in digests.items() if not path.startswith(OF_THE_JOB)}
    return Tracked(dict(run.data.params), points, kept)


@functools.cache
def expected(entry_point: str) -> Tracked:
    """Return what an entry point logs with its quick parameters, run as a plain program."""
    with tempfile.TemporaryDirectory() as folder:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("BRIDGE_", "MLFLOW_"))
        }
        subprocess.run(
            [sys.executable, *COMMANDS[entry_point]],
            cwd=PROJECT,
            env={**kept, "BRIDGE_TRACKING_URI": folder, "PYTHONDONTWRITEBYTECODE": "1"},
            check=True,
            capture_output=True,
            timeout=280,
        )
        client = tb.Client(folder)
        (experiment,) = client.search_experiments()
        (run,) = client.search_runs([experiment.experiment_id])
        found = tracked(client, run.info.run_id)
        client.session.close(10.0)
    given = {name: str(value) for name, value in QUICK[entry_point].items()}
    return found._replace(params={**found.params, **given})


def small_project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Write a project whose python_env names a package that is nowhere else; who installs it finds it.

    Returns the variables with which pip finds it on machines that do not get this process's.
    """
    wheels = write_wheel(folder / "wheels", "tiny").parent
    project = folder / "small"
    project.mkdir()
    python = "{}.{}".format(*sys.version_info)
    files = {
        "MLproject": "name: small\npython_env: python_env.yaml\nentry_points:\n  main:\n"
        "    parameters: {value: int}\n    command: python show.py {value}\n",
        "python_env.yaml": f'python: "{python}"\ndependencies:\n  - -r requirements.txt\n',
        "requirements.txt": "tiny==1.0\n",
        "show.py": "import sys, tiny\nassert tiny.VALUE == int(sys.argv[1])\n",
    }
    for name, content in files.items():
        (project / name).write_text(content, encoding="utf-8")
    for name in [name for name in os.environ if name.startswith("UV_")]:
        monkeypatch.delenv(name)
    offline = {"UV_OFFLINE": "1", "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(wheels)}
    for name, value in {**offline, "UV_CACHE_DIR": str(folder / "cache")}.items():
        monkeypatch.setenv(name, value)
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}


def runs_in_its_own_environment(folder: Path, variables: Mapping[str, str], **settings: Any) -> None:
    """Demand that the small project runs in the environment that it declares, and in no other."""
    job = tb.submit(folder / "small", {"value": 42}, variables=dict(variables), **settings)
    assert job.wait(timeout_s=240.0).status == "SUCCEEDED", "".join(job.logs())
    run = tb.get_run(job.run_id)
    assert (run.data.params, run.data.tags["mlflow.project.env"]) == ({"value": "42"}, "virtualenv")
