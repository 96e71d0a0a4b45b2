"""The OpenAPI document of the REST API, made from the table of routes and the Structs of their requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from trackbridge._version import __version__
from trackbridge.gateway.routes import Route

SCHEMAS = "#/components/schemas/"
PART = re.compile(r"\{(\w+)(?::\w+)?\}")
ANSWERS = {
    "400": "The request is wrong; the message says what and where.",
    "401": "No token of this server was shown.",
    "403": "The token may read only, or the request comes from a foreign page.",
    "404": "There is no such thing.",
    "409": "There is something of that name already.",
    "413": "The body is too large.",
    "429": "Too many requests; see Retry-After.",
    "500": "The gateway failed; its log says why, under X-Request-Id.",
    "501": "The backend cannot do this.",
    "503": "The backend is not to be reached, or the gateway is ending.",
}
STATE = {
    "/health": "Whether the gateway is up; with deep=1 also whether its backend is.",
    "/version": "The version of mlflow whose server it stands in for; ours is in X-Trackbridge-Version.",
    "/metrics": "Numbers for Prometheus.",
    "/openapi.json": "This document.",
}


def openapi(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the document; routes under ``/ajax-api`` are the same again and left out."""
    kinds = list(dict.fromkeys(route.request for route in routes))
    schemas, components = msgspec.json.schema_components(kinds, ref_template=SCHEMAS + "{name}")
    names = [schema["$ref"].removeprefix(SCHEMAS) for schema in schemas]
    by_kind = dict(zip(kinds, names, strict=True))
    for kind, name in by_kind.items():
        components[name]["required"] = list(kind.required)
    paths: dict[str, dict[str, Any]] = {
        path: {"get": {"summary": text, "responses": {"200": {"description": "As asked."}, **_failures()}}}
        for path, text in STATE.items()
    }
    for route in routes:
        for path in route.paths:
            if path.startswith("/api/"):
                described = _operation(route, path, by_kind, components)
                paths.setdefault(PART.sub(r"{\1}", path), {})[route.method.lower()] = described
    with_bodies = {route.request for route in routes if route.method != "GET"}
    for kind, name in by_kind.items():
        if kind not in with_bodies:  # its fields are parameters of the query
            del components[name]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "trackbridge gateway",
            "version": __version__,
            "description": "MLflow's REST API in front of any backend.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": components,
            "responses": {status: _failure(text) for status, text in ANSWERS.items()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic"},
            },
        },
        "security": [{}, {"token": []}, {"password": []}],
    }


def _operation(
    route: Route, path: str, by_kind: dict[Any, str], components: dict[str, Any]
) -> dict[str, Any]:
    parts = PART.findall(path)
    told: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', path.lower()).strip('_')}",
        "summary": _first_line(route.handler.__doc__),
        "tags": [route.path.partition("/")[0]],
        "x-scope": route.scope.value,
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": {"type": "object"}}}},
            **_failures(),
        },
    }
    parameters = [
        {"name": part, "in": "path", "required": True, "schema": {"type": "string"}} for part in parts
    ]
    if route.method == "GET":
        fields = components[by_kind[route.request]]
        parameters += [
            {"name": name, "in": "query", "required": name in fields["required"], "schema": schema}
            for name, schema in fields["properties"].items()
            if name not in parts
        ]
    else:
        told["requestBody"] = {
            "required": bool(set(route.request.required) - set(parts)),
            "content": {"application/json": {"schema": {"$ref": SCHEMAS + by_kind[route.request]}}},
        }
    if parameters:
        told["parameters"] = parameters
    return told


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def _failures() -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in ANSWERS}


def _failure(text: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("error_code", "message")},
        "required": ["error_code", "message"],
    }
    return {"description": text, "content": {"application/json": {"schema": schema}}}
