"""Files by the run history and signed addresses: conflicts, addresses that expire, entries without bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.unit.adapters.azureml.rig import RUN, asked_for, emulated, opened
from trackbridge.errors import AuthError, ConfigError, NotFound, Rejected, Unavailable
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.testing.contracts.samples import digest_of, file_of
from trackbridge.testing.emulators.azureml import AzureMachineLearning
from trackbridge_adapters._mlflow_rest import artifacts as shared
from trackbridge_adapters._mlflow_rest import artifacts_parts

EXPIRED_S = -1.0


@pytest.fixture
def azure() -> Iterator[AzureMachineLearning]:
    with emulated() as azure:
        yield azure


@pytest.fixture
def files(azure: AzureMachineLearning, tmp_path: Path) -> ArtifactStore:
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
    azure: AzureMachineLearning, files: ArtifactStore, tmp_path: Path
) -> None:
    put(files, tmp_path, "model/MLmodel", b"first")
    put(files, tmp_path, "model/MLmodel", b"second")
    assert read(files, "model/MLmodel") == b"second"
    assert len(asked_for(azure, "artifacts/batch/metadata")) == 2
    assert len(asked_for(azure, f"ExperimentRun/dcid.{RUN}/write")) == 1


def test_an_upload_that_broke_off_before_its_bytes_is_no_file_and_can_be_made_up_for(
    azure: AzureMachineLearning, files: ArtifactStore, tmp_path: Path
) -> None:
    azure.artifacts.answer("POST", "batch/metadata", RUN, {}, b'{"paths": [{"path": "a/b"}]}', azure.url)
    assert list(files.list(RUN, "a")) == []
    with pytest.raises(NotFound):
        files.stat(RUN, "a/b")
    put(files, tmp_path, "a/b", b"at last")
    assert read(files, "a/b") == b"at last"


def test_the_same_bytes_are_not_sent_again(
    azure: AzureMachineLearning, files: ArtifactStore, tmp_path: Path
) -> None:
    for _ in range(3):
        put(files, tmp_path, "a", b"the same")
    assert azure.blobs.writes == 1


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 10_500])
def test_sizes_around_a_part(
    size: int, small_parts: int, azure: AzureMachineLearning, files: ArtifactStore, tmp_path: Path
) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    put(files, tmp_path, "file", content[:size])
    assert read(files, "file") == content[:size]
    info = files.stat(RUN, "file")
    assert (info.file_size, info.digest) == (size, digest_of(content[:size]))
    assert azure.blobs.writes == (1 if size < small_parts else -(-size // small_parts) + 1)


def test_an_address_that_expires_in_the_middle_of_an_upload(
    small_parts: int, azure: AzureMachineLearning, files: ArtifactStore, tmp_path: Path
) -> None:
    answered = azure.blobs.answer
    ends = {3}

    def expiring(method, path, query_text, headers, body):  # type: ignore[no-untyped-def]
        result = answered(method, path, query_text, headers, body)
        if azure.blobs.writes in ends:
            ends.remove(azure.blobs.writes)
            azure.clock_skew_s += 3601  # every address that was given so far has ended
        return result

    azure.blobs.answer = expiring  # type: ignore[method-assign]
    content = bytes(range(250)) * 40
    put(files, tmp_path, "file", content)
    assert read(files, "file") == content
    assert asked_for(azure, f"ExperimentRun/dcid.{RUN}/write")


def test_an_address_that_is_old_when_it_is_read(
    azure: AzureMachineLearning, files: ArtifactStore, tmp_path: Path
) -> None:
    put(files, tmp_path, "a", b"content")
    real = azure.blobs.signed
    given: list[str] = []

    def old_at_first(base: str, path: str, permissions: str) -> str:
        azure.blobs.signature_seconds = EXPIRED_S if not given else 3600.0
        given.append(real(base, path, permissions))
        return given[-1]

    azure.blobs.signed = old_at_first  # type: ignore[method-assign]
    assert read(files, "a") == b"content"
    assert len(given) == 2


def test_storage_that_lets_nobody_in_is_told(
    azure: AzureMachineLearning, files: ArtifactStore, tmp_path: Path
) -> None:
    azure.blobs.signature_seconds = EXPIRED_S
    with pytest.raises(AuthError, match="AuthenticationFailed") as told:
        put(files, tmp_path, "a", b"content")
    assert "firewall" in (told.value.hint or "")
    assert "sig=" not in f"{told.value!s}{told.value!r}"


def test_an_upload_goes_on_in_another_process(
    small_parts: int, azure: AzureMachineLearning, tmp_path: Path
) -> None:
    content = bytes(range(250)) * 40
    file = file_of(tmp_path, content)
    answered = azure.blobs.answer
    sent: list[str] = []

    def failing(method, path, query_text, headers, body):  # type: ignore[no-untyped-def]
        if "comp=block&" in query_text:
            if len(sent) >= 4:
                return answered(method, path, "", headers, body)._replace(status=503)
            sent.append(query_text)
        return answered(method, path, query_text, headers, body)

    state = tmp_path / "state"
    for is_first in (True, False):
        store = opened(azure, tmp_path / f"home-{is_first}").artifacts
        assert store is not None
        azure.blobs.answer = failing if is_first else answered  # type: ignore[method-assign]
        before = azure.blobs.writes
        how = {"digest": digest_of(content), "size": len(content), "state": state}
        if is_first:
            with pytest.raises(Unavailable):
                store.put_resumable(RUN, "file", file, **how)  # type: ignore[arg-type]
            assert "sig=" not in state.read_text()
        else:
            store.put_resumable(RUN, "file", file, **how)  # type: ignore[arg-type]
            assert azure.blobs.writes - before == 10 - 4 + 1
            assert read(store, "file") == content


def test_storage_never_gets_our_token(
    azure: AzureMachineLearning, files: ArtifactStore, tmp_path: Path
) -> None:
    put(files, tmp_path, "a", b"content")  # the double refuses an Authorization header beside a signature
    address = azure.blobs.signed(azure.url, f"ExperimentRun/dcid.{RUN}/a", "r")
    answer = requests.get(address, headers={"Authorization": "Bearer x"}, timeout=30)
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (403, "AuthenticationFailed")


def test_listings_of_many_pages(azure: AzureMachineLearning, files: ArtifactStore, tmp_path: Path) -> None:
    azure.artifacts.page_items = 3
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


def test_a_run_of_another_place_is_told(azure: AzureMachineLearning, tmp_path: Path) -> None:
    adapter = opened(azure, tmp_path)
    adapter.tracking._roots[RUN] = "wasbs://container@account.blob.core.windows.net/7"
    assert adapter.artifacts is not None
    with pytest.raises(ConfigError, match="no place of this workspace"):
        adapter.artifacts.stat(RUN, "a")


@pytest.mark.parametrize(
    ("query", "headers", "code"),
    [
        ("", {"x-ms-blob-type": "BlockBlob", "Content-MD5": "wrong"}, "Md5Mismatch"),
        ("", {}, "MissingRequiredHeader"),
        ("&comp=block&blockid=", {}, "InvalidBlobOrBlock"),
        ("&comp=blocklist", {}, "InvalidBlockList"),
    ],
)
def test_the_double_refuses_what_storage_refuses(
    query: str, headers: dict[str, str], code: str, azure: AzureMachineLearning
) -> None:
    address = azure.blobs.signed(azure.url, "ExperimentRun/a", "cw")
    body = b"<BlockList><Latest>AAAA</Latest></BlockList>" if query.endswith("list") else b"x"
    answer = requests.put(f"{address}{query}", data=body, headers=headers, timeout=30)
    assert answer.headers["x-ms-error-code"] == code
    tampered = address.replace("sp=cw", "sp=rcw")
    assert requests.put(tampered, data=b"x", timeout=30).status_code == 403
    assert requests.get(address, timeout=30).headers["x-ms-error-code"] == "AuthorizationPermissionMismatch"
