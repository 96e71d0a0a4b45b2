"""A server as a process: what it answers, to whom, and how it bears clients that mean harm."""

from __future__ import annotations

import fcntl
import gzip
import json
import socket
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.scoring_servers import Server, order, running, save_obedient_model, together, wait_until

BODY_BYTES_MAX = 20_000
TOKEN = "a-token-of-tests"

pytestmark = pytest.mark.usefixtures("warm")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_obedient_model(tmp_path_factory.mktemp("model") / "obedient")


@pytest.fixture(scope="module")
def server(warm: None, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with running(
        folder,
        model_path=str(model),
        name="obedient/v1",
        model="models:/obedient/1",
        queue_max=2,
        body_bytes_max=BODY_BYTES_MAX,
        request_timeout_s=3.0,
        header_timeout_s=2.0,  # no less: a busy machine lets a server wait as long for its turn
        capture={"percent": 100, "folder": str(folder / "payloads")},
    ) as started:
        yield started


def refused(answer: Any, status: int, error_code: str) -> str:
    assert (answer.status, answer.content["error_code"]) == (status, error_code), answer.body
    assert "Traceback" not in answer.body.decode()
    message: str = answer.content["message"]
    return message


def send_raw(server: Server, data: bytes) -> bytes:
    """Send bytes, and read until the server closes."""
    with server.connect() as connection:
        connection.sendall(data)
        return read_all(connection)


def unread(connection: socket.socket) -> int:
    """Return how many bytes of what was sent the other side's kernel has not acknowledged."""
    return int.from_bytes(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


class TestPages:
    def test_health(self, server: Server) -> None:
        for path in ("/ping", "/health"):
            answer = server.request("GET", path)
            assert (answer.status, answer.body) == (200, b"\n")

    def test_version_is_that_of_mlflow(self, server: Server) -> None:
        import mlflow

        assert server.request("GET", "/version").body.decode() == mlflow.__version__

    def test_the_root_leads_to_the_docs_which_need_nothing_else(self, server: Server) -> None:
        answer = server.request("GET", "/")
        assert (answer.status, answer.headers["location"]) == (307, "docs")
        page = server.request("GET", "/docs")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert b"openapi.json" in page.body
        assert b"http" not in page.body.replace(b"http-equiv", b"")

    def test_the_openapi_document_describes_the_columns(self, server: Server) -> None:
        document = server.request("GET", "/openapi.json").content
        content = document["paths"]["/invocations"]["post"]["requestBody"]["content"]
        forms = [next(iter(form["properties"])) for form in content["application/json"]["schema"]["oneOf"]]
        assert forms == ["dataframe_split", "dataframe_records", "inputs", "instances", "input_data"]
        assert content["text/csv"]["example"] == "do,seconds"
        assert document["info"]["title"] == "obedient/v1"

    def test_other_paths_and_methods(self, server: Server) -> None:
        assert "/nothing" in refused(server.request("GET", "/nothing"), 404, "ENDPOINT_NOT_FOUND")
        assert "POST" in refused(server.request("GET", "/invocations"), 405, "METHOD_NOT_ALLOWED")
        answer = server.request("DELETE", "/ping")
        refused(answer, 405, "METHOD_NOT_ALLOWED")
        assert answer.headers["allow"] == "GET, HEAD"
        assert server.request("HEAD", "/ping").status == 200

    def test_every_answer_has_a_request_id(self, server: Server) -> None:
        assert server.request("GET", "/ping", x_request_id="mine-1").headers["x-request-id"] == "mine-1"
        minted = server.invoke(b"").headers["x-request-id"]
        assert len(minted) == 32
        given = "no id: <script>"
        assert server.invoke(order("echo"), x_request_id=given).headers["x-request-id"] != given


class TestScoring:
    def test_every_form_and_type(self, server: Server) -> None:
        bodies: list[tuple[bytes, str]] = [
            (order("echo"), "application/json"),
            (order("echo"), "application/json; charset=UTF-8"),
            (
                b'{"dataframe_split": {"columns": ["seconds", "do"], "data": [[0, "echo"]]}}',
                "application/json",
            ),
            (b'{"inputs": [{"do": "echo", "seconds": 0}]}', "application/json"),
            (b'{"instances": [{"do": "echo", "seconds": 0}]}', "application/json"),
            (b'{"input_data": {"columns": ["do", "seconds"], "data": [["echo", 0]]}}', "application/json"),
            (b"do,seconds\necho,0\n", "text/csv"),
        ]
        for body, content_type in bodies:
            answer = server.invoke(body, content_type)
            assert answer.status == 200, (body, answer.body)
            assert list(answer.content) == ["predictions"]

    def test_types_that_are_not_understood(self, server: Server) -> None:
        for content_type in (
            "text/plain",
            "application/vnd.apache.parquet",
            "",
            "application/json; charset=latin-1",
            "application/json; v=1",
        ):
            refused(server.invoke(order("echo"), content_type), 415, "UNSUPPORTED_MEDIA_TYPE")

    def test_gzip(self, server: Server) -> None:
        assert server.invoke(gzip.compress(order("echo")), content_encoding="gzip").status == 200
        bomb = gzip.compress(bytes(100 * BODY_BYTES_MAX))
        refused(server.invoke(bomb, content_encoding="gzip"), 413, "REQUEST_TOO_LARGE")
        refused(server.invoke(b"plain", content_encoding="gzip"), 400, "BAD_REQUEST")

    def test_what_does_not_fit_the_signature(self, server: Server) -> None:
        missing = server.invoke(b'{"dataframe_records": [{"do": "echo"}]}')
        assert "seconds" in refused(missing, 400, "INVALID_PARAMETER_VALUE")
        wrong = server.invoke(b'{"dataframe_records": [{"do": "echo", "seconds": "soon"}]}')
        assert "seconds" in refused(wrong, 400, "BAD_REQUEST")
        ragged = server.invoke(
            b'{"dataframe_split": {"columns": ["do", "seconds"], "data": [["echo", 0], [1]]}}'
        )
        assert ragged.status == 400

    def test_a_model_that_raises_is_an_error_with_a_trace_in_the_log_only(self, server: Server) -> None:
        for do in ("fail", "leave"):
            answer = server.invoke(order(do), x_request_id=f"failing-{do}")
            refused(answer, 500, "INTERNAL_ERROR")
            assert answer.content["request_id"] == f"failing-{do}"
            assert b"secret" not in answer.body
        lines = [json.loads(line) for line in server.log().splitlines()]
        found = {line.get("request_id"): line for line in lines}
        assert found["failing-fail"]["error"] == "ValueError: a secret of the model's"
        assert "obedient_model.py" in found["failing-fail"]["traceback"]
        assert found["failing-leave"]["error"] == "SystemExit: 3"


class TestHostileClients:
    def test_bodies_over_the_bound(self, server: Server) -> None:
        large = b'{"inputs": "' + b"x" * BODY_BYTES_MAX + b'"}'
        refused(server.invoke(large), 413, "REQUEST_TOO_LARGE")
        chunks = b"".join(b"%x\r\n%s\r\n" % (1000, b"x" * 1000) for _ in range(25)) + b"0\r\n\r\n"
        head = b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        answer = send_raw(server, head + b"transfer-encoding: chunked\r\n\r\n" + chunks)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"connection: close" in answer

    @pytest.mark.parametrize(
        "data",
        [
            b"nonsense\r\n\r\n",
            b"GET /ping HTTP/9\r\n\r\n",
            b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
            b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n",
            b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            b"POST /invocations HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST /invocations HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET /ping HTTP/1.1\r\nbad header\r\n\r\n",
        ],
    )
    def test_what_is_not_http(self, server: Server, data: bytes) -> None:
        assert send_raw(server, data).startswith(b"HTTP/1.1 400")

    @pytest.mark.parametrize("at", [1, 40, 150, -5, -1])
    def test_an_offer_of_another_protocol_changes_nothing(self, server: Server, at: int) -> None:
        body = order("echo")
        offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
        head = b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        data = head + offer + b"content-length: %d\r\n\r\n" % len(body) + body
        data += head + b"connection: close, upgrade\r\nupgrade: websocket\r\n"
        data += b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        with server.connect() as connection:
            connection.sendall(data[:at])
            wait_until(lambda: not unread(connection))
            connection.sendall(data[at:])
            received = read_all(connection)
        assert received.count(b"HTTP/1.1 200 OK") == 2, received
        assert b"HTTP/1.1 4" not in received
        assert send_raw(server, b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n").startswith(b"HTTP/1.1 4")

    def test_a_head_without_end(self, server: Server) -> None:
        data = b"GET /ping HTTP/1.1\r\n" + b"".join(b"x-%d: %s\r\n" % (n, b"y" * 1000) for n in range(70))
        assert send_raw(server, data).startswith(b"HTTP/1.1 431")

    def test_slow_senders_are_cut_off(self, server: Server) -> None:
        head = b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"

        def slow_head() -> bytes:
            with server.connect() as connection:
                for byte in head:
                    try:
                        connection.sendall(bytes([byte]))
                    except OSError:
                        break  # it is cut off, which is what the test is about
                    time.sleep(0.05)
                return read_all(connection)

        half_head, half_body, mute, slow = together(
            lambda: send_raw(server, head),
            lambda: send_raw(server, head + b"content-length: 9\r\n\r\n{"),
            lambda: send_raw(server, b""),
            slow_head,
        )
        assert half_head.startswith(b"HTTP/1.1 408")
        assert half_body.startswith(b"HTTP/1.1 408")
        assert b"REQUEST_TIMEOUT" in half_body
        assert mute == b""
        assert isinstance(slow, OSError) or slow.startswith(b"HTTP/1.1 408")
        assert server.request("GET", "/ping").status == 200

    def test_a_client_that_leaves_in_the_middle_harms_nobody(self, server: Server) -> None:
        for _ in range(20):
            with server.connect() as connection:
                connection.sendall(b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        assert server.invoke(order("echo")).status == 200
        wait_until(lambda: server.metric("bridge_serving_in_flight") == 0)

    def test_a_full_queue_and_a_model_that_takes_too_long(self, server: Server) -> None:
        answers = together(*[lambda: server.invoke(order("sleep", 4.0))] * 8)
        statuses = sorted(answer.status for answer in answers)
        assert statuses.count(429) == 5
        assert statuses.count(504) == 3
        for answer in answers:
            if answer.status == 429:
                refused(answer, 429, "REQUEST_LIMIT_EXCEEDED")
                assert answer.headers["retry-after"] == "1"
            else:
                assert "exceeded limit" in refused(answer, 504, "DEADLINE_EXCEEDED")
        wait_until(lambda: server.invoke(order("echo")).status == 200)
        assert server.metric("bridge_serving_queue") == 0

    def test_pipelined_requests_are_answered_in_order(self, server: Server) -> None:
        data = b"".join(
            b"POST /invocations HTTP/1.1\r\nhost: x\r\nx-request-id: p%d\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n%s\r\n%s"
            % (n, len(order("echo")), b"connection: close\r\n" * (n == 4), order("echo"))
            for n in range(5)
        )
        answers = send_raw(server, data)
        places = [answers.index(b"x-request-id: p%d" % n) for n in range(5)]
        assert places == sorted(places)
        assert answers.count(b"HTTP/1.1 200") == 5


class TestTelemetry:
    def test_metrics_count_answers_by_status(self, server: Server) -> None:
        def count(status: int) -> float:
            return server.metric(
                f'bridge_serving_requests_total{{model="models:/obedient/1",name="obedient/v1",status="{status}"'
            )

        fine, wrong = count(200), count(400)
        before = server.metric("bridge_serving_latency_seconds_count")
        for _ in range(3):
            server.invoke(order("echo"))
        server.invoke(b"{}")
        assert (count(200) - fine, count(400) - wrong) == (3, 1)
        assert server.metric("bridge_serving_latency_seconds_count") - before == 4

    def test_payloads_are_captured(self, server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
        folder = Path(json.loads((server._log.parent / "config.json").read_text())["capture"]["folder"])
        server.invoke(order("echo"), x_request_id="captured-one")

        def events() -> list[dict[str, Any]]:
            lines = [line for path in folder.iterdir() for line in path.read_bytes().splitlines()]
            return [event for event in map(json.loads, lines) if event["id"] == "captured-one"]

        wait_until(lambda: len(events()) == 1)
        (event,) = events()
        assert event["data"]["request"]["json"] == json.loads(order("echo"))
        assert event["data"]["response"]["json"].keys() == {"predictions"}


@pytest.fixture(scope="module")
def guarded(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    with running(
        folder,
        model_path=str(model),
        socket=str(folder / "s.sock"),
        token_file=str(folder / "token"),
        tracing=True,
    ) as started:
        yield started


def test_without_the_token_only_health_is_answered(guarded: Server) -> None:
    for path in ("/ping", "/health"):
        assert guarded.request("GET", path).status == 200
    for path in ("/version", "/metrics", "/docs", "/openapi.json", "/", "/invocations", "/nothing"):
        answer = guarded.request("GET", path)
        refused(answer, 401, "UNAUTHENTICATED")
        assert answer.headers["www-authenticate"] == "Bearer"
    refused(guarded.invoke(order("echo")), 401, "UNAUTHENTICATED")
    refused(guarded.invoke(order("echo"), authorization=f"Bearer {TOKEN}x"), 401, "UNAUTHENTICATED")
    assert guarded.invoke(order("echo"), authorization=f"Bearer {TOKEN}").status == 200
    assert guarded.request("GET", "/docs", authorization=f"Bearer {TOKEN}").status == 200
    assert TOKEN not in guarded.log()


def test_a_unix_socket_is_for_its_owner_only(guarded: Server) -> None:
    assert guarded.socket is not None
    assert Path(guarded.socket).stat().st_mode & 0o777 == 0o600
