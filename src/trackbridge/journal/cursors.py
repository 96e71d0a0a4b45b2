"""How far each destination of a journal has got. A cursor is small, and replaced atomically."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path

import msgspec

from trackbridge.journal.folder import JournalFolder
from trackbridge.journal.reader import Position

_EVERYTHING = Position(segment=sys.maxsize)


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """Everything before ``position`` is delivered to ``destination``, or lies in its dead letters.

    Nothing from ``begun`` on was ever sent (None: nothing at all), where the destination would take it twice.
    ``open_runs`` are the runs that the journal has opened and not closed by there, with the time of their
    last record in milliseconds; ``joined_runs`` are those of them that another process created.
    ``problem`` says why delivery is waiting, None when it is not, and ``failing_since_ms`` since when nothing
    has succeeded. ``drained`` says that the writer is dead
    and every record delivered, ``finished`` that the runs it left open are seen to as well.
    """

    destination: str
    position: Position = Position()
    begun: Position | None = None
    open_runs: dict[str, int] = msgspec.field(default_factory=dict)
    joined_runs: frozenset[str] = frozenset()
    delivered: int = 0
    rejected: int = 0
    problem: str | None = None
    failing_since_ms: int | None = None
    drained: bool = False
    finished: bool = False


def load_cursor(folder: JournalFolder, destination: str) -> Cursor:
    """Return the stored cursor, or one at the beginning where it is missing or unreadable.

    Beginning again is safe: what was delivered is delivered once more, which changes nothing.
    """
    try:
        cursor = msgspec.json.decode(_path(folder, destination).read_bytes(), type=Cursor)
    except FileNotFoundError:
        return Cursor(destination=destination)
    except msgspec.DecodeError:
        return Cursor(destination=destination, begun=_EVERYTHING)
    return cursor if cursor.destination == destination else Cursor(destination=destination)


def expect_sent(folder: JournalFolder, destination: str) -> None:
    """Note that any record of a copied journal may have been sent already, from where it was written.

    A cursor that lies behind everything that was copied is taken back: what it counted is delivered again,
    which changes nothing.

    Raises:
        OSError: The disk does not take it.
    """
    cursor = load_cursor(folder, destination)
    numbers = folder.segment_numbers()
    is_behind = bool(numbers) and cursor.position.segment > numbers[-1]
    position = Position() if is_behind else cursor.position
    kept = msgspec.structs.replace(
        cursor,
        position=position,
        begun=_EVERYTHING,
        problem=None,
        failing_since_ms=None,
        drained=False,
        finished=False,
    )
    store_cursor(folder, kept)


def store_cursor(folder: JournalFolder, cursor: Cursor) -> None:
    """Replace the stored cursor.

    Raises:
        OSError: The disk does not take it; the stored one is as it was.
    """
    path = _path(folder, cursor.destination)
    draft = path.with_suffix(".draft")
    with contextlib.suppress(FileNotFoundError):  # the folder was delivered and deleted meanwhile
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.encode(cursor))
        draft.replace(path)


def key_of(destination: str) -> str:
    """Return what stands for a destination in names of files: 16 hexadecimal digits."""
    return hashlib.sha256(destination.encode()).hexdigest()[:16]


def _path(folder: JournalFolder, destination: str) -> Path:
    return folder.path / f"cursor-{key_of(destination)}.json"
