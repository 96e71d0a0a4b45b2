"""HTTP servers on this machine that answer as a test tells them, hostile answers included."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANG_S = 60.0


@dataclass(frozen=True)
class Request:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What is sent back. ``fault`` is "hang", "reset" or "half" (a body that breaks off)."""

    status: int = 200
    body: bytes | str | dict[str, Any] = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    fault: str = ""

    @property
    def content(self) -> bytes:
        if isinstance(self.body, dict):
            return json.dumps(self.body).encode()
        return self.body.encode() if isinstance(self.body, str) else self.body


class ScriptedServer:
    """Answers with what ``answer`` returns for a request; keeps the requests in order of arrival."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Answer] = lambda request: Answer()
        self.released = threading.Event()

    def says(self, *answers: Answer) -> None:
        """Answer with these, one after another; the last of them for good."""
        left = list(answers)
        lock = threading.Lock()

        def next_one(request: Request) -> Answer:
            with lock:
                return left.pop(0) if len(left) > 1 else left[0]

        self.answer = next_one


@contextlib.contextmanager
def scripted_server(tls: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    """Run a server, with TLS when a context is given."""
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    listener.daemon_threads = True
    if tls is not None:
        listener.socket = tls.wrap_socket(listener.socket, server_side=True)
    server = ScriptedServer(f"{'https' if tls else 'http'}://127.0.0.1:{listener.server_address[1]}")
    listener.script = server  # type: ignore[attr-defined]
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        listener.shutdown()
        listener.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Print nothing."""

    def handle_any(self) -> None:
        server: ScriptedServer = self.server.script  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.command, self.path, dict(self.headers.items()), body)
        server.requests.append(request)
        answer = server.answer(request)
        if answer.fault == "hang":
            server.released.wait(HANG_S)
        if answer.fault in ("hang", "reset"):
            self._reset()
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        missing = 100 if answer.fault == "half" else 0
        self.send_header("Content-Length", str(len(answer.content) + missing))
        self.end_headers()
        self.wfile.write(answer.content)
        if answer.fault == "half":
            self._reset()

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.handle_any
        raise AttributeError(name)
