"""How fast a backlog is delivered into the local store."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from benchmarks import workers
from benchmarks.figures import Figure, at_least

POINTS = 2_000_000
POINTS_QUICK = 100_000
KEYS = ("loss", "accuracy", "gradient_norm", "learning_rate")
REPETITIONS = 3
MLFLOW_BATCHES = 20
MLFLOW_BATCH_POINTS = 1_000
"""The greatest number that mlflow takes in one call."""


def measure(*, quick: bool) -> list[Figure]:
    """Return points per second."""
    points = POINTS_QUICK if quick else POINTS
    rates = []
    for _ in range(1 if quick else REPETITIONS):
        with workers.temporary_folder() as folder:
            workers.run(
                "drain",
                "log_backlog",
                points,
                folder=folder,
                BRIDGE_DELIVERY="off",
                BRIDGE_DELIVERY_EXIT_WAIT_S="0",
            )
            elapsed_s = workers.run("drain", "deliver_backlog", points, folder=folder)["elapsed_s"]
        rates.append(points / elapsed_s)
    rate = median(rates)
    batches = 3 if quick else MLFLOW_BATCHES
    theirs = workers.run("drain", "mlflow_batches", batches)["elapsed_s"]
    return [
        Figure(
            "draining a backlog into the local store",
            "points/s",
            rate,
            {"mlflow `log_batch` on SQLite": batches * MLFLOW_BATCH_POINTS / theirs},
            (at_least(150_000, rate, "points/s"),),
            more_is_better=True,
            note=f"{points:,} points of {len(KEYS)} metrics, logged one by one; mlflow's in batches of "
            f"{MLFLOW_BATCH_POINTS:,}",
        )
    ]


# Workers.


def log_backlog(points: str) -> dict[str, int]:
    """Log without delivery."""
    import trackbridge as tb

    tb.set_tracking_uri(Path("store"))
    with tb.start_run():
        for step in range(int(points) // len(KEYS)):
            for key in KEYS:
                tb.log_metric(key, 0.5 + step, step)
    return {}


def deliver_backlog(points: str) -> dict[str, float]:
    """Deliver what another process left, and count it."""
    import trackbridge as tb
    from trackbridge.delivery.connect import connect
    from trackbridge.delivery.service import deliver_now
    from trackbridge.journal.folder import journals

    root = Path("store/journal")
    before = len(list(journals(root)))
    began = time.perf_counter()
    deliver_now(root, open_backend=connect, deadline_s=3600)
    elapsed_s = time.perf_counter() - began
    if before != 1 or list(journals(root)):
        raise SystemExit(f"{before} journals before, {len(list(journals(root)))} after")
    client = tb.Client(Path("store"))
    experiment = client.get_experiment_by_name("Default")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    stored = sum(len(client.get_metric_columns(run.info.run_id, key)) for key in KEYS)
    if stored != int(points):
        raise SystemExit(f"{points} points were logged, and {stored:,} are stored")
    return {"elapsed_s": elapsed_s}


def mlflow_batches(batches: str) -> dict[str, float]:
    """Log to mlflow's SQLite store in batches as large as it takes."""
    import mlflow
    from mlflow.entities import Metric

    client, now_ms = mlflow.MlflowClient(), time.time_ns() // 1_000_000
    run_id = client.create_run("0").info.run_id
    began = time.perf_counter()
    for batch in range(int(batches)):
        steps = range(batch * MLFLOW_BATCH_POINTS, (batch + 1) * MLFLOW_BATCH_POINTS)
        points = [Metric(KEYS[step % len(KEYS)], 0.5 + step, now_ms, step) for step in steps]
        client.log_batch(run_id, metrics=points)
    return {"elapsed_s": time.perf_counter() - began}
