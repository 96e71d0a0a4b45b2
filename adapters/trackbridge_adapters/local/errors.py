"""Errors of SQLite and of the file system, translated once."""

from __future__ import annotations

import errno
import sqlite3
from types import TracebackType

from trackbridge.errors import (
    AuthError,
    BridgeError,
    ConfigError,
    InvalidInput,
    Rejected,
    Unavailable,
)
from trackbridge_adapters.local.capabilities import ADAPTER

_DISK_FULL_HINT = "free some disk space; what was not acknowledged is delivered again"
_PERMISSION_HINT = "check who owns the folder of the store and its files"
_DAMAGED_HINT = (
    "move the store aside, recover it with 'sqlite3 store.db .recover', or restore a backup; "
    "journals that were not delivered yet are not affected"
)

# Python 3.10 does not tell SQLite's error code, so the message decides; SQLite's wording is stable.
_SQLITE_MESSAGES: tuple[tuple[str, type[BridgeError], str, str], ...] = (
    ("locked", Unavailable, "another process is writing to the store", "try again in a moment"),
    ("busy", Unavailable, "another process is writing to the store", "try again in a moment"),
    ("disk is full", Unavailable, "the disk of the store is full", _DISK_FULL_HINT),
    ("readonly", AuthError, "the store may not be written", _PERMISSION_HINT),
    ("unable to open", AuthError, "the store cannot be opened", _PERMISSION_HINT),
    ("access permission", AuthError, "the store may not be used", _PERMISSION_HINT),
    ("not a database", ConfigError, "the file store.db is not a SQLite database", _DAMAGED_HINT),
    ("malformed", ConfigError, "the file store.db is damaged", _DAMAGED_HINT),
    ("i/o error", Unavailable, "the disk of the store failed", "look at the system's log of the disk"),
    ("parser stack overflow", InvalidInput, "the search is nested too deeply", "simplify the filter"),
    ("expression tree", InvalidInput, "the search is too large", "simplify the filter"),
    ("too many", InvalidInput, "the search is too large", "use fewer values or columns"),
    ("tables in a join", InvalidInput, "the search is too large", "order by fewer columns"),
    ("too big", Rejected, "a value is larger than SQLite can hold", "log large values as artifacts"),
    ("too large", Rejected, "a number does not fit 64 bits", "use numbers of at most 64 bits"),
    ("longer than", Rejected, "a value is larger than SQLite can hold", "log large values as artifacts"),
)

_PERMISSION = (AuthError, "the file system does not allow it", _PERMISSION_HINT)
_FULL = (Unavailable, "the disk of the store is full", _DISK_FULL_HINT)
_NAME = (Rejected, "the file system cannot hold the name", "use a shorter or plainer name")
_FOLDER = (Rejected, "the path is both a file and a folder", "use another path")
_OS_ERRORS: dict[int, tuple[type[BridgeError], str, str]] = {
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EROFS: _PERMISSION,
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.ENAMETOOLONG: _NAME,
    errno.EINVAL: _NAME,
    errno.EILSEQ: _NAME,
    errno.ENOTDIR: _FOLDER,
    errno.EISDIR: _FOLDER,
    errno.EEXIST: _FOLDER,
    errno.ENOTEMPTY: _FOLDER,
    errno.ELOOP: (Rejected, "the path leads over a symbolic link", "use a path without symbolic links"),
    errno.EFBIG: (Rejected, "the file is larger than the file system takes", "split the file"),
}


class Translating:
    """A context in which every error of SQLite and of the system becomes one of ``trackbridge.errors``."""

    __slots__ = ("_operation", "_resource")

    def __init__(self, operation: str, resource: str | None = None) -> None:
        self._operation = operation
        self._resource = resource

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, BridgeError):
            return
        translated = translate(error, operation=self._operation, resource=self._resource)
        if translated is not None:
            raise translated from error


def translate(error: BaseException, *, operation: str, resource: str | None = None) -> BridgeError | None:
    """Return what an error of SQLite, of the system or of text encoding means; None for any other."""
    found = _meaning(error)
    if found is None:
        return None
    kind, message, hint = found
    return kind(f"{message} ({error})", adapter=ADAPTER, operation=operation, resource=resource, hint=hint)


def _meaning(error: BaseException) -> tuple[type[BridgeError], str, str] | None:
    if isinstance(error, UnicodeEncodeError):
        return InvalidInput, "a text is not valid Unicode", "remove the lone surrogate"
    if isinstance(error, OverflowError):
        return InvalidInput, "a number does not fit 64 bits", "use numbers of at most 64 bits"
    if isinstance(error, sqlite3.Error):
        return _sqlite_meaning(str(error).lower())
    if isinstance(error, OSError):
        unknown = (Unavailable, "the file system failed", "look at the disk of the store, then try again")
        return _OS_ERRORS.get(error.errno or 0, unknown)
    return None


def _sqlite_meaning(text: str) -> tuple[type[BridgeError], str, str]:
    for part, kind, message, hint in _SQLITE_MESSAGES:
        if part in text:
            return kind, message, hint
    return Unavailable, "SQLite failed", "run 'bridge doctor'; if it finds nothing, report this"
