"""A runner's access to its job in ``store.db``.

It does without the pooled connections of the adapter, whose imports would cost every job some 50 ms.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from urllib.parse import quote

BUSY_TIMEOUT_S = 10.0
SETTLED_TAG = "bridge.job.status"
"""What settling writes onto the run last: ``trackbridge.domain.job_tags``."""

FINAL = ("SUCCEEDED", "FAILED", "CANCELLED")


class JobRecord:
    """The row of one job. What cannot be written for now, on a full disk, is kept for the next attempt.

    ``is_gone`` turns true when the store was deleted or replaced, and the job with it. The connection is
    never closed, it ends with the process: closing one whose file was replaced could delete the write-ahead
    log of the living store.
    """

    def __init__(self, database: str, job_id: str) -> None:
        self.is_gone = False
        self._path = database
        self._job_id = job_id
        self._file = _file_of(database)
        self._unsaved: dict[str, str | int | None] = {}
        self._connection = sqlite3.connect(
            f"file:{quote(database)}?mode=rw", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
        )
        self._connection.execute("PRAGMA synchronous = FULL")

    @property
    def has_unsaved(self) -> bool:
        """True while something waits to be written."""
        return bool(self._unsaved)

    def spec(self) -> str:
        """Return the JSON of the job's spec.

        Raises:
            sqlite3.Error: It cannot be read.
        """
        row = self._connection.execute("SELECT spec FROM job WHERE job_id = ?", (self._job_id,)).fetchone()
        return str(row[0])

    def save(self, columns: Mapping[str, str | int | None]) -> bool:
        """Set columns of the job, unless it has ended; tell whether that is durable now."""
        self._unsaved.update(columns)
        return self.flush()

    def flush(self) -> bool:
        """Write what is unsaved; tell whether nothing is any more."""
        if not self._unsaved:
            return True
        settings = ", ".join(f"{name} = ?" for name in self._unsaved)
        statement = f"UPDATE job SET {settings} WHERE job_id = ? AND status NOT IN {FINAL}"
        if self._tried(statement, (*self._unsaved.values(), self._job_id)) is None:
            return False
        self._unsaved.clear()
        return True

    def is_cancelled(self) -> bool | None:
        """Tell whether the job was asked to stop; None when that cannot be told for now."""
        rows = self._tried("SELECT cancel_time IS NOT NULL FROM job WHERE job_id = ?", (self._job_id,))
        return None if rows is None else any(row[0] for row in rows)

    def queued(self) -> list[tuple[str, bool]] | None:
        """Return the ids of the waiting jobs in the order of submission; None when they cannot be read.

        With each comes whether it was submitted before this job.
        """
        rows = self._tried(
            "SELECT job_id, number < (SELECT number FROM job WHERE job_id = ?) FROM job "
            "WHERE status = 'QUEUED' ORDER BY number",
            (self._job_id,),
        )
        return None if rows is None else [(str(job_id), bool(is_older)) for job_id, is_older in rows]

    def is_settled(self, run_id: str) -> bool | None:
        """Tell whether a run of this store says how its job has ended; None where the run is elsewhere."""
        rows = self._tried(
            "SELECT (SELECT count(*) FROM tag JOIN name ON name.id = tag.key "
            "WHERE tag.run = run.row AND name.text = ?) FROM run WHERE run_id = ?",
            (SETTLED_TAG, run_id),
        )
        return bool(rows[0][0]) if rows else None

    def look(self) -> None:
        """Look whether the store is still there."""
        self.is_gone = self.is_gone or _file_of(self._path) != self._file

    def _tried(
        self, statement: str, parameters: Sequence[str | int | None]
    ) -> list[tuple[str | int | None, ...]] | None:
        self.look()
        if self.is_gone:
            return None
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except sqlite3.OperationalError:  # locked for long, or the disk is full or broken
            return None


def _file_of(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
