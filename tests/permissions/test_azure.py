"""What each verb asks of the emulated Azure ML is what the table says: no call less, and none more."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.permissions.scenarios import Deploying, holds, payload, register, run_job, track
from tests.support import scoring_container
from tests.support.azureml_emulators import ask, azureml_emulator
from tests.support.blob_watch import BlobWatch, blob_watch
from tests.support.corpus import Size, write_corpus
from tests.support.migrations import local_side, migrate, pair_of
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.deployments import Authentication, Autoscale, Serving
from trackbridge.domain.jobs import Compute, Environment, JobSpec, JobStatus
from trackbridge.operations.migrate.side import side_of
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts import deployment_models
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.vaults import Vault
from trackbridge.testing.permissions import azure, recorded
from trackbridge_adapters.azureml import open_workspace

MACHINE = "Standard_DS2_v2"
IMAGE = "test/scoring:1"
ROWS = b'{"inputs": [[1.0]]}'
SIZE = Size(runs=3, points=4, long_points=20, files=1, large_bytes=1000, models=1, versions=2)


class Workspace:
    """An emulated workspace, and whoever asks it and its storage."""

    def __init__(self, emulator: AzureMlEmulator, blobs: BlobWatch, home: Path) -> None:
        self.emulator, self.home, self._blobs = emulator, home, blobs
        self._begun = (0, 0)

    def open(self, **options: str) -> Adapter:
        """Open it as a user's program does; what goes to blobs by its own rights is looked at, too."""
        given = {**self.emulator.options, "blob_endpoint": f"{self._blobs.url}/{{account}}", **options}
        context = AdapterContext(home=self.home, options=given, clock_ms=lambda: time.time_ns() // 1_000_000)
        credential = self.emulator.credential()
        return wrap_adapter(open_workspace(self.emulator.uri, context=context, credential=credential))

    def begin(self) -> None:
        """Look only at what is asked from now on."""
        self._begun = (len(self.emulator.calls), len(self._blobs.requests))

    def calls(self) -> frozenset[str]:
        """Return the names of what was asked."""
        calls, blobs = self._begun
        asked = (request.partition(" ")[0] for request in self._blobs.requests[blobs:])
        return recorded.azure_calls(self.emulator.calls[calls:]) | {
            recorded.blob_call(one, "") for one in asked
        }


@pytest.fixture(scope="module")
def _emulator() -> Iterator[AzureMlEmulator]:
    with azureml_emulator() as emulator:
        emulator.wait_for_mlflow()
        yield emulator


@pytest.fixture
def workspace(_emulator: AzureMlEmulator, tmp_path: Path) -> Iterator[Workspace]:
    _emulator.reset()
    _emulator.declare_image(IMAGE, serve=[sys.executable, str(scoring_container.__file__), "{port}"])
    with blob_watch(_emulator.cloud.storage) as blobs:
        yield Workspace(_emulator, blobs, tmp_path / "home")
        _emulator.raise_failures()


def test_tracking(workspace: Workspace, tmp_path: Path) -> None:
    for artifacts in ("addresses", "account"):
        track(workspace.open(artifacts=artifacts), tmp_path)
    holds(workspace.calls(), azure.CALLS["tracking"])


def test_registry(workspace: Workspace, tmp_path: Path) -> None:
    sources = {
        "wine": payload(workspace.open(), tmp_path),
        "digits": payload(workspace.open(), tmp_path, is_mlflow=True),
    }
    workspace.begin()
    for artifacts in ("addresses", "account"):
        for name, source in sources.items():
            register(workspace.open(artifacts=artifacts), source, f"{name}-{artifacts}")
    holds(workspace.calls(), azure.CALLS["registry"])


def test_jobs(workspace: Workspace, tmp_path: Path) -> None:
    workspace.emulator.cloud.part(Vault).put("token", "kept")
    ask(workspace.emulator, "PUT", "computes/cpu", CLUSTER)
    workspace.begin()
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text("print('trained')\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_text("1\n")
    for compute in (Compute(instance_type=MACHINE), Compute(cluster="cpu")):
        spec = JobSpec(
            name="train",
            command=(sys.executable, "train.py"),
            code_dir=str(tmp_path / "code"),
            compute=compute,
            environment=Environment(image="python:3.11"),
            inputs={"data": str(tmp_path / "data")},
            outputs={"model": "azureml://datastores/workspaceblobstore/paths/results"},
            secrets={"TOKEN": "keyvault:token"},
        )
        assert run_job(workspace.open(), spec).status is JobStatus.SUCCEEDED
    # What a job that failed has written of its end is among the files of its run.
    failing = msgspec.structs.replace(spec, command=(sys.executable, "-c", "raise SystemExit(3)"))
    assert run_job(workspace.open(), failing).exit_code == 3
    holds(workspace.calls(), azure.CALLS["jobs"])


def test_deployment(workspace: Workspace, tmp_path: Path) -> None:
    models = {name: deployment_models.answering(tmp_path, name, value) for name, value in MODELS.items()}
    ask(workspace.emulator, "PUT", "computes/cpu", CLUSTER)
    ask(workspace.emulator, "PUT", "environments/plain/versions/1", {"properties": {"image": "python:3.11"}})
    workspace.begin()
    deploying = Deploying(workspace.open(), models.__getitem__)
    target = deploying.target

    def deploy(endpoint: str, deployment: str = "v1", model: str = "one", **fields: Any) -> None:
        named = {"instance_type": MACHINE, "image": IMAGE, **fields}
        deploying.deploy(deployment_models.spec_for(models[model], endpoint, deployment, **named))

    scaling = Autoscale(instances_min=1, instances_max=3, requests_per_instance_target=60.0)
    with target.lock("live"):
        deploy("live", autoscale=scaling, capture_percent=100)
        deploy("live", "v2", "two", traffic_percent=0)
        deploying.share("live", v1=50, v2=50)
        deploying.share("live", v1=100)
    assert json.loads(target.invoke("live", ROWS, content_type="application/json"))["predictions"] == [1.0]
    target.read_metrics("live", window_s=600)
    target.read_logs("live", "v1")
    target.read_captured("live")
    deploying.remove("live", "v2")
    deploy("live", instance_count=2)
    assert [state.endpoint for state in target.list_endpoints().items] == ["live"]
    deploy("signed", authentication=Authentication.TOKEN)
    target.invoke("signed", ROWS, content_type="application/json")
    deploy("signed", authentication=Authentication.TOKEN, instance_count=2)
    deploy("own", image=None, environment="azureml:plain:1", detailed_metrics=True)
    options = {"code": str(tmp_path / "scripts"), "scoring_script": "score.py", "compute": "cpu"}
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "score.py").write_text(BATCH_SCRIPT, encoding="utf-8")
    batch: dict[str, Any] = {
        "instance_type": None,
        "image": None,
        "environment": "azureml:plain:1",
        "options": options,
    }
    deploy("files", serving=Serving.BATCH, **batch)
    workspace.emulator.cloud.storage.put("in/a.txt", b"1")
    source, result = (f"azureml://datastores/workspaceblobstore/paths/{name}/" for name in ("in", "out"))
    deploying.done(target.start_batch("files", source=source, destination=result, key="one"))
    for endpoint in ("live", "signed", "own", "files"):
        deploying.done(target.delete(endpoint))
    holds(workspace.calls(), azure.CALLS["deployment"])


MODELS = {"one": 1.0, "two": 2.0}
CLUSTER = {
    "location": "westeurope",
    "properties": {
        "computeType": "AmlCompute",
        "properties": {"vmSize": MACHINE, "scaleSettings": {"maxNodeCount": 2}},
    },
}
BATCH_SCRIPT = """
import pathlib
def init():
    pass
def run(mini_batch):
    return [pathlib.Path(name).read_text() for name in mini_batch]
"""


def test_migration(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "bridge"))
    source = local_side(tmp_path / "a")
    write_corpus(source.adapter, SIZE)
    asked: frozenset[str] = frozenset()
    for artifacts in ("addresses", "account"):
        # Empty each time: what one way has brought, the other would find there, and not bring.
        workspace.emulator.reset()
        workspace.begin()
        cloud = side_of(workspace.open(artifacts=artifacts), workspace.emulator.uri)
        assert migrate(pair_of(source, cloud, tmp_path / f"to-{artifacts}")).remaining == []
        back = pair_of(cloud, local_side(tmp_path / artifacts), tmp_path / f"from-{artifacts}")
        assert migrate(back).remaining == []
        asked |= workspace.calls()
    holds(asked, azure.CALLS["migration"])
