"""The examples of moves between clouds, each run as a program against the emulators of both."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.running import OTHERS, PROGRAM_S, ran
from tests.support.azureml_emulators import azureml_emulator
from tests.support.corpus import Corpus, Size, problems, write_corpus
from tests.support.gateways import end_children
from tests.support.migrations import local_side, migrate, pair_of
from tests.support.mlflow_servers import MlflowServer, mlflow_server
from tests.support.processes import eventually
from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.delivery.connect import open_uri
from trackbridge.operations.migrate.side import Side, side_of
from trackbridge.ports.adapter import AdapterContext
from trackbridge.resolve.uri import parse
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.fault_proxy import FaultProxy, Weather
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge_adapters.azureml import open_workspace

pytestmark = pytest.mark.timeout(900)  # two servers, two emulators and a program each
BRIDGE = (sys.executable, "-c", "import sys; from trackbridge.cli.main import run; sys.exit(run())")
SIZE = Size(experiments=2, runs=4, points=5, long_points=30, files=1, large_bytes=2000, models=1, versions=3)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="module")
def _azureml(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AzureMlEmulator, MlflowServer]]:
    behind = mlflow_server(tmp_path_factory.mktemp("azureml"))
    with behind as server, azureml_emulator(mlflow=server.url) as emulator:
        yield emulator, server


@pytest.fixture
def azureml(_azureml: tuple[AzureMlEmulator, MlflowServer]) -> Iterator[AzureMlEmulator]:
    """A workspace with nothing in it."""
    emulator, behind = _azureml
    behind.reset()
    emulator.reset()
    yield emulator
    emulator.raise_failures()


@pytest.fixture
def sagemaker(monkeypatch: pytest.MonkeyPatch) -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as emulator:
        for name, value in emulator.environment().items():
            monkeypatch.setenv(name, value)
        yield emulator
        emulator.raise_failures()


def azure_side(azureml: AzureMlEmulator, home: Path) -> Side:
    context = AdapterContext(home=home, options=azureml.options, clock_ms=lambda: time.time_ns() // 1_000_000)
    return side_of(open_workspace(azureml.uri, context=context, credential=azureml.credential()), azureml.uri)


def side(uri: str) -> Side:
    parsed = parse(uri)
    return side_of(open_uri(parsed), parsed.text)


def found(corpus: Corpus, target: Side, registry_uri: str) -> list[str]:
    try:
        return problems(corpus, target.adapter, registry_uri=registry_uri, renumbered=True)
    finally:
        target.close()


def test_an_mlflow_server_to_both_clouds(
    tmp_path: Path, server: MlflowServer, azureml: AzureMlEmulator, sagemaker: SageMakerEmulator
) -> None:
    source = side(server.url)
    corpus = write_corpus(source.adapter, SIZE)
    variables = {**azureml.environment(), **sagemaker.environment()}
    arguments = (server.url, azureml.uri, sagemaker.uri)
    told = ran(tmp_path, "mlflow_server_to_both.py", *arguments, variables=variables)
    assert told.count(f"{SIZE.runs} runs, {len(corpus.versions)} model versions") == 2
    assert found(corpus, azure_side(azureml, tmp_path / "home"), source.uri) == []
    assert found(corpus, side(sagemaker.uri), source.uri) == []


def test_everything_from_sagemaker_to_azureml(
    tmp_path: Path, azureml: AzureMlEmulator, sagemaker: SageMakerEmulator
) -> None:
    source = side(sagemaker.uri)
    corpus = write_corpus(source.adapter, SIZE, seed=11)
    variables = {**azureml.environment(), **sagemaker.environment()}
    arguments = (sagemaker.uri, azureml.uri, "--yes")
    told = ran(tmp_path, "migrate_sagemaker_to_azureml.py", *arguments, variables=variables)
    assert "done run" in told
    assert "remains" not in told
    assert found(corpus, azure_side(azureml, tmp_path / "home"), source.uri) == []


def test_models_from_azureml_to_sagemaker(
    tmp_path: Path, azureml: AzureMlEmulator, sagemaker: SageMakerEmulator
) -> None:
    folder = local_side(tmp_path / "a")
    corpus = write_corpus(folder.adapter, SIZE, seed=13)
    workspace = azure_side(azureml, tmp_path / "home")
    assert migrate(pair_of(folder, workspace, tmp_path / "home")).is_complete
    workspace.close()
    variables = {**azureml.environment(), **sagemaker.environment()}
    arguments = (azureml.uri, sagemaker.uri, "w*")
    told = ran(tmp_path, "migrate_azureml_to_sagemaker.py", *arguments, variables=variables)
    assert told.splitlines()[-1] == "the same on both sides"
    assert (tmp_path / "models.plan").exists()
    target = side(sagemaker.uri)
    versions = {version.digest for version in target.versions("wine")}
    assert {true.digest for true in corpus.versions} <= versions
    for true in corpus.versions:
        assert target.tracking.get_run(true.run_id).info.run_name == corpus.runs[true.run_id].name
    target.close()


def tracked(cloud: Side) -> list[tuple[str, str, dict[str, str], list[tuple[int, float]]]]:
    """Return the runs of the example that tracks to both: id, status, params and points."""
    found = []
    for experiment in cloud.tracking.list_experiments():
        if experiment.name == "diabetes":
            for run in cloud.tracking.list_runs(experiment.experiment_id):
                history = cloud.tracking.metric_history(run.info.run_id, "r2")
                points = sorted(zip(history.steps, history.values, strict=True))
                found.append((run.info.run_id, run.info.status.value, dict(run.data.params), points))
    return found


def test_a_cloud_that_is_down_gets_all_of_it_later(
    tmp_path: Path, azureml: AzureMlEmulator, sagemaker: SageMakerEmulator
) -> None:
    old, new = azure_side(azureml, tmp_path / "home"), side(sagemaker.uri)
    with FaultProxy(sagemaker.url, Weather(is_down=True)) as proxy:
        variables = {**azureml.environment(), **sagemaker.environment(), "AWS_ENDPOINT_URL": proxy.url}
        variables |= {"BRIDGE_HOME": str(tmp_path / ".bridge"), "BRIDGE_DELIVERY_EXIT_WAIT_S": "1"}
        try:
            told = ran(tmp_path, "both_clouds.py", azureml.uri, sagemaker.uri, variables=variables)
            eventually(lambda: [status for _, status, _, _ in tracked(old)] == ["FINISHED"], "the old place")
            ((run_id, _, params, points),) = tracked(old)
            assert told.startswith(f"run {run_id},")
            assert params == {"eta0": "0.001", "epochs": "30"}
            assert [step for step, _ in points] == list(range(30))
            assert tracked(new) == []
            assert proxy.counts["passed"] == 0

            proxy.weather = Weather()
            mine = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
            words = [*BRIDGE, "sync", "run"]
            subprocess.run(words, cwd=tmp_path, env=mine | variables, check=True, timeout=PROGRAM_S)
            assert tracked(new) == tracked(old)
            for place in (old, new):
                assert place.artifacts is not None
                assert "model.json" in [file.path for file in place.artifacts.list(run_id, "")]
        finally:
            end_children(tmp_path / ".bridge")
            old.close()
            new.close()
