"""Connections to ``store.db``: one call, one connection, one transaction.

Connections are pooled rather than bound to threads, so that a call may come from any thread and an ended
thread leaves nothing open. A connection never crosses a fork, and never outlives the file that it opened.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from urllib.parse import quote

from trackbridge.domain.search import like
from trackbridge.errors import AuthError, ConfigError
from trackbridge_adapters.local.capabilities import ADAPTER
from trackbridge_adapters.local.config import Settings
from trackbridge_adapters.local.errors import Translating, translate
from trackbridge_adapters.local.schema import APPLICATION_ID, VERSION, statements_after
from trackbridge_adapters.local.syncing import sync_folder

IDLE_MAX = 8
CACHE_KIB = 16 * 1024
WAL_BYTES_MAX = 64 * 1024 * 1024
WAL_PAGES_CHECKPOINT = 2000
SWITCH_PAUSE_S = 0.005

FileStamp = tuple[int, int]

# Closing a connection that was inherited by a fork, or whose file was deleted, could delete the write-ahead
# log of the living store. Such connections are kept here, unused, until the process ends.
_abandoned: list[sqlite3.Connection] = []


class Database:
    """The store's database, absent until the first write."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.database
        self._busy_timeout_s = settings.busy_timeout_s
        self._pid = os.getpid()
        self._idle: deque[tuple[sqlite3.Connection, FileStamp]] = deque()
        self._closed = False

    @contextmanager
    def reading(self, operation: str, resource: str | None = None) -> Iterator[sqlite3.Connection | None]:
        """Give a connection inside a read transaction, or None while there is no store."""
        with Translating(operation, resource):
            found = self._checkout_to_read()
            if found is None:
                yield None
                return
            with self._transaction(*found, begin="BEGIN") as connection:
                yield connection

    @contextmanager
    def writing(
        self, operation: str, resource: str | None = None, *, lasting: bool = True
    ) -> Iterator[sqlite3.Connection]:
        """Give a connection inside a write transaction, committed (and durable) when the block ends.

        What is not ``lasting`` may be lost with the power, the last first; it can be found out again.
        """
        with Translating(operation, resource):
            found = self._checkout() or self._create()
            found[0].execute(f"PRAGMA synchronous = {'FULL' if lasting else 'NORMAL'}")
            with self._transaction(*found, begin="BEGIN IMMEDIATE") as connection:
                yield connection

    @contextmanager
    def updating(
        self, operation: str, resource: str | None = None, *, lasting: bool = True
    ) -> Iterator[sqlite3.Connection | None]:
        """Do as ``writing``, but give None while there is no store, and create none."""
        with Translating(operation, resource):
            found = self._checkout()
            if found is None:
                yield None
                return
            found[0].execute(f"PRAGMA synchronous = {'FULL' if lasting else 'NORMAL'}")
            with self._transaction(*found, begin="BEGIN IMMEDIATE") as connection:
                yield connection

    def close(self) -> None:
        """Close the idle connections; one in use is closed when its call ends."""
        self._closed = True
        if self._pid != os.getpid():
            self._forget_inherited()
        while self._idle:
            self._idle.pop()[0].close()

    @contextmanager
    def _transaction(
        self, connection: sqlite3.Connection, stamp: FileStamp | None, *, begin: str
    ) -> Iterator[sqlite3.Connection]:
        try:
            connection.execute(begin)
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # SQLite may have rolled back by itself, for example when the disk is full.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        finally:
            self._give_back(connection, stamp)

    def _give_back(self, connection: sqlite3.Connection, stamp: FileStamp | None) -> None:
        if self._pid != os.getpid():
            _abandoned.append(connection)
        elif stamp is None or self._closed or len(self._idle) >= IDLE_MAX:
            connection.close()
        else:
            self._idle.append((connection, stamp))

    def _checkout(self) -> tuple[sqlite3.Connection, FileStamp] | None:
        if self._pid != os.getpid():
            self._forget_inherited()
        stamp = _stamp(self._path)
        while self._idle:
            try:
                connection, opened = self._idle.pop()
            except IndexError:  # another thread took the last one
                break
            if opened == stamp:
                return connection, opened
            _abandoned.append(connection)
        if stamp is None:
            return None
        connection = self._connect("rw")
        version = 0
        try:
            # One snapshot: another process may be creating the tables between two statements.
            connection.execute("BEGIN")
            version = _version(connection, self._path)
            connection.execute("COMMIT")
            if 0 < version < VERSION:
                connection.execute("BEGIN IMMEDIATE")
                _upgrade(connection, self._path)
                connection.execute("COMMIT")
        except BaseException:
            version = 0
            raise
        finally:
            if not version:
                connection.close()
        return (connection, stamp) if version else None

    def _checkout_to_read(self) -> tuple[sqlite3.Connection, FileStamp | None] | None:
        """Do as ``_checkout``; for a store that may not be written give a connection that lasts one call."""
        try:
            return self._checkout()
        except sqlite3.OperationalError as error:
            if not isinstance(translate(error, operation="open"), AuthError):
                raise
        connection = self._open_unwritable()
        return None if connection is None else (connection, None)

    def _open_unwritable(self) -> sqlite3.Connection | None:
        """Open a store that may not be written; tables that an older one lacks stand empty in memory."""
        connection = self._connect("ro&immutable=1" if self._is_frozen() else "ro")
        version = 0
        try:
            version = _version(connection, self._path)
            for statement in statements_after(version) if version else ():
                connection.execute(statement.replace("CREATE TABLE", "CREATE TEMP TABLE", 1))
        except BaseException:
            version = 0
            raise
        finally:
            if not version:
                connection.close()
        return connection if version else None

    def _is_frozen(self) -> bool:
        """Tell whether SQLite could not even make its shared memory, and needs none: all is in one file."""
        log = self._path.with_name(f"{self._path.name}-wal")
        is_empty = not log.exists() or log.stat().st_size == 0
        return is_empty and not os.access(self._path.parent, os.W_OK)

    def _create(self) -> tuple[sqlite3.Connection, FileStamp]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._connect("rwc")
        try:
            self._switch_to_wal(connection)
            connection.execute("BEGIN IMMEDIATE")
            _upgrade(connection, self._path)
            connection.execute("COMMIT")
            stamp = _stamp(self._path)
            if stamp is None:
                raise FileNotFoundError(f"{self._path} was deleted while it was created")
        except BaseException:
            connection.close()
            raise
        sync_folder(self._path.parent)
        sync_folder(self._path.parent.parent)
        return connection, stamp

    def _switch_to_wal(self, connection: sqlite3.Connection) -> None:
        """Switch the journal mode; SQLite does not wait by itself when several create a store at once."""
        deadline_s = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline_s:
                    raise
            Event().wait(SWITCH_PAUSE_S)

    def _connect(self, mode: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(os.fspath(self._path))}?mode={mode}",
            uri=True,
            timeout=self._busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES_CHECKPOINT}")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.create_function("bridge_like", 3, _sql_like, deterministic=True)
        return connection

    def _forget_inherited(self) -> None:
        _abandoned.extend(connection for connection, _ in self._idle)
        self._idle = deque()
        self._pid = os.getpid()


class GatheredDatabase(Database):
    """The same database for writes that are made lasting together, by ``settling``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def reading(self, operation: str, resource: str | None = None) -> Iterator[sqlite3.Connection | None]:
        """Do as the database does."""
        with self._database.reading(operation, resource) as connection:
            yield connection

    @contextmanager
    def writing(
        self, operation: str, resource: str | None = None, *, lasting: bool = False
    ) -> Iterator[sqlite3.Connection]:
        """Give a connection inside a write transaction that is committed when the block ends."""
        with self._database.writing(operation, resource, lasting=lasting) as connection:
            yield connection

    @contextmanager
    def updating(
        self, operation: str, resource: str | None = None, *, lasting: bool = False
    ) -> Iterator[sqlite3.Connection | None]:
        """Do as ``writing``, but give None while there is no store, and create none."""
        with self._database.updating(operation, resource, lasting=lasting) as connection:
            yield connection

    @contextmanager
    def settling(self, operation: str) -> Iterator[sqlite3.Connection]:
        """Give a connection inside a write transaction whose commit, and every one before it, lasts."""
        with self._database.writing(operation) as connection:
            # Writes a page whatever else is written: a commit of nothing would not reach the disk. The
            # write-ahead log is one file, and reaches it whole.
            connection.execute(f"PRAGMA user_version = {VERSION}")
            yield connection

    def close(self) -> None:
        """Close nothing: the connections are the database's."""


def _sql_like(value: str | None, pattern: str, ignore_case: int) -> bool:
    return value is not None and like(pattern, ignore_case=bool(ignore_case)).matches(value)


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the schema, 0 when there is none yet.

    Raises:
        ConfigError: The database is somebody else's, or of a newer trackbridge.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        return 0
    if owner != APPLICATION_ID:
        raise ConfigError(
            f"{path} is a SQLite database of another program",
            adapter=ADAPTER,
            hint="choose another folder for the tracking URI",
        )
    if version > VERSION:
        raise ConfigError(
            f"{path} has schema version {version}; this trackbridge knows versions up to {VERSION}",
            adapter=ADAPTER,
            hint="pip install --upgrade trackbridge",
        )
    return version


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    """Add the tables that are not there yet, unless another process has been faster."""
    version = _version(connection, path)
    if version == VERSION:
        return
    for statement in statements_after(version):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _stamp(path: Path) -> FileStamp | None:
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
