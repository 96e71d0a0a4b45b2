"""How far each rollout is: a database in the project's folder, written before anything is done.

One row per rollout holds all that is needed to go on with it; each transition replaces it, if nobody else
has done so meanwhile, and adds a line to its history. A held file lock, not the row, shows that a process
goes on with it: it ends with the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from trackbridge.domain.rollouts import Rollout
from trackbridge.errors import ConfigError, Conflict, InvalidInput, Locked, NotFound
from trackbridge.resolve.config import Settings
from trackbridge.resolve.home import bridge_home

FILE_NAME = "rollouts.db"
LOCKS_FOLDER = "rollouts"
TAKE_OVER_S_MAX = 90.0
"""How long to wait, in seconds, until the process that goes on with a rollout has noticed that it ended."""

_BUSY_S = 30.0
_POLL_S = 0.05
_TABLES = """
CREATE TABLE IF NOT EXISTS rollout (
    name TEXT NOT NULL PRIMARY KEY, target TEXT NOT NULL, endpoint TEXT NOT NULL, is_final INTEGER NOT NULL,
    sequence INTEGER NOT NULL, creation_time INTEGER NOT NULL, body TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS transition (
    name TEXT NOT NULL, sequence INTEGER NOT NULL, time INTEGER NOT NULL, told TEXT NOT NULL,
    PRIMARY KEY (name, sequence)
) WITHOUT ROWID;
"""
_decode = msgspec.json.Decoder(Rollout).decode


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a rollout's history; ``time`` is milliseconds since 1970."""

    sequence: int
    time: int
    told: str


class RolloutLedger:
    """The rollouts of a project. Any thread may use it.

    Args:
        home: The project's folder.

    Raises:
        ConfigError: The file cannot be opened.
    """

    def __init__(self, home: Path) -> None:
        self._lock = threading.Lock()
        self._file = home / FILE_NAME
        self._locks = home / LOCKS_FOLDER
        try:
            home.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                self._file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"the ledger of rollouts cannot be opened: {error}",
                resource=str(self._file),
                hint="make the folder writable; without the file, rollouts that are under way are not known",
            ) from error

    # Writing.

    def add(self, made: Callable[[int], Rollout], *, target: str, endpoint: str, told: str) -> Rollout:
        """Write down a new rollout, made for its number, which counts from 1 for each endpoint's name.

        Raises:
            Conflict: One of this endpoint is not over.
        """
        with self._writing() as database:
            self._refuse_unfinished(database, target, endpoint)
            (count,) = database.execute(
                "SELECT COUNT(*) FROM rollout WHERE endpoint = ?", (endpoint,)
            ).fetchone()
            rollout = made(count + 1)
            database.execute(
                "INSERT INTO rollout VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *(rollout.name, rollout.target, rollout.endpoint, rollout.state.is_final),
                    *(rollout.sequence, rollout.creation_time, _encoded(rollout)),
                ),
            )
            self._tell(database, rollout, told)
        return rollout

    def write(self, rollout: Rollout, told: str = "") -> Rollout:
        """Write the next state of a rollout and return it with its sequence.

        Args:
            rollout: The state, with the sequence of the one that it follows.
            told: What happens, for the history. Nothing for what may be lost with the machine's power: it
                adds no line.

        Raises:
            Conflict: Somebody else has written to it since.
        """
        following = msgspec.structs.replace(rollout, sequence=rollout.sequence + 1)
        with self._writing(is_durable=bool(told)) as database:
            changed = database.execute(
                "UPDATE rollout SET is_final = ?, sequence = ?, body = ? WHERE name = ? AND sequence = ?",
                (
                    *(following.state.is_final, following.sequence, _encoded(following)),
                    *(rollout.name, rollout.sequence),
                ),
            ).rowcount
            if not changed:
                raise Conflict(
                    f"the rollout {rollout.name} was taken over by another process",
                    operation="rollout",
                    hint=f"see how it stands: bridge rollouts show {rollout.name}",
                )
            if told:
                self._tell(database, following, told)
        return following

    # Reading.

    def get(self, name: str) -> Rollout:
        """Return a rollout by its name.

        Raises:
            NotFound: There is none.
        """
        found = self._rows("WHERE name = ?", name)
        if not found:
            raise NotFound(f"there is no rollout {name[:80]!r}", hint="bridge rollouts list")
        return found[0]

    def find(self, name: str, target: str | None = None) -> Rollout:
        """Return a rollout by its name, or the last one of an endpoint.

        Raises:
            NotFound: There is none.
            InvalidInput: The endpoint has some at several targets, and none is named.
        """
        named = self._rows("WHERE name = ?", name)
        if named:
            return named[0]
        found = [item for item in self.rollouts(endpoint=name) if target in (None, item.target)]
        targets = sorted({item.target for item in found})
        if len(targets) > 1:
            raise InvalidInput(
                f"{name[:80]!r} has rollouts at {', '.join(targets)}", hint="name a rollout, or --target"
            )
        return found[0] if found else self.get(name)

    def rollouts(self, *, endpoint: str | None = None, target: str | None = None) -> list[Rollout]:
        """Return the rollouts, the newest first."""
        conditions = [f"{name} = ?" for name, value in (("endpoint", endpoint), ("target", target)) if value]
        where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        values = [value for value in (endpoint, target) if value]
        return self._rows(f"{where}ORDER BY creation_time DESC, name DESC", *values)

    def refuse_unfinished(self, target: str, endpoint: str) -> None:
        """Return if the endpoint has no rollout that is not over.

        Raises:
            Conflict: It has.
        """
        with self._held():
            self._refuse_unfinished(self._database, target, endpoint)

    def unfinished(self, target: str, endpoint: str) -> Rollout | None:
        """Return the rollout of an endpoint that is not over, if there is one."""
        found = self._rows("WHERE target = ? AND endpoint = ? AND NOT is_final", target, endpoint)
        return found[0] if found else None

    def history(self, name: str) -> list[Transition]:
        """Return what a rollout has done, in order."""
        with self._held():
            rows = self._database.execute(
                "SELECT sequence, time, told FROM transition WHERE name = ? ORDER BY sequence", (name,)
            ).fetchall()
        return [Transition(sequence=row[0], time=row[1], told=row[2]) for row in rows]

    def is_current(self, rollout: Rollout) -> bool:
        """Tell whether nobody else has written to a rollout since it was read."""
        with self._held():
            row = self._database.execute(
                "SELECT sequence FROM rollout WHERE name = ?", (rollout.name,)
            ).fetchone()
        return row is not None and row[0] == rollout.sequence

    # One process at a time.

    @contextlib.contextmanager
    def going_on(self, target: str, endpoint: str, *, wait_s: float = 0.0) -> Iterator[None]:
        """Keep others from going on with a rollout of an endpoint; the death of the process ends it.

        Raises:
            Locked: Another process does, and did so for ``wait_s``.
        """
        digest = hashlib.sha256(f"{target}\n{endpoint}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
        self._locks.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._locks / f"{digest}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _locked(descriptor, wait_s):
                raise Locked(
                    f"another process rolls out to the endpoint {endpoint!r}",
                    operation="rollout",
                    resource=target,
                    hint=f"see how far it is: bridge rollouts show {endpoint}; or end it: "
                    f"bridge rollouts abort {endpoint}",
                )
            yield
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close the file."""
        with self._held():
            self._database.close()

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Keep other threads off, and translate what the database says.

        Raises:
            ConfigError: It cannot be read or written.
        """
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:
            raise ConfigError(
                f"the ledger of rollouts cannot be used: {error}",
                resource=str(self._file),
                hint="see that there is room on the disk, and that no other program holds the file; then try "
                "again: what was done is written down",
            ) from error

    @contextlib.contextmanager
    def _writing(self, *, is_durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Write in one transaction; a loss of power may undo one that is not durable, a kill undoes none."""
        with self._held():
            self._database.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                self._database.execute("ROLLBACK")
                raise

    @staticmethod
    def _refuse_unfinished(database: sqlite3.Connection, target: str, endpoint: str) -> None:
        row = database.execute(
            "SELECT name FROM rollout WHERE target = ? AND endpoint = ? AND NOT is_final", (target, endpoint)
        ).fetchone()
        if row is not None:
            raise Conflict(
                f"the rollout {row[0]} of the endpoint {endpoint!r} is not over",
                operation="rollout",
                resource=target,
                hint=f"go on with it: bridge rollouts resume {row[0]}; or go back: "
                f"bridge rollouts abort {row[0]}",
            )

    @staticmethod
    def _tell(database: sqlite3.Connection, rollout: Rollout, told: str) -> None:
        database.execute(
            "INSERT INTO transition VALUES (?, ?, ?, ?)",
            (rollout.name, rollout.sequence, rollout.update_time, told),
        )

    def _rows(self, condition: str, *values: str) -> list[Rollout]:
        with self._held():
            rows = self._database.execute(f"SELECT body FROM rollout {condition}", values).fetchall()
        return [_decode(body) for (body,) in rows]


def open_ledger(settings: Settings) -> RolloutLedger:
    """Return the ledger of the project, else of the user.

    Raises:
        ConfigError: Its folder cannot be written to.
    """
    return RolloutLedger(bridge_home(settings.around))


def _encoded(rollout: Rollout) -> str:
    return msgspec.json.encode(rollout).decode()


def _locked(descriptor: int, wait_s: float) -> bool:
    """Take a file's lock, waiting for it at most so long; whether it was taken."""
    pause = threading.Event()  # nobody sets it; unlike a lock, Ctrl-C interrupts it
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
        pause.wait(_POLL_S)
