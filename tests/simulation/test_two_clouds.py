"""One program, two clouds at once: one journal, a cursor for each; one that is away delays only itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from moto.server import ThreadedMotoServer

from tests.support.azureml_emulators import azureml_emulator
from tests.support.mlflow_servers import MlflowServer, mlflow_server
from trackbridge.testing.emulators.fault_proxy import FaultProxy, Weather
from trackbridge.testing.emulators.signed_mlflow import SignedMlflow

BUCKET = "two-clouds"
TIMEOUT_S = 120.0
PROGRAM = """
import trackbridge as tb

tb.set_tracking_uri("azure,aws")
tb.set_experiment("wine")
with tb.start_run(run_name="both") as run:
    tb.log_params({"lr": 0.1})
    for step in range(1500):
        tb.log_metric("loss", 1 / (step + 1), step=step)
    tb.log_text("hello", "notes/a.txt")
print(run.info.run_id)
"""


class Cloud:
    """What both clouds are to the test: a real server behind an emulator, and a name for it."""

    def __init__(self, name: str, server: MlflowServer) -> None:
        self.name = name
        self.server = server

    def points(self) -> int:
        ((count,),) = self.server.rows("SELECT COUNT(*) FROM metrics WHERE key = 'loss'")
        return int(count)

    def statuses(self) -> list[str]:
        return [status for (status,) in self.server.rows("SELECT status FROM runs")]


class Project:
    """A folder with both clouds as remotes, and the environment of programs in it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AZURE_"))},
            "BRIDGE_HOME": str(folder / "home"),
            **environment,
        }

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def bridge(self, *arguments: str) -> list[dict[str, object]]:
        printed = self.run("-m", "trackbridge.cli", *arguments, "--json")
        return [json.loads(line) for line in printed.splitlines()]

    def add(self, name: str, uri: str, options: dict[str, str]) -> None:
        named = [part for option, value in options.items() for part in ("--option", f"{option}={value}")]
        self.bridge("remotes", "add", name, uri, *named)

    def lanes(self) -> dict[str, dict[str, object]]:
        """Return what ``bridge sync status`` shows, by the beginning of the destination."""
        shown = self.bridge("sync", "status", "--uri", "azure,aws")
        lanes = [lane for event in shown for lane in event.get("destinations", [])]  # type: ignore[attr-defined]
        return {str(lane["uri"]).partition(":")[0]: lane for lane in lanes}


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    yield url
    server.stop()


@pytest.fixture
def clouds(tmp_path: Path, s3: str) -> Iterator[tuple[Cloud, Cloud, Project, FaultProxy]]:
    for name in ("azure", "aws", "project"):
        (tmp_path / name).mkdir()
    with (
        mlflow_server(tmp_path / "azure") as azure_server,
        mlflow_server(tmp_path / "aws", artifacts=f"s3://{BUCKET}/mlflow") as aws_server,
        azureml_emulator(mlflow=azure_server.url) as azure,
        SignedMlflow(aws_server.url) as aws,
        FaultProxy(azure.url) as weather,
    ):
        project = Project(
            tmp_path / "project",
            {**azure.environment(), **aws.environment(), "AWS_ENDPOINT_URL_S3": s3},
        )
        assert requests.put(f"{s3}/{BUCKET}", timeout=30).ok
        project.add("azure", azure.uri, dict.fromkeys(azure.options, weather.url))
        project.add("aws", aws.arn, {"endpoint": aws.url})
        yield Cloud("azureml", azure_server), Cloud("arn", aws_server), project, weather


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_both_get_everything(clouds: tuple[Cloud, Cloud, Project, FaultProxy], tmp_path: Path) -> None:
    azure, aws, project, weather = clouds
    weather.weather = Weather(is_down=True)
    (tmp_path / "train.py").write_text(PROGRAM)
    run_id = project.run(str(tmp_path / "train.py")).strip()

    until(lambda: aws.points() == 1500 and aws.statuses() == ["FINISHED"], "aws waits for azure")
    until(lambda: bool(project.lanes()["azureml"]["problem"]), "no problem is shown")
    lanes = project.lanes()
    assert azure.points() == 0
    assert lanes["azureml"]["pending"] == lanes["arn"]["delivered"] > 1500  # type: ignore[operator]
    assert (lanes["arn"]["pending"], lanes["arn"]["problem"]) == (0, None)

    weather.weather = Weather()
    project.bridge("sync", "run", "azure,aws")
    assert (azure.points(), azure.statuses()) == (1500, ["FINISHED"])
    assert (aws.points(), aws.statuses()) == (1500, ["FINISHED"])
    for cloud in ("azure", "aws"):
        shown = project.bridge("runs", "show", run_id, "--uri", cloud)[0]
        assert shown["run"]["data"]["params"] == {"lr": "0.1"}, cloud  # type: ignore[index]
        assert "notes/a.txt" in json.dumps(shown), cloud
