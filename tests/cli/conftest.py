"""A project of its own for each test, and the command line run in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import trackbridge as tb
from tests.support.endpoint_scenes import Scene, new_scene
from tests.support.memory_adapter import MemoryAdapter
from trackbridge.cli.main import bridge as bridge_group

BRIDGE = "import sys; from trackbridge.cli.main import run; sys.exit(run())"


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Every line of stdout, as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def summary(self) -> dict[str, Any]:
        last = self.objects[-1]
        assert last["type"] == "summary"
        return last


Bridge = Callable[..., Result]


def clean_environment() -> dict[str, str]:
    unwanted = ("BRIDGE_", "MLFLOW_", "XDG_", "COLUMNS", "NO_COLOR", "_BRIDGE")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as current directory, a home beside it, delivery by whoever reads."""
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    folder = tmp_path / "project"
    home = tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("BRIDGE_DELIVERY", "off")
    return folder


@pytest.fixture
def bridge(project: Path) -> Bridge:
    """Run one command line in this process; there is no terminal."""

    def run(*arguments: str, code: int = 0, stdin: str = "") -> Result:
        done = CliRunner().invoke(bridge_group, list(arguments), input=stdin)
        result = Result(done.exit_code, done.stdout, done.stderr)
        assert result.code == code, f"exit {result.code}\n{result.out}\n{result.err}\n{done.exc_info}"
        return result

    return run


@pytest.fixture
def client(project: Path) -> Iterator[tb.Client]:
    made = tb.Client()
    yield made
    made.session.close(10.0)


@pytest.fixture
def scene(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Every backend that an operation opens is one in memory, with the model wine in three versions."""
    folder = tmp_path / "models"
    folder.mkdir()
    made = new_scene(folder)

    def open_in_memory(uri: object, *, settings: object = None) -> MemoryAdapter:
        return MemoryAdapter(made.state, missing=made.missing)

    monkeypatch.setattr("trackbridge.operations.opening.open_uri", open_in_memory)
    return made


def bridge_process(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Run one command line in a process of its own."""
    command = [sys.executable, "-c", BRIDGE, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(command, **{**pipes, "text": True, **options})


def lines_until(process: subprocess.Popen[str], beginning: str) -> list[str]:
    """Read lines of stdout, the last of which begins so."""
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or not lines[-1].startswith(beginning):
        lines.append(process.stdout.readline())
        assert lines[-1], f"it ended after {lines}"
    return lines


def rest_of(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end; return exit code, stdout and stderr, also after lines were read from them."""
    assert process.stdout is not None
    assert process.stderr is not None
    output, errors = process.stdout.read(), process.stderr.read()  # communicate would lose what is buffered
    return process.wait(timeout=60), output, errors


def log_run(
    client: tb.Client,
    name: str,
    *,
    experiment: str = "wine",
    params: dict[str, object] | None = None,
    metrics: dict[str, list[float]] | None = None,
    tags: dict[str, object] | None = None,
    status: str = "FINISHED",
) -> str:
    """Log a whole run and return its id; points are at steps 0, 1, … and one second apart."""
    experiment_id = client.open_experiment(experiment).experiment_id
    run = client.create_run(experiment_id, run_name=name, start_time=1_700_000_000_000, tags=tags)
    client.log_batch(run.info.run_id, params=params or {})
    for key, values in (metrics or {}).items():
        for step, value in enumerate(values):
            client.log_metric(run.info.run_id, key, value, 1_700_000_000_000 + 1000 * step, step)
    client.set_terminated(run.info.run_id, status, 1_700_000_060_000)
    return run.info.run_id
