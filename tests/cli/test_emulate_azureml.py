"""``bridge emulate azureml`` runs Azure ML here until it is interrupted, and leaves nothing running."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.cli.conftest import Bridge, bridge_process, lines_until, rest_of
from tests.support.processes import eventually, is_alive
from trackbridge.testing.emulators.azureml import blob_server

CALL_S = 150
"""Longer than the MLflow server may take to start: a job waits for it."""
WORKSPACE = "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.MachineLearningServices/workspaces/{}"
AZURITE = str(blob_server.folder())
"""Where it is set up; tests have a home of their own."""
FOREIGN = ("AZURE_", "AZUREML_", "BRIDGE_", "MLFLOW_")


@pytest.fixture
def bridge(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> Bridge:
    monkeypatch.setenv(blob_server.FOLDER_VARIABLE, AZURITE)
    return bridge


def started(*arguments: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    process = bridge_process("emulate", "azureml", "--json", *arguments)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def all_below(process: subprocess.Popen[str]) -> list[Any]:
    import psutil

    return list(psutil.Process(process.pid).children(recursive=True))


def names_of(below: list[Any]) -> set[str]:
    import psutil

    names = set()
    for process in below:
        with suppress(psutil.NoSuchProcess):  # some are gone in a moment
            names.add(process.name())
    return names


def assert_all_end(below: list[Any]) -> None:
    assert len(below) >= 2, "Azurite and an MLflow server"
    eventually(lambda: not any(is_alive(process.pid) for process in below), "their end")


# Azure's own host names, by what any client reads from the environment: proxy, certificate, identity.
ASK = """
import os, requests
from azure.identity import DefaultAzureCredential
import trackbridge as tb
token = DefaultAzureCredential().get_token("https://management.azure.com/.default").token
place = "https://management.azure.com" + os.environ["SCOPE"]
session = requests.Session()
session.headers["Authorization"] = "Bearer " + token
print(session.get(place + "?api-version=2024-04-01").json()["name"])
print(session.get(place + "/models/none?api-version=2024-04-01").status_code)
tb.set_tracking_uri(os.environ["URI"])
with tb.start_run() as run:
    tb.log_metric("loss", 0.5, step=1)
print(tb.get_run(run.info.run_id).data.metrics["loss"])
"""


def test_json_says_how_to_find_it_and_sums_up_at_the_end(tmp_path: Path) -> None:
    process, ready = started()
    below = all_below(process)
    try:
        assert ready["type"] == "ready"
        assert Path(ready["certificate"]).is_file()
        own = {
            "SCOPE": WORKSPACE.format(*ready["uri"].removeprefix("azureml://").split("/")),
            "URI": ready["uri"],
            "BRIDGE_HOME": str(tmp_path),
            "BRIDGE_READ_WAIT_S": "120",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        done = subprocess.run(
            [sys.executable, "-c", ASK],
            env=kept | ready["env"] | own,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.stdout.split() == ["test-workspace", "404", "0.5"], done.stderr
    finally:
        process.send_signal(signal.SIGINT)
    code, out, errors = rest_of(process)
    assert (code, errors) == (0, "")
    summary = json.loads(out)
    assert summary["type"] == "summary"
    assert summary["requests"] > summary["refused"] > 0
    assert not Path(ready["certificate"]).exists()
    assert_all_end(below)


def submitted(ready: dict[str, Any], command: str) -> None:
    """Submit a job as somebody who is signed in by the identity endpoint that the emulator names."""
    env, workspace = ready["env"], WORKSPACE.format(*ready["uri"].removeprefix("azureml://").split("/"))
    asked = {"api-version": "2019-08-01", "resource": "https://management.azure.com"}
    header = {"X-IDENTITY-HEADER": env["IDENTITY_HEADER"]}
    given = requests.get(env["IDENTITY_ENDPOINT"], asked, headers=header, timeout=CALL_S).json()
    environment = "azureml://registries/azureml/environments/any/versions/1"
    job = {"jobType": "Command", "command": command, "environmentId": environment}
    answer = requests.put(
        f"{ready['url']}{workspace}/jobs/sleeper?api-version=2024-04-01",
        json={"properties": job},
        headers={"Authorization": f"Bearer {given['access_token']}"},
        timeout=CALL_S,
    )
    assert answer.status_code == 201, answer.text


def test_nothing_goes_on_when_it_is_killed() -> None:
    process, ready = started("--pace", "0.01")
    submitted(ready, "sleep 1234")
    eventually(lambda: "sleep" in names_of(all_below(process)), "the job's start")
    below = all_below(process)
    process.kill()
    rest_of(process)

    assert_all_end(below)


def test_people_are_told_what_is_there_and_what_to_type() -> None:
    process = bridge_process("emulate", "azureml", "--region", "northeurope", "--pace", "0.1")
    try:
        lines = lines_until(process, "export BRIDGE_TRACKING_URI")
    finally:
        process.send_signal(signal.SIGTERM)
    assert rest_of(process) == (0, "", "")
    text = "".join(lines)
    assert "\nIn another terminal:\n" in text
    assert "unset AZURE_CLIENT_ID " in text
    assert "export HTTPS_PROXY=http://127.0.0.1:" in text
    assert "export REQUESTS_CA_BUNDLE=" in text
    assert lines[-1].startswith("export BRIDGE_TRACKING_URI=azureml://")


def test_a_port_that_is_taken(bridge: Bridge) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = bridge("emulate", "azureml", "--port", port, code=1)
    assert f"cannot listen on port {port}" in result.err
    assert "another --port" in result.err


def test_azurite_that_was_not_fetched_is_told_with_the_command(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(blob_server.FOLDER_VARIABLE, str(tmp_path))
    result = bridge("emulate", "azureml", code=1)
    assert "Azurite is not set up" in result.err
    assert "bridge emulate azureml --setup" in result.err


@pytest.mark.parametrize(("program", "arguments"), [("node", []), ("npm", ["--setup"])])
def test_node_that_is_missing_is_told_with_debians_packages(
    program: str, arguments: list[str], bridge: Bridge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if program == "npm":
        monkeypatch.setenv(blob_server.FOLDER_VARIABLE, str(tmp_path / "none"))
    result = bridge("emulate", "azureml", *arguments, code=1)
    assert f"{program} is not installed" in result.err
    assert "apt install nodejs npm" in result.err


def test_a_setup_that_fails_leaves_nothing_and_says_what_npm_said(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    npm = tmp_path / "bin/npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\necho no such registry >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(blob_server.FOLDER_VARIABLE, str(tmp_path / "cache/azurite"))
    result = bridge("emulate", "azureml", "--setup", code=1)
    assert "no such registry" in result.err
    assert f"Fetching Azurite {blob_server.VERSION} into {tmp_path}" in result.err, "it may take minutes"
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_setup_that_was_done_is_kept_and_needs_no_network(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    result = bridge("emulate", "azureml", "--setup", "--json")
    assert result.err == ""
    assert json.loads(result.out) == {"type": "setup", "folder": AZURITE, "azurite": blob_server.VERSION}


@pytest.mark.parametrize("arguments", [["--port", "65536"], ["--port", "-1"], ["--pace", "-1"], ["extra"]])
def test_wrong_command_lines(bridge: Bridge, arguments: list[str]) -> None:
    bridge("emulate", "azureml", *arguments, code=2)
