"""One request and its answer, as far as everybody has to do with it: ids, headers, counts."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from trackbridge.domain.secrets import has_secret_shape
from trackbridge.serving.answers import JSON

Send = Callable[[dict[str, Any]], Awaitable[None]]

TRANSPORT = "bridge.transport"
"""Where ASGI's scope holds the ``JoiningTransport`` of the connection; absent without a connection."""
REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/=+-]{1,128}")
CLIENT_GONE = 499
"""What a log calls a request whose client did not wait for the answer."""
CLOSE = (b"connection", b"close")
ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Exchange:
    """Passes an answer on, adds what every answer has, and notes what becomes of it.

    Args:
        scope: ASGI's.
        send: ASGI's.
    """

    __slots__ = (
        "began", "bytes_out", "client", "has_begun", "headers", "is_last", "method", "path", "request_id",
        "route", "run_id", "scope", "send_on", "status", "time_ms", "user",
    )  # fmt: skip

    def __init__(self, scope: dict[str, Any], send: Send) -> None:
        self.scope = scope
        self.send_on = send
        self.began = time.perf_counter()
        self.time_ms = time.time_ns() // 1_000_000
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.client: str = scope["client"][0] if scope.get("client") else ""
        self.request_id = _request_id(self.headers.get(b"x-request-id"))
        self.status = CLIENT_GONE
        self.bytes_out = 0
        self.has_begun = False
        """Whether the status has been sent."""
        self.is_last = False
        """Whether the connection is closed behind the answer."""
        self.route = ""
        self.run_id = ""
        self.user = ""

    async def send(self, message: dict[str, Any]) -> None:
        """Pass a message of ASGI on."""
        if message["type"] == "http.response.start":
            self.has_begun = True
            self.status = message["status"]
            given = list(message.get("headers", ()))
            names = {name.lower() for name, _ in given}
            given += [header for header in ALWAYS if header[0] not in names]
            given.append((b"x-request-id", self.request_id))
            if self.is_last and b"connection" not in names:
                given.append(CLOSE)
            message = {**message, "headers": given}
        elif message["type"] == "http.response.body":
            self.bytes_out += len(message.get("body", b""))
        await self.send_on(message)

    async def answer(
        self,
        status: int,
        body: bytes,
        content_type: bytes = JSON,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        """Send a whole answer."""
        self.has_begun = True
        self.status = status
        self.bytes_out = len(body)
        head = [
            (b"content-type", content_type),
            (b"content-length", b"%d" % len(body)),
            *ALWAYS,
            (b"x-request-id", self.request_id),
            *headers,
        ]
        if self.is_last:
            head.append(CLOSE)
        transport = self.scope.get(TRANSPORT)
        if transport is not None:
            transport.hold()
        try:
            await self.send_on({"type": "http.response.start", "status": status, "headers": head})
            await self.send_on({"type": "http.response.body", "body": body})
        finally:
            if transport is not None:
                transport.release()

    @property
    def duration_s(self) -> float:
        """Seconds since the head of the request was there."""
        return time.perf_counter() - self.began


def _request_id(given: bytes | None) -> bytes:
    """Return the id that a client gave, or one of ours where that is none, or looks like a secret."""
    if given is not None and REQUEST_ID.fullmatch(given) and not has_secret_shape(given.decode("ascii")):
        return given
    return secrets.token_hex(16).encode("ascii")
