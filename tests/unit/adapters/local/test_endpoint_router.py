"""The router with servers that misbehave, and clients that do."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.endpoints import wait_until
from trackbridge_adapters.local import endpoint_front
from trackbridge_adapters.local.endpoint_front import Door, Front
from trackbridge_adapters.local.endpoint_router import Router
from trackbridge_adapters.local.endpoint_routes import Route, Routes
from trackbridge_adapters.local.endpoint_telemetry import Telemetry

TOKEN = "correct-token"
BODY_BYTES_MAX = 100_000
GREETING = (
    b"POST /invocations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer correct-token\r\n"
    b"Content-Type: application/json\r\n"
)


class FakeServer:
    """A server that answers its name, or does what a test says; it keeps what it was sent."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.answer: Callable[[], bytes | None] = self.own_name
        self.hangs = False
        self.server: asyncio.AbstractServer | None = None
        self.talking: set[asyncio.StreamWriter] = set()

    def own_name(self) -> bytes:
        body = json.dumps(self.name).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    async def start(self) -> None:
        self.server = await asyncio.start_unix_server(self.talk, str(self.path))

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        self.path.unlink(missing_ok=True)
        while self.talking:  # who had connected may begin to talk only now
            for writer in self.talking:
                writer.transport.abort()
            await asyncio.sleep(0.001)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.talking.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.partition(b":")[2])
                    for line in head.lower().splitlines()
                    if line.startswith(b"content-length:")
                )
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(length))
                while self.hangs:
                    await asyncio.sleep(0.01)
                answer = self.answer()
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.talking.discard(writer)
            writer.close()


class Rig:
    """A router in a thread, with two servers behind it."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.telemetry = Telemetry()
        self.servers = {name: FakeServer(folder / name, name) for name in ("v1", "v2")}
        self.do(self._start())

    async def _start(self) -> None:
        for server in self.servers.values():
            await server.start()
        self.router = Router(self.telemetry)
        self.door = Door(TOKEN.encode(), self.router.respond, lambda: self.router.routes.body_bytes_max)
        self.server = await self.loop.create_server(lambda: Front(self.door), "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    def do(self, action: object) -> None:
        asyncio.run_coroutine_threadsafe(action, self.loop).result(30)  # type: ignore[arg-type]

    def route(self, traffic: dict[str, int], mirror: dict[str, int] | None = None, **fields: object) -> None:
        about = {"timeout_s": 5.0, "body_bytes_max": BODY_BYTES_MAX, "has_failed": False, **fields}
        routes = {
            name: Route(deployment=name, socket=str(server.path), **about)  # type: ignore[arg-type]
            for name, server in self.servers.items()
        }

        async def take_over() -> None:
            self.router.take_over(Routes(routes, traffic=traffic, mirror=mirror or {}))

        self.do(take_over())

    def close(self) -> None:
        async def end() -> None:
            self.server.close()
            self.door.close()
            for server in self.servers.values():
                server.hangs = False
                await server.stop()
            self.router.take_over(Routes({}, traffic={}, mirror={}))
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.001)

        self.do(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def raw(self, *pieces: bytes, pause_s: float = 0.0) -> bytes:
        """Send bytes, and return all that is answered until the connection is closed."""
        with self.connect() as client:
            for piece in pieces:
                try:
                    client.sendall(piece)
                except ConnectionError:
                    break
                if pause_s:
                    threading.Event().wait(pause_s)
            return read_all(client)

    def post(self, body: bytes = b"[1]", *headers: bytes, path: bytes = b"/invocations") -> bytes:
        head = GREETING.replace(b"/invocations", path)
        extra = b"".join(header + b"\r\n" for header in (*headers, b"Connection: close"))
        return self.raw(head + extra + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    def counted(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for (deployment, _), figures in self.telemetry.take().items():
            for field in ("requests", "errors", "refused", "mirrored"):
                found[f"{deployment} {field}"] += getattr(figures, field)
        return found


def read_all(client: socket.socket) -> bytes:
    pieces = []
    while True:
        try:
            piece = client.recv(65536)
        except ConnectionError:
            break
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(endpoint_front, "LINGER_S", 0.05)
    folder = Path(tempfile.mkdtemp(prefix="router"))  # pytest's own folders are too long for sockets
    rig = Rig(folder)
    rig.route({"v1": 100})
    yield rig
    rig.close()
    shutil.rmtree(folder)


# Passing on.


def test_an_answer_comes_back_with_the_name_of_its_deployment(rig: Rig) -> None:
    answer = rig.post()
    assert status(answer) == 200
    assert b"\r\nbridge-deployment: v1\r\n" in answer
    assert body(answer) == b'"v1"'
    assert rig.servers["v1"].bodies == [b"[1]"]


def test_shares_are_exact_over_a_hundred_requests(rig: Rig) -> None:
    rig.route({"v1": 67, "v2": 33})
    assert Counter(body(rig.post()) for _ in range(100)) == {b'"v1"': 67, b'"v2"': 33}


def test_a_named_deployment_answers(rig: Rig) -> None:
    assert body(rig.post(b"1", b"Bridge-Deployment: v2")) == b'"v2"'
    assert status(rig.post(b"1", b"Bridge-Deployment: v3")) == 404


def test_the_token_stays_here_and_trace_headers_go_on(rig: Rig) -> None:
    rig.post(b"1", b"traceparent: 00-abc-def-01", b"X-Request-Id: 7", b"X-Hop: 1", b"TE: trailers")
    (head,) = rig.servers["v1"].heads
    assert b"traceparent: 00-abc-def-01\r\n" in head
    assert b"x-request-id: 7\r\n" in head
    assert TOKEN.encode() not in head
    assert b"\r\nte:" not in head
    assert b"\r\nconnection:" not in head


def test_what_connection_names_is_not_passed_on(rig: Rig) -> None:
    rig.raw(GREETING + b"Connection: close, X-Secret\r\nX-Secret: 1\r\nContent-Length: 1\r\n\r\n1")
    assert b"x-secret" not in rig.servers["v1"].heads[0]


def test_a_connection_is_used_again(rig: Rig) -> None:
    request = GREETING + b"Content-Length: 1\r\n\r\n1"
    with rig.connect() as client:
        for _ in range(3):
            client.sendall(request)
            assert b'"v1"' in client.recv(65536)
        client.sendall(request * 3)  # without waiting for the answers
        received = b""
        while received.count(b'"v1"') < 3:
            received += client.recv(65536)


def test_a_chunked_request_is_passed_on_whole(rig: Rig) -> None:
    head = GREETING + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert status(rig.raw(head, b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")) == 200
    assert rig.servers["v1"].bodies == [b"abcde"]


def test_a_chunked_answer_is_passed_on_whole(rig: Rig) -> None:
    rig.servers["v1"].answer = lambda: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    )
    answer = rig.post()
    assert body(answer) == b"abc"
    assert b"transfer-encoding" not in answer.lower()


def test_the_head_alone(rig: Rig) -> None:
    head = GREETING.replace(b"POST", b"HEAD") + b"Connection: close\r\n\r\n"
    answer = rig.raw(head)
    assert (status(answer), body(answer)) == (200, b"")
    assert rig.servers["v1"].heads[0].startswith(b"GET ")


def test_a_client_that_waits_for_100_is_told_to_continue(rig: Rig) -> None:
    head = GREETING + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 3\r\n\r\n"
    with rig.connect() as client:
        client.sendall(head)
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"abc")
        assert status(read_all(client)) == 200


@pytest.mark.parametrize("code", [400, 404, 413, 429, 500, 503])
def test_a_servers_refusal_is_passed_on(rig: Rig, code: int) -> None:
    rig.servers["v1"].answer = lambda: (
        b"HTTP/1.1 %d X\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno" % code
    )
    answer = rig.post()
    assert (status(answer), body(answer)) == (code, b"no")
    assert b"\r\nretry-after: 7\r\n" in answer
    kind = "errors" if code >= 500 else "refused"
    assert rig.counted()[f"v1 {kind}"] == 1


def test_ping_needs_no_token(rig: Rig) -> None:
    assert status(rig.raw(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == 200
    rig.route({})
    assert status(rig.raw(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == 503
    assert status(rig.post()) == 503


# Servers that go away.


def test_a_request_waits_while_its_server_is_started_again(rig: Rig) -> None:
    server = rig.servers["v1"]
    assert status(rig.post()) == 200
    rig.do(server.stop())
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(rig.post) for _ in range(8)]
        threading.Event().wait(0.2)
        assert not any(answer.done() for answer in answers)
        rig.do(server.start())
        assert {status(answer.result()) for answer in answers} == {200}


def test_nobody_waits_for_a_server_that_has_failed(rig: Rig) -> None:
    rig.route({"v1": 100}, has_failed=True, timeout_s=600.0)
    rig.do(rig.servers["v1"].stop())
    answer = rig.post()
    assert status(answer) == 503
    assert b"\r\nretry-after: 1\r\n" in answer
    rig.do(rig.servers["v1"].start())


def test_a_request_that_was_sent_is_not_sent_again(rig: Rig) -> None:
    rig.servers["v1"].answer = lambda: None
    assert status(rig.post()) == 502
    assert len(rig.servers["v1"].bodies) == 1
    assert rig.counted()["v1 errors"] == 1


def test_an_answer_that_is_no_http(rig: Rig) -> None:
    rig.servers["v1"].answer = lambda: b"nonsense\r\n\r\n"
    assert status(rig.post()) == 502


def test_a_server_that_does_not_answer(rig: Rig) -> None:
    rig.route({"v1": 100}, timeout_s=0.2)
    rig.servers["v1"].hangs = True
    assert status(rig.post()) == 504
    rig.servers["v1"].hangs = False
    rig.route({"v1": 100})
    assert status(rig.post()) == 200


def test_a_replaced_server_answers_what_it_has_begun(rig: Rig) -> None:
    old = rig.servers["v1"]
    old.hangs = True
    with ThreadPoolExecutor() as pool:
        begun = pool.submit(rig.post)
        wait_until(lambda: bool(old.bodies), "the request at the old server")
        rig.servers["v1"] = FakeServer(old.path.with_name("v1-new"), "new")
        rig.do(rig.servers["v1"].start())
        rig.route({"v1": 100})
        assert body(rig.post()) == b'"new"'
        old.hangs = False
        assert body(begun.result()) == b'"v1"'
    rig.do(old.stop())


def test_a_waiting_request_goes_to_the_server_that_took_over(rig: Rig) -> None:
    rig.do(rig.servers["v1"].stop())
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(rig.post)
        threading.Event().wait(0.1)
        rig.servers["v1"] = FakeServer(rig.servers["v1"].path.with_name("v1-new"), "new")
        rig.do(rig.servers["v1"].start())
        rig.route({"v1": 100})
        assert body(waiting.result()) == b'"new"'


# Mirrors.


def test_a_mirror_gets_its_share_of_copies(rig: Rig) -> None:
    rig.route({"v1": 100}, {"v2": 25})
    assert {body(rig.post()) for _ in range(40)} == {b'"v1"'}
    wait_until(lambda: len(rig.servers["v2"].bodies) == 10, "the copies")
    counted = rig.counted()
    assert (counted["v1 requests"], counted["v2 requests"], counted["v2 mirrored"]) == (40, 0, 10)


@pytest.mark.parametrize("trouble", ["hangs", "dies", "is away"])
def test_a_mirror_in_trouble_changes_nothing(rig: Rig, trouble: str) -> None:
    mirror = rig.servers["v2"]
    mirror.hangs = trouble == "hangs"
    if trouble == "dies":
        mirror.answer = lambda: None
    if trouble == "is away":
        rig.do(mirror.stop())
    rig.route({"v1": 100}, {"v2": 100})
    assert {body(rig.post()) for _ in range(100)} == {b'"v1"'}
    assert rig.counted()["v1 errors"] == 0
    if trouble == "is away":
        rig.do(mirror.start())


def test_copies_under_way_are_bounded(rig: Rig) -> None:
    rig.servers["v2"].hangs = True
    rig.route({"v1": 100}, {"v2": 100})
    for _ in range(60):
        rig.post()
    assert len(rig.servers["v2"].bodies) <= 32
    assert rig.counted()["v2 mirrored"] <= 32


# Clients that misbehave.


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Authorization: Bearer wrong\r\n",
        b"Authorization: Bearer \r\n",
        b"Authorization: Basic correct-token\r\n",
        b"Authorization: correct-token\r\n",
        b"Authorization: Bearer correct-tokencorrect-token\r\n",
        b"Authorization: Bearer wr\xc3\xb6ng\r\n",
        b"Authorization: Bearer wrong\r\nAuthorization: Bearer correct-token\r\n",
    ],
)
@pytest.mark.parametrize("path", [b"/invocations", b"/metrics", b"/ping/../invocations", b"//ping"])
def test_without_the_token_nothing_is_passed_on(rig: Rig, path: bytes, header: bytes) -> None:
    answer = rig.raw(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + header + b"Content-Length: 1\r\n\r\n1")
    assert status(answer) == 401
    assert TOKEN.encode() not in answer
    assert rig.servers["v1"].heads == []


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: 3, 4\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 0x3\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Transfer-Encoding: identity, chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"X: a\rContent-Length: 3\r\n",
        b"X\0: 1\r\n",
        b"X: \0\r\n",
        b"No colon\r\n",
    ],
)
def test_a_request_of_unclear_length_is_refused(rig: Rig, headers: bytes) -> None:
    smuggled = GREETING + b"X-Smuggled: 1\r\nContent-Length: 1\r\n\r\n1"
    answer = rig.raw(GREETING + headers + b"\r\n0\r\n\r\n" + smuggled)
    assert status(answer) in (400, 413)
    assert answer.count(b"HTTP/1.1 ") == 1, "nothing after it is answered"
    assert rig.servers["v1"].heads == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"\0" * 1000,
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        GREETING.replace(b"POST", b"DELETE") + b"\r\n",
    ],
)
def test_what_is_no_request_is_refused(rig: Rig, garbage: bytes) -> None:
    assert status(rig.raw(garbage)) in (400, 401, 405)
    assert status(rig.post()) == 200


def test_another_protocol_is_not_spoken(rig: Rig) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n"
    answer = rig.raw(GREETING + upgrade + GREETING + b"Content-Length: 1\r\n\r\n1")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nconnection: close\r\n" in answer
    assert len(rig.servers["v1"].heads) <= 1


def test_a_huge_head_is_refused(rig: Rig) -> None:
    for request in (
        GREETING + b"X: " + b"a" * 200_000,
        GREETING + b"".join(b"X-%d: 1\r\n" % number for number in range(1000)) + b"\r\n",
        b"GET /" + b"a" * 200_000,
        GREETING + b"X: " + b"a" * 40_000 + b"\r\nContent-Length: 0\r\n\r\n",
    ):
        assert status(rig.raw(request)) == 431
    assert rig.servers["v1"].heads == []


def test_a_huge_body_is_refused_before_it_is_read(rig: Rig) -> None:
    assert status(rig.raw(GREETING + b"Content-Length: 1000000000\r\n\r\n")) == 413
    head = GREETING + b"Transfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    assert status(rig.raw(head, *[chunk] * 4)) == 413
    assert status(rig.post(b"a" * BODY_BYTES_MAX)) == 200
    assert rig.servers["v1"].bodies == [b"a" * BODY_BYTES_MAX]


def test_slow_clients_are_shown_the_door(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_front, "HEAD_TIMEOUT_S", 0.2)
    monkeypatch.setattr(endpoint_front, "BODY_TIMEOUT_S", 0.2)
    assert rig.raw() == b"", "a connection on which nothing comes is closed"
    drops = [bytes([byte]) for byte in GREETING]
    assert status(rig.raw(*drops, pause_s=0.02)) == 408
    assert status(rig.raw(GREETING + b"Content-Length: 10\r\n\r\n1")) == 408
    assert status(rig.post()) == 200


def test_a_client_that_leaves_is_no_error(rig: Rig) -> None:
    rig.servers["v1"].hangs = True
    with rig.connect() as client:
        client.sendall(GREETING + b"Content-Length: 1\r\n\r\n1")
        wait_until(lambda: bool(rig.servers["v1"].bodies), "the request")
    rig.servers["v1"].hangs = False
    assert status(rig.post()) == 200
    wait_until(lambda: rig.router.in_flight == 0, "the end of the request")
    assert rig.counted()["v1 errors"] == 0


def test_a_client_that_does_not_read_holds_up_nobody(rig: Rig) -> None:
    large = b"x" * 4_000_000
    rig.servers["v1"].answer = lambda: (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(large), large)
    )
    with rig.connect() as lazy:
        lazy.sendall((GREETING + b"Content-Length: 1\r\n\r\n1") * 5)
        wait_until(lambda: bool(rig.servers["v1"].bodies), "the request")
        rig.servers["v2"].answer = rig.servers["v2"].own_name
        rig.route({"v1": 0, "v2": 100})
        assert body(rig.post()) == b'"v2"'
    assert len(rig.servers["v1"].bodies) <= 2, "what it did not read was not asked for"


def test_too_many_connections_are_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_front, "CONNECTIONS_MAX", 3)
    clients = [rig.connect() for _ in range(3)]
    wait_until(lambda: len(rig.door.open) == 3, "the connections")
    assert status(rig.raw()) == 503
    for client in clients:
        client.close()
    wait_until(lambda: not rig.door.open, "their end")
    assert status(rig.post()) == 200


def test_many_clients_at_once(rig: Rig) -> None:
    rig.route({"v1": 50, "v2": 50})
    with ThreadPoolExecutor(16) as pool:
        answers = [body(answer) for answer in pool.map(lambda _: rig.post(), range(400))]
    assert Counter(answers) == {b'"v1"': 200, b'"v2"': 200}
    counted = rig.counted()
    assert counted["v1 requests"] + counted["v2 requests"] == 400


def test_draining_lets_begun_requests_end(rig: Rig) -> None:
    rig.servers["v1"].hangs = True
    with ThreadPoolExecutor() as pool:
        begun = pool.submit(rig.post)
        wait_until(lambda: bool(rig.servers["v1"].bodies), "the request")

        async def end() -> None:
            rig.server.close()
            rig.door.close()

        rig.do(end())
        draining = asyncio.run_coroutine_threadsafe(rig.router.drain(20), rig.loop)
        time.sleep(0.05)
        assert not draining.done()
        rig.servers["v1"].hangs = False
        assert status(begun.result()) == 200
        draining.result(20)
