"""Large files in parts: what is noted, what is sent again after a kill, what is given up."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from obstore.store import AzureStore, S3Store

from tests.support.blob_watch import BlobWatch, blob_watch, busy
from tests.support.s3_servers import BUCKET, s3_client, s3_server, uploads_of
from trackbridge.errors import AuthError, NotFound, RateLimited, Rejected, Unavailable
from trackbridge.testing.emulators.azureml.blob_server import BlobServer
from trackbridge.testing.emulators.azureml.emulator import key_of
from trackbridge.testing.emulators.azureml.storage import ACCOUNT, CONTAINER, WRITE, Storage
from trackbridge.testing.emulators.listener import Arrived, Sent
from trackbridge.transport.part_notes import PartNotes
from trackbridge_adapters._mlflow_rest import artifacts_parts
from trackbridge_adapters._mlflow_rest.artifacts_objects import ObjectFiles
from trackbridge_adapters._mlflow_rest.artifacts_parts import (
    PART_BYTES_MIN,
    Parts,
    PartsRefused,
    put_in_parts,
)
from trackbridge_adapters._mlflow_rest.artifacts_parts_azure import AzureParts, signer
from trackbridge_adapters._mlflow_rest.artifacts_parts_s3 import S3Parts, S3Signature
from trackbridge_adapters._mlflow_rest.artifacts_places import StoreOptions, s3_keys

KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "secret/+", "token": "session"}
CLOCK_MS = 1_700_000_000_000
COUNT = 5


def clock_ms() -> int:
    return time.time_ns() // 1_000_000


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Shelf(Parts):
    """A store in memory, which fails when it is told to."""

    def __init__(self) -> None:
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.file: bytes | None = None
        self.sent: list[int] = []
        self.failures: dict[int, Exception] = {}
        self.begun = 0

    def begin(self, count: int, digest: str) -> str:
        self.begun += 1
        self.uploads[f"upload-{self.begun}"] = {}
        return f"upload-{self.begun}"

    def knows(self, upload: str) -> bool:
        return True

    def send(self, upload: str, number: int, content: bytes) -> str:
        if number in self.failures:
            raise self.failures[number]
        if upload not in self.uploads:
            raise Rejected("no such upload")
        self.sent.append(number)
        self.uploads[upload][number] = content
        return f"tag-{number}"

    def complete(self, upload: str, tags: list[str]) -> str:
        parts = self.uploads.pop(upload)
        assert tags == [f"tag-{number}" for number in range(1, len(parts) + 1)]
        self.file = b"".join(parts[number] for number in sorted(parts))
        return "version"

    def abort(self, upload: str) -> None:
        self.uploads.pop(upload, None)

    def close(self) -> None:
        pass


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts_parts, "PART_BYTES_MIN", 1000)


@pytest.fixture
def content() -> bytes:
    return os.urandom(COUNT * 1000 - 10)


def sent(parts: Parts, folder: Path, content: bytes, *, state: bool = True, address: str = "s3://b/x") -> str:
    file = folder / "file"
    file.write_bytes(content)
    notes = folder / "state" if state else None
    with file.open("rb") as source:
        return put_in_parts(
            parts, source, address=address, digest=digest_of(content), size=len(content), state=notes
        )


def test_all_parts_become_the_file(small_parts: None, content: bytes, tmp_path: Path) -> None:
    shelf = Shelf()
    assert sent(shelf, tmp_path, content) == "version"
    assert (shelf.file, sorted(shelf.sent), shelf.uploads) == (content, [1, 2, 3, 4, 5], {})
    assert not (tmp_path / "state").exists()


def test_only_what_is_missing_is_sent_again(small_parts: None, content: bytes, tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.failures[5] = Unavailable("away")
    with pytest.raises(Unavailable):
        sent(shelf, tmp_path, content)
    before, shelf.sent, shelf.failures = set(shelf.sent), [], {}
    assert before
    sent(shelf, tmp_path, content)
    assert shelf.file == content
    assert set(shelf.sent) == {1, 2, 3, 4, 5} - before
    assert shelf.begun == 1


def test_expired_credentials_keep_what_was_sent(small_parts: None, content: bytes, tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.failures[5] = AuthError("the token has expired")
    with pytest.raises(AuthError):
        sent(shelf, tmp_path, content)
    shelf.failures = {}
    sent(shelf, tmp_path, content)
    assert (shelf.file, shelf.begun) == (content, 1)


@pytest.mark.parametrize("address", ["s3://b/x", "s3://b/other"])
def test_notes_of_other_bytes_or_another_place_are_dropped(
    small_parts: None, content: bytes, tmp_path: Path, address: str
) -> None:
    shelf = Shelf()
    shelf.failures[5] = Unavailable("away")
    with pytest.raises(Unavailable):
        sent(shelf, tmp_path, content)
    shelf.failures = {}
    other = content if address == "s3://b/other" else bytes(reversed(content))
    sent(shelf, tmp_path, other, address=address)
    assert (shelf.file, shelf.begun, shelf.uploads) == (other, 2, {})


@pytest.mark.parametrize(
    "damage",
    [
        lambda notes: notes[:-7],  # a torn last line
        lambda notes: b"",
        lambda notes: b"\0" * 100,
        lambda notes: b'{"a": 1}\n',
        lambda notes: notes.replace(b"tag-", b"\xff\xfe"),
        lambda notes: notes + b"[]\n",
    ],
)
def test_damaged_notes_cost_parts_and_nothing_else(
    small_parts: None, content: bytes, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    shelf = Shelf()
    shelf.failures[5] = Unavailable("away")
    with pytest.raises(Unavailable):
        sent(shelf, tmp_path, content)
    shelf.failures = {}
    notes = tmp_path / "state"
    notes.write_bytes(damage(notes.read_bytes()))
    sent(shelf, tmp_path, content)
    assert shelf.file == content
    assert not notes.exists()


def test_an_upload_that_the_store_has_forgotten_begins_anew(
    small_parts: None, content: bytes, tmp_path: Path
) -> None:
    shelf = Shelf()
    shelf.failures[5] = Unavailable("away")
    with pytest.raises(Unavailable):
        sent(shelf, tmp_path, content)
    shelf.failures, shelf.uploads = {}, {}
    sent(shelf, tmp_path, content)
    assert (shelf.file, shelf.begun) == (content, 2)


def test_a_store_that_refuses_parts_is_left_without_any(
    small_parts: None, content: bytes, tmp_path: Path
) -> None:
    shelf = Shelf()
    shelf.failures[3] = Rejected("no parts")
    with pytest.raises(PartsRefused):
        sent(shelf, tmp_path, content)
    assert (shelf.file, shelf.uploads) == (None, {})
    assert not (tmp_path / "state").exists()


def test_without_notes_nothing_is_left_behind(small_parts: None, content: bytes, tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.failures[3] = RateLimited("slow down", retry_after_s=1.0)
    with pytest.raises(RateLimited):
        sent(shelf, tmp_path, content, state=False)
    assert shelf.uploads == {}


def test_notes_that_cannot_be_written_stop_nothing(small_parts: None, content: bytes, tmp_path: Path) -> None:
    shelf = Shelf()
    (tmp_path / "state").mkdir()
    sent(shelf, tmp_path, content)
    assert shelf.file == content


def test_notes_are_for_their_owner_alone(small_parts: None, content: bytes, tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.failures[5] = Unavailable("away")
    with pytest.raises(Unavailable):
        sent(shelf, tmp_path, content)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600


# S3


@pytest.mark.parametrize("token", ["session", None])
@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        (
            "PUT",
            "https://b.s3.eu-west-1.amazonaws.com/a%20b/%C3%BC%23.bin?partNumber=1&uploadId=a%2Fb",
            b"x" * 99,
        ),
        ("POST", "http://127.0.0.1:5000/b/x.bin?uploads=", b""),
        ("DELETE", "https://s3.us-east-1.amazonaws.com/b/x~y.bin?uploadId=Z", b""),
    ],
)
def test_signatures_are_those_of_botocore(
    method: str, url: str, body: bytes, token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    keys = {**KEYS, "token": token}
    ours = requests.Request(method, url, data=body, headers={"x-amz-meta-a": "b  c"}).prepare()
    S3Signature(lambda: keys, "eu-west-1", lambda: CLOCK_MS)(ours)
    theirs = AWSRequest(method=method, url=url, data=body, headers={"x-amz-meta-a": "b  c"})
    theirs.context["timestamp"] = ours.headers["x-amz-date"]
    theirs.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
    theirs_keys = Credentials(KEYS["access_key_id"], KEYS["secret_access_key"], token)
    botocores = S3SigV4Auth(theirs_keys, "s3", "eu-west-1")
    theirs.headers["X-Amz-Date"] = ours.headers["x-amz-date"]
    if token:
        theirs.headers["X-Amz-Security-Token"] = token
    text = botocores.string_to_sign(theirs, botocores.canonical_request(theirs))
    assert ours.headers["Authorization"].endswith(f"Signature={botocores.signature(text, theirs)}")
    assert "secret" not in str(ours.headers)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as endpoint:
        yield endpoint


def bucket(endpoint: str, name: str = BUCKET) -> Any:
    return S3Store(
        name,
        endpoint=endpoint,
        region="us-east-1",
        access_key_id="test",
        secret_access_key="test",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


def s3_parts(endpoint: str, key: str) -> S3Parts:
    keys = {"access_key_id": "test", "secret_access_key": "test"}
    return S3Parts(bucket(endpoint), key, lambda: keys, clock_ms, adapter="mlflow")


KILLED = """
    import os, signal, sys, threading
    from pathlib import Path
    from tests.unit.adapters.mlflow_rest.test_artifacts_parts import s3_parts, sent

    parts = s3_parts(sys.argv[1], "killed/ü b.bin")
    send, turns = parts.send, []

    def send_some(upload, number, content):
        turns.append(number)
        if len(turns) > 2:
            if len(turns) == 3:
                while (Path(sys.argv[2]) / "state").read_bytes().count(b"\\n") < 3:
                    threading.Event().wait(0.01)
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Event().wait()
        return send(upload, number, content)

    parts.send = send_some
    sent(parts, Path(sys.argv[2]), Path(sys.argv[3]).read_bytes(), address="s3://artifacts/killed")
"""


def test_after_a_kill_the_rest_goes_to_the_same_upload(endpoint: str, tmp_path: Path) -> None:
    content = os.urandom(1024) * (4 * PART_BYTES_MIN // 1024 + 5)
    (tmp_path / "content").write_bytes(content)
    script = [
        sys.executable,
        "-c",
        textwrap.dedent(KILLED),
        endpoint,
        str(tmp_path),
        str(tmp_path / "content"),
    ]
    killed = subprocess.run(script, cwd=Path(__file__).parents[4], timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    files = ObjectFiles(bucket(endpoint), "s3://artifacts/killed", "killed", adapter="mlflow")
    assert files.children("") == [], "half a file is seen"
    assert len(uploads_of(endpoint)) == 1
    parts = s3_parts(endpoint, "killed/ü b.bin")
    numbers: list[int] = []
    send = parts.send
    parts.send = lambda upload, number, content: numbers.append(number) or send(upload, number, content)  # type: ignore[func-returns-value,method-assign]
    version = sent(parts, tmp_path, content, address="s3://artifacts/killed")
    assert len(numbers) == 3
    found = files.find("ü b.bin")
    assert found is not None
    assert (found.size, found.digest, found.version) == (len(content), digest_of(content), version)
    with files.open("ü b.bin") as reader:
        assert digest_of(reader.read()) == digest_of(content)
    assert uploads_of(endpoint) == []
    parts.close()


def test_an_upload_that_s3_has_dropped_begins_anew(endpoint: str, tmp_path: Path) -> None:
    content = os.urandom(1024) * (2 * PART_BYTES_MIN // 1024)
    parts = s3_parts(endpoint, "dropped.bin")
    upload = parts.begin(2, digest_of(content))
    notes = PartNotes(tmp_path / "state", ["s3://b/x", digest_of(content), len(content), PART_BYTES_MIN])
    notes.begin(upload)
    notes.add(1, parts.send(upload, 1, content[:PART_BYTES_MIN]))
    parts.abort(upload)
    assert not parts.knows(upload)
    sent(parts, tmp_path, content)
    assert s3_client(endpoint).head_object(Bucket=BUCKET, Key="dropped.bin")["ContentLength"] == len(content)
    parts.close()


def forgetful(parts: S3Parts) -> S3Parts:
    """Let the store have forgotten every upload, as S3 has those that are completed; moto remembers them."""
    send = parts._send

    def sent_to_s3(method: str, query: dict[str, str], *rest: Any, **named: Any) -> Any:
        if method == "POST" and "uploadId" in query:
            raise parts._meaning("status code: 404 <Code>NoSuchUpload</Code>")
        return send(method, query, *rest, **named)

    parts._send = sent_to_s3  # type: ignore[method-assign,assignment]
    return parts


def test_a_completion_whose_answer_was_lost_is_not_taken_for_a_failure(endpoint: str) -> None:
    """S3 forgets an upload that is completed, and then says that there is none."""
    content = os.urandom(1024) * (PART_BYTES_MIN // 1024)
    first, other = s3_parts(endpoint, "lost.bin"), s3_parts(endpoint, "lost.bin")
    upload = first.begin(2, digest_of(content * 2))
    tags = [first.send(upload, number, content) for number in (1, 2)]
    version = first.complete(upload, tags)
    assert forgetful(first).complete(upload, tags) == version
    assert forgetful(other).complete(upload, tags) == version, "nor by another process"
    never = s3_parts(endpoint, "never.bin")
    for parts, named in ((other, tags[:1]), (other, ["x"]), (never, tags)):
        with pytest.raises(NotFound, match="NoSuchUpload"):
            forgetful(parts).complete(upload, named)
    for parts in (first, other, never):
        parts.close()


def test_a_bucket_that_does_not_exist_refuses_parts(endpoint: str, tmp_path: Path) -> None:
    parts = S3Parts(bucket(endpoint, "nowhere"), "x", lambda: KEYS, clock_ms, adapter="mlflow")

    with pytest.raises(PartsRefused, match="NoSuchBucket"):
        sent(parts, tmp_path, b"x" * 10)
    parts.close()


def test_keys_are_found_where_obstore_finds_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nowhere = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    monkeypatch.setenv("HOME", str(tmp_path))
    given = StoreOptions(environment=nowhere, s3_credentials=lambda: KEYS)
    in_settings = StoreOptions(environment=nowhere, s3={"access_key_id": "a", "secret_access_key": "b"})
    in_environment = StoreOptions(
        environment={
            **nowhere,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_SESSION_TOKEN": "c",
        }
    )
    unsigned = StoreOptions(environment=nowhere, s3={"skip_signature": True})
    found = [s3_keys(options) for options in (given, in_settings, in_environment)]
    read = [keys() for keys in found if keys is not None]
    assert read[0] == KEYS
    assert (read[1]["access_key_id"], read[1]["secret_access_key"], read[1]["token"]) == ("a", "b", None)
    assert read[2] == {"access_key_id": "a", "secret_access_key": "b", "token": "c"}
    assert s3_keys(unsigned) is None


# Azure


class Blobs:
    """Azure's storage (Azurite), and what is sent to it."""

    def __init__(self, storage: Storage, watch: BlobWatch) -> None:
        self.storage, self.watch = storage, watch
        self.fails_after = -1
        watch.before = self._busy

    def address(self, path: str) -> str:
        """Return an address at which the path can be written."""
        return self.storage.signed(f"{self.watch.url}/{ACCOUNT}", CONTAINER, path, permissions=WRITE)

    def _busy(self, arrived: Arrived) -> Sent | None:
        if "comp=block&" not in arrived.target:
            return None
        self.fails_after -= 1
        return busy(arrived) if self.fails_after == 0 else None


@pytest.fixture(scope="module")
def azurite() -> Iterator[Storage]:
    keys = {ACCOUNT: key_of(ACCOUNT)}
    server = BlobServer(keys)
    try:
        storage = Storage(server.wait(), keys, now_s=time.time)
        storage.ensure_container()
        yield storage
    finally:
        server.close()


@pytest.fixture
def blobs(azurite: Storage) -> Iterator[Blobs]:
    with blob_watch(azurite) as watch:
        yield Blobs(azurite, watch)


def test_blocks_wait_for_the_next_call(
    blobs: Blobs, small_parts: None, content: bytes, tmp_path: Path
) -> None:
    blobs.fails_after = 3
    address = blobs.address("run/x.bin")
    with pytest.raises(RateLimited):
        sent(AzureParts(lambda: address, adapter="mlflow"), tmp_path, content)
    assert not blobs.storage.exists("run/x.bin")
    written = blobs.watch.writes
    parts = AzureParts(lambda: address, adapter="mlflow")
    version = sent(parts, tmp_path, content)
    assert blobs.storage.get("run/x.bin") == content
    told = requests.head(
        blobs.storage.signed(f"{blobs.storage.url}/{ACCOUNT}", CONTAINER, "run/x.bin"), timeout=30
    )
    assert (told.headers["ETag"], told.headers["x-ms-meta-bridgesha256"]) == (version, digest_of(content))
    assert blobs.watch.writes - written < COUNT + 1, "blocks were sent again"
    parts.close()


def test_blocks_that_storage_has_dropped_are_sent_anew(
    blobs: Blobs, small_parts: None, content: bytes, tmp_path: Path
) -> None:
    blobs.fails_after = 3
    address = blobs.address("run/y.bin")
    with pytest.raises(RateLimited):
        sent(AzureParts(lambda: address, adapter="mlflow"), tmp_path, content)
    blobs.storage.put("run/y.bin", b"another's")  # drops the blocks that no list has named
    sent(AzureParts(lambda: address, adapter="mlflow"), tmp_path, content)
    assert blobs.storage.get("run/y.bin") == content


def test_an_address_that_is_not_taken_refuses_parts(
    blobs: Blobs, small_parts: None, content: bytes, tmp_path: Path
) -> None:
    address = blobs.address("run/other.bin").replace("other", "x")
    with pytest.raises(PartsRefused) as refused:
        sent(AzureParts(lambda: address, adapter="mlflow"), tmp_path, content)
    assert "sig=" not in str(refused.value)


def test_a_store_that_cannot_sign_refuses_parts(tmp_path: Path) -> None:
    store = AzureStore("box", account_name="acct", sas_key="sv=1&sig=verysecret")
    with pytest.raises(PartsRefused) as refused:
        sent(AzureParts(signer(store, "x.bin"), adapter="mlflow"), tmp_path, b"x" * 10)
    assert "verysecret" not in str(refused.value)


def test_ids_of_blocks_are_as_long_as_obstores() -> None:
    from trackbridge_adapters._mlflow_rest.artifacts_parts_azure import _block

    parts = AzureParts(lambda: "address", adapter="mlflow")
    blocks = [_block(parts.begin(1, "sha256:ab"), number) for number in (1, 50_000)]
    assert {len(base64.b64decode(block)) for block in blocks} == {32}
