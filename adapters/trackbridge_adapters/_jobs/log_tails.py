"""Beginning to read a log near its end."""

from __future__ import annotations

CHARACTER_BYTES_MAX = 4


def begun_before(head: bytes) -> int:
    """Return how many of the first bytes are the rest of a character of UTF-8 that began before them."""
    first = head[:CHARACTER_BYTES_MAX]
    return next((number for number, byte in enumerate(first) if byte & 0xC0 != 0x80), 0)
