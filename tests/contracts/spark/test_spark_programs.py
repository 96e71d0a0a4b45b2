"""Programs that track, as drivers of a real local cluster: what they log comes home as from anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

import trackbridge as tb
from tests.support import project_runs
from tests.support.spark_submissions import CONF
from trackbridge.domain.jobs import JobStatus
from trackbridge.resolve.uri import TrackingUri

PATIENCE_S = 240.0

PROGRAM = """
import trackbridge as tb
from pyspark.sql import SparkSession

import squares

with tb.start_run():
    spark = SparkSession.builder.getOrCreate()
    numbers = spark.sparkContext.parallelize(range(100), 4)
    tb.log_param("executors", spark.conf.get("spark.executor.instances"))
    for step in range(3):
        total = numbers.map(lambda number: squares.square(number) + step).sum()
        tb.log_metric("total", total, step=step)
    spark.stop()
"""
SQUARES = "def square(number):\n    return number * number\n"
SUM_OF_SQUARES = sum(number * number for number in range(100))


@pytest.fixture
def place(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A local cluster, as the URI of a job backend; the project is an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / ".bridge"))
    monkeypatch.setenv("BRIDGE_TRACKING_URI", f"file:{tmp_path / 'store'}")
    options = tuple(sorted({"jobs_notice_s": "5", **CONF}.items()))
    return TrackingUri("spark", "spark:local-cluster[2%2C1%2C1024]", options).text


def test_a_program_on_executors_logs_from_its_driver(place: str, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "train.py").write_text(PROGRAM, encoding="utf-8")
    (code / "squares.py").write_text(SQUARES, encoding="utf-8")
    job = tb.submit("train.py", code_dir=code, on=place, instances=2, launcher="spark")
    state = job.wait(timeout_s=PATIENCE_S)
    assert state.status is JobStatus.SUCCEEDED, "".join(job.logs())
    run = tb.Client().get_run(job.run_id)
    points = tb.Client().get_metric_history(job.run_id, "total")
    assert [point.value for point in points] == [SUM_OF_SQUARES + 100 * step for step in range(3)]
    assert run.data.params["executors"] == "2"
    assert run.info.status == "FINISHED"
    assert run.data.tags["bridge.job"] == job.id


@pytest.mark.parametrize("entry", ["main", "network"])
def test_the_example_project_gives_what_it_gives_anywhere(entry: str, place: str) -> None:
    job = tb.submit(
        project_runs.PROJECT,
        entry_point=entry,
        env_manager="local",
        on=place,
        parameters=project_runs.QUICK[entry],
    )
    assert job.wait(timeout_s=PATIENCE_S).status is JobStatus.SUCCEEDED, "".join(job.logs())
    assert project_runs.tracked(tb.Client(), job.run_id) == project_runs.expected(entry)


def test_a_project_runs_in_the_environment_that_it_declares(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_runs.small_project(tmp_path, monkeypatch)
    project_runs.runs_in_its_own_environment(tmp_path, {}, on=place)
