"""The access log: one JSON line for each request, written by a thread, so that no request waits for it."""

from __future__ import annotations

import functools
import os
import queue
import threading
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from trackbridge.domain.secrets import MASK, is_secret_name, redact
from trackbridge.serving.logs import log

LINES_MAX = 20_000
"""So many lines wait for a slow disk or pipe; what comes then is dropped and counted."""
PATH_CHARS_MAX = 1000
TAKEN_MAX = 500
"""Lines that are written together."""
INTERVAL_S = 0.1
CLOSE_S = 2.0


class AccessLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request. ``route`` is the pattern that it matched, ``user`` a token's name or a proxy's user."""

    time_ms: int
    request_id: str
    client: str
    method: str
    path: str
    status: int
    duration_ms: float
    bytes_in: int
    bytes_out: int
    route: str = ""
    query: str = ""
    user: str = ""
    run_id: str = ""


class AccessLog:
    """Writes lines to a descriptor, whole or not at all.

    Args:
        descriptor: Of a file that is open for appending, or of stderr.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: queue.SimpleQueue[AccessLine | None] = queue.SimpleQueue()
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self.dropped = 0
        """Lines that were lost."""
        self._thread.start()

    def write(self, line: AccessLine) -> None:
        """Write a line soon."""
        if self._lines.qsize() >= LINES_MAX:
            self.dropped += 1
            return
        self._lines.put(line)

    def close(self) -> None:
        """Write what waits, for a short while."""
        self._lines.put(None)
        self._is_closing.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        is_open = True
        while is_open:
            # A thread that waits for each line costs more than the request: it wants the interpreter's lock.
            self._is_closing.wait(INTERVAL_S)
            while is_open and not self._lines.empty():
                lines = [self._lines.get() for _ in range(min(self._lines.qsize(), TAKEN_MAX))]
                is_open = None not in lines
                self._put(b"".join(msgspec.json.encode(line) + b"\n" for line in lines if line is not None))

    def _put(self, content: bytes) -> None:
        try:
            while content:
                content = content[os.write(self._descriptor, content) :]
        except OSError as error:
            self.dropped += content.count(b"\n")
            log("the access log cannot be written", error=error.strerror)


def shown_path(path: str) -> str:
    """Return a path as a log may show it."""
    return _shown(path[: PATH_CHARS_MAX + 1])  # cut first: what is kept would else be as long as clients like


@functools.lru_cache(maxsize=2048)  # most are asked for again and again
def _shown(path: str) -> str:
    text = redact(path)
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= PATH_CHARS_MAX else f"{text[:PATH_CHARS_MAX]}…"


def shown_query(query: bytes) -> str:
    """Return a query as a log may show it: values of names that mean secrets are masked."""
    if not query:
        return ""
    pairs = parse_qsl(query[:PATH_CHARS_MAX].decode("latin-1"), keep_blank_values=True)
    shown: list[tuple[str, Any]] = [
        (redact(name), MASK if is_secret_name(name) else redact(value)) for name, value in pairs
    ]
    return urlencode(shown, safe="*")
