"""AWS's own SDK reads what we wrote, and we read what it wrote: ``make peers-sagemaker``."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.runs import RunStatus
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.tracking import TrackingStore
from trackbridge.testing.contracts.samples import batch_of, digest_of, file_of, run_spec
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge_adapters.sagemaker import open_adapter

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-sagemaker/bin/python"
PROGRAMS = ROOT / "tests/peers/programs"
EXPERIMENT = "peer-digits"


@pytest.fixture(scope="module")
def running() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as emulator:
        yield emulator


@pytest.fixture
def emulator(
    running: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[SageMakerEmulator]:
    running.reset()
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for name, value in running.environment().items():
        monkeypatch.setenv(name, value)
    settings = tmp_path / "sagemaker.yaml"  # the SDK tells AWS of each call unless it is told not to
    settings.write_text(
        "SchemaVersion: '1.0'\nSageMaker:\n  PythonSDK:\n    Modules:\n      TelemetryOptOut: true\n"
    )
    monkeypatch.setenv("SAGEMAKER_USER_CONFIG_OVERRIDE", str(settings))
    yield running
    running.raise_failures()


@pytest.fixture
def adapter(emulator: SageMakerEmulator, tmp_path: Path) -> Iterator[Adapter]:
    context = AdapterContext(home=tmp_path / "home", options={}, clock_ms=lambda: time.time_ns() // 1_000_000)
    adapter = wrap_adapter(open_adapter(emulator.uri, context=context))
    yield adapter
    adapter.close()


@pytest.fixture
def store(adapter: Adapter) -> TrackingStore:
    assert adapter.tracking is not None
    return adapter.tracking


def sdk(program: str, emulator: SageMakerEmulator, *arguments: str) -> str:
    """Run a program with AWS's SDK and return what it printed."""
    bucket = f"sagemaker-{emulator.region}-{emulator.cloud.account}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(PYTHON), str(PROGRAMS / program), bucket, *arguments],
        env={**kept, **emulator.environment()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def written(store: TrackingStore, number: int) -> str:
    """Write a run of ours and return its id."""
    now_ms = time.time_ns() // 1_000_000
    spec = run_spec(f"bold otter {number}", experiment=EXPERIMENT, start_time=now_ms)
    run_id = store.open_run(spec).info.run_id
    points = [("loss", 1.0 / (step + 1), step, now_ms + step) for step in range(25)]
    params = {"lr": "0.25", "optimizer": "adam", "layers": "3", "note": "two\nlines"}
    rejected = store.write(batch_of(run_id, metrics=points, params=params.items())).rejected
    assert rejected == ()
    store.close_run(run_id, status=RunStatus.FINISHED, end_time=now_ms + 1000)
    return run_id


def read_by_sdk(emulator: SageMakerEmulator, *runs: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        sdk("sagemaker_sdk_read.py", emulator, EXPERIMENT, *runs).splitlines()[-1]
    )
    return found


def test_list_runs_and_load_run_read_ours(
    store: TrackingStore, adapter: Adapter, emulator: SageMakerEmulator, tmp_path: Path
) -> None:
    runs = [written(store, number) for number in range(3)]
    assert adapter.artifacts is not None
    file = file_of(tmp_path, b"a model")
    adapter.artifacts.put(runs[0], "model/weights.bin", file, digest=digest_of(b"a model"), size=7)
    told = read_by_sdk(emulator, *runs)
    assert sorted(told["listed"]) == sorted(runs)
    first = told["loaded"][0]
    assert first["run_name"] == runs[0]
    assert first["component"] == f"{EXPERIMENT}-{runs[0]}"
    assert first["display_name"] == "bold-otter-0"
    assert first["status"] == "Completed"
    parameters = first["parameters"]
    assert (parameters["lr"], parameters["optimizer"], parameters["layers"]) == (0.25, "adam", 3)
    assert parameters["note"].startswith("s3://")
    loss = first["metrics"]["loss"]
    assert (loss["count"], loss["last"], loss["min"], loss["max"]) == (25, 0.04, 0.04, 1.0)
    assert first["outputs"]["model"].startswith("s3://")


def test_an_experiment_larger_than_the_sdk_can_make(
    store: TrackingStore, emulator: SageMakerEmulator
) -> None:
    """AWS's SDK puts every run into one trial, which is full at 50: it lists those, and fails at none."""
    runs = [
        store.open_run(run_spec(f"run {number}", experiment=EXPERIMENT)).info.run_id for number in range(53)
    ]
    listed = read_by_sdk(emulator)["listed"]
    assert sorted(listed) == sorted(runs[:50])


def test_we_read_what_the_sdk_wrote(
    store: TrackingStore, adapter: Adapter, emulator: SageMakerEmulator
) -> None:
    emulator.client("s3").create_bucket(Bucket=f"sagemaker-{emulator.region}-{emulator.cloud.account}")
    sdk("sagemaker_sdk_write.py", emulator, EXPERIMENT, "by-the-sdk", "new")
    (experiment,) = store.list_experiments()
    assert experiment.name == EXPERIMENT
    (run,) = store.list_runs(experiment.experiment_id)
    assert run.info.status is RunStatus.FINISHED
    assert run.info.run_name == "By-AWS"
    assert run.data.params == {"learning_rate": "0.25", "optimizer": "adam", "layers": "3"}
    assert run.data.tags["team"] == "vision"
    assert run.data.metrics["loss"] == 0.125
    history = store.metric_history(run.info.run_id, "loss")
    assert list(zip(history.steps, history.values, strict=True)) == [(0, 0.5), (1, 0.25), (2, 0.125)]
    assert store.get_run(run.info.run_id) == run


def test_what_the_sdk_adds_to_a_run_of_ours_is_seen(
    store: TrackingStore, emulator: SageMakerEmulator
) -> None:
    run_id = written(store, 0)
    before = store.get_run(run_id)
    sdk("sagemaker_sdk_write.py", emulator, EXPERIMENT, run_id, "more")
    after = store.get_run(run_id)
    assert after.data.params == {**before.data.params, "added_by": "the SDK"}
    assert after.data.metrics["extra"] == 7.5
    assert after.info.status is RunStatus.FINISHED
    # And what it added stays when we write again.
    assert store.write(batch_of(run_id, params=[("later", "1")])).rejected == ()
    assert read_by_sdk(emulator, run_id)["loaded"][0]["parameters"]["added_by"] == "the SDK"
    assert store.get_run(run_id).data.params["added_by"] == "the SDK"
