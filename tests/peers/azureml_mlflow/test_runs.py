"""mlflow with Microsoft's plugin reads what we wrote, and we what it wrote: ``make peers-azureml``."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.azureml_written import contents, model_of_ours, run_of_ours
from trackbridge.domain.artifacts import artifact_uri
from trackbridge.domain.models import ModelVersionSpec
from trackbridge.domain.runs import RunStatus
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.tracking import TrackingStore
from trackbridge.testing.contracts.samples import batch_of, digest_of
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge_adapters.azureml.registry import AzureRegistry

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-azureml-mlflow/bin/python"
PROGRAMS = ROOT / "tests/peers/programs"
EXPERIMENT = "contract"
PROGRAM_S = 240


@pytest.fixture
def store(ours: Adapter) -> TrackingStore:
    assert ours.tracking is not None
    return ours.tracking


@pytest.fixture
def registry(ours: Adapter) -> AzureRegistry:
    assert isinstance(ours.registry, AzureRegistry)
    return ours.registry


def plugin(program: str, azure: AzureMlEmulator, *arguments: str) -> dict[str, Any]:
    """Run a program with mlflow and the plugin, and return what it told."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "MLFLOW_", "BRIDGE_"))
    }
    # The plugin speaks https alone, so it is told Azure's own host; a proxy leads it to the emulator.
    uri = f"azureml://{azure.cloud.region}.{azure.suffixes.service}/mlflow/v1.0{azure.scope}"
    settings = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [str(PYTHON), str(PROGRAMS / program), *arguments],
        env={**kept, **azure.environment(), **settings},
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_plugin_reads_ours(
    azure: AzureMlEmulator,
    ours: Adapter,
    store: TrackingStore,
    registry: AzureRegistry,
    folder: Path,
    tmp_path: Path,
) -> None:
    run_id = run_of_ours(ours, folder)
    now_ms = time.time_ns() // 1_000_000
    points = [("loss", 1.0 / (step + 1), step, now_ms + step) for step in range(300)]
    params = {"lr": "0.25", "note": "two\nlines"}
    store.write(batch_of(run_id, metrics=points[:250], params=params.items(), tags=[("team", "vision")]))
    store.write(batch_of(run_id, metrics=points[250:]))  # a batch holds 250
    store.close_run(run_id, status=RunStatus.FINISHED, end_time=now_ms + 1000)
    registry.ensure_model("digits")
    source = artifact_uri(run_id, "model")
    spec = ModelVersionSpec(
        name="digits", source=source, digest=digest_of(b"all"), description="ours", tags={"a": "b"}
    )
    registry.create_version(spec, key="one")
    registry.set_stage("digits", "1", stage="Production")
    native = store.get_run(run_id).info.native_id or run_id

    told = plugin("azureml_mlflow_read.py", azure, EXPERIMENT, native, "digits", "1", str(tmp_path / "down"))

    assert (told["name"], told["status"], told["runs"]) == ("bold otter", "FINISHED", [native])
    assert {key: told["params"][key] for key in params} == params
    assert told["tags"]["team"] == "vision"
    assert told["history"] == [[step, value] for _, value, step, _ in points]
    assert told["metrics"] == {"loss": points[-1][1]}
    assert told["artifacts"] == ["model"]
    assert told["files"] == {path: len(content) for path, content in contents(folder).items()}
    version = told["version"]
    assert (version["stage"], version["description"], version["tags"]["a"]) == ("Production", "ours", "b")
    assert told["model"] == "digits"


def test_we_read_the_plugins(
    azure: AzureMlEmulator,
    ours: Adapter,
    store: TrackingStore,
    registry: AzureRegistry,
    folder: Path,
    tmp_path: Path,
) -> None:
    made = plugin("azureml_mlflow_write.py", azure, EXPERIMENT, str(folder), "digits")

    run = store.get_run(made["run"])
    assert (run.info.run_name, run.info.status) == ("by-the-plugin", RunStatus.FINISHED)
    assert run.data.params == {"learning_rate": "0.25", "optimizer": "adam"}
    assert run.data.metrics == {"loss": 0.125, "accuracy": 0.9}
    assert run.data.tags["team"] == "vision"
    history = store.metric_history(made["run"], "loss")
    assert list(zip(history.steps, history.values, strict=True)) == [(0, 0.5), (1, 0.25), (2, 0.125)]
    (experiment,) = [item for item in store.list_experiments() if item.name == EXPERIMENT]
    assert [item.info.run_id for item in store.list_runs(experiment.experiment_id)] == [made["run"]]
    assert ours.artifacts is not None
    with ours.artifacts.open(made["run"], "notes/first note.txt") as source:
        assert source.read() == b"written by the plugin"
    found = registry.get_version("digits", made["version"])
    assert (found.stage, found.tags["by"]) == ("Staging", "plugin")
    assert contents(registry.download("digits", made["version"], tmp_path / "down")) == contents(folder)


def test_versions_of_both_are_one_model(
    azure: AzureMlEmulator, ours: Adapter, registry: AzureRegistry, folder: Path
) -> None:
    made = plugin("azureml_mlflow_write.py", azure, EXPERIMENT, str(folder), "digits")

    mine = model_of_ours(ours, folder)

    assert (made["version"], mine.version) == ("1", "2")
    assert [item.version for item in registry.list_versions("digits")] == ["2", "1"]
