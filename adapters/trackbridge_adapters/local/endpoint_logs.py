"""Logs of deployments: read in pieces from a cursor, and kept within bounds.

A log that has grown too large is emptied; the number of bytes that went is kept beside it, so that cursors,
which count from the beginning, stay right.
"""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from trackbridge.domain.jobs import LogChunk
from trackbridge.errors import InvalidInput
from trackbridge_adapters.local.capabilities import ADAPTER
from trackbridge_adapters.local.tokens import listing_of, place_of, token_of

LOG_BYTES_MAX = 64 * 1024 * 1024
PIECE_BYTES = 64 * 1024


def bound_log(log: Path) -> None:
    """Empty a log that is too large. What is written in that moment is lost."""
    try:
        size = log.stat().st_size
    except FileNotFoundError:
        return
    if size <= LOG_BYTES_MAX:
        return
    dropped = _dropped(log) + size
    unfinished = _side_file(log).with_suffix(".new")
    unfinished.write_text(str(dropped), "ascii")
    unfinished.replace(_side_file(log))
    os.truncate(log, 0)


def read_log(log: Path, cursor: str, *, is_over: bool) -> LogChunk:
    """Return the next piece of a log.

    Raises:
        InvalidInput: The cursor was not given out for this log.
    """
    listing = listing_of("read_logs", str(log))
    place = place_of(cursor or None, listing, operation="deployments.read_logs", types=(int,))
    dropped = _dropped(log)
    start = max(int(place[0]) if place else 0, dropped)
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if start > dropped + size:
                raise _wrong_cursor()
            file.seek(start - dropped)
            data = file.read(PIECE_BYTES)
    except FileNotFoundError:
        size, data = 0, b""
    is_end = start - dropped + len(data) >= size
    text, used = _decoded(data, final=is_end and is_over)
    return LogChunk(text=text, cursor=token_of(listing, [start + used]), done=is_end and is_over)


def _decoded(data: bytes, *, final: bool) -> tuple[str, int]:
    """Decode; a character that is not all there yet is left for the next piece."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final)
    return text, len(data) - len(decoder.getstate()[0])


def _side_file(log: Path) -> Path:
    return log.with_suffix(".dropped")


def _dropped(log: Path) -> int:
    try:
        return int(_side_file(log).read_text("ascii"))
    except FileNotFoundError:
        return 0


def _wrong_cursor() -> InvalidInput:
    return InvalidInput(
        "the cursor is beyond the end of the log",
        adapter=ADAPTER,
        operation="deployments.read_logs",
        hint="start again without a cursor",
    )
