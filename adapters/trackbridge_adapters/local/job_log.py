"""Reading a log in pieces that end between characters."""

from __future__ import annotations

import codecs
import os
from dataclasses import dataclass

from trackbridge_adapters._jobs.log_tails import CHARACTER_BYTES_MAX, begun_before

PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of a log, the offset of the byte behind it, and whether the log ends there."""

    text: str
    end: int
    is_last: bool


def tail_start(path: str, tail_bytes: int) -> int:
    """Return the offset of a character so many bytes before the end of a log, or a few less.

    Raises:
        OSError: The file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            start = max(0, os.fstat(file.fileno()).st_size - tail_bytes)
            file.seek(start)
            head = file.read(CHARACTER_BYTES_MAX) if start else b""
    except FileNotFoundError:  # nothing was ever logged
        return 0
    return start + begun_before(head)


def read_piece(path: str, start: int, *, is_final: bool) -> Piece | None:
    """Return what follows an offset; None when the log is shorter than that.

    A character whose last bytes are still to come stays for the next piece, unless none will (``is_final``).

    Raises:
        OSError: The file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            is_inside = 0 <= start <= size
            file.seek(start if is_inside else 0)
            content = file.read(PIECE_BYTES) if is_inside else None
    except FileNotFoundError:  # nothing was ever logged
        size, content = 0, b"" if start == 0 else None
    if content is None:
        return None
    reaches_end = start + len(content) >= size
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(content, final=is_final and reaches_end)
    end = start + len(content) - len(decoder.getstate()[0])
    return Piece(text=text, end=end, is_last=end >= size)
