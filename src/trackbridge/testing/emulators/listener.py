"""HTTP on a port of this machine: requests read whole, answers sent whole or as they come; also as a proxy.

A client that takes the port for its proxy is led to other ports of this machine, by the host that it wants.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

BODY_BYTES_MAX = 5 << 30
"""The largest body that is read."""
TUNNEL_BYTES = 1 << 18
HOP_HEADERS = ("connection", "date", "server", "transfer-encoding")


class Arrived(NamedTuple):
    """A request as it came."""

    method: str
    target: str
    headers: Any
    body: bytes
    is_tls: bool


class Sent(NamedTuple):
    """An answer. A body that is an iterator is sent as it comes."""

    status: int
    headers: Mapping[str, str]
    body: bytes | Iterator[bytes]


class Listener:
    """Listens on 127.0.0.1 from the start until ``close``.

    Args:
        answer: Answers a request; called from any thread.
        port: 0 for a free one.
        now_s: The clock that answers tell.
        tls: Speaks TLS with it.
        tunnel: For a proxy: where a host and port is on this machine, None to refuse it.
    """

    def __init__(
        self,
        answer: Callable[[Arrived], Sent],
        *,
        port: int = 0,
        now_s: Callable[[], float] = time.time,
        tls: ssl.SSLContext | None = None,
        tunnel: Callable[[str, int], tuple[str, int] | None] | None = None,
    ) -> None:
        settings = {"answer": staticmethod(answer), "now_s": staticmethod(now_s), "is_tls": tls is not None}
        if tunnel is not None:
            settings["tunnel"] = staticmethod(tunnel)
        self._server = _Server(("127.0.0.1", port), type("Handler", (_Handler,), settings), tls)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.port: int = self._server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'http' if tls is None else 'https'}://{self.host}"

    def close(self) -> None:
        """Listen no longer, and hang up."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], handler: Any, tls: ssl.SSLContext | None) -> None:
        self._connections: set[Any] = set()
        self._tls = tls
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection, which may stay open."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread: a client that is slow at it keeps nobody waiting."""
        if self._tls is None:
            super().finish_request(request, client_address)
            return
        with suppress(OSError, ValueError), self._tls.wrap_socket(request, server_side=True) as encrypted:
            super().finish_request(encrypted, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that has ended."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Listen no longer, and hang up: a client that kept its connection must not be answered."""
        super().server_close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that went away is no fault of the server."""


class _Handler(BaseHTTPRequestHandler):
    answer: Callable[[Arrived], Sent]
    now_s: Callable[[], float]
    is_tls: bool
    tunnel: Callable[[str, int], tuple[str, int] | None] | None = None
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # status, headers and body in one segment

    def _answer(self) -> None:
        body = self._body()
        if body is None:
            self.close_connection = True
            self.send_error(400)
            return
        sent = self.answer(Arrived(self.command, self.path, self.headers, body, self.is_tls))
        self.send_response(sent.status)
        sized = {name.lower() for name in sent.headers}
        for name, value in sent.headers.items():
            if name.lower() not in HOP_HEADERS:
                self.send_header(name, value)
        if isinstance(sent.body, bytes):
            if "content-length" not in sized and sent.status != 204:
                self.send_header("Content-Length", str(len(sent.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(sent.body)
        else:
            self._stream(sent.body, is_sized="content-length" in sized)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

    def do_CONNECT(self) -> None:
        """Lead a client of the proxy to where the host is that it wants."""
        self.close_connection = True
        host, _, port = self.path.rpartition(":")
        place = self.tunnel(host.lower(), int(port)) if self.tunnel and port.isdecimal() else None
        if place is None:
            self.send_error(403, f"{self.path} is not emulated")
            return
        try:
            beyond = socket.create_connection(place)
        except OSError:
            self.send_error(502, f"nobody listens for {self.path}")
            return
        with beyond:
            self.send_response(200, "Connection established")
            self.end_headers()
            self.wfile.flush()
            _join(self.connection, beyond)

    def handle_expect_100(self) -> bool:
        """Let a client go on at once: it waits for this before it sends the body."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def _stream(self, parts: Iterator[bytes], *, is_sized: bool) -> None:
        if not is_sized:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in parts:
            if self.command == "HEAD" or not part:
                continue
            self.wfile.write(part if is_sized else f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.flush()
        if not is_sized:
            self.wfile.write(b"0\r\n\r\n")

    def _body(self) -> bytes | None:
        """Return the body; None when its length is not said as HTTP wants it."""
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            return self._chunks()
        length = self.headers.get("Content-Length") or "0"
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            return None
        return self.rfile.read(int(length))

    def _chunks(self) -> bytes | None:
        parts: list[bytes] = []
        while True:
            try:
                size = int(self.rfile.readline(1_024).split(b";")[0], 16)
            except ValueError:
                return None
            if size == 0:
                while self.rfile.readline(65_536).strip():
                    pass  # trailers
                return b"".join(parts)
            parts.append(self.rfile.read(size))
            self.rfile.readline(16)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the time of the emulated cloud's clock."""
        return formatdate(self.now_s() if timestamp is None else timestamp, usegmt=True)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


def _join(one: socket.socket, other: socket.socket) -> None:
    """Hand on what comes at either end, until both have ended."""
    back = threading.Thread(target=_pump, args=(other, one), daemon=True)
    back.start()
    _pump(one, other)
    back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(TUNNEL_BYTES):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
