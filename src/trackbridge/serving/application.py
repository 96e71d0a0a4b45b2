"""The ASGI application: routes, who may call, and the way of one request through the server."""

from __future__ import annotations

import re
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from trackbridge.domain.serving import ServingSettings
from trackbridge.serving.answers import TEXT, Answer, Refusal
from trackbridge.serving.bodies import ClientGone, Receive, read_body
from trackbridge.serving.logs import log
from trackbridge.serving.metrics import CONTENT_TYPE, Metrics
from trackbridge.serving.observers import Answered, OnAnswered
from trackbridge.serving.openapi import docs_page, openapi
from trackbridge.serving.packages import require
from trackbridge.serving.scoring import ScoringThread
from trackbridge.serving.tokens import TokenFile
from trackbridge.serving.tracing import Tracing

Send = Callable[[dict[str, Any]], Awaitable[None]]

OPEN_PATHS = ("/ping", "/health")
SCORING_PATHS = ("/invocations", "/score")
"""mlflow's and SageMaker's, and Azure's: there, all deployments of an endpoint are asked at one path."""
REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/=+-]{1,128}")
HTML = b"text/html; charset=utf-8"
CLOSE = (b"connection", b"close")


class Application:
    """Answers requests; one object for each worker process.

    ``is_draining`` turns health checks to 503, and closes each connection with its next answer.
    """

    def __init__(
        self,
        settings: ServingSettings,
        *,
        scoring: ScoringThread,
        metrics: Metrics,
        tokens: TokenFile | None,
        tracing: Tracing | None,
        on_answered: tuple[OnAnswered, ...],
    ) -> None:
        self.is_draining = False
        self._settings = settings
        self._scoring = scoring
        self._metrics = metrics
        self._tokens = tokens
        self._tracing = tracing
        self._on_answered = on_answered
        self._pages: dict[str, Callable[[], Answer]] = {
            "/": lambda: Answer(307, b"", TEXT, ((b"location", b"docs"),)),
            "/ping": self._health,
            "/health": self._health,
            "/version": _version,
            "/docs": lambda: Answer(200, docs_page(), HTML),
            "/openapi.json": lambda: Answer(200, openapi(settings, self._loaded_model())),
            "/metrics": lambda: Answer(200, metrics.text(), CONTENT_TYPE),
        }

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        headers = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id"))
        path = scope["path"]
        if path in SCORING_PATHS and scope["method"] == "POST":
            try:
                answered = await self._invocations(headers, request_id, receive, began)
            except ClientGone:
                return
            await self._send(send, answered.answer, request_id)
            for listen in self._on_answered:
                listen(answered)
        else:
            await self._send(send, self._page(path, scope["method"], headers, request_id), request_id)

    async def _send(self, send: Send, answer: Answer, request_id: str) -> None:
        head = [
            (b"content-type", answer.content_type),
            (b"content-length", b"%d" % len(answer.body)),
            (b"x-request-id", request_id.encode("ascii")),
            *answer.headers,
        ]
        if answer.is_last or self.is_draining:
            head.append(CLOSE)
        await send({"type": "http.response.start", "status": answer.status, "headers": head})
        await send({"type": "http.response.body", "body": answer.body})

    async def _invocations(
        self, headers: dict[bytes, bytes], request_id: str, receive: Receive, began: float
    ) -> Answered:
        metrics = self._metrics
        metrics.in_flight.inc()
        end_span = self._tracing.begin(headers, request_id) if self._tracing is not None else None
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        body = b""
        try:
            self._check_token(headers)
            body = await read_body(
                receive,
                headers,
                bytes_max=self._settings.body_bytes_max,
                stall_s=self._settings.header_timeout_s,
            )
            spent_s = time.perf_counter() - began
            answer = await self._scoring.score(request_id, content_type, body, spent_s=spent_s)
        except Refusal as refusal:
            answer = refusal.answer(request_id)
        finally:
            metrics.in_flight.dec()
        if end_span is not None:
            end_span(answer)
        return Answered(request_id, content_type, body, answer, time.perf_counter() - began)

    def _page(self, path: str, method: str, headers: dict[bytes, bytes], request_id: str) -> Answer:
        try:
            if path not in OPEN_PATHS:
                self._check_token(headers)
            page = self._pages.get(path)
            if page is None and path not in SCORING_PATHS:
                raise Refusal("ENDPOINT_NOT_FOUND", f"There is nothing at {path}; see /docs.")
            if page is None or method not in ("GET", "HEAD"):
                allowed = b"POST" if page is None else b"GET, HEAD"
                raise Refusal(
                    "METHOD_NOT_ALLOWED",
                    f"{method} is not for {path}; use {allowed.decode()}.",
                    headers=((b"allow", allowed),),
                )
            return page()
        except Refusal as refusal:
            return refusal.answer(request_id)
        except Exception as error:
            log(
                "a page failed",
                request_id=request_id,
                path=path,
                error=repr(error),
                traceback=traceback.format_exc(),
            )
            return Refusal("INTERNAL_ERROR", "The page failed; the log says why.").answer(request_id)

    def _check_token(self, headers: dict[bytes, bytes]) -> None:
        if self._tokens is not None and not self._tokens.accepts(headers.get(b"authorization")):
            raise Refusal(
                "UNAUTHENTICATED",
                "Send the header 'Authorization: Bearer' with the token of this server.",
                headers=((b"www-authenticate", b"Bearer"),),
                is_last=True,
            )

    def _health(self) -> Answer:
        if self.is_draining:
            raise Refusal("TEMPORARILY_UNAVAILABLE", "The server is ending.")
        self._loaded_model()
        return Answer(200, b"\n")

    def _loaded_model(self) -> Any:
        if self._scoring.model is None:
            raise Refusal("TEMPORARILY_UNAVAILABLE", "The model is being loaded.")
        return self._scoring.model


def _version() -> Answer:
    version: str = require("mlflow.version", extra="mlflow").VERSION
    return Answer(200, version.encode())


def _request_id(given: bytes | None) -> str:
    if given is not None and REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return uuid.uuid4().hex
