"""Parts of a plan applied by the workers of a Spark cluster.

::

    driver: plan, experiments, ledger      a part = one Spark job of one task; several jobs at the same time
      ├── part ──> executor: opens both sides with its own credentials, copies the runs ──> outcomes
      ├── part ──> executor …              a task whose executor dies is begun again by Spark elsewhere, and
      └── …                                finds what the first one did

What goes to the workers is JSON and the name of a function of this package: no credentials, no clients, no
settings. Each part is a job of its own, so that outcomes come as they are, bounds hold between two parts, and
a cluster that grows takes what is still to be done.
"""

from __future__ import annotations

import importlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

from trackbridge._version import __version__
from trackbridge.domain.ids import mint_id
from trackbridge.domain.secrets import redact
from trackbridge.errors import BridgeError, ConfigError, MissingExtra, Unavailable
from trackbridge.operations.migrate.partitions import (
    Applied,
    Common,
    Part,
    Place,
    decoded,
    encoded,
    error_of,
    refusal_of,
)
from trackbridge.operations.spark_sessions import TEXT_CHARS_MAX, context_of, said, use_this_python

APP_NAME = "trackbridge migrate"
JOBS_PER_CORE = 2
"""So many parts wait for each core, so that none is idle and a cluster that grows has something to do."""
ASKED_MAX = 64
"""Workers that are asked beforehand whether they can migrate."""
CANCEL_S_MAX = 30.0
"""How long a cancelled task is waited for, in seconds."""

_OPTIONS = {
    "spark.speculation": "false",
    "spark.executor.heartbeat.maxFailures": "6",
    "spark.ui.showConsoleProgress": "false",
}
"""Of a session that is begun here: a part is never applied twice at the same time. A worker that is cut off
from the driver ends after a minute, before the driver gives its part to another one.
"""


class SparkEngine:
    """Applies parts on a Spark cluster. Use it in a ``with`` statement, or close it.

    A Spark session that runs already is used and left running; else one is begun, and ended.

    Args:
        source: The source, as the workers open it.
        target: The target, as the workers open it.
        master: URL of the Spark master; None takes the session or the configuration of the surroundings.

    Raises:
        MissingExtra: pyspark is missing.
        ConfigError: Spark does not start, or a worker cannot apply parts.
    """

    def __init__(self, source: Place, target: Place, *, master: str | None = None) -> None:
        self._places = (source, target)
        self._group = f"trackbridge-{mint_id()}"
        self._cancelled = threading.Event()
        interrupt = signal.getsignal(signal.SIGINT)
        self._session, self._is_own = _session(master)
        _give_back(interrupt)
        try:
            self._context = context_of(self._session, operation="migrate")
            if self._is_own:  # a worker that is lost is told by what becomes of its parts
                self._context.setLogLevel("ERROR")
            _refuse_speculation(self._context)
            use_this_python(self._context)
            self._check_workers()
        except BaseException:
            self.close()
            raise
        self._common: Any = None
        self.width = JOBS_PER_CORE * max(int(self._context.defaultParallelism), 1)

    @property
    def description(self) -> str:
        """The master, and how many parts are on their way at the same time."""
        return f"Spark at {redact(str(self._context.master))}, {self.width} parts at a time"

    def begin(self, common: Common) -> None:
        """Send what all parts have in common to the workers, each once."""
        source, target = self._places
        content = encoded(msgspec.structs.replace(common, source=source, target=target))
        self._common = self._context.broadcast(content)

    def apply(self, part: Part) -> Applied:
        """Apply a part by one of the workers.

        Raises:
            Unavailable: Spark gave it up.
            BridgeError: A backend refused the worker; nothing of the part was begun.
        """
        (content,) = self._run([encoded(part)], partial(_applied, self._common))
        applied = decoded(content, Applied)
        if applied.refusal is not None:
            raise error_of(applied.refusal)
        return applied

    def cancel(self) -> str:
        """End the jobs that are under way, take no more, and wait until no worker writes any more."""
        self._cancelled.set()
        return _cancel_jobs(self._context, self._group)

    def close(self) -> None:
        """End the session, where it was begun here."""
        if self._is_own:
            self._session.stop()

    def __enter__(self) -> SparkEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, items: list[bytes], work: Callable[[Iterator[bytes]], Iterator[bytes]]) -> list[bytes]:
        """Run a job with one task for each item."""
        if self._cancelled.is_set():
            raise Unavailable("Spark was told to end", operation="migrate")
        # Spark ends the Python of a task that is cancelled only where it does not interrupt its own thread.
        self._context.setJobGroup(self._group, APP_NAME, interruptOnCancel=False)
        try:
            found: list[bytes] = self._context.parallelize(items, len(items)).mapPartitions(work).collect()
        except Exception as error:  # py4j's, pyspark's, or of a connection that is closed
            raise _translated(error) from error
        return found

    def _check_workers(self) -> None:
        """Ask workers whether they can apply parts; who comes later tells it with its first part.

        Raises:
            ConfigError: One cannot.
        """
        count = min(max(int(self._context.defaultParallelism), 1), ASKED_MAX)
        question = encoded([*self._places])
        for content in self._run([question] * count, _prober(__version__)):
            if content:
                raise ConfigError(
                    f"a worker of Spark cannot migrate: {redact(content.decode())[:TEXT_CHARS_MAX]}",
                    operation="migrate",
                    hint="docs/migration.md, 'More than one machine', says what workers need",
                )


# The session.


def _session(master: str | None) -> tuple[Any, bool]:
    """Return a Spark session, and whether it was begun here."""
    sessions = _pyspark("pyspark.sql").SparkSession
    active = _pyspark("pyspark").SparkContext._active_spark_context
    is_own = active is None and sessions.getActiveSession() is None and not _is_managed()
    if active is not None and master is not None and str(active.master) != master:
        raise ConfigError(
            f"a Spark session runs already, at {redact(str(active.master))}",
            operation="migrate",
            hint="leave out the master, or stop that session",
        )
    builder = sessions.builder.appName(APP_NAME)
    for name, value in _OPTIONS.items() if is_own else ():
        builder = builder.config(name, value)
    try:
        session = (builder if master is None else builder.master(master)).getOrCreate()
    except Exception as error:  # py4j's, pyspark's, or the system's
        raise ConfigError(
            f"Spark does not start: {said(error)}",
            operation="migrate",
            hint="it needs Java 17 or later (apt install default-jre-headless), and a master that answers",
        ) from error
    return session, is_own


def _cancel_jobs(context: Any, group: str, *, patience_s: float = CANCEL_S_MAX) -> str:
    """Cancel the jobs of a group and wait for their tasks; return why some may go on, "" when none does."""
    never = threading.Event()
    for _ in range(int(patience_s * 10)):
        try:
            context.cancelJobGroup(group)  # again: a job may have been on its way there
            running = _running(context)
        except Exception as error:  # py4j's, pyspark's, or of a connection that is closed
            if context._jsc is None:  # the session was ended, and its workers with it
                return ""
            return f"Spark does not say whether its workers still write ({said(error)})"
        if running == 0:
            return ""
        never.wait(0.1)
    return f"workers of Spark still write after {patience_s:g} s"


def _running(context: Any) -> int:
    """Return how many tasks run on the cluster; cancelled ones count until they have ended."""
    infos = context._jsc.sc().statusTracker().getExecutorInfos()
    return sum(info.numRunningTasks() for info in infos)


def _give_back(handler: Any) -> None:
    """Take back Ctrl-C from a new session: we cancel our own jobs, and go on living after the session."""
    if threading.current_thread() is threading.main_thread() and handler is not None:
        signal.signal(signal.SIGINT, handler)


def _is_managed() -> bool:
    """Tell whether the session belongs to the platform, which ends it itself."""
    return "DATABRICKS_RUNTIME_VERSION" in os.environ


def _pyspark(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"the engine spark needs pyspark, which cannot be imported ({error})",
            operation="migrate",
            hint="pip install 'trackbridge[spark]'; a cluster brings its own",
        ) from error


def _refuse_speculation(context: Any) -> None:
    if str(context.getConf().get("spark.speculation", "false")).lower() == "true":
        raise ConfigError(
            "spark.speculation is on: two workers would write the same run at the same time",
            operation="migrate",
            hint="begin the session with spark.speculation=false",
        )


def _translated(error: Exception) -> BridgeError:
    text = said(error)
    if "PYTHON_VERSION_MISMATCH" in text:
        return ConfigError(
            f"driver and workers have different Pythons: {text}",
            operation="migrate",
            hint="set PYSPARK_PYTHON to the Python of the workers that has trackbridge",
        )
    return Unavailable(
        f"Spark gave it up: {text}",
        operation="migrate",
        hint="the same command goes on; logs of the executors say more",
    )


# What runs on the workers.


def _applied(common: Any, parts: Iterator[bytes]) -> Iterator[bytes]:
    """Apply the parts of a task, on a worker."""
    from trackbridge.operations.migrate.elsewhere import apply_here

    task = importlib.import_module("pyspark").TaskContext.get()
    shared = decoded(common.value, Common)
    for content in parts:
        try:
            applied = apply_here(decoded(content, Part), shared, is_repeated=task.attemptNumber() > 0)
        except BridgeError as error:  # told, not raised: Spark would try the same again
            applied = Applied(refusal=refusal_of(error))
        yield encoded(applied)


def _prober(version: str) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    """Return what asks a worker. It is sent by its code, for trackbridge may be missing there."""

    def probe(questions: Iterator[bytes]) -> Iterator[bytes]:
        import json
        import socket

        for question in questions:
            host = socket.gethostname()
            try:
                from trackbridge._version import __version__ as found
                from trackbridge.operations.migrate.elsewhere import look_here
                from trackbridge.operations.migrate.partitions import Place
            except ImportError as error:
                yield f"{host}: trackbridge {version} is not installed there ({error})".encode()
                continue
            if found != version:
                yield f"{host}: it has trackbridge {found}, and the driver has {version}".encode()
                continue
            places = [Place(**place) for place in json.loads(question)]
            problem = look_here(*places)
            yield f"{host}: {problem}".encode("utf-8", "replace") if problem else b""

    return probe
