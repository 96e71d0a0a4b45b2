"""The fault proxy passes everything on as it is, and makes the weather that it was told."""

from __future__ import annotations

import hashlib
import http.client
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import requests

from trackbridge.testing.emulators import fault_proxy
from trackbridge.testing.emulators.fault_proxy import FaultProxy, Weather


class Echo(BaseHTTPRequestHandler):
    """Answers with what came, and counts it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    got: list[bytes]

    def do_POST(self) -> None:
        body = self._chunked() if self.headers.get("Transfer-Encoding") else self._plain()
        self.got.append(body)
        self._answer(body)

    def do_GET(self) -> None:
        if self.path == "/chunks":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n")
        elif self.path == "/until-end":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"z" * 300_000)
            self.close_connection = True
        else:
            self._answer(self.headers["Host"].encode())

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "12345")
        self.end_headers()

    def do_DELETE(self) -> None:
        self.send_response(204)
        self.end_headers()

    def _plain(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _chunked(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().strip(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def got() -> list[bytes]:
    return []


@pytest.fixture
def proxy(got: list[bytes]) -> Iterator[FaultProxy]:
    handler = type("Handler", (Echo,), {"got": got})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with FaultProxy(f"http://127.0.0.1:{server.server_address[1]}") as proxy:
            yield proxy
        server.shutdown()
        thread.join()


BODY = bytes(range(256)) * 2000


def test_good_weather_changes_nothing(proxy: FaultProxy, got: list[bytes]) -> None:
    with requests.Session() as session:
        for _ in range(3):
            assert session.post(proxy.url, data=BODY).content == BODY
        assert session.post(proxy.url, data=iter([BODY, b"more"])).content == BODY + b"more"
        assert session.get(f"{proxy.url}/chunks").content == b"abcdefg"
        assert session.head(proxy.url).headers["Content-Length"] == "12345"
        assert session.delete(proxy.url).status_code == 204
        assert session.get(f"{proxy.url}/until-end").content == b"z" * 300_000
        assert session.get(proxy.url).text == proxy.url.removeprefix("http://")
    assert got == [BODY, BODY, BODY, BODY + b"more"]
    assert proxy.counts == {"requests": 9, "passed": 9}


@pytest.mark.parametrize(
    ("fault", "arrives"),
    [("reset_before", False), ("reset_in_body", False), ("reset_after", True), ("half_answer", True)],
)
def test_broken_connections(proxy: FaultProxy, got: list[bytes], fault: str, arrives: bool) -> None:
    proxy.weather = Weather(**{fault: 1.0})  # type: ignore[arg-type]
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        requests.post(proxy.url, data=BODY, timeout=20)
    deadline = time.monotonic() + 10
    while arrives and not got and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [body for body in got if body == BODY] == ([BODY] if arrives else [])
    assert proxy.counts[fault] == 1
    proxy.weather = Weather()
    assert requests.post(proxy.url, data=b"x", timeout=20).content == b"x"


@pytest.mark.parametrize(
    ("fault", "status", "asks"), [("too_many", 429, True), ("error", 500, False), ("unavailable", 503, True)]
)
def test_refusals_keep_the_connection(
    proxy: FaultProxy, got: list[bytes], fault: str, status: int, asks: bool
) -> None:
    proxy.weather = Weather(**{fault: 1.0}, retry_after_s=1.5)  # type: ignore[arg-type]
    with requests.Session() as session:
        answer = session.post(proxy.url, data=BODY)
        assert (answer.status_code, answer.headers.get("Retry-After")) == (status, "1.5" if asks else None)
        proxy.weather = Weather()
        assert session.post(proxy.url, data=b"x").content == b"x"
    assert got == [b"x"]


def test_a_black_hole_answers_nothing_until_the_weather_changes(proxy: FaultProxy, got: list[bytes]) -> None:
    proxy.weather = Weather(black_hole=1.0)
    with pytest.raises(requests.ReadTimeout):
        requests.post(proxy.url, data=b"x", timeout=0.2)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(requests.post, proxy.url, data=b"x", timeout=20)
        while proxy.counts["black_hole"] < 2:
            time.sleep(0.01)
        proxy.weather = Weather()
        with pytest.raises(requests.ConnectionError):
            waiting.result()
    assert got == []


def test_a_server_that_is_down(proxy: FaultProxy) -> None:
    with requests.Session() as session:
        session.get(proxy.url)
        proxy.weather = Weather(is_down=True)
        for _ in range(2):
            with pytest.raises(requests.ConnectionError):
                session.get(proxy.url)


def test_a_target_that_is_not_there() -> None:
    with FaultProxy("http://127.0.0.1:1") as proxy:
        with pytest.raises(requests.ConnectionError):
            requests.get(proxy.url, timeout=20)
        assert proxy.counts["refused"] == 1


def test_only_some_requests_fail(proxy: FaultProxy) -> None:
    proxy.weather = Weather(error=1.0, only=lambda method, path: path.endswith("/bad"))
    assert requests.get(f"{proxy.url}/good", timeout=20).status_code == 200
    assert requests.get(f"{proxy.url}/bad", timeout=20).status_code == 500


def test_latency_is_not_shared(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight connections wait at the same time: none of them until another has its answer."""
    together, waits = threading.Barrier(8), []

    def sleep(wait_s: float) -> None:
        waits.append(wait_s)
        together.wait(60)  # breaks, and the answers with it, unless all eight are waiting

    monkeypatch.setattr(fault_proxy, "time", SimpleNamespace(sleep=sleep))
    proxy.weather = Weather(latency_s=2.0)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: hashlib.sha256(_post(proxy)).digest(), range(8)))
    assert answers == [hashlib.sha256(BODY).digest()] * 8
    assert waits == [1.0] * 16, "half of it each way"


def _post(proxy: FaultProxy) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    connection.request("POST", "/", BODY)
    return connection.getresponse().read()


def test_bandwidth_is_shared(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that stands still, the last piece of a second connection waits for both bodies."""
    waits: list[float] = []
    monkeypatch.setattr(fault_proxy, "time", SimpleNamespace(sleep=waits.append, monotonic=lambda: 0.0))
    proxy.weather = Weather(bandwidth_bytes_per_s=1_000_000)
    for _ in range(2):
        assert _post(proxy) == BODY
    assert max(waits) == pytest.approx(2 * len(BODY) / 1_000_000)


def test_the_same_seed_gives_the_same_weather(proxy: FaultProxy) -> None:
    seen = []
    for _ in range(2):
        with FaultProxy(f"http://127.0.0.1:{proxy.port}", Weather(error=0.5), seed=7) as other:
            seen.append([requests.get(other.url, timeout=20).status_code for _ in range(20)])
    assert seen[0] == seen[1]
    assert set(seen[0]) == {200, 500}


def test_probabilities_beyond_one_are_refused() -> None:
    with pytest.raises(ValueError, match="add up"):
        Weather(error=0.7, too_many=0.7)
