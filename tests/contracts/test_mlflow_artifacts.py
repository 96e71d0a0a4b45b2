"""The artifact contract on runs of real MLflow servers: proxied, in a folder, in a bucket; and faults."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer
from obstore.exceptions import GenericError
from obstore.store import MemoryStore

from tests.support.mlflow_servers import FLOOR, NEWEST, MlflowServer, mlflow_server
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.ids import experiment_id_of, mint_id
from trackbridge.domain.runs import RunSpec
from trackbridge.errors import (
    AuthError,
    BridgeError,
    NotFound,
    RateLimited,
    Rejected,
    TimedOut,
    Unavailable,
)
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.capabilities import SUPPORTED, Absence, Capability, Feature, absent
from trackbridge.testing.contracts import ArtifactContract
from trackbridge.testing.contracts.samples import digest_of
from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
from trackbridge_adapters._mlflow_rest.artifacts import (
    RestArtifacts,
    StoreOptions,
    open_artifacts,
)
from trackbridge_adapters._mlflow_rest.artifacts_files import Files
from trackbridge_adapters._mlflow_rest.artifacts_hdfs import FileSystemFiles
from trackbridge_adapters._mlflow_rest.artifacts_objects import ObjectFiles, translated
from trackbridge_adapters._mlflow_rest.artifacts_places import Places
from trackbridge_adapters.mlflow.service import service_of

BUCKET = "artifacts"
FLOOR_DELETES_FOLDERS = {
    Feature.ARTIFACTS_DELETE: absent(Absence.NOT_OFFERED, "this MLflow server cannot delete a single file")
}


def open_server(
    server: MlflowServer,
    home: Path,
    stores: StoreOptions | None = None,
    gaps: Mapping[Feature, Capability] | None = None,
) -> RestAdapter:
    context = AdapterContext(home=home, options={}, clock_ms=lambda: int(time.time() * 1000))
    service = dataclasses.replace(
        service_of(server.url, context),
        artifacts=lambda tracking: open_artifacts(tracking, stores=stores),
        gaps=gaps or {},
    )
    return RestAdapter(service, context)


def open_run(adapter: Adapter, run_id: str) -> None:
    assert adapter.tracking is not None
    adapter.tracking.open_run(
        RunSpec(
            run_id=run_id,
            experiment_id=experiment_id_of("files"),
            experiment_name="files",
            name="run",
            user="user",
            start_time=1_700_000_000_000,
        )
    )


@pytest.fixture(scope="module")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("newest"), version=NEWEST) as server:
        yield server


@pytest.fixture(scope="module")
def floor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("floor"), version=FLOOR) as server:
        yield server


@pytest.fixture(scope="module")
def in_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("folder")
    with mlflow_server(folder, artifacts=str(folder / "root")) as server:
        yield server


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client(endpoint).create_bucket(Bucket=BUCKET)
    yield endpoint
    server.stop()


def client(endpoint: str) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def s3_options(endpoint: str) -> StoreOptions:
    settings = {"AWS_ENDPOINT_URL_S3": endpoint, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test"}
    keys = {"access_key_id": "test", "secret_access_key": "test"}
    return StoreOptions(environment=settings, s3=keys)


@pytest.fixture(scope="module")
def in_bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("bucket"), artifacts=f"s3://{BUCKET}/some root") as server:
        yield server


class TestProxiedByTheNewest(ArtifactContract):
    @pytest.fixture
    def adapter(self, newest: MlflowServer, tmp_path: Path) -> Adapter:
        newest.reset()
        return wrap_adapter(open_server(newest, tmp_path / "home"))


class TestProxiedByTheFloor(ArtifactContract):
    @pytest.fixture
    def adapter(self, floor: MlflowServer, tmp_path: Path) -> Adapter:
        floor.reset()
        return wrap_adapter(open_server(floor, tmp_path / "home", gaps=FLOOR_DELETES_FOLDERS))


class TestInAFolder(ArtifactContract):
    @pytest.fixture
    def adapter(self, in_folder: MlflowServer, tmp_path: Path) -> Adapter:
        in_folder.reset()
        return wrap_adapter(open_server(in_folder, tmp_path / "home"))


class TestInABucket(ArtifactContract):
    @pytest.fixture
    def adapter(self, in_bucket: MlflowServer, s3: str, tmp_path: Path) -> Adapter:
        in_bucket.reset()
        presigned = {Feature.ARTIFACTS_PRESIGN: SUPPORTED}
        return wrap_adapter(open_server(in_bucket, tmp_path / "home", s3_options(s3), presigned))


class LocalPlaces:
    """Stands for ``Places``: every run lies in one store that this process holds."""

    def __init__(self, files_of_root: Callable[[str], Files]) -> None:
        self.files = files_of_root


class ArtifactsOnly(RestAdapter):
    """An adapter whose tracking knows every run, so that only its artifacts are under test."""

    def __init__(self, home: Path, files_of_root: Callable[[str], Files]) -> None:
        context = AdapterContext(home=home, options={}, clock_ms=lambda: 0)
        service = service_of("http://127.0.0.1:9", context)
        super().__init__(service, context)
        self.tracking.artifact_root = lambda run_id: f"kept://store/{run_id}/artifacts"  # type: ignore[method-assign]
        store = RestArtifacts(self.tracking, StoreOptions())
        store._places = LocalPlaces(files_of_root)  # type: ignore[assignment]
        self.artifacts = store
        self.tracking = None  # type: ignore[assignment]


class TestInObstoresMemory(ArtifactContract):
    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Adapter:
        store = MemoryStore()
        return wrap_adapter(
            ArtifactsOnly(
                tmp_path / "home",
                lambda root: ObjectFiles(store, root, root.removeprefix("kept://"), adapter="mlflow"),
            )
        )


class TestInAFileSystemOfFsspecs(ArtifactContract):
    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Adapter:
        import fsspec  # type: ignore[import-untyped,unused-ignore]

        folder = tmp_path / "files"
        system = fsspec.filesystem("file", auto_mkdir=True)
        return wrap_adapter(
            ArtifactsOnly(
                tmp_path / "home",
                lambda root: FileSystemFiles(
                    system, root, f"{folder}/{root.removeprefix('kept://')}", adapter="mlflow"
                ),
            )
        )


def put(adapter: RestAdapter, run_id: str, path: str, file: Path) -> ArtifactInfo:
    content = file.read_bytes()
    assert adapter.artifacts is not None
    return adapter.artifacts.put(run_id, path, file, digest=digest_of(content), size=len(content))


def test_a_large_file_travels_in_parts_with_bounded_memory(
    in_bucket: MlflowServer, s3: str, tmp_path: Path
) -> None:
    adapter, run_id, file = (
        open_server(in_bucket, tmp_path / "home", s3_options(s3)),
        mint_id(),
        tmp_path / "x",
    )
    open_run(adapter, run_id)
    with file.open("wb") as writer:
        for number in range(40):
            writer.write(bytes([number]) * (1024 * 1024))
    info = put(adapter, run_id, "large.bin", file)
    bucket, _, key = (info.native_uri or "").removeprefix("s3://").partition("/")
    head = client(s3).head_object(Bucket=bucket, Key=key)
    assert head["ETag"].strip('"').endswith("-5"), "it was not sent in parts of 8 MiB"
    assert head["Metadata"]["bridgesha256"] == info.digest
    adapter.close()


def test_another_machine_learns_the_digest_from_the_bucket(
    in_bucket: MlflowServer, s3: str, tmp_path: Path
) -> None:
    here, there = (open_server(in_bucket, tmp_path / name, s3_options(s3)) for name in ("here", "there"))
    run_id, file = mint_id(), tmp_path / "x"
    file.write_bytes(b"content")
    open_run(here, run_id)
    info = put(here, run_id, "folder/a.txt", file)
    assert there.artifacts is not None
    assert there.artifacts.stat(run_id, "folder/a.txt") == info
    assert there.artifacts.list(run_id, "folder").items == (info,)
    here.close()
    there.close()


def test_a_digest_known_here_ends_when_others_change_the_file(
    in_folder: MlflowServer, newest: MlflowServer, tmp_path: Path
) -> None:
    for server, changed in ((in_folder, b"CONTENT"), (newest, b"a longer content")):
        adapter, run_id, file = open_server(server, tmp_path / server.folder.name), mint_id(), tmp_path / "x"
        file.write_bytes(b"content")
        open_run(adapter, run_id)
        info = put(adapter, run_id, "a.txt", file)
        assert adapter.artifacts is not None
        assert info.digest == adapter.artifacts.stat(run_id, "a.txt").digest == digest_of(b"content")
        native = adapter.tracking.native_run_id(run_id)
        (found,) = server.folder.rglob(f"{native}/artifacts/a.txt")
        found.write_bytes(changed)
        assert adapter.artifacts.stat(run_id, "a.txt").digest is None
        put(adapter, run_id, "a.txt", file)
        with adapter.artifacts.open(run_id, "a.txt") as reader:
            assert reader.read() == b"content"
        adapter.close()


def test_a_bucket_that_is_not_there_or_not_reached_is_told_once(
    in_bucket: MlflowServer, s3: str, tmp_path: Path
) -> None:
    file, run_id = tmp_path / "x", mint_id()
    file.write_bytes(b"content")
    wrong = dataclasses.replace(s3_options(s3), environment={"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"})
    adapter = open_server(in_bucket, tmp_path / "home", wrong)
    open_run(adapter, run_id)
    with pytest.raises(Unavailable) as refused:
        put(adapter, run_id, "a.txt", file)
    assert "secret" not in str(refused.value)
    adapter.close()


def test_a_folder_of_another_machine_is_not_made_here(tmp_path: Path) -> None:
    context = AdapterContext(home=tmp_path / "home", options={}, clock_ms=lambda: 0)
    adapter = RestAdapter(service_of("http://mlflow.example.com", context), context)
    absent_folder = tmp_path / "server" / "1" / "ab" / "artifacts"
    with pytest.raises(Rejected, match="does not have"):
        Places(adapter.tracking, StoreOptions()).files(str(absent_folder))
    assert not (tmp_path / "server").exists()
    adapter.close()


@pytest.mark.parametrize(
    ("root", "store", "address"),
    [
        ("gs://bucket/a b/artifacts", "GCSStore", "gs://bucket/a b/artifacts/x"),
        ("abfss://box@acct.dfs.core.windows.net/1/r", "AzureStore", None),
        ("wasbs://box@acct.blob.core.windows.net/1/r", "AzureStore", None),
        ("az://box/1/r", "AzureStore", None),
        ("s3://bucket/a?b#c%41", "S3Store", "s3://bucket/a?b#c%41/x"),
    ],
)
def test_the_scheme_decides_the_store(root: str, store: str, address: str | None, tmp_path: Path) -> None:
    context = AdapterContext(home=tmp_path, options={}, clock_ms=lambda: 0)
    adapter = RestAdapter(service_of("http://127.0.0.1:9", context), context)
    key = "AccountName=acct;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net"
    options = StoreOptions(
        environment={"AZURE_STORAGE_CONNECTION_STRING": key, "AWS_ACCESS_KEY_ID": "x"},
        gcs={"skip_signature": True},
    )
    files = Places(adapter.tracking, options).files(root)
    assert isinstance(files, ObjectFiles)
    assert type(files._store).__name__ == store
    assert files.address("x") == (address or f"{root}/x")
    assert "c2VjcmV0" not in repr(options)
    adapter.close()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("status code: 503 <Code>SlowDown</Code><Message>Reduce your rate", RateLimited),
        ("status code: 400 <Code>ExpiredToken</Code><Message>The token has expired", AuthError),
        ("status code: 403 Forbidden", AuthError),
        ("status code: 404 <Code>NoSuchBucket</Code>", NotFound),
        ("status code: 301 Moved Permanently", Rejected),
        ("status code: 500 oops", Unavailable),
        ("operation timed out", TimedOut),
        ("no credentials were found", AuthError),
    ],
)
def test_errors_of_buckets_are_ours(text: str, kind: type[BridgeError]) -> None:
    signed = "https://host/x?sig=verysecret&X-Amz-Signature=verysecret "
    error = translated(
        GenericError(signed + text), adapter="mlflow", operation="artifacts.put", resource="s3://b"
    )
    assert type(error) is kind
    assert "verysecret" not in str(error)
