"""Organisational registries on the Azure ML emulator, and models on their way between workspaces."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from tests.support.azureml_emulators import ask
from tests.support.azureml_models import CONTENT, REGISTRY, opened, payload, spec
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.model_digest import digest_of_path
from trackbridge.domain.models import Approval, ModelVersion, ModelVersionSpec
from trackbridge.errors import BridgeError, Conflict, NotFound, Rejected, Unavailable
from trackbridge.operations.model_payloads import materialise, resolve_version
from trackbridge.operations.model_payloads import source_of as payload_source
from trackbridge.ports.adapter import Adapter
from trackbridge.testing.contracts import RegistryContract
from trackbridge.testing.contracts.samples import digest_of
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge_adapters.azureml.assets import MAKER, properties_of, tags_of
from trackbridge_adapters.azureml.registries import RegistryAdapter
from trackbridge_adapters.azureml.registry import AzureRegistry
from trackbridge_adapters.azureml.registry_organisation import CLAIM, OURS, OrganisationRegistry

FILES = {"MLmodel": b"flavors: {}\n", ".gitignore": b"*\n", "data/weights.bin": CONTENT}


@pytest.fixture
def emulator(azureml: AzureMlEmulator) -> AzureMlEmulator:
    """The session's; each test begins with a workspace and a registry in which nothing is."""
    return azureml


@pytest.fixture
def workspace(emulator: AzureMlEmulator, tmp_path: Path) -> Iterator[Adapter]:
    adapter = opened(emulator, tmp_path / "home")
    yield adapter
    adapter.close()


@pytest.fixture
def registry(workspace: Adapter) -> AzureRegistry:
    assert isinstance(workspace.registry, AzureRegistry)
    return workspace.registry


@pytest.fixture
def shared(emulator: AzureMlEmulator, tmp_path: Path) -> Iterator[OrganisationRegistry]:
    adapter = opened(emulator, tmp_path / "home", REGISTRY)
    assert isinstance(adapter, RegistryAdapter)
    yield adapter.registry
    adapter.close()


class TestOrganisationRegistry(RegistryContract):
    """The contract; payloads are versions of a workspace's model, as registries take no others."""

    @pytest.fixture
    def adapter(self, emulator: AzureMlEmulator, registry: AzureRegistry, tmp_path: Path) -> Adapter:
        self.workspace = registry
        return wrap_adapter(opened(emulator, tmp_path / "home", REGISTRY))

    def new_source(self) -> str:
        assets = self.workspace.assets
        number = len(list(assets.versions("models", "source"))) + 1
        files = self.folder / str(number)
        files.mkdir()
        (files / "weights").write_bytes(b"%d" % number)
        properties = {"modelType": "custom_model", "modelUri": self.workspace.upload(files)}
        assets.create("models", "source", str(number), properties)
        return source_of(self.workspace, "source", str(number))


def source_of(registry: AzureRegistry, name: str, version: str) -> str:
    """Return the address of a workspace's version as a source for a registry, or for another workspace."""
    scope = registry.assets.scope.split("/")
    return f"azureml://{scope[2]}/{scope[4]}/{scope[8]}/models/{name}/versions/{version}"


def registered(workspace: Adapter, registry: AzureRegistry, folder: Path) -> str:
    """Register version 1 of wine; return its address as a source for a registry."""
    registry.ensure_model("wine")
    registry.create_version(spec(payload(workspace, folder), tags={"a": "1"}), key="a")
    return source_of(registry, "wine", "1")


def test_a_model_is_shared_and_read_in_a_registry(
    workspace: Adapter, registry: AzureRegistry, shared: OrganisationRegistry, tmp_path: Path
) -> None:
    source = registered(workspace, registry, tmp_path)
    registry.set_approval("wine", "1", approval=Approval.APPROVED)
    shared.ensure_model("wine", description="for all")
    made = shared.create_version(spec(source, description="the first", tags={"a": "2"}), key="k")
    assert made.approval is Approval.PENDING, "approved for a workspace is not approved for all"
    assert (
        made
        == shared.get_version("wine", "1")
        == shared.create_version(spec(source, description="the first"), key="k")
    )
    assert (made.source, made.description, made.tags) == (source, "the first", {"a": "2"})
    assert [item.name for item in shared.list_models()] == ["wine"]
    assert [item.version for item in shared.list_versions("wine")] == ["1"]
    with pytest.raises(Conflict):
        shared.create_version(ModelVersionSpec(name="wine", source=source, digest="other"), key="k")
    shared.set_stage("wine", "1", stage="Production")
    shared.set_approval("wine", "1", approval=Approval.APPROVED)
    shared.set_tags("wine", "1", tags={"a": None, "b": "2"})
    found = shared.get_version("wine", "1")
    assert (found.stage, found.approval, found.tags) == ("Production", Approval.APPROVED, {"b": "2"})
    target = shared.download("wine", "1", tmp_path / "down")
    assert {file.name: file.read_bytes() for file in target.iterdir()} == {"weights": CONTENT}


def test_what_cannot_be_shared_says_why(
    workspace: Adapter, registry: AzureRegistry, shared: OrganisationRegistry, tmp_path: Path
) -> None:
    source = registered(workspace, registry, tmp_path)
    shared.share(source)
    with pytest.raises(Conflict, match="has a version 1"):
        shared.share(source)
    with pytest.raises(NotFound):
        shared.share(source.replace("versions/1", "versions/7"))
    for wrong in ("s3://bucket/model", source + "/../../x", ""):
        with pytest.raises(Rejected, match="no version of a workspace's model"):
            shared.share(wrong)
    with pytest.raises(NotFound, match="knows no runs"):
        shared.share("bridge-artifacts:/a/b")


def test_a_registry_that_is_not_there_is_told_as_such(
    emulator: AzureMlEmulator, workspace: Adapter, tmp_path: Path
) -> None:
    adapter = opened(emulator, tmp_path / "home", "azureml://registries/no-such-registry")
    assert "no registry 'no-such-registry'" in adapter.check()[0].message
    adapter.close()


def test_sharing_reaches_no_other_thread(
    emulator: AzureMlEmulator,
    workspace: Adapter,
    registry: AzureRegistry,
    shared: OrganisationRegistry,
    tmp_path: Path,
) -> None:
    """models.share of azure-ai-ml moves the client of every thread to the registry while it works (7.3)."""
    source = registered(workspace, registry, tmp_path)
    failed: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                assert registry.get_version("wine", "1").tags == {"a": "1"}
                assert [item.name for item in registry.list_models()] == ["wine"]
        except BaseException as error:
            failed.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(1, 6):
        shared.share(source, version=str(number))
    done.set()
    for reader in readers:
        reader.join()
    assert failed == []
    assert [item.version for item in shared.list_versions("wine")] == ["5", "4", "3", "2", "1"]


def test_an_import_that_fails_is_sent_once(
    emulator: AzureMlEmulator,
    workspace: Adapter,
    registry: AzureRegistry,
    shared: OrganisationRegistry,
    tmp_path: Path,
) -> None:
    """azure-ai-ml sends an import four times after a 500 (7.3), and what never succeeds as well (7.13)."""
    source = registered(workspace, registry, tmp_path)
    emulator.faults.fail("POST */import", status=500)
    with pytest.raises(Unavailable):
        shared.share(source)
    assert len([call for call in emulator.calls if call.path.endswith("/import")]) == 1
    shared.share(source)
    with pytest.raises(BridgeError):
        registry.assets.version("models", "wine", "77")
    assert len([call for call in emulator.calls if call.path.endswith("/versions/77")]) == 1


# A program that dies on the way.


@pytest.mark.parametrize("at", ["import", "tags", "claim"])
def test_what_died_on_the_way_is_gone_on_with(
    workspace: Adapter,
    registry: AzureRegistry,
    shared: OrganisationRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: str,
) -> None:
    """An import takes no tags: without a claim the repetition would find no key, and make another version."""
    source = registered(workspace, registry, tmp_path)
    shared.ensure_model("wine", tags={"team": "x"})
    assets, change, share = shared.assets, shared.assets.change, shared.share

    def died(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    def change_and_die(kind: str, name: str, version: str | None, change_: object) -> object:
        found = change(kind, name, version, change_)  # type: ignore[arg-type]
        if version is not None and at == "claim":
            raise KeyboardInterrupt
        return found

    def share_and_die(*given: object, **named: object) -> None:
        share(*given, **named)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shared, "share", {"import": died, "tags": share_and_die, "claim": share}[at])
        patched.setattr(assets, "change", change_and_die)
        with pytest.raises(KeyboardInterrupt):
            shared.create_version(spec(source), key="a")
    assert shared.get_model("wine").tags == {"team": "x"}, "a claim is nobody's business"
    made = shared.create_version(spec(source), key="a")
    assert made == shared.create_version(spec(source), key="a")
    assert ([item.version for item in shared.list_versions("wine")], made.tags) == ([made.version], {})
    assert not [tag for tag in tags_of(assets.container("models", "wine")) if tag.startswith(CLAIM)]


def test_a_version_that_another_brought_meanwhile_is_left_alone(
    workspace: Adapter, registry: AzureRegistry, shared: OrganisationRegistry, tmp_path: Path
) -> None:
    source = registered(workspace, registry, tmp_path)
    shared.ensure_model("wine")
    shared._claim("wine", "k", 1)
    folder = model_folder(tmp_path / "theirs")
    theirs = shared.create_version(spec(folder.as_uri(), tags={"by": "another"}), key="theirs")
    assert theirs.version == "2", "a number that somebody claimed is not taken"
    shared.share(source, version="1")
    shared.set_tags("wine", "1", tags={"by": "a third"})
    made = shared.create_version(spec(source), key="k")
    assert made.version == "3"
    assert [shared.get_version("wine", number).tags for number in "12"] == [
        {"by": "a third", "a": "1"},
        theirs.tags,
    ]


@pytest.mark.parametrize("differs", ["files", "description", "maker", "nothing"])
def test_another_models_import_with_the_same_tags_is_not_taken_for_ours(
    workspace: Adapter, registry: AzureRegistry, shared: OrganisationRegistry, tmp_path: Path, differs: str
) -> None:
    """Models of azure-ai-ml have no tags, and none of a mark: two of them look alike but for their files."""
    for name, content in (("mine", b"weights"), ("theirs", b"weights of another" * (differs == "files"))):
        (tmp_path / name / "model").mkdir(parents=True)
        (tmp_path / name / "model" / "weights").write_bytes(content or b"weights")
        uri = registry.upload(tmp_path / name / "model")
        text = f"of {name}" if differs == "description" else ""
        registry.assets.create("models", name, "1", {"modelUri": uri, "description": text})
        if differs != "maker":  # as azure-ai-ml leaves it
            held = registry.assets.arm.get(f"{registry.assets.scope}/models/{name}/versions/1", "models")
            held["properties"]["properties"].pop(MAKER)
            registry.assets.arm.put(
                f"{registry.assets.scope}/models/{name}/versions/1",
                "models",
                {"properties": held["properties"]},
            )
    shared.ensure_model("wine")
    shared._claim("wine", "k", 1)
    shared.share(source_of(registry, "theirs", "1"), name="wine", version="1")
    made = shared.create_version(spec(source_of(registry, "mine", "1")), key="k")
    assert made.version == ("1" if differs == "nothing" else "2")
    assert contents(shared.download("wine", made.version, tmp_path / "down")) == {"weights": b"weights"}


def test_what_others_shared_tells_nothing_of_the_workspace(
    workspace: Adapter, registry: AzureRegistry, shared: OrganisationRegistry, tmp_path: Path
) -> None:
    """models.share of azure-ai-ml takes the tags of the workspace along, our own among them."""
    source = registered(workspace, registry, tmp_path)
    registry.set_approval("wine", "1", approval=Approval.APPROVED)
    registry.set_stage("wine", "1", stage="Production")
    shared.share(source)
    found = shared.get_version("wine", "1")
    assert (found.approval, found.stage, found.tags) == (Approval.PENDING, "None", {"a": "1"})
    assert (found.source, found.digest) == (shared.address_of("wine", "1"), digest_of(CONTENT))
    made = shared.create_version(spec(source), key="a")
    assert made.version == "2", "the key was the workspace's own"
    shared.set_approval("wine", "1", approval=Approval.REJECTED)
    assert shared.get_version("wine", "1").approval is Approval.REJECTED
    assert tags_of(shared.assets.version("models", "wine", "1"))[OURS] == shared.name


# Between this machine, workspaces and registries.


def model_folder(folder: Path) -> Path:
    for name, content in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


def test_a_folder_of_this_machine_becomes_a_version_in_a_registry(
    shared: OrganisationRegistry, tmp_path: Path
) -> None:
    folder = model_folder(tmp_path / "model")
    shared.ensure_model("wine")
    made = shared.create_version(spec(folder.as_uri(), description="d", tags={"a": "1"}), key="k")
    assert made == shared.create_version(spec(folder.as_uri()), key="k") == shared.get_version("wine", "1")
    assert (made.description, made.tags) == ("d", {"a": "1"})
    assert properties_of(shared.assets.version("models", "wine", "1"))["modelType"] == "mlflow_model"
    assert contents(shared.download("wine", "1", tmp_path / "down")) == FILES


def test_a_name_with_a_dot_is_gone_on_with_where_it_is_and_refused_where_it_is_not(
    workspace: Adapter, registry: AzureRegistry, shared: OrganisationRegistry, tmp_path: Path
) -> None:
    source, folder = registered(workspace, registry, tmp_path), model_folder(tmp_path / "model")
    for refuse in (partial(shared.check_name, is_mlflow=True), shared.ensure_model):
        with pytest.raises(Rejected, match="registry model name") as caught:
            refuse("phi-3.5")
        assert "first version" in str(caught.value.hint)
    assert list(shared.list_models()) == []
    shared.share(source, name="phi-3.5", version="1")
    shared.check_name("phi-3.5", is_mlflow=True)
    assert shared.ensure_model("phi-3.5").name == "phi-3.5"
    of_folder = ModelVersionSpec(name="phi-3.5", source=folder.as_uri(), digest="d", tags={"a": "1"})
    of_model = ModelVersionSpec(name="phi-3.5", source=source, digest="e", tags={"a": "2"})
    made = [shared.create_version(asked, key=asked.digest) for asked in (of_folder, of_model)]
    again = [shared.create_version(asked, key=asked.digest) for asked in (of_folder, of_model)]
    assert made == again
    assert [(item.version, item.tags["a"]) for item in made] == [("2", "1"), ("3", "2")]
    shared.set_tags("phi-3.5", "3", tags={"a": "3"})
    assert [item.version for item in shared.list_versions("phi-3.5")] == ["3", "2", "1"]
    assert contents(shared.download("phi-3.5", "3", tmp_path / "down")) == {"weights": CONTENT}
    for change in (
        partial(shared.set_tags, tags={"a": "1"}),
        partial(shared.set_description, description="d"),
        shared.archive,
    ):
        with pytest.raises(Rejected, match="registry model name"):
            change("phi-3.5", None)


@pytest.fixture
def production(emulator: AzureMlEmulator, tmp_path: Path) -> Iterator[AzureRegistry]:
    """Another workspace of the subscription."""
    path = f"{emulator.scope.rpartition('/')[0]}/production"
    made = ask(emulator, "PUT", path, {"location": emulator.cloud.region, "properties": {}})
    assert made.status in (200, 201, 202), made
    adapter = opened(emulator, tmp_path / "production", emulator.uri.replace("test-workspace", "production"))
    assert isinstance(adapter.registry, AzureRegistry)
    yield adapter.registry
    adapter.close()


@pytest.mark.parametrize("way", ["workspace", "registry"])
def test_a_model_is_promoted_with_its_files(
    registry: AzureRegistry,
    shared: OrganisationRegistry,
    production: AzureRegistry,
    tmp_path: Path,
    way: str,
) -> None:
    registry.ensure_model("wine")
    registry.create_version(spec(registry.upload(model_folder(tmp_path / "model"))), key="a")
    source = source_of(registry, "wine", "1")
    if way == "registry":
        shared.share(source)
        source = shared.address_of("wine", "1")
    production.ensure_model("wine-in-production")
    given = spec(source, "wine-in-production")
    made = production.create_version(given, key="k")
    assert made == production.create_version(given, key="k")
    assert (made.version, made.source, made.digest) == ("1", source, given.digest)
    held = properties_of(production.asset_of("wine-in-production", "1"))
    assert held["modelType"] == "mlflow_model"
    assert "/workspaces/production/" in held["modelUri"]
    assert contents(production.download("wine-in-production", "1", tmp_path / "down")) == FILES


def test_a_version_is_registered_again_in_its_own_workspace_without_a_copy(
    registry: AzureRegistry, tmp_path: Path
) -> None:
    for name in ("wine", "beer"):
        registry.ensure_model(name)
    registry.create_version(spec(registry.upload(model_folder(tmp_path / "model"))), key="a")
    registry.create_version(spec(source_of(registry, "wine", "1"), "beer"), key="a")
    of_wine, of_beer = (properties_of(registry.asset_of(name, "1")) for name in ("wine", "beer"))
    assert (of_beer["modelUri"], of_beer["modelType"]) == (of_wine["modelUri"], "mlflow_model")


def test_nothing_is_registered_where_the_source_is_missing(
    registry: AzureRegistry, production: AzureRegistry
) -> None:
    production.ensure_model("wine")
    for source in (
        source_of(registry, "wine", "1"),
        f"{REGISTRY}/models/wine/versions/1",
        "azureml://registries/none-of-this-name/models/wine/versions/1",
    ):
        with pytest.raises(BridgeError):
            production.create_version(spec(source), key="k")
    assert list(production.list_versions("wine")) == []


# Reading by whatever address, as loading a model does.


@pytest.mark.parametrize("place", ["datastore", "workspace", "elsewhere", "registry"])
def test_a_model_is_read_wherever_it_is_registered(
    emulator: AzureMlEmulator,
    workspace: Adapter,
    registry: AzureRegistry,
    shared: OrganisationRegistry,
    production: AzureRegistry,
    tmp_path: Path,
    place: str,
) -> None:
    registry.ensure_model("wine")
    address = registry.upload(model_folder(tmp_path / "model"))
    registry.create_version(spec(address), key="a")
    source = source_of(registry, "wine", "1")
    shared.share(source)
    named = {"datastore": address, "registry": shared.address_of("wine", "1")}.get(place, source)
    home = tmp_path / "reader"
    uri = emulator.uri.replace("test-workspace", "production") if place == "elsewhere" else None
    adapter = wrap_adapter(opened(emulator, home, uri))
    version = ModelVersion(name="wine", version="1", source=named, digest=digest_of_path(tmp_path / "model"))
    assert contents(materialise(version, adapter.artifacts, cache=tmp_path / "cache")) == FILES
    nothing = msgspec.structs.replace(version, source=f"{named.rstrip('1')}7", digest=None)
    with pytest.raises(NotFound):
        materialise(nothing, adapter.artifacts, cache=tmp_path / "cache")
    adapter.close()


def test_a_model_that_the_sdk_registered_is_loaded_by_its_name(
    emulator: AzureMlEmulator, registry: AzureRegistry, tmp_path: Path
) -> None:
    for name, content in FILES.items():
        emulator.cloud.storage.put(f"LocalUpload/0123/model/{name}", content)
    uri = "azureml://datastores/workspaceblobstore/paths/LocalUpload/0123/model"
    body = {"modelType": "mlflow_model", "modelUri": uri}
    registry.assets.create("models", "wine", "1", body)
    adapter = wrap_adapter(opened(emulator, tmp_path / "reader"))
    assert adapter.registry is not None
    version = resolve_version("models:/wine/1", adapter.registry)
    assert contents(materialise(version, adapter.artifacts, cache=tmp_path / "cache")) == FILES
    adapter.close()


def test_what_another_left_behind_is_in_no_version(
    shared: OrganisationRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = tmp_path / "theirs" / "model", tmp_path / "ours" / "model"
    for folder, name in ((theirs, "theirs.bin"), (ours, "ours.bin")):
        folder.mkdir(parents=True)
        (folder / name).write_bytes(CONTENT)
    shared.ensure_model("wine")

    def died(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shared.assets, "create", died)
        with pytest.raises(KeyboardInterrupt):
            shared.create_version(spec(theirs.as_uri()), key="theirs")
    made = shared.create_version(spec(ours.as_uri()), key="ours")
    assert contents(shared.download("wine", made.version, tmp_path / "down")) == {"ours.bin": CONTENT}


def test_an_import_that_is_still_on_its_way_is_not_made_twice(
    workspace: Adapter,
    registry: AzureRegistry,
    shared: OrganisationRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = registered(workspace, registry, tmp_path)
    shared.ensure_model("wine")

    def broken(answer: object, path: str) -> None:
        raise Unavailable("the connection broke")

    with monkeypatch.context() as patched:
        patched.setattr(shared._routes, "_followed", broken)
        with pytest.raises(Unavailable):
            shared.create_version(spec(source, tags={"a": "2"}), key="k")
    made = shared.create_version(spec(source, tags={"a": "2"}), key="k")
    assert [(item.version, item.tags) for item in shared.list_versions("wine")] == [("1", {"a": "2"})]
    assert made == shared.get_version("wine", "1")


def test_a_registry_is_not_asked_for_each_file(
    emulator: AzureMlEmulator, workspace: Adapter, shared: OrganisationRegistry, tmp_path: Path
) -> None:
    shared.ensure_model("wine")
    made = shared.create_version(spec(model_folder(tmp_path / "model").as_uri()), key="k")
    source = payload_source(shared.address_of("wine", made.version), workspace.artifacts)
    for _, info in source.members():
        with source.open(info) as file:
            file.read()
    assert len([call for call in emulator.calls if "/datarefs/" in call.path]) == 1
