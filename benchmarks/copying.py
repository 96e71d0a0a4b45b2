"""A large file from S3 to Blob storage in a stream, beside boto3's download and azure-storage-blob's upload.

S3 is moto's server and Blob storage is Azurite, each in a process of its own on the same machine as the copy:
the figures compare clients of the same stores, and say nothing of AWS and Azure. A leg alone is obstore's:
read and forgotten, and written from memory. boto3 downloads by one request, which suits moto best: it reads a
whole object for each range of it. Azurite has to be set up: ``bridge emulate azureml --setup``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import random
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import workers
from benchmarks.figures import Figure, at_least, at_most

BYTES, BYTES_QUICK = 2_000_000_000, 100_000_000
ROUNDS, ROUNDS_QUICK = 3, 1
KILLS, KILLS_QUICK = 10, 2
BLOCK = 1024 * 1024
KEY, ACCOUNT, CONTAINER = "large.bin", "benchmark", "benchmark"
STORES = "COPY_STORES"
"""Variable of a worker: where the stores are, as JSON."""
_KINDS = ("read_alone", "write_alone", "copy_ours", "copy_theirs")


def measure(*, quick: bool) -> list[Figure]:
    """Return all figures."""
    size = BYTES_QUICK if quick else BYTES
    with _stores() as stores, workers.temporary_folder() as folder:
        filled = workers.run("copying", "fill", size, **{STORES: stores})
        seen: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _KINDS}
        for number in range(ROUNDS_QUICK if quick else ROUNDS):
            for kind in _KINDS:
                seen[kind].append(
                    workers.run("copying", kind, f"{kind}-{number}", folder=folder, **{STORES: stores})
                )
            _check(f"copy_ours-{number}", filled["digest"], stores)
        killed = _killed(folder, filled, stores, kills=KILLS_QUICK if quick else KILLS)
    return [_speed(seen, size), _memory(seen, killed, size), _kills(killed)]


def _speed(seen: dict[str, list[dict[str, Any]]], size: int) -> Figure:
    def rates(kind: str) -> list[float]:
        return [size / 1e6 / found["elapsed_s"] for found in seen[kind]]

    ours, theirs = rates("copy_ours"), rates("copy_theirs")
    legs = [min(pair) for pair in zip(rates("read_alone"), rates("write_alone"), strict=True)]
    share = median(our / leg for our, leg in zip(ours, legs, strict=True))
    times = median(our / their for our, their in zip(ours, theirs, strict=True))
    return Figure(
        f"a file of {size / 1e9:g} GB from S3 to Blob storage",
        "MB/s",
        median(ours),
        {
            "the slower leg alone": median(legs),
            "boto3 download, then azure-storage-blob upload": median(theirs),
        },
        (
            at_least(0.8, share, f"of the slower leg alone (it is {share:.2f})"),
            at_least(1, times, f"times as fast as download and upload (it is {times:.2f})"),
        ),
        more_is_better=True,
        note="median of rounds in turn; both stores and the copy share one machine, a leg alone has it for "
        f"itself and one store; read {median(rates('read_alone')):.0f}, written "
        f"{median(rates('write_alone')):.0f} MB/s; what ours wrote was read back and has the digest",
    )


def _memory(seen: dict[str, list[dict[str, Any]]], killed: dict[str, Any], size: int) -> Figure:
    peak_mb = max(*(found["peak_mb"] for found in seen["copy_ours"]), killed["peak_mb"])
    theirs = max(found["peak_mb"] for found in seen["copy_theirs"])
    return Figure(
        f"memory while a file of {size / 1e9:g} GB is copied",
        "MB",
        peak_mb,
        {"boto3 and azure-storage-blob, with the file on the disk between": theirs},
        (at_most(200, peak_mb, "MB"),),
        note="peak of the resident memory of the process that copies; ours writes no file but the notes",
    )


def _kills(killed: dict[str, Any]) -> Figure:
    limit = killed["parts"] + killed["kills"] * killed["at_once"]
    return Figure(
        f"parts that are sent of a copy with {killed['kills']} kills at random on the way",
        "parts",
        killed["begun"],
        {"no kill": killed["parts"]},
        (at_most(limit, killed["begun"], "parts: what was on its way at each kill"),),
        note="kill -9, then another process; what was read back has the digest",
    )


def _killed(folder: Path, filled: dict[str, Any], stores: str, *, kills: int) -> dict[str, Any]:
    """Copy with so many kills on the way, and return what was seen."""
    from trackbridge.operations.copying import PART_BYTES_MIN, PARTS_AT_ONCE

    parts, chance = -(-filled["size"] // PART_BYTES_MIN), random.Random(filled["size"])
    begun = folder / "begun"
    begun.touch()
    variables = {STORES: stores, "COPY_BEGUN": str(begun)}
    for kill in range(kills):
        step = chance.randint(1, max(1, parts // (kills + 1)))
        enough = min(_count(begun) + step, parts * (kill + 1) // (kills + 1))
        _kill_after(begun, enough, chance, folder, variables)
    done = workers.run("copying", "copy_ours", "killed", folder=folder, **variables)
    _check("killed", filled["digest"], stores)
    counts = {"parts": parts, "begun": _count(begun), "kills": kills, "at_once": PARTS_AT_ONCE}
    return {**done, **counts}


def _kill_after(
    begun: Path, enough: int, chance: random.Random, folder: Path, variables: dict[str, str]
) -> None:
    process = subprocess.Popen(
        workers.command("copying", "copy_ours", "killed"),
        cwd=folder,
        env=workers.environment(**variables),
        stdout=subprocess.DEVNULL,
    )
    while _count(begun) < enough and process.poll() is None:
        time.sleep(0.005)
    time.sleep(chance.uniform(0, 0.1))
    process.kill()
    if process.wait() != -signal.SIGKILL:
        raise SystemExit("it was copied before it could be killed")


def _count(begun: Path) -> int:
    return begun.read_bytes().count(b"\n")


def _check(key: str, digest: str, stores: str) -> None:
    found = workers.run("copying", "digest_of", key, **{STORES: stores})["digest"]
    if found != digest:
        raise SystemExit(f"{found} was read of {key}, {digest} was written")


@contextmanager
def _stores() -> Iterator[str]:
    """Run both stores, and give where they are."""
    process = subprocess.Popen(
        workers.command("copying", "serve"),
        env=workers.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            raise SystemExit("the stores did not start; the error is above")
        yield line
    finally:
        process.terminate()
        process.wait()


# Workers.


def serve() -> dict[str, str]:
    """Serve both stores until told to end; the first line of output says where they are."""
    from tests.support.s3_servers import BUCKET, s3_server

    from trackbridge.testing.emulators.azureml.blob_server import BlobServer
    from trackbridge.testing.emulators.azureml.storage import Storage

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # moto's server; else a line for each request
    key = base64.b64encode(os.urandom(64)).decode()
    workers.make_cache()
    with tempfile.TemporaryDirectory(dir=workers.CACHE, ignore_cleanup_errors=True) as folder:
        blobs = BlobServer({ACCOUNT: key}, kept_in=Path(folder))
        try:
            url = blobs.wait()
            Storage(url, {ACCOUNT: key}, now_s=time.time).ensure_container(CONTAINER, account=ACCOUNT)
            with s3_server() as s3:
                told = {"s3": s3, "bucket": BUCKET, "blob": f"{url}/{ACCOUNT}", "key": key}
                print(json.dumps(told), flush=True)
                signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(SystemExit(0)))
                signal.pause()
        finally:
            blobs.close()
    return {}


def fill(size: str) -> dict[str, Any]:
    """Put the file into S3."""
    import obstore

    from trackbridge_adapters._mlflow_rest.artifacts_objects import DIGEST_KEY

    def blocks() -> Iterator[bytes]:
        left, block = int(size), random.Random(int(size)).randbytes(BLOCK + 3)
        while left:
            yield block[:left]
            left -= len(block[:left])

    digest = hashlib.sha256()
    for block in blocks():
        digest.update(block)
    told = f"sha256:{digest.hexdigest()}"
    obstore.put(_s3(), KEY, blocks(), attributes={DIGEST_KEY: told})
    return {"digest": told, "size": int(size)}


def read_alone(_: str) -> dict[str, float]:
    """Read the file, and forget it."""
    import obstore

    store, began, size = _s3(), time.perf_counter(), 0
    for block in obstore.get(store, KEY).stream(min_chunk_size=BLOCK):
        size += len(block)
    return _seen(began)


def write_alone(name: str) -> dict[str, float]:
    """Write as many bytes from memory."""
    import obstore

    from trackbridge.operations.copying import PART_BYTES_MIN, PARTS_AT_ONCE

    size, block = obstore.head(_s3(), KEY)["size"], os.urandom(BLOCK)
    store, began = _blobs(), time.perf_counter()
    blocks = (block[: min(BLOCK, size - start)] for start in range(0, size, BLOCK))
    obstore.put(store, name, blocks, chunk_size=PART_BYTES_MIN, max_concurrency=PARTS_AT_ONCE)
    return _seen(began)


def copy_ours(name: str) -> dict[str, float]:
    """Copy it in a stream."""
    from trackbridge.operations.copying import copy_file
    from trackbridge_adapters._mlflow_rest.artifacts_objects import ObjectFiles
    from trackbridge_adapters._mlflow_rest.artifacts_streams import FileOriginal, FileReplica

    began = time.perf_counter()
    source = ObjectFiles(_s3(), "s3://benchmark", "", adapter="benchmark")
    target = ObjectFiles(_blobs(), "az://benchmark", "", adapter="benchmark")
    entry = source.find(KEY)
    assert entry is not None
    original = FileOriginal(source, KEY, entry, entry.digest)
    replica = FileReplica(target, name, _noted(_parts(name)), None)
    copy_file(original, replica, state=Path(f"{name}.state"))
    return _seen(began)


def copy_theirs(name: str) -> dict[str, float]:
    """Download with boto3, then upload with azure-storage-blob."""
    from azure.storage.blob import BlobClient
    from boto3.s3.transfer import TransferConfig
    from tests.support.s3_servers import s3_client

    stores, began, file = _told(), time.perf_counter(), Path("downloaded")
    # By one request: moto reads the whole object for every range that boto3 asks for otherwise.
    whole = TransferConfig(multipart_threshold=2**62)
    s3_client(stores["s3"]).download_file(stores["bucket"], KEY, str(file), Config=whole)
    client = BlobClient(
        account_url=stores["blob"], container_name=CONTAINER, blob_name=name, credential=stores["key"]
    )
    with file.open("rb") as source:
        client.upload_blob(source, overwrite=True, max_concurrency=4)
    found = _seen(began)
    file.unlink()
    return found


def digest_of(key: str) -> dict[str, str]:
    """Return the digest of what is in Blob storage."""
    import obstore

    digest = hashlib.sha256()
    for block in obstore.get(_blobs(), key).stream(min_chunk_size=BLOCK):
        digest.update(block)
    return {"digest": f"sha256:{digest.hexdigest()}"}


def _told() -> dict[str, str]:
    told: dict[str, str] = json.loads(os.environ[STORES])
    return told


def _s3() -> Any:
    from tests.support.s3_servers import KEY as ACCESS_KEY
    from tests.support.s3_servers import REGION, SECRET

    from trackbridge_adapters._mlflow_rest.artifacts_places import StoreOptions, s3_store

    told = _told()
    named = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET}
    options = StoreOptions(s3={"endpoint": told["s3"], "region": REGION, **named}, environment={})
    return s3_store(told["bucket"], options)


def _blobs() -> Any:
    from trackbridge_adapters._mlflow_rest.artifacts_places import StoreOptions, azure_store

    told = _told()
    named = {"account_name": ACCOUNT, "account_key": told["key"], "endpoint": told["blob"]}
    return azure_store(CONTAINER, StoreOptions(azure=named, environment={}))


def _parts(name: str) -> Any:
    """Return how a blob goes in blocks, by the address that a datastore with a key signs."""
    from trackbridge.transport.http import HttpClient
    from trackbridge_adapters.azureml.artifacts_upload import Upload, send_to_storage
    from trackbridge_adapters.azureml.storage_keys import signed

    told, http = _told(), HttpClient(adapter="benchmark")

    def address() -> str:
        return f"{told['blob']}/{CONTAINER}/{name}?{signed(told['key'], ACCOUNT, CONTAINER, time.time())}"

    return Upload(lambda method, url, **named: send_to_storage(http, method, url, **named), address, address)


def _noted(parts: Any) -> Any:
    """Write a line for each part that is begun, where that is asked for."""
    file = os.environ.get("COPY_BEGUN")
    if file is None:
        return parts
    send = parts.send

    def noting(upload: str, number: int, content: bytes) -> str:
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, b"%d\n" % number)
        finally:
            os.close(descriptor)
        tag: str = send(upload, number, content)
        return tag

    parts.send = noting
    return parts


def _seen(began: float) -> dict[str, float]:
    elapsed_s = time.perf_counter() - began
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {"elapsed_s": elapsed_s, "peak_mb": peak_mb}
