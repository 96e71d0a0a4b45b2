"""What a gateway tells of itself: whether it is well, its version, its numbers, its interface."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from trackbridge._version import __version__
from trackbridge.domain.secrets import shown
from trackbridge.errors import BridgeError, Unsupported
from trackbridge.gateway.authentication import guarded
from trackbridge.gateway.openapi import openapi
from trackbridge.gateway.routes import Scope, all_routes
from trackbridge.gateway.telemetry import CONTENT_TYPE
from trackbridge.ports.findings import Severity

if TYPE_CHECKING:
    from trackbridge.gateway.application import Application

MLFLOW_VERSION = "3.3.2"
"""What clients are told. From 3.4 on they send spans by OTLP to ``/v1/traces``; before, as an artifact."""
INFO_PATHS = ("/api/3.0/mlflow/server-info", "/ajax-api/3.0/mlflow/server-info")
OPEN_PATHS = frozenset(["/health", "/version", *INFO_PATHS])
"""What everybody may ask, as of mlflow's server, by any name of the host, as load balancers do."""
INFO = {
    "store_type": "SqlStore",
    "workspaces_enabled": False,
    "trace_archival_enabled": False,
    "multipart_uploads_enabled": False,
    "multipart_downloads_enabled": False,
    "presigned_upload_run_id_supported": False,
    "presigned_upload_model_id_supported": False,
    "features_enabled": {"gateway": False},
}


def state_routes(application: Application) -> list[Route]:
    """Return the routes of everything that concerns the server itself."""

    async def health(request: Request) -> Response:
        if application.is_draining:
            return PlainTextResponse("the server is ending", 503)
        if request.query_params.get("deep", "0") in ("0", "false", ""):
            return PlainTextResponse("OK")
        loop = asyncio.get_running_loop()
        told = await loop.run_in_executor(application.threads, functools.partial(deep_health, application))
        return JSONResponse(told, 200 if told["status"] == "ok" else 503)

    async def version(request: Request) -> Response:
        return PlainTextResponse(MLFLOW_VERSION, headers={"X-Trackbridge-Version": __version__})

    async def metrics(request: Request) -> Response:
        loop = asyncio.get_running_loop()
        text = await loop.run_in_executor(application.workers, application.telemetry.text)
        return Response(text, media_type=CONTENT_TYPE)

    async def document(request: Request) -> Response:
        return Response(_document(), media_type="application/json")

    async def info(request: Request) -> Response:
        return JSONResponse(INFO)

    async def spans(request: Request) -> Response:
        raise Unsupported(
            "REST OTLP span logging is not supported",
            hint="send traces by mlflow's client, which then puts the spans into a file",
        )

    def route(path: str, endpoint: Any, scope: Scope | None, method: str = "GET") -> Route:
        return Route(path, guarded(endpoint, scope), methods=[method])

    return [
        route("/health", health, None),
        route("/version", version, None),
        route("/metrics", metrics, Scope.READ),
        route("/openapi.json", document, Scope.READ),
        *(route(path, info, None) for path in INFO_PATHS),
        route("/v1/traces", spans, Scope.WRITE, "POST"),  # in these words, clients stop trying
    ]


def deep_health(application: Application) -> dict[str, Any]:
    """Ask the backend whether it can be used, and the journal what it still holds."""
    session = application.gateway.client.session
    told: dict[str, Any] = {"status": "ok", "version": __version__, "backlog": session.pending()}
    try:
        findings = application.gateway.client.reader.adapter.check()
    except BridgeError as error:
        return {**told, "status": "unavailable", "problems": [shown(str(error))]}
    problems = [shown(finding.message) for finding in findings if finding.severity is Severity.ERROR]
    return {**told, "status": "unavailable" if problems else "ok", "problems": problems}


@functools.cache
def _document() -> bytes:
    return msgspec.json.encode(openapi(all_routes()))
