"""Reading one long metric: as columns and as typed points, every value touched."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks import stores, workers
from benchmarks.figures import Figure, at_most

POINTS = 1_000_000
POINTS_QUICK = 20_000
REPETITIONS = 5
RUN_ID = "0" * 32


def measure(*, quick: bool) -> list[Figure]:
    """Return the times of reading."""
    points = POINTS_QUICK if quick else POINTS
    ours = stores.kept("history", "build_ours", points)
    theirs = stores.kept("history", "build_mlflow", points)
    found = workers.run("history", "our_history", ours, points)
    their_s = workers.run("history", "mlflow_history", theirs, points)["points_s"]
    peers = {"mlflow `get_metric_history` on SQLite": their_s}
    return [
        Figure(
            f"history of {points:,} points, as columns",
            "s",
            found["columns_s"],
            peers,
            (at_most(0.5, found["columns_s"], "s"),),
            note="steps, timestamps and values each summed up; mlflow once, with its points",
        ),
        Figure(
            f"history of {points:,} points, as typed points",
            "s",
            found["points_s"],
            peers,
            (at_most(2, found["points_s"], "s"),),
            note="step, timestamp and value of each point summed up",
        ),
    ]


def build_ours(points: str, path: str) -> None:
    """Build a store with one long metric through the port."""
    from array import array

    from trackbridge.delivery.connect import open_uri
    from trackbridge.domain.batches import Batch, MetricColumns
    from trackbridge.domain.ids import experiment_id_of
    from trackbridge.domain.runs import RunSpec
    from trackbridge.resolve.uri import parse

    adapter = open_uri(parse(Path(path)))
    assert adapter.tracking is not None
    spec = RunSpec(
        run_id=RUN_ID,
        experiment_id=experiment_id_of(stores.EXPERIMENT),
        experiment_name=stores.EXPERIMENT,
        name="long",
        user="bench",
        start_time=stores.START_MS,
    )
    adapter.tracking.open_run(spec)
    steps = range(int(points))
    columns = MetricColumns(
        steps=array("q", steps),
        timestamps=array("q", (stores.START_MS + step for step in steps)),
        values=array("d", (1 / (step + 1) for step in steps)),
        sequences=array("Q", steps),
    )
    adapter.tracking.write(Batch(run_id=RUN_ID, metrics={"loss": columns}))
    adapter.close()


def build_mlflow(points: str, path: str) -> None:
    """Build mlflow's store with the same metric, by SQL."""
    folder = Path(path)
    experiment_id = stores.make_mlflow_store(folder)
    run = stores.SampleRun(RUN_ID, 0, {}, {})
    with sqlite3.connect(folder / "mlflow.db") as connection:
        stores.insert_mlflow_runs(connection, experiment_id, [run])
        connection.executemany(
            "INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid) "
            "VALUES ('loss', ?, ?, ?, 0, ?)",
            ((1 / (step + 1), stores.START_MS + step, step, RUN_ID) for step in range(int(points))),
        )
    connection.close()


# Workers.


def our_history(folder: str, points: str) -> dict[str, float]:
    """Read our history in both shapes."""
    import trackbridge as tb

    client = tb.Client(Path(folder))

    def columns() -> tuple[float, int]:
        found = client.get_metric_columns(RUN_ID, "loss")
        return sum(found.values) + sum(found.steps) + sum(found.timestamps), len(found)

    def typed() -> tuple[float, int]:
        found = client.get_metric_history(RUN_ID, "loss")
        return sum(point.value + point.step + point.timestamp for point in found), len(found)

    return {
        "columns_s": _timed(columns, int(points), REPETITIONS),
        "points_s": _timed(typed, int(points), REPETITIONS),
    }


def mlflow_history(folder: str, points: str) -> dict[str, float]:
    """Read mlflow's history, once."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{Path(folder) / 'mlflow.db'}")
    client.get_run(RUN_ID)  # opens the store, which is not what is measured

    def typed() -> tuple[float, int]:
        found = client.get_metric_history(RUN_ID, "loss")
        return sum(point.value + point.step + point.timestamp for point in found), len(found)

    return {"points_s": _timed(typed, int(points), 1)}


def _timed(read: Callable[[], tuple[float, int]], points: int, repetitions: int) -> float:
    taken_s = []
    for _ in range(repetitions):
        began = time.perf_counter()
        _, count = read()
        taken_s.append(time.perf_counter() - began)
        if count != points:
            raise SystemExit(f"{points:,} points are stored, and {count:,} were read")
    return median(taken_s)
