"""What could not be delivered, and how each subscriber fares: ``<home>/events/events.db``.

Shared by every dispatcher of the project and by ``bridge events``. One process at a time tries an event
again: it takes it by moving ``next_ms`` to the end of a lease.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from trackbridge.domain.events import Event
from trackbridge.errors import JournalError
from trackbridge.resolve.home import Surroundings, bridge_home, find_project

FOLDER = "events"
FILE_NAME = "events.db"
# Bounds for each subscriber, so that none displaces the events of another.
UNDELIVERED_MAX = 10_000
UNDELIVERED_BYTES_MAX = 50_000_000
LEASE_MS = 120_000
BUS = "bus"
"""The row of counts that belong to no subscriber."""

_BUSY_TIMEOUT_S = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS undelivered (
  number INTEGER PRIMARY KEY,
  subscriber TEXT NOT NULL,
  event_id TEXT NOT NULL,
  event BLOB NOT NULL,
  attempts INTEGER NOT NULL,
  since_ms INTEGER NOT NULL,
  next_ms INTEGER,
  problem TEXT NOT NULL,
  UNIQUE (subscriber, event_id)
);
CREATE INDEX IF NOT EXISTS undelivered_due ON undelivered (subscriber, next_ms);
CREATE TABLE IF NOT EXISTS tally (
  subscriber TEXT PRIMARY KEY,
  delivered INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  dropped INTEGER NOT NULL,
  lost INTEGER NOT NULL,
  problem TEXT NOT NULL,
  problem_ms INTEGER NOT NULL
);
"""

_decode = msgspec.json.Decoder(Event).decode
_creating = threading.Lock()


def events_folder(around: Surroundings) -> Path:
    """Return the project's folder for events; its parent exists afterwards.

    A folder that may not last is not warned of: the journal does.

    Raises:
        ConfigError: As ``bridge_home`` does.
    """
    return bridge_home(around, warn=False) / FOLDER


def find_events_folder(around: Surroundings) -> Path | None:
    """Return the same folder without making anything; None where there is none to be had."""
    home = find_project(around) or around.xdg_folder("XDG_STATE_HOME", ".local/state")
    return home / FOLDER if home else None


class Tally(msgspec.Struct, kw_only=True):
    """How events fared. ``dropped`` found a queue full, ``lost`` went down with a killed dispatcher.

    ``problem`` is the last failure, empty after a delivery; ``problem_ms`` is when, since 1970.
    """

    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    lost: int = 0
    problem: str = ""
    problem_ms: int = 0


class Undelivered(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a subscriber has not got. ``next_ms`` is when it is tried again, None: not by itself."""

    number: int
    subscriber: str
    event: Event
    attempts: int
    since_ms: int
    next_ms: int | None
    problem: str


class EventStore:
    """The file; safe for threads and processes. It is made when something is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = folder / FILE_NAME

    def add(self, subscriber: str, event: Event, *, attempts: int, next_ms: int | None, problem: str) -> int:
        """Keep an event; return how many older ones had to go for it.

        Raises:
            JournalError: It cannot be stored.
        """
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO undelivered (subscriber, event_id, event, attempts, since_ms, next_ms, problem)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (subscriber, event_id) DO UPDATE"
                " SET attempts = excluded.attempts, next_ms = excluded.next_ms, problem = excluded.problem",
                (
                    subscriber,
                    event.event_id,
                    msgspec.json.encode(event),
                    attempts,
                    _now_ms(),
                    next_ms,
                    problem,
                ),
            )
            return _make_room(connection, subscriber)

    def take(
        self, subscriber: str, *, is_due: bool = True, but: frozenset[int] = frozenset()
    ) -> Undelivered | None:
        """Return the oldest event that is due, leased to the caller; None when there is none.

        Args:
            subscriber: Its identifier.
            is_due: False takes what is not due as well, for somebody who asks for it by hand.
            but: Numbers to leave alone.

        Raises:
            JournalError: The file cannot be used.
        """
        if not self.path.exists():
            return None
        now = _now_ms()
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT number, subscriber, event, attempts, since_ms, next_ms, problem FROM undelivered"
                " WHERE subscriber = ? AND (? OR next_ms <= ?) ORDER BY number",
                (subscriber, not is_due, now),
            )
            row = next((row for row in rows if row[0] not in but), None)
            if row is None:
                return None
            connection.execute(
                "UPDATE undelivered SET next_ms = ? WHERE number = ?", (now + LEASE_MS, row[0])
            )
        return _undelivered(row)

    def remove(self, number: int) -> None:
        """Forget an event that is delivered now."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM undelivered WHERE number = ?", (number,))

    def postpone(self, number: int, *, attempts: int, next_ms: int | None, problem: str) -> None:
        """Note another failure."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE undelivered SET attempts = ?, next_ms = ?, problem = ? WHERE number = ?",
                (attempts, next_ms, problem, number),
            )

    def next_ms(self, subscriber: str) -> int | None:
        """Return when the next event of a subscriber is due, None when none is."""
        if not self.path.exists():
            return None
        with self._transaction() as connection:
            query = "SELECT min(next_ms) FROM undelivered WHERE subscriber = ?"
            found: int | None = connection.execute(query, (subscriber,)).fetchone()[0]
            return found

    def undelivered(self) -> dict[str, int]:
        """Return how many events each subscriber has not got."""
        if not os.access(self.path, os.R_OK):
            return {}
        with self._transaction() as connection:
            return dict(
                connection.execute("SELECT subscriber, count(*) FROM undelivered GROUP BY subscriber")
            )

    def read(self, subscriber: str) -> list[Undelivered]:
        """Return the events that a subscriber has not got, oldest first."""
        if not os.access(self.path, os.R_OK):
            return []
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT number, subscriber, event, attempts, since_ms, next_ms, problem FROM undelivered"
                " WHERE subscriber = ? ORDER BY number",
                (subscriber,),
            ).fetchall()
        return [_undelivered(row) for row in rows]

    def count(self, tallies: Mapping[str, Tally]) -> None:
        """Add to the counts. A tally with a delivery or a problem replaces the last problem."""
        with self._transaction() as connection:
            for subscriber, tally in tallies.items():
                connection.execute(
                    "INSERT INTO tally VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (subscriber) DO UPDATE SET"
                    " delivered = delivered + excluded.delivered, failed = failed + excluded.failed,"
                    " dropped = dropped + excluded.dropped, lost = lost + excluded.lost,"
                    " problem = CASE WHEN ? THEN excluded.problem ELSE problem END,"
                    " problem_ms = CASE WHEN ? THEN excluded.problem_ms ELSE problem_ms END",
                    (
                        subscriber,
                        *msgspec.structs.astuple(tally),
                        *[bool(tally.delivered or tally.problem)] * 2,
                    ),
                )

    def tallies(self) -> dict[str, Tally]:
        """Return the counts of each subscriber, and of the bus as ``BUS``."""
        if not os.access(self.path, os.R_OK):
            return {}
        with self._transaction() as connection:
            rows = connection.execute("SELECT * FROM tally").fetchall()
        names = Tally.__struct_fields__
        return {row[0]: Tally(**dict(zip(names, row[1:], strict=True))) for row in rows}

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._create()
            connection = sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
            with contextlib.closing(connection):
                connection.executescript(_SCHEMA)
                connection.execute("BEGIN IMMEDIATE")
                with connection:
                    yield connection
        except (sqlite3.Error, OSError) as error:
            raise JournalError(
                f"undelivered events cannot be stored: {error}",
                resource=str(self.path),
                hint="free disk space, or make the file writable",
            ) from error

    def _create(self) -> None:
        """Make the file, for this user alone; what SQLite makes beside it takes after it.

        One thread at a time: closing a descriptor drops the locks that SQLite holds on the same file.
        """
        with _creating:
            if not self.path.exists():
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _undelivered(row: tuple[int, str, bytes, int, int, int | None, str]) -> Undelivered:
    number, subscriber, event, attempts, since_ms, next_ms, problem = row
    return Undelivered(
        number=number,
        subscriber=subscriber,
        event=_decode(event),
        attempts=attempts,
        since_ms=since_ms,
        next_ms=next_ms,
        problem=problem,
    )


def _make_room(connection: sqlite3.Connection, subscriber: str) -> int:
    """Drop a subscriber's oldest events beyond the bounds; return how many."""
    query = "SELECT count(*), coalesce(sum(length(event)), 0) FROM undelivered WHERE subscriber = ?"
    count, size = connection.execute(query, (subscriber,)).fetchone()
    removed = 0
    if _is_too_much(count, size):
        query = "SELECT number, length(event) FROM undelivered WHERE subscriber = ? ORDER BY number"
        for number, length in connection.execute(query, (subscriber,)).fetchall():
            connection.execute("DELETE FROM undelivered WHERE number = ?", (number,))
            count, size, removed = count - 1, size - length, removed + 1
            if not _is_too_much(count, size):
                break
    return removed


def _is_too_much(count: int, size: int) -> bool:
    return count > UNDELIVERED_MAX or size > UNDELIVERED_BYTES_MAX


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
