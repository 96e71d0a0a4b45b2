"""Many connections to an HTTP server at once, from one thread: each sends its next request when answered.

What is measured is the server, as far as two programs on one machine allow. Nothing is asked of the sockets
that an ordinary client would not ask: no quick acknowledgements.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CONNECT_S = 30.0
ANSWER_S = 120.0


@dataclass
class Load:
    """What came of it: seconds of each request that succeeded, failures by their text, how long it took."""

    taken_s: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    elapsed_s: float = 0.0

    @property
    def rate(self) -> float:
        """Requests that succeeded, a second."""
        return len(self.taken_s) / self.elapsed_s

    def percentile_ms(self, percent: float) -> float:
        """Return the time that so many percent of the answers took at most."""
        in_order = sorted(self.taken_s)
        return in_order[min(len(in_order) - 1, int(len(in_order) * percent / 100))] * 1000


class _Connection:
    """One client: a socket, its request on the way, and what came of the answer so far."""

    def __init__(self, address: tuple[str, int], number: int) -> None:
        self.address = address
        self.number = number
        self.sent = 0
        self.request = b""
        self.began = 0.0
        self.received = b""
        self.whole = -1
        self.socket = self._connected()

    def _connected(self) -> socket.socket:
        made = socket.create_connection(self.address, timeout=CONNECT_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.settimeout(ANSWER_S)
        return made

    def connect_again(self) -> None:
        """Send the last request again on a new connection, as clients do when theirs was closed."""
        self.socket.close()
        self.socket = self._connected()
        self.sent -= 1
        self.send(self.request)

    def send(self, request: bytes) -> None:
        """Send a request whole."""
        self.request = request
        self.received, self.whole, self.began = b"", -1, time.perf_counter()
        self.sent += 1
        self.socket.sendall(request)

    def take(self) -> str | None:
        """Take what has come; return the status line once the answer is whole."""
        part = self.socket.recv(1 << 18)
        if not part:
            raise ConnectionError("the server has closed the connection")
        self.received += part
        if self.whole < 0:
            head, ended, _ = self.received.partition(b"\r\n\r\n")
            if not ended:
                return None
            self.whole = len(head) + 4 + _content_length(head)
        if len(self.received) < self.whole:
            return None
        return self.received[: self.received.index(b"\r\n")].decode()


def run(
    url: str, request_of: Callable[[int, int], bytes], *, connections: int, seconds: float, count: int = 0
) -> Load:
    """Load a server.

    Args:
        url: The server.
        request_of: Returns the bytes of the request of a connection, by its number and how many it has sent.
        connections: How many.
        seconds: For how long requests are begun.
        count: How many requests are made altogether; 0 for as many as the time allows.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None
    address = (parts.hostname, parts.port or 80)
    selector = selectors.DefaultSelector()
    clients = [_Connection(address, number) for number in range(connections)]
    found, begun, under_way = Load(), 0, 0
    start = time.perf_counter()
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.send(request_of(client.number, client.sent))
        begun, under_way = begun + 1, under_way + 1
    while under_way:
        ready = selector.select(ANSWER_S)
        if not ready:
            found.failures["no answer"] = under_way
            break
        for key, _ in ready:
            client = key.data
            try:
                status = client.take()
            except OSError as error:
                _count(found, f"{type(error).__name__}: {error}")
                selector.unregister(client.socket)
                client.connect_again()
                selector.register(client.socket, selectors.EVENT_READ, client)
                continue
            if status is None:
                continue
            now = time.perf_counter()
            if " 200 " in f"{status} ":
                found.taken_s.append(now - client.began)
            else:
                _count(found, client.received[-300:].decode(errors="replace"))
            if now - start < seconds and (count == 0 or begun < count):
                client.send(request_of(client.number, client.sent))
                begun += 1
            else:
                under_way -= 1
    found.elapsed_s = time.perf_counter() - start
    for client in clients:
        client.socket.close()
    return found


def request(method: str, url: str, path: str, body: bytes = b"") -> bytes:
    """Return the bytes of a request with a JSON body."""
    host = urlsplit(url).netloc
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _count(found: Load, failure: str) -> None:
    found.failures[failure] = found.failures.get(failure, 0) + 1
