"""A real MLflow server near and far: what a call costs, how fast delivery is, and beside it mlflow's clients.

The server is mlflow's own on SQLite with one worker, on the same machine; the latency is the fault proxy's
(``trackbridge.testing.emulators.fault_proxy``), half of it each way. It is started anew for each latency.
"""

from __future__ import annotations

import json
import os
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
POINTS, POINTS_QUICK = 300_000, 10_000
FAST_POINTS, FAST_POINTS_QUICK = 500_000, 50_000
PEER_CALLS, PEER_CALLS_QUICK = 200, 20
BATCH_POINTS = 1_000
RATE_PER_S = 2_000
"""Calls a second where one is measured: a pace that leaves the cores to more than the delivery."""


def measure(*, quick: bool) -> list[Figure]:
    """Return all figures."""
    return [*_calls(quick=quick), *_deliveries(quick=quick), _own_limit(quick=quick), *_peers(quick=quick)]


def _calls(*, quick: bool) -> Iterator[Figure]:
    seconds = CALL_SECONDS_QUICK if quick else CALL_SECONDS
    local = workers.run("remote", "call_loop", "store", seconds)["median_us"]
    for latency_s in (*LATENCIES_S, None):
        with server_with(latency_s) as url, workers.temporary_folder() as folder:
            ours = workers.run(
                "remote",
                "call_loop",
                url,
                seconds,
                folder=folder,
                BRIDGE_HOME=str(folder / "home"),
                BRIDGE_DELIVERY_EXIT_WAIT_S="0.1",
            )["median_us"]
        where = "with the server gone" if latency_s is None else f"server {latency_s * 1000:g} ms away"
        yield Figure(
            f"one `log_metric`, {where}, median",
            "µs",
            ours,
            {"local store": local},
            (at_most(1.5, ours / local, "times the local store"),),
            note=f"{seconds:g} s at about {RATE_PER_S:,} calls/s with delivery running",
        )


def _deliveries(*, quick: bool) -> Iterator[Figure]:
    points = POINTS_QUICK if quick else POINTS
    for latency_s in LATENCIES_S:
        ours = _delivered(latency_s, points)
        with server_with(latency_s) as url:
            bare = workers.run("remote", "bare_batches", url, points)
        rate, bare_rate = points / ours["elapsed_s"], points / bare["elapsed_s"]
        yield Figure(
            f"delivery to a server {latency_s * 1000:g} ms away",
            "points/s",
            rate,
            {f"bare log-batch calls of {BATCH_POINTS:,} on {CONNECTIONS} connections": bare_rate},
            (at_least(0.9, rate / bare_rate, "times the bare calls"),),
            more_is_better=True,
            note=f"{points:,} points of one run, from opening the run to its end; CPU per point: ours "
            f"{ours['cpu_s'] / points * 1e6:.1f} µs, bare calls {bare['cpu_s'] / points * 1e6:.1f} µs",
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
    with _Instant() as url, workers.temporary_folder() as folder:
        ours = _backlog(url, points, folder)
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
    found: dict[str, dict[str, float]] = {}
    for how in ("synchronous", "asynchronous", "buffered"):
        buffering = {"MLFLOW_ASYNC_LOGGING_BUFFERING_SECONDS": "1"} if how == "buffered" else {}
        with server_with(0.0) as url:
            found[how] = workers.run("remote", "mlflow_calls", url, calls, how, **buffering)
    with server_with(0.0) as url, workers.temporary_folder() as folder:
        ours = workers.run("remote", "our_calls", url, calls, folder=folder, BRIDGE_HOME=str(folder / "home"))
    names = {how: f"mlflow, {how}" for how in found}
    yield Figure(
        "single calls until all is on the server",
        "points/s",
        calls / ours["elapsed_s"],
        {names[how]: calls / run["elapsed_s"] for how, run in found.items()},
        more_is_better=True,
        note=f"{calls} calls of `log_metric` and a flush, the server on the same machine",
    )
    yield Figure(
        "CPU of the clients for a single call, until it is on the server",
        "µs",
        ours["cpu_s"] / calls * 1e6,
        {names[how]: run["cpu_s"] / calls * 1e6 for how, run in found.items()},
        note="of the program; ours without its delivery child, whose cost is above",
    )


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
    with workers.temporary_folder() as folder, mlflow_server(folder / "server") as server:
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
    return {"elapsed_s": elapsed_s, "cpu_s": time.process_time() - cpu_s}


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
        local.session.post(f"{route}/log-batch", data=body, headers=headers).raise_for_status()

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
        cpu_s, began = time.process_time(), time.perf_counter()
        for step in range(int(calls)):
            tb.log_metric("loss", 0.5 + step, step)
        tb.flush()
        return {"elapsed_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu_s}
