"""Receivers of webhooks: real servers on this machine that do what a test tells them."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = int | tuple[int, dict[str, str]] | str


class Request:
    """One request as it came in."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path = path
        self.headers = headers
        self.body = body

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)


class Receiver:
    """Answers with ``answers``, one after another, then with 204.

    ``"hang"`` does not answer until the test is over, ``"reset"`` resets the connection.
    """

    def __init__(self, url: str, released: threading.Event) -> None:
        self.url = url
        self.requests: list[Request] = []
        self.answers: list[Answer] = []
        self.default: Answer = 204
        self._released = released
        self._changed = threading.Condition()

    def take(self, request: Request) -> Answer:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            return self.answers.pop(0) if self.answers else self.default

    def wait_for(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, seconds), [
                item.body[:300] for item in self.requests[:30]
            ]

    def kinds(self) -> list[str]:
        return [item.headers["X-Bridge-Event"] for item in list(self.requests)]

    def subjects(self) -> list[str]:
        return [item.event["subject"] for item in list(self.requests)]

    def hang(self) -> None:
        self._released.wait(120)


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.receiver.take(Request(self.path, dict(self.headers), body))
        if answer == "hang":
            self.receiver.hang()
            return
        if answer == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        assert isinstance(status, int)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that went away, or a connection that was reset on purpose."""


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """Serve on a free port for the time of the block."""
    released = threading.Event()
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/hook", released)
    handler.receiver = receiver  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        released.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
