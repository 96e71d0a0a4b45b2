"""``bridge migrate --engine spark`` where Spark cannot run: said before anything is looked at."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

import trackbridge as tb
from tests.cli.conftest import Bridge, bridge_process
from tests.support.migrations import local_side
from trackbridge.domain.ids import experiment_id_of
from trackbridge.errors import ConfigError, MissingExtra


@pytest.fixture
def sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "home"))
    side = local_side(tmp_path / "a")
    side.tracking.ensure_experiment("wine", experiment_id=experiment_id_of("wine"), tags={})
    side.close()
    return str(tmp_path / "a"), str(tmp_path / "b")


def test_a_master_without_the_engine_is_a_mistake(bridge: Bridge, sides: tuple[str, str]) -> None:
    done = bridge("migrate", *sides, "--yes", "--spark-master", "local[2]", code=2)
    assert "--engine spark" in done.err
    bridge("migrate", *sides, "--yes", "--engine", "flink", code=2)


def test_without_pyspark_the_extra_is_named(
    bridge: Bridge, sides: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    done = bridge("migrate", *sides, "--yes", "--engine", "spark", code=1)
    assert "pip install 'trackbridge[spark]'" in done.err
    assert not Path(sides[1]).exists()
    with pytest.raises(MissingExtra):
        tb.migrate.plan(*sides).apply(engine="spark")


def test_without_java_it_is_said_what_is_missing(sides: tuple[str, str], tmp_path: Path) -> None:
    """In a process of its own: this one may have started a Java before, which Spark would go on with."""
    variables = {**os.environ, "JAVA_HOME": str(tmp_path / "no-java")}
    process = bridge_process("migrate", *sides, "--yes", "--engine", "spark", env=variables)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "Spark does not start" in errors
    assert "Java 17" in errors
    assert not Path(sides[1]).exists()


def test_looking_at_a_plan_needs_no_spark(
    bridge: Bridge, sides: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    done = bridge("migrate", *sides, "--plan", "--engine", "spark", "--json")
    assert json.loads(done.out.splitlines()[-1])["applied"] is False


def test_an_engine_that_is_not_there_is_refused(sides: tuple[str, str]) -> None:
    plan = tb.migrate.plan(*sides)
    with pytest.raises(ConfigError, match="no engine 'flink'"):
        plan.apply(engine="flink")
    with pytest.raises(ConfigError, match="goes with the engine spark"):
        plan.apply(spark_master="local[2]")
    assert plan.apply().is_complete
