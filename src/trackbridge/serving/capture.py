"""Sampled payloads as JSON lines: one CloudEvents 1.0 event for each request with its answer.

``type`` is ``trackbridge.serving.scored``, ``id`` the request's id, ``source`` the server's name, ``subject``
the model. ``data`` has ``status``, ``duration_s``, ``request`` and ``response``; each of the two has
``content_type`` and either ``json`` (as it was sent), ``text``, or ``base64`` for other bytes.
"""

from __future__ import annotations

import base64
import os
import threading
import time
import zlib
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from trackbridge.domain.serving import Capture, ServingSettings
from trackbridge.serving.logs import log
from trackbridge.serving.metrics import Metrics
from trackbridge.serving.observers import Answered

EVENT_TYPE = "trackbridge.serving.scored"
WAITING_MAX = 1024
WAITING_BYTES_MAX = 64 * 1024 * 1024
GATHER_S = 0.05
STOP_S = 5.0
HASH_RANGE = 1 << 32


class PayloadCapture:
    """Takes answered requests from the event loop, and writes some of them in a thread of its own.

    What cannot be written (queue or disk is full) is counted in the metrics, and never slows a request.
    """

    def __init__(self, capture: Capture, settings: ServingSettings, *, place: int, metrics: Metrics) -> None:
        self._threshold = HASH_RANGE * capture.percent / 100
        self._metrics = metrics
        self._source, self._subject = settings.name, settings.model
        self._line_bytes_max = capture.file_bytes_max
        files_max = max(1, capture.files_max // max(1, settings.workers))
        self._files = _RotatedFiles(
            Path(capture.folder), place=place, bytes_max=capture.file_bytes_max, files_max=files_max
        )
        self._waiting: deque[tuple[int, Answered]] = deque()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._has_some = threading.Event()
        self._is_ending = threading.Event()
        self._has_told = False
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def on_answered(self, answered: Answered) -> None:
        """Take one answer if the hash of its request id is in the sample."""
        if zlib.crc32(answered.request_id.encode()) >= self._threshold:
            return
        size = _size(answered)
        with self._lock:
            is_full = len(self._waiting) >= WAITING_MAX or self._waiting_bytes + size > WAITING_BYTES_MAX
            if not is_full:
                self._waiting.append((time.time_ns(), answered))
                self._waiting_bytes += size
        if is_full:
            self._metrics.on_dropped("full", 1)
        elif not self._has_some.is_set():
            self._has_some.set()

    def stop(self) -> None:
        """Write what waits, for a few seconds at most."""
        self._is_ending.set()
        self._has_some.set()
        self._thread.join(STOP_S)

    def _run(self) -> None:
        is_over = False
        while not is_over:
            self._has_some.wait()
            # Woken once for many payloads, this thread does not get in the way of each request.
            is_over = self._is_ending.wait(GATHER_S)
            self._has_some.clear()
            while (taken := self._take()) is not None:
                self._write(*taken)

    def _take(self) -> tuple[int, Answered] | None:
        with self._lock:
            if not self._waiting:
                return None
            time_ns, answered = self._waiting.popleft()
            self._waiting_bytes -= _size(answered)
        return time_ns, answered

    def _write(self, time_ns: int, answered: Answered) -> None:
        line = self._line(time_ns, answered)
        if len(line) > self._line_bytes_max:
            self._metrics.on_dropped("size", 1)
            return
        try:
            self._files.append(line)
        except OSError as error:
            self._metrics.on_dropped("write", 1)
            if not self._has_told:
                log("payloads cannot be captured; further losses are only counted", error=str(error))
                self._has_told = True
            return
        self._metrics.on_captured(1)

    def _line(self, time_ns: int, answered: Answered) -> bytes:
        answer = answered.answer
        event = {
            "specversion": "1.0",
            "type": EVENT_TYPE,
            "id": answered.request_id,
            "source": self._source,
            "subject": self._subject,
            "time": _timestamp(time_ns),
            "datacontenttype": "application/json",
            "data": {
                "status": answer.status,
                "duration_s": round(answered.duration_s, 6),
                "request": _content(answered.content_type, answered.body, is_json=answer.status == 200),
                "response": _content(answer.content_type.decode("ascii"), answer.body, is_json=True),
            },
        }
        return msgspec.json.encode(event) + b"\n"


def _size(answered: Answered) -> int:
    return len(answered.body) + len(answered.answer.body)


def _content(content_type: str, body: bytes, *, is_json: bool) -> dict[str, Any]:
    """Return a body as it is put into an event; JSON that was understood goes in unchanged."""
    if (
        is_json
        and content_type.startswith("application/json")
        and b"NaN" not in body
        and b"Infinity" not in body
    ):
        # Between tokens a line break means nothing, and within a text there is none.
        line = body.replace(b"\n", b" ").replace(b"\r", b" ")
        return {"content_type": content_type, "json": msgspec.Raw(line)}
    try:
        return {"content_type": content_type, "text": body.decode("utf-8")}
    except UnicodeDecodeError:
        return {"content_type": content_type, "base64": base64.b64encode(body).decode("ascii")}


def _timestamp(time_ns: int) -> str:
    seconds, rest_ns = divmod(time_ns, 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest_ns // 1000:06d}Z"


class _RotatedFiles:
    """Files of a bounded size and number; the oldest is deleted. One writer."""

    def __init__(self, folder: Path, *, place: int, bytes_max: int, files_max: int) -> None:
        self._folder, self._prefix = folder, f"payloads-{place}-"
        self._bytes_max, self._files_max = bytes_max, files_max
        self._descriptor: int | None = None
        self._size = 0

    def append(self, data: bytes) -> None:
        """Append a line.

        Raises:
            OSError: They could not be written; a part of them may be there, ended by a line break later.
        """
        if self._descriptor is None or self._size + len(data) > self._bytes_max:
            self._open_next()
        assert self._descriptor is not None
        try:
            written = os.write(self._descriptor, data)
        except OSError:
            self._close()
            raise
        self._size += written
        if written < len(data):
            os.ftruncate(self._descriptor, self._size - written)
            self._close()
            raise OSError("the disk is full")

    def _open_next(self) -> None:
        self._close()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        present = sorted(self._folder.glob(f"{self._prefix}*.jsonl"))
        for path in present[: max(0, len(present) - self._files_max + 1)]:
            path.unlink(missing_ok=True)
        path = self._folder / f"{self._prefix}{time.time_ns():020d}.jsonl"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._size = 0

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
