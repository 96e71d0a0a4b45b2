"""Files by the run history and signed addresses: conflicts, addresses that expire, entries without bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.blob_watch import BlobWatch, blob_watch, busy
from tests.support.scripted_servers import Answer, scripted_server
from tests.unit.adapters.azureml.rig import RUN, asked_for, opened
from trackbridge.errors import AuthError, ConfigError, NotFound, Rejected, Unavailable
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.testing.contracts.samples import digest_of, file_of
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.run_files import RunFiles
from trackbridge.testing.emulators.azureml.storage import ACCOUNT
from trackbridge.testing.emulators.listener import Arrived, Sent
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._mlflow_rest import artifacts as shared
from trackbridge_adapters._mlflow_rest import artifacts_parts
from trackbridge_adapters.azureml.artifacts import RunPlaces
from trackbridge_adapters.azureml.config import Workspace
from trackbridge_adapters.azureml.workspace import Location

EXPIRED_S = -60.0
CONTAINER = "azureml"
FOLDER = f"ExperimentRun/dcid.{RUN}"


@pytest.fixture
def blobs(azure: AzureMlEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlobWatch]:
    """What stands before Azurite, and is told as its address."""
    with blob_watch(azure.cloud.storage) as watch:
        monkeypatch.setattr(azure.cloud.storage, "url", watch.url)
        yield watch


@pytest.fixture
def files(azure: AzureMlEmulator, blobs: BlobWatch, tmp_path: Path) -> ArtifactStore:
    store = opened(azure, tmp_path / "home").artifacts
    assert store is not None
    return store


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(shared, "FILE_BYTES_MIN", 1000)
    monkeypatch.setattr(artifacts_parts, "PART_BYTES_MIN", 1000)
    return 1000


def put(files: ArtifactStore, folder: Path, path: str, content: bytes) -> None:
    file = file_of(folder, content)
    files.put(RUN, path, file, digest=digest_of(content), size=len(content))


def read(files: ArtifactStore, path: str) -> bytes:
    with files.open(RUN, path) as opened_file:
        return opened_file.read()


def test_a_file_is_replaced_although_the_run_history_knows_it(
    azure: AzureMlEmulator, files: ArtifactStore, tmp_path: Path
) -> None:
    put(files, tmp_path, "model/MLmodel", b"first")
    put(files, tmp_path, "model/MLmodel", b"second")
    assert read(files, "model/MLmodel") == b"second"
    assert len(asked_for(azure, "artifacts/batch/metadata")) == 2
    assert len(asked_for(azure, f"{FOLDER}/write")) == 1


def test_an_upload_that_broke_off_before_its_bytes_is_no_file_and_can_be_made_up_for(
    azure: AzureMlEmulator, files: ArtifactStore, tmp_path: Path
) -> None:
    azure.cloud.part(RunFiles).add(azure.scope, RUN, ["a/b"])
    assert list(files.list(RUN, "a")) == []
    with pytest.raises(NotFound):
        files.stat(RUN, "a/b")
    put(files, tmp_path, "a/b", b"at last")
    assert read(files, "a/b") == b"at last"


def test_the_same_bytes_are_not_sent_again(blobs: BlobWatch, files: ArtifactStore, tmp_path: Path) -> None:
    for _ in range(3):
        put(files, tmp_path, "a", b"the same")
    assert blobs.writes == 1


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 10_500])
def test_sizes_around_a_part(
    size: int, small_parts: int, blobs: BlobWatch, files: ArtifactStore, tmp_path: Path
) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    put(files, tmp_path, "file", content[:size])
    assert read(files, "file") == content[:size]
    info = files.stat(RUN, "file")
    assert (info.file_size, info.digest) == (size, digest_of(content[:size]))
    assert blobs.writes == (1 if size < small_parts else -(-size // small_parts) + 1)


def test_an_address_that_expires_in_the_middle_of_an_upload(
    small_parts: int,
    azure: AzureMlEmulator,
    blobs: BlobWatch,
    files: ArtifactStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = [3]

    def ending(arrived: Arrived) -> None:
        if ends and blobs.writes >= ends[0]:  # several go at once: it may never be just that many
            ends.clear()
            blobs.end_addresses()
            # Signed within the same second, the next one would be the same.
            monkeypatch.setattr(azure.cloud.storage, "signature_seconds", 7200.0)

    blobs.before = ending
    content = bytes(range(250)) * 40
    put(files, tmp_path, "file", content)
    assert read(files, "file") == content
    assert ends == []
    assert asked_for(azure, f"{FOLDER}/write")


def test_storage_that_lets_nobody_in_is_told(
    azure: AzureMlEmulator, files: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure.cloud.storage, "signature_seconds", EXPIRED_S)
    with pytest.raises(AuthError, match="AuthenticationFailed") as told:
        put(files, tmp_path, "a", b"content")
    assert "firewall" in (told.value.hint or "")
    assert "sig=" not in f"{told.value!s}{told.value!r}"


def test_an_upload_goes_on_in_another_process(
    small_parts: int, azure: AzureMlEmulator, blobs: BlobWatch, tmp_path: Path
) -> None:
    content = bytes(range(250)) * 40
    file = file_of(tmp_path, content)
    state = tmp_path / "state"
    turns = iter(range(4))

    def failing(arrived: Arrived) -> Sent | None:
        if "comp=block&" not in arrived.target or next(turns, None) is not None:
            return None
        return busy(arrived)

    for is_first in (True, False):
        store = opened(azure, tmp_path / f"home-{is_first}").artifacts
        assert store is not None
        blobs.before = failing if is_first else lambda arrived: None
        before = blobs.writes
        how = {"digest": digest_of(content), "size": len(content), "state": state}
        if is_first:
            with pytest.raises(Unavailable):
                store.put_resumable(RUN, "file", file, **how)  # type: ignore[arg-type]
            assert "sig=" not in state.read_text()
        else:
            store.put_resumable(RUN, "file", file, **how)  # type: ignore[arg-type]
            assert blobs.writes - before == 10 - 4 + 1
            assert read(store, "file") == content


def test_storage_never_gets_our_token(blobs: BlobWatch, files: ArtifactStore, tmp_path: Path) -> None:
    seen: list[str | None] = []
    blobs.before = lambda arrived: seen.append(arrived.headers.get("Authorization"))
    put(files, tmp_path, "a", b"content")
    assert read(files, "a") == b"content"
    assert len(seen) >= 2
    assert set(seen) == {None}


def test_listings_of_many_pages(
    azure: AzureMlEmulator, files: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure.cloud.part(RunFiles), "page_items", 3)
    for number in range(8):
        put(files, tmp_path, f"logs/{number}.txt", b"x")
    put(files, tmp_path, "logs/deeper/one.txt", b"x")
    put(files, tmp_path, "logs.txt", b"x")
    assert [info.path for info in files.list(RUN, "logs")] == [
        *(f"logs/{number}.txt" for number in range(8)),
        "logs/deeper",
    ]
    assert [info.path for info in files.list(RUN)] == ["logs", "logs.txt"]


@pytest.mark.parametrize("path", ["a./b", "a/b.", "x" * 1000, "a\u0085b"])
def test_names_that_storage_changes_are_refused(path: str, files: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(Rejected):
        put(files, tmp_path, path, b"content")


def test_a_run_of_another_place_is_told(azure: AzureMlEmulator, tmp_path: Path) -> None:
    adapter = opened(azure, tmp_path)
    adapter.tracking._roots[RUN] = "wasbs://container@account.blob.core.windows.net/7"
    assert adapter.artifacts is not None
    with pytest.raises(ConfigError, match="no place of this workspace"):
        adapter.artifacts.stat(RUN, "a")


@pytest.mark.parametrize(
    ("query", "headers", "code"),
    [
        ("", {"x-ms-blob-type": "BlockBlob", "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, "Md5Mismatch"),
        ("&comp=blocklist", {}, "InvalidBlockList"),
    ],
)
def test_azurite_refuses_what_storage_refuses(
    query: str, headers: dict[str, str], code: str, azure: AzureMlEmulator
) -> None:
    base = f"{azure.blob_url}/{ACCOUNT}"
    address = azure.cloud.storage.signed(base, CONTAINER, f"{FOLDER}/a", permissions="cw")
    body = b"<BlockList><Latest>AAAA</Latest></BlockList>" if query.endswith("list") else b"x"
    answer = requests.put(f"{address}{query}", data=body, headers=headers, timeout=30)
    assert answer.headers["x-ms-error-code"] == code
    tampered = address.replace("sp=cw", "sp=rcw")
    kind = {"x-ms-blob-type": "BlockBlob"}
    assert requests.put(tampered, data=b"x", headers=kind, timeout=30).status_code == 403
    assert requests.get(address, timeout=30).headers["x-ms-error-code"] == "AuthorizationPermissionMismatch"


@pytest.mark.parametrize(
    "last", [Answer(body={"value": [], "continuationToken": "2"}), Answer(status=404, body={})]
)
def test_a_listing_that_leads_nowhere_is_not_taken_for_whole(last: Answer, tmp_path: Path) -> None:
    first = Answer(body={"value": [{"path": "a"}], "continuationToken": "2"})
    with scripted_server() as server:
        server.says(first, *[last] * 3)
        location = Location(
            Workspace("s", "g", "w"),
            http=HttpClient(adapter="azureml"),
            home=tmp_path,
            arm=server.url,
            endpoint=server.url,
        )
        location._base = server.url
        root = f"azureml://experiments/7/runs/{RUN}/artifacts"
        files = RunPlaces(HttpClient(adapter="azureml"), location, None).files(root)
        with pytest.raises(Unavailable, match="the list"):
            files.count("", 100)
