"""The stock azure-ai-ml client reads what we wrote, and we read what it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.peers.azure_ml_sdk.conftest import MLMODEL
from tests.support.azureml_written import contents, model_of_ours, run_of_ours
from trackbridge.domain.models import RegisteredModel
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.registry import ModelRegistry
from trackbridge.testing.azureml import client
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge_adapters.azureml import open_adapter, open_paths
from trackbridge_adapters.azureml.registry import AzureRegistry
from trackbridge_adapters.azureml.service import Backend, backend_of

REGISTRY = "test-registry"
STORE = "workspaceblobstore"


@pytest.fixture
def registry(ours: Adapter) -> AzureRegistry:
    assert isinstance(ours.registry, AzureRegistry)
    return ours.registry


@pytest.fixture
def backend(azure: AzureMlEmulator, context: AdapterContext) -> Backend:
    return backend_of(azure.uri, context)


@pytest.fixture(params=["mlflow_model", "custom_model"])
def kind(request: pytest.FixtureRequest, folder: Path) -> str:
    """Both kinds of models; a custom one has no file MLmodel."""
    if request.param == "custom_model":
        (folder / "MLmodel").rename(folder / "config.json")
    return str(request.param)


def model(name: str, path: Path | str, **settings: Any) -> Any:
    from azure.ai.ml.entities import Model

    return Model(**{"name": name, "path": str(path), "type": "custom_model", **settings})


# What we wrote.


def test_a_model_of_ours_is_got_listed_and_downloaded(
    ours: Adapter, sdk: Any, folder: Path, tmp_path: Path, kind: str
) -> None:
    made = model_of_ours(ours, folder, tags={"team": "vision"})

    found = sdk.models.get("digits", version=made.version)
    sdk.models.download("digits", version=made.version, download_path=str(tmp_path / "down"))

    assert (found.name, found.version, found.type) == ("digits", "1", kind)
    assert (found.description, found.tags["team"]) == ("reads digits", "vision")
    assert found.path.startswith(("runs:/", "azureml://"))
    if kind == "mlflow_model":
        assert found.flavors == {"sklearn": {"pickled_model": "model.pkl"}}
    assert sdk.models.get("digits", label="latest").version == "1"
    assert [(item.name, item.latest_version) for item in sdk.models.list()] == [("digits", "1")]
    assert [item.version for item in sdk.models.list(name="digits")] == ["1"]
    assert contents(tmp_path / "down" / "digits" / "model") == contents(folder)


def test_a_model_of_ours_is_shared(
    azure: AzureMlEmulator, ours: Adapter, sdk: Any, folder: Path, tmp_path: Path, kind: str
) -> None:
    made = model_of_ours(ours, folder, tags={"team": "vision"})

    sdk.models.share(
        "digits", made.version, share_with_name="shared", share_with_version="7", registry_name=REGISTRY
    )

    theirs = client(azure, registry_name=REGISTRY)
    found = theirs.models.get("shared", version="7")
    theirs.models.download("shared", version="7", download_path=str(tmp_path / "down"))
    assert (found.type, found.description, found.tags["team"]) == (kind, "reads digits", "vision")
    assert contents(tmp_path / "down" / "shared" / "model") == contents(folder)


def test_what_we_archive_is_archived(
    ours: Adapter, registry: AzureRegistry, sdk: Any, folder: Path, kind: str
) -> None:
    for _ in range(2):
        model_of_ours(ours, folder)

    registry.archive("digits", "1")

    assert [item.version for item in sdk.models.list(name="digits")] == ["2"]
    sdk.models.restore("digits", version="1")
    assert [item.version for item in sdk.models.list(name="digits")] == ["2", "1"]


def test_what_we_delete_is_gone(
    ours: Adapter, registry: AzureRegistry, sdk: Any, folder: Path, kind: str
) -> None:
    from azure.core.exceptions import ResourceNotFoundError

    for _ in range(2):
        model_of_ours(ours, folder)

    registry.delete_version("digits", "2")

    with pytest.raises(ResourceNotFoundError):
        sdk.models.get("digits", version="2")
    assert [item.version for item in sdk.models.list(name="digits")] == ["1"]


def test_tags_of_ours_and_theirs_stand_beside_each_other(
    ours: Adapter, registry: AzureRegistry, sdk: Any, folder: Path, kind: str
) -> None:
    """Theirs is a PUT of the whole version: what we put there must come back with it."""
    made = model_of_ours(ours, folder, tags={"team": "vision"})
    key = made.source
    registry.set_alias("digits", "champion", version="1")

    found = sdk.models.get("digits", version="1")
    found.tags["theirs"] = "yes"
    sdk.models.create_or_update(found)
    registry.set_tags("digits", "1", tags={"ours": "too"})

    after = registry.get_version("digits", "1")
    assert {name: after.tags[name] for name in ("team", "theirs", "ours")} == {
        "team": "vision",
        "theirs": "yes",
        "ours": "too",
    }
    assert after.aliases == ("champion",)
    assert after.source == key
    assert sdk.models.get("digits", version="1").tags["ours"] == "too"


def test_a_model_that_we_share_is_read_from_the_registry(
    azure: AzureMlEmulator, context: AdapterContext, ours: Adapter, folder: Path, tmp_path: Path, kind: str
) -> None:
    made = model_of_ours(ours, folder, tags={"team": "vision"})
    shared = open_adapter(f"azureml://registries/{REGISTRY}", context=context)

    shared.registry.share(f"{azure.uri}/models/digits/versions/{made.version}", name="ours", version="3")  # type: ignore[union-attr]

    theirs = client(azure, registry_name=REGISTRY)
    found = theirs.models.get("ours", version="3")
    theirs.models.download("ours", version="3", download_path=str(tmp_path / "down"))
    assert (found.type, found.tags["team"]) == (kind, "vision")
    assert contents(tmp_path / "down" / "ours" / "model") == contents(folder)
    shared.close()


def test_files_that_we_put_into_a_datastore_are_theirs_by_its_address(
    backend: Backend, sdk: Any, folder: Path, tmp_path: Path
) -> None:
    from azure.ai.ml.entities import Data

    files = backend.datastores.files(STORE, "ours/model")
    for path in contents(folder):
        with (folder / path).open("rb") as source:
            files.put(path, source, digest="", size=(folder / path).stat().st_size)

    address = f"azureml://datastores/{STORE}/paths/ours/model"
    sdk.models.create_or_update(model("digits", address, version="1"))
    sdk.data.create_or_update(Data(name="d", version="1", path=address, type="uri_folder"))
    sdk.models.download("digits", version="1", download_path=str(tmp_path / "down"))

    assert contents(tmp_path / "down" / "digits" / "model") == contents(folder)
    assert sdk.data.get("d", version="1").path.endswith(f"/datastores/{STORE}/paths/ours/model")
    default = sdk.datastores.get(STORE)
    assert sdk.datastores.get_default().name == default.name
    ours_of_it = backend.datastores.get(backend.datastores.default())
    assert (default.name, default.account_name, default.container_name) == (
        ours_of_it.name,
        ours_of_it.account,
        ours_of_it.container,
    )


def test_data_and_environments_that_we_made(backend: Backend, sdk: Any) -> None:
    address = f"azureml://datastores/{STORE}/paths/d"
    backend.assets.create(
        "data", "d", "4", {"dataType": "uri_folder", "dataUri": address, "tags": {"a": "b"}}
    )
    backend.assets.create("environments", "e", "2", {"image": "python:3.11", "description": "plain"})

    data, environment = sdk.data.get("d", label="latest"), sdk.environments.get("e", version="2")

    assert (data.version, data.type, data.tags["a"]) == ("4", "uri_folder", "b")
    assert data.path.endswith(f"/datastores/{STORE}/paths/d")
    assert (environment.image, environment.description) == ("python:3.11", "plain")
    assert [item.name for item in sdk.data.list()] == ["d"]
    assert [item.name for item in sdk.environments.list()] == ["e"]


def test_a_run_of_ours_is_a_job_of_theirs(ours: Adapter, sdk: Any, folder: Path) -> None:
    run_id = run_of_ours(ours, folder)
    assert ours.tracking is not None
    native = ours.tracking.get_run(run_id).info.native_id or run_id

    found = sdk.jobs.get(native)

    assert (found.name, found.display_name) == (native, "bold otter")
    assert found.status == "Running"


# What they wrote.


def test_we_read_and_download_their_model(
    registry: AzureRegistry, sdk: Any, folder: Path, tmp_path: Path, kind: str
) -> None:
    sdk.models.create_or_update(
        model("digits", folder, version="1", type=kind, tags={"a": "b"}, description="theirs")
    )

    found = registry.get_version("digits", "1")
    downloaded = registry.download("digits", "1", tmp_path / "down")

    assert (found.description, found.tags["a"]) == ("theirs", "b")
    assert [item.name for item in registry.list_models().items] == ["digits"]
    assert [item.version for item in registry.list_versions("digits").items] == ["1"]
    assert contents(downloaded) == contents(folder)


def test_we_change_their_model_and_they_see_it(
    registry: AzureRegistry, sdk: Any, folder: Path, kind: str
) -> None:
    sdk.models.create_or_update(model("digits", folder, version="1", type=kind, tags={"a": "b"}))

    registry.set_tags("digits", "1", tags={"a": None, "c": "d"})
    registry.set_description("digits", "1", description="better")
    registry.set_alias("digits", "champion", version="1")
    registry.set_stage("digits", "1", stage="Production")

    found = sdk.models.get("digits", version="1")
    assert (found.type, found.description, found.tags["c"]) == (kind, "better", "d")
    assert "a" not in found.tags
    version = registry.get_version("digits", "1")
    assert (version.aliases, version.stage) == (("champion",), "Production")


def test_versions_with_names_are_read_by_us(registry: AzureRegistry, sdk: Any, folder: Path) -> None:
    for version in ("1", "best", "2"):
        sdk.models.create_or_update(model("digits", folder, version=version))

    assert [item.version for item in registry.list_versions("digits").items] == ["2", "1", "best"]


def test_both_count_on(ours: Adapter, sdk: Any, folder: Path, kind: str) -> None:
    """Neither is given a number that the other one took."""
    made = [
        model_of_ours(ours, folder).version,
        sdk.models.create_or_update(model("digits", folder, type=kind)).version,
        model_of_ours(ours, folder).version,
        sdk.models.create_or_update(model("digits", folder, type=kind)).version,
    ]
    assert made == ["1", "2", "3", "4"]


def test_what_they_archive_is_read_by_us(registry: AzureRegistry, sdk: Any, folder: Path) -> None:
    sdk.models.create_or_update(model("digits", folder, version="1"))

    sdk.models.archive("digits", version="1")

    assert registry.get_version("digits", "1").stage == "Archived"


def test_a_model_of_their_registry_is_ours_to_read(
    azure: AzureMlEmulator, context: AdapterContext, folder: Path
) -> None:
    client(azure, registry_name=REGISTRY).models.create_or_update(
        model("direct", folder, version="1", tags={"a": "b"})
    )
    shared = open_adapter(f"azureml://registries/{REGISTRY}", context=context)
    assert shared.registry is not None
    models: ModelRegistry = shared.registry

    assert [item.name for item in models.list_models().items] == ["direct"]
    assert isinstance(models.get_model("direct"), RegisteredModel)
    assert models.get_version("direct", "1").tags["a"] == "b"
    shared.close()


def test_their_datastore_is_ours_to_read(
    azure: AzureMlEmulator, context: AdapterContext, backend: Backend, sdk: Any
) -> None:
    from azure.ai.ml.entities import AccountKeyConfiguration, AzureBlobDatastore

    key = azure.cloud.storage.key("tbteststore")
    sdk.datastores.create_or_update(
        AzureBlobDatastore(
            name="mine",
            account_name="tbteststore",
            container_name="own",
            credentials=AccountKeyConfiguration(account_key=key),
        )
    )
    azure.cloud.storage.ensure_container("own")
    azure.cloud.storage.put("deep/file name.txt", b"theirs", container="own")

    paths = open_paths(azure.uri, context=context)

    assert "mine" in [item.name for item in backend.datastores.list()]
    assert backend.datastores.get("mine").container == "own"
    address = "azureml://datastores/mine/paths/deep/file name.txt"
    with paths.open(address) as source:
        assert source.read() == b"theirs"
    assert [(item.path, item.file_size) for item in paths.list("azureml://datastores/mine/paths/deep")] == [
        ("deep/file name.txt", 6)
    ]


def test_their_uploads_are_read_whole_by_us(
    azure: AzureMlEmulator, context: AdapterContext, sdk: Any, folder: Path, tmp_path: Path
) -> None:
    from azure.ai.ml.entities import Data

    made = sdk.data.create_or_update(Data(name="d", version="1", path=str(folder), type="uri_folder"))

    paths = open_paths(azure.uri, context=context)

    assert contents(paths.download(made.path, tmp_path / "down")) == contents(folder)


def test_their_environments_and_data_are_listed_by_us(backend: Backend, sdk: Any, folder: Path) -> None:
    from azure.ai.ml.entities import Data, Environment

    sdk.data.create_or_update(Data(name="d", version="1", path=str(folder), type="uri_folder"))
    sdk.environments.create_or_update(Environment(name="e", version="5", image="python:3.11"))

    assert backend.assets.latest("data", "d")["name"] == "1"
    found = backend.assets.version("environments", "e", "5")
    assert found["properties"]["image"] == "python:3.11"


def test_the_file_mlmodel_decides_and_not_what_they_say(
    registry: AzureRegistry, sdk: Any, folder: Path, tmp_path: Path
) -> None:
    """They may call a folder with MLmodel a custom model: it stays one, and is read by us all the same."""
    sdk.models.create_or_update(model("digits", folder, version="1", type="custom_model"))

    assert (folder / "MLmodel").read_text() == MLMODEL
    assert sdk.models.get("digits", version="1").type == "custom_model"
    assert contents(registry.download("digits", "1", tmp_path / "down")) == contents(folder)
