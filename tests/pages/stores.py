"""Local stores for the pages: one of 100,000 runs, one of every kind of run and a million points."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import random
import sqlite3
from array import array
from contextlib import closing
from pathlib import Path

from trackbridge.delivery.connect import open_uri
from trackbridge.domain.batches import Batch, InputAdded, MetricColumns, Setting
from trackbridge.domain.ids import experiment_id_of
from trackbridge.domain.runs import DatasetInput, RunSpec, RunStatus
from trackbridge.ports.adapter import Adapter
from trackbridge.resolve.uri import parse

START_MS = 1_700_000_000_000
MANY, WINES = "many runs", "wines"
MANY_ID, WINES_ID = experiment_id_of(MANY), experiment_id_of(WINES)
RATES = ("0.3", "0.1", "0.03", "0.01", "0.003", "0.001")
LONG_POINTS = 1_000_000
SPIKE_STEP, SPIKE = 123_457, 50.0
"""One point of the long history that stands out."""

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SCRIPT = "<script>window.stolen = 1</script><img src=x onerror='window.stolen = 1'>"
"""What must never run."""
NOTE = f"""# Wines

The **third** attempt, see [the paper](https://example.org/wine) and [this](javascript:window.stolen=1).

{SCRIPT}

![tracker](https://example.org/pixel.png)

| a | b |
|---|---|
| 1 | 2 |
"""
NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "source": ["## A look\n", SCRIPT]},
        {
            "cell_type": "code",
            "source": "print('hello')",
            "outputs": [
                {"output_type": "stream", "text": ["hello from a cell\n"]},
                {"output_type": "display_data", "data": {"text/html": SCRIPT, "text/plain": "<Figure>"}},
                {"output_type": "display_data", "data": {"image/png": base64.b64encode(PIXEL).decode()}},
            ],
        },
    ],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}
VECTOR = """<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20">
<rect width="40" height="20" fill="red" onload="window.stolen = 1"/>
<script>window.stolen = 1</script></svg>"""
FILES: dict[str, bytes] = {
    "plot.png": PIXEL,
    "drawing.svg": VECTOR.encode(),
    "table.csv": b'name,score\nmerlot,1\n"<b>syrah</b>",2\n',
    "scores.json": json.dumps({"columns": ["wine", "score"], "data": [["malbec", 3]]}).encode(),
    "config.json": b'{"deep": {"lr": 0.1}}',
    "notes.txt": SCRIPT.encode(),
    "readme.md": NOTE.encode(),
    "look.ipynb": json.dumps(NOTEBOOK).encode(),
    "change.diff": b"--- a/train.py\n+++ b/train.py\n-old line\n+new line\n",
    "page.html": f"<html>{SCRIPT}</html>".encode(),
    "blob.bin": bytes(range(256)),
    "model/MLmodel": b"flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n",
}


def run_id(number: int, kind: str = "a") -> str:
    """Return the id of a sample run."""
    return f"{kind}{number:031x}"


def build_many(folder: Path, count: int) -> None:
    """Build a store of many runs by SQL in the adapter's own tables, in a few seconds."""
    adapter = open_uri(parse(folder))
    _open(adapter, run_id(0, "0"), MANY, "first", START_MS - 1000)  # the tables, the experiment and the names
    _write(adapter, run_id(0, "0"), {"acc": [(0, 0.5)], "loss": [(0, 0.5)]}, {"lr": "0.1", "depth": "3"}, {})
    adapter.close()
    with closing(sqlite3.connect(folder / "store.db")) as connection, connection:
        names = dict(connection.execute("SELECT text, id FROM name"))
        experiment = connection.execute("SELECT experiment FROM run").fetchone()[0]
        chance = random.Random(20)
        numbers = range(1, count)
        connection.executemany(
            "INSERT INTO run (row, run_id, experiment, name, user, status, start_time, end_time) "
            "VALUES (?, ?, ?, ?, 'ada', 'FINISHED', ?, ?)",
            (
                (10 + n, run_id(n), experiment, f"run-{n}", START_MS + n * 1000, START_MS + n * 1000 + 500)
                for n in numbers
            ),
        )
        connection.executemany(
            "INSERT INTO metric_latest (run, key, step, timestamp, value, bits) VALUES (?, ?, 0, ?, ?, ?)",
            (
                (10 + n, names[key], START_MS + n * 1000, value, _bits(value))
                for n in numbers
                for key, value in (("acc", chance.random()), ("loss", n / count))
            ),
        )
        connection.executemany(
            "INSERT INTO param (run, key, value) VALUES (?, ?, ?)",
            (
                (10 + n, names[key], value)
                for n in numbers
                for key, value in (("lr", RATES[n % len(RATES)]), ("depth", str(n % 20)))
            ),
        )


def _bits(value: float) -> int:
    return array("q", array("d", [value]).tobytes())[0]


def build_wines(folder: Path) -> None:
    """Build a store of one experiment with a long run, two short ones with files, and one that runs."""
    adapter = open_uri(parse(folder))
    _open(adapter, run_id(1), WINES, "long-run", START_MS)
    _write_long(adapter, run_id(1))
    _close(adapter, run_id(1), START_MS + LONG_POINTS)
    for number, rate in ((2, "0.1"), (3, "0.01")):
        identifier = run_id(number)
        _open(adapter, identifier, WINES, f"short-{number}", START_MS + number * 1_000_000)
        curve = [(step, math.exp(-step / (10 * number))) for step in range(100)]
        rising = [(step, 1 - value) for step, value in curve]
        tags = {
            "mlflow.note.content": NOTE,
            "mlflow.source.name": "train.py",
            "mlflow.source.git.commit": "c0ffee" * 6 + "c0ff",
            "mlflow.source.git.repoURL": "https://example.org/wine.git",
            "bridge.git.dirty": "true",
            "bridge.job": "job-17",
            "bridge.job.url": "javascript:window.stolen=1",
            "team": SCRIPT,
        }
        params = {"lr": rate, "depth": "3", "a key with spaces": "x" * 300}
        _write(adapter, identifier, {"loss": curve, "acc": rising}, params, tags)
        _put_files(adapter, folder, identifier, number)
        _close(adapter, identifier, START_MS + number * 1_000_000 + 60_000)
    _open(adapter, run_id(4), WINES, SCRIPT, START_MS + 9_000_000)
    _write(adapter, run_id(4), {"loss": [(0, 3.0), (1, math.nan), (2, 1.0)]}, {"lr": "0.3"}, {})
    adapter.close()


def add_point(folder: Path, identifier: str, step: int, value: float) -> None:
    """Log one more point of ``loss``."""
    adapter = open_uri(parse(folder))
    _write(adapter, identifier, {"loss": [(step, value)]}, {}, {})
    adapter.close()


def end_run(folder: Path, identifier: str) -> None:
    """End a run."""
    adapter = open_uri(parse(folder))
    _close(adapter, identifier, START_MS + 10_000_000)
    adapter.close()


def _open(adapter: Adapter, identifier: str, experiment: str, name: str, start_ms: int) -> None:
    assert adapter.tracking is not None
    spec = RunSpec(
        run_id=identifier,
        experiment_id=experiment_id_of(experiment),
        experiment_name=experiment,
        name=name,
        user="ada",
        start_time=start_ms,
    )
    adapter.tracking.open_run(spec)


def _write(
    adapter: Adapter,
    identifier: str,
    metrics: dict[str, list[tuple[int, float]]],
    params: dict[str, str],
    tags: dict[str, str],
) -> None:
    assert adapter.tracking is not None
    batch = Batch(run_id=identifier)
    for key, points in metrics.items():
        columns = batch.metrics[key] = MetricColumns()
        for step, value in points:
            columns.append(step=step, timestamp=START_MS + step * 1000, value=value, sequence=0)
    batch.params.extend(Setting(key, value, 0) for key, value in params.items())
    batch.tags.extend(Setting(key, value, 0) for key, value in tags.items())
    if tags:
        batch.inputs.append(InputAdded(DatasetInput(name="wine", digest="d1", source="wine.csv"), 0))
    adapter.tracking.write(batch)


def _write_long(adapter: Adapter, identifier: str) -> None:
    assert adapter.tracking is not None
    steps = array("q", range(LONG_POINTS))
    times = array("q", range(START_MS, START_MS + LONG_POINTS))
    values = array("d", map(math.sin, (step / 40_000 for step in range(LONG_POINTS))))
    values[SPIKE_STEP] = SPIKE
    columns = MetricColumns(
        steps=steps, timestamps=times, values=values, sequences=array("Q", itertools.repeat(0, LONG_POINTS))
    )
    adapter.tracking.write(Batch(run_id=identifier, metrics={"loss": columns}))


def _put_files(adapter: Adapter, folder: Path, identifier: str, number: int) -> None:
    assert adapter.artifacts is not None
    for path, content in {**FILES, "which.txt": f"same\nrun {number}\n".encode()}.items():
        place = folder / "incoming"
        place.write_bytes(content)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        adapter.artifacts.put(identifier, path, place, digest=digest, size=len(content))
        place.unlink()


def _close(adapter: Adapter, identifier: str, end_ms: int) -> None:
    assert adapter.tracking is not None
    adapter.tracking.close_run(identifier, status=RunStatus.FINISHED, end_time=end_ms)
