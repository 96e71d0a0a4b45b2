"""The way of one request through the application, with routes and a gateway made for it."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from starlette.requests import Request as RawRequest
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route as RawRoute

from trackbridge.errors import NotFound, RateLimited
from trackbridge.gateway import application as application_module
from trackbridge.gateway.application import Application
from trackbridge.gateway.authentication import Access, AccessOptions, guarded
from trackbridge.gateway.limits import Limits
from trackbridge.gateway.routes import Route, Scope
from trackbridge.gateway.tokens import TokenFile
from trackbridge.gateway.wire import Answer, Request
from trackbridge.ports.findings import Finding, Severity

API = "/api/2.0/mlflow/"


class Said(Request):
    run_id: str | None = None
    word: str | None = None
    required: ClassVar[tuple[str, ...]] = ("word",)


class Told(Answer):
    word: str = ""
    thread: str = ""


def told(gateway: Any, request: Said) -> Told:
    return Told(request.word or "", threading.current_thread().name)


def fails(gateway: Any, request: Said) -> Told:
    if request.word == "absent":
        raise NotFound("there is no run x", hint="look for it")
    if request.word == "later":
        raise RateLimited("the backend wants a rest", retry_after_s=7.0)
    raise ValueError(f"password={request.word}")


ROUTES = (
    Route("POST", "tell", told, Said, Scope.WRITE),
    Route(
        "POST", "tell-quick", told, Said, Scope.WRITE, is_quick=lambda gateway, request: request.word == "q"
    ),
    Route("GET", "tell", told, Said, Scope.READ),
    Route("POST", "fail", fails, Said, Scope.WRITE),
    Route("PATCH", "words/{word}/said", told, Said, Scope.WRITE, versions=("2.0", "3.0")),
)


class Lines:
    """Stands in for the access log."""

    dropped = 0

    def __init__(self) -> None:
        self.lines: list[Any] = []

    def write(self, line: Any) -> None:
        self.lines.append(line)

    def close(self) -> None:
        pass


class Asked:
    """An answer."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.status: int = messages[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        self.body = b"".join(message.get("body", b"") for message in messages[1:])

    @property
    def content(self) -> Any:
        return json.loads(self.body)


class Bench:
    """An application with the routes above and a backend that is well or ill."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        monkeypatch.setattr(application_module, "all_routes", lambda: ROUTES)
        self.findings: tuple[Finding, ...] = ()
        session = SimpleNamespace(pending=lambda: {"file:x": 3}, destinations=("file:x",), root=folder)
        adapter = SimpleNamespace(check=lambda: self.findings)
        reader = SimpleNamespace(adapter=adapter)
        self.gateway: Any = SimpleNamespace(client=SimpleNamespace(session=session, reader=reader))
        self.lines = Lines()

    def make(
        self, *, access: AccessOptions | None = None, limits: Limits | None = None, raw: Any = ()
    ) -> Application:
        self.application = Application(
            self.gateway,
            access=Access(access or AccessOptions()),
            limits=limits or Limits(),
            raw_routes=raw,
            access_log=self.lines,  # type: ignore[arg-type]
        )
        return self.application

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Asked:
        made = getattr(self, "application", None) or self.make()
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        given = {"host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}}
        if body is not None:
            given = {"content-type": "application/json", "content-length": str(len(content)), **given}
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "client": ("127.0.0.1", 4711),
            "scheme": "http",
            "server": ("127.0.0.1", 5000),
        }
        sent: list[dict[str, Any]] = []
        left = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if not left:  # the client waits
                await asyncio.Event().wait()
            return left.pop()

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        asyncio.run(made(scope, receive, send))
        return Asked(sent)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    return Bench(monkeypatch, tmp_path)


def test_a_call_under_both_prefixes_and_all_versions(bench: Bench) -> None:
    for prefix in (API, "/ajax-api/2.0/mlflow/"):
        answer = bench.ask("POST", f"{prefix}tell", {"word": "hi"})
        assert (answer.status, answer.content["word"]) == (200, "hi")
    assert bench.ask("GET", f"{API}tell?word=a%20b&word=c").content["word"] == "a b"
    assert bench.ask("HEAD", f"{API}tell?word=a").status == 200
    for version in ("2.0", "3.0"):
        path = f"/api/{version}/mlflow/words/w%C3%A4/said"
        assert bench.ask("PATCH", path.replace("%C3%A4", "ä"), {"word": "x"}).content["word"] == "wä"
    assert bench.ask("POST", "/api/3.0/mlflow/tell", {"word": "hi"}).status == 404


def test_what_is_quick_runs_on_the_event_loop_and_the_rest_on_threads(bench: Bench) -> None:
    main = threading.main_thread().name
    assert bench.ask("POST", f"{API}tell-quick", {"word": "q"}).content["thread"] == main
    assert bench.ask("POST", f"{API}tell-quick", {"word": "slow"}).content["thread"].startswith("gateway")
    assert bench.ask("POST", f"{API}tell", {"word": "q"}).content["thread"].startswith("gateway")
    large = {"word": "q" * application_module.INLINE_BYTES_MAX}
    assert bench.ask("POST", f"{API}tell-quick", large).content["thread"].startswith("gateway")


def test_what_waits_for_no_backend_does_not_queue_behind_what_does(bench: Bench) -> None:
    path, headers = f"{API}tell-quick", {"content_type": "application/json", "content_encoding": "gzip"}
    padded = json.dumps({"word": "q", "other": "x" * application_module.INLINE_BYTES_MAX}).encode()
    hangs = threading.Event()
    made = bench.make(limits=Limits(threads=2))
    waiting = [made.threads.submit(hangs.wait, 10) for _ in range(4)]
    try:
        assert bench.ask("POST", path, {"word": "q"}).status == 200
        large = bench.ask("POST", path, padded)  # not on the event loop either: others would wait
        assert large.content["thread"].startswith("gateway")
        packed = gzip.compress(b'{"word":"q"}')
        assert bench.ask("POST", path, packed, **headers).status == 200
        assert bench.ask("GET", "/metrics").status == 200
        assert not any(future.done() for future in waiting)
    finally:
        hangs.set()


def test_what_is_not_there(bench: Bench) -> None:
    assert bench.ask("GET", "/nothing").content["error_code"] == "ENDPOINT_NOT_FOUND"
    assert len(bench.ask("GET", "/n" * 20_000).body) < 2000  # nor is the event loop kept busy with it
    answer = bench.ask("DELETE", f"{API}tell")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")
    assert bench.ask("GET", "/api/3.0/mlflow/words/x/said").headers["allow"] == "PATCH"
    assert bench.ask("POST", "/health").status == 405
    preflight = bench.ask("OPTIONS", f"{API}tell", origin="http://evil.example")
    assert preflight.status == 405
    assert not [name for name in preflight.headers if name.startswith("access-control")]


def test_requests_that_are_wrong(bench: Bench) -> None:
    bench.make(limits=Limits(body_bytes_max=100))
    answers = {
        "no word": bench.ask("POST", f"{API}tell", {}),
        "no object": bench.ask("POST", f"{API}tell", [1]),
        "no JSON": bench.ask("POST", f"{API}tell", b"{"),
        "half a character": bench.ask("POST", f"{API}tell", b'{"word": "\\ud800"}'),
        "a form": bench.ask(
            "POST", f"{API}tell", b"word=x", content_type="application/x-www-form-urlencoded"
        ),
        "a control character": bench.ask("GET", "/a\x00b"),
        "a line end": bench.ask("GET", "/a\r\nx: y"),
        "not gzip": bench.ask("POST", f"{API}tell", b"{}", content_encoding="gzip"),
        "fields": bench.ask("GET", f"{API}tell?" + "&".join(["a=1"] * 10_001)),
    }
    assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(answers, 400)
    assert bench.ask("POST", f"{API}tell", {"word": "x" * 100}).status == 413
    assert bench.ask("POST", f"{API}tell", b"{}", content_encoding="br").status == 415
    bomb = gzip.compress(b'{"word":"' + b"x" * 10_000 + b'"}')
    assert len(bomb) < 100
    assert bench.ask("POST", f"{API}tell", bomb, content_encoding="gzip").status == 413
    packed = gzip.compress(b'{"word":"x"}')
    assert bench.ask("POST", f"{API}tell", packed, content_encoding="gzip").content["word"] == "x"
    assert bench.ask("GET", "/health", x="y" * 70_000).status == 431


def test_a_nesting_without_end(bench: Bench) -> None:
    for name in (b"word", b"unknown"):
        deep = b'{"' + name + b'":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        assert bench.ask("POST", f"{API}tell", deep).status == 400


def test_errors_are_told_as_mlflow_tells_them(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    absent = bench.ask("POST", f"{API}fail", {"word": "absent"})
    assert (absent.status, absent.content["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    later = bench.ask("POST", f"{API}fail", {"word": "later"})
    assert (later.status, later.headers["retry-after"]) == (429, "7")
    assert capfd.readouterr().err == ""
    failed = bench.ask("POST", f"{API}fail", {"word": "hush"}, x_request_id="mine")
    assert (failed.status, failed.headers["x-request-id"]) == (500, "mine")
    log = capfd.readouterr().err
    assert json.loads(log)["request_id"] == "mine"
    assert "ValueError" in log
    assert "hush" not in log + failed.body.decode()


def test_scopes_and_the_name_in_the_log(bench: Bench, tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path / "tokens.json")
    write = f"Bearer {tokens.add('ci', Scope.WRITE, now_ms=1)}"
    read = f"Bearer {tokens.add('reader', Scope.READ, now_ms=1)}"
    bench.make(access=AccessOptions(token_file=tokens.path))
    path = f"{API}tell?word=x"
    assert bench.ask("GET", path).status == 401
    assert "www-authenticate" in bench.ask("GET", path).headers
    assert bench.ask("GET", path, authorization=read).status == 200
    assert (
        bench.ask("POST", path, {"word": "x"}, authorization=read).content["error_code"]
        == "PERMISSION_DENIED"
    )
    assert bench.ask("POST", path, {"word": "x", "run_id": "r"}, authorization=write).status == 200
    assert [line.user for line in bench.lines.lines] == ["", "", "reader", "reader", "ci"]
    assert (bench.lines.lines[-1].run_id, bench.lines.lines[-1].route) == ("r", "tell")
    for line in bench.lines.lines:
        assert "bridge_" not in repr(line)
    assert {path: bench.ask("GET", path).status for path in ("/health", "/version", "/health?deep=1")} == {
        "/health": 200, "/version": 200, "/health?deep=1": 401,
    }  # fmt: skip
    assert bench.ask("GET", "/metrics").status == 401
    assert bench.ask("GET", "/openapi.json").status == 401
    assert bench.ask("GET", "/nothing").status == 401  # nor does anybody learn what there is


def test_a_client_that_asks_too_often(bench: Bench, tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path / "tokens.json")
    token = f"Bearer {tokens.add('ci', Scope.READ, now_ms=1)}"
    bench.make(access=AccessOptions(token_file=tokens.path), limits=Limits(rate_max=0.5))
    assert bench.ask("GET", "/version", authorization="Bearer no").status == 200
    assert bench.ask("GET", "/metrics", authorization="Bearer no").status == 429
    assert bench.ask("GET", f"{API}tell?word=x", authorization=token).status == 200
    assert bench.ask("GET", f"{API}tell?word=x", authorization=token).status == 429


def test_work_for_clients_that_have_gone_does_not_pile_up(bench: Bench) -> None:
    found: dict[str, int] = {}

    async def endpoint(request: RawRequest) -> Response:
        for path in ("/health", "/health?deep=1", f"{API}tell?word=x"):
            found[path] = (await asyncio.to_thread(bench.ask, "GET", path)).status
        return PlainTextResponse("")

    bench.make(raw=[raw("/slow", endpoint)], limits=Limits(connections_max=1))
    for _ in range(2):
        assert bench.ask("PUT", "/slow").status == 200
        assert found == {"/health": 200, "/health?deep=1": 503, f"{API}tell?word=x": 503}
    assert bench.ask("GET", f"{API}tell?word=x").status == 200


def test_what_it_tells_of_itself(bench: Bench) -> None:
    assert bench.ask("GET", "/health", host="balancer.example").body == b"OK"
    assert bench.ask("GET", "/health?deep=1").content["backlog"] == {"file:x": 3}
    bench.findings = (Finding(severity=Severity.ERROR, subject="x", message="token=hush is refused"),)
    ill = bench.ask("GET", "/health?deep=1")
    assert (ill.status, ill.content["problems"]) == (503, ["token=*** is refused"])
    version = bench.ask("GET", "/version")
    assert (version.body, version.headers["x-trackbridge-version"]) == (b"3.3.2", "0.1.0")
    bench.ask("POST", f"{API}tell", {"word": "x"})
    text = bench.ask("GET", "/metrics").body.decode()
    assert 'bridge_gateway_requests_total{method="POST",route="tell",status="200"} 1.0' in text
    assert 'bridge_gateway_latency_seconds_count{route="tell"} 1.0' in text
    assert 'bridge_gateway_journal_backlog{backend="file:x"} 3.0' in text
    assert 'bridge_gateway_dead_letters{backend="file:x"} 0.0' in text
    bench.application.is_draining = True
    assert bench.ask("GET", "/health").status == 503
    assert bench.ask("GET", f"{API}tell?word=x").headers["connection"] == "close"
    spans = bench.ask("POST", "/v1/traces", b"x", content_type="application/x-protobuf")
    assert spans.status == 501
    assert "REST OTLP span logging is not supported" in spans.content["message"]


def test_strange_paths_are_counted_together(bench: Bench) -> None:
    for number in range(3):
        bench.ask("GET", f"/nothing/{number}")
    text = bench.ask("GET", "/metrics").body.decode()
    assert 'bridge_gateway_requests_total{method="-",route="(none)",status="404"} 3.0' in text


# Routes of Starlette.


def raw(path: str, endpoint: Any, **options: Any) -> RawRoute:
    return RawRoute(path, guarded(endpoint, Scope.WRITE, **options), methods=["PUT"])


def test_files_may_be_larger_than_requests(bench: Bench) -> None:
    async def size(request: RawRequest) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    routes = [raw("/files/{path:path}", size, takes_files=True), raw("/forms", size)]
    bench.make(raw=routes, limits=Limits(body_bytes_max=10, upload_bytes_max=100))
    assert bench.ask("PUT", "/files/a/b", b"x" * 100).body == b"100"
    assert bench.ask("PUT", "/files/a/b", b"x" * 101).status == 413
    assert bench.ask("PUT", "/forms", b"x" * 11).status == 413
    assert bench.lines.lines[0].route == "/files/{path:path}"


def test_an_endpoint_whose_scope_was_forgotten_stops_the_start(bench: Bench) -> None:
    async def endpoint(request: RawRequest) -> Response:
        return PlainTextResponse("")

    with pytest.raises(AssertionError, match="/open is not guarded"):
        bench.make(raw=[RawRoute("/open", endpoint)])


def test_an_answer_that_fails_in_the_middle_is_cut_off(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    async def endpoint(request: RawRequest) -> Response:
        async def chunks() -> Any:
            yield b"one"
            raise ValueError("the disk is gone")

        return StreamingResponse(chunks())

    bench.make(raw=[raw("/stream", endpoint)])
    with pytest.raises(BaseException, match=r"the disk is gone|sub-exception"):
        bench.ask("PUT", "/stream", b"")
    assert bench.lines.lines[-1].status == 500
    assert "the disk is gone" in capfd.readouterr().err


@pytest.mark.parametrize(("method", "path"), [("POST", f"{API}tell"), ("PUT", "/files")])
def test_a_client_that_leaves_before_its_body_is_whole(
    bench: Bench, method: str, path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async def size(request: RawRequest) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    made = bench.make(raw=[raw("/files", size, takes_files=True)])
    scope = {
        "type": "http", "method": method, "path": path, "query_string": b"", "client": None,
        "headers": [(b"host", b"localhost"), (b"content-length", b"9")],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        raise AssertionError("nobody listens")

    receiving: Callable[[], Awaitable[dict[str, Any]]] = receive
    asyncio.run(made(scope, receiving, send))
    assert bench.lines.lines[-1].status == 499
    assert capfd.readouterr().err == ""
