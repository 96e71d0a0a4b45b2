"""The MLflow server behind the emulator's MLflow endpoint: a process, with a database that can be emptied."""

from __future__ import annotations

import importlib.util
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from trackbridge.testing.emulators.azureml.child_server import ChildServer

READY_S = 240.0
KEPT_TABLES = ("alembic_version", "workspaces")
APPLICATION = "trackbridge.testing.emulators.azureml.mlflow_app"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


class NotStarted(Exception):
    """The MLflow server is not installed, or did not start; says what to do."""


class MlflowServer(ChildServer):
    """A server on a free port of this machine. It takes seconds to start: ``wait`` until it answers.

    Args:
        folder: For its database and its log.

    Raises:
        NotStarted: mlflow is not installed.
    """

    def __init__(self, folder: Path) -> None:
        if importlib.util.find_spec("mlflow") is None:
            raise NotStarted('mlflow is not installed: pip install "trackbridge[mlflow]"')
        self._database, self._log = folder / "mlflow.db", folder / "mlflow.log"
        self._url = ""
        self._at_first: dict[str, list[tuple[Any, ...]]] = {}
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "BRIDGE_"))
        }
        with self._log.open("wb") as log:
            super().__init__(
                [sys.executable, "-m", APPLICATION, str(self._database)],
                stderr=log,
                cwd=folder,
                env={**kept, **QUIET},
            )

    def wait(self) -> str:
        """Wait until it answers; returns its address.

        Raises:
            NotStarted: It did not.
        """
        self._is_ready.wait(READY_S)
        if not self._url:
            log = self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""
            raise NotStarted(f"the MLflow server did not start: {log[-800:]}")
        return self._url

    def reset(self) -> None:
        """Make the database as it was at first; the server stays up and asks it anew for everything.

        Raises:
            NotStarted: It did not start.
        """
        if not self._is_ready.is_set():
            return  # nobody can have written anything
        self.wait()
        with closing(sqlite3.connect(self._database, timeout=30, isolation_level=None)) as database:
            database.execute("PRAGMA foreign_keys = OFF")
            database.execute("PRAGMA synchronous = OFF")
            database.execute("BEGIN IMMEDIATE")
            for table in _tables(database):
                database.execute(f'DELETE FROM "{table}"')
            for table, rows in self._at_first.items():
                marks = ", ".join("?" * len(rows[0]))
                database.executemany(f'INSERT INTO "{table}" VALUES ({marks})', rows)
            database.execute("COMMIT")

    def _is_listening(self, line: str) -> bool:
        if line.startswith("http://") and not self._url:
            self._remember()
            self._url = line
        return bool(self._url)

    def _remember(self) -> None:
        """Remember what a new database has: the experiment that is always there."""
        with closing(sqlite3.connect(self._database, timeout=30)) as database:
            for table in _tables(database):
                rows = database.execute(f'SELECT * FROM "{table}"').fetchall()
                if rows:
                    self._at_first[table] = rows


def _tables(database: sqlite3.Connection) -> list[str]:
    found = database.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
    return [name for (name,) in found if name not in KEPT_TABLES and not name.startswith("sqlite_")]
