"""Stores with many runs, ours and mlflow's with the same content; built once and kept in ``.bench-cache``.

Ours is filled through the adapter port, mlflow's by SQL into the tables that mlflow itself made, because
its own calls would take hours.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import workers

EXPERIMENT = "many runs"
START_MS = 1_700_000_000_000
LEARNING_RATES = ("0.3", "0.1", "0.03", "0.01", "0.003", "0.001", "0.0003", "0.0001", "0.00003", "0.00001")
FORMAT = 1
"""Part of the name of a kept store: a new number builds it anew."""


@dataclass(frozen=True)
class SampleRun:
    """One run of the sample: five params and five metrics."""

    run_id: str
    number: int
    params: dict[str, str]
    metrics: dict[str, float]

    @property
    def start_ms(self) -> int:
        """When it began; each run a second after the one before."""
        return START_MS + self.number * 1000


def sample_runs(count: int) -> Iterator[SampleRun]:
    """Yield the same runs whenever asked: uniform accuracies, ten learning rates."""
    chance = random.Random(20)
    for number in range(count):
        params = {
            "lr": chance.choice(LEARNING_RATES),
            "depth": str(chance.randrange(2, 20)),
            "optimizer": chance.choice(("adam", "sgd", "lamb")),
            "batch_size": str(2 ** chance.randrange(4, 10)),
            "seed": str(number),
        }
        metrics = {key: chance.random() for key in ("acc", "loss", "f1", "auc", "seconds")}
        yield SampleRun(f"{number:032x}", number, params, metrics)


def kept(benchmark: str, build: str, count: int) -> Path:
    """Return the folder of a kept store, built by a worker of the benchmark when it is not there."""
    folder = workers.CACHE / f"{benchmark}-{build}-{count}-v{FORMAT}"
    if folder.exists():
        return folder
    workers.make_cache()
    with tempfile.TemporaryDirectory(dir=workers.build_folder(), prefix="bridge-bench-") as place:
        workers.run(benchmark, build, count, Path(place) / "store")
        with tempfile.TemporaryDirectory(dir=workers.CACHE) as draft:  # whole under its name, or not at all
            shutil.move(Path(place) / "store", draft)
            (Path(draft) / "store").rename(folder)
    return folder


def build_ours(count: str, path: str) -> None:
    """Build our store through the port."""
    from trackbridge.delivery.connect import open_uri
    from trackbridge.domain.batches import Batch, MetricColumns, Setting
    from trackbridge.domain.ids import experiment_id_of
    from trackbridge.domain.runs import RunSpec, RunStatus
    from trackbridge.resolve.uri import parse

    adapter = open_uri(parse(Path(path)))
    tracking = adapter.tracking
    assert tracking is not None
    for run in sample_runs(int(count)):
        spec = RunSpec(
            run_id=run.run_id,
            experiment_id=experiment_id_of(EXPERIMENT),
            experiment_name=EXPERIMENT,
            name=f"run-{run.number}",
            user="bench",
            start_time=run.start_ms,
        )
        tracking.open_run(spec)
        batch = Batch(run_id=run.run_id)
        batch.params.extend(Setting(key, value, 0) for key, value in run.params.items())
        for key, value in run.metrics.items():
            columns = batch.metrics[key] = MetricColumns()
            columns.append(step=1, timestamp=run.start_ms + 1, value=value, sequence=0)
        tracking.write(batch)
        tracking.close_run(run.run_id, status=RunStatus.FINISHED, end_time=run.start_ms + 500)
    adapter.close()


def build_mlflow(count: str, path: str) -> None:
    """Build mlflow's store: its own tables, filled by SQL."""
    folder = Path(path)
    experiment_id = make_mlflow_store(folder)
    with sqlite3.connect(folder / "mlflow.db") as connection:
        insert_mlflow_runs(connection, experiment_id, list(sample_runs(int(count))))
    connection.close()


def build_analyzed(count: str, path: str) -> None:
    """Build mlflow's store, and let SQLite gather the statistics that mlflow itself never asks for."""
    folder = Path(path)
    shutil.copytree(kept("stores", "build_mlflow", int(count)), folder)
    with sqlite3.connect(folder / "mlflow.db") as connection:
        connection.execute("ANALYZE")
    connection.close()


def make_mlflow_store(folder: Path) -> str:
    """Let mlflow make an empty store and an experiment; return the experiment's id."""
    import mlflow

    folder.mkdir(parents=True)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    return client.create_experiment(EXPERIMENT, artifact_location=folder.as_uri())


def insert_mlflow_runs(connection: sqlite3.Connection, experiment_id: str, runs: list[SampleRun]) -> None:
    """Insert runs as mlflow's own calls would leave them."""
    connection.executemany(
        "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, "
        "start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id) "
        "VALUES (?, ?, 'UNKNOWN', '', '', 'bench', 'FINISHED', ?, ?, '', 'active', '', ?)",
        (
            (run.run_id, f"run-{run.number}", run.start_ms, run.start_ms + 500, int(experiment_id))
            for run in runs
        ),
    )
    for table in ("metrics", "latest_metrics"):
        connection.executemany(
            f"INSERT INTO {table} (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, 1, 0, ?)",
            (
                (key, value, run.start_ms + 1, run.run_id)
                for run in runs
                for key, value in run.metrics.items()
            ),
        )
    connection.executemany(
        "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)",
        ((key, value, run.run_id) for run in runs for key, value in run.params.items()),
    )
    connection.executemany(
        "INSERT INTO tags (key, value, run_uuid) VALUES ('mlflow.runName', ?, ?)",
        ((f"run-{run.number}", run.run_id) for run in runs),
    )
