"""Registries of Azure ML by what users call: ``bridge`` commands, ``tb.Client`` and the fluent functions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import trackbridge as tb
from tests.cli.conftest import Bridge, bridge, project  # noqa: F401
from tests.support.azureml_emulators import ask
from tests.support.azureml_models import REGISTRY, opened
from tests.support.mlflow_servers import MlflowServer
from tests.support.program_state import forget
from trackbridge.api.logging_models import ModelLogging, log
from trackbridge.api.models import local_path
from trackbridge.errors import ConfigError, InvalidInput, NotFound, Rejected, Unsupported
from trackbridge.operations.deploy import pinned_spec
from trackbridge.operations.model_source import open_models
from trackbridge.ports.adapter import Adapter
from trackbridge.resolve.config import Settings
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge_adapters.azureml.assets import properties_of
from trackbridge_adapters.azureml.registries import RegistryAdapter
from trackbridge_adapters.azureml.registry import AzureRegistry

LONG = "azureml://westeurope.api.azureml.ms/mlflow/v1.0/registries/test-registry"
FILES = {"MLmodel": b"flavors: {}\n", ".gitignore": b"*\n", "data/weights.bin": b"weights"}
UPLOADED = "azureml://datastores/workspaceblobstore/paths/LocalUpload/0123/model"


@pytest.fixture
def azure(
    azureml: AzureMlEmulator,
    bridge: Bridge,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[AzureMlEmulator]:
    """The emulator under Azure's own names, found as Azure is: nothing but the URI is said."""
    for name, value in azureml.environment().items():
        monkeypatch.setenv(name, value)
    yield azureml
    forget()


@pytest.fixture
def workspace(azure: AzureMlEmulator, tmp_path: Path) -> Iterator[Adapter]:
    adapter = opened(azure, tmp_path / "workspace")
    yield adapter
    adapter.close()


@pytest.fixture
def shared(azure: AzureMlEmulator, tmp_path: Path) -> Iterator[RegistryAdapter]:
    """The registry itself, with no URI of ours between."""
    adapter = opened(azure, tmp_path / "shared", REGISTRY)
    assert isinstance(adapter, RegistryAdapter)
    yield adapter
    adapter.close()


@pytest.fixture
def by_sdk(azure: AzureMlEmulator, workspace: Adapter, shared: RegistryAdapter) -> str:
    """A model as azure-ai-ml makes it, shared as version 5; return its address in the workspace."""
    for name, content in FILES.items():
        azure.cloud.storage.put(f"LocalUpload/0123/model/{name}", content)
    registry = registry_of(workspace)
    registry.assets.create("models", "by-sdk", "5", {"modelType": "mlflow_model", "modelUri": UPLOADED})
    return f"{azure.uri}/models/by-sdk/versions/5"


def registry_of(adapter: Adapter) -> AzureRegistry:
    assert isinstance(adapter.registry, AzureRegistry)
    return adapter.registry


def contents(folder: str | Path) -> dict[str, bytes]:
    found = Path(folder)
    return {
        file.relative_to(found).as_posix(): file.read_bytes() for file in found.rglob("*") if file.is_file()
    }


# The URI.


@pytest.mark.parametrize("uri", [REGISTRY, LONG])
@pytest.mark.parametrize("way", ["uri", "tracking", "registry", "remote", "client"])
def test_a_registry_is_opened_by_its_uri_in_every_public_way(
    by_sdk: str,
    shared: RegistryAdapter,
    bridge: Bridge,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    uri: str,
    way: str,
) -> None:
    shared.registry.share(by_sdk)
    if way == "client":
        assert [model.name for model in tb.Client(registry_uri=uri).search_registered_models()] == ["by-sdk"]
        return
    given = ["--uri", uri] if way == "uri" else []
    if way == "remote":
        bridge("remotes", "add", "all-teams", uri)
        given = ["--uri", "all-teams"]
    elif way != "uri":
        monkeypatch.setenv(f"BRIDGE_{way.upper()}_URI", uri)
    assert bridge("models", "list", "--json", *given).summary["models"] == 1
    shown = bridge("models", "show", "by-sdk/5", "--json", *given).summary["version"]
    assert shown["source"] == f"{REGISTRY}/models/by-sdk/versions/5"


@pytest.mark.parametrize("uri", [f"{REGISTRY}/models", "azureml://registries", "azureml://registries/a/b/c"])
def test_what_is_no_registry_is_refused_with_the_forms_that_are(azure: AzureMlEmulator, uri: str) -> None:
    with pytest.raises(ConfigError) as raised:
        tb.Client(registry_uri=uri)
    assert "azureml://registries/REGISTRY" in str(raised.value.hint)
    with pytest.raises(ConfigError) as raised:
        tb.Client(registry_uri="azureml://registries/r").search_registered_models()
    assert str(raised.value).count("[azureml]") == 1


# Files, with the registry alone.


@pytest.mark.parametrize("way", ["uri", "tracking", "registry"])
def test_what_the_sdk_shared_is_downloaded(
    by_sdk: str,
    shared: RegistryAdapter,
    bridge: Bridge,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    way: str,
) -> None:
    shared.registry.share(by_sdk)
    if way == "uri":
        bridge("models", "download", "by-sdk/5", str(tmp_path / "x5"), "--uri", REGISTRY)
    else:
        monkeypatch.setenv(f"BRIDGE_{way.upper()}_URI", REGISTRY)
        tb.download_model("models:/by-sdk/5", tmp_path / "x5")
    assert contents(tmp_path / "x5") == FILES


def test_what_came_from_a_workspace_or_a_folder_is_read_from_the_registry_itself(
    azure: AzureMlEmulator,
    by_sdk: str,
    workspace: Adapter,
    bridge: Bridge,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = tmp_path / "exported"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    client = tb.Client(registry_uri=REGISTRY)
    assert client.register_model(by_sdk, "imported").source == by_sdk
    made = client.register_model(folder, "uploaded")
    registry_of(workspace).delete_model("by-sdk")
    for name in FILES:
        (Path(made.source.removeprefix("file://")) / name).unlink()
    settings = Settings()
    for name in ("imported", "uploaded"):
        source = open_models(None, registry_uri=REGISTRY, settings=settings)
        assert source.registry is not None
        spec = pinned_spec(f"models:/{name}/1", registry=source.registry, endpoint="wine")
        assert contents(source.folder_of(spec)) == FILES
        bridge("models", "download", f"{name}/1", str(tmp_path / name), "--uri", REGISTRY)
        assert contents(tmp_path / name) == FILES


# What a registry does not keep.


@pytest.mark.parametrize("uri", [REGISTRY, f"./here,{LONG}"])
def test_nothing_is_logged_to_a_registry(
    by_sdk: str,
    shared: RegistryAdapter,
    bridge: Bridge,  # noqa: F811
    project: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    uri: str,
) -> None:
    shared.registry.share(by_sdk)
    monkeypatch.setenv("BRIDGE_TRACKING_URI", uri)
    (project / "model").mkdir()
    (project / "model" / "weights").write_bytes(b"1")
    client = tb.Client()
    for attempt in (
        lambda: client.open_experiment("wine"),
        lambda: client.open_run_here("a run"),
        lambda: client.open_run("1", "wine"),
        lambda: client.register_model(project / "model", "wine"),
    ):
        with pytest.raises(Unsupported, match="keeps no runs") as raised:
            attempt()
        assert "BRIDGE_REGISTRY_URI=azureml://" in str(raised.value.hint)
    assert not list(project.rglob("*.journal"))
    assert not any((client.session.root).rglob("*")), "nothing waits to be delivered"
    assert set(client.session.pending().values()) == {0}
    if uri == REGISTRY:
        with pytest.raises(Unsupported, match="no tracking"):
            client.search_runs(["1"])
        refused = bridge("models", "register", "./model", "wine", code=1)
        assert "BRIDGE_REGISTRY_URI" in refused.err
        assert bridge("models", "list", "--json").summary["models"] == 1


def test_what_cannot_be_registered_leaves_no_model(
    shared: RegistryAdapter,
    newest: MlflowServer,
    project: Path,  # noqa: F811
) -> None:
    client = tb.Client(newest.url, registry_uri=REGISTRY)
    run_id, path = logged(client, project)
    for register in (client.register_model, lambda source, name: client.copy_model_version(source, name)):
        with pytest.raises(Rejected, match="is no version of a workspace's model") as raised:
            register(f"runs:/{run_id}/{path}", "from-a-run")
        assert "register it in a workspace, and share that version" in str(raised.value.hint)
    how = ModelLogging(name="again", registered_model_name="by-delivery")
    log(project / "logged", how, client.open_run_here("train again"), client.models)
    client.reader.drain()
    assert client.session.rejected() == 1, "the registration is a dead letter"
    assert list(shared.registry.list_models()) == []


def logged(client: tb.Client, folder: Path) -> tuple[str, str]:
    """Log a model's folder to a run; return the run's id and the path."""
    (folder / "logged" / "data").mkdir(parents=True)
    for name, content in FILES.items():
        (folder / "logged" / name).write_bytes(content)
    run = client.open_run_here("train")
    client.log_artifacts(run.run_id, folder / "logged", "m")
    client.set_terminated(run.run_id)
    return run.run_id, "m"


# Sharing and promoting.


@pytest.fixture
def production(azure: AzureMlEmulator, tmp_path: Path) -> Iterator[str]:
    """Another workspace of the subscription; its tracking URI."""
    path = f"{azure.scope.rpartition('/')[0]}/production"
    made = ask(azure, "PUT", path, {"location": azure.cloud.region, "properties": {}})
    assert made.status in (200, 201, 202), made
    return azure.uri.replace("test-workspace", "production")


def addresses(azure: AzureMlEmulator, by_sdk: str, shared: RegistryAdapter) -> dict[str, str]:
    """Return one address of each kind, all of the same files."""
    shared.registry.share(by_sdk)
    scope = f"azureml:/{azure.scope}".replace("/providers/Microsoft.MachineLearningServices", "")
    return {
        "workspace": by_sdk,
        "registry": f"{REGISTRY}/models/by-sdk/versions/5",
        "datastore": UPLOADED,
        "full datastore": UPLOADED.replace("azureml:/", scope),
    }


@pytest.mark.parametrize("target", ["registry", "itself", "production"])
@pytest.mark.parametrize("kind", ["workspace", "registry", "datastore", "full datastore", "run"])
def test_a_model_is_shared_and_promoted_by_the_public_call(
    azure: AzureMlEmulator,
    by_sdk: str,
    shared: RegistryAdapter,
    production: str,
    project: Path,  # noqa: F811
    tmp_path: Path,
    kind: str,
    target: str,
) -> None:
    registry_uri = {"registry": REGISTRY, "itself": None, "production": production}[target]
    client = tb.Client(azure.uri, registry_uri=registry_uri)
    if kind == "run":
        run_id, path = logged(client, project)
        native = client.reader.get_run(run_id).info.native_id
        source = f"azureml://jobs/{native}/outputs/artifacts/paths/{path}"
    else:
        source = addresses(azure, by_sdk, shared)[kind]
    if target == "production" and kind == "run":
        for address in (source, f"runs:/{run_id}/{path}"):
            with pytest.raises(ConfigError, match="of another workspace"):
                client.register_model(address, "wine")
        assert client.search_registered_models() == []
        return
    made = client.register_model(source, "wine", tags={"a": "1"}, description="d")
    assert (made.name, made.version, made.tags["a"], made.description) == ("wine", "1", "1", "d")
    assert client.register_model(source, "wine").version == "1", "the same files again are one version"
    assert client.create_model_version("wine", source).version == "1"
    opened_there = opened(azure, tmp_path / "there", registry_uri)
    assert opened_there.registry is not None
    held = opened_there.registry.assets.version("models", "wine", "1")  # type: ignore[attr-defined]
    opened_there.close()
    assert properties_of(held)["modelType"] == "mlflow_model"
    assert contents(local_path(tb.Client(registry_uri or azure.uri), "models:/wine/1")) == FILES


def test_a_model_is_shared_and_promoted_by_the_command(
    azure: AzureMlEmulator,
    by_sdk: str,
    production: str,
    bridge: Bridge,  # noqa: F811
    tmp_path: Path,
) -> None:
    shared = bridge("models", "register", by_sdk, "wine", "--uri", REGISTRY, "--json").summary["version"]
    assert (shared["name"], shared["version"], shared["source"]) == ("wine", "1", by_sdk)
    source = f"{REGISTRY}/models/wine/versions/1"
    bridge("models", "register", source, "live", "--uri", production)
    bridge("models", "register", source, "wine-again", "--uri", REGISTRY)
    for name, uri in (("live", production), ("wine-again", REGISTRY)):
        bridge("models", "download", f"{name}/1", str(tmp_path / name), "--uri", uri)
        assert contents(tmp_path / name) == FILES


def test_what_is_not_there_or_leaves_its_place_open_is_refused_before_a_model_is_made(
    azure: AzureMlEmulator, by_sdk: str, shared: RegistryAdapter, workspace: Adapter
) -> None:
    alone, both = tb.Client(registry_uri=REGISTRY), tb.Client(azure.uri)
    with pytest.raises(ConfigError, match="of which workspace") as raised:
        alone.register_model(UPLOADED, "wine")
    assert "/workspaces/WORKSPACE/datastores/NAME/paths/PATH" in str(raised.value.hint)
    for client in (alone, both):
        for missing in (
            by_sdk.replace("versions/5", "versions/7"),
            f"{REGISTRY}/models/none/versions/1",
        ):
            with pytest.raises(NotFound):
                client.register_model(missing, "wine")
    with pytest.raises(NotFound):
        both.register_model(f"{UPLOADED}/none", "wine")
    for wrong in ("s3://bucket/model", "https://example.com/model", "azureml2://registries/x"):
        with pytest.raises(InvalidInput, match="no address that azureml"):
            both.register_model(wrong, "wine")
    assert list(shared.registry.list_models()) == list(registry_of(workspace).list_versions("wine")) == []


def test_other_backends_refuse_addresses_of_azure_in_words(
    azure: AzureMlEmulator,
    by_sdk: str,
    bridge: Bridge,  # noqa: F811
) -> None:
    refused = bridge("models", "register", by_sdk, "wine", code=1)
    assert "is no address that local registers models from" in refused.err
    assert "--uri" in refused.err
    assert tb.search_registered_models() == []


def test_a_registered_digest_is_not_computed_again(
    azure: AzureMlEmulator,
    by_sdk: str,
    shared: RegistryAdapter,
    production: str,
) -> None:
    """Sharing a large model is Azure's work: nothing of it is to pass through this machine."""
    client = tb.Client(azure.uri)
    first = client.register_model(by_sdk, "wine")
    again = f"{azure.uri}/models/wine/versions/{first.version}"
    before = len(azure.calls)
    made = tb.Client(registry_uri=REGISTRY).register_model(again, "wine")
    assert made.digest == first.digest
    read = [call for call in azure.calls[before:] if "LocalUpload" in call.path]
    assert read == []
