"""Real MLflow servers of two versions, each with a SQLite database that a test can empty."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
NEWEST, FLOOR = "newest", "floor"
PYTHONS = {NEWEST: Path(sys.executable), FLOOR: REPOSITORY / ".venv-mlflow-floor/bin/python"}
"""The interpreter that has each version: the tests' own, and one with the oldest that we support."""

PROXIED = "proxied"
MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 1 << 30
READY_S = 240.0
STARTS_MAX = 3
KEPT_TABLES = ("alembic_version", "workspaces")
REGISTRY_TABLES = ("registered_model", "model_version")
"""How the names of those begin that hold registered models."""
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


class MlflowServer:
    """A server process with one worker; its address stays the same when it is started again."""

    def __init__(self, folder: Path, *, version: str, artifacts: str, database: Path | None = None) -> None:
        self.folder = folder
        self.version = version
        self.database = database or folder / "mlflow.db"
        self.artifacts = folder / "artifacts"
        self._artifacts_option = artifacts
        self._process_id: int | None = None
        self._has_run = False
        self._choose_port()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self._process_id is None, "it runs already"
        for _ in range(1 if self._has_run else STARTS_MAX):
            self._begin()
            if self._is_ready():
                self._has_run = True
                return
            self.kill()
            if not self._has_run:  # somebody else may have taken the port meanwhile
                self._choose_port()
        log = (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")
        raise AssertionError(f"mlflow server ({self.version}) did not start:\n{log[-4000:]}")

    def _choose_port(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def _begin(self) -> None:
        self._process_id = _forks(self.version).start(
            self._arguments(), log=self.folder / "server.log", folder=self.folder
        )

    def kill(self) -> None:
        """Kill it with all its workers, as a machine that loses power."""
        if self._process_id is not None:
            _forks(self.version).kill(self._process_id)
            self._process_id = None

    def reset(self, *, keeps_default: bool = False, keeps_runs: bool = False) -> None:
        """Empty the database; the server stays up and asks it anew for everything.

        Args:
            keeps_default: Whether the experiment 0 stays, which every new server has. One that finds a logged
                model by ``models:/`` makes it where it is missing, and fails if another has its name.
            keeps_runs: Whether only registered models go.
        """
        kept = {"experiments": " WHERE experiment_id <> 0"} if keeps_default else {}
        with self._changing() as (database, tables):
            for table in tables:
                if not keeps_runs or table.startswith(REGISTRY_TABLES):
                    database.execute(f'DELETE FROM "{table}"{kept.get(table, "")}')

    def content(self) -> dict[str, list[tuple[object, ...]]]:
        """Return all that the database holds, by table, for ``fill``."""
        with self._changing() as (database, tables):
            return {table: database.execute(f'SELECT * FROM "{table}"').fetchall() for table in tables}

    def fill(self, content: dict[str, list[tuple[object, ...]]]) -> None:
        """Make the database hold what it held once; the files of then are still there."""
        with self._changing() as (database, tables):
            for table in tables:
                database.execute(f'DELETE FROM "{table}"')
            for table, rows in content.items():
                if rows:
                    marks = ", ".join("?" * len(rows[0]))
                    database.executemany(f'INSERT INTO "{table}" VALUES ({marks})', rows)

    @contextmanager
    def _changing(self) -> Iterator[tuple[sqlite3.Connection, list[str]]]:
        """Give the database in one transaction, with the tables that hold what clients wrote."""
        with closing(sqlite3.connect(self.database, timeout=30, isolation_level=None)) as database:
            database.execute("PRAGMA foreign_keys = OFF")
            found = database.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
            names = [name for (name,) in found]
            database.execute("BEGIN IMMEDIATE")
            yield (
                database,
                [name for name in names if name not in KEPT_TABLES and not name.startswith("sqlite_")],
            )
            database.execute("COMMIT")

    def rows(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        """Ask the server's own database."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)) as database:
            return database.execute(query, parameters).fetchall()

    def _arguments(self) -> list[str]:
        kind, _, destination = self._artifacts_option.partition(":")
        proxied = kind == PROXIED
        where = destination or str(self.artifacts) if proxied else self._artifacts_option
        return [
            "server",
            *("--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self.database}"),
            *(("--artifacts-destination", where) if proxied else ("--default-artifact-root", where)),
            *(() if proxied else ("--no-serve-artifacts",)),
        ]

    def _is_ready(self) -> bool:
        """Wait until it answers, and tell whether it does."""
        assert self._process_id is not None
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if _forks(self.version).has_ended(self._process_id):
                return False
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                    if answer.status == 200:
                        return True
            except OSError:
                time.sleep(0.1)
        return False


class _Forks:
    """The process whose forks are the servers of one version; it ends with the tests."""

    def __init__(self, version: str) -> None:
        self._lock = threading.Lock()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 as long as the process
        self._process = subprocess.Popen(
            [str(PYTHONS[version]), "-I", str(Path(__file__).with_name("mlflow_forks.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            env={**_without_mlflow(os.environ), **QUIET},
        )
        atexit.register(self._close)

    def start(self, arguments: list[str], *, log: Path, folder: Path) -> int:
        """Start a server; return its process id."""
        environment = {**_without_mlflow(os.environ), **QUIET}
        started = self._ask(arguments=arguments, log=str(log), folder=str(folder), environment=environment)
        assert started is not None
        return started

    def has_ended(self, process_id: int) -> bool:
        """Tell whether a server has ended by itself."""
        return self._ask(process_id=process_id, is_to_end=False) is not None

    def kill(self, process_id: int) -> None:
        """Kill a server, and wait for its end."""
        self._ask(process_id=process_id, is_to_end=True)

    def _ask(self, **order: object) -> int | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            self._errors.seek(0)
            raise AssertionError(f"mlflow was not imported:\n{self._errors.read().decode(errors='replace')}")
        told: int | None = json.loads(answer)
        return told

    def _close(self) -> None:
        self._process.communicate()


@functools.cache
def _forks(version: str) -> _Forks:
    return _Forks(version)


@contextmanager
def mlflow_server(
    folder: Path, *, version: str = NEWEST, artifacts: str = PROXIED, on_disk: bool = False
) -> Iterator[MlflowServer]:
    """Run a server below a folder.

    Args:
        folder: For its log and artifacts; made when missing.
        version: ``newest`` or ``floor``.
        artifacts: ``proxied`` through the server, ``proxied:<uri>`` to where it keeps them, or the URI or
            path that clients write to themselves.
        on_disk: Whether its database waits for the disk, as where its speed is measured.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _database_folder(folder, on_disk=on_disk) as place:
        server = MlflowServer(folder, version=version, artifacts=artifacts, database=place / "mlflow.db")
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def _database_folder(folder: Path, *, on_disk: bool) -> Iterator[Path]:
    """Give a folder in memory where there is one: a server killed loses no more there than on a disk."""
    has_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES_MIN
    if on_disk or not has_memory:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="trackbridge-mlflow-", dir=MEMORY) as place:
        yield Path(place)


def _without_mlflow(environment: os._Environ[str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(("MLFLOW_", "BRIDGE_"))}
