"""Programs of mlflow's that end in every way, and what installing us changes: nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import trackbridge as tb
from tests.support.mlflow_servers import FLOOR, PYTHONS, MlflowServer

PROGRAM = Path(__file__).parent / "programs" / "processes.py"
TIMEOUT_S = 120

LEFT: dict[str, dict[str, str]] = {
    "killed": {"killed": "KILLED"},
    "left_open": {"outer": "FINISHED", "inner": "FINISHED", "client's": "RUNNING"},
    "raising": {"raising": "FAILED"},
    "in_a_block": {"block": "FAILED"},
    "in_a_thread": {"thread": "FINISHED"},
    "forked": {"parent": "FINISHED", "child's own": "FINISHED"},
    "sampled": {"sampled": "FINISHED"},
    "shared": {"shared": "FINISHED", "nested": "FINISHED"},
}
"""How a program ends, and its runs with it."""


def run(
    folder: Path, *arguments: str, python: str | Path = sys.executable, **environment: str
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BRIDGE_", "MLFLOW_"))}
    return subprocess.run(
        [str(python), *arguments],
        cwd=folder,
        env={**kept, "BRIDGE_HOME": str(folder / ".bridge"), **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the programs have run."""
    folder = tmp_path_factory.mktemp("programs")
    driven = run(folder, str(PROGRAM), str(folder), *LEFT)
    assert driven.returncode == 0, driven.stderr
    return folder


@pytest.mark.parametrize("how", LEFT)
def test_runs_end_with_the_program(how: str, ended: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = (ended / how / "stderr").read_text()
    assert "trackbridge:" not in told, told
    assert "Traceback" not in told or how in ("raising", "in_a_block"), told
    monkeypatch.setenv("BRIDGE_HOME", str(ended / how / ".bridge"))
    monkeypatch.setenv("BRIDGE_DELIVERY", "off")
    client = tb.Client(f"{ended}/{how}/store")
    wait_for_delivery(ended / how / "store" / "journal")
    (experiment,) = client.search_experiments()
    runs = {found.info.run_name: found for found in client.search_runs([experiment.experiment_id])}
    assert {name: str(found.info.status) for name, found in runs.items()} == LEFT[how]
    if how == "killed":
        history = client.get_metric_history(runs["killed"].info.run_id, "loss")
        assert [(point.step, point.value) for point in history] == [(step, step) for step in range(1000)]
    if how == "forked":
        assert runs["parent"].data.metrics == {"before": 1, "by child": 2, "after": 4}
    if how == "raising":
        assert "the training diverged" in runs["raising"].data.tags["bridge.traceback"]


def wait_for_delivery(journals: Path) -> None:
    """Wait until the delivery that outlives a program is done, and has taken its journals away."""
    deadline = time.monotonic() + TIMEOUT_S
    while any(journals.glob("*/*.log")) and time.monotonic() < deadline:
        time.sleep(0.05)


OUTAGE = """
import sys, time, mlflow
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    def predict(self, context, model_input, params=None):
        return [1.0] * len(model_input)

mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("wine")
with mlflow.start_run(run_name="through an outage") as run:
    mlflow.log_param("lr", 0.1)
    for step in range(100):
        mlflow.log_metric("loss", step, step=step)
    info = mlflow.pyfunc.log_model(name="model", python_model=Model(), pip_requirements=["mlflow"])
    mlflow.log_text("text", "t.txt")
    assert len(mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")) == 100
    try:
        mlflow.register_model(info.model_uri, "wine")
    except mlflow.MlflowException as error:
        print(error.error_code)
"""


def test_a_server_that_is_gone_stops_no_training(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    server = MlflowServer(tmp_path / "server", version="newest", artifacts="proxied")  # not started yet
    program = tmp_path / "outage.py"
    program.write_text(OUTAGE)
    uri = f"bridge+{server.url}"
    ended = run(tmp_path, str(program), uri, BRIDGE_DELIVERY_EXIT_WAIT_S="0", BRIDGE_READ_WAIT_S="0.5")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "TEMPORARILY_UNAVAILABLE"
    assert "not delivered" in ended.stderr
    server.start()
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while server.rows("SELECT status FROM runs") != [("FINISHED",)] and time.monotonic() < deadline:
            time.sleep(0.1)
        assert server.rows("SELECT COUNT(*) FROM metrics") == [(100,)]
        assert server.rows("SELECT name, status FROM runs") == [("through an outage", "FINISHED")]
        names = {file.name for file in server.artifacts.rglob("*") if file.is_file()}
        assert {"MLmodel", "t.txt"} <= names
    finally:
        server.kill()


OLD = """
import site, sys
site.addsitedir(sys.argv[1])  # ours, and what it needs; what mlflow needs is its own
import mlflow
import numpy as np
from sklearn.linear_model import LogisticRegression

mlflow.set_tracking_uri("bridge+file:./store")
mlflow.set_experiment("wine")
inputs = np.random.default_rng(7).normal(size=(50, 3))
model = LogisticRegression().fit(inputs, inputs[:, 0] > 0)
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 0.5, step=1)
    mlflow.log_params({"a": 1})
    mlflow.log_input(mlflow.data.from_numpy(inputs, name="grapes"))
    mlflow.sklearn.log_model(model, "model", registered_model_name="wine", pip_requirements=["scikit-learn"])
client = mlflow.MlflowClient()
client.set_registered_model_alias("wine", "champion", "1")
found = client.get_run(run.info.run_id)
print(mlflow.__version__, found.info.status, found.data.metrics, found.data.params)
print([dataset.dataset.name for dataset in found.inputs.dataset_inputs], len(mlflow.search_runs()))
print([info.path for info in client.list_artifacts(run.info.run_id)])
loaded = mlflow.sklearn.load_model("models:/wine@champion")
print((loaded.predict(inputs) == model.predict(inputs)).all())
mlflow.start_run()
"""


def test_the_oldest_mlflow_that_we_support(tmp_path: Path) -> None:
    (ours,) = {path for path in sys.path if path.endswith("site-packages")}
    (tmp_path / "old.py").write_text(OLD)
    environment = {"BRIDGE_DELIVERY": "thread", "MLFLOW_DISABLE_TELEMETRY": "true"}
    ended = run(tmp_path, "old.py", ours, python=PYTHONS[FLOOR], **environment)
    assert ended.returncode == 0, ended.stderr
    assert "trackbridge:" not in ended.stderr
    assert ended.stdout.splitlines() == [
        "2.16.2 FINISHED {'loss': 0.5} {'a': '1'}",
        "['grapes'] 1",
        "['model']",
        "True",
    ]


# Nothing is changed for others.


def test_our_entry_points_load_nothing(tmp_path: Path) -> None:
    code = """
import importlib.metadata, sys
groups = ("mlflow.tracking_store", "mlflow.model_registry_store", "mlflow.artifact_repository",
          "mlflow.default_experiment_provider")
ours = [point for group in groups for point in importlib.metadata.entry_points(group=group)
        if point.value.startswith("trackbridge")]
for point in ours:
    point.load()
print(len(ours), sorted({name.partition(".")[0] for name in sys.modules} & {"mlflow", "msgspec", "requests"}),
      [name for name in sys.modules if name.startswith("trackbridge.") and "mlflow_plugin" not in name])
"""
    assert run(tmp_path, "-c", code).stdout.strip() == "19 [] ['trackbridge._version']"


def test_importing_us_does_not_import_mlflow(tmp_path: Path) -> None:
    code = "import sys, trackbridge; trackbridge.start_run; print('mlflow' in sys.modules)"
    assert run(tmp_path, "-c", code).stdout.strip() == "False"


def test_what_bridge_means_is_ours_to_configure(tmp_path: Path) -> None:
    code = """
import os, sys, mlflow
from mlflow import MlflowClient
for uri in sys.argv[1:]:
    mlflow.set_tracking_uri(uri)
    print(MlflowClient()._tracking_client.store.client.tracking_uri)
import trackbridge as tb
tb.set_tracking_uri("./later")
print(MlflowClient("bridge:")._tracking_client.store.client.tracking_uri)
tb.set_tracking_uri(None)
print(MlflowClient("bridge:")._tracking_client.store.client.tracking_uri)
"""
    uris = ["bridge:", "bridge:./named", "bridge+file:./file", "bridge+file:./a,file:./b"]
    environment = {"MLFLOW_TRACKING_URI": "https://not.asked", "MLFLOW_DISABLE_TELEMETRY": "true"}
    found = run(tmp_path, "-c", code, *uris, BRIDGE_TRACKING_URI="file:./configured", **environment)
    base = f"file:{tmp_path.resolve()}"
    assert found.stdout.splitlines() == [
        f"{base}/configured",
        f"{base}/named",
        f"{base}/file",
        f"{base}/a,{base}/b",
        f"{base}/later",
        f"{base}/.bridge",
    ], found.stderr
