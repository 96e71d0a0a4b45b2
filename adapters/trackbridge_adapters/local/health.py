"""What ``bridge doctor`` looks at: the folder, the disk under it, and the database."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from trackbridge.domain.file_systems import NETWORK_FILE_SYSTEMS, file_system_of
from trackbridge.errors import BridgeError
from trackbridge.ports.findings import Finding, Severity
from trackbridge_adapters.local.artifacts import INCOMING
from trackbridge_adapters.local.config import Settings
from trackbridge_adapters.local.database import Database
from trackbridge_adapters.local.errors import Translating

FREE_BYTES_MIN = 1024**3
MOUNTS = Path("/proc/mounts")
Check = Callable[[], Iterable[Finding]]


def examine(settings: Settings, database: Database, *, write: bool) -> Iterator[Finding]:
    """Yield one finding per thing looked at; a check that fails is itself a finding."""
    yield from _safely("folder", lambda: _folder(settings.folder, write=write))
    yield from _safely("disk", lambda: _disk(settings.folder))
    yield from _safely("file system", lambda: _file_system(settings.folder))
    yield from _safely("database", lambda: _database(database, settings.database))
    yield from _safely("artifacts", lambda: _unfinished(settings.artifacts / INCOMING))


def _safely(subject: str, check: Check) -> Iterator[Finding]:
    try:
        with Translating("check", subject):
            findings = list(check())
    except BridgeError as error:
        findings = [_finding(Severity.ERROR, subject, str(error), fix=error.hint or "")]
    yield from findings


def _finding(severity: Severity, subject: str, message: str, *, fix: str = "") -> Finding:
    return Finding(severity=severity, subject=subject, message=message, fix=fix)


def _counted(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"


def _folder(folder: Path, *, write: bool) -> Iterator[Finding]:
    place = _nearest(folder)
    if not place.is_dir():
        yield _finding(Severity.ERROR, "folder", f"{place} is not a folder", fix="choose another folder")
        return
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        yield _finding(Severity.ERROR, "folder", f"{place} may not be written", fix="check who owns it")
        return
    if write:
        with tempfile.NamedTemporaryFile(dir=place) as probe:
            probe.write(b"trackbridge")
            probe.flush()
            os.fsync(probe.fileno())
    exists = f"{folder} is there" if place == folder else f"{folder} will be made at the first write"
    yield _finding(Severity.OK, "folder", f"{exists}; a file could be written" if write else exists)


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _disk(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(_nearest(folder)).free
    message = f"{free / 1e9:.1f} GB free"
    if free < FREE_BYTES_MIN:
        yield _finding(Severity.WARNING, "disk", message, fix="free some space")
    else:
        yield _finding(Severity.OK, "disk", message)


def _file_system(folder: Path) -> Iterator[Finding]:
    """Name the file system, where the system lists its mounts."""
    if not MOUNTS.exists():
        return
    kind = file_system_of(_nearest(folder).resolve(), MOUNTS.read_text("utf-8", "surrogateescape"))
    if kind in NETWORK_FILE_SYSTEMS:
        yield _finding(
            Severity.WARNING,
            "file system",
            f"{folder} lies on {kind}; SQLite's write-ahead log is not safe there with several machines",
            fix="put the store on a local disk, or track to a server",
        )
    elif kind:
        yield _finding(Severity.OK, "file system", kind)


def _database(database: Database, path: Path) -> Iterator[Finding]:
    with database.reading("check", str(path)) as connection:
        if connection is None:
            yield _finding(Severity.OK, "database", "there is none yet; the first write makes it")
            return
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        journal = connection.execute("PRAGMA journal_mode").fetchone()[0]
        problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        runs = connection.execute("SELECT count(*) FROM run").fetchone()[0]
    if problem != "ok":
        yield _finding(
            Severity.ERROR,
            "database",
            f"{path} is damaged: {problem}",
            fix="recover it with 'sqlite3 store.db .recover', or restore a backup",
        )
        return
    if journal != "wal":
        yield _finding(
            Severity.WARNING,
            "database",
            f"SQLite uses the journal mode {journal} here, so that readers and writers wait for each other",
            fix="put the store on a local disk",
        )
    yield _finding(Severity.OK, "database", f"schema version {version}, {_counted(runs, 'run', 'runs')}")


def _unfinished(incoming: Path) -> Iterator[Finding]:
    count = len(list(incoming.iterdir())) if incoming.is_dir() else 0
    if count:
        yield _finding(
            Severity.WARNING,
            "artifacts",
            f"{_counted(count, 'unfinished copy', 'unfinished copies')} in {incoming}: under way, or left "
            "behind by a crash",
            fix="delete what lies there when no program is logging",
        )
