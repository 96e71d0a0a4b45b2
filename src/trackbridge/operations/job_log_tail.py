"""The end of a job's log, without secrets, as its run keeps it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from trackbridge.domain.jobs import LogChunk
from trackbridge.domain.secrets import MASK, is_secret_name, redact
from trackbridge.errors import Rejected
from trackbridge.operations.waiting import Pace

TAIL_BYTES_MAX = 64 * 1024
TAIL_READ_BYTES = TAIL_BYTES_MAX + 8 * 1024
"""Read a little before the tail, so that a secret on its edge is recognised before it is cut."""
READ_BYTES_MAX = 256 * 1024 * 1024
"""A log beyond this is not read to its end, where a backend gives it out from the beginning only."""
READ_S_MAX = 60.0
SECRET_BYTES_MAX = 1024 * 1024
SECRET_CHARS_MIN = 4
"""Shorter values are no secrets: masking them would leave nothing to be read."""


def tail_of_file(path: Path) -> bytes:
    """Return the end of a log, and a little before it; b"" where there is none.

    Raises:
        OSError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_READ_BYTES))
            return file.read(TAIL_READ_BYTES)
    except FileNotFoundError:
        return b""


def tail_of_job(read: Callable[[str], LogChunk], *, pace: Pace | None = None) -> bytes:
    """Read the log of a job that has ended; return its end, and a little before it.

    Args:
        read: Returns what comes after a cursor; "" is where to begin, at the beginning or at the latest
            ``TAIL_READ_BYTES`` before the end.
        pace: How to wait while nothing comes: a platform may be late with a log, and done later still.

    Raises:
        Rejected: It is too long, or comes too slowly, to be read to its end.
    """
    pace = pace or Pace(wait_s_min=0.1)
    last_s = pace.clock()
    deadline_s = last_s + READ_S_MAX
    kept, cursor, seen_bytes = b"", "", 0
    while True:
        chunk = read(cursor)
        content = chunk.text.encode()
        seen_bytes += len(content)
        kept = (kept + content)[-TAIL_READ_BYTES:]
        if chunk.done:
            return kept
        if seen_bytes > READ_BYTES_MAX or pace.clock() > deadline_s:
            raise Rejected(
                "the log is too long, or comes too slowly: its end was not reached after "
                f"{seen_bytes / 1024**2:,.0f} MiB",
                operation="jobs.logs",
            )
        cursor = chunk.cursor
        if chunk.text:
            last_s = pace.clock()
        else:
            pace.wait(last_s)


def kept_tail(tail: bytes, secrets: Iterable[str] = ()) -> bytes:
    """Return the last 64 KiB of a log, from the beginning of a line, with secrets replaced by ``***``.

    Args:
        tail: What ``tail_of_file`` or ``tail_of_job`` returned.
        secrets: Values that are to be replaced; what looks like a secret is, too.
    """
    text = tail.decode("utf-8", "replace")
    known = {value for value in secrets if len(value) >= SECRET_CHARS_MIN}
    for value in sorted(known, key=len, reverse=True):
        text = text.replace(value, MASK)
    masked = redact(text).encode()
    if len(tail) <= TAIL_BYTES_MAX and len(masked) <= TAIL_BYTES_MAX:
        return masked
    last = masked[-TAIL_BYTES_MAX:]
    return last.partition(b"\n")[2] or last.decode("utf-8", "ignore").encode()


def secret_values(references: Iterable[str]) -> list[str]:
    """Return what references (``env:NAME``, ``file:PATH``) lead to here; without those that lead nowhere.

    Each line of a value of several counts as well, as a program may print it, and so do this program's own
    variables that are named like secrets.
    """
    found = [value for name, value in os.environ.items() if is_secret_name(name)]
    for reference in references:
        kind, _, place = reference.partition(":")
        if kind == "env":
            found.append(os.environ.get(place, ""))
        elif kind == "file":
            found.append(_content(place))
    return [line for value in found for line in (value, *re.split(r"[\r\n]+", value)) if line]


def _content(path: str) -> str:
    """Return what a file holds; references come from a run's tag, so a pipe or a device may be named."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            is_plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
            content = file.read(SECRET_BYTES_MAX) if is_plain else b""
    except (OSError, ValueError):  # ValueError: a NUL
        return ""
    return content.decode("utf-8", "replace").rstrip("\r\n")
