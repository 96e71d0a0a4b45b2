"""A Spark cluster of several workers on this machine, each a process of its own, and what is done to it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pyspark import SparkContext
from pyspark.sql import SparkSession

WORKERS = 3
WAIT_S = 120.0
QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
OPTIONS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.extraJavaOptions": QUICK_JAVA,
    "spark.executor.extraJavaOptions": QUICK_JAVA,
}


@contextlib.contextmanager
def local_cluster(
    folder: Path, *, workers: int = WORKERS, options: Mapping[str, str] | None = None
) -> Iterator[SparkContext]:
    """Run one whose session is that of this process, and wait until all its workers are there.

    Workers write below SPARK_HOME: it is a folder of links to what pyspark brings.
    """
    import pyspark

    home = folder / "spark"
    home.mkdir(parents=True)
    for entry in Path(pyspark.__file__).parent.iterdir():
        (home / entry.name).symlink_to(entry)
    surroundings = {"SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_CONF_DIR": str(folder)}
    with patch.dict(os.environ, surroundings):
        builder = SparkSession.builder.master(f"local-cluster[{workers},1,1024]")
        for name, value in {**OPTIONS, **(options or {})}.items():
            builder = builder.config(name, value)
        interrupt = signal.getsignal(signal.SIGINT)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        try:
            await_workers(session.sparkContext, workers)
            yield session.sparkContext
        finally:
            session.stop()
            signal.signal(signal.SIGINT, interrupt)


def await_workers(context: SparkContext, count: int) -> None:
    """Wait until so many executors are there."""
    done = threading.Event()
    for _ in range(int(WAIT_S * 10)):
        if len(executors(context)) >= count and busy(context, count) is not None:
            return
        done.wait(0.1)
    raise AssertionError(f"of {count} executors there are {len(executors(context))}")


def executors(context: SparkContext) -> dict[str, int]:
    """Return the processes of the executors of a session by their ids."""
    found = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if "--executor-id" in words and str(context.applicationId) in words:
                found[words[words.index("--executor-id") + 1]] = int(folder.name)
    return found


def busy(context: SparkContext, workers: int = WORKERS) -> int | None:
    """Return how many tasks run, None while not all executors have come."""
    java: Any = context._jsc
    infos = list(java.sc().statusTracker().getExecutorInfos())
    if len(infos) < workers + 1:  # the driver is one of them
        return None
    return sum(info.numRunningTasks() for info in infos)


def kill_an_executor(context: SparkContext) -> int:
    """Kill the first executor, as a machine that loses power, and return its process."""
    process = min(executors(context).items(), key=lambda item: int(item[0]))[1]
    os.kill(process, signal.SIGKILL)
    return process


def failed_tasks(context: SparkContext) -> int:
    """Return how many tasks of the session failed, those included that were done by another executor then."""
    tracker = context.statusTracker()
    java: Any = context._jsc
    jobs = java.sc().statusStore().jobsList(None)
    failed = 0
    for number in range(jobs.size()):
        info = tracker.getJobInfo(jobs.apply(number).jobId())
        for stage in info.stageIds if info is not None else ():
            found = tracker.getStageInfo(stage)
            failed += found.numFailedTasks if found is not None else 0
    return failed
