"""Runs on an MLflow server, written by mlflow's REST routes, and what of them another server has.

What was written is kept by the writer: nothing here is told by a tool that is measured.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import math
import random
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

API, FILES = "/api/2.0/mlflow", "/api/2.0/mlflow-artifacts/artifacts"
EXPERIMENTS = 10
METRICS, POINTS, POINTS_LONG = 5, 100, 100_000
PARAMS, FILE_COUNT, FILE_BYTES = 10, 5, 20_000
STARTED_MS = 1_500_000_000_000
ID = "corpus.id"
"""The tag by which a copy is found."""
Json = dict[str, Any]


class Rest:
    """MLflow's routes by bare HTTP, a connection that stays open for each thread. ``calls`` counts."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._local = threading.local()
        self._lock = threading.Lock()
        self.calls = 0

    def call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Make one request; anything but success ends the program."""
        try:
            status, content = self._asked(method, path, body)
        except (http.client.RemoteDisconnected, ConnectionError):  # servers close what was idle for seconds
            self._local.connection = None
            status, content = self._asked(method, path, body)
        with self._lock:
            self.calls += 1
        if status != 200:
            raise SystemExit(f"{method} {path}: {status} {content[:500]!r}")
        return content

    def _asked(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPConnection(self._host, timeout=600)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()

    def get(self, route: str, **query: Any) -> Json:
        """Ask a route that reads."""
        found: Json = json.loads(self.call("GET", f"{API}/{route}?{urlencode(query)}"))
        return found

    def post(self, route: str, **body: Any) -> Json:
        """Call a route that takes a body."""
        answer = self.call("POST", f"{API}/{route}", json.dumps(body).encode())
        found: Json = json.loads(answer) if answer else {}
        return found

    def listed(self, folder: str) -> list[Json]:
        """Return the files and folders in a folder of the server's artifacts."""
        found = json.loads(self.call("GET", f"{FILES}?{urlencode({'path': folder})}"))
        return list(found.get("files") or ())

    def experiments(self) -> list[Json]:
        """Return all experiments but the server's own."""
        found = self.post("experiments/search", max_results=1000, view_type="ALL")
        return [item for item in found["experiments"] if item["name"] != "Default"]

    def runs(self, experiment_ids: list[str]) -> Iterator[Json]:
        """Yield all runs of some experiments."""
        body: Json = {"experiment_ids": experiment_ids, "run_view_type": "ALL", "max_results": 1000}
        while experiment_ids:
            found = self.post("runs/search", **body)
            yield from found.get("runs") or ()
            if not found.get("next_page_token"):
                return
            body["page_token"] = found["next_page_token"]

    def history(self, run_id: str, key: str) -> list[Json]:
        """Return all points of a metric."""
        query: Json = {"run_id": run_id, "metric_key": key, "max_results": 25_000}
        points: list[Json] = []
        while True:
            found = self.get("metrics/get-history", **query)
            points += found.get("metrics") or ()
            if not found.get("next_page_token"):
                return points
            query["page_token"] = found["next_page_token"]

    def files(self, root: str) -> dict[str, bytes]:
        """Return the bytes of each file below the folder of a run, by path."""
        return {
            path: self.call("GET", f"{FILES}/{quote(f'{root}/{path}')}") for path in self._paths(root, "")
        }

    def _paths(self, root: str, folder: str) -> Iterator[str]:
        for item in self.listed(f"{root}/{folder}" if folder else root):
            path = f"{folder}/{item['path']}" if folder else str(item["path"])
            if item.get("is_dir"):
                yield from self._paths(root, path)
            else:
                yield path

    def put(self, root: str, path: str, content: bytes) -> None:
        """Store a file of a run."""
        self.call("PUT", f"{FILES}/{quote(f'{root}/{path}')}", content)


def root_of(run: Json) -> str:
    """Return the folder of a run among the server's artifacts."""
    return urlsplit(str(run["info"]["artifact_uri"])).path.strip("/")


def batches(metrics: list[Json], params: list[Json]) -> Iterator[Json]:
    """Yield bodies of log-batch, as few as the server takes: a thousand records in each."""
    first = 1000 - len(params)
    if metrics or params:
        yield {"metrics": metrics[:first], "params": params}
    for start in range(first, len(metrics), 1000):
        yield {"metrics": metrics[start : start + 1000]}


def write(url: str, count: int, points_long: int = POINTS_LONG) -> list[Json]:
    """Write so many runs and return what was written."""
    rest, chance = Rest(url), random.Random(count)
    made = [
        rest.post(
            "experiments/create",
            name=f"corpus/{number}",
            tags=[{"key": "mlflow.note.content", "value": f"the experiment {number}"}],
        )["experiment_id"]
        for number in range(EXPERIMENTS)
    ]
    written: list[Json] = []
    natives: list[str] = []
    for number in range(count):
        run = _described(number, chance, points_long if number == count // 2 else POINTS)
        parent = run["parent"]
        natives.append(_written(rest, made[number % EXPERIMENTS], run, parent and natives[int(parent)]))
        written.append(_kept(run))
    return written


def _described(number: int, chance: random.Random, points: int) -> Json:
    start = STARTED_MS + number * 60_000
    value = math.nan if number % 50 == 7 else 0.1
    return {
        "id": str(number),
        "experiment": f"corpus/{number % EXPERIMENTS}",
        "name": f"run {number} of the corpus",
        "user": "alice",
        "status": "FAILED" if number % 10 == 3 else "KILLED" if number % 15 == 4 else "FINISHED",
        "start": start,
        "end": start + 3_600_000,
        "stage": "deleted" if number % 60 == 5 else "active",
        # A parent in another experiment, and ten runs before its child.
        "parent": str(number - 11) if number % 3 == 2 and number > 11 else "",
        "params": {f"param {index}": str(chance.random()) for index in range(PARAMS)},
        "tags": {ID: str(number), "mlflow.note.content": f"note {number}", "mlflow.user": "alice"},
        "metrics": {
            f"metric {index}": [
                (step, start + step * 1000, value if step == 3 else chance.gauss(0, 1))
                for step in range(points if index == 0 else POINTS)
            ]
            for index in range(METRICS)
        },
        "datasets": [f"data {number}"] if number % 5 == 0 else [],
        "files": {
            f"{'model/' if index % 2 else ''}file {index}.bin": chance.randbytes(FILE_BYTES if index else 0)
            for index in range(FILE_COUNT)
        },
    }


def _written(rest: Rest, experiment: str, run: Json, parent: str) -> str:
    tags = {**run["tags"], **({"mlflow.parentRunId": parent} if parent else {})}
    created = rest.post(
        "runs/create",
        experiment_id=experiment,
        user_id=run["user"],
        start_time=run["start"],
        run_name=run["name"],
        tags=[{"key": key, "value": value} for key, value in tags.items()],
    )["run"]
    native = str(created["info"]["run_id"])
    points = [
        {"key": key, "step": step, "timestamp": time, "value": "NaN" if value != value else value}
        for key, history in run["metrics"].items()
        for step, time, value in history
    ]
    params = [{"key": key, "value": value} for key, value in run["params"].items()]
    for body in batches(points, params):
        rest.post("runs/log-batch", run_id=native, **body)
    for name in run["datasets"]:
        dataset = {"name": name, "digest": "1234", "source_type": "local", "source": "{}"}
        rest.post("runs/log-inputs", run_id=native, datasets=[{"dataset": dataset, "tags": []}])
    for path, content in run["files"].items():
        rest.put(root_of(created), path, content)
    rest.post("runs/update", run_id=native, status=run["status"], end_time=run["end"])
    if run["stage"] == "deleted":
        rest.post("runs/delete", run_id=native)
    return native


def _kept(run: Json) -> Json:
    """Return what is compared later, in short."""
    return {
        **run,
        "metrics": {key: _digest_of(history) for key, history in run["metrics"].items()},
        "files": {path: hashlib.sha256(content).hexdigest() for path, content in run["files"].items()},
    }


def _digest_of(points: list[tuple[int, int, float]]) -> str:
    packed = sorted(struct.pack("<qqd", *point) for point in points)
    return hashlib.sha256(b"".join(packed)).hexdigest()


def lost(url: str, written: list[Json]) -> Counter[str]:
    """Return in how many runs each thing is not at a server as it was written; no mention where it is."""
    rest = Rest(url)
    names = {item["experiment_id"]: item["name"] for item in rest.experiments()}
    found: dict[str, Json] = {}
    ids: dict[str, str] = {}
    for run in rest.runs(list(names)):
        tags = _pairs(run["data"].get("tags"))
        if ID in tags:
            found[tags[ID]] = run
            ids[run["info"]["run_id"]] = tags[ID]
    lacking: Counter[str] = Counter()
    for run in written:
        if run["id"] not in found:
            lacking["whole runs"] += 1
            continue
        there = _read(rest, found[run["id"]], names, ids)
        lacking.update(what for what, value in run.items() if not _holds(value, there[what]))
    return lacking


def _read(rest: Rest, run: Json, names: dict[str, str], ids: dict[str, str]) -> Json:
    info, data = run["info"], run["data"]
    tags = _pairs(data.get("tags"))
    native = info["run_id"]
    keys = {metric["key"] for metric in data.get("metrics") or ()}
    inputs = (run.get("inputs") or {}).get("dataset_inputs") or ()
    return {
        "id": tags[ID],
        "experiment": names[info["experiment_id"]],
        "name": info.get("run_name"),
        "user": info.get("user_id"),
        "status": info["status"],
        "start": int(info["start_time"]),
        "end": int(info.get("end_time") or 0),
        "stage": info["lifecycle_stage"],
        "parent": ids.get(tags.get("mlflow.parentRunId", ""), tags.get("mlflow.parentRunId", "")),
        "params": _pairs(data.get("params")),
        "tags": tags,
        "metrics": {key: _digest_of(list(map(_point, rest.history(native, key)))) for key in keys},
        "datasets": [item["dataset"]["name"] for item in inputs],
        "files": {
            path: hashlib.sha256(content).hexdigest() for path, content in rest.files(root_of(run)).items()
        },
    }


def _holds(wanted: Any, there: Any) -> bool:
    """Tell whether what was written is there; a copy may have tags and files besides."""
    if isinstance(wanted, dict):
        return all(there.get(key) == value for key, value in wanted.items())
    return bool(wanted == there)


def _pairs(items: list[Json] | None) -> dict[str, str]:
    return {str(item["key"]): str(item.get("value", "")) for item in items or ()}


def _point(metric: Json) -> tuple[int, int, float]:
    return int(metric.get("step") or 0), int(metric["timestamp"]), float(metric["value"])
