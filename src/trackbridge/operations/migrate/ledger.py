"""What was copied from where to where: a database in the project's folder.

One row per item: which item of the target stands for which of the source, the prints of both when they were
last agreed, and what could not be held. A row is written when all of a copy is there. Losing the file loses
time only: copies say in their own tags what they were made of.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from trackbridge.domain.migration import Kind, Loss
from trackbridge.errors import ConfigError, Locked

FILE_NAME = "ledger.db"
_BUSY_S = 30.0
_TABLE = """
CREATE TABLE IF NOT EXISTS item (
    source TEXT NOT NULL, target TEXT NOT NULL, kind TEXT NOT NULL, source_id TEXT NOT NULL,
    target_id TEXT NOT NULL, source_print TEXT NOT NULL, target_print TEXT NOT NULL,
    digest TEXT NOT NULL, losses TEXT NOT NULL, time INTEGER NOT NULL,
    PRIMARY KEY (source, target, kind, source_id)
) WITHOUT ROWID
"""
_AGREED_TABLE = """
CREATE TABLE IF NOT EXISTS agreed (
    source TEXT NOT NULL, target TEXT NOT NULL, subject TEXT NOT NULL, state TEXT NOT NULL,
    PRIMARY KEY (source, target, subject)
) WITHOUT ROWID
"""
_states = msgspec.json.Decoder(dict[str, str | None])
_losses = msgspec.json.Decoder(tuple[Loss, ...])


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One item that was copied. ``time`` is milliseconds since 1970."""

    kind: Kind
    source_id: str
    target_id: str
    source_print: str = ""
    target_print: str = ""
    digest: str = ""
    losses: tuple[Loss, ...] = ()
    time: int = 0


class Ledger:
    """The entries of one source and one target. Any thread may use it.

    Args:
        home: The project's folder.
        source: URI of the source.
        target: URI of the target.
    """

    def __init__(self, home: Path, *, source: str, target: str) -> None:
        self._pair = (source, target)
        self._lock = threading.Lock()
        self.home = home
        self._file = home / FILE_NAME
        self.scratch = _scratch(home, self._pair)
        """A folder for what a copy goes on with after a kill."""
        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                self._file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(_TABLE)
            self._database.execute(_AGREED_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"the ledger of migrations cannot be opened: {error}",
                resource=str(self._file),
                hint="make the folder writable; a damaged ledger may be removed, it only saves time",
            ) from error

    def find(self, kind: Kind, source_id: str) -> Entry | None:
        """Return the entry of an item of the source, None where it was never copied whole."""
        rows = self._rows("AND kind = ? AND source_id = ?", (kind.value, _text(source_id)))
        return next(iter(rows), None)

    def entries(self, kind: Kind) -> list[Entry]:
        """Return all entries of a kind."""
        return self._rows("AND kind = ?", (kind.value,))

    def put(self, entries: Iterable[Entry]) -> None:
        """Write entries, all or none; one that is there is replaced."""
        rows = [
            (
                *self._pair,
                entry.kind.value,
                _text(entry.source_id),
                _text(entry.target_id),
                entry.source_print,
                entry.target_print,
                entry.digest,
                msgspec.json.encode(entry.losses).decode(),
                entry.time,
            )
            for entry in entries
        ]
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._database.executemany(
                    "INSERT OR REPLACE INTO item VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
                )
                self._database.execute("COMMIT")
            except BaseException:
                self._database.execute("ROLLBACK")
                raise

    def forget(self, kind: Kind, source_id: str) -> None:
        """Remove an entry."""
        with self._lock:
            self._database.execute(
                "DELETE FROM item WHERE source = ? AND target = ? AND kind = ? AND source_id = ?",
                (*self._pair, kind.value, _text(source_id)),
            )

    def agreed(self) -> dict[str, dict[str, str | None]]:
        """Return the state of each item of two registries in which both agreed last."""
        with self._lock:
            rows = self._database.execute(
                "SELECT subject, state FROM agreed WHERE source = ? AND target = ?", self._pair
            ).fetchall()
        return {subject: _states.decode(state) for subject, state in rows}

    def agree(self, subject: str, state: dict[str, str | None] | None) -> None:
        """Write down in which state both sides agree on an item; None forgets it."""
        with self._lock:
            if state is None:
                self._database.execute(
                    "DELETE FROM agreed WHERE source = ? AND target = ? AND subject = ?",
                    (*self._pair, _text(subject)),
                )
                return
            self._database.execute(
                "INSERT OR REPLACE INTO agreed VALUES (?, ?, ?, ?)",
                (*self._pair, _text(subject), msgspec.json.encode(state).decode()),
            )

    @contextlib.contextmanager
    def applying(self) -> Iterator[None]:
        """Keep everybody else from migrating between the two meanwhile; the death of the process ends it.

        Raises:
            Locked: Somebody does.
        """
        descriptor = os.open(self.scratch / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Locked(
                    "another process migrates between these two",
                    operation="migrate",
                    resource=" -> ".join(self._pair),
                    hint="wait for it, or end it",
                ) from error
            yield
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _rows(self, condition: str, values: tuple[str, ...]) -> list[Entry]:
        with self._lock:
            rows = self._database.execute(
                "SELECT kind, source_id, target_id, source_print, target_print, digest, losses, time "
                f"FROM item WHERE source = ? AND target = ? {condition}",
                (*self._pair, *values),
            ).fetchall()
        return [
            Entry(
                kind=Kind(row[0]),
                source_id=row[1],
                target_id=row[2],
                source_print=row[3],
                target_print=row[4],
                digest=row[5],
                losses=_losses.decode(row[6]),
                time=row[7],
            )
            for row in rows
        ]


class PairStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the copies from a source to a target.

    ``counts`` are items that were copied whole, by kind; ``losses`` what the target does not hold as it is;
    ``last_ms`` is when the last was written down, in milliseconds since 1970. ``is_applying`` tells whether
    a process copies between the two now.
    """

    source: str
    target: str
    counts: dict[str, int]
    losses: int
    last_ms: int
    is_applying: bool


def pairs_of(home: Path) -> list[PairStatus]:
    """Return every source and target that something was copied between, the last first.

    Args:
        home: The project's folder.

    Raises:
        ConfigError: The ledger cannot be read.
    """
    file = home / FILE_NAME
    if not file.exists():
        return []
    try:
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute(
                "SELECT source, target, kind, COUNT(*), SUM(json_array_length(losses)), MAX(time) FROM item "
                "GROUP BY source, target, kind ORDER BY kind"
            ).fetchall()
    except sqlite3.Error as error:
        raise ConfigError(
            f"the ledger of migrations cannot be read: {error}",
            resource=str(file),
            hint="a damaged ledger may be removed, it only saves time",
        ) from error
    found: dict[tuple[str, str], list[tuple[str, int, int, int]]] = {}
    for source, target, *rest in rows:
        found.setdefault((source, target), []).append(tuple(rest))
    known = [_pair_status(home, pair, kinds) for pair, kinds in found.items()]
    return sorted(known, key=lambda status: status.last_ms, reverse=True)


def _pair_status(home: Path, pair: tuple[str, str], kinds: list[tuple[str, int, int, int]]) -> PairStatus:
    return PairStatus(
        source=pair[0],
        target=pair[1],
        counts={kind: count for kind, count, _, _ in kinds},
        losses=sum(losses or 0 for _, _, losses, _ in kinds),
        last_ms=max(time for _, _, _, time in kinds),
        is_applying=_is_locked(_scratch(home, pair) / "lock"),
    )


def _is_locked(path: Path) -> bool:
    """Tell whether a process holds a lock; looking takes it for a moment, as one of many."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _scratch(home: Path, pair: tuple[str, str]) -> Path:
    digest = hashlib.sha256("\n".join(pair).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return home / "migrations" / digest


def copies_of(home: Path, run_id: str, *, target: str) -> list[str]:
    """Return the ids of copies at a target of runs that had this id where they came from.

    Args:
        home: The project's folder.
        run_id: The id at the source, whichever it was.
        target: URI of the target.
    """
    file = home / FILE_NAME
    if not file.exists():
        return []
    try:
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute(
                "SELECT DISTINCT target_id FROM item WHERE target = ? AND kind = ? AND source_id = ?",
                (target, Kind.RUN.value, _text(run_id)),
            ).fetchall()
    except sqlite3.Error:  # a ledger that cannot be read knows nothing
        return []
    return [target_id for (target_id,) in rows]


def _text(value: str) -> str:
    """Return a text that SQLite can hold."""
    return value.encode("utf-8", "backslashreplace").decode()
