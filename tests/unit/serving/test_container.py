"""The server as a container runs it: what its variables say, and the life of the process."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.scoring_servers import Server, order, save_obedient_model, wait_until
from trackbridge.domain.serving import Capture
from trackbridge.errors import ConfigError
from trackbridge.serving.container import BODY_BYTES_MAX, model_folder, settings_of


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one model in it, as Azure mounts them."""
    return save_obedient_model(tmp_path_factory.mktemp("models") / "obedient").parent


# What the variables say.


def test_the_first_variable_that_is_set_counts(models: Path) -> None:
    azure = {"AZUREML_MODEL_DIR": str(models), "WORKER_COUNT": "3", "BRIDGE_SERVING_PORT": ""}
    found = settings_of(azure)
    assert found.model_path == str(models / "obedient")
    assert (found.host, found.port, found.workers) == ("0.0.0.0", 8080, 3)
    assert (found.body_bytes_max, found.request_timeout_s, found.capture) == (BODY_BYTES_MAX, 60.0, None)
    amazon = {
        "BRIDGE_MODEL_PATH": str(models / "obedient"),
        "AZUREML_MODEL_DIR": "/nowhere",
        "SAGEMAKER_BIND_TO_PORT": "9000",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "2",
        "SAGEMAKER_MODEL_SERVER_TIMEOUT": "30",
    }
    found = settings_of(amazon)
    assert (found.port, found.workers, found.request_timeout_s) == (9000, 2, 30.0)
    ours = {
        "BRIDGE_SERVING_PORT": "9001",
        "BRIDGE_SERVING_WORKERS": "4",
        "BRIDGE_SERVING_TIMEOUT_S": "1.5",
        "BRIDGE_SERVING_HOST": "::",
        "BRIDGE_SERVING_QUEUE_MAX": "0",
        "BRIDGE_SERVING_DRAIN_S": "2",
        "BRIDGE_SERVING_NAME": "wine/v2",
        "BRIDGE_SERVING_CAPTURE_PERCENT": "12.5",
        "BRIDGE_SERVING_CAPTURE_FOLDER": "/kept",
        "BRIDGE_SERVING_TRACING": "True",
    }
    found = settings_of({**amazon, **ours})
    assert (found.port, found.workers, found.request_timeout_s, found.host) == (9001, 4, 1.5, "::")
    assert (found.queue_max, found.drain_s, found.name, found.tracing) == (0, 2.0, "wine/v2", True)
    assert found.capture == Capture(percent=12.5, folder="/kept")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BRIDGE_SERVING_PORT", "http"),
        ("SAGEMAKER_BIND_TO_PORT", "80 80"),
        ("WORKER_COUNT", "1.5"),
        ("BRIDGE_SERVING_TIMEOUT_S", "a minute"),
        ("BRIDGE_SERVING_TRACING", "maybe"),
        ("BRIDGE_SERVING_CAPTURE_PERCENT", "half"),
        ("BRIDGE_SERVING_CAPTURE_PERCENT", "50"),  # and no folder
    ],
)
def test_a_wrong_variable_is_named(models: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        settings_of({"BRIDGE_MODEL_PATH": str(models), name: value})


def test_a_folder_with_no_model_or_two_is_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no MLmodel"):
        model_folder(tmp_path)
    for name in ("first", "second"):
        save_obedient_model(tmp_path / name)
    with pytest.raises(ConfigError, match="first, second"):
        model_folder(tmp_path)


# The process.


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lines_of(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


@contextlib.contextmanager
def container(folder: Path, **variables: str) -> Iterator[tuple[Server, Path]]:
    """Start it with no home and no variables but these; the second is what it writes to stdout."""
    out, errors = folder / "out", folder / "errors"
    (folder / "temporary").mkdir()
    port = free_port()
    with open(out, "wb") as stdout, open(errors, "wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "trackbridge.serving.container", "serve"],
            env={
                "PATH": os.defpath,
                "TMPDIR": str(folder / "temporary"),
                "HOME": "/nonexistent",
                "BRIDGE_SERVING_HOST": "127.0.0.1",
                "SAGEMAKER_BIND_TO_PORT": str(port),
                **variables,
            },
            cwd="/",
            stdout=stdout,
            stderr=stderr,
        )
    try:
        yield Server(process, errors, {"port": port}), out
    finally:
        process.kill()
        process.wait()


def status_of(server: Server) -> int:
    try:
        return server.request("GET", "/ping").status
    except OSError:
        return 0


def test_a_container_serves_tells_and_drains(models: Path, tmp_path: Path) -> None:
    told = {"BRIDGE_SERVING_NAME": "wine/v2", "BRIDGE_TELEMETRY_SINKS": "cloudwatch"}
    with container(tmp_path, AZUREML_MODEL_DIR=str(models), **told) as (server, out):
        wait_until(lambda: status_of(server) == 200 or server.process.poll() is not None)
        for path in ("/invocations", "/score"):
            answer = server.request("POST", path, order("echo"), content_type="application/json")
            assert answer.status == 200
        assert server.invoke(order("fail")).status == 500
        assert server.metric('bridge_serving_requests_total{model="",name="wine/v2",status="200"}') == 2
        server.process.terminate()
        assert server.process.wait(60) == 0
        lines = lines_of(out)
        (failure,) = [line for line in lines if line.get("message") == "a request failed"]
        assert "a secret of the model's" in failure["error"]
        (window,) = [line for line in lines if "_aws" in line]
        assert (window["Name"], window["Requests"], window["Errors"], window["Rows"]) == ("wine/v2", 3, 1, 2)
        (directive,) = window["_aws"]["CloudWatchMetrics"]
        assert directive["Dimensions"] == [["Name"]]
        assert all(isinstance(window[metric["Name"]], (int, float)) for metric in directive["Metrics"])
        assert server.log() == ""
        assert list((tmp_path / "temporary").iterdir()) == []


def test_a_container_that_is_ended_while_it_loads_ends(tmp_path: Path) -> None:
    model = save_obedient_model(tmp_path / "model", at_load="time.sleep(3600)")
    with container(tmp_path, BRIDGE_MODEL_PATH=str(model), BRIDGE_SERVING_DRAIN_S="3600") as (server, _):
        wait_until(lambda: status_of(server) == 503 or server.process.poll() is not None)
        server.process.terminate()
        assert server.process.wait(60) == 0


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"BRIDGE_SERVING_PORT": "http"}, "BRIDGE_SERVING_PORT must be a port"),
        ({"BRIDGE_TELEMETRY_SINKS": "cloud_watch"}, "use otlp, application_insights, cloudwatch"),
    ],
)
def test_what_is_wrong_is_the_last_line(
    models: Path, tmp_path: Path, variables: dict[str, str], message: str
) -> None:
    with container(tmp_path, BRIDGE_MODEL_PATH=str(models), **variables) as (server, out):
        assert server.process.wait(60) == 1
        assert server.log() == ""
        last = lines_of(out)[-1]
        assert message in f"{last['message']}; {last['hint']}"


def test_other_programs_of_an_image_are_refused() -> None:
    code = "from trackbridge.serving.container import main; raise SystemExit(main(['train']))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "usage" in json.loads(done.stdout)["message"]
