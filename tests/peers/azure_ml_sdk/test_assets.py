"""The stock azure-ai-ml client keeps assets in the emulator, reads them back, and shares them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.peers.azure_ml_sdk.conftest import MLMODEL
from tests.support.azureml_written import contents
from trackbridge.testing.azureml import client
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator

REGISTRY = "test-registry"


def _model(name: str, path: Path | str, **settings: Any) -> Any:
    from azure.ai.ml.entities import Model

    return Model(**{"name": name, "path": str(path), "type": "mlflow_model", **settings})


def test_a_model_goes_up_and_comes_down_whole(sdk: Any, folder: Path, tmp_path: Path) -> None:
    made = sdk.models.create_or_update(_model("digits", folder, tags={"a": "b"}, description="reads digits"))

    found = sdk.models.get("digits", version="1")
    sdk.models.download("digits", version="1", download_path=str(tmp_path / "down"))

    assert (made.version, found.type, found.tags, found.description) == (
        "1",
        "mlflow_model",
        {"a": "b"},
        "reads digits",
    )
    assert found.flavors == {"sklearn": {"pickled_model": "model.pkl"}}
    assert contents(tmp_path / "down" / "digits" / "model") == contents(folder)


def test_versions_are_counted_and_the_latest_is_found(sdk: Any, folder: Path) -> None:
    for _ in range(3):
        sdk.models.create_or_update(_model("digits", folder))

    assert [item.version for item in sdk.models.list(name="digits")] == ["3", "2", "1"]
    assert sdk.models.get("digits", label="latest").version == "3"
    assert [(item.name, item.latest_version) for item in sdk.models.list()] == [("digits", "3")]


def test_a_model_is_archived_and_restored(sdk: Any, folder: Path) -> None:
    for version in ("1", "2"):
        sdk.models.create_or_update(_model("digits", folder, version=version, type="custom_model"))

    sdk.models.archive("digits", version="1")
    archived = [item.version for item in sdk.models.list(name="digits")]
    sdk.models.restore("digits", version="1")
    sdk.models.archive("digits")
    listed = list(sdk.models.list())
    sdk.models.restore("digits")

    assert archived == ["2"]
    assert listed == []
    assert [item.version for item in sdk.models.list(name="digits")] == ["2", "1"]
    assert [item.name for item in sdk.models.list()] == ["digits"]


def test_other_files_under_the_same_version_are_refused(sdk: Any, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "MLmodel").write_text(MLMODEL)
    sdk.models.create_or_update(_model("digits", folder, version="1"))

    with pytest.raises(Exception, match=r"[Aa]sset"):
        sdk.models.create_or_update(_model("digits", other, version="1"))


def test_what_is_not_there_is_not_found(sdk: Any) -> None:
    from azure.core.exceptions import ResourceNotFoundError

    with pytest.raises(ResourceNotFoundError):
        sdk.models.get("none", version="1")
    with pytest.raises(Exception, match="does not exist"):
        sdk.models.get("none", label="latest")


@pytest.mark.parametrize("path", ["runs:/r1/model", "azureml://jobs/r1/outputs/artifacts/paths/model/"])
def test_a_model_of_a_run_is_downloaded_from_where_it_lies(
    azure: AzureMlEmulator, sdk: Any, tmp_path: Path, path: str
) -> None:
    azure.cloud.storage.put("ExperimentRun/dcid.r1/model/MLmodel", MLMODEL.encode(), container="azureml")

    sdk.models.create_or_update(_model("digits", path, version="1"))
    sdk.models.download("digits", version="1", download_path=str(tmp_path / "down"))

    assert contents(tmp_path / "down") == {"digits/model/MLmodel": MLMODEL.encode()}


def test_data_and_environments(sdk: Any, folder: Path) -> None:
    from azure.ai.ml.entities import Data, Environment

    sdk.data.create_or_update(Data(name="d", version="1", path=str(folder), type="uri_folder"))
    sdk.data.create_or_update(Data(name="d", path=str(folder), type="uri_folder"))
    sdk.environments.create_or_update(Environment(name="e", image="python:3.11", conda_file={"name": "x"}))

    assert sdk.data.get("d", label="latest").version == "2"
    assert sdk.data.get("d", version="1").type == "uri_folder"
    assert sdk.environments.get("e", label="latest").image == "python:3.11"
    assert [item.name for item in sdk.environments.list()] == ["e"]


def test_code_is_sent_once(azure: AzureMlEmulator, sdk: Any, folder: Path) -> None:
    from azure.ai.ml.entities._assets import Code

    first = sdk._code.create_or_update(Code(path=str(folder)))
    again = sdk._code.create_or_update(Code(path=str(folder)))

    assert (first.name, first.version) == (again.name, again.version)
    started = [call for call in azure.calls if call.path.endswith("/startPendingUpload")]
    assert len(started) == 1


def test_datastores_are_read_and_made(sdk: Any) -> None:
    from azure.ai.ml.entities import AccountKeyConfiguration, AzureBlobDatastore

    sdk.datastores.create_or_update(
        AzureBlobDatastore(
            name="mine",
            account_name="tbteststore",
            container_name="own",
            credentials=AccountKeyConfiguration(account_key="c29tZQ=="),
        )
    )

    assert sdk.datastores.get("mine").container_name == "own"
    default = sdk.datastores.get_default()
    assert (default.name, default.type) == ("workspaceblobstore", "AzureBlob")
    assert {item.name for item in sdk.datastores.list()} == {
        "mine",
        "workspaceartifactstore",
        "workspaceblobstore",
    }
    sdk.datastores.delete("mine")
    assert "mine" not in {item.name for item in sdk.datastores.list()}


def test_the_workspace_tells_its_tracking_address(azure: AzureMlEmulator, sdk: Any) -> None:
    found = sdk.workspaces.get(azure.cloud.workspace)

    assert found.mlflow_tracking_uri.endswith(f"/mlflow/v1.0{azure.scope}")


def test_a_shared_model_is_read_from_the_registry(
    azure: AzureMlEmulator, sdk: Any, folder: Path, tmp_path: Path
) -> None:
    sdk.models.create_or_update(_model("digits", folder, version="1", tags={"a": "b"}))

    sdk.models.share("digits", "1", share_with_name="shared", share_with_version="7", registry_name=REGISTRY)

    registry = client(azure, registry_name=REGISTRY)
    found = registry.models.get("shared", version="7")
    registry.models.download("shared", version="7", download_path=str(tmp_path / "down"))
    assert (found.tags, [item.name for item in registry.models.list()]) == ({"a": "b"}, ["shared"])
    assert contents(tmp_path / "down" / "shared" / "model") == contents(folder)


def test_a_model_is_registered_in_the_registry_itself(azure: AzureMlEmulator, folder: Path) -> None:
    registry = client(azure, registry_name=REGISTRY)

    registry.models.create_or_update(_model("direct", folder, version="1"))

    found = registry.models.get("direct", version="1")
    assert found.flavors == {"sklearn": {"pickled_model": "model.pkl"}}
    assert found.id == f"azureml://registries/{REGISTRY}/models/direct/versions/1"
