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
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
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
PERCENT = 50
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
            "scoring one row: what metrics and the capture of every payload add",
            "%",
            telemetry,
            targets=(at_most(5, telemetry, "%"),),
            note=f"metrics: {result['metrics_us']:.1f} µs a request; capture: {result['capture_us']:.0f} µs, "
            "between requests of one server that are in its sample and such that are not",
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
        capture_us = cost_of_capture(*place, bodies["single"], max(2, int(30 * float(share))))
    result: dict[str, object] = {
        name: {kind: median(values) for kind, values in kinds.items()} for name, kinds in found.items()
    }
    metrics_us = cost_of_metrics()
    plain = median(found["ours"]["single_us"])
    result["metrics_us"], result["capture_us"] = metrics_us, capture_us
    result["without_p99_us"], result["hanging_p99_us"] = hook
    result["telemetry_share"] = (metrics_us + max(0.0, capture_us)) / plain
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


def cost_of_capture(family: int, address: object, body: bytes, blocks: int) -> float:
    """Return what capture adds to a request, in microseconds.

    The server captures the half of all request ids; ids of both halves take turns in blocks that are longer
    than the capture gathers payloads before it writes.
    """
    ids = [f"id-{number}" for number in range(100)]
    is_in_sample = {
        request_id: zlib.crc32(request_id.encode()) < (1 << 32) * PERCENT / 100 for request_id in ids
    }
    chosen = [next(name for name in ids if is_in_sample[name] is wanted) for wanted in (False, True)]
    differences = []
    with connected(family, address) as connection:
        for _ in range(blocks):
            without, with_capture = (_block_us(connection, request_of(body, name)) for name in chosen)
            differences.append(with_capture - without)
    return median(differences)


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
        "metrics = Metrics(ServingSettings(model_path='.', name='wine', model='models:/wine/1'), place=0)\n"
        "answered = Answered('1', 'application/json', b'', Answer(200, b''), 0.001)\n"
        "before = time.perf_counter()\n"
        "for _ in range(20_000):\n"
        "    metrics.in_flight.inc()\n"
        "    metrics.in_flight.dec()\n"
        "    metrics.on_answered(answered)\n"
        "print((time.perf_counter() - before) / 20_000 * 1e6)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=workers.environment(), capture_output=True, text=True, check=True
    )
    return float(done.stdout)


# The servers.


@contextmanager
def ours(folder: Path, name: str, **variables: str) -> Iterator[None]:
    """Run our server on a Unix socket."""
    settings = {
        "model_path": str(folder / "model"),
        "name": name,
        "socket": str(folder / f"{name}.sock"),
        "capture": {"percent": PERCENT, "folder": str(folder / f"payloads-{name}")},
        "ready_file": str(folder / f"{name}.json"),
    }
    config = folder / f"{name}.config.json"
    config.write_text(json.dumps(settings), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "trackbridge.serving", str(config)], env=workers.environment(**variables)
    )
    try:
        wait_until(lambda: (folder / f"{name}.json").exists(), process)
        yield
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
