"""Keys of metrics, params and tags as small numbers."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence

UNKNOWN = -1
NAMES_PER_STATEMENT = 500


def find_name(connection: sqlite3.Connection, text: str) -> int:
    """Return the number of a key; UNKNOWN, which no row has, when it was never used."""
    row = connection.execute("SELECT id FROM name WHERE text = ?", (text,)).fetchone()
    return int(row[0]) if row else UNKNOWN


def ensure_names(connection: sqlite3.Connection, texts: Collection[str]) -> dict[str, int]:
    """Return the numbers of keys, giving one to each that is new."""
    numbers = _numbers(connection, [*texts])
    new = [(text,) for text in texts if text not in numbers]
    if new:
        connection.executemany("INSERT OR IGNORE INTO name (text) VALUES (?)", new)
        numbers.update(_numbers(connection, [text for (text,) in new]))
    return numbers


def _numbers(connection: sqlite3.Connection, texts: Sequence[str]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for start in range(0, len(texts), NAMES_PER_STATEMENT):
        part = texts[start : start + NAMES_PER_STATEMENT]
        marks = ",".join("?" * len(part))
        numbers.update(connection.execute(f"SELECT text, id FROM name WHERE text IN ({marks})", part))
    return numbers
