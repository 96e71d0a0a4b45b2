"""The ASGI application: the way of one request through the gateway.

::

    address -> who asks -> how often -> route -> scope -> body -> handler -> answer -> log, numbers, span

Routes of mlflow's REST API are found in a table and handled here, since most requests are theirs. The others,
of artifacts, pages and the state of the server, are Starlette's.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import traceback
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Mount, compile_path
from starlette.routing import Route as RawRoute

from trackbridge.domain.secrets import redact
from trackbridge.errors import BridgeError
from trackbridge.gateway import wire
from trackbridge.gateway.access_log import AccessLine, AccessLog, shown_path, shown_query
from trackbridge.gateway.authentication import IDENTITY, Access, AccessOptions, Identity, require
from trackbridge.gateway.error_pages import HEADERS as PAGE_HEADERS
from trackbridge.gateway.error_pages import HTML, error_page, is_for_a_browser
from trackbridge.gateway.errors import answer_of, error_answer
from trackbridge.gateway.exchange import Exchange, Send
from trackbridge.gateway.health import OPEN_PATHS, state_routes
from trackbridge.gateway.limits import BoundedBody, Limits, RateLimiter, Receive
from trackbridge.gateway.routes import Route, all_routes
from trackbridge.gateway.telemetry import Telemetry
from trackbridge.serving.answers import Refusal
from trackbridge.serving.bodies import ClientGone, decompressed
from trackbridge.serving.logs import log
from trackbridge.serving.protocol import HEAD_BYTES_MAX

if TYPE_CHECKING:
    from trackbridge.gateway.gateway import Gateway
    from trackbridge.gateway.tracing import RequestSpans

CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
INLINE_BYTES_MAX = 1024 * 1024
"""Larger bodies are read into Structs on a thread, so that nobody else waits for it."""
QUERY_FIELDS_MAX = 10_000
WORKERS = 4
"""Threads for what takes time but waits for no backend: a backend that hangs is not to hold it up."""


class Application:
    """Answers requests of one gateway.

    Args:
        gateway: The backend and the open runs.
        access: Who is let in; by default only this machine should reach it.
        limits: What is borne.
        raw_routes: Routes of Starlette; the endpoint of each is ``guarded``.
        has_pages: Whether the pages are among them, so that a browser is told errors as pages.
        access_log: Where requests are noted; None for nowhere.
        tracing: OpenTelemetry's spans; None for none.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        access: Access,
        limits: Limits,
        raw_routes: Sequence[RawRoute] = (),
        has_pages: bool = False,
        access_log: AccessLog | None = None,
        tracing: RequestSpans | None = None,
    ) -> None:
        self.gateway = gateway
        self.limits = limits
        self.telemetry = Telemetry(gateway)
        self.is_draining = False
        """Whether the server is ending: it says so when asked for its health, and closes connections."""
        self._under_way = 0
        self._has_pages = has_pages
        self._access = access
        self._rates = RateLimiter(limits.rate_max)
        self._log = access_log
        self._tracing = tracing
        self.threads: Executor = ThreadPoolExecutor(limits.threads, thread_name_prefix="gateway")
        self.workers: Executor = ThreadPoolExecutor(WORKERS, thread_name_prefix="gateway-work")
        self._routes, self._patterns = _tables(all_routes())
        self._raw = [*state_routes(self), *raw_routes]
        _check_guarded(self._raw)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":  # no websockets here, and nothing to do before the first request
            return
        exchange = Exchange(scope, send)
        body = BoundedBody(receive, exchange.headers, self.limits)
        end_span = self._tracing.begin(exchange) if self._tracing is not None else None
        self._under_way += 1
        self.telemetry.in_flight.inc()
        try:
            await self._answer(exchange, body)
        except (ClientGone, ClientDisconnect):
            pass  # nobody waits for the answer; the log says 499
        except Exception as error:
            with contextlib.suppress(ClientGone):
                await self._refuse(exchange, body, error)
        finally:
            self._under_way -= 1
            self.telemetry.in_flight.dec()
            self._note(exchange, body)
            if end_span is not None:
                end_span(exchange)

    async def _answer(self, exchange: Exchange, body: BoundedBody) -> None:
        scope = exchange.scope
        exchange.user = self._admitted(exchange).name
        method = "GET" if exchange.method == "HEAD" else exchange.method
        route = self._routes.get((method, exchange.path))
        if route is not None:
            await self._call(route, {}, exchange, body)
            return
        for pattern, route in self._patterns:
            found = pattern.match(exchange.path)
            if found is not None and route.method == method:
                await self._call(route, found.groupdict(), exchange, body)
                return
        allowed: set[str] = set()
        for raw in self._raw:
            match, child = raw.matches(scope)
            if match is Match.FULL:
                exchange.route = raw.path
                scope.update(child)
                endpoint: Any = raw.endpoint
                if endpoint.bridge_takes_files:
                    body.bytes_max = self.limits.upload_bytes_max
                await raw.handle(scope, body, exchange.send)  # type: ignore[arg-type]
                return
            if match is Match.PARTIAL and raw.methods:
                allowed |= raw.methods
        raise _nothing_there(exchange.method, exchange.path, allowed | self._allowed(exchange.path))

    def _admitted(self, exchange: Exchange) -> Identity:
        """Return who asks, if he may.

        Raises:
            Refusal: 400, 401, 403, 429 or 503.
        """
        scope, headers = exchange.scope, exchange.headers
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEAD_BYTES_MAX:
            message = f"The headers are larger than {HEAD_BYTES_MAX} bytes."
            raise Refusal("BAD_REQUEST", message, status=431, is_last=True)
        if CONTROL_CHARACTERS.search(exchange.path):
            raise Refusal("BAD_REQUEST", "The path holds a control character.", is_last=True)
        is_open = exchange.path in OPEN_PATHS and not scope["query_string"]
        if not is_open:
            self._access.check_place(exchange.method, headers, scope["headers"])
        try:
            identity = self._access.identify(headers, exchange.client)
        except Refusal:
            self._rates.check(f"address {exchange.client}")
            if not is_open:
                raise
            identity = Identity("", None)
        else:
            self._rates.check(f"user {identity.name}" if identity.name else f"address {exchange.client}")
        scope[IDENTITY] = identity
        if not is_open and self._under_way > self.limits.connections_max:
            # Work goes on for clients that have gone; who comes and goes is not to pile it up.
            raise Refusal(
                "TEMPORARILY_UNAVAILABLE",
                "Too many requests are in work; try again soon.",
                headers=((b"retry-after", b"1"),),
            )
        return identity

    async def _call(
        self, route: Route, parameters: dict[str, str], exchange: Exchange, body: BoundedBody
    ) -> None:
        """Answer a request of the REST API."""
        exchange.route = route.path
        require(exchange.scope, route.scope)
        content = await self._content(exchange, body) if body.is_expected else b""
        loop = asyncio.get_running_loop()
        decode = functools.partial(_decoded, route, parameters, exchange, content)
        is_large = len(content) > INLINE_BYTES_MAX
        request = await loop.run_in_executor(self.workers, decode) if is_large else decode()
        is_quick = route.is_quick(self.gateway, request)
        exchange.run_id = _run_id(request)
        if is_quick and not is_large:
            answer = wire.encode(route.handler(self.gateway, request))
        else:
            threads = self.workers if is_quick else self.threads
            answer = await loop.run_in_executor(threads, _handled, route, self.gateway, request)
        exchange.is_last = self.is_draining
        await exchange.answer(200, answer)

    async def _content(self, exchange: Exchange, body: BoundedBody) -> bytes:
        """Return the body of a request of the REST API, unpacked.

        Raises:
            Refusal: 400 for broken compression, 408, 413, 415 for a compression that is not known here.
        """
        encoding = exchange.headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding not in (b"identity", b"gzip"):
            raise Refusal("UNSUPPORTED_MEDIA_TYPE", "Of content encodings only gzip is understood.")
        content = await body.read()
        if encoding == b"identity":
            return content
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.workers, decompressed, content, body.bytes_max)

    async def _refuse(self, exchange: Exchange, body: BoundedBody, error: Exception) -> None:
        """Answer with an error; where the answer has begun, it is cut off."""
        if exchange.has_begun:
            exchange.status = 500
            self._log_failure(exchange, error)
            raise error
        exchange.is_last = self.is_draining
        status, content, headers = self._told(exchange, error)
        if body.is_expected and body.has_more:
            with contextlib.suppress(Refusal):  # it was too slow as well
                await body.discard(is_asked_for=b"expect" not in exchange.headers)
            exchange.is_last = exchange.is_last or body.has_more
        if self._has_pages and is_for_a_browser(exchange.path, exchange.headers):
            page = error_page(status, content, exchange.request_id)
            await exchange.answer(status, page, HTML, (*headers, *PAGE_HEADERS))
            return
        await exchange.answer(status, content, headers=headers)

    def _told(
        self, exchange: Exchange, error: Exception
    ) -> tuple[int, bytes, tuple[tuple[bytes, bytes], ...]]:
        if isinstance(error, Refusal):
            exchange.is_last = exchange.is_last or error.is_last
            answer = error.answer(exchange.request_id.decode("ascii"))
            return answer.status, answer.body, answer.headers
        if isinstance(error, HTTPException):
            code = {404: "ENDPOINT_NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(
                error.status_code, "BAD_REQUEST"
            )
            given = tuple((name.encode(), value.encode()) for name, value in (error.headers or {}).items())
            return error.status_code, answer_of(code, str(error.detail)).body, given
        if not isinstance(error, BridgeError):
            self._log_failure(exchange, error)
        told = error_answer(error)
        return (
            told.status,
            told.body,
            tuple((k.lower().encode(), v.encode()) for k, v in told.headers.items()),
        )

    def _log_failure(self, exchange: Exchange, error: Exception) -> None:
        log(
            "a request failed",
            request_id=exchange.request_id.decode("ascii"),
            method=exchange.method,
            path=shown_path(exchange.path),
            error=redact(f"{type(error).__name__}: {error}"),
            traceback=redact("".join(traceback.format_exception(error))),
        )

    def _note(self, exchange: Exchange, body: BoundedBody) -> None:
        duration_s = exchange.duration_s
        route = exchange.route or "(none)"
        self.telemetry.on_answered(
            exchange.method if exchange.route else "-", route, exchange.status, duration_s
        )
        if self._log is None:
            return
        self._log.write(
            AccessLine(
                time_ms=exchange.time_ms,
                request_id=exchange.request_id.decode("ascii"),
                client=exchange.client,
                method=exchange.method,
                path=shown_path(exchange.path),
                status=exchange.status,
                duration_ms=round(duration_s * 1000, 3),
                bytes_in=body.size,
                bytes_out=exchange.bytes_out,
                route=exchange.route,
                query=shown_query(exchange.scope["query_string"]),
                user=exchange.user,
                run_id=exchange.run_id,
            )
        )

    def _allowed(self, path: str) -> set[str]:
        """Return the methods with which there would be something at a path of the REST API."""
        exact = {method for method, known in self._routes if known == path}
        return exact | {route.method for pattern, route in self._patterns if pattern.match(path)}

    def close(self) -> None:
        """Write what waits in the log, and send what waits of traces, for a short while."""
        if self._tracing is not None:
            self._tracing.stop()
        if self._log is not None:
            self._log.close()


def application(
    gateway: Gateway,
    *,
    access: AccessOptions | None = None,
    limits: Limits | None = None,
    has_pages: bool = False,
    access_log: AccessLog | None = None,
    tracing: RequestSpans | None = None,
) -> Application:
    """Return the application with all routes of mlflow's API, of artifacts and, if asked for, of the pages.

    Raises:
        ConfigError: Everybody would be let in, or an option is wrong.
        MissingExtra: What the pages are made with is not installed.
    """
    from trackbridge.gateway.artifact_routes import artifact_routes

    raw = list(artifact_routes(gateway, file_bytes_max=(limits or Limits()).upload_bytes_max))
    if has_pages:
        from trackbridge.gateway.pages import page_routes

        raw += page_routes(gateway)
    return Application(
        gateway,
        access=Access(access or AccessOptions()),
        limits=limits or Limits(),
        raw_routes=raw,
        has_pages=has_pages,
        access_log=access_log,
        tracing=tracing,
    )


def _tables(
    routes: Sequence[Route],
) -> tuple[dict[tuple[str, str], Route], list[tuple[re.Pattern[str], Route]]]:
    """Return the routes by method and path, and by pattern those whose paths have parts that are fields."""
    exact: dict[tuple[str, str], Route] = {}
    patterns: list[tuple[re.Pattern[str], Route]] = []
    for route in routes:
        for path in route.paths:
            if "{" in path:
                patterns.append((compile_path(path)[0], route))
            else:
                exact[route.method, path] = route
    return exact, patterns


def _check_guarded(routes: Sequence[RawRoute]) -> None:
    """See that nobody reaches an endpoint whose scope was forgotten."""
    for route in routes:
        if isinstance(route, Mount) or not hasattr(route.endpoint, "bridge_takes_files"):
            raise AssertionError(f"the endpoint of {route.path} is not guarded: see authentication.guarded")


def _decoded(route: Route, parameters: dict[str, str], exchange: Exchange, content: bytes) -> Any:
    query = exchange.scope["query_string"]
    try:
        pairs = (
            parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
            if query
            else ()
        )
    except ValueError as error:
        raise Refusal("BAD_REQUEST", f"The query has more than {QUERY_FIELDS_MAX} fields.") from error
    content_type = exchange.headers.get(b"content-type")
    return wire.decode(
        route.request,
        method=route.method,
        query=pairs,
        body=content,
        content_type=None if content_type is None else content_type.decode("latin-1"),
        path_parameters=parameters,
    )


def _handled(route: Route, gateway: Gateway, request: Any) -> bytes:
    return wire.encode(route.handler(gateway, request))


def _run_id(request: Any) -> str:
    found = getattr(request, "run_id", None) or getattr(request, "run_uuid", None)
    return found[:64] if isinstance(found, str) else ""


def _nothing_there(method: str, path: str, allowed: set[str]) -> Refusal:
    if not allowed:
        return Refusal("ENDPOINT_NOT_FOUND", f"There is nothing at {shown_path(path)}; see /openapi.json.")
    methods = ", ".join(sorted(allowed))
    return Refusal(
        "METHOD_NOT_ALLOWED",
        f"{method} is not for {shown_path(path)}; use {methods}.",
        headers=((b"allow", methods.encode("ascii")),),
    )
