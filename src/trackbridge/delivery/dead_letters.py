"""Records that a destination will never take, kept with the reason until somebody replays or drops them.

They lie in ``delivery.db`` beside the journals, one for a project, together with the damages that
readers found. A record has one row for each destination, however often it is rejected.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from trackbridge.domain.records import ArtifactLogged, Record
from trackbridge.errors import JournalError
from trackbridge.journal.reader import Damage
from trackbridge.journal.staging import staged_path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS dead_letter (
    number INTEGER PRIMARY KEY,
    destination TEXT NOT NULL,
    journal TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    reason TEXT NOT NULL,
    time INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (destination, journal, sequence)
);
CREATE TABLE IF NOT EXISTS damage (
    journal TEXT NOT NULL,
    segment INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    records_max INTEGER NOT NULL,
    reason TEXT NOT NULL,
    time INTEGER NOT NULL,
    UNIQUE (journal, segment, offset)
);
"""

_BUSY_TIMEOUT_S = 10.0
_creating = threading.Lock()

_decode: Callable[[bytes], Record] = msgspec.msgpack.Decoder(Record).decode


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One rejected record. ``body`` is the record as it stood in the journal."""

    number: int
    destination: str
    journal: str
    sequence: int
    run_id: str
    kind: str
    reason: str
    time: int
    body: bytes

    @property
    def record(self) -> Record:
        """The record.

        Raises:
            JournalError: This version cannot read it.
        """
        try:
            return _decode(self.body)
        except msgspec.DecodeError as error:
            raise JournalError(
                f"dead letter {self.number} cannot be read by this version: {error}",
                hint="update trackbridge and replay it again",
            ) from error


class FoundDamage(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of a journal that could not be read, and how many records they held at the most."""

    journal: str
    segment: int
    offset: int
    bytes: int
    records_max: int
    reason: str
    time: int


class DeadLetters:
    """The file of dead letters of a project; safe for threads and processes."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "delivery.db"
        self._files = folder / "dead-letters"

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._create()
            connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S)
            with contextlib.closing(connection):
                connection.executescript(_SCHEMA)
                with connection:
                    yield connection
        except (sqlite3.Error, OSError) as error:
            raise JournalError(
                f"the dead letters cannot be stored: {error}",
                resource=str(self._path),
                hint="free disk space, or make the file writable; delivery tries again by itself",
            ) from error

    def _create(self) -> None:
        """Make the file, for this user alone; what SQLite makes beside it takes after it.

        One thread at a time: closing a descriptor drops the locks that SQLite holds on the same file.
        """
        with _creating, contextlib.suppress(FileExistsError):
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

    def _is_there(self) -> bool:
        """Tell whether there are any; those of another user are not ours to see."""
        return os.access(self._path, os.R_OK)

    def add(self, destination: str, journal: str, items: list[tuple[int, str, str, str, bytes]]) -> int:
        """Keep records as (sequence, run id, kind, reason, body); return how many were new."""
        now = time.time_ns() // 1_000_000
        rows = [
            (destination, journal, sequence, run_id, kind, reason, now, body)
            for sequence, run_id, kind, reason, body in items
        ]
        with self._transaction() as connection:
            before = connection.total_changes
            connection.executemany(
                "INSERT INTO dead_letter (destination, journal, sequence, run_id, kind, reason, time, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (destination, journal, sequence) DO NOTHING",
                rows,
            )
            return connection.total_changes - before

    def read(self, *, destination: str | None = None, max_results: int = 1_000_000) -> list[DeadLetter]:
        """Return the dead letters in the order in which their records were logged."""
        if not self._is_there():
            return []
        condition = "WHERE destination = ?" if destination else ""
        values = (destination,) if destination else ()
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT number, destination, journal, sequence, run_id, kind, reason, time, body"
                f" FROM dead_letter {condition} ORDER BY journal, sequence LIMIT ?",
                (*values, max_results),
            ).fetchall()
        names = DeadLetter.__struct_fields__
        return [DeadLetter(**dict(zip(names, row, strict=True))) for row in rows]

    def numbers(self) -> list[int]:
        """Return the number of each."""
        if not self._is_there():
            return []
        with self._transaction() as connection:
            return [number for (number,) in connection.execute("SELECT number FROM dead_letter")]

    def count(self) -> dict[str, int]:
        """Return how many there are for each destination."""
        if not self._is_there():
            return {}
        with self._transaction() as connection:
            return dict(
                connection.execute("SELECT destination, count(*) FROM dead_letter GROUP BY destination")
            )

    def count_of(self, journal: str) -> int:
        """Return how many of one journal's records there are."""
        if not self._is_there():
            return 0
        with self._transaction() as connection:
            query = "SELECT count(*) FROM dead_letter WHERE journal = ?"
            return int(connection.execute(query, (journal,)).fetchone()[0])

    def remove(self, numbers: list[int]) -> None:
        """Drop dead letters by number, with the files that only they need."""
        with self._transaction() as connection:
            files: set[tuple[str, str]] = set()
            for number in numbers:
                files |= _files_of(connection, "number = ?", number)
            connection.executemany(
                "DELETE FROM dead_letter WHERE number = ?", [(number,) for number in numbers]
            )
            for journal, _ in list(files):
                files -= _files_of(connection, "journal = ?", journal)
        for journal, name in files:
            staged_path(self.files_of(journal), name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others are still in it, or it was never made
                self.files_of(journal).rmdir()

    def keep_file(self, journal: str, staged: Path) -> None:
        """Keep the staged file of a dead letter beyond its journal; twice, or of none, changes nothing."""
        kept = self.files_of(journal) / staged.name
        if kept.exists() or not staged.exists():
            return
        kept.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        try:
            os.link(staged, kept)
        except OSError:  # a file system without hard links
            draft = kept.with_suffix(".draft")
            shutil.copyfile(staged, draft)
            draft.replace(kept)

    def files_of(self, journal: str) -> Path:
        """Return the folder with the kept files of a journal's dead letters, which need not exist."""
        return self._files / journal

    def update_reason(self, number: int, reason: str) -> None:
        """Note why a replay failed."""
        with self._transaction() as connection:
            connection.execute("UPDATE dead_letter SET reason = ? WHERE number = ?", (reason, number))

    def add_damages(self, journal: str, damages: list[Damage]) -> None:
        """Keep what a reader found damaged; the same place is one damage."""
        now = time.time_ns() // 1_000_000
        with self._transaction() as connection:
            connection.executemany(
                "INSERT INTO damage VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [
                    (journal, item.segment, item.offset, item.bytes, item.records_max, item.reason, now)
                    for item in damages
                ],
            )

    def damages(self) -> list[FoundDamage]:
        """Return every damage that was found, oldest first."""
        if not self._is_there():
            return []
        with self._transaction() as connection:
            rows = connection.execute("SELECT * FROM damage ORDER BY time").fetchall()
        names = FoundDamage.__struct_fields__
        return [FoundDamage(**dict(zip(names, row, strict=True))) for row in rows]


def _files_of(connection: sqlite3.Connection, condition: str, value: object) -> set[tuple[str, str]]:
    """Return journal and file name of the artifacts among some dead letters."""
    rows = connection.execute(
        f"SELECT journal, body FROM dead_letter WHERE kind = 'ArtifactLogged' AND {condition}", (value,)
    )
    records = ((journal, _decode(body)) for journal, body in rows)
    return {(journal, record.staged) for journal, record in records if isinstance(record, ArtifactLogged)}
