"""What ``tb.spark_udf`` refuses before Spark has anything to do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import trackbridge as tb
from trackbridge.errors import ConfigError, InvalidInput, MissingExtra, NotFound

MLMODEL = "flavors:\n  {flavor}:\n    python_version: {python}\n"


class Session:
    """Stands for a session of Spark whose executors answer what is given."""

    def __init__(self, *answers: str, error: Exception | None = None) -> None:
        self.sparkContext = self
        self.master = "spark://cluster:7077"
        self._answers, self._error = list(answers), error

    def parallelize(self, items: list[str], parts: int) -> Session:
        return self

    def mapPartitions(self, work: Any) -> Session:  # noqa: N802
        return self

    def collect(self) -> list[str]:
        if self._error is not None:
            raise self._error
        return self._answers


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "model", "python_function")


def folder_of(folder: Path, flavor: str, python: str = "") -> Path:
    folder.mkdir()
    version = python or ".".join(map(str, sys.version_info[:3]))
    (folder / "MLmodel").write_text(MLMODEL.format(flavor=flavor, python=version))
    return folder


def test_without_pyspark_it_is_said_how_to_install_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(MissingExtra) as caught:
        tb.spark_udf(Session(), model)
    assert caught.value.hint == "pip install 'trackbridge[spark]'"


def test_a_session_without_executors_is_refused(model: Path) -> None:
    with pytest.raises(ConfigError, match="gives no access to its workers") as caught:
        tb.spark_udf(object(), model)
    assert "dedicated access" in (caught.value.hint or "")


def test_a_model_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        tb.spark_udf(Session(""), tmp_path / "absent")


def test_a_model_that_is_no_python_function_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="it has only onnx"):
        tb.spark_udf(Session(""), folder_of(tmp_path / "onnx", "onnx"))
    plain = tmp_path / "plain"
    plain.mkdir()
    with pytest.raises(InvalidInput, match="it is not in the MLmodel format"):
        tb.spark_udf(Session(""), plain)


def test_executors_that_lack_a_package_are_told(model: Path) -> None:
    with pytest.raises(ConfigError, match="cannot score: /usr/bin/python3 lacks mlflow") as caught:
        tb.spark_udf(Session("/usr/bin/python3 lacks mlflow"), model)
    assert "PYSPARK_PYTHON" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("[PYTHON_VERSION_MISMATCH] Python in worker has different version", "have different Pythons"),
        ('Cannot run program "python3": error=2', "the executors do not answer"),
    ],
)
def test_executors_that_cannot_run_are_told(model: Path, said: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        tb.spark_udf(Session(error=RuntimeError(said)), model)
    assert said in str(caught.value)


def test_a_model_of_another_python_is_warned_of(tmp_path: Path) -> None:
    old = folder_of(tmp_path / "old", "python_function", python="3.8.1")
    with pytest.warns(UserWarning, match=r"saved by Python 3\.8\.1"), pytest.raises(ConfigError):
        tb.spark_udf(Session("it lacks mlflow"), old)
