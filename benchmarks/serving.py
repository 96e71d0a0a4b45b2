"""Our scoring server beside ``mlflow models serve``: one scikit-learn model, one worker process each.

Both enforce the same signature. One client sends ready-made bytes over keep-alive connections, in rounds that
take turns between the servers. The model's own ``predict`` on a data frame is what nobody can save.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks import workers
from benchmarks.figures import Figure, Target, at_least, at_most

ROUNDS = 5
SINGLE_REQUESTS, MANY_REQUESTS = 400, 60
RATE_SECONDS = 3.0
BLOCK = 10
CAPTURE_BLOCK = 150
TELEMETRY_RUNS, TELEMETRY_BLOCKS = 5, 30
CONNECTIONS = 8
ROWS = 1000
HOOK_WARM_S, HOOK_S = 12.0, 40.0
START_S = 120
READ_BYTES = 1 << 18


def measure(*, quick: bool) -> list[Figure]:
    """Return latency, rate and throughput of both servers."""
    rounds = 1 if quick else ROUNDS
    result = workers.run("serving", "compare", rounds, 0.1 if quick else 1.0)
    own, plain, theirs = (result[name] for name in ("model", "ours", "mlflow"))
    above, above_theirs = plain["single_us"] - own["single_us"], theirs["single_us"] - own["single_us"]
    rate, rate_theirs = plain["rate"], theirs["rate"]
    telemetry = result["telemetry_share"] * 100
    return [
        Figure(
            "scoring one row: latency above the model's own `predict`",
            "µs",
            above,
            {"mlflow models serve": above_theirs},
            (Target("at most a third of mlflow's", above <= above_theirs / 3),),
            note=f"median of {rounds} rounds of {SINGLE_REQUESTS} requests, one connection; `predict` itself "
            f"takes {own['single_us']:,.0f} µs, our whole answer {plain['single_us']:,.0f} µs",
        ),
        Figure(
            "scoring one row: requests per second",
            "/s",
            rate,
            {"mlflow models serve": rate_theirs},
            (at_least(3, rate / rate_theirs, "times mlflow's"),),
            more_is_better=True,
            note=f"{CONNECTIONS} connections that always have a request under way, one worker process each",
        ),
        Figure(
            "scoring 1,000 rows in a request",
            "ms",
            plain["many_us"] / 1000,
            {"mlflow models serve": theirs["many_us"] / 1000},
            (Target("at most mlflow's", plain["many_us"] <= theirs["many_us"]),),
        ),
        Figure(
            "scoring one row: what metrics, the capture of every payload and sinks add",
            "%",
            telemetry,
            targets=(at_most(5, telemetry, "%"),),
            note=f"of the {result['request_us']:,.0f} µs of a processor that a request takes, metrics are "
            f"{result['metrics_us']:.1f} µs; capture of every payload, and two sinks that are told every "
            f"request, add {result['telemetry_us']:.0f} µs ({result['latency_us']:+,.0f} µs of latency, of "
            f"two servers that take turns; median of {1 if quick else TELEMETRY_RUNS} runs)",
        ),
        Figure(
            "scoring one row: 99th percentile with a webhook that hangs",
            "µs",
            result["hanging_p99_us"],
            {"ours without a webhook": result["without_p99_us"]},
            note=f"two of our servers asked by turns for {HOOK_S:.0f} s; telemetry goes out every 10 s, for "
            "the first time before the measurement",
        ),
    ]


# Workers.


def compare(rounds: str, share: str) -> dict[str, object]:
    """Start the servers, and measure them in turns."""
    folder = Path.cwd()
    bodies = save_model(folder / "model")
    hook = p99_with_a_hanging_hook(folder, bodies["single"], HOOK_S * float(share))
    with ours(folder, "ours"), theirs(folder) as port:
        place = (socket.AF_UNIX, str(folder / "ours.sock"))
        servers = {
            "ours": place,
            "mlflow": (socket.AF_INET, ("127.0.0.1", port)),
        }
        found = in_turns(servers, bodies, int(rounds), float(share), own_predict(folder / "model"))
    runs, blocks = (TELEMETRY_RUNS, TELEMETRY_BLOCKS) if float(share) == 1 else (1, 2)
    telemetry_us, request_us, latency_us = cost_of_telemetry(folder, bodies["single"], runs, blocks)
    result: dict[str, object] = {
        name: {kind: median(values) for kind, values in kinds.items()} for name, kinds in found.items()
    }
    metrics_us = cost_of_metrics()
    result["metrics_us"], result["telemetry_us"] = metrics_us, telemetry_us
    result["request_us"], result["latency_us"] = request_us, latency_us
    result["without_p99_us"], result["hanging_p99_us"] = hook
    result["telemetry_share"] = (metrics_us + max(0.0, telemetry_us)) / request_us
    return result


def in_turns(
    servers: dict[str, tuple[int, object]], bodies: dict[str, bytes], rounds: int, share: float, model: Any
) -> dict[str, dict[str, list[float]]]:
    """Return for each server and kind of load one value a round; the first round only warms."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    single, many = request_of(bodies["single"]), request_of(bodies["many"])
    for number in range(rounds + 1):
        values: dict[str, dict[str, float]] = {
            "single_us": latencies_us(servers, single, max(BLOCK, int(SINGLE_REQUESTS * share)), model),
            "many_us": latencies_us(servers, many, max(BLOCK, int(MANY_REQUESTS * share))),
            "rate": {name: rate_of(*place, single, RATE_SECONDS * share) for name, place in servers.items()},
        }
        for kind, by_name in values.items():
            for name, value in by_name.items():
                if number > 0:
                    found[name][kind].append(value)
    return found


def save_model(folder: Path) -> dict[str, bytes]:
    """Save a fitted model with its signature; return bodies with one row and with many."""
    import mlflow
    import pandas
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, labels = load_wine(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(rows, labels)
    signature = mlflow.models.infer_signature(rows, model.predict(rows))
    mlflow.sklearn.save_model(model, folder, signature=signature, pip_requirements=[])
    many = pandas.concat([rows] * (ROWS // len(rows) + 1))[:ROWS].reset_index(drop=True)
    split = {"single": rows[:1].to_dict("split"), "many": many.to_dict("split")}
    return {name: json.dumps({"dataframe_split": frame}).encode() for name, frame in split.items()}


def own_predict(folder: Path) -> Callable[[], object]:
    """Return a call of the model's own ``predict`` on a data frame of one row."""
    import mlflow
    from sklearn.datasets import load_wine

    row = load_wine(as_frame=True).data[:1]
    model = mlflow.sklearn.load_model(folder)
    return lambda: model.predict(row)


def cost_of_telemetry(folder: Path, body: bytes, runs: int, blocks: int) -> tuple[float, float, float]:
    """Return what capture and sinks add to a request, in microseconds; medians of several runs.

    One server captures every payload, and tells sinks every window and every request: CloudWatch's on its
    stdout, OpenTelemetry's to a collector. The other does nothing of that. They take turns in blocks. What is
    captured in a block is written during the other's; so the processor's time of each worker is what counts.

    Returns:
        The processor's time that is added, that of a request without it, and the latency that is added.
    """
    request, requests = request_of(body), blocks * CAPTURE_BLOCK
    with collecting() as url, ours(folder, "bare") as bare, telling(folder, url) as told:
        connections = [
            connected(socket.AF_UNIX, str(folder / f"{name}.sock")) for name in ("bare", "telling")
        ]
        taken = []
        for _ in range(runs + 1):
            differences, before = [], [processor_s(server) for server in (bare, told)]
            for _ in range(blocks):
                without, with_telemetry = (_block_us(connection, request) for connection in connections)
                differences.append(with_telemetry - without)
            plain, more = (
                (processor_s(server) - begin) / requests * 1e6
                for server, begin in zip((bare, told), before, strict=True)
            )
            taken.append((more - plain, plain, median(differences)))
        for connection in connections:
            connection.close()
    added, plain, latency = (median(column) for column in zip(*taken[1:], strict=True))  # the first warms
    return added, plain, latency


def processor_s(server: int) -> float:
    """Return the processor's time of a server's worker, in seconds."""
    (worker,) = Path(f"/proc/{server}/task/{server}/children").read_text(encoding="ascii").split()
    fields = Path(f"/proc/{worker}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def telling(folder: Path, url: str) -> Iterator[int]:
    """Run our server with the capture of every payload, and sinks."""
    variables = {
        "BRIDGE_HOME": str(folder / "telling-home"),
        "BRIDGE_TELEMETRY_SINKS": "cloudwatch,otlp",
        "BRIDGE_TELEMETRY_REQUESTS_PERCENT": "100",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
    }
    with ours(folder, "telling", percent=100, **variables) as server:
        yield server


@contextmanager
def collecting() -> Iterator[str]:
    """Run a collector of OpenTelemetry that takes everything; give its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _block_us(connection: socket.socket, request: bytes) -> float:
    began = time.perf_counter()
    for _ in range(CAPTURE_BLOCK):
        ask(connection, request)
    return (time.perf_counter() - began) / CAPTURE_BLOCK * 1e6


def p99_with_a_hanging_hook(folder: Path, body: bytes, seconds: float) -> tuple[float, float]:
    """Return the 99th percentiles of a server without a webhook, and of one whose webhook never answers."""
    home = folder / "home"
    home.mkdir()
    request, names = request_of(body), ("quiet", "hooked")
    taken: dict[str, list[float]] = {name: [] for name in names}
    with socket.socket() as never_answers:
        never_answers.bind(("127.0.0.1", 0))
        never_answers.listen()
        url = f"http://127.0.0.1:{never_answers.getsockname()[1]}/"
        (home / "config.toml").write_text(f'[webhooks.hangs]\nurl = "{url}"\n', encoding="utf-8")
        with ours(folder, "quiet"), ours(folder, "hooked", BRIDGE_HOME=str(home)):
            connections = {name: connected(socket.AF_UNIX, str(folder / f"{name}.sock")) for name in names}
            begin = time.perf_counter() + HOOK_WARM_S
            order = list(connections.items())
            while time.perf_counter() < begin + seconds:
                order.reverse()
                for name, connection in order:
                    for _ in range(BLOCK):
                        before = time.perf_counter()
                        ask(connection, request)
                        if before > begin:
                            taken[name].append((time.perf_counter() - before) * 1e6)
            for connection in connections.values():
                connection.close()
    without, hanging = (quantiles(taken[name], n=100)[98] for name in names)
    return without, hanging


def cost_of_metrics() -> float:
    """Return the time that the metrics of one request take, in microseconds."""
    code = (
        "import os, sys, tempfile, time\n"
        "os.environ['PROMETHEUS_MULTIPROC_DIR'] = tempfile.mkdtemp(dir='.')\n"
        "from trackbridge.domain.serving import ServingSettings\n"
        "from trackbridge.serving.answers import Answer\n"
        "from trackbridge.serving.metrics import Metrics\n"
        "from trackbridge.serving.observers import Answered\n"
        "from trackbridge.serving.windows import WindowTelemetry\n"
        "settings = ServingSettings(model_path='.', name='wine', model='models:/wine/1')\n"
        "metrics, windows = Metrics(settings, place=0), WindowTelemetry(settings)\n"
        "answered = Answered('1', 'application/json', b'', Answer(200, b''), 0.001)\n"
        "before = time.thread_time()\n"
        "for _ in range(20_000):\n"
        "    metrics.in_flight.inc()\n"
        "    metrics.in_flight.dec()\n"
        "    metrics.on_answered(answered)\n"
        "    windows.on_answered(answered)\n"
        "print((time.thread_time() - before) / 20_000 * 1e6)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=workers.environment(), capture_output=True, text=True, check=True
    )
    return float(done.stdout)


# The servers.


@contextmanager
def ours(folder: Path, name: str, *, percent: int = 0, **variables: str) -> Iterator[int]:
    """Run our server on a Unix socket, capturing so many percent of the payloads; give its process id."""
    settings = {
        "model_path": str(folder / "model"),
        "name": name,
        "socket": str(folder / f"{name}.sock"),
        "capture": {"percent": percent, "folder": str(folder / f"payloads-{name}")},
        "ready_file": str(folder / f"{name}.json"),
    }
    config = folder / f"{name}.config.json"
    config.write_text(json.dumps(settings), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "trackbridge.serving", str(config)],
        env=workers.environment(**variables),
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: (folder / f"{name}.json").exists(), process)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def theirs(folder: Path) -> Iterator[int]:
    """Run ``mlflow models serve``; give its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(folder / "model")]
    with open(folder / "mlflow.log", "wb") as log:
        process = subprocess.Popen(
            [*command, "--env-manager", "local", "--port", str(port)],
            env=workers.environment(PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until(lambda: is_listening(port), process)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(is_done: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait for a server; it fails when the server ends instead."""
    end = time.monotonic() + START_S
    while not is_done():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"a server did not start: {process.args}")
        time.sleep(0.05)


def is_listening(port: int) -> bool:
    """Return whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# The client.


def request_of(body: bytes, request_id: str = "id-0") -> bytes:
    """Return a whole request."""
    lines = (
        "POST /invocations HTTP/1.1",
        "host: localhost",
        "content-type: application/json",
        f"x-request-id: {request_id}",
        f"content-length: {len(body)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + body


def connected(family: int, address: object) -> socket.socket:
    """Return a connection."""
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.connect(address)  # type: ignore[arg-type]
    if family == socket.AF_INET:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def latencies_us(
    servers: dict[str, tuple[int, object]],
    request: bytes,
    count: int,
    model: Callable[[], object] | None = None,
) -> dict[str, float]:
    """Return the median time of an answer for each server, in microseconds; and of ``model``.

    They take turns in blocks, so that what else the machine does falls on all of them.
    """
    connections = {name: connected(*place) for name, place in servers.items()}
    calls = {name: partial(ask, connection, request) for name, connection in connections.items()}
    if model is not None:
        calls["model"] = model
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(count // BLOCK):
        for name, call in calls.items():
            for _ in range(BLOCK):
                before = time.perf_counter()
                call()
                taken[name].append(time.perf_counter() - before)
    for connection in connections.values():
        connection.close()
    return {name: median(values) * 1e6 for name, values in taken.items()}


def ask(connection: socket.socket, request: bytes) -> None:
    """Send a request, and wait for the whole answer."""
    connection.sendall(request)
    received = b""
    while not is_whole(received):
        received += connection.recv(READ_BYTES)


def rate_of(family: int, address: object, request: bytes, seconds: float) -> float:
    """Return how many requests a second are answered when each connection always has one under way."""
    selector = selectors.DefaultSelector()
    received: dict[socket.socket, bytes] = {}
    for _ in range(CONNECTIONS):
        connection = connected(family, address)
        connection.sendall(request)
        received[connection] = b""
        selector.register(connection, selectors.EVENT_READ)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for key, _ in selector.select():
            connection = key.fileobj  # type: ignore[assignment]
            received[connection] += connection.recv(READ_BYTES)
            if is_whole(received[connection]):
                count += 1
                received[connection] = b""
                connection.sendall(request)
    elapsed = time.perf_counter() - began
    for connection in received:
        connection.close()
    selector.close()
    return count / elapsed


def is_whole(answer: bytes) -> bool:
    """Return whether an answer has arrived; only 200 will do."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"a server answered: {answer[:500]!r}")
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
    return len(body) >= int(length)
