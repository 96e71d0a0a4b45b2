"""Keys of metrics, params and tags as small numbers."""

from __future__ import annotations

import sqlite3

UNKNOWN = -1


def find_name(connection: sqlite3.Connection, text: str) -> int:
    """Return the number of a key; UNKNOWN, which no row has, when it was never used."""
    row = connection.execute("SELECT id FROM name WHERE text = ?", (text,)).fetchone()
    return int(row[0]) if row else UNKNOWN


def ensure_name(connection: sqlite3.Connection, text: str) -> int:
    """Return the number of a key, giving it one when it is new."""
    found = find_name(connection, text)
    if found != UNKNOWN:
        return found
    return int(connection.execute("INSERT INTO name (text) VALUES (?)", (text,)).lastrowid or 0)
