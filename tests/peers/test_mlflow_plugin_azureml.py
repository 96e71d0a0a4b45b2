"""mlflow's models: addresses of what Azure's own clients registered, by our plugin and without theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trackbridge as tb
from tests.peers.test_mlflow_plugin_models import constant, predicted
from tests.support.azureml_emulators import azureml_emulator
from tests.support.azureml_models import REGISTRY, opened
from trackbridge.domain.model_digest import digest_of_path
from trackbridge.domain.models import ModelVersionSpec
from trackbridge.mlflow_plugin.binding import binding_for
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge_adapters.azureml.registry import AzureRegistry


@pytest.fixture(scope="module")
def emulator() -> Iterator[AzureMlEmulator]:
    with azureml_emulator() as running:
        yield running


@pytest.fixture
def azure(
    emulator: AzureMlEmulator, plugged: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AzureMlEmulator]:
    """A workspace with nothing in it, under Azure's own host names, as mlflow's tracking URI."""
    import mlflow

    emulator.reset()
    binding_for.cache_clear()  # the workspace of the test before has the same name
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    mlflow.set_tracking_uri(f"bridge+{emulator.uri}")
    yield emulator
    emulator.raise_failures()


def registered(azure: AzureMlEmulator, home: Path, *, folder: Path, model_type: str, **versions: str) -> None:
    """Register a folder as azure-ai-ml does: a version is an address in the workspace's storage."""
    adapter = opened(azure, home)
    registry: Any = adapter.registry
    assert isinstance(registry, AzureRegistry)
    properties = {"modelType": model_type, "modelUri": registry.upload(folder)}
    for name, version in versions.items():
        registry.assets.create("models", name, version, properties)
    adapter.close()


def test_models_of_azures_clients_are_loaded(azure: AzureMlEmulator, tmp_path: Path) -> None:
    import mlflow

    folder = tmp_path / "model"
    mlflow.pyfunc.save_model(folder, python_model=constant(2.5), pip_requirements=["mlflow"])
    (folder / "deeper").mkdir()
    (folder / "deeper" / "more #1.txt").write_text("deep")
    registered(azure, tmp_path / "home", folder=folder, model_type="mlflow_model", sdk="1", other="v-x.1")

    assert predicted("models:/sdk/1") == 2.5
    assert predicted("models:/sdk/latest") == 2.5
    address = mlflow.MlflowClient().get_model_version_download_uri("other", "v-x.1")
    assert address == "bridge-models:/@/other/v-x.1"
    assert predicted(address) == 2.5  # mlflow itself reads only numbers after models:/other/
    tb.set_tracking_uri(azure.uri)
    assert (Path(tb.download_model("models:/other/v-x.1")) / "deeper/more #1.txt").read_text() == "deep"
    listed = mlflow.artifacts.list_artifacts("models:/sdk/1")
    assert {item.path for item in listed if item.is_dir} == {"deeper"}
    (deep,) = mlflow.artifacts.list_artifacts(f"{address}/deeper")
    assert (deep.path.rpartition("/")[2], deep.file_size) == ("more #1.txt", 4)
    one = mlflow.artifacts.download_artifacts(f"{address}/deeper", dst_path=str(tmp_path / "one"))
    assert (Path(one) / "more #1.txt").read_text() == "deep"
    whole = Path(mlflow.artifacts.download_artifacts("models:/sdk/1", dst_path=str(tmp_path / "whole")))
    assert {path.name for path in whole.rglob("*")} >= {path.name for path in folder.rglob("*")}


def test_what_is_registered_is_not_changed_by_its_address(azure: AzureMlEmulator, tmp_path: Path) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    file = tmp_path / "weights.bin"
    file.write_bytes(b"weights")
    registered(azure, tmp_path / "home", folder=file, model_type="custom_model", custom="v-x")
    files = get_artifact_repository("bridge-models:/@/custom/v-x")
    assert [item.path for item in files.list_artifacts()] == ["weights.bin"]
    assert files.list_artifacts("weights.bin") == []
    for change in (files.log_artifact, files.log_artifacts, files.delete_artifacts):
        with pytest.raises(MlflowException, match="not supported"):
            change(str(file))
    with pytest.raises(MlflowException, match=r"no file 'other\.bin'"):
        files.download_artifacts("other.bin", str(tmp_path))
    with pytest.raises(MlflowException, match="no address of a model"):
        get_artifact_repository("bridge-models:/@").list_artifacts()
    for name, version in (("custom", "9"), ("nobody", "1")):
        with pytest.raises(MlflowException) as caught:
            get_artifact_repository(f"bridge-models:/@/{name}/{version}").list_artifacts()
        assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_models_of_an_organisations_registry_are_loaded(
    azure: AzureMlEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no runs: those are of the folder beside it."""
    import mlflow

    folder = tmp_path / "model"
    mlflow.pyfunc.save_model(folder, python_model=constant(3.5), pip_requirements=["mlflow"])
    shared = opened(azure, tmp_path / "home", REGISTRY).registry
    assert shared is not None
    shared.ensure_model("wine-shared")
    spec = ModelVersionSpec(name="wine-shared", source=folder.as_uri(), digest=digest_of_path(folder))
    version = shared.create_version(spec, key="k").version
    mlflow.set_tracking_uri(f"bridge+file:{tmp_path}/store")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"bridge+{REGISTRY}")
    assert predicted(f"models:/wine-shared/{version}") == 3.5
    address = mlflow.MlflowClient().get_model_version_download_uri("wine-shared", version)
    assert address == f"bridge-models:/@/wine-shared/{version}"
