"""The contracts on the Azure ML emulator with a real MLflow server, by the pipeline; and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import requests

from tests.support.mlflow_servers import MlflowServer
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts import (
    ArtifactContract,
    CapabilitiesContract,
    TrackingContract,
)
from trackbridge.testing.contracts.samples import batch_of, run_spec
from trackbridge.testing.emulators.azureml.core import GROUP, SUBSCRIPTION, WORKSPACE_NAME
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.mlflow_endpoint import MlflowBehind
from trackbridge.testing.emulators.fault_proxy import FaultProxy, Weather
from trackbridge_adapters.azureml import open_workspace

PROGRAM_S = 240.0


def open_azure(azureml: AzureMlEmulator, home: Path) -> Adapter:
    context = AdapterContext(home=home, options=azureml.options, clock_ms=lambda: time.time_ns() // 1_000_000)
    return wrap_adapter(open_workspace(azureml.uri, context=context, credential=azureml.credential()))


@pytest.fixture
def empty(azureml: AzureMlEmulator, tmp_path: Path) -> Adapter:
    return open_azure(azureml, tmp_path / "home")


class TestCapabilities(CapabilitiesContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


class TestTracking(TrackingContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


class TestArtifacts(ArtifactContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


# What is Azure's own.

JOB = """
import json, math, sys
import trackbridge as tb

with tb.start_run() as run:
    assert run.info.run_id == sys.argv[1], run.info.run_id
    tb.log_param("long", "x" * 5000)
    tb.log_params({f"p{number}": number for number in range(150)})
    tb.set_tags({f"t{number}": number for number in range(30)})
    for step in range(450):
        tb.log_metric("loss", math.nan if step == 7 else 1 / (step + 1), step=step)
    tb.log_text("hello", "notes/a.txt")
tb.flush(120)
found = tb.get_run(run.info.run_id)
points = tb.Client().get_metric_history(run.info.run_id, "loss")
print(json.dumps({
    "status": found.info.status,
    "native_url": found.info.native_url,
    "long": len(found.data.params["long"]),
    "params": len(found.data.params),
    "tags": sum(key.startswith("t") for key in found.data.tags),
    "points": [[point.step, None if math.isnan(point.value) else point.value] for point in points],
    "files": [item.path for item in tb.Client().list_artifacts(run.info.run_id, "notes")],
}))
"""


def test_a_program_in_a_job_is_the_jobs_run(
    newest: MlflowServer, azureml: AzureMlEmulator, tmp_path: Path
) -> None:
    native = str(platform_run(newest))
    job = {
        "AZUREML_RUN_ID": native,
        "AZUREML_ARM_SUBSCRIPTION": SUBSCRIPTION,
        "AZUREML_ARM_RESOURCEGROUP": GROUP,
        "AZUREML_ARM_WORKSPACE_NAME": WORKSPACE_NAME,
        "MLFLOW_TRACKING_URI": azureml.tracking_uri,
        "MLFLOW_RUN_ID": native,
    }
    told = json.loads(ran(tmp_path, azureml, "azureml:", JOB, native, at=azureml.url, variables=job))
    assert told.pop("points") == [[step, None if step == 7 else 1 / (step + 1)] for step in range(450)]
    assert told == {
        "status": "RUNNING",
        "native_url": f"https://ml.azure.com/runs/{native}?wsid=/subscriptions/{SUBSCRIPTION}"
        f"/resourcegroups/{GROUP}/workspaces/{WORKSPACE_NAME}",
        "long": 5000,
        "params": 151,
        "tags": 30,
        "files": ["notes/a.txt"],
    }
    assert newest.rows("SELECT run_uuid, status FROM runs") == [(native, "RUNNING")]


LOST_ANSWERS = """
import trackbridge as tb

with tb.start_run():
    for step in range(3000):
        tb.log_metric("loss", step, step=step)
tb.flush(120)
"""


def test_points_are_there_once_although_answers_get_lost(
    newest: MlflowServer, azureml: AzureMlEmulator, tmp_path: Path
) -> None:
    weather = Weather(reset_after=0.3, only=lambda method, path: path.endswith("runs/log-batch"))
    with FaultProxy(azureml.url, weather, seed=7) as proxy:
        ran(tmp_path, azureml, azureml.uri, LOST_ANSWERS, at=proxy.url)
        assert proxy.counts["reset_after"] > 0
    assert newest.rows("SELECT COUNT(*) FROM metrics") == [(3000,)]
    assert azureml.cloud.part(MlflowBehind).points.repeated_points() == 0


def ran(
    folder: Path,
    azureml: AzureMlEmulator,
    uri: str,
    program: str,
    *arguments: str,
    at: str,
    variables: Mapping[str, str] | None = None,
) -> str:
    """Run a program that signs in as a machine of Azure does; return what it prints."""
    (folder / "config.toml").write_text(
        f'[remotes.azure]\nuri = "{uri}"\nendpoint = "{at}"\narm_endpoint = "{at}"\n'
    )
    others = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE", "MLFLOW"))}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={
            **others,
            **azureml.environment(),
            **(variables or {}),
            "BRIDGE_HOME": str(folder),
            "BRIDGE_TRACKING_URI": "azure",
        },
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def platform_run(newest: MlflowServer) -> object:
    """Make the run of a job, as the platform does."""
    base = f"{newest.url}/api/2.0/mlflow"
    experiment = requests.post(f"{base}/experiments/create", json={"name": "job"}, timeout=30).json()
    given = {"experiment_id": experiment["experiment_id"], "start_time": 1, "run_name": "dreamy_board"}
    return requests.post(f"{base}/runs/create", json=given, timeout=30).json()["run"]["info"]["run_id"]


def ask(azureml: AzureMlEmulator, method: str, route: str, body: object) -> requests.Response:
    """Send a request of MLflow's protocol as somebody who may."""
    headers = {"Authorization": f"Bearer {azureml.cloud.issuer.issue().token}"}
    url = f"{azureml.url}/mlflow/v2.0{azureml.scope}/api/2.0/mlflow/{route}"
    named = {"params": body} if method == "GET" else {"json": body}
    return requests.request(method, url, headers=headers, timeout=30, **named)  # type: ignore[arg-type]


def pairs(count: int, **fields: str) -> list[dict[str, str]]:
    return [{"key": f"k{number}", "value": "v", **fields} for number in range(count)]


POINT = {"key": "m", "value": 1.0, "timestamp": 1}


@pytest.mark.parametrize(
    ("route", "request_of", "part"),
    [
        (
            "runs/log-batch",
            {"metrics": [{**POINT, "step": step} for step in range(251)]},
            "Limit=250, Size=251",
        ),
        ("runs/log-batch", {"params": [{"key": "p", "value": "v" * 1001}]}, "Parameters/Value, Limit=1000"),
        ("runs/log-batch", {"tags": [{"key": "t", "value": "v" * 1001}]}, "Tags/Value, Limit=1000"),
        ("runs/log-batch", {"tags": [{"key": "t" * 101, "value": "v"}]}, "Tags/Key, Limit=100"),
        ("runs/log-batch", {"metrics": [{**POINT, "key": "m" * 256}]}, "Metrics/Key, Limit=255"),
        ("runs/log-batch", {"tags": pairs(51)}, "Tags, Limit=50"),
        ("runs/set-tag", {"key": "t", "value": "v" * 1001}, "Tags/Value, Limit=1000"),
        ("runs/search", {"order_by": ["metrics.m DESC"]}, "only attributes can be ordered by"),
        ("runs/search", {"filter": "params.a = 'x' OR params.b = 'y'"}, "OR operator"),
        ("runs/search", {"filter": "tags.a != 'x'"}, "!= is not supported for tags"),
        ("runs/search", {"filter": "metrics.`a b` > 1"}, "escaped names"),
        ("experiments/create", {"name": "e" * 257}, "ExperimentName, Limit=256"),
        ("model-versions/create", {"name": "m", "source": "s3://bucket/model"}, "no address of Azure ML"),
    ],
)
def test_the_emulator_refuses_what_azure_refuses(
    route: str,
    request_of: dict[str, object],
    part: str,
    newest: MlflowServer,
    azureml: AzureMlEmulator,
) -> None:
    run = {"run_id": platform_run(newest)} if route in ("runs/log-batch", "runs/set-tag") else {}
    if route == "model-versions/create":
        ask(azureml, "POST", "registered-models/create", {"name": "m"})
    answer = ask(azureml, "POST", route, {"experiment_ids": ["0"], **run, **request_of})
    told = answer.json()
    assert (answer.status_code, told["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert part in told["Error"]["Message"]


def test_the_emulator_pages_histories_and_models_as_azure_does(azureml: AzureMlEmulator) -> None:
    query = {"run_id": "r", "metric_key": "m", "max_results": 1000}
    assert "less than 1000" in ask(azureml, "GET", "metrics/get-history", query).json()["Error"]["Message"]
    models = ask(azureml, "GET", "registered-models/search", {"filter": "name LIKE 'a%'"})
    assert "Unsupported filter" in models.json()["Error"]["Message"]


@pytest.mark.parametrize(
    "route", ["logged-models/search", "registered-models/delete", "registered-models/rename", "traces"]
)
def test_the_emulator_lacks_what_azure_lacks(route: str, azureml: AzureMlEmulator) -> None:
    answer = ask(azureml, "POST", route, {})
    assert (answer.status_code, answer.content) == (404, b"")


def test_a_long_history_comes_in_pages_that_azure_gives(empty: Adapter, azureml: AzureMlEmulator) -> None:
    assert empty.tracking is not None
    run_id = empty.tracking.open_run(run_spec()).info.run_id
    for start in range(0, 1200, 200):
        points = [("m", float(step), step, 1) for step in range(start, start + 200)]
        empty.tracking.write(batch_of(run_id, metrics=points))
    asked = len(azureml.calls)
    assert list(empty.tracking.metric_history(run_id, "m").steps) == list(range(1200))
    pages = [call for call in azureml.calls[asked:] if call.path.endswith("get-history")]
    assert len(pages) == 2
