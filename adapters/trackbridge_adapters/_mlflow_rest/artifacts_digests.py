"""Digests of files that this machine has put or looked up, for stores that do not tell them.

Kept in ``artifact-digests.db`` below the project's folder. Losing it costs requests, and the knowledge of
digests where the store has none; so trouble with it (a full disk, a read-only folder) is no error.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path
from typing import Any

from trackbridge_adapters._mlflow_rest.artifacts_files import Entry

FILE_NAME = "artifact-digests.db"
_BUSY_S = 5.0
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS digest (root TEXT, path TEXT, size INTEGER, version TEXT, digest TEXT, "
    "PRIMARY KEY (root, path)) WITHOUT ROWID"
)


class Digests:
    """Digests by root, path, size and version. Any thread may use it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = threading.Lock()

    def find(self, root: str, path: str, entry: Entry) -> str | None:
        """Return the digest, "" for a file that is known to have none, None where nothing is known."""
        if not (self._home / FILE_NAME).exists():  # nothing is known, of any of a thousand files
            return None
        query = "SELECT digest FROM digest WHERE root=? AND path=? AND size=? AND version=?"
        row = self._do(query, root, path, entry.size, entry.version)
        return None if row is None else str(row[0])

    def remember(self, root: str, path: str, entry: Entry, digest: str) -> None:
        """Keep the digest of a file as it is now."""
        with contextlib.suppress(OSError):
            self._home.mkdir(parents=True, exist_ok=True)
        statement = "INSERT OR REPLACE INTO digest VALUES (?, ?, ?, ?, ?)"
        self._do(statement, root, path, entry.size, entry.version, digest)

    def forget(self, root: str, path: str) -> None:
        """Drop a path and all below it; '0' follows '/'."""
        statement = "DELETE FROM digest WHERE root=? AND (path=? OR (path>? AND path<?))"
        self._do(statement, root, path, f"{path}/", f"{path}0")

    def _do(self, statement: str, *parameters: Any) -> Any:
        """Run one statement and return its first row; None when the database cannot be used."""
        if not self._home.is_dir():
            return None
        with self._lock, contextlib.suppress(sqlite3.Error):
            database = sqlite3.connect(self._home / FILE_NAME, timeout=_BUSY_S)
            with contextlib.closing(database):
                database.execute("PRAGMA synchronous = OFF")
                database.execute(_SCHEMA)
                with database:
                    return database.execute(statement, parameters).fetchone()
        return None
