"""The port of an emulator: bodies in every form, answers in parts, and clients that take it for a proxy."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from trackbridge.testing.emulators.listener import Arrived, Listener, Sent

CALL_S = 30
LARGE = b"x" * 3_000_000


class Service:
    """Answers with what arrived; remembers it."""

    def __init__(self) -> None:
        self.arrived: list[Arrived] = []
        self.sent: Sent | None = None

    def answer(self, arrived: Arrived) -> Sent:
        self.arrived.append(arrived)
        return self.sent or Sent(200, {}, arrived.body)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def listener(service: Service) -> Iterator[Listener]:
    made = Listener(service.answer)
    yield made
    made.close()


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that says back what it was told, and then that the other side has ended."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            while data := connection.recv(1 << 16):
                connection.sendall(data)
            connection.sendall(b"the end")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()
    thread.join(CALL_S)
    listening.close()


def raw(listener: Listener, *parts: bytes) -> bytes:
    """Send bytes as they are; returns all that comes back until the connection ends."""
    with socket.create_connection(("127.0.0.1", listener.port), timeout=CALL_S) as connection:
        for part in parts:
            connection.sendall(part)
        connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    parts = []
    while data := connection.recv(1 << 16):
        parts.append(data)
    return b"".join(parts)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "PATCH", "DELETE"])
def test_a_body_arrives_whole_with_every_method(service: Service, listener: Listener, method: str) -> None:
    with closing(http.client.HTTPConnection(listener.host, timeout=CALL_S)) as connection:
        connection.request(method, "/a%20b?c=%2F", body=LARGE)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, LARGE)

    (arrived,) = service.arrived
    assert (arrived.method, arrived.target, arrived.is_tls) == (method, "/a%20b?c=%2F", False)


def test_a_connection_is_kept_for_the_next_request(service: Service, listener: Listener) -> None:
    with closing(http.client.HTTPConnection(listener.host, timeout=CALL_S)) as connection:
        for _ in range(3):
            connection.request("GET", "/")
            connection.getresponse().read()
            assert connection.sock is not None


def test_a_body_in_chunks_is_put_together(service: Service, listener: Listener) -> None:
    with closing(http.client.HTTPConnection(listener.host, timeout=CALL_S)) as connection:
        connection.request("PUT", "/", body=iter([b"one", b"", b"two" * 40_000]), encode_chunked=True)
        assert connection.getresponse().read() == b"one" + b"two" * 40_000


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: -1",
        b"Content-Length: 1e3",
        b"Content-Length: 99999999999999999",
        b"Transfer-Encoding: chunked\r\n\r\nnot a size",
    ],
)
def test_a_length_that_is_none_is_refused_and_the_connection_ends(
    service: Service, listener: Listener, head: bytes
) -> None:
    told = raw(listener, b"PUT / HTTP/1.1\r\nHost: h\r\n" + head + b"\r\n\r\n")

    assert told.startswith(b"HTTP/1.1 400 ")
    assert service.arrived == []


def test_a_client_that_waits_for_leave_is_told_at_once(service: Service, listener: Listener) -> None:
    with socket.create_connection(("127.0.0.1", listener.port), timeout=CALL_S) as connection:
        connection.sendall(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"yes")
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection).endswith(b"yes")


def test_parts_are_sent_as_they_come(service: Service, listener: Listener) -> None:
    has_read = threading.Event()

    def parts() -> Iterator[bytes]:
        yield b"first"
        assert has_read.wait(CALL_S)
        yield b"second"

    service.sent = Sent(200, {}, parts())
    with closing(http.client.HTTPConnection(listener.host, timeout=CALL_S)) as connection:
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.read(5) == b"first"
        has_read.set()
        assert answer.read() == b"second"


def test_head_has_the_length_and_no_body(service: Service, listener: Listener) -> None:
    service.sent = Sent(200, {}, b"body")
    with closing(http.client.HTTPConnection(listener.host, timeout=CALL_S)) as connection:
        for _ in range(2):
            connection.request("HEAD", "/")
            answer = connection.getresponse()
            assert (answer.read(), answer.headers["Content-Length"]) == (b"", "4")


def test_what_is_closed_answers_nobody_who_kept_his_connection(service: Service) -> None:
    listener = Listener(service.answer)
    with closing(http.client.HTTPConnection(listener.host, timeout=CALL_S)) as connection:
        connection.request("GET", "/")
        connection.getresponse().read()
        listener.close()
        with pytest.raises((OSError, http.client.HTTPException)):
            _ = connection.request("GET", "/") or connection.getresponse()
    assert len(service.arrived) == 1


def tunnelled(listener: Listener, place: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", listener.port), timeout=CALL_S)
    connection.sendall(b"CONNECT " + place + b" HTTP/1.1\r\nHost: " + place + b"\r\n\r\n")
    return connection


def test_a_proxy_leads_both_ways_and_ends_with_either_side(service: Service, echo: tuple[str, int]) -> None:
    asked: list[tuple[str, int]] = []

    def tunnel(host: str, port: int) -> tuple[str, int] | None:
        asked.append((host, port))
        return echo

    listener = Listener(service.answer, tunnel=tunnel)
    with closing(listener), tunnelled(listener, b"MANAGEMENT.azure.com:443") as connection:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        assert head.startswith(b"HTTP/1.1 200 ")
        sender = threading.Thread(target=lambda: (connection.sendall(LARGE), connection.shutdown(1)))
        sender.start()
        assert read_all(connection) == LARGE + b"the end"
        sender.join(CALL_S)

    assert asked == [("management.azure.com", 443)]
    assert service.arrived == []


@pytest.mark.parametrize(
    "place", [b"example.com:443", b"example.com", b"example.com:https", b":", b"[::1]:1"]
)
def test_a_proxy_refuses_where_it_does_not_lead(service: Service, place: bytes) -> None:
    listener = Listener(service.answer, tunnel=lambda host, port: None)
    with closing(listener), tunnelled(listener, place) as connection:
        assert read_all(connection).startswith(b"HTTP/1.1 403 ")


def test_what_is_no_proxy_leads_nowhere(listener: Listener, echo: tuple[str, int]) -> None:
    with tunnelled(listener, b"127.0.0.1:%d" % echo[1]) as connection:
        assert read_all(connection).startswith(b"HTTP/1.1 403 ")
    socket.create_connection(echo).close()


def test_a_proxy_that_finds_nobody_there_says_so(service: Service) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        place = free.getsockname()
    listener = Listener(service.answer, tunnel=lambda host, port: place)
    with closing(listener), tunnelled(listener, b"a.blob.core.windows.net:443") as connection:
        assert read_all(connection).startswith(b"HTTP/1.1 502 ")
