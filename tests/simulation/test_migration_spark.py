"""A migration by the workers of a real Spark cluster, one of which is killed, and one that is interrupted."""

from __future__ import annotations

import json
import signal
import threading
import venv
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from pyspark import SparkContext

import trackbridge as tb
from tests.support.corpus import Corpus, Size, problems, write_corpus
from tests.support.migrations import local_side
from tests.support.spark_clusters import (
    WORKERS,
    busy,
    executors,
    failed_tasks,
    kill_an_executor,
    local_cluster,
)
from trackbridge.cli.main import bridge
from trackbridge.domain.migration import Kind, State
from trackbridge.errors import ConfigError
from trackbridge.operations.migrate.applying import Applying
from trackbridge.operations.migrate.bounds import Bounds
from trackbridge.operations.migrate.ledger import Entry, Ledger
from trackbridge.operations.migrate.migration import Migration
from trackbridge.operations.migrate.pair import Asked
from trackbridge.operations.migrate.partitions import Place
from trackbridge.operations.migrate.spark import SparkEngine

pytestmark = pytest.mark.timeout(1800)
RUNS = 36
SIZE = Size(runs=RUNS, points=10, long_points=100, file_bytes=1500, large_bytes=15_000, models=1, versions=3)
SLOWLY = Bounds(bytes_per_s=120_000)
"""So slow that each worker has something to do when one of them is killed."""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "home"))
    return tmp_path / "a"


@pytest.fixture
def corpus(source: Path) -> Corpus:
    side = local_side(source)
    try:
        return write_corpus(side.adapter, SIZE)
    finally:
        side.close()


def differing(corpus: Corpus, source: Path, target: Path) -> list[str]:
    """Return how the target differs from what was written, and what is there twice."""
    origin, side = local_side(source), local_side(target)
    try:
        ids = Counter(
            run.info.run_id for found in side.experiments() for run in side.runs(found.experiment_id)
        )
        twice = [run_id for run_id, count in ids.items() if count > 1 or run_id not in corpus.runs]
        return twice + problems(corpus, side.adapter, registry_uri=origin.uri, renumbered=True)
    finally:
        side.close()
        origin.close()


def remembered(home: Path, source: str, target: str) -> dict[str, Entry]:
    """Return what the ledger has of runs, but for the time."""
    ledger = Ledger(home, source=source, target=target)
    try:
        return {entry.source_id: entry for entry in ledger.entries(Kind.RUN)}
    finally:
        ledger.close()


def killed_on_the_way_it_ends_as_if_nothing_had_happened(
    context: SparkContext, source: Path, corpus: Corpus, tmp_path: Path
) -> None:
    killed: list[int] = []
    lock = threading.Lock()

    def kill_once(point: str) -> None:
        with lock:
            if point == "part" and failed_tasks(context) == before:
                killed.append(kill_an_executor(context))

    outcomes: list[str] = []
    with Migration(str(source), str(tmp_path / "b"), bounds=SLOWLY) as migration:
        with migration.spark_engine() as engine:
            before = failed_tasks(context)
            assert len(executors(context)) == WORKERS
            plan = migration.plan(Asked(preflight=False))
            how = Applying(engine=engine, on_point=kill_once)
            how.on_outcome = lambda outcome: outcomes.append(outcome.subject)
            account = migration.apply(plan, how)
        again = migration.plan(Asked(preflight=False))
        uris = migration.source_uri, migration.target_uri
    assert killed
    assert failed_tasks(context) > before, "no worker was at work when it was killed"
    assert (account.exit_code, account.remaining, account.unexplained()) == (0, [], {})
    assert differing(corpus, source, tmp_path / "b") == []
    assert Counter(outcomes) == Counter(change.subject for change in plan.changes)
    unended = {f"run {run.run_id}" for run in corpus.runs.values() if not run.status.is_final}
    assert {change.subject for change in again.changes if change.action.value != "keep"} == unended
    by_spark = remembered(tmp_path / "home", *uris)
    assert set(by_spark) == set(corpus.runs)

    with Migration(str(source), str(tmp_path / "c")) as migration:
        undisturbed = migration.apply(migration.plan(Asked(preflight=False)), Applying())
        by_threads = remembered(tmp_path / "home", migration.source_uri, migration.target_uri)
    assert (account.source, account.target) == (undisturbed.source, undisturbed.target)
    assert {key: (entry.source_print, entry.target_print) for key, entry in by_spark.items()} == {
        key: (entry.source_print, entry.target_print) for key, entry in by_threads.items()
    }


def interrupting() -> Callable[[str], None]:
    """Return what sends this process the signal of Ctrl-C when the first part is there."""
    sent = threading.Lock()

    def point(name: str) -> None:
        if name == "part" and sent.acquire(blocking=False):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    return point


def interrupted_it_is_gone_on_with_by_either_engine(
    context: SparkContext, source: Path, corpus: Corpus, tmp_path: Path
) -> None:
    for target, engine_name in (("d", "threads"), ("e", "spark")):
        with Migration(str(source), str(tmp_path / target), bounds=SLOWLY) as migration:
            how = Applying(on_point=interrupting())
            plan = migration.plan(Asked(preflight=False))
            with migration.spark_engine() as how.engine, pytest.raises(KeyboardInterrupt):
                migration.apply(plan, how)
        assert busy(context) == 0, "workers still write"
        assert how.account.states[State.DONE] > 0
        assert how.account.states[State.LEFT] > 0
        assert sum(how.account.states.values()) == len(plan.changes)
        report = tb.migrate.plan(source, tmp_path / target).apply(engine=engine_name)
        assert report.is_complete, report.remaining
        assert differing(corpus, source, tmp_path / target) == []


def the_command_takes_the_session_that_runs(source: Path, corpus: Corpus, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        bridge,
        ["migrate", str(source), str(tmp_path / "f"), "--engine", "spark", "--yes", "--json"],
    )
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["complete"]
    assert summary["account"]["items"]["run"] == {"done": RUNS}
    assert f"Spark at local-cluster[{WORKERS},1,1024]" in done.stderr
    assert differing(corpus, source, tmp_path / "f") == []


def what_cannot_work_is_told_beforehand(
    context: SparkContext, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "g"
    with pytest.raises(ConfigError, match="a Spark session runs already"):
        tb.migrate.plan(source, target).apply(engine="spark", spark_master="spark://other:7077")
    with pytest.raises(ConfigError, match="is no folder of"):
        SparkEngine(Place(uri=str(tmp_path / "gone")), Place(uri=str(target)))
    venv.create(tmp_path / "bare", symlinks=True)
    bare = str(tmp_path / "bare" / "bin" / "python")
    monkeypatch.setenv("PYSPARK_PYTHON", bare)
    monkeypatch.setattr(context, "pythonExec", bare)
    with pytest.raises(ConfigError, match=r"trackbridge .* is not installed there"):
        SparkEngine(Place(uri=str(source)), Place(uri=str(target)))
    assert not target.exists()


def a_session_of_its_own_is_begun_and_ended(source: Path, corpus: Corpus, tmp_path: Path) -> None:
    interrupt = signal.getsignal(signal.SIGINT)
    report = tb.migrate.plan(source, tmp_path / "h").apply(engine="spark", spark_master="local[2]")
    assert report.is_complete, report.remaining
    assert differing(corpus, source, tmp_path / "h") == []
    assert SparkContext._active_spark_context is None
    assert signal.getsignal(signal.SIGINT) is interrupt


def test_workers_of_a_cluster_copy_the_runs(
    source: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test, for a cluster takes its time to begin, and tests are shared out to several processes."""
    with local_cluster(tmp_path / "cluster") as context:
        killed_on_the_way_it_ends_as_if_nothing_had_happened(context, source, corpus, tmp_path)
        interrupted_it_is_gone_on_with_by_either_engine(context, source, corpus, tmp_path)
        the_command_takes_the_session_that_runs(source, corpus, tmp_path)
        with monkeypatch.context() as changed:
            what_cannot_work_is_told_beforehand(context, source, tmp_path, changed)
    a_session_of_its_own_is_begun_and_ended(source, corpus, tmp_path)
