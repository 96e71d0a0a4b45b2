"""Requests of mlflow's REST API to a gateway in this process, without a server between."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.routing import compile_path

from trackbridge.gateway import wire
from trackbridge.gateway.errors import error_answer
from trackbridge.gateway.gateway import Gateway
from trackbridge.gateway.routes import Route, all_routes


class Calls:
    """Calls a gateway by method and path, as a client does."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    def raw(self, method: str, path: str, body: Any = None, version: str = "2.0") -> tuple[int, Any]:
        """Return status and JSON of the answer."""
        split = urlsplit(path)
        try:
            route, parameters = _found(method, f"/api/{version}/mlflow/{split.path}")
            request = wire.decode(
                route.request,
                method=method,
                query=parse_qsl(split.query, keep_blank_values=True),
                body=b"" if body is None else json.dumps(body).encode(),
                content_type="application/json",
                path_parameters=parameters,
            )
            return 200, json.loads(wire.encode(route.handler(self.gateway, request)))
        except Exception as error:  # as the server: whatever it is, a client is answered
            answer = error_answer(error)
            if answer.status == 500 and json.loads(answer.body)["error_code"] == "INTERNAL_ERROR":
                raise
            return answer.status, json.loads(answer.body)

    def __call__(self, method: str, path: str, body: Any = None, version: str = "2.0") -> Any:
        """Return the JSON of an answer that must be a good one."""
        status, answer = self.raw(method, path, body, version)
        assert status == 200, (status, answer)
        return answer

    def code(self, method: str, path: str, body: Any = None, version: str = "2.0") -> str:
        """Return the error code of an answer that must be a bad one."""
        status, answer = self.raw(method, path, body, version)
        assert status >= 400, answer
        return str(answer["error_code"])


def _found(method: str, path: str) -> tuple[Route, dict[str, str]]:
    for route in all_routes():
        for known in route.paths:
            found = compile_path(known)[0].match(path) if route.method == method else None
            if found is not None:
                return route, found.groupdict()
    raise AssertionError(f"no route {method} {path}")
