"""The artifact contract on runs of real MLflow servers: proxied, in a folder, in a bucket; and faults."""

from __future__ import annotations

import dataclasses
import errno
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped,unused-ignore]
from obstore.exceptions import GenericError
from obstore.store import MemoryStore

from tests.support.mlflow_servers import MlflowServer
from tests.support.s3_servers import BUCKET, s3_client
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
    Unsupported,
)
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.capabilities import SUPPORTED, Absence, Capabilities, Capability, Feature, absent
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
from trackbridge_adapters._mlflow_rest.conversions import TAG_EXPERIMENT_ID
from trackbridge_adapters._mlflow_rest.negotiation import REASONS
from trackbridge_adapters.mlflow.service import service_of

FLOOR_DELETES_FOLDERS = {
    Feature.ARTIFACTS_DELETE: absent(Absence.NOT_OFFERED, REASONS[Feature.ARTIFACTS_DELETE])
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


def open_run(adapter: Adapter, run_id: str, experiment: str = "files") -> None:
    assert adapter.tracking is not None
    adapter.tracking.open_run(
        RunSpec(
            run_id=run_id,
            experiment_id=experiment_id_of(experiment),
            experiment_name=experiment,
            name="run",
            user="user",
            start_time=1_700_000_000_000,
        )
    )


def s3_options(endpoint: str) -> StoreOptions:
    settings = {"AWS_ENDPOINT_URL_S3": endpoint, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test"}
    keys = {"access_key_id": "test", "secret_access_key": "test"}
    return StoreOptions(environment=settings, s3=keys)


def place(adapter: RestAdapter, experiment: str, location: str) -> RestAdapter:
    """Make an experiment whose runs lie elsewhere than the server's own."""
    tags = [{"key": TAG_EXPERIMENT_ID, "value": experiment_id_of(experiment)}]
    body = {"name": experiment, "artifact_location": location, "tags": tags}
    adapter.tracking.wire.post("experiments/create", body)
    return adapter


def in_folder(newest: MlflowServer, home: Path, experiment: str = "contract") -> RestAdapter:
    newest.reset()
    return place(open_server(newest, home), experiment, str(newest.folder / "root"))


def in_bucket(newest: MlflowServer, s3: str, home: Path, experiment: str = "contract") -> RestAdapter:
    newest.reset()
    adapter = open_server(newest, home, s3_options(s3), {Feature.ARTIFACTS_PRESIGN: SUPPORTED})
    return place(adapter, experiment, f"s3://{BUCKET}/some root")


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
    def adapter(self, newest: MlflowServer, tmp_path: Path) -> Adapter:
        return wrap_adapter(in_folder(newest, tmp_path / "home"))


class TestInABucket(ArtifactContract):
    @pytest.fixture
    def adapter(self, newest: MlflowServer, s3: str, tmp_path: Path) -> Adapter:
        return wrap_adapter(in_bucket(newest, s3, tmp_path / "home"))


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
        self._declared = self.tracking.capabilities
        self.tracking = None  # type: ignore[assignment]

    def capabilities(self) -> Capabilities:
        return self._declared


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


class MovesLikeHdfs(LocalFileSystem):  # type: ignore[misc,unused-ignore]
    """Local files that are replaced as pyarrow replaces them in HDFS, which does not rename over a file."""

    def mv(self, path1: str, path2: str, recursive: bool = True, **options: object) -> None:
        if self._renamed(path1, path2):
            return
        try:
            Path(path2).unlink()
        except FileNotFoundError as error:
            raise OSError(errno.EIO, "HDFS delete failed") from error
        time.sleep(0.005)  # the next request to the name node
        if not self._renamed(path1, path2):
            raise OSError(errno.EIO, "HDFS rename failed")

    def _renamed(self, path1: str, path2: str) -> bool:
        try:
            os.link(path1, path2)
        except FileExistsError:
            return False
        Path(path1).unlink()
        return True


class TestInAFileSystemThatMovesLikeHdfs(ArtifactContract):
    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Adapter:
        folder = tmp_path / "files"
        system = MovesLikeHdfs(auto_mkdir=True)
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
    newest: MlflowServer, s3: str, tmp_path: Path
) -> None:
    adapter = in_bucket(newest, s3, tmp_path / "home", "files")
    run_id, file = mint_id(), tmp_path / "x"
    open_run(adapter, run_id)
    with file.open("wb") as writer:
        for number in range(40):
            writer.write(bytes([number]) * (1024 * 1024))
    info = put(adapter, run_id, "large.bin", file)
    bucket, _, key = (info.native_uri or "").removeprefix("s3://").partition("/")
    head = s3_client(s3).head_object(Bucket=bucket, Key=key)
    assert head["ETag"].strip('"').endswith("-5"), "it was not sent in parts of 8 MiB"
    assert head["Metadata"]["bridgesha256"] == info.digest
    adapter.close()


def test_another_machine_learns_the_digest_from_the_bucket(
    newest: MlflowServer, s3: str, tmp_path: Path
) -> None:
    here = in_bucket(newest, s3, tmp_path / "here", "files")
    there = open_server(newest, tmp_path / "there", s3_options(s3))
    run_id, file = mint_id(), tmp_path / "x"
    file.write_bytes(b"content")
    open_run(here, run_id)
    info = put(here, run_id, "folder/a.txt", file)
    assert there.artifacts is not None
    assert there.artifacts.stat(run_id, "folder/a.txt") == info
    assert there.artifacts.list(run_id, "folder").items == (info,)
    here.close()
    there.close()


def test_a_digest_known_here_ends_when_others_change_the_file(newest: MlflowServer, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"content")
    newest.reset()
    proxied = open_server(newest, tmp_path / "proxied")
    there = place(open_server(newest, tmp_path / "there"), "files", str(newest.folder / "root"))
    for adapter, name, changed in ((there, "files", b"CONTENT"), (proxied, "proxied", b"a longer content")):
        run_id = mint_id()
        open_run(adapter, run_id, name)
        info = put(adapter, run_id, "a.txt", file)
        assert adapter.artifacts is not None
        assert info.digest == adapter.artifacts.stat(run_id, "a.txt").digest == digest_of(b"content")
        native = adapter.tracking.native_run_id(run_id)
        (found,) = newest.folder.rglob(f"{native}/artifacts/a.txt")
        found.write_bytes(changed)
        assert adapter.artifacts.stat(run_id, "a.txt").digest is None
        put(adapter, run_id, "a.txt", file)
        with adapter.artifacts.open(run_id, "a.txt") as reader:
            assert reader.read() == b"content"
        adapter.close()


def test_a_server_that_cannot_delete_a_single_file_says_so_once_and_is_remembered(
    floor: MlflowServer, tmp_path: Path
) -> None:
    floor.reset()
    adapter, run_id, file = open_server(floor, tmp_path / "home"), mint_id(), tmp_path / "x"
    file.write_bytes(b"content")
    open_run(adapter, run_id)
    put(adapter, run_id, "folder/a.txt", file)
    assert adapter.capabilities().supports(Feature.ARTIFACTS_DELETE)
    assert adapter.artifacts is not None
    with pytest.raises(Unsupported, match="single file"):
        adapter.artifacts.delete(run_id, "folder/a.txt")
    assert put(adapter, run_id, "folder/a.txt", file).file_size == 7
    again = open_server(floor, tmp_path / "home")
    declared = again.capabilities().features[Feature.ARTIFACTS_DELETE]
    assert (declared.supported, declared.reason) == (False, REASONS[Feature.ARTIFACTS_DELETE])
    for opened in (adapter, again):
        opened.close()


def test_each_folder_is_listed_once_for_all_the_files_that_go_into_it(
    newest: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest.reset()
    adapter, run_id, file = open_server(newest, tmp_path / "home"), mint_id(), tmp_path / "x"
    open_run(adapter, run_id)
    sent: list[str] = []
    send = adapter.tracking.wire.send
    monkeypatch.setattr(
        adapter.tracking.wire,
        "send",
        lambda method, *rest, **named: sent.append(method) or send(method, *rest, **named),
    )
    for number in range(20):
        file.write_bytes(str(number).encode())
        put(adapter, run_id, f"folder/{number}", file)
    assert sent.count("PUT") == 20
    assert sent.count("GET") <= 4
    adapter.close()


def test_a_bucket_that_is_not_there_or_not_reached_is_told_once(
    newest: MlflowServer, s3: str, tmp_path: Path
) -> None:
    file, run_id = tmp_path / "x", mint_id()
    file.write_bytes(b"content")
    in_bucket(newest, s3, tmp_path / "made", "files").close()
    wrong = dataclasses.replace(s3_options(s3), environment={"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"})
    adapter = open_server(newest, tmp_path / "home", wrong)
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
