"""What doubles of managed MLflow have in common: an HTTP server of their own before a real MLflow server.

A double says in ``answer`` what it refuses, and sends on the rest with ``forward``.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Mapping
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

FORWARD_S = 60
Double = TypeVar("Double", bound="Front")


class Result(NamedTuple):
    """An answer: status, body, headers."""

    status: int
    body: bytes
    headers: dict[str, str]


def json_result(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Result:
    """Return an answer that holds JSON."""
    return Result(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


class Front:
    """Listens on a free port of this machine while its context is entered; no TLS.

    Args:
        mlflow_url: Where the MLflow server is that keeps runs and models.
    """

    def __init__(self, mlflow_url: str) -> None:
        self.mlflow = urlsplit(mlflow_url)
        self.requests: list[tuple[str, str]] = []
        """Method and path of every request, in order of arrival."""
        self.clock_skew_s = 0.0
        """How far the double's clock is ahead of this machine's."""
        self._connections = threading.local()

    def __enter__(self: Double) -> Double:
        handler = type("Handler", (_Handler,), {"front": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}"

    def now_s(self) -> float:
        """Return the time of the double's own clock, in seconds since 1970."""
        return time.time() + self.clock_skew_s

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Result:
        """Answer one request; called from any thread."""
        return self.forward(method, target, body)

    def forward(self, method: str, target: str, body: bytes = b"") -> Result:
        """Send a request on to the MLflow server, without who sent it."""
        connection: http.client.HTTPConnection | None = getattr(self._connections, "open", None)
        if connection is not None:
            try:
                return _exchange(connection, method, target, body)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                connection.close()  # it was idle for long: nothing was done
        connection = http.client.HTTPConnection(
            self.mlflow.hostname or "", self.mlflow.port, timeout=FORWARD_S
        )
        self._connections.open = connection
        try:
            return _exchange(connection, method, target, body)
        except OSError:
            self._connections.open = None
            unavailable = {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "the service is not there"}
            return json_result(503, unavailable)


def _exchange(connection: http.client.HTTPConnection, method: str, target: str, body: bytes) -> Result:
    connection.request(method, target, body=body or None, headers={"Content-Type": "application/json"})
    answer = connection.getresponse()
    content_type = answer.headers.get("Content-Type", "application/json")
    return Result(answer.status, answer.read(), {"Content-Type": content_type})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    front: Front
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # status, headers and body in one segment

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        self.front.requests.append((self.command, urlsplit(self.path).path))
        status, content, headers = self.front.answer(self.command, self.path, self.headers, body)
        self.send_response(status)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the time of the double's own clock."""
        return formatdate(self.front.now_s() if timestamp is None else timestamp, usegmt=True)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""
