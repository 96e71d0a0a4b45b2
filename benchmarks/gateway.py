"""The gateway over a local store beside ``mlflow server`` at its defaults: both over HTTP, on one machine.

Both get the same bytes from the same client (``gateway_load``), one after the other. Points count as readable
when a request for the last point of each metric gives it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

from benchmarks import gateway_load, history, search, stores, workers
from benchmarks.figures import Figure, at_least, at_most
from benchmarks.gateway_load import Load

API = "/api/2.0/mlflow/"
CONNECTIONS = 8
CLIENTS, CLIENTS_QUICK = 500, 50
CLIENT_SECONDS, CLIENT_SECONDS_QUICK = 60.0, 2.0
SECONDS, SECONDS_QUICK = 10.0, 1.0
BATCHES, BATCHES_QUICK = 2_000, 40
THEIR_BATCHES, THEIR_BATCHES_QUICK = 200, 8
BATCH_POINTS = 1_000
PAGE_POINTS = 25_000
"""As many as mlflow's client asks for at once."""
SEARCHES, SEARCHES_QUICK = 15, 3
READY_S = 240.0
READABLE_S = 300.0
PEER = "`mlflow server`"

Open = Callable[[Path], Any]


def measure(*, quick: bool) -> list[Figure]:
    """Return all figures."""
    ours, theirs = _loaded(_ours, quick=quick), _loaded(_theirs, quick=quick)
    return [
        *_writing(ours, theirs),
        *_searching(quick=quick),
        *_reading(quick=quick),
        *_many_clients(ours, theirs, quick=quick),
        _figure("memory after all of this, with every process", "MB", "memory_mb", ours, theirs, most=250),
        _figure("from the start until it answers", "s", "ready_s", ours, theirs, most=2),
    ]


def _writing(ours: dict[str, Any], theirs: dict[str, Any]) -> Iterator[Figure]:
    for name, unit, key, times in (
        (
            f"log-batch of {BATCH_POINTS:,} on {CONNECTIONS} connections, acknowledged",
            "points/s",
            "acked",
            20,
        ),
        ("the same, until readable", "points/s", "readable", 10),
        ("log-metric on one connection", "requests/s", "single_1", 20),
        (f"log-metric on {CONNECTIONS} connections", "requests/s", f"single_{CONNECTIONS}", 20),
    ):
        yield _figure(name, unit, key, ours, theirs, times=times)


def _many_clients(ours: dict[str, Any], theirs: dict[str, Any], *, quick: bool) -> Iterator[Figure]:
    clients = CLIENTS_QUICK if quick else CLIENTS
    failed = f"failed requests, of all the loads: ours {_told(ours)}, theirs {_told(theirs)}"
    yield Figure(
        f"log-metric of {clients} clients at once, p99",
        "ms",
        ours["many_p99_ms"],
        {PEER: theirs["many_p99_ms"]},
        (at_most(0, ours["failures"].total(), "failed requests"),),
        note=failed,
    )
    yield _figure(f"log-metric of {clients} clients at once", "requests/s", "many", ours, theirs, times=1)


def _told(found: dict[str, Any]) -> str:
    failures: Counter[str] = found["failures"]
    often = "".join(f" (mostly {text!r})" for text, _ in failures.most_common(1))
    return f"{failures.total():,}{often}"


def _figure(
    name: str,
    unit: str,
    key: str,
    ours: dict[str, Any],
    theirs: dict[str, Any],
    *,
    times: float | None = None,
    most: float | None = None,
) -> Figure:
    targets = [at_most(most, ours[key], unit)] if most is not None else []
    if times is not None:
        targets.append(at_least(times, ours[key] / theirs[key], "times mlflow server"))
    return Figure(
        name, unit, ours[key], {PEER: theirs[key]}, tuple(targets), more_is_better=times is not None
    )


# One server under load.


def _loaded(server: Open, *, quick: bool) -> dict[str, Any]:
    """Start a server on an empty store and measure all that writes."""
    is_ours = server is _ours
    batches = (
        (BATCHES_QUICK if quick else BATCHES) if is_ours else THEIR_BATCHES_QUICK if quick else THEIR_BATCHES
    )
    seconds = SECONDS_QUICK if quick else SECONDS
    clients = CLIENTS_QUICK if quick else CLIENTS
    with workers.temporary_folder() as folder:
        began = time.perf_counter()
        with server(folder) as served:
            found: dict[str, Any] = {"ready_s": time.perf_counter() - began}
            failures: Counter[str] = Counter()
            for connections in (1, CONNECTIONS):
                single = _singles(served.url, connections, seconds)
                found[f"single_{connections}"] = single.rate
                failures.update(single.failures)
            found.update(_batches(served.url, batches, failures))
            many = _singles(served.url, clients, CLIENT_SECONDS_QUICK if quick else CLIENT_SECONDS)
            found["many"], found["many_p99_ms"] = many.rate, many.percentile_ms(99)
            failures.update(many.failures)
            found["failures"] = failures
            found["memory_mb"] = _memory_mb(served.process_id)
    return found


def _singles(url: str, connections: int, seconds: float) -> Load:
    runs = [_new_run(url) for _ in range(connections)]

    def request_of(connection: int, number: int) -> bytes:
        point = {
            "run_id": runs[connection],
            "key": "loss",
            "value": 0.5,
            "timestamp": number + 1,
            "step": number,
        }
        return gateway_load.request("POST", url, f"{API}runs/log-metric", json.dumps(point).encode())

    return gateway_load.run(url, request_of, connections=connections, seconds=seconds)


def _batches(url: str, count: int, failures: Counter[str]) -> dict[str, float]:
    """Log batches on several connections, each to a run of its own, then ask until the last are there."""
    each = count // CONNECTIONS
    runs = [_new_run(url) for _ in range(CONNECTIONS)]
    requests = [[_batch(url, run_id, number) for number in range(each + 1)] for run_id in runs]
    last = [0] * CONNECTIONS

    def request_of(connection: int, number: int) -> bytes:
        last[connection] = min(number, each)
        return requests[connection][last[connection]]

    began = time.perf_counter()
    load = gateway_load.run(
        url,
        request_of,
        connections=CONNECTIONS,
        seconds=READABLE_S,
        count=each * CONNECTIONS,
    )
    failures.update(load.failures)
    for run_id, number in zip(runs, last, strict=True):
        _await_point(url, run_id, (number + 1) * BATCH_POINTS - 1)
    readable_s = time.perf_counter() - began
    rate = load.rate * BATCH_POINTS
    return {"acked": rate, "readable": len(load.taken_s) * BATCH_POINTS / readable_s}


def _batch(url: str, run_id: str, number: int) -> bytes:
    steps = range(number * BATCH_POINTS, (number + 1) * BATCH_POINTS)
    points = [
        {"key": "loss", "value": 0.5 + step, "timestamp": stores.START_MS + step, "step": step}
        for step in steps
    ]
    body = json.dumps({"run_id": run_id, "metrics": points}).encode()
    return gateway_load.request("POST", url, f"{API}runs/log-batch", body)


def _await_point(url: str, run_id: str, step: int) -> None:
    """Ask for the last point of a run until it is the one of this step."""
    path = f"metrics/get-history-bulk-interval?run_ids={run_id}&metric_key=loss&max_results=1"
    deadline = time.monotonic() + READABLE_S
    while True:
        try:
            points = _call(url, path).get("metrics", [])
        except urllib.error.HTTPError as error:
            if error.code != 503:  # still on its way
                raise
            points = []
        if points and points[0]["step"] == step:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"step {step:,} of {run_id} did not come within {READABLE_S:g} s: {points}")


def _new_run(url: str) -> str:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            made = _call(url, "runs/create", {"experiment_id": "0", "start_time": 1})
            return str(made["run"]["info"]["run_id"])
        except urllib.error.HTTPError as error:
            # mlflow's workers make the tables of an empty database at the same time, and fail meanwhile.
            if error.code != 500 or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _call(url: str, path: str, body: Any = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(f"{url}{API}{path}", content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=READABLE_S) as answer:
        return json.load(answer)


def _memory_mb(process_id: int) -> float:
    """Return the memory of a process and of all that it has started, shared pages once for each."""
    import psutil

    process = psutil.Process(process_id)
    return float(sum(each.memory_info().rss for each in [process, *process.children(recursive=True)]) / 1e6)


# Reading from stores that are there.


def _searching(*, quick: bool) -> Iterator[Figure]:
    runs = search.RUNS_QUICK if quick else search.RUNS
    ours = _searched(_ours, stores.kept("stores", "build_ours", runs), quick=quick)
    theirs = _searched(_theirs, stores.kept("stores", "build_mlflow", runs), quick=quick)
    if ours["runs"] != theirs["runs"]:
        raise SystemExit("the search finds other runs in mlflow")
    yield Figure(
        f"search of {runs:,} runs: a metric and a param condition, by metric, first {search.FIRST}",
        "ms",
        ours["ms"],
        {PEER: theirs["ms"]},
        (at_most(150, ours["ms"], "ms"), at_least(10, theirs["ms"] / ours["ms"], "times mlflow server")),
    )


def _searched(server: Open, store: Path, *, quick: bool) -> dict[str, Any]:
    with workers.temporary_folder() as folder:
        shutil.copytree(store, folder / "store")
        with server(folder) as served:
            name = quote(stores.EXPERIMENT)
            found = _call(served.url, f"experiments/get-by-name?experiment_name={name}")
            body = {
                "experiment_ids": [found["experiment"]["experiment_id"]],
                "filter": search.QUERIES["selective"],
                "order_by": search.ORDER,
                "max_results": search.FIRST,
            }
            taken_ms: list[float] = []
            for _ in range(1 + (SEARCHES_QUICK if quick else SEARCHES)):
                began = time.perf_counter()
                page = _call(served.url, "runs/search", body)
                taken_ms.append((time.perf_counter() - began) * 1000)
            return {"ms": median(taken_ms[1:]), "runs": [run["info"]["run_id"] for run in page["runs"]]}


def _reading(*, quick: bool) -> list[Figure]:
    points = history.POINTS_QUICK if quick else history.POINTS
    ours = _read(_ours, stores.kept("history", "build_ours", points), points, ("", "bridge+"))
    theirs = _read(_theirs, stores.kept("history", "build_mlflow", points), points, ("",))
    client_s = theirs["client_s"]
    free_s = workers.run("gateway", "client_of_free_answers", points)["client_s"]
    return [
        _reading_figure(f"history of {points:,} points, in pages", ours["pages_s"], theirs["pages_s"]),
        _reading_figure(
            "the same by mlflow's client with trackbridge's plugin", ours["bridge+client_s"], client_s
        ),
        _reading_figure("the same by mlflow's client alone", ours["client_s"], client_s),
        Figure("what of it mlflow's client takes by itself", "s", free_s, note="its answers cost nothing"),
    ]


def _reading_figure(name: str, ours_s: float, theirs_s: float) -> Figure:
    claims = (at_most(6, ours_s, "s"), at_least(20, theirs_s / ours_s, "times theirs"))
    return Figure(name, "s", ours_s, {PEER: theirs_s}, claims)


def _read(server: Open, store: Path, points: int, schemes: tuple[str, ...]) -> dict[str, float]:
    """Return seconds: of the pages, and of mlflow's client with each prefix of the address."""
    with workers.temporary_folder() as folder:
        shutil.copytree(store, folder / "store")
        with server(folder) as served:
            found = {"pages_s": _paged_s(served.url, points)}
            for scheme in schemes:
                told = workers.run("gateway", "client_history", f"{scheme}{served.url}", points)
                found[f"{scheme}client_s"] = told["client_s"]
            return found


def client_history(url: str, points: str) -> dict[str, float]:
    """Read a long metric with mlflow's client."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=url)
    began = time.perf_counter()
    found = client.get_metric_history(history.RUN_ID, "loss")
    if len(found) != int(points):
        raise SystemExit(f"{len(found):,} points of {int(points):,} came")
    return {"client_s": time.perf_counter() - began}


def client_of_free_answers(points: str) -> dict[str, float]:
    """Read a long metric with mlflow's client from answers that were made before: no server is quicker."""
    from unittest import mock

    import mlflow

    client = mlflow.MlflowClient(tracking_uri="http://127.0.0.1:9")
    with mock.patch("mlflow.utils.rest_utils.http_request", side_effect=list(_answers(int(points)))):
        began = time.perf_counter()
        found = client.get_metric_history(history.RUN_ID, "loss")
        taken_s = time.perf_counter() - began
    if len(found) != int(points):
        raise SystemExit(f"{len(found):,} points of {int(points):,} came")
    return {"client_s": taken_s}


def _answers(points: int) -> Iterator[Any]:
    import requests

    for start in range(0, points, PAGE_POINTS):
        steps = range(start, min(points, start + PAGE_POINTS))
        page: dict[str, Any] = {
            "metrics": [
                {"key": "loss", "value": 1 / (step + 1), "timestamp": stores.START_MS + step, "step": step}
                for step in steps
            ]
        }
        if steps.stop < points:
            page["next_page_token"] = str(steps.stop)
        answer = requests.Response()
        answer.status_code, answer.encoding = 200, "utf-8"
        answer._content = json.dumps(page).encode()
        yield answer


def _paged_s(url: str, points: int) -> float:
    began, count, token = time.perf_counter(), 0, ""
    while True:
        more = f"&page_token={quote(token)}" if token else ""
        path = f"metrics/get-history?run_id={history.RUN_ID}&metric_key=loss&max_results={PAGE_POINTS}{more}"
        page = _call(url, path)
        count, token = count + len(page["metrics"]), page.get("next_page_token", "")
        if not token:
            break
    if count != points:
        raise SystemExit(f"{count:,} points of {points:,} came")
    return time.perf_counter() - began


# The servers.


class _Served:
    """A server's address and process."""

    def __init__(self, url: str, process_id: int) -> None:
        self.url = url
        self.process_id = process_id


@contextmanager
def _ours(folder: Path) -> Iterator[_Served]:
    from tests.support.gateways import gateway

    with gateway(f"file:{folder}/store", home=folder / "home") as served:
        yield _Served(served.url, served.process_id)


@contextmanager
def _theirs(folder: Path) -> Iterator[_Served]:
    """Run ``mlflow server`` at its defaults, on SQLite."""
    (folder / "store").mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/store/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with open(folder / "mlflow.log", "wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=workers.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _await_ready(url, process, folder / "mlflow.log")
        yield _Served(url, process.pid)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=READY_S):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"mlflow server did not start:\n{log.read_text()[-4000:]}") from None
            time.sleep(0.05)
