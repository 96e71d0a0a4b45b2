"""Errors of SQLite and of the system mean one of ours, with a next step."""

from __future__ import annotations

import errno
import sqlite3

import pytest

from trackbridge.errors import (
    AuthError,
    BridgeError,
    ConfigError,
    InvalidInput,
    NotFound,
    Rejected,
    Unavailable,
)
from trackbridge_adapters.local.errors import Translating, translate


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (sqlite3.OperationalError("database is locked"), Unavailable),
        (sqlite3.OperationalError("database table is locked"), Unavailable),
        (sqlite3.OperationalError("database or disk is full"), Unavailable),
        (sqlite3.OperationalError("disk I/O error"), Unavailable),
        (sqlite3.OperationalError("attempt to write a readonly database"), AuthError),
        (sqlite3.OperationalError("unable to open database file"), AuthError),
        (sqlite3.DatabaseError("file is not a database"), ConfigError),
        (sqlite3.DatabaseError("database disk image is malformed"), ConfigError),
        (sqlite3.OperationalError("too many SQL variables"), InvalidInput),
        (sqlite3.DataError("string or blob too big"), Rejected),
        (sqlite3.OperationalError("something new"), Unavailable),
        (OSError(errno.ENOSPC, "full"), Unavailable),
        (OSError(errno.EDQUOT, "quota"), Unavailable),
        (PermissionError(errno.EACCES, "no"), AuthError),
        (OSError(errno.EROFS, "read-only"), AuthError),
        (OSError(errno.ENAMETOOLONG, "long"), Rejected),
        (OSError(errno.EIO, "broken"), Unavailable),
        (OverflowError("int too large"), InvalidInput),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), InvalidInput),
    ],
)
def test_the_table(error: Exception, kind: type[BridgeError]) -> None:
    with pytest.raises(BridgeError) as caught, Translating("tracking.write", "run r"):
        raise error
    assert type(caught.value) is kind
    assert caught.value.__cause__ is error
    assert (caught.value.adapter, caught.value.operation, caught.value.resource) == (
        "local",
        "tracking.write",
        "run r",
    )
    assert caught.value.hint


def test_ours_pass_unchanged_and_mistakes_in_code_are_not_hidden() -> None:
    for error in (NotFound("gone"), TypeError("a mistake"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, Translating("tracking.write"):
            raise error
        assert caught.value is error
    assert translate(KeyError("x"), operation="tracking.write") is None
