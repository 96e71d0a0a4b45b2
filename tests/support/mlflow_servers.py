"""Real MLflow servers of two versions, each with a SQLite database that a test can empty."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
NEWEST, FLOOR = "newest", "floor"
PYTHONS = {NEWEST: Path(sys.executable), FLOOR: REPOSITORY / ".venv-mlflow-floor/bin/python"}
"""The interpreter that has each version: the tests' own, and one with the oldest that we support."""

PROXIED = "proxied"
MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 1 << 30
PARENT_DIED_SIGNAL = 1
"""The option of prctl(2) that names the signal."""
READY_S = 240.0
STARTS_MAX = 3
KEPT_TABLES = ("alembic_version", "workspaces")
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
        self._process: subprocess.Popen[bytes] | None = None
        self._has_run = False
        self._choose_port()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self._process is None, "it runs already"
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
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                env={**_without_mlflow(os.environ), **QUIET},
                preexec_fn=_end_with_the_tests,
            )

    def kill(self) -> None:
        """Kill it with all its workers, as a machine that loses power."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def reset(self) -> None:
        """Empty the database; the server stays up and asks it anew for everything."""
        with closing(sqlite3.connect(self.database, timeout=30, isolation_level=None)) as database:
            database.execute("PRAGMA foreign_keys = OFF")
            tables = [
                name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'")
            ]
            database.execute("BEGIN IMMEDIATE")
            for table in tables:
                if table not in KEPT_TABLES and not table.startswith("sqlite_"):
                    database.execute(f'DELETE FROM "{table}"')
            database.execute("COMMIT")

    def rows(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        """Ask the server's own database."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)) as database:
            return database.execute(query, parameters).fetchall()

    def _command(self) -> list[str]:
        kind, _, destination = self._artifacts_option.partition(":")
        proxied = kind == PROXIED
        where = destination or str(self.artifacts) if proxied else self._artifacts_option
        return [
            str(PYTHONS[self.version]),
            "-m",
            "mlflow",
            "server",
            *("--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self.database}"),
            *(("--artifacts-destination", where) if proxied else ("--default-artifact-root", where)),
            *(() if proxied else ("--no-serve-artifacts",)),
        ]

    def _is_ready(self) -> bool:
        """Wait until it answers, and tell whether it does."""
        process = self._process
        assert process is not None
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return False
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                    if answer.status == 200:
                        return True
            except OSError:
                time.sleep(0.1)
        return False


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


def _end_with_the_tests() -> None:
    """Ask the kernel for a SIGTERM when the tests are killed; the server then ends its workers."""
    ctypes.CDLL(None).prctl(PARENT_DIED_SIGNAL, signal.SIGTERM)


def _without_mlflow(environment: os._Environ[str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(("MLFLOW_", "BRIDGE_"))}
