"""Reading a log in pieces that end between characters."""

from __future__ import annotations

import codecs
import os
from dataclasses import dataclass

PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of a log, the offset of the byte behind it, and whether the log ends there."""

    text: str
    end: int
    is_last: bool


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
