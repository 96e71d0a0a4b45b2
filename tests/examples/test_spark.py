"""Models of backends as functions of Spark: the examples, docs/models.md, on a real cluster."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyspark import SparkContext
from pyspark.sql import SparkSession

import trackbridge as tb
from tests.examples.running import EXAMPLES
from tests.support.sagemaker_emulators import sagemaker_emulator
from tests.support.spark_clusters import local_cluster
from trackbridge.errors import ConfigError, InvalidInput

pytestmark = pytest.mark.timeout(900)
ROWS = [{"alcohol": alcohol, "colour": 3.0} for alcohol in (11.0, 12.5, 13.5, 14.0)]
CHAMPION = "models:/wine@champion"
KINDS = [0, 0, 1, 1]
SETTABLE = {"spark.sql.legacy.setCommandRejectsSparkCoreConfs": "false"}


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkContext]:
    """An executor in a process of its own; what begins a session gets this one."""
    with local_cluster(tmp_path_factory.mktemp("spark"), workers=1, options=SETTABLE) as context:
        yield context


@pytest.fixture
def spark(context: SparkContext) -> SparkSession:
    return SparkSession.builder.getOrCreate()


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, a project with the model wine. Java has another one: it is given whole paths."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / ".bridge"))
    monkeypatch.setenv("BRIDGE_TRACKING_URI", str(tmp_path / ".bridge"))
    monkeypatch.setattr("trackbridge.api.fluent._client", None)
    register(12.9)
    return tmp_path


def kinds_above(least: float) -> Callable[..., Any]:
    """Return a model that is sent by its code: executors know nothing of these tests."""
    from mlflow.pyfunc import PythonModel

    class Kinds(PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            return (model_input["alcohol"] > least).astype("int64") * (params or {}).get("times", 1)

    return Kinds()  # type: ignore[return-value]


def register(least: float) -> None:
    from mlflow.models import infer_signature

    with tb.start_run():
        tb.log_model(
            kinds_above(least),
            name="model",
            signature=infer_signature(ROWS, KINDS, params={"times": 1}),
            registered_model_name="wine",
        )
    tb.flush()
    newest = tb.search_model_versions("name = 'wine'")[0]
    tb.set_registered_model_alias("wine", "champion", newest.version)


def scored(frame: Any) -> list[int]:
    return [row["kind"] for row in frame.coalesce(1).orderBy("alcohol").collect()]


def run_example(script: str, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    runpy.run_path(str(EXAMPLES / script), run_name="__main__")


def test_a_table_is_scored(
    spark: SparkSession, registered: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = str(registered / "wines.parquet"), str(registered / "kinds")
    spark.createDataFrame(ROWS).coalesce(1).write.parquet(source)
    run_example("spark_batch.py", CHAMPION, source, target, monkeypatch=monkeypatch)
    found = [row.asDict() for row in spark.read.parquet(target).orderBy("alcohol").collect()]
    assert found == [{**row, "prediction": kind} for row, kind in zip(ROWS, KINDS, strict=True)]
    assert capsys.readouterr().out.splitlines() == ["0: 2 rows", "1: 2 rows"]


def test_a_stream_scores_each_row_once_and_the_next_start_has_the_new_champion(
    spark: SparkSession, registered: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(registered / name) for name in ("incoming", "scored", "checkpoint")]
    Path("incoming").mkdir()
    for number, (least, rows) in enumerate([(12.9, ROWS[1:]), (10.0, ROWS[:1])]):
        if number:
            register(least)
        Path(f"incoming/{number}.json").write_text("\n".join(map(json.dumps, rows)))
        run_example("spark_streaming.py", CHAMPION, *folders, monkeypatch=monkeypatch)
    lines = [line for file in Path("scored").glob("*.json") for line in file.read_text().splitlines()]
    found = {item["alcohol"]: item["prediction"] for item in map(json.loads, lines)}
    assert len(lines) == len(ROWS)
    assert found == {11.0: 1, 12.5: 0, 13.5: 1, 14.0: 1}
    assert capsys.readouterr().out.splitlines() == ["3 new rows scored", "1 new rows scored"]


@contextmanager
def as_if_elsewhere(spark: SparkSession) -> Iterator[None]:
    """Have mlflow take the executors for those of other machines, which see no file of this one."""
    master = spark.conf.get("spark.master")
    spark.conf.set("spark.master", "spark://elsewhere:7077")
    try:
        yield
    finally:
        spark.conf.set("spark.master", master)


def test_executors_need_neither_the_backend_nor_our_disk(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("trackbridge.api.fluent._client", None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with sagemaker_emulator() as emulator, as_if_elsewhere(spark):
        for name, value in emulator.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("BRIDGE_TRACKING_URI", emulator.uri)
        register(12.9)
        score = tb.spark_udf(spark, CHAMPION, params={"times": 3})
        emulator.raise_failures()
    temporary = list((tmp_path / "temporary").iterdir())
    for folder in (tmp_path / "home" / "model-cache", *(path for path in temporary if path.is_dir())):
        shutil.rmtree(folder)
    assert [path.suffix for path in temporary if path.is_file() and path.stat().st_size] == [".zip"]
    rows = spark.createDataFrame(ROWS)
    assert scored(rows.withColumn("kind", score("alcohol", "colour"))) == [0, 0, 3, 3]


@pytest.mark.parametrize(("result_type", "told"), [("date", "result type"), ("nonsense", "nonsense")])
def test_what_is_no_type_of_a_result_is_told(
    spark: SparkSession, registered: Path, result_type: str, told: str
) -> None:
    with pytest.raises(InvalidInput, match=told):
        tb.spark_udf(spark, "models:/wine/1", result_type=result_type)


def test_executors_with_another_python_are_found_out(
    spark: SparkSession, registered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = registered / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # has no packages
    python.chmod(0o755)
    monkeypatch.setenv("PYSPARK_PYTHON", str(python))
    monkeypatch.setattr(spark.sparkContext, "pythonExec", str(python))
    with pytest.raises(ConfigError, match="lacks mlflow and pandas and pyarrow"):
        tb.spark_udf(spark, "models:/wine/1")
