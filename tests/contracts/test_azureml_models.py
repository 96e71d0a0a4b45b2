"""Models on the Azure ML emulator: the registry contract both ways, and the hazards that our way has not."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.azureml_models import CONTENT, opened, payload, spec
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.artifacts import split_artifact_uri
from trackbridge.domain.models import Approval
from trackbridge.errors import AuthError, Conflict, NotFound, Rejected
from trackbridge.operations.opening import Opened
from trackbridge.ports.adapter import Adapter
from trackbridge.testing.contracts import RegistryContract
from trackbridge.testing.contracts.samples import digest_of, file_of
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge_adapters.azureml import limits
from trackbridge_adapters.azureml.assets import MAKER, Assets, properties_of, tags_of
from trackbridge_adapters.azureml.registry import AzureRegistry, AzureUnseenWarning

PROGRAM_S = 240.0


@pytest.fixture
def emulator(azureml: AzureMlEmulator) -> AzureMlEmulator:
    """The session's; each test begins with a workspace in which nothing is."""
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


class Models(RegistryContract):
    """The contract on a workspace of the emulator."""

    @pytest.fixture
    def adapter(self, workspace: Adapter) -> Adapter:
        return wrap_adapter(workspace)


class TestModelsOfMlflow(Models):
    def new_source(self) -> str:
        source = super().new_source()
        place = split_artifact_uri(source)
        assert place is not None
        assert self.opened.artifacts is not None
        content = b"flavors: {}\n"
        file = file_of(self.folder, content)
        run_id, path = place
        self.opened.artifacts.put(
            run_id, f"{path}/MLmodel", file, digest=digest_of(content), size=len(content)
        )
        return source


class TestCustomModels(Models):
    """A payload of one file that is no model of MLflow's, registered by ARM."""


# What both kinds have to do with each other.


def test_both_kinds_are_versions_of_one_model(
    workspace: Adapter, registry: AzureRegistry, tmp_path: Path
) -> None:
    registry.ensure_model("wine")
    mlflow = payload(workspace, tmp_path, MLmodel=b"flavors: {}\n")
    custom = payload(workspace, tmp_path)
    made = [
        registry.create_version(spec(source), key=str(number)).version
        for number, source in enumerate([mlflow, custom, mlflow, custom])
    ]
    assert made == ["1", "2", "3", "4"]
    assert [item.version for item in registry.list_versions("wine")] == ["4", "3", "2", "1"]
    types = [properties_of(registry.asset_of("wine", version))["modelType"] for version in made]
    assert types == ["mlflow_model", "custom_model", "mlflow_model", "custom_model"]


def test_an_alias_goes_between_both_kinds(
    workspace: Adapter, registry: AzureRegistry, tmp_path: Path
) -> None:
    registry.ensure_model("wine")
    registry.create_version(spec(payload(workspace, tmp_path, MLmodel=b"flavors: {}\n")), key="a")
    registry.create_version(spec(payload(workspace, tmp_path)), key="b")
    for version in ("1", "2", "1", "2"):
        registry.set_alias("wine", "champion", version=version)
        assert registry.get_model("wine").aliases == {"champion": version}
        assert registry.get_version("wine", version).aliases == ("champion",)
    registry.set_alias("wine", "champion", version=None)
    assert registry.get_model("wine").aliases == {}


def test_what_others_made_by_arm_is_shown_and_changed(registry: AzureRegistry) -> None:
    assets = registry.assets
    body = {"modelType": "custom_model", "modelUri": "azureml://datastores/workspaceblobstore/paths/a/b"}
    for version in ("2024-01-01", "1", "v2"):
        assets.create("models", "beer", version, {**body, "tags": {"by": "another"}})
    assert [item.name for item in registry.list_models()] == ["beer"]
    assert next(iter(registry.list_versions("beer"))).version == "1"
    assert {item.version for item in registry.list_versions("beer")} == {"2024-01-01", "1", "v2"}
    found = registry.get_version("beer", "v2")
    assert (found.tags, found.stage) == ({"by": "another"}, "None")
    assert found.source.endswith("/datastores/workspaceblobstore/paths/a/b")
    registry.set_tags("beer", "v2", tags={"a": "1", "by": None})
    registry.set_tags("beer", None, tags={"team": "x"})
    registry.set_approval("beer", "v2", approval=Approval.APPROVED)
    assert registry.get_version("beer", "v2").tags == {"a": "1"}
    assert registry.get_version("beer", "v2").approval is Approval.APPROVED
    assert registry.get_model("beer").tags == {"team": "x"}


def test_pages_of_versions_hold_each_once(registry: AzureRegistry) -> None:
    body = {"modelType": "custom_model", "modelUri": "azureml://datastores/workspaceblobstore/paths/a/b"}
    names = {"1", "2", "10", "x", "2024-01-01"}
    for version in names:
        registry.assets.create("models", "beer", version, body)
    seen: list[str] = []
    token = None
    while True:
        page = registry.list_versions("beer", max_results=2, token=token)
        seen += [item.version for item in page.items]
        token = page.token
        if token is None:
            break
    assert seen[:3] == ["10", "2", "1"]
    assert sorted(seen) == sorted(names)


def test_archived_is_the_stage_and_the_other_way_round(
    workspace: Adapter, registry: AzureRegistry, tmp_path: Path
) -> None:
    registry.ensure_model("wine")
    registry.create_version(spec(payload(workspace, tmp_path)), key="a")
    registry.set_stage("wine", "1", stage="Archived")
    assert properties_of(registry.asset_of("wine", "1"))["isArchived"]
    registry.archive("wine", "1", archived=False)
    assert registry.get_version("wine", "1").stage == "None"
    registry.archive("wine", "1")
    assert registry.get_version("wine", "1").stage == "Archived"
    assert [item.version for item in registry.list_versions("wine")] == ["1"]


def test_names_that_azure_cannot_hold_are_refused_before_the_network(
    emulator: AzureMlEmulator, workspace: Adapter, registry: AzureRegistry, tmp_path: Path
) -> None:
    body = {"modelType": "custom_model", "modelUri": "azureml://datastores/workspaceblobstore/paths/a"}
    before = len(emulator.calls)
    for name, version in (("a b", "1"), ("a/b", "1"), ("-a", "1"), ("a" * 256, "1"), ("a", "1/2"), ("a", "")):
        with pytest.raises(Rejected):
            registry.assets.create("models", name, version, body)
    assert len(emulator.calls) == before


def test_names_that_differ_by_case_are_two_models(
    workspace: Adapter, registry: AzureRegistry, tmp_path: Path
) -> None:
    """mfe.json: "Container name. This is case-sensitive." """
    registry.ensure_model("wine", description="one")
    with pytest.raises(NotFound):
        registry.get_model("Wine")
    registry.ensure_model("Wine", description="other")
    source = payload(workspace, tmp_path, MLmodel=b"flavors: {}\n")
    for name in ("wine", "Wine"):
        registry.create_version(spec(source, name), key="a")
        registry.set_alias(name, "champion", version="1")
    registry.set_alias("Wine", "champion", version=None)
    registry.delete_version("Wine", "1")
    assert (registry.get_model("wine").description, registry.get_model("Wine").description) == (
        "one",
        "other",
    )
    assert registry.get_version("wine", "1").aliases == ("champion",)
    assert [item.name for item in registry.list_models()] == ["Wine", "wine"]


# The hazards of section 7 of what is known about azure-ai-ml.


def test_two_who_register_at_once_get_two_numbers(
    emulator: AzureMlEmulator, workspace: Adapter, registry: AzureRegistry, tmp_path: Path
) -> None:
    """azure-ai-ml reads the next number and writes it, so that one of two writes over the other (7.5)."""
    registry.ensure_model("wine")
    sources = [[payload(workspace, tmp_path) for _ in range(3)] for _ in range(4)]
    others = [opened(emulator, tmp_path / f"home{number}") for number in range(4)]
    made: list[str] = []
    start = threading.Barrier(len(others))

    def register(number: int) -> None:
        own = others[number].registry
        assert own is not None
        start.wait()
        versions = [own.create_version(spec(source), key=source) for source in sources[number]]
        made.extend(item.version for item in versions)

    threads = [threading.Thread(target=register, args=(number,)) for number in range(len(others))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in others:
        other.close()
    assert sorted(map(int, made)) == list(range(1, 13))
    assert len({tags_of(item)["bridge.key"] for item in registry.assets.versions("models", "wine")}) == 12


def test_of_two_who_take_one_number_for_the_same_files_one_takes_the_next(
    registry: AzureRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service takes the second PUT of the same files, and its tags in the place of the first's (7.5)."""
    assets = registry.assets
    body = {"modelType": "custom_model", "modelUri": "azureml://datastores/workspaceblobstore/paths/a"}
    put, others = assets.arm.put, [{**body, "tags": {"by": "another"}, "properties": {MAKER: "another"}}]

    def put_and_be_overtaken(path: str, kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
        answer = put(path, kind, content)
        return put(path, kind, {"properties": others.pop()}) if others else answer

    monkeypatch.setattr(assets.arm, "put", put_and_be_overtaken)
    assert assets.create_next("models", "wine", 1, {**body, "tags": {"by": "us"}})["name"] == "2"
    made = [tags_of(assets.version("models", "wine", version)) for version in "12"]
    assert made == [{"by": "another"}, {"by": "us"}]


def test_an_experiment_whose_name_is_too_long_is_refused_before_the_network(
    emulator: AzureMlEmulator, workspace: Adapter
) -> None:
    assert workspace.tracking is not None
    before = len(emulator.calls)
    with pytest.raises(Rejected, match="at most 256"):
        workspace.tracking.ensure_experiment("e" * 257, experiment_id="1" * 32)
    assert len(emulator.calls) == before
    assert workspace.tracking.ensure_experiment("e" * 256, experiment_id="1" * 32).name == "e" * 256


def test_a_change_that_another_writer_undoes_is_made_again(
    registry: AzureRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every write replaces the whole asset, and there are no etags (7.12)."""
    assets = registry.assets
    body = {"modelType": "custom_model", "modelUri": "azureml://datastores/workspaceblobstore/paths/a"}
    assets.create("models", "wine", "1", {**body, "tags": {}})
    stale = properties_of(assets.version("models", "wine", "1"))
    put, undone = assets.arm.put, 0

    def put_and_undo(path: str, kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
        nonlocal undone
        answer = put(path, kind, content)
        if undone < 2:
            undone += 1
            put(path, kind, {"properties": {**stale, "tags": {"theirs": str(undone)}}})
        return answer

    monkeypatch.setattr(assets.arm, "put", put_and_undo)
    registry.set_tags("wine", "1", tags={"ours": "1"})
    assert tags_of(assets.version("models", "wine", "1")) == {"theirs": "2", "ours": "1"}


def test_a_change_is_never_put_over_and_over(registry: AzureRegistry) -> None:
    body = {"modelType": "custom_model", "modelUri": "azureml://datastores/workspaceblobstore/paths/a"}
    registry.assets.create("models", "wine", "1", body)
    turns = iter(range(1000))
    with pytest.raises(Conflict, match="undone"):
        registry.assets.change(
            "models", "wine", "1", lambda properties: {**properties, "description": str(next(turns))}
        )


def test_a_model_is_registered_without_a_payload_being_left_out(
    workspace: Adapter, registry: AzureRegistry, tmp_path: Path
) -> None:
    """With "*.bin" in .gitignore azure-ai-ml leaves the weights out of a model (section 5)."""
    files = {".gitignore": b"*\n", ".amlignore": b"*\n", "weights.bin": CONTENT}
    source = payload(workspace, tmp_path, **files)
    place = split_artifact_uri(source)
    assert place is not None
    assert workspace.artifacts is not None
    registry.ensure_model("wine")
    registry.create_version(spec(source), key="a")
    target = registry.download("wine", "1", tmp_path / "down")
    assert {file.name: file.read_bytes() for file in target.iterdir()} == files
    listed = {item.path: item.file_size for item in workspace.artifacts.list(*place)}
    assert listed == {f"model/{name}": len(content) for name, content in files.items()}


QUIET = """
import os, sys
before = dict(os.environ)
import time
from pathlib import Path
from trackbridge.ports.adapter import AdapterContext
from trackbridge_adapters.azureml import open_adapter
context = AdapterContext(
    home=Path(sys.argv[1]),
    options={"arm_endpoint": sys.argv[2], "endpoint": sys.argv[2]},
    clock_ms=lambda: time.time_ns() // 1_000_000,
)
adapter = open_adapter(sys.argv[3], context=context)
adapter.registry.ensure_model("wine")
adapter.registry.get_model("wine")
adapter.tracking.ensure_experiment("quiet", experiment_id="1" * 32)
adapter.close()
changed = {name for name in {*before, *os.environ} if before.get(name) != os.environ.get(name)}
assert not changed, changed
assert not [name for name in sys.modules if name.startswith(("azure.ai", "opencensus"))]
"""


def test_nothing_is_printed_set_or_loaded(
    emulator: AzureMlEmulator, workspace: Adapter, tmp_path: Path
) -> None:
    """azure-ai-ml prints, sets a variable, breaks on others' versions, reports (7.7, 7.10, 7.11, 7.14)."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE", "MLFLOW"))}
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(tmp_path / "own"), emulator.url, emulator.uri],
        env={**others, **emulator.environment()},
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_endpoints_are_looked_at_and_nothing_is_changed(
    emulator: AzureMlEmulator, workspace: Adapter
) -> None:
    """azure-ai-ml wipes the traffic and scores four times (7.1, 7.2)."""
    place = Opened(emulator.uri, wrap_adapter(workspace))
    before = len(emulator.calls)
    assert place.target.observe("wine") is None
    assert list(place.target.list_endpoints()) == []
    assert {call.method for call in emulator.calls[before:]} == {"GET"}


def test_latest_is_what_was_made_last_and_not_archived(registry: AzureRegistry) -> None:
    body = {"modelType": "custom_model", "modelUri": "azureml://datastores/workspaceblobstore/paths/a"}
    assets: Assets = registry.assets
    for version in ("5", "2", "x"):
        assets.create("models", "wine", version, body)
    assert assets.latest("models", "wine")["name"] == "x"
    assets.archive("models", "wine", "x")
    assert assets.latest("models", "wine")["name"] == "2"


# Files.


def test_a_folder_of_this_machine_becomes_a_version(
    emulator: AzureMlEmulator, registry: AzureRegistry, tmp_path: Path
) -> None:
    files = {"MLmodel": b"flavors: {}\n", ".gitignore": b"*.bin\n", "weights.bin": CONTENT}
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    registry.ensure_model("wine")
    with pytest.raises(Rejected) as refused:
        registry.create_version(spec(folder.as_uri()), key="k")
    assert "upload" in str(refused.value.hint)
    source = registry.upload(folder)
    assert registry.upload(folder) == source
    made = registry.create_version(spec(source), key="k")
    assert made.source == source
    assert properties_of(registry.asset_of("wine", "1"))["modelType"] == "mlflow_model"
    target = registry.download("wine", "1", tmp_path / "down")
    assert {file.name: file.read_bytes() for file in target.iterdir()} == files


@pytest.mark.parametrize("kind", ["run", "datastore"])
def test_a_model_of_too_many_files_is_refused_before_it_is_registered(
    emulator: AzureMlEmulator,
    workspace: Adapter,
    registry: AzureRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """The service takes 1,500 (resource-limits-capacity); here it's told before, with fewer for the test."""
    files = {"MLmodel": b"flavors: {}\n", "a": b"", "b": b""}
    source = payload(workspace, tmp_path, **files)
    if kind == "datastore":
        for name, content in files.items():
            emulator.cloud.storage.put(f"model/{name}", content)
        source = "azureml://datastores/workspaceblobstore/paths/model"
    registry.ensure_model("wine")
    row = dataclasses.replace(limits.LIMITS["model.files"], most=2)
    with monkeypatch.context() as patched:
        patched.setattr(limits, "LIMITS", {**limits.LIMITS, "model.files": row})
        before = len(emulator.calls)
        with pytest.raises(Rejected, match="model files would be 3"):
            registry.create_version(spec(source), key="k")
    sent = [call.path for call in list(emulator.calls)[before:] if call.method != "GET"]
    assert [path for path in sent if not path.endswith("/listSecrets")] == []
    assert registry.create_version(spec(source), key="k").version == "1"


def test_what_is_missing_is_told_as_missing(
    registry: AzureRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """azure-ai-ml: ResourceNotFoundError, ValidationException or AttributeError, by what is missing (7.6)."""
    body = {"modelType": "custom_model", "modelUri": "azureml://datastores/workspaceblobstore/paths/none"}
    registry.assets.create("models", "wine", "1", body)
    for missing in (
        lambda: registry.get_version("wine", "7"),
        lambda: registry.get_version("none", "1"),
        lambda: registry.assets.latest("models", "none"),
        lambda: registry.download("wine", "7", tmp_path),
        lambda: registry.download("wine", "1", tmp_path),
        lambda: registry.create_version(spec(str(body["modelUri"])), key="k"),
        lambda: registry.upload(tmp_path / "none"),
    ):
        with pytest.raises(NotFound):
            missing()
    version = registry.assets.version("models", "wine", "1")
    monkeypatch.setattr(registry, "asset_of", lambda *_: {**version, "properties": {"modelUri": None}})
    with pytest.raises(NotFound, match="names no files"):
        registry.download("wine", "1", tmp_path)


def test_who_may_not_ask_arm_sees_what_mlflow_shows(
    emulator: AzureMlEmulator, workspace: Adapter, registry: AzureRegistry, tmp_path: Path
) -> None:
    """A job's own token is for its workspace's services; whether ARM takes it is not documented."""
    source = payload(workspace, tmp_path, MLmodel=b"flavors: {}\n")
    registry.ensure_model("wine")
    emulator.faults.fail("* /subscriptions/*", status=403, times=None)
    made = registry.create_version(spec(source), key="k")
    assert made == registry.get_version("wine", "1") == registry.create_version(spec(source), key="k")
    with pytest.warns(AzureUnseenWarning, match="not MLflow's are not seen"):
        assert [item.name for item in registry.list_models()] == ["wine"]
    with pytest.warns(AzureUnseenWarning, match="not MLflow's are not seen"):
        assert [item.version for item in registry.list_versions("wine")] == ["1"]
    with pytest.raises(NotFound) as caught:
        registry.get_model("by-sdk")
    assert "not MLflow's are not seen" in str(caught.value.hint)
    registry.set_tags("wine", "1", tags={"a": "1"})
    assert registry.get_version("wine", "1").tags == {"a": "1"}
    with pytest.raises(AuthError):
        registry.assets.version("models", "wine", "1")


@pytest.mark.parametrize(
    ("kind", "properties"),
    [
        ("data", {"dataType": "uri_folder", "dataUri": "azureml://datastores/workspaceblobstore/paths/a/"}),
        ("environments", {"image": "mcr.microsoft.com/azureml/base:1", "osType": "Linux"}),
    ],
)
def test_data_and_environments_are_assets_like_models(
    registry: AzureRegistry, kind: str, properties: dict[str, Any]
) -> None:
    assets: Assets = registry.assets
    assert assets.create_next(kind, "red", 1, properties)["name"] == "1"
    assert assets.create_next(kind, "red", 1, properties)["name"] == "2"
    with pytest.raises(Conflict):
        assets.create(kind, "red", "2", properties)
    assets.change(kind, "red", "1", lambda held: None if held["tags"] else {**held, "tags": {"a": "1"}})
    found = assets.version(kind, "red", "1")
    first = next(iter(properties))
    assert (properties_of(found)[first], tags_of(found)) == (properties[first], {"a": "1"})
    assert assets.latest(kind, "red")["name"] == "2"
    assert assets.id_of(kind, "red", "2") == assets.latest(kind, "red")["id"]
    assets.archive(kind, "red", "2")
    assert {item["name"] for item in assets.versions(kind, "red")} == {"1", "2"}
    assert assets.delete(kind, "red", "1")
    assert [item["name"] for item in assets.containers(kind)] == ["red"]
