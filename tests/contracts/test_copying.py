"""Files go in a stream between S3 and Blob storage, real servers of both, through faults and kills."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.blob_watch import blob_watch
from tests.support.s3_servers import BUCKET, KEY, REGION, SECRET, s3_server
from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.calls.policy import CallPolicy
from trackbridge.errors import AuthError, Conflict
from trackbridge.operations.copying import Copied, CopyOptions, copy_artifact, copy_file
from trackbridge.ports.adapter import AdapterContext
from trackbridge.testing.contracts.samples import run_spec
from trackbridge.testing.emulators.azureml.blob_server import BlobServer
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.storage import Storage
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._mlflow_rest.artifacts_files import Files
from trackbridge_adapters._mlflow_rest.artifacts_objects import ObjectFiles
from trackbridge_adapters._mlflow_rest.artifacts_places import StoreOptions, parts_in, s3_keys, s3_store
from trackbridge_adapters._mlflow_rest.artifacts_streams import FileOriginal, FileReplica
from trackbridge_adapters.azureml import open_workspace
from trackbridge_adapters.azureml.datastores import Container, Datastore, DatastoreFiles
from trackbridge_adapters.azureml.storage_keys import StorageKeys
from trackbridge_adapters.sagemaker import open_adapter as open_sagemaker

ROOT = Path(__file__).resolve().parents[2]

ACCOUNT, CONTAINER = "copytarget", "files"
PART = 8 * 1024 * 1024
SIZE = 3 * PART + 1234


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(scope="module")
def blobs() -> Iterator[Storage]:
    key = base64.b64encode(os.urandom(64)).decode()
    server = BlobServer({ACCOUNT: key})
    try:
        storage = Storage(server.wait(), {ACCOUNT: key}, now_s=time.time)
        storage.ensure_container(CONTAINER, account=ACCOUNT)
        yield storage
    finally:
        server.close()


def s3_files(url: str) -> Files:
    named = {"access_key_id": KEY, "secret_access_key": SECRET, "endpoint": url, "region": REGION}
    options = StoreOptions(s3=named, environment={})
    store = s3_store(BUCKET, options)
    parts_of = parts_in(store, lambda: s3_keys(options), lambda: int(time.time() * 1000), adapter="test")
    return ObjectFiles(store, f"s3://{BUCKET}", "", adapter="test", parts_of=parts_of)


class Secrets:
    """Answers ``listSecrets`` for the container, as a signature of some seconds or as the key."""

    def __init__(self, storage: Storage, kind: str, seconds: float = 3600.0) -> None:
        self.storage, self.kind, self.seconds = storage, kind, seconds
        self.asked = 0

    def __call__(self) -> dict[str, Any]:
        self.asked += 1
        if self.kind == "AccountKey":
            return {"secretsType": "AccountKey", "key": self.storage.key(ACCOUNT)}
        token = self.storage.sas(CONTAINER, account=ACCOUNT, seconds=self.seconds)
        return {"secretsType": "Sas", "sasToken": token}


def blob_files(
    secrets: Secrets, *, clock_ms: Any = lambda: int(time.time() * 1000), url: str = ""
) -> DatastoreFiles:
    datastore = Datastore("blobs", "azureblob", ACCOUNT, CONTAINER, "core.windows.net", "https", True)
    keys = StorageKeys(secrets, None, ACCOUNT, CONTAINER, clock_ms)
    http = HttpClient(adapter="test")
    place = f"{url or secrets.storage.url}/{{account}}"
    return DatastoreFiles(Container(datastore, keys, http, place), "below")


def filled(files: Files, path: str, size: int = SIZE) -> bytes:
    content = random.Random(size).randbytes(size)
    files.put(path, io.BytesIO(content), digest=digest_of(content), size=size)
    return content


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def copied(source: Files, target: Files, path: str, state: Path, **named: Any) -> Copied:
    entry = source.find(path)
    assert entry is not None
    parts = target.parts(path, resumable=True)
    assert parts is not None
    held = target.find(path)
    known = None if held is None else (held.size or 0, held.digest)
    original = FileOriginal(source, path, entry, entry.digest)
    options = CopyOptions(policy=CallPolicy(backoff_s=0.01), **named)
    return copy_file(original, FileReplica(target, path, parts, known), state=state, options=options)


def read(files: Files, path: str) -> bytes:
    with files.open(path) as file:
        return file.read()


@pytest.mark.parametrize("kind", ["Sas", "AccountKey"])
def test_s3_to_blob(kind: str, s3_url: str, blobs: Storage, tmp_path: Path) -> None:
    source, target = s3_files(s3_url), blob_files(Secrets(blobs, kind))
    path = f"{kind}/weights of ü 100%.bin"
    content = filled(source, path)
    done = copied(source, target, path, tmp_path / "state")
    assert (done.size, done.digest, done.is_hashed) == (SIZE, digest_of(content), True)
    assert read(target, path) == content
    found = target.find(path)
    assert found is not None
    assert (found.size, found.digest) == (SIZE, digest_of(content))
    assert copied(source, target, path, tmp_path / "state").sent_bytes == 0


def test_blob_to_s3(s3_url: str, blobs: Storage, tmp_path: Path) -> None:
    source, target = blob_files(Secrets(blobs, "Sas")), s3_files(s3_url)
    content = filled(source, "back.bin")
    copied(source, target, "back.bin", tmp_path / "state")
    assert read(target, "back.bin") == content
    found = target.find("back.bin")
    assert found is not None
    assert found.digest == digest_of(content)


def test_a_file_without_a_digest_gets_one(s3_url: str, blobs: Storage, tmp_path: Path) -> None:
    import obstore

    source, target = s3_files(s3_url), blob_files(Secrets(blobs, "Sas"))
    content = random.Random(1).randbytes(SIZE)
    assert isinstance(source, ObjectFiles)
    obstore.put(source._store, "plain.bin", content)
    copied(source, target, "plain.bin", tmp_path / "state")
    found = target.find("plain.bin")
    assert found is not None
    assert found.digest == digest_of(content)


def test_killed_after_each_part_it_goes_on(
    s3_url: str, blobs: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trackbridge_adapters.azureml.artifacts_upload import Upload

    source, target = s3_files(s3_url), blob_files(Secrets(blobs, "Sas"))
    content, send = filled(source, "killed.bin"), Upload.send
    sent: list[int] = []
    limits = [1, 2, 3]

    def counting(self: Upload, upload: str, number: int, part: bytes) -> str:
        if len(sent) in limits:
            limits.remove(len(sent))
            raise Killed
        tag = send(self, upload, number, part)
        sent.append(number)
        return tag

    monkeypatch.setattr(Upload, "send", counting)
    for _ in range(3):
        with pytest.raises(Killed):
            copied(source, target, "killed.bin", tmp_path / "state", parts_at_once=1)
    copied(source, target, "killed.bin", tmp_path / "state", parts_at_once=1)
    assert sorted(sent) == [1, 2, 3, 4]
    assert read(target, "killed.bin") == content


KILLED = """
import os, signal, sys, time
from pathlib import Path

from tests.contracts import test_copying as here
from trackbridge.operations import copying
from trackbridge.testing.emulators.azureml.storage import Storage
from trackbridge_adapters.azureml.artifacts_upload import Upload

s3_url, blob_url, key, state = sys.argv[1:]
copying.PART_BYTES_MIN = 1024 * 1024
send = Upload.send

def tell(line):
    os.write(1, f"{line}\\n".encode())

def noted():
    return Path(state).read_bytes().count(b"\\n") if Path(state).exists() else 0

def copy(is_killed):
    enough = noted() + 2
    def sending(self, upload, number, content):
        if is_killed and noted() >= enough:
            os.kill(os.getpid(), signal.SIGKILL)
        tell(number)
        return send(self, upload, number, content)

    Upload.send = sending
    storage = Storage(blob_url, {here.ACCOUNT: key}, now_s=time.time)
    target = here.blob_files(here.Secrets(storage, "Sas"))
    # Two at once: so no more than three parts are noted before a kill, and some are left after ten.
    here.copied(here.s3_files(s3_url), target, "often.bin", Path(state), parts_at_once=2)

for is_killed in (*[True] * 10, False):
    child = os.fork()  # what costs time is imported once
    if not child:
        copy(is_killed)
        os._exit(0)
    tell(f"ended {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
"""


def test_killed_ten_times_the_process_it_goes_on(s3_url: str, blobs: Storage, tmp_path: Path) -> None:
    source, target = s3_files(s3_url), blob_files(Secrets(blobs, "Sas"))
    content, state = filled(source, "often.bin", 4 * PART + 1), tmp_path / "state"
    parts = -(-len(content) // 2**20)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, s3_url, blobs.url, blobs.key(ACCOUNT), str(state)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    ends: list[str] = []
    begun: list[list[int]] = [[]]
    for line in done.stdout.splitlines():
        if line.startswith("ended"):
            ends.append(line)
            begun.append([])
        else:
            begun[-1].append(int(line))
    assert ends == [*[f"ended {-signal.SIGKILL}"] * 10, "ended 0"], done.stderr
    assert {number for numbers in begun for number in numbers} == set(range(1, parts + 1))
    assert len(begun[10]) <= parts - 1 - 2 * 9  # what was noted before each kill is not sent again
    assert read(target, "often.bin") == content
    assert not state.exists()


def test_from_an_adapter_of_aws_to_one_of_azure_and_back(tmp_path: Path, azureml: AzureMlEmulator) -> None:
    content = random.Random(5).randbytes(SIZE)
    file = tmp_path / "file"
    file.write_bytes(content)
    with sagemaker_emulator() as sagemaker, pytest.MonkeyPatch.context() as patch:
        for name, value in sagemaker.environment().items():
            patch.setenv(name, value)
        context = AdapterContext(
            home=tmp_path / "home", options={}, clock_ms=lambda: time.time_ns() // 1_000_000
        )
        aws = wrap_adapter(open_sagemaker(sagemaker.uri, context=context))
        azure = wrap_adapter(
            open_workspace(
                azureml.uri,
                context=msgspec.structs.replace(context, options=azureml.options),
                credential=azureml.credential(),
            )
        )
        runs = [adapter.tracking.open_run(run_spec()).info.run_id for adapter in (aws, azure)]  # type: ignore[union-attr]
        aws.artifacts.put(runs[0], "model/a.bin", file, digest=digest_of(content), size=SIZE)  # type: ignore[union-attr]
        for source, target, path, to_path in (
            ((aws, runs[0]), (azure, runs[1]), "model/a.bin", "of aws/a.bin"),
            ((azure, runs[1]), (aws, runs[0]), "of aws/a.bin", "back/a.bin"),
        ):
            done = copy_artifact(
                source[0].artifacts,  # type: ignore[arg-type]
                target[0].artifacts,  # type: ignore[arg-type]
                run_id=source[1],
                path=path,
                to_run_id=target[1],
                to_path=to_path,
                state=tmp_path / "state",
            )
            assert (done.size, done.digest, done.sent_bytes) == (SIZE, digest_of(content), SIZE)
            with target[0].artifacts.open(target[1], to_path) as reader:  # type: ignore[union-attr]
                assert reader.read() == content
        sagemaker.raise_failures()
        aws.close()
        azure.close()


def test_a_signature_that_ends_on_the_way_is_renewed(s3_url: str, blobs: Storage, tmp_path: Path) -> None:
    """By our clock it is good for long; storage refuses it all the same."""
    with blob_watch(blobs) as watch:
        secrets = Secrets(blobs, "Sas")
        source, target = s3_files(s3_url), blob_files(secrets, url=watch.url)
        content = filled(source, "late.bin")
        target.find("late.bin")
        watch.end_addresses()
        secrets.seconds = 7200.0  # signed within the same second, the next one would be the same
        copied(source, target, "late.bin", tmp_path / "state")
        assert secrets.asked == 2
        assert read(target, "late.bin") == content


def test_a_file_that_is_replaced_meanwhile_is_refused(s3_url: str, blobs: Storage, tmp_path: Path) -> None:
    source, target = s3_files(s3_url), blob_files(Secrets(blobs, "Sas"))
    filled(source, "moving.bin")
    entry = source.find("moving.bin")
    assert entry is not None
    filled(source, "moving.bin", SIZE + 1)
    parts = target.parts("moving.bin", resumable=True)
    assert parts is not None
    original = FileOriginal(source, "moving.bin", entry, entry.digest)
    with pytest.raises(Conflict):
        copy_file(original, FileReplica(target, "moving.bin", parts, None), state=tmp_path / "state")
    assert target.find("moving.bin") is None


def test_a_datastore_lists_real_sizes(blobs: Storage) -> None:
    files = blob_files(Secrets(blobs, "Sas"))
    for path, size in (("sizes/a.bin", 10), ("sizes/.gitignore", 2), ("sizes/deep/b.bin", 0)):
        filled(files, path, size)
    found = {entry.name: (entry.is_dir, entry.size) for entry in files.children("sizes")}
    assert found == {"a.bin": (False, 10), ".gitignore": (False, 2), "deep": (True, None)}


def test_what_a_signature_shows_is_in_no_error(blobs: Storage) -> None:
    secrets = Secrets(blobs, "Sas", seconds=-60.0)
    files = blob_files(secrets, clock_ms=lambda: int(datetime(2020, 1, 1, tzinfo=timezone.utc).timestamp()))
    with pytest.raises(AuthError) as raised:
        files.find("nothing")
    assert "sig=" not in str(raised.value)
    assert "sig=" not in repr(raised.value)
