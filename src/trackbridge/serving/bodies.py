"""Reading the body of a request: bounded in size and time, whatever is sent."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from trackbridge.serving.answers import Refusal

Receive = Callable[[], Awaitable[dict[str, Any]]]
GZIP_WINDOW = 16 + zlib.MAX_WBITS


class ClientGone(Exception):
    """The client closed the connection before its request was whole; nobody waits for an answer."""


class Deadline:
    """Ends a wait of the present task with ``TimeoutError``; cheaper than ``asyncio.wait_for``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_over = False

    def __enter__(self) -> Deadline:
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(loop)
        self._timer = loop.call_later(self._seconds, self._expire)
        return self

    def _expire(self) -> None:
        self._is_over = True
        if self._task is not None:
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._is_over and kind is asyncio.CancelledError:
            uncancel = getattr(self._task, "uncancel", None)  # from Python 3.11 on
            if uncancel is not None:
                uncancel()
            raise TimeoutError from error


async def read_body(
    receive: Receive, headers: dict[bytes, bytes], *, bytes_max: int, stall_s: float
) -> bytes:
    """Return the body, decompressed.

    Args:
        receive: ASGI's.
        headers: The request's, names in lower case.
        bytes_max: Bound of the body, and of what it becomes when decompressed.
        stall_s: How long the client may send nothing.

    Raises:
        Refusal: 408, 413, 415 for an unknown Content-Encoding, 400 for broken compression.
        ClientGone: The connection was closed.
    """
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in (b"identity", b"gzip"):
        raise Refusal("UNSUPPORTED_MEDIA_TYPE", "Of content encodings only gzip is understood.", is_last=True)
    declared = headers.get(b"content-length")
    if declared is not None and int(declared) > bytes_max:
        await _discard(receive, bytes_max, stall_s)
        raise too_large(bytes_max)
    body = await _read(receive, bytes_max, stall_s)
    return body if encoding == b"identity" else decompressed(body, bytes_max)


async def _read(receive: Receive, bytes_max: int, stall_s: float) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await _next(receive, stall_s)
        chunk: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            if size + len(chunk) > bytes_max:
                raise too_large(bytes_max)
            return b"".join([*chunks, chunk]) if chunks else chunk
        chunks.append(chunk)
        size += len(chunk)
        if size > bytes_max:
            chunks.clear()
            await _discard(receive, bytes_max, stall_s)
            raise too_large(bytes_max)


async def _discard(receive: Receive, bytes_max: int, stall_s: float) -> None:
    """Read on for as much again: a client that is still sending would not see our answer."""
    size, has_more = 0, True
    while has_more and size <= bytes_max:
        message = await _next(receive, stall_s)
        size += len(message.get("body", b""))
        has_more = message.get("more_body", False)


async def _next(receive: Receive, stall_s: float) -> dict[str, Any]:
    try:
        with Deadline(stall_s):
            message = await receive()
    except TimeoutError as error:
        raise Refusal(
            "REQUEST_TIMEOUT", f"Nothing more of the body came within {stall_s:g} s.", is_last=True
        ) from error
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message


def too_large(bytes_max: int) -> Refusal:
    """Return the refusal of a body over the bound."""
    return Refusal("REQUEST_TOO_LARGE", f"The body is larger than {bytes_max:,} bytes.", is_last=True)


def decompressed(body: bytes, bytes_max: int) -> bytes:
    """Return what gzip packed, never making more than the bound.

    Raises:
        Refusal: 413 over the bound, 400 when it is not gzip, cut off, or followed by something else.
    """
    unpacker = zlib.decompressobj(GZIP_WINDOW)
    try:
        content = unpacker.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise Refusal("BAD_REQUEST", f"The body is not gzip as its Content-Encoding says: {error}") from error
    if len(content) > bytes_max:
        raise too_large(bytes_max)
    if not unpacker.eof or unpacker.unused_data:
        raise Refusal("BAD_REQUEST", "The gzip body is cut off, or something follows it.")
    return content
