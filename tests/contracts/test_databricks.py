"""The contracts on the Databricks double in front of a real MLflow server, through the call pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.mlflow_servers import MlflowServer, mlflow_server
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.ids import experiment_id_of
from trackbridge.errors import AuthError, NotFound, Rejected
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts import (
    ArtifactContract,
    CapabilitiesContract,
    RegistryContract,
    TrackingContract,
)
from trackbridge.testing.contracts.registry_base import put_payload
from trackbridge.testing.contracts.registry_deletion import DeletionTests
from trackbridge.testing.contracts.registry_labels import LabelTests
from trackbridge.testing.contracts.registry_models import ModelTests
from trackbridge.testing.contracts.registry_versions import VersionTests
from trackbridge.testing.contracts.samples import digest_of, file_of, run_spec
from trackbridge.testing.emulators.databricks import PRINCIPAL, Databricks
from trackbridge.testing.emulators.databricks_storage import AWS, KINDS, Storage
from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
from trackbridge_adapters.databricks import open_workspace

PART_BYTES = 5 * 1024 * 1024  # S3 takes no smaller ones


def open_plain(
    databricks: Databricks,
    home: Path,
    options: Mapping[str, str] | None = None,
    *,
    part_bytes: int | None = None,
) -> RestAdapter:
    context = AdapterContext(
        home=home, options=options or {}, clock_ms=lambda: int(databricks.now_s() * 1000)
    )
    environment = databricks.principal_environment()
    adapter = open_workspace("databricks", context=context, environment=environment, part_bytes=part_bytes)
    assert isinstance(adapter, RestAdapter)
    return adapter


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="module")
def databricks(server: MlflowServer) -> Iterator[Databricks]:
    with Databricks(server.url) as databricks:
        yield databricks


@pytest.fixture
def empty(server: MlflowServer, databricks: Databricks, tmp_path: Path) -> Adapter:
    server.reset()
    databricks.clear()
    return wrap_adapter(open_plain(databricks, tmp_path / "home"))


class TestCapabilities(CapabilitiesContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


class TestTracking(TrackingContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


@pytest.fixture(scope="class")
def payload(server: MlflowServer, databricks: Databricks, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a run's files, which lie there during all tests of a class."""
    server.reset()
    databricks.clear()
    with closing(wrap_adapter(open_plain(databricks, tmp_path_factory.mktemp("home")))) as adapter:
        return put_payload(adapter, tmp_path_factory.mktemp("payload"))


class TestRegistry(RegistryContract):
    @pytest.fixture
    def kept_source(self, payload: str) -> str:
        return payload

    @pytest.fixture
    def adapter(self, server: MlflowServer, databricks: Databricks, tmp_path: Path) -> Adapter:
        server.reset(keeps_runs=True)
        return wrap_adapter(open_plain(databricks, tmp_path / "home"))


class TestUnityCatalog(ModelTests, VersionTests, LabelTests, DeletionTests):
    """What is else in the registry's contract passes as well, and costs a minute more than it tells."""

    @pytest.fixture
    def adapter(self, server: MlflowServer, databricks: Databricks, tmp_path: Path) -> Adapter:
        server.reset()
        databricks.clear()
        return wrap_adapter(open_plain(databricks, tmp_path / "home", {"model_schema": "main.ml"}))


class TestArtifacts(ArtifactContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


def open_run(adapter: RestAdapter, experiment: str = "files") -> str:
    return adapter.tracking.open_run(run_spec(experiment=experiment)).info.run_id


def put(adapter: RestAdapter, run_id: str, path: str, content: bytes, folder: Path) -> None:
    assert adapter.artifacts is not None
    file = file_of(folder, content)
    adapter.artifacts.put(run_id, path, file, digest=digest_of(content), size=len(content))


def read(adapter: RestAdapter, run_id: str, path: str) -> bytes:
    assert adapter.artifacts is not None
    with adapter.artifacts.open(run_id, path) as reader:
        return reader.read()


class Expiring:
    """Makes the first addresses of a storage expired ones, and counts them all."""

    def __init__(self, storage: Storage, *, expired: int) -> None:
        self.storage, self.expired, self.signed = storage, expired, 0
        self._sign = storage.address

    def __call__(self, *arguments: Any, **bound: Any) -> dict[str, Any]:
        self.signed += 1
        self.storage.seconds = -1.0 if self.signed <= self.expired else 3600.0
        return self._sign(*arguments, **bound)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1000, PART_BYTES, 2 * PART_BYTES + 1])
def test_files_travel_as_each_cloud_wants_it(
    server: MlflowServer, tmp_path: Path, kind: str, size: int
) -> None:
    content = bytes(range(251)) * (size // 251 + 1)
    with Databricks(server.url, storage=kind) as databricks:
        adapter = open_plain(databricks, tmp_path / "home", part_bytes=PART_BYTES)
        run_id = open_run(adapter)
        put(adapter, run_id, "folder/file.bin", content[:size], tmp_path)
        assert read(adapter, run_id, "folder/file.bin") == content[:size]
        assert databricks.storage.uploads == {}
        adapter.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("expired", [1, 4])
def test_an_address_that_has_expired_is_asked_for_again(
    server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, expired: int
) -> None:
    content = b"x" * (2 * PART_BYTES + 1)
    with Databricks(server.url, storage=kind) as databricks:
        adapter = open_plain(databricks, tmp_path / "home", part_bytes=PART_BYTES)
        run_id = open_run(adapter)
        # On S3 the first address is that of the whole file, and the next three those of its parts.
        expiring = Expiring(databricks.storage, expired=expired if kind == AWS else 1)
        monkeypatch.setattr(databricks.storage, "address", expiring)
        put(adapter, run_id, "file.bin", content, tmp_path)
        monkeypatch.setattr(databricks.storage, "address", Expiring(databricks.storage, expired=1))
        assert read(adapter, run_id, "file.bin") == content
        adapter.close()


@pytest.mark.parametrize("kind", KINDS)
def test_storage_that_takes_no_address_is_an_error_and_leaves_nothing_behind(
    server: MlflowServer, tmp_path: Path, kind: str
) -> None:
    with Databricks(server.url, storage=kind, signature_seconds=-1) as databricks:
        adapter = open_plain(databricks, tmp_path / "home", part_bytes=PART_BYTES)
        run_id = open_run(adapter)
        for content in (b"small", b"x" * (PART_BYTES + 1)):
            with pytest.raises(AuthError) as refused:
                put(adapter, run_id, "file.bin", content, tmp_path)
            assert "signature" not in str(refused.value)
        assert (databricks.storage.objects, databricks.storage.writes) == ({}, 0)
        adapter.close()


def test_many_files_are_listed_over_several_pages(
    server: MlflowServer, databricks: Databricks, tmp_path: Path
) -> None:
    adapter = open_plain(databricks, tmp_path / "home")
    run_id = open_run(adapter)
    root = adapter.tracking.artifact_root(run_id).removeprefix("dbfs:/databricks/mlflow-tracking/")
    names = [f"{number:04d}" for number in range(250)]
    databricks.storage.objects.update({f"{root}/folder/{name}": b"" for name in names})
    assert adapter.artifacts is not None
    assert [item.path for item in adapter.artifacts.list(run_id, "folder")] == [f"folder/{n}" for n in names]
    adapter.close()


@pytest.mark.parametrize("place", ["dbfs:/mnt/runs", "dbfs:/Volumes/main/ml/runs"])
def test_artifacts_of_an_experiment_may_lie_elsewhere(
    server: MlflowServer, databricks: Databricks, tmp_path: Path, place: str
) -> None:
    databricks.clear()
    adapter = open_plain(databricks, tmp_path / "home")
    name = f"/Shared/{place.rpartition('/')[0].rpartition('/')[2]}"
    adapter.tracking.wire.post("experiments/create", {"name": name, "artifact_location": place})
    run_id, content = open_run(adapter, name), b"y" * (1024 * 1024 + 1)
    for path, given in (("a/b/large.bin", content), ("a/b.txt", b""), ("c.txt", b"1")):
        put(adapter, run_id, path, given, tmp_path)
        assert read(adapter, run_id, path) == given
    assert adapter.artifacts is not None
    assert [item.path for item in adapter.artifacts.list(run_id, "a")] == ["a/b", "a/b.txt"]
    put(adapter, run_id, "c.txt", b"2", tmp_path)
    assert read(adapter, run_id, "c.txt") == b"2"
    for path in ("c.txt/d", "a"):
        with pytest.raises(Rejected):
            put(adapter, run_id, path, b"3", tmp_path)
    with pytest.raises(NotFound):
        read(adapter, run_id, "absent")
    assert len(databricks.files.files) == 3
    adapter.close()


def test_experiments_are_paths_of_the_workspace(
    server: MlflowServer, databricks: Databricks, tmp_path: Path
) -> None:
    server.reset()
    databricks.clear()
    adapter = open_plain(databricks, tmp_path / "home")
    for name in ("churn", "team/sub/churn", "/Shared/new/churn", "/Workspace/Shared/long"):
        info = adapter.tracking.open_run(run_spec(experiment=name)).info
        assert info.experiment_id == experiment_id_of(name)
        assert len(adapter.tracking.list_runs(info.experiment_id)) == 1
    home = f"/Users/{PRINCIPAL}"
    stored = {str(name) for (name,) in server.rows("SELECT name FROM experiments")}
    assert stored == {
        f"{home}/churn",
        f"{home}/team/sub/churn",
        "/Shared/new/churn",
        "/Shared/long",
    }
    shown = {item.name for item in adapter.tracking.list_experiments()}
    assert shown == {"churn", "team/sub/churn", "/Shared/new/churn", "/Workspace/Shared/long"}
    with pytest.raises(AuthError) as denied:
        open_run(adapter, "/Users/someone@example.com/churn")
    assert denied.value.hint
    with pytest.raises(Rejected):
        open_run(adapter, "/Shared/new")
    for name in ("../eve@example.com/churn", "/Shared/../x", "a//b", "a/"):
        with pytest.raises(Rejected):
            open_run(adapter, name)
    adapter.close()


def test_a_token_is_renewed_ahead_of_its_end_and_once_after_a_refusal(
    server: MlflowServer, tmp_path: Path
) -> None:
    with Databricks(server.url, token_seconds=30) as databricks:
        adapter = open_plain(databricks, tmp_path / "home")
        run_id = open_run(adapter)
        assert databricks.issuer.issued == 1
        databricks.clock_skew_s = 25
        databricks.requests.clear()
        adapter.tracking.get_run(run_id)
        assert databricks.issuer.issued == 2
        assert len([path for _, path in databricks.requests if path.endswith("runs/get")]) == 1
        databricks.issuer.revoke()
        adapter.tracking.get_run(run_id)
        assert databricks.issuer.issued == 3
        adapter.close()
