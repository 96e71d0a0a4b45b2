"""A proxy that makes bad weather in front of any HTTP server.

::

    with FaultProxy("http://127.0.0.1:5000", Weather(latency_s=0.2)) as proxy:
        mlflow.set_tracking_uri(proxy.url)
        ...
        proxy.weather = Weather(black_hole=1.0)     # at any time, from any thread
        ...
        proxy.weather = Weather()
        assert proxy.counts["black_hole"] > 0

Probabilities are drawn for each request, at most one fault each; the same seed gives the same faults to the
same sequence of requests. Every connection has threads of its own, so that the latency of one is not that of
another. The server's side of the proxy is plain HTTP/1.1; what it is told of the address (``Host``) is what
the client said, so that links and signatures stay what they are.

=================  ===================================================================================
fault              what the client sees, and what the server gets of it
=================  ===================================================================================
``reset_before``   the connection is reset before anything of the request was passed on
``reset_in_body``  it is reset after half of the body was passed on
``reset_after``    the server does it and answers, but the connection is reset instead of the answer
``half_answer``    the server does it; half of its answer arrives, then a reset
``too_many``       429, with ``Retry-After`` where ``retry_after_s`` says so; the server gets nothing
``error``          500; the server gets nothing
``unavailable``    503, with ``Retry-After`` likewise; the server gets nothing
``black_hole``     nothing, until the weather changes: then a reset; the server gets nothing
=================  ===================================================================================
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

PIECE_BYTES = 64 * 1024
HEAD_BYTES_MAX = 256 * 1024
CONNECT_S = 5.0
_LOOK_S = 0.05
_FAULTS = (
    "reset_before",
    "reset_in_body",
    "reset_after",
    "half_answer",
    "too_many",
    "error",
    "unavailable",
    "black_hole",
)


@dataclass(frozen=True, kw_only=True)
class Weather:
    """What happens to requests; see the table above for the faults.

    Args:
        latency_s: Seconds that each request takes longer, half of them on the way back.
        bandwidth_bytes_per_s: Of all connections together, each way; None is without bound.
        retry_after_s: What 429 and 503 say; None leaves it out.
        is_down: Every connection is reset: new ones at once, those that are open at their next request.
        only: Tells by method and path which requests can fail; None is all. Latency is for all.
    """

    latency_s: float = 0.0
    bandwidth_bytes_per_s: float | None = None
    reset_before: float = 0.0
    reset_in_body: float = 0.0
    reset_after: float = 0.0
    half_answer: float = 0.0
    too_many: float = 0.0
    error: float = 0.0
    unavailable: float = 0.0
    black_hole: float = 0.0
    retry_after_s: float | None = None
    is_down: bool = False
    only: Callable[[str, str], bool] | None = None

    def __post_init__(self) -> None:
        total = sum(getattr(self, fault) for fault in _FAULTS)
        if not 0.0 <= total <= 1.0 + 1e-9:
            raise ValueError(f"the probabilities add up to {total}, which is not between 0 and 1")


class _Reset(Exception):
    """The client's connection is to be reset."""


class FaultProxy:
    """A proxy on a free port of this machine, running from ``with`` or ``start`` on.

    Args:
        target: The server's address, ``http://host:port``.
        weather: What happens at the beginning.
        seed: Starts the random numbers.

    ``counts`` holds how many ``requests`` came, how many ``passed``, each fault by its name, and ``refused``:
    requests for which the server could not be reached, or broke off.
    """

    def __init__(self, target: str, weather: Weather | None = None, *, seed: int = 0) -> None:
        parts = urlsplit(target)
        assert parts.hostname is not None, "the target is an address such as http://127.0.0.1:5000"
        self._target = (parts.hostname, parts.port or 80)
        self.weather = weather or Weather()
        self.counts: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._free_at = {"up": 0.0, "down": 0.0}
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open: set[socket.socket] = set()

    def start(self) -> FaultProxy:
        """Begin to accept connections."""
        threading.Thread(target=self._accept, name="fault-proxy", daemon=True).start()
        return self

    def stop(self) -> None:
        """Close every connection, and the port."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> FaultProxy:
        return self.start()

    def __exit__(self, *_: Any) -> None:
        self.stop()

    # Connections.

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # stopped
                return
            with self._lock:
                self._open.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """Pass on one request after the other, until one side ends it or the weather does."""
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader, server = _Reader(client), _Server(self._target)
        try:
            if not self.weather.is_down:
                while (head := reader.head()) and self._pass_on(head, reader, client, server):
                    pass
            else:
                _reset(client)
        except _Reset:
            _reset(client)
        except OSError:  # the client has gone
            pass
        finally:
            server.close()
            client.close()
            with self._lock:
                self._open.discard(client)

    def _pass_on(self, head: bytes, reader: _Reader, client: socket.socket, server: _Server) -> bool:
        """Pass on one request; False when the connection ends with it."""
        method, path = head.split(b" ", 2)[:2]
        weather = self.weather
        fault = self._draw(weather, method.decode("latin-1"), path.decode("latin-1"))
        time.sleep(weather.latency_s / 2)
        if weather.is_down or fault == "reset_before":
            raise _Reset
        if fault == "black_hole":
            self._wait_for_other(weather)
            raise _Reset
        if fault in ("too_many", "error", "unavailable"):
            for _ in reader.body(head, is_answer=False):
                pass
            time.sleep(weather.latency_s / 2)
            client.sendall(_refusal(fault, weather))
            return True
        try:
            self._send_request(head, reader, server, is_cut=fault == "reset_in_body")
            answer = server.reader.head()
        except OSError:
            answer = b""
        if not answer:
            self._count("refused")
            raise _Reset
        return self._send_answer(method, answer, client, server, fault)

    def _send_request(self, head: bytes, reader: _Reader, server: _Server, *, is_cut: bool) -> None:
        server.connect()
        if is_cut and _length(head) is None:
            raise _Reset
        server.send(head)
        left = (_length(head) or 0) // 2 if is_cut else None
        for piece in reader.body(head, is_answer=False):
            if left is not None:
                piece = piece[:left]
                left -= len(piece)
            self._pace("up", len(piece))
            server.send(piece)
            if left == 0:
                break
        if is_cut:
            raise _Reset

    def _send_answer(
        self, method: bytes, head: bytes, client: socket.socket, server: _Server, fault: str
    ) -> bool:
        status = head.split(b" ", 2)[1]
        is_bare = method == b"HEAD" or status in (b"204", b"304")
        pieces = iter(()) if is_bare else server.reader.body(head, is_answer=True)
        if fault in ("reset_after", "half_answer"):
            whole = head + b"".join(pieces)
            if fault == "half_answer":
                time.sleep(self.weather.latency_s / 2)
                client.sendall(whole[: max(1, len(whole) // 2)])
            raise _Reset
        time.sleep(self.weather.latency_s / 2)
        client.sendall(head)
        for piece in pieces:
            self._pace("down", len(piece))
            client.sendall(piece)
        ends = b"connection: close" in head.lower()
        return not ends and (is_bare or _length(head) is not None or _is_chunked(head))

    # Weather.

    def _draw(self, weather: Weather, method: str, path: str) -> str:
        with self._lock:
            self.counts["requests"] += 1
            fault = self._chosen(weather, method, path)
            self.counts[fault] += 1
            return fault

    def _chosen(self, weather: Weather, method: str, path: str) -> str:
        if weather.is_down:
            return "is_down"
        if weather.only is not None and not weather.only(method, path):
            return "passed"
        chance = self._random.random()
        for fault in _FAULTS:
            probability = getattr(weather, fault)
            if chance < probability:
                return fault
            chance -= probability
        return "passed"

    def _count(self, name: str) -> None:
        with self._lock:
            self.counts[name] += 1

    def _wait_for_other(self, weather: Weather) -> None:
        while self.weather is weather and not self._stopping.wait(_LOOK_S):
            pass

    def _pace(self, way: str, count: int) -> None:
        """Wait until so many bytes are through; connections share the bandwidth."""
        bandwidth = self.weather.bandwidth_bytes_per_s
        if bandwidth is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at[way] = max(now, self._free_at[way]) + count / bandwidth
            wait_s = self._free_at[way] - now
        time.sleep(wait_s)


class _Server:
    """The proxy's own connection to the server, made at the first request and again when it was closed."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._socket: socket.socket | None = None
        self.reader = _Reader(None)

    def connect(self) -> None:
        if self._socket is not None and select.select([self._socket], [], [], 0)[0]:
            self.close()  # the server has closed it meanwhile
        if self._socket is None:
            self._socket = socket.create_connection(self._target, timeout=CONNECT_S)
            self._socket.settimeout(None)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.reader = _Reader(self._socket)

    def send(self, data: bytes) -> None:
        assert self._socket is not None
        self._socket.sendall(data)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Reader:
    """Heads and bodies of HTTP/1.1 as raw bytes from one side of a connection."""

    def __init__(self, connection: socket.socket | None) -> None:
        self._connection = connection
        self._buffer = b""

    def head(self) -> bytes:
        """Return everything up to the empty line, with it; empty bytes when the connection has ended."""
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > HEAD_BYTES_MAX or not self._more():
                return b""
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def body(self, head: bytes, *, is_answer: bool) -> Iterator[bytes]:
        """Iterate over the bytes that follow a head, as they come.

        Raises:
            OSError: The connection ended too early.
        """
        if _is_chunked(head):
            yield from self._chunks()
        elif (length := _length(head)) is not None:
            yield from self._exactly(length)
        elif is_answer:  # up to the end of the connection
            while self._buffer or self._more():
                piece, self._buffer = self._buffer, b""
                yield piece

    def _chunks(self) -> Iterator[bytes]:
        while True:
            line = self._line()
            yield line
            size = int(line.split(b";")[0], 16)
            if not size:
                break
            yield from self._exactly(size + 2)
        while (line := self._line()) != b"\r\n":
            yield line
        yield line

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._demand()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line + b"\r\n"

    def _exactly(self, count: int) -> Iterator[bytes]:
        while count:
            if not self._buffer:
                self._demand()
            piece, self._buffer = self._buffer[:count], self._buffer[count:]
            count -= len(piece)
            yield piece

    def _demand(self) -> None:
        if not self._more():
            raise ConnectionResetError("the connection ended in the middle of a body")

    def _more(self) -> bool:
        assert self._connection is not None
        data = self._connection.recv(PIECE_BYTES)
        self._buffer += data
        return bool(data)


def _header(head: bytes, name: bytes) -> bytes | None:
    for line in head.split(b"\r\n")[1:]:
        found, _, value = line.partition(b":")
        if found.strip().lower() == name:
            return value.strip()
    return None


def _length(head: bytes) -> int | None:
    value = _header(head, b"content-length")
    return None if value is None else int(value)


def _is_chunked(head: bytes) -> bool:
    return b"chunked" in (_header(head, b"transfer-encoding") or b"").lower()


def _refusal(fault: str, weather: Weather) -> bytes:
    status = {"too_many": "429 Too Many Requests", "unavailable": "503 Service Unavailable"}
    lines = [f"HTTP/1.1 {status.get(fault, '500 Internal Server Error')}", "Content-Type: text/plain"]
    if weather.retry_after_s is not None and fault != "error":
        lines.append(f"Retry-After: {weather.retry_after_s:g}")
    body = "injected by the fault proxy"
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode()


def _reset(connection: socket.socket) -> None:
    """End a connection with a reset rather than in good order."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
