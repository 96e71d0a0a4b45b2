"""Which native id a run or an experiment of ours has: remembered on this machine.

The truth is the tags on the server (``bridge.run_id``, ``bridge.experiment_id``). What was seen once is kept
in ``native-ids.db`` below the project's folder, by the address of the backend, so that it is not asked again.
Losing the file costs requests and nothing else, so trouble with it (a full disk, a read-only folder) is no
error: the pair stays in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import threading
from collections.abc import Iterator

from trackbridge.ports.adapter import AdapterContext
from trackbridge.transport.file_locks import held

FILE_NAME = "native-ids.db"
RUN, EXPERIMENT = "run", "experiment"
_BUSY_S = 5.0


class NativeIds:
    """Pairs of our id and the backend's, for one address. Any thread may use it."""

    def __init__(self, context: AdapterContext, address: str) -> None:
        self._home = context.home
        self._address = address
        self._lock = threading.Lock()
        self._native: dict[tuple[str, str], str] = {}
        self._ours: dict[tuple[str, str], str] = {}

    def native(self, kind: str, ours: str) -> str | None:
        """Return the native id, None when it is not known here."""
        known = self._native.get((kind, ours))
        if known is None:
            known = self._stored("SELECT native FROM pair WHERE address=? AND kind=? AND ours=?", kind, ours)
            if known is not None:
                self._keep(kind, ours, known)
        return known

    def ours(self, kind: str, native: str) -> str | None:
        """Return our id, None when it is not known here."""
        known = self._ours.get((kind, native))
        if known is None:
            known = self._stored(
                "SELECT ours FROM pair WHERE address=? AND kind=? AND native=?", kind, native
            )
            if known is not None:
                self._keep(kind, known, native)
        return known

    def remember(self, kind: str, ours: str, native: str) -> None:
        """Keep a pair; one that was kept for our id before is replaced."""
        if self._native.get((kind, ours)) == native:
            return
        self._keep(kind, ours, native)
        with (
            contextlib.suppress(sqlite3.Error, OSError, UnicodeEncodeError),
            self._database(create=True) as database,
        ):
            database.execute(
                "INSERT OR REPLACE INTO pair VALUES (?, ?, ?, ?)", (self._address, kind, ours, native)
            )

    def note(self, kind: str, ours: str, native: str) -> None:
        """Keep a pair in memory alone: a listing of a thousand runs is not to be a thousand commits."""
        self._keep(kind, ours, native)

    def note_ours(self, kind: str, ours: str, native: str) -> None:
        """Keep, in memory alone, what a native id is for us, where ours leads to another one."""
        self._ours[kind, native] = ours

    def forget(self, kind: str, ours: str) -> None:
        """Drop a pair whose native side is gone."""
        native = self._native.pop((kind, ours), None)
        self._ours.pop((kind, native or ""), None)
        with contextlib.suppress(sqlite3.Error, OSError, UnicodeEncodeError), self._database() as database:
            database.execute(
                "DELETE FROM pair WHERE address=? AND kind=? AND ours=?", (self._address, kind, ours)
            )

    @contextlib.contextmanager
    def creating(self, ours: str) -> Iterator[None]:
        """Keep other processes of this machine from creating the same thing meanwhile.

        Raises:
            Unavailable: One of them does not come to an end.
        """
        # One of 256 files, so that there are not as many as runs; two runs that share one wait a little.
        name = hashlib.sha256(f"{self._address}\n{ours}".encode()).hexdigest()[:2]
        with held(self._home / "locks" / f"native-{name}"):
            yield

    def _keep(self, kind: str, ours: str, native: str) -> None:
        self._native[kind, ours] = native
        self._ours[kind, native] = ours

    def _stored(self, query: str, kind: str, known: str) -> str | None:
        if not (self._home / FILE_NAME).exists():
            return None
        with contextlib.suppress(sqlite3.Error, OSError, UnicodeEncodeError), self._database() as database:
            row = database.execute(query, (self._address, kind, known)).fetchone()
            return None if row is None else str(row[0])
        return None

    @contextlib.contextmanager
    def _database(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        file = self._home / FILE_NAME
        if create:
            self._home.mkdir(parents=True, exist_ok=True)
        with self._lock, contextlib.closing(sqlite3.connect(file, timeout=_BUSY_S)) as database:
            # What a loss of power takes is found by its tag again; waiting for the disk costs each run more.
            database.execute("PRAGMA synchronous = OFF")
            if create:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS pair (address TEXT, kind TEXT, ours TEXT, native TEXT, "
                    "PRIMARY KEY (address, kind, ours)) WITHOUT ROWID"
                )
                database.execute("CREATE INDEX IF NOT EXISTS pair_native ON pair (address, kind, native)")
            yield database
            database.commit()
