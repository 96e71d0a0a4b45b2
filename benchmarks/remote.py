"""A real MLflow server near and far: what a call costs, how fast delivery is, and beside it mlflow's clients.

The server is mlflow's own on SQLite with one worker, on the same machine, and started anew for each
measurement; the latency is the fault proxy's (``trackbridge.testing.emulators.fault_proxy``), half of it each
way. Everything is measured in rounds, ours and theirs in turn, and the median taken.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import workers
from benchmarks.figures import Figure, at_least, at_most

LATENCIES_S = (0.0, 0.05, 0.2)
CONNECTIONS = 8
CALL_SECONDS, CALL_SECONDS_QUICK = 5.0, 1.0
POINTS, POINTS_QUICK = 400_000, 10_000
FAST_POINTS, FAST_POINTS_QUICK = 500_000, 50_000
SLOW_CALLS, SLOW_CALLS_QUICK = 200, 20
PEER_CALLS, PEER_CALLS_QUICK = 5_000, 200
ROUNDS, ROUNDS_QUICK = 3, 1
BATCH_POINTS = 1_000
RATE_PER_S = 2_000
"""Calls a second where one is measured: a pace that leaves the cores to more than the delivery."""


def measure(*, quick: bool) -> list[Figure]:
    """Return all figures."""
    return [*_calls(quick=quick), *_deliveries(quick=quick), _own_limit(quick=quick), *_peers(quick=quick)]


def _rounds(*, quick: bool) -> range:
    return range(ROUNDS_QUICK if quick else ROUNDS)


def _median_of(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each number."""
    return {name: median(run[name] for run in runs) for name in runs[0]}


def _calls(*, quick: bool) -> Iterator[Figure]:
    seconds = CALL_SECONDS_QUICK if quick else CALL_SECONDS
    places = (*LATENCIES_S, None)
    local: list[float] = []
    ours: dict[float | None, list[float]] = {place: [] for place in places}
    for _ in _rounds(quick=quick):
        local.append(workers.run("remote", "call_loop", "store", seconds)["median_us"])
        for place in places:
            ours[place].append(_call_us(place, seconds))
    for place in places:
        where = "with the server gone" if place is None else f"server {place * 1000:g} ms away"
        yield Figure(
            f"one `log_metric`, {where}, median",
            "µs",
            median(ours[place]),
            {"local store": median(local)},
            (at_most(1.5, median(ours[place]) / median(local), "times the local store"),),
            note=f"{seconds:g} s at about {RATE_PER_S:,} calls/s with delivery running",
        )


def _call_us(latency_s: float | None, seconds: float) -> float:
    with server_with(latency_s) as url, workers.temporary_folder() as folder:
        home = {"BRIDGE_HOME": str(folder / "home"), "BRIDGE_DELIVERY_EXIT_WAIT_S": "0.1"}
        found: float = workers.run("remote", "call_loop", url, seconds, folder=folder, **home)["median_us"]
        return found


def _deliveries(*, quick: bool) -> Iterator[Figure]:
    points = POINTS_QUICK if quick else POINTS
    for latency_s in LATENCIES_S:
        ours: list[dict[str, float]] = []
        bare: list[dict[str, float]] = []
        for _ in _rounds(quick=quick):
            ours.append(_delivered(latency_s, points))
            with server_with(latency_s) as url:
                bare.append(workers.run("remote", "bare_batches", url, points))
        times = median(theirs["elapsed_s"] / run["elapsed_s"] for run, theirs in zip(ours, bare, strict=True))
        run, theirs = _median_of(ours), _median_of(bare)
        yield Figure(
            f"delivery to a server {latency_s * 1000:g} ms away",
            "points/s",
            points / run["elapsed_s"],
            {
                f"bare log-batch calls of {BATCH_POINTS:,} on {CONNECTIONS} connections": points
                / theirs["elapsed_s"]
            },
            (at_least(0.9, times, f"times the bare calls (it is {times:.2f})"),),
            more_is_better=True,
            note=f"{points:,} points of one run, ours from opening the run to its end, theirs the batches "
            f"alone; what is sent in turn is compared. CPU of the client per point: ours "
            f"{run['cpu_s'] / points * 1e6:.1f} µs, bare calls {theirs['cpu_s'] / points * 1e6:.1f} µs; "
            f"ours holds at most {run['peak_mib']:.0f} MiB",
        )


def _delivered(latency_s: float, points: int) -> dict[str, Any]:
    """Log a backlog without delivery, then deliver it."""
    with server_with(latency_s) as url, workers.temporary_folder() as folder:
        return _backlog(url, points, folder)


def _backlog(url: str, points: int, folder: Path) -> dict[str, Any]:
    home = {"BRIDGE_HOME": str(folder / "home")}
    options = {"BRIDGE_DELIVERY": "off", "BRIDGE_DELIVERY_EXIT_WAIT_S": "0"}
    workers.run("remote", "log_backlog", url, points, folder=folder, **home, **options)
    return workers.run("remote", "deliver_backlog", folder=folder, **home)


def _own_limit(*, quick: bool) -> Figure:
    points = FAST_POINTS_QUICK if quick else FAST_POINTS
    runs: list[dict[str, float]] = []
    for _ in _rounds(quick=quick):
        with _Instant() as url, workers.temporary_folder() as folder:
            runs.append(_backlog(url, points, folder))
    ours = _median_of(runs)
    rate, cpu_us = points / ours["elapsed_s"], ours["cpu_s"] / points * 1e6
    return Figure(
        "delivery to a server that answers at once",
        "points/s",
        rate,
        targets=(at_least(100_000, rate, "points/s"),),
        more_is_better=True,
        note=f"the client's own limit; {points:,} points, {cpu_us:.1f} µs of CPU for each",
    )


def _peers(*, quick: bool) -> Iterator[Figure]:
    calls = PEER_CALLS_QUICK if quick else PEER_CALLS
    few = SLOW_CALLS_QUICK if quick else SLOW_CALLS
    ours: list[dict[str, float]] = []
    found: dict[str, list[dict[str, float]]] = {"synchronous": [], "asynchronous": [], "buffered": []}
    for _ in _rounds(quick=quick):
        with server_with(0.0) as url, workers.temporary_folder() as folder:
            home = {"BRIDGE_HOME": str(folder / "home")}
            ours.append(_per_call("our_calls", url, calls, folder=folder, **home))
        for how, runs in found.items():
            buffering = {"MLFLOW_ASYNC_LOGGING_BUFFERING_SECONDS": "1"} if how == "buffered" else {}
            with server_with(0.0) as url:
                count = calls if how == "buffered" else few
                runs.append(_per_call("mlflow_calls", url, count, how, **buffering))
    run = _median_of(ours)
    theirs = {f"mlflow, {how}": _median_of(runs) for how, runs in found.items()}
    yield Figure(
        "single calls until all is on the server",
        "points/s",
        1 / run["elapsed_s"],
        {name: 1 / peer["elapsed_s"] for name, peer in theirs.items()},
        more_is_better=True,
        note=f"{calls:,} calls of `log_metric` ({few:,} where nothing is buffered) and a flush, the server "
        "on the same machine; buffered is MLFLOW_ASYNC_LOGGING_BUFFERING_SECONDS=1",
    )
    yield Figure(
        "CPU of the client for a single call, until it is on the server",
        "µs",
        run["cpu_s"] * 1e6,
        {name: peer["cpu_s"] * 1e6 for name, peer in theirs.items()},
        note="of the program, and of the delivery child where there is one",
    )


def _per_call(function: str, url: str, calls: int, *arguments: str, **named: Any) -> dict[str, float]:
    run = workers.run("remote", function, url, calls, *arguments, **named)
    return {name: value / calls for name, value in run.items()}


# Servers.


@contextmanager
def server_with(latency_s: float | None) -> Iterator[str]:
    """Give the address of a new server behind so much latency; None is one that is gone."""
    from tests.support.mlflow_servers import mlflow_server

    from trackbridge.testing.emulators.fault_proxy import FaultProxy, Weather

    if latency_s is None:
        with FaultProxy("http://127.0.0.1:1", Weather(is_down=True)) as proxy:
            yield proxy.url
        return
    with workers.temporary_folder() as folder, mlflow_server(folder / "server", on_disk=True) as server:
        if not latency_s:
            yield server.url
            return
        with FaultProxy(server.url, Weather(latency_s=latency_s)) as proxy:
            yield proxy.url


class _Handler(BaseHTTPRequestHandler):
    """Answers log-batch at once and everything else as a server with one run would."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    run: dict[str, Any]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._answer({} if self.path.endswith("log-batch") else self._made(body))

    def do_GET(self) -> None:
        experiment = {"experiment_id": "1", "name": "Default", "lifecycle_stage": "active", "tags": []}
        self._answer({"run": self.run, "experiment": experiment, "runs": [], "experiments": [experiment]})

    def _made(self, body: bytes) -> dict[str, Any]:
        asked = json.loads(body or b"{}")
        if self.path.endswith("runs/create"):
            self.run["data"]["tags"] = asked.get("tags", [])
        return {"run": self.run, "experiment_id": "1", "run_info": self.run["info"]}

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Instant:
    """A server in a process of its own that answers at once and keeps nothing."""

    def __enter__(self) -> str:
        import subprocess

        self._process = subprocess.Popen(
            workers.command("remote", "serve_instantly"),
            env=workers.environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


# Workers.


def serve_instantly() -> dict[str, int]:
    """Serve until killed; the first line of output is the address."""
    info = {
        "run_id": "1" * 32,
        "run_uuid": "1" * 32,
        "experiment_id": "1",
        "status": "RUNNING",
        "start_time": 1,
        "artifact_uri": "/nowhere",
        "lifecycle_stage": "active",
    }
    run = {"info": info, "data": {"tags": [], "params": [], "metrics": []}}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"run": run}))
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()
    return {}


def call_loop(uri: str, seconds: str) -> dict[str, float]:
    """Call ``log_metric`` at a pace while delivery goes on."""
    import trackbridge as tb

    tb.set_tracking_uri(uri if "://" in uri else Path(uri))
    clock, log_metric, pause = time.perf_counter_ns, tb.log_metric, threading.Event()
    taken: list[int] = []
    with tb.start_run():
        log_metric("first", 0.0)
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end:
            for step in range(RATE_PER_S // 100):
                before = clock()
                log_metric("loss", 0.5 + step, len(taken))
                taken.append(clock() - before)
            pause.wait(0.01)
    child = tb.Client().session.child_process_id
    if child is not None:
        os.kill(child, signal.SIGKILL)  # the server goes, and with it what is left would stay for long
    return {"median_us": median(taken) / 1000, "calls": len(taken)}


def log_backlog(url: str, points: str) -> dict[str, int]:
    """Log without delivery."""
    import trackbridge as tb

    tb.set_tracking_uri(url)
    with tb.start_run():
        for step in range(int(points)):
            tb.log_metric("loss", 0.5 + step, step)
    return {}


def deliver_backlog() -> dict[str, float]:
    """Deliver what another process left."""
    from trackbridge.delivery.connect import connect
    from trackbridge.delivery.service import deliver_now
    from trackbridge.journal.folder import journals

    root = Path(os.environ["BRIDGE_HOME"]) / "journal"
    before, cpu_s, began = len(list(journals(root))), time.process_time(), time.perf_counter()
    deliver_now(root, open_backend=connect, deadline_s=3600)
    elapsed_s = time.perf_counter() - began
    if before != 1 or list(journals(root)):
        raise SystemExit(f"{before} journals before, {len(list(journals(root)))} after")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"elapsed_s": elapsed_s, "cpu_s": time.process_time() - cpu_s, "peak_mib": peak_mib}


def bare_batches(url: str, points: str) -> dict[str, float]:
    """Post bodies that were built before, on as many connections as delivery has."""
    import requests

    session, route = requests.Session(), f"{url}/api/2.0/mlflow/runs"
    answer = session.post(f"{route}/create", json={"experiment_id": "0", "start_time": 1})
    run_id, now_ms = answer.json()["run"]["info"]["run_id"], time.time_ns() // 1_000_000
    bodies = [
        json.dumps({"run_id": run_id, "metrics": _points(first, now_ms)}).encode()
        for first in range(0, int(points), BATCH_POINTS)
    ]
    local = threading.local()

    def post(body: bytes) -> None:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        headers = {"Content-Type": "application/json"}
        while True:
            answer = local.session.post(f"{route}/log-batch", data=body, headers=headers)
            if answer.status_code != 503:  # SQLite was locked for too long
                break
        answer.raise_for_status()

    cpu_s, began = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(post, bodies))
    return {"elapsed_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu_s}


def _points(first: int, now_ms: int) -> list[dict[str, Any]]:
    steps = range(first, first + BATCH_POINTS)
    return [{"key": "loss", "value": 0.5 + step, "timestamp": now_ms, "step": step} for step in steps]


def mlflow_calls(url: str, calls: str, how: str) -> dict[str, float]:
    """Log single points with mlflow's client, and wait until all are on the server."""
    import mlflow

    mlflow.set_tracking_uri(url)
    synchronous = how == "synchronous"
    with mlflow.start_run():
        mlflow.log_metric("first", 0.0, 0, synchronous=True)
        cpu_s, began = time.process_time(), time.perf_counter()
        for step in range(int(calls)):
            mlflow.log_metric("loss", 0.5 + step, step, synchronous=synchronous)
        mlflow.flush_async_logging()
        return {"elapsed_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu_s}


def our_calls(url: str, calls: str) -> dict[str, float]:
    """Log single points, and wait until all are on the server."""
    import trackbridge as tb

    tb.set_tracking_uri(url)
    with tb.start_run():
        tb.log_metric("first", 0.0, 0)
        tb.flush()
        child = tb.Client().session.child_process_id
        cpu_s, began = _cpu_s(child), time.perf_counter()
        for step in range(int(calls)):
            tb.log_metric("loss", 0.5 + step, step)
        tb.flush()
        return {"elapsed_s": time.perf_counter() - began, "cpu_s": _cpu_s(child) - cpu_s}


def _cpu_s(child: int | None) -> float:
    """Return the CPU time of this process, and of its child by Linux' account."""
    if child is None:
        return time.process_time()
    fields = Path(f"/proc/{child}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
