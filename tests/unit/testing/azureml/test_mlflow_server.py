"""The MLflow server behind the emulator: started beside it, waited for when it is asked, emptied, ended."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.support.azureml_emulators import ask
from tests.support.processes import eventually, is_alive
from trackbridge.testing.emulators.azureml import mlflow_server
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.mlflow_server import MlflowServer, NotStarted

CALL_S = 60
DEFAULT = "experiments/get?experiment_id=0"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    yield made
    made.close()


def told(server: MlflowServer, route: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"{server.wait()}/api/2.0/mlflow/{route}", data, {"Content-Type": "application/json"})
    with urlopen(request, timeout=CALL_S) as answer:
        return json.load(answer)


def test_a_reset_leaves_what_a_new_server_has_and_nothing_else(server: MlflowServer) -> None:
    server.reset()
    before = told(server, DEFAULT)
    told(server, "experiments/update", {"experiment_id": "0", "new_name": "other"})
    made = told(server, "experiments/create", {"name": "mine"})["experiment_id"]
    run = told(server, "runs/create", {"experiment_id": made})["run"]["info"]["run_id"]
    told(server, "runs/log-metric", {"run_id": run, "key": "a", "value": 1, "timestamp": 1})
    server.reset()

    assert told(server, DEFAULT) == before
    found = told(server, "experiments/search", {"max_results": 10})["experiments"]
    assert [experiment["name"] for experiment in found] == ["Default"]


def test_it_listens_on_this_machine_only(server: MlflowServer) -> None:
    assert server.wait().startswith("http://127.0.0.1:")


def test_one_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mlflow_server, "APPLICATION", "a_module_that_is_not_there")
    broken = MlflowServer(tmp_path)
    try:
        with pytest.raises(NotStarted, match=r"did not start: (?s:.)*a_module_that_is_not_there"):
            broken.wait()
        with pytest.raises(NotStarted):
            broken.reset()
    finally:
        broken.close()


def test_an_emulator_without_it_is_ready_and_tells_who_asks_for_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mlflow_server, "APPLICATION", "a_module_that_is_not_there")
    with AzureMlEmulator() as azure:
        assert ask(azure, "GET", "").status == 200
        runs = f"/mlflow/v2.0{azure.scope}/api/2.0/mlflow/experiments/search"
        answer = ask(azure, "POST", runs, {"max_results": 1})

        assert answer.status == 500
        assert "a_module_that_is_not_there" in answer.message
        with pytest.raises(AssertionError, match="did not start"):
            azure.raise_failures()


def test_mlflow_that_is_not_installed_is_told_with_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(NotStarted, match=r"trackbridge\[mlflow\]"):
        MlflowServer(tmp_path)


STARTS_ONE = """
import pathlib, signal, sys
from trackbridge.testing.emulators.azureml.mlflow_server import MlflowServer
server = MlflowServer(pathlib.Path(sys.argv[1]))
print(server._process.pid, flush=True)
signal.pause()
"""


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTS_ONE, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        below = int(process.stdout.readline())
        process.kill()

    eventually(lambda: not is_alive(below), "the MLflow server's end")
