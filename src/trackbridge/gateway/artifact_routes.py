"""The routes by which the bytes of files come and go, as mlflow's server has them.

::

    GET PUT DELETE  …/mlflow-artifacts/artifacts/<path>     the proxy; its GET without a path lists a folder
    POST            …/mlflow-artifacts/mpu/{create,complete,abort}/<folder>
    PUT             …/mlflow-artifacts/mpu/part/<upload id>/<number>      to here the addresses of parts lead
    GET             …/mlflow-artifacts/presigned/<path>
    GET             /get-artifact  /model-versions/get-artifact  …/logged-models/<id>/artifacts/files
    POST            …/mlflow/upload-artifact
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trackbridge.gateway import wire
from trackbridge.gateway.addresses import Kind, Place, safe_path, split
from trackbridge.gateway.artifact_downloads import download
from trackbridge.gateway.artifact_parts import Parts, PartsRequest
from trackbridge.gateway.artifact_places import (
    Files,
    files_at,
    files_of_model,
    files_of_run,
    files_of_version,
)
from trackbridge.gateway.artifact_uploads import body_blocks, declared_bytes, on_thread, upload
from trackbridge.gateway.artifacts import ListAnswer, signed, told
from trackbridge.gateway.authentication import guarded
from trackbridge.gateway.errors import Refused, invalid
from trackbridge.gateway.limits import Limits
from trackbridge.gateway.routes import Scope
from trackbridge.ports.capabilities import Feature

if TYPE_CHECKING:
    from trackbridge.gateway.gateway import Gateway

UPLOADED_BYTES_MAX = 10 * 1024 * 1024
"""Of ``upload-artifact``, as with mlflow's server."""
API = ("/api/2.0", "/ajax-api/2.0")

Endpoint = Callable[[Request], Awaitable[Response]]


def artifact_routes(gateway: Gateway, *, file_bytes_max: int | None = None) -> list[Route]:
    """Return the routes for files.

    Args:
        gateway: The backend and the runs.
        file_bytes_max: Bound of a file that is sent in parts, in bytes; None for that of one file.
    """
    parts = Parts(gateway, file_bytes_max=file_bytes_max or Limits().upload_bytes_max)
    parts.remove_abandoned()
    proxy, ends = _Proxy(gateway), _PartsProxy(parts)
    pages = _Pages(gateway)
    routes: list[Route] = []
    for api in API:
        base = f"{api}/mlflow-artifacts"
        routes += [
            _route(f"{base}/artifacts", proxy.listing, "GET", Scope.READ),
            _route(f"{base}/artifacts/{{path:path}}", proxy.file, "GET", Scope.READ),
            _route(f"{base}/artifacts/{{path:path}}", proxy.take, "PUT", Scope.WRITE, takes_files=True),
            _route(f"{base}/artifacts/{{path:path}}", proxy.delete, "DELETE", Scope.WRITE),
            _route(f"{base}/presigned/{{path:path}}", proxy.presigned, "GET", Scope.READ),
            _route(f"{base}/mpu/create/{{path:path}}", ends.create, "POST", Scope.WRITE),
            _route(f"{base}/mpu/complete/{{path:path}}", ends.complete, "POST", Scope.WRITE),
            _route(f"{base}/mpu/abort/{{path:path}}", ends.abort, "POST", Scope.WRITE),
            _route(
                f"{base}/mpu/part/{{upload_id}}/{{number}}",
                ends.part,
                "PUT",
                Scope.WRITE,
                takes_files=True,
            ),
            _route(f"{api}/mlflow/upload-artifact", pages.upload, "POST", Scope.WRITE),
            _route(
                f"{api}/mlflow/logged-models/{{model_id}}/artifacts/files", pages.of_model, "GET", Scope.READ
            ),
        ]
    return [
        *routes,
        _route("/get-artifact", pages.of_run, "GET", Scope.READ),
        _route("/model-versions/get-artifact", pages.of_version, "GET", Scope.READ),
    ]


def _route(path: str, endpoint: Endpoint, method: str, scope: Scope, *, takes_files: bool = False) -> Route:
    return Route(path, guarded(endpoint, scope, takes_files=takes_files), methods=[method])


class _Proxy:
    """Files by the path that follows the scheme in their address."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def listing(self, request: Request) -> Response:
        """List a folder; paths are names in it."""
        return _json(await on_thread(self._listed, split(request.query_params.get("path", ""))))

    def _listed(self, place: Place) -> ListAnswer:
        is_run = place.kind is Kind.RUN
        files = files_of_run(self._gateway, place.owner) if is_run else files_at(self._gateway, place)
        page = files.list(place.path)
        if page.token is not None:
            raise invalid(f"The folder has more than {len(page):,} files: ask artifacts/list, page by page.")
        return ListAnswer("", told(page, f"{place.path}/" if place.path else ""))

    async def file(self, request: Request) -> Response:
        """Send a file."""
        place = split(request.path_params["path"])
        return await download(request, lambda: (files_at(self._gateway, place), place.path))

    async def take(self, request: Request) -> Response:
        """Take a file."""
        path = request.path_params["path"]
        if path.endswith("/"):
            raise invalid("Artifact path must include a filename (cannot end with '/').")
        await upload(self._gateway, split(path), request.receive, request.headers)
        return Response(status_code=200)

    async def delete(self, request: Request) -> Response:
        """Delete a file, or a folder with all in it."""
        await on_thread(self._delete, split(request.path_params["path"]))
        return _json({})

    def _delete(self, place: Place) -> None:
        reader = self._gateway.client.reader
        reader.capabilities.require(Feature.ARTIFACTS_DELETE, operation="artifacts.delete")
        if place.kind is Kind.MODEL:
            files = files_of_model(self._gateway, place.owner)
        elif place.kind is Kind.RUN:
            files = files_of_run(self._gateway, place.owner)
        else:
            raise invalid("What is registered, and traces, stay as they are.")
        for path in [place.path] if place.path else [info.path for info in files.list("")]:
            files.store.delete(files.owner, files.inside(path))

    async def presigned(self, request: Request) -> Response:
        """Tell an address of the store itself for a file."""
        place = split(request.path_params["path"])
        found = await on_thread(lambda: signed(self._gateway, files_at(self._gateway, place), place.path))
        return _json(found, is_secret=True)


class _PartsProxy:
    """Files that come in parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def create(self, request: Request) -> Response:
        """Begin an upload, and tell where its parts go.

        A client sends parts without what it is let in with. So it is told to send that, its own, as a header,
        and not in clear where it came by a proxy that speaks TLS.
        """
        place, asked = await _asked(request)
        upload_id = await self._parts.begin(place, asked)
        authorization = request.headers.get("authorization")
        headers = {} if authorization is None else {"Authorization": authorization}
        begin = str(request.url.replace(path="", query="", fragment="")).rstrip("/")
        if request.headers.get("x-forwarded-proto", "").lower() == "https":
            begin = begin.replace("http:", "https:", 1)
        base = f"{begin}{request.url.path.partition('/mpu/create')[0]}/mpu/part/{upload_id}"
        credentials = [
            {"url": f"{base}/{number}", "part_number": number, "headers": headers}
            for number in range(1, (asked.num_parts or 1) + 1)
        ]
        return _json({"upload_id": upload_id, "credentials": credentials}, is_secret=True)

    async def part(self, request: Request) -> Response:
        """Take a part."""
        blocks = body_blocks(request.receive, declared_bytes(request.headers))
        upload_id, text = request.path_params["upload_id"], request.path_params["number"]
        number = int(text) if wire.is_ordinal(text) else 0  # which none has
        tag = await self._parts.take(upload_id, number, blocks)
        return Response(status_code=200, headers={"etag": f'"{tag}"'})

    async def complete(self, request: Request) -> Response:
        """Put the parts together."""
        await self._parts.complete(*await _asked(request))
        return _json({})

    async def abort(self, request: Request) -> Response:
        """Drop an upload."""
        await self._parts.abort(*await _asked(request))
        return _json({})


class _Pages:
    """Files as mlflow's own pages ask for them."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def of_run(self, request: Request) -> Response:
        """Send a file of a run."""
        query = request.query_params
        run_id, path = query.get("run_id") or query.get("run_uuid") or "", _path(request, "path")

        def find() -> tuple[Files, str]:
            return files_of_run(self._gateway, run_id), path

        return await download(request, find)

    async def of_version(self, request: Request) -> Response:
        """Send a file of a registered version."""
        name, version = request.query_params.get("name", ""), request.query_params.get("version", "")
        path = _path(request, "path")
        return await download(request, lambda: (files_of_version(self._gateway, name, version), path))

    async def of_model(self, request: Request) -> Response:
        """Send a file of a logged model."""
        model_id = request.path_params["model_id"]
        if not request.query_params.get("artifact_file_path"):
            raise Refused("BAD_REQUEST", 'Request must include the "artifact_file_path" query parameter.')
        path = _path(request, "artifact_file_path")
        return await download(request, lambda: (files_of_model(self._gateway, model_id), path))

    async def upload(self, request: Request) -> Response:
        """Take a small file of a run."""
        run_id = request.query_params.get("run_uuid")
        for name, value in (("run_uuid", run_id), ("path", request.query_params.get("path"))):
            if not value:
                raise invalid(f"Request must specify {name}.")
        path = _path(request, "path")
        if (declared_bytes(request.headers) or 0) > UPLOADED_BYTES_MAX:
            raise invalid("Artifact size is too large. Max size is 10MB.")
        content = await request.body()
        if not content:
            raise invalid("Request must specify data.")
        if len(content) > UPLOADED_BYTES_MAX:
            raise invalid("Artifact size is too large. Max size is 10MB.")
        await upload(self._gateway, Place("", run_id or "", path), _Whole(content).receive, {})
        return Response(media_type="application/json")


class _Whole:
    """A body that is here already."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def receive(self) -> dict[str, Any]:
        """Return it as ASGI's message."""
        return {"type": "http.request", "body": self._content, "more_body": False}


async def _asked(request: Request) -> tuple[Place, PartsRequest]:
    place = split(request.path_params["path"])
    asked = wire.decode(
        PartsRequest,
        method="POST",
        body=await request.body(),
        content_type=request.headers.get("content-type"),
    )
    return place, asked


def _path(request: Request, name: str) -> str:
    found = request.query_params.get(name)
    if not found:
        raise Refused("BAD_REQUEST", f'Request must include the "{name}" query parameter.')
    return safe_path(found)


def _json(content: Any, *, is_secret: bool = False) -> Response:
    headers = {"cache-control": "no-store"} if is_secret else None
    return Response(msgspec.json.encode(content), media_type="application/json", headers=headers)
