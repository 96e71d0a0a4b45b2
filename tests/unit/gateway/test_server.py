"""A gateway as a process: hostile and slow clients, bounds on connections, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.support.gateways import ServedGateway, gateway
from tests.support.processes import eventually
from trackbridge.gateway.protocol import UNTAKEN_MS_MAX, send_at_once
from trackbridge.gateway.routes import Scope
from trackbridge.gateway.tokens import TokenFile

CREATE = b"POST /api/2.0/mlflow/experiments/create HTTP/1.1\r\nHost: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
DEEP = b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

HOSTILE = {
    "two ways to end a body": (
        400,
        CREATE + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "two lengths": (400, CREATE + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"),
    "a length below nothing": (400, CREATE + b"Content-Length: -1\r\n\r\n"),
    "a length beyond numbers": (400, CREATE + b"Content-Length: 99999999999999999999999\r\n\r\n"),
    "a length beyond the bound": (
        413,
        CREATE + b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n",
    ),
    "a chunk of no size": (400, CREATE + JSON + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n"),
    "an unknown transfer encoding": (400, CREATE + JSON + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "a blank before a colon": (400, CREATE + JSON + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    "a folded header": (400, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n c\r\n\r\n"),
    "NUL in a header": (400, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: b\0c\r\n\r\n"),
    "CR in a header": (400, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: b\rc\r\n\r\n"),
    "NUL in a path": (400, b"GET /hea%00lth HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "CRLF in a path": (400, b"GET /a%0d%0aSet-Cookie:x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "a raw NUL in a path": (400, b"GET /hea\0lth HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "raw bytes in a path": (400, b"GET /hea\xff\xfelth HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "no UTF-8 in a path": (404, b"GET /%ff%ed%a0%80 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "an unknown method": (400, b"BREW /health HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "a method of others": (405, b"PROPFIND /health HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "a tunnel": (400, b"CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "HTTP/2": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "no host": (400, b"GET /openapi.json HTTP/1.1\r\n\r\n"),
    "two hosts": (400, b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"),
    "another's name": (403, b"GET /openapi.json HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
    "another's page": (403, CREATE + JSON + b"Origin: http://evil.example\r\nContent-Length: 2\r\n\r\n{}"),
    "a form": (400, CREATE + b"Content-Type: text/plain\r\nContent-Length: 12\r\n\r\n" + b'{"name":"x"}'),
    "a nesting without end": (400, CREATE + JSON + b"Content-Length: %d\r\n\r\n" % len(DEEP) + DEEP),
    "half a character": (400, CREATE + JSON + b"Content-Length: 17\r\n\r\n" + b'{"name":"\\ud800"}'),
    "one giant header": (
        431,
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 70_000 + b"\r\n\r\n",
    ),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedGateway]:
    folder = tmp_path_factory.mktemp("server")
    slow = ("--header-timeout", "1s", "--body-timeout", "1s")
    many = ("--connections", "20", "--connections-per-address", "5")  # but this machine's own are not counted
    with gateway(f"file:{folder}/store", home=folder / "home", arguments=(*slow, *many)) as made:
        yield made


def exchange(served: ServedGateway, request: bytes) -> bytes:
    """Send bytes; return the first answer, or what came before the connection was closed."""
    with closing(served.connect()) as connection:
        with suppress(ConnectionError):  # refused while we were still sending
            connection.sendall(request)
        received = b""
        with suppress(ConnectionError):
            while b"\r\n\r\n" not in received and (data := connection.recv(65536)):
                received += data
        return received


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_requests_are_refused(served: ServedGateway, name: str) -> None:
    status, request = HOSTILE[name]
    assert status_of(exchange(served, request)) == status


def test_a_head_without_end(served: ServedGateway) -> None:
    with closing(served.connect()) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        with suppress(ConnectionError):
            for _ in range(2000):
                connection.sendall(b"X-A: " + b"b" * 1000 + b"\r\n")
    assert served.metric('bridge_gateway_connections_refused_total{status="431"}') >= 1


def test_headers_behind_a_body(served: ServedGateway) -> None:
    request = CREATE + JSON + b'Transfer-Encoding: chunked\r\n\r\n11\r\n{"name":"behind"}\r\n0\r\n'
    assert status_of(exchange(served, request + b"X-A: b\r\n\r\n")) == 200
    with closing(served.connect()) as connection:
        connection.sendall(request)
        trailers = (b"X-A: " + b"b" * 1000 + b"\r\n") * 20_000
        with pytest.raises(ConnectionError):  # cut off, and nothing of it is kept
            connection.sendall(trailers)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /health HTTP/1.1\r\nHost: loc", 408),
        (CREATE + JSON + b"Content-Length: 100\r\n\r\n{", 408),
        (CREATE + JSON + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", 408),
    ],
)
def test_what_never_comes_is_not_waited_for(served: ServedGateway, request_: bytes, status: int) -> None:
    assert status_of(exchange(served, request_)) == status


def test_a_second_request_hidden_behind_the_first_is_one_of_its_own(served: ServedGateway) -> None:
    """Both are answered in order, each by its own rights: nothing is smuggled."""
    hidden = b"GET /openapi.json HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    two = b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n" + hidden
    with closing(served.connect()) as connection:
        connection.sendall(two)
        received = b""
        while data := connection.recv(65536):  # the refusal closes it
            received += data
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.count(b"HTTP/1.1 403 ") == 1


def test_one_connection_too_many_is_told_so(served: ServedGateway) -> None:
    opened = [served.connect() for _ in range(20)]
    try:
        for connection in opened:
            connection.sendall(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        with closing(served.connect()) as late:
            answer = late.recv(65536)
        assert status_of(answer) == 503
        assert b"retry-after: 1" in answer
    finally:
        for connection in opened:
            connection.close()
    eventually(lambda: b"200" in exchange(served, b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"))


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert not accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        send_at_once(accepted)
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        if sys.platform == "linux":
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == UNTAKEN_MS_MAX
    for pair in socket.socketpair():
        send_at_once(pair)  # has no such thing
        pair.close()


def test_an_answer_comes_in_one_piece(served: ServedGateway) -> None:
    """As one segment, so that nobody is woken twice."""
    path = b" /api/2.0/mlflow/experiments/get?experiment_id=0 HTTP/1.1\r\nHost: localhost\r\n"
    with closing(served.connect()) as connection:
        for _ in range(20):
            connection.sendall(b"GET" + path + b"\r\n")
            assert connection.recv(65536).endswith(b"}}")
        connection.sendall(b"HEAD" + path + b"\r\n")
        assert connection.recv(65536).endswith(b"\r\n\r\n")
        connection.sendall(b"GET" + path + b"Connection: close\r\n\r\n")
        assert connection.recv(65536).endswith(b"}}")
        assert connection.recv(65536) == b""


def test_nothing_failed_and_nothing_secret_is_in_the_log(served: ServedGateway) -> None:
    """After everything above."""
    token = "bridge_01234567_" + "s" * 43
    served.request(
        "GET", f"/nothing?token={token}", authorization=f"Bearer {token}", cookie=f"session={token}"
    )
    served.request("GET", f"/nothing/{token}", x_request_id=token)
    eventually(lambda: any(line["path"] == "/nothing" for line in served.access_lines()[-5:]))
    assert {line["status"] for line in served.access_lines()} & {500, 502, 504} == set()
    log = served.log()
    assert "Traceback" not in log
    assert "s" * 43 not in log


def test_it_takes_little_memory(served: ServedGateway) -> None:
    """After everything above; the most that it ever had."""
    told = Path(f"/proc/{served.process_id}/status").read_text()
    most = next(line for line in told.splitlines() if line.startswith("VmHWM"))
    assert int(most.split()[1]) < 250_000  # KiB


def test_what_is_not_needed_is_not_imported() -> None:
    """It is to be ready within two seconds."""
    heavy = ["mlflow", "pandas", "numpy", "boto3", "azure", "jinja2", "opentelemetry", "sqlalchemy", "rich"]
    program = (
        "import json, sys; import trackbridge.gateway.server, trackbridge.gateway.application\n"
        "from trackbridge.gateway.routes import all_routes; all_routes()\n"
        f"print(json.dumps([name for name in {heavy!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


# Its end.


def test_what_is_under_way_is_finished(tmp_path: Path) -> None:
    with gateway(f"file:{tmp_path}/store", home=tmp_path / "home") as made:
        body = b'{"name":"late"}'
        with closing(made.connect()) as connection:
            connection.sendall(CREATE + JSON + b"Content-Length: %d\r\n\r\n" % len(body) + body[:5])
            eventually(lambda: made.metric("bridge_gateway_in_flight ") >= 2)  # it, and the one that asks
            os.kill(made.process_id, signal.SIGTERM)
            eventually(lambda: "the server is ending" in made.log())
            connection.sendall(body[5:])
            answer = connection.recv(65536)
            assert status_of(answer) == 200
            assert b"connection: close" in answer
        code, summary = made.wait()
        assert (code, summary["type"], summary["pending"]) == (0, "summary", {})
        with pytest.raises(ConnectionError):
            made.connect()
        made.start()
        experiment = made.api("GET", "experiments/get-by-name?experiment_name=late")["experiment"]
        assert experiment["name"] == "late"


def test_a_second_signal_ends_it_at_once_and_what_was_answered_is_there(tmp_path: Path) -> None:
    with gateway(f"file:{tmp_path}/store", home=tmp_path / "home", arguments=("--drain", "1h")) as made:
        experiment = made.api("POST", "experiments/create", {"name": "x"})["experiment_id"]
        told = {"experiment_id": experiment, "start_time": 1}
        run = made.api("POST", "runs/create", told)["run"]["info"]["run_id"]
        with closing(made.connect()) as connection:
            connection.sendall(CREATE + JSON + b"Content-Length: 100\r\n\r\n{")  # never ends
            eventually(lambda: made.metric("bridge_gateway_in_flight ") >= 2)
            point = {"run_id": run, "key": "loss", "value": 0.5, "timestamp": 7, "step": 3}
            made.api("POST", "runs/log-metric", point)
            os.kill(made.process_id, signal.SIGINT)
            eventually(lambda: "the server is ending" in made.log())
            os.kill(made.process_id, signal.SIGTERM)
            code, _ = made.wait()
        assert code == 128 + signal.SIGTERM
        made.start()
        found = made.api("GET", f"runs/get?run_id={run}")["run"]
        assert found["info"]["status"] == "RUNNING"
        points = made.api("GET", f"metrics/get-history?run_id={run}&metric_key=loss")["metrics"]
        assert points == [{"key": "loss", "value": 0.5, "timestamp": 7, "step": 3}]


def test_what_a_backend_has_not_got_is_told_at_the_end(tmp_path: Path) -> None:
    uri = f"file:{tmp_path}/store"
    with gateway(uri, home=tmp_path / "home", arguments=("--drain", "1s")) as made:
        told = {"experiment_id": "0", "start_time": 1}
        run = made.api("POST", "runs/create", told)["run"]["info"]["run_id"]
        made.api("GET", f"runs/get?run_id={run}")
        with closing(sqlite3.connect(tmp_path / "store/store.db", isolation_level=None)) as store:
            store.execute("BEGIN IMMEDIATE")  # nobody else writes
            made.api("POST", "runs/log-metric", {"run_id": run, "key": "loss", "value": 1, "timestamp": 7})
            code, summary = made.stop()
        assert (code, list(summary["pending"])) == (0, [uri])
        assert "bridge sync status" in made.log()
        made.start()
        metrics = made.api("GET", f"runs/get?run_id={run}")["run"]["data"]["metrics"]
        assert [metric["key"] for metric in metrics] == ["loss"]


def test_tokens_of_a_running_gateway(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path / "tokens.json")
    write = tokens.add("ci", Scope.WRITE, now_ms=1)
    read = tokens.add("reader", Scope.READ, now_ms=1)
    arguments = ("--tokens", str(tokens.path), "--access-log", str(tmp_path / "access.log"))
    with gateway(f"file:{tmp_path}/store", home=tmp_path / "home", arguments=arguments) as made:
        path, body = "/api/2.0/mlflow/experiments/create", {"name": "x"}
        assert made.request("POST", path, body).status == 401
        assert made.request("POST", path, body, authorization=f"Bearer {read}").status == 403
        assert made.request("POST", path, body, authorization=f"Bearer {write}").status == 200
        tokens.remove("ci")
        assert made.request("POST", path, body, authorization=f"Bearer {write}").status == 401
        assert made.stop()[0] == 0
        logged = (tmp_path / "access.log").read_text("utf-8")
        assert (tmp_path / "access.log").stat().st_mode & 0o777 == 0o600
    assert [json.loads(line)["status"] for line in logged.splitlines()] == [401, 403, 200, 401]
    for token in (write, read):
        assert token[16:] not in logged + made.log()
