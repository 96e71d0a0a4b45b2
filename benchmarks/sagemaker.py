"""SageMaker: files to the bucket, one large file that is killed on its way, and the CPU of a metrics call.

AWS is the emulator (``trackbridge.testing.emulators.sagemaker``) in a process of its own on the same machine:
the figures compare clients of one service, and say nothing of AWS. mlflow's server keeps its artifacts in the
same emulator's S3. For the CPU of a call it is a server that answers at once and keeps nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from benchmarks import workers
from benchmarks.figures import Figure, at_least, at_most
from benchmarks.memory import MEGABYTE

FILES, FILES_QUICK = 2_000, 100
FILE_BYTES = 10_000
FILES_PER_FOLDER = 100
LARGE_BYTES, LARGE_BYTES_QUICK = 2_000_000_000, 100_000_000
KILLS, KILLS_QUICK = 10, 2
CALLS, CALLS_QUICK = 2_000, 200
POINTS_PER_CALL = 10
ROUNDS, ROUNDS_QUICK = 3, 1
BUCKET = "benchmark"


def measure(*, quick: bool) -> list[Figure]:
    """Return all figures."""
    return [_many_files(quick=quick), *_large_file(quick=quick), _metrics_call(quick=quick)]


def _many_files(*, quick: bool) -> Figure:
    from tests.support.mlflow_servers import mlflow_server

    count = FILES_QUICK if quick else FILES
    ours: list[float] = []
    theirs: dict[str, list[float]] = {"mlflow, through its server": [], "mlflow, straight to S3": []}
    places = (f"proxied:s3://{BUCKET}/proxied", f"s3://{BUCKET}/direct")
    with workers.temporary_folder() as folder:
        source = _make_files(folder / "files", count)
        for _ in range(ROUNDS_QUICK if quick else ROUNDS):
            with _emulator() as emulated, workers.temporary_folder() as home:
                named = {**emulated["env"], "BRIDGE_HOME": str(home / "home")}
                ours.append(_elapsed("log_our_files", emulated["uri"], source, count, **named))
            for (_, runs), place in zip(theirs.items(), places, strict=True):
                with (
                    _emulator() as emulated,
                    patch.dict(os.environ, emulated["env"]),
                    workers.temporary_folder() as home,
                    mlflow_server(home / "server", artifacts=place, on_disk=True) as server,
                ):
                    runs.append(_elapsed("log_mlflow_files", server.url, source, count, **emulated["env"]))
    times = median(peer / our for our, peer in zip(ours, next(iter(theirs.values())), strict=True))
    return Figure(
        f"{count:,} files of 10 KB until all are in the bucket",
        "s",
        median(ours),
        {name: median(runs) for name, runs in theirs.items()},
        (at_least(3, times, f"times as fast as mlflow through its server (it is {times:.1f})"),),
        note="`log_artifacts` of a folder and a flush, staging, digests and links included; median of rounds "
        "in turn; the S3 of all three is the same emulator, whose share of the time is the largest",
    )


def _elapsed(function: str, *arguments: object, **variables: str) -> float:
    elapsed_s: float = workers.run("sagemaker", function, *arguments, **variables)["elapsed_s"]
    return elapsed_s


def _large_file(*, quick: bool) -> Iterator[Figure]:
    size, kills = (LARGE_BYTES_QUICK, KILLS_QUICK) if quick else (LARGE_BYTES, KILLS)
    with workers.temporary_folder() as folder:
        digest = _make_large(folder / "large.bin", size)
        with _emulator() as emulated:
            smooth = _sent_large(emulated, folder, "smooth", size)
            found = _sent_large(emulated, folder, "killed", size, kills=kills)
            for sent in (smooth, found):
                read = workers.run(
                    "sagemaker", "digest_of_large", emulated["uri"], sent["run_id"], **emulated["env"]
                )
                if read["digest"] != digest:
                    raise SystemExit(f"{read['digest']} was read, {digest} was logged")
    peak_mb = max(smooth["peak_mb"], found["peak_mb"])
    yield Figure(
        f"memory while a file of {size / 1e9:g} GB goes to the bucket",
        "MB",
        peak_mb,
        targets=(at_most(200, peak_mb, "MB"),),
        note=f"peak of the resident memory of the delivering process; {smooth['elapsed_s']:.0f} s, that is "
        f"{size / 1e6 / smooth['elapsed_s']:.0f} MB/s; the bytes were read back and have the digest",
    )
    parts = found["parts"]
    yield Figure(
        f"parts of a file of {size / 1e9:g} GB that are sent, with {kills} kills at random on the way",
        "parts",
        found["sent"],
        {"no kill": parts},
        (
            at_most(
                parts + kills * found["at_once"], found["sent"], "parts: what was on its way at each kill"
            ),
        ),
        note="kill -9 of the delivering process, then another one; what was read back has the digest",
    )


def _sent_large(
    emulated: dict[str, Any], folder: Path, name: str, size: int, *, kills: int = 0
) -> dict[str, Any]:
    """Log the file without delivery, deliver it with so many kills, and return what was seen."""
    variables = {
        **emulated["env"],
        "BRIDGE_HOME": str(folder / name),
        "SENT_PARTS": str(folder / f"{name}.sent"),
    }
    options = {"BRIDGE_DELIVERY": "off", "BRIDGE_DELIVERY_EXIT_WAIT_S": "0"}
    logged = workers.run(
        "sagemaker", "log_large", emulated["uri"], folder / "large.bin", folder=folder, **variables, **options
    )
    sent, chance = folder / f"{name}.sent", random.Random(size)
    sent.touch()
    parts = -(-size // _part_bytes())
    for kill in range(kills):
        enough = len(_lines(sent)) + chance.randint(1, max(1, parts // (kills + 1)))
        _kill_after(sent, min(enough, parts * (kill + 1) // (kills + 1)), chance, folder, variables)
    done = workers.run("sagemaker", "deliver_large", folder=folder, **variables)
    from trackbridge_adapters._mlflow_rest.artifacts_parts import PARTS_AT_ONCE

    return {**logged, **done, "parts": parts, "sent": len(_lines(sent)), "at_once": PARTS_AT_ONCE}


def _kill_after(
    sent: Path, enough: int, chance: random.Random, folder: Path, variables: dict[str, str]
) -> None:
    """Deliver until so many parts were begun, and a little longer; then kill."""
    process = subprocess.Popen(
        workers.command("sagemaker", "deliver_large"),
        cwd=folder,
        env=workers.environment(**variables),
        stdout=subprocess.DEVNULL,
    )
    while len(_lines(sent)) < enough and process.poll() is None:
        time.sleep(0.005)
    time.sleep(chance.uniform(0, 0.2))
    process.kill()
    if process.wait() != -signal.SIGKILL:
        raise SystemExit("it was delivered before it could be killed")


def _metrics_call(*, quick: bool) -> Figure:
    calls = CALLS_QUICK if quick else CALLS
    ours: list[float] = []
    theirs: list[float] = []
    with _process("serve_instantly") as url:
        keys = {
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "AKIABENCHMARK",
            "AWS_SECRET_ACCESS_KEY": "benchmark",
        }
        for _ in range(ROUNDS_QUICK if quick else ROUNDS):
            ours.append(workers.run("sagemaker", "call_ours", calls, **keys)["cpu_us"])
            theirs.append(workers.run("sagemaker", "call_boto3", calls, **keys)["cpu_us"])
    times = median(our / peer for our, peer in zip(ours, theirs, strict=True))
    return Figure(
        f"CPU of the client for a call of BatchPutMetrics with {POINTS_PER_CALL} points",
        "µs",
        median(ours),
        {"boto3": median(theirs)},
        (at_most(1.2, times, f"times boto3's own (it is {times:.2f})"),),
        note=f"{calls:,} calls to a server that answers at once; ours with the check of every limit",
    )


# Places.


def _make_files(folder: Path, count: int) -> Path:
    for number in range(count):
        place = folder / f"{number // FILES_PER_FOLDER:03}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:05}.bin").write_bytes(os.urandom(FILE_BYTES))
    return folder


def _make_large(file: Path, size: int) -> str:
    digest, block, left = hashlib.sha256(), os.urandom(1_000_003), size
    with file.open("wb") as writer:
        while left:
            some = block[:left]
            digest.update(some)
            writer.write(some)
            left -= len(some)
    return f"sha256:{digest.hexdigest()}"


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="ascii").splitlines()


def _part_bytes() -> int:
    from trackbridge_adapters._mlflow_rest.artifacts_parts import PART_BYTES_MIN

    return PART_BYTES_MIN


@contextmanager
def _emulator() -> Iterator[dict[str, Any]]:
    with _process("serve_sagemaker") as line:
        yield json.loads(line)


@contextmanager
def _process(function: str) -> Iterator[str]:
    """Run a worker that serves, and give its first line of output."""
    process = subprocess.Popen(
        workers.command("sagemaker", function),
        env=workers.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


# Workers.


def serve_sagemaker() -> dict[str, str]:
    """Serve the emulator until killed; the first line of output tells how it is reached."""
    from trackbridge.testing.emulators.sagemaker import SageMakerEmulator

    with SageMakerEmulator() as emulator:
        emulator.client("s3").create_bucket(Bucket=BUCKET)
        print(json.dumps({"uri": emulator.uri, "env": emulator.environment()}), flush=True)
        signal.pause()
    return {}


def serve_instantly() -> dict[str, str]:
    """Answer every request at once until killed; the first line of output is the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Instant)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()
    return {}


class _Instant(BaseHTTPRequestHandler):
    """Takes metrics and keeps none."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_PUT(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        pass


def log_our_files(uri: str, folder: str, count: str) -> dict[str, float]:
    """Log a folder, and wait until all is in the bucket."""
    import trackbridge as tb

    tb.set_tracking_uri(uri)
    with tb.start_run() as run:
        tb.flush()  # the run is there, as it is for mlflow
        began = time.perf_counter()
        tb.log_artifacts(folder)
        tb.flush()
        elapsed_s = time.perf_counter() - began
    client = tb.Client(uri)
    found = sum(
        len(list(client.list_artifacts(run.info.run_id, item.path)))
        for item in client.list_artifacts(run.info.run_id)
        if item.path != "bridge"  # where the run's environment is described
    )
    if found != int(count):
        raise SystemExit(f"{count} files were logged, {found} are there")
    return {"elapsed_s": elapsed_s}


def log_mlflow_files(url: str, folder: str, count: str) -> dict[str, float]:
    """Do the same with mlflow's client."""
    import mlflow

    mlflow.set_tracking_uri(url)
    with mlflow.start_run() as run:
        began = time.perf_counter()
        mlflow.log_artifacts(folder)
        elapsed_s = time.perf_counter() - began
    client = mlflow.MlflowClient()
    found = sum(
        len(client.list_artifacts(run.info.run_id, item.path))
        for item in client.list_artifacts(run.info.run_id)
    )
    if found != int(count):
        raise SystemExit(f"{count} files were logged, {found} are there")
    return {"elapsed_s": elapsed_s}


def log_large(uri: str, file: str) -> dict[str, str]:
    """Log one file, for another process to deliver."""
    import trackbridge as tb

    tb.set_tracking_uri(uri)
    with tb.start_run() as run:
        tb.log_artifact(file)
    return {"run_id": run.info.run_id}


def deliver_large() -> dict[str, float]:
    """Deliver what another process left, and note each part that is begun."""
    from trackbridge.delivery.connect import connect
    from trackbridge.delivery.service import deliver_now
    from trackbridge.journal.folder import journals
    from trackbridge_adapters._mlflow_rest.artifacts_parts_s3 import S3Parts

    send, notes = S3Parts.send, os.environ["SENT_PARTS"]

    def noted(self: S3Parts, upload: str, number: int, content: bytes) -> str:
        with open(notes, "a", encoding="ascii") as file:
            file.write(f"{number}\n")
        return send(self, upload, number, content)

    S3Parts.send = noted  # type: ignore[method-assign]
    root, began = Path(os.environ["BRIDGE_HOME"]) / "journal", time.perf_counter()
    deliver_now(root, open_backend=connect, deadline_s=3600)
    elapsed_s = time.perf_counter() - began
    if list(journals(root)):
        raise SystemExit("something is left to be delivered")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE
    return {"elapsed_s": elapsed_s, "peak_mb": peak_mb}


def digest_of_large(uri: str, run_id: str) -> dict[str, str]:
    """Read a file from the bucket."""
    from trackbridge.ports.adapter import AdapterContext
    from trackbridge_adapters.sagemaker import open_adapter

    context = AdapterContext(home=Path(), options={}, clock_ms=lambda: time.time_ns() // 1_000_000)
    artifacts, digest = open_adapter(uri, context=context).artifacts, hashlib.sha256()
    assert artifacts is not None
    with artifacts.open(run_id, "large.bin") as reader:
        while block := reader.read(1 << 20):
            digest.update(block)
    return {"digest": f"sha256:{digest.hexdigest()}"}


def call_ours(calls: str) -> dict[str, float]:
    """Make calls as the adapter makes them."""
    from trackbridge.ports.adapter import AdapterContext
    from trackbridge_adapters.sagemaker.backend import backend_of

    context = AdapterContext(home=Path(), options={}, clock_ms=lambda: time.time_ns() // 1_000_000)
    clients = backend_of("sagemaker:", context).clients

    def call(data: list[dict[str, Any]]) -> None:
        clients.call("sagemaker-metrics", "BatchPutMetrics", TrialComponentName="component", MetricData=data)

    return _cpu_of(call, int(calls))


def call_boto3(calls: str) -> dict[str, float]:
    """Make the same calls by boto3."""
    import boto3

    client = boto3.client("sagemaker-metrics")

    def call(data: list[dict[str, Any]]) -> None:
        client.batch_put_metrics(TrialComponentName="component", MetricData=data)

    return _cpu_of(call, int(calls))


def _cpu_of(call: Any, calls: int) -> dict[str, float]:
    now_s = time.time()
    batches = [
        [
            {"MetricName": "loss", "Timestamp": now_s, "Step": first + step, "Value": 0.5 + step}
            for step in range(POINTS_PER_CALL)
        ]
        for first in range(0, calls * POINTS_PER_CALL, POINTS_PER_CALL)
    ]
    call(batches[0])
    began = time.process_time()
    for batch in batches:
        call(batch)
    return {"cpu_us": (time.process_time() - began) / calls * 1e6}
