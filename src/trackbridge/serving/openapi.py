"""The OpenAPI document of one server, made from its model's signature; and the page that shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from trackbridge.domain.serving import ServingSettings

_TYPES: dict[str, dict[str, Any]] = {
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "format": "int32"},
    "long": {"type": "integer", "format": "int64"},
    "float": {"type": "number", "format": "float"},
    "double": {"type": "number", "format": "double"},
    "string": {"type": "string"},
    "binary": {"type": "string", "contentEncoding": "base64"},
    "datetime": {"type": "string", "format": "date-time"},
}
_EXAMPLES: dict[str, Any] = {
    "boolean": True,
    "integer": 1,
    "long": 1,
    "float": 0.5,
    "double": 0.5,
    "string": "text",
    "binary": "Ynl0ZXM=",
    "datetime": "2026-01-31T12:00:00",
}
_ANSWERS = {
    "400": "The payload is wrong; the message says what and where.",
    "401": "The bearer token is missing or wrong.",
    "408": "The request did not arrive in time.",
    "413": "The body is too large.",
    "415": "The content type is not understood.",
    "429": "Too many requests wait already; see Retry-After.",
    "500": "The model failed on a payload that fits its signature; request_id is in the server's log.",
    "503": "The model is not loaded, or the server is ending.",
    "504": "There was no time left.",
}


def docs_page() -> bytes:
    """Return the page of ``/docs``; it needs nothing but ``/openapi.json``."""
    return Path(__file__).with_name("docs_page.html").read_bytes()


def openapi(settings: ServingSettings, model: Any) -> bytes:
    """Return the document as JSON."""
    names = [str(spec.name) for spec in _named(model.input_schema)]
    content = {
        "application/json": {"schema": _payload(model), "example": _example(model)},
        "text/csv": {"schema": {"type": "string"}, "example": ",".join(names)},
    }
    token: dict[str, Any] = {"token": {"type": "http", "scheme": "bearer"}} if settings.token_file else {}
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": settings.name,
            "version": "1",
            "description": f"Scores {settings.model or 'a model'}.",
        },
        "paths": {
            "/invocations": {
                "post": {
                    "summary": "Score rows with the model.",
                    "requestBody": {"required": True, "content": content},
                    "responses": {
                        "200": _success(model),
                        **{status: _failure(status) for status in _ANSWERS},
                    },
                }
            },
            **{path: {"get": _page(text)} for path, text in _PAGES.items()},
        },
        "components": {"securitySchemes": token},
        "security": [{name: []} for name in token],
    }
    return msgspec.json.encode(document)


_PAGES = {
    "/ping": "200 when the model is loaded.",
    "/health": "The same as /ping.",
    "/version": "The version of mlflow.",
    "/metrics": "Metrics for Prometheus.",
}


def _page(text: str) -> dict[str, Any]:
    return {"summary": text, "responses": {"200": {"description": "As asked."}}}


def _success(model: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"predictions": {}},
        "required": ["predictions"],
    }
    if model.output_schema is not None:
        schema["properties"]["predictions"]["description"] = str(model.output_schema)
    return {"description": "The predictions.", "content": {"application/json": {"schema": schema}}}


def _failure(status: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("error_code", "message")},
    }
    return {"description": _ANSWERS[status], "content": {"application/json": {"schema": schema}}}


def _named(schema: Any) -> list[Any]:
    return list(schema.inputs) if schema is not None and schema.has_input_names() else []


def _column(spec: Any) -> dict[str, Any]:
    return _TYPES.get(getattr(spec.type, "name", ""), {"description": str(spec.type)})


def _payload(model: Any) -> dict[str, Any]:
    columns = _named(model.input_schema)
    record: dict[str, Any] = {
        "type": "object",
        "properties": {spec.name: _column(spec) for spec in columns},
        "required": [spec.name for spec in columns if spec.required],
    }
    split = {
        "type": "object",
        "properties": {
            "columns": {"type": "array", "items": {"type": "string"}},
            "index": {"type": "array"},
            "data": {"type": "array", "items": {"type": "array"}},
        },
        "required": ["data"],
    }
    params: dict[str, Any] = {"type": "object"}
    if model.params_schema is not None:
        params["properties"] = {
            spec.name: {"description": f"{spec.dtype}, by default {spec.default!r}"}
            for spec in model.params_schema.params
        }
    forms = {
        "dataframe_split": split,
        "dataframe_records": {"type": "array", "items": record},
        "inputs": {},
        "instances": {},
        "input_data": {},
    }
    return {
        "oneOf": [
            {"type": "object", "properties": {name: form, "params": params}, "required": [name]}
            for name, form in forms.items()
        ]
    }


def _example(model: Any) -> dict[str, Any]:
    columns = _named(model.input_schema)
    if not columns:
        return {"inputs": []}
    row = [_EXAMPLES.get(getattr(spec.type, "name", "")) for spec in columns]
    return {"dataframe_split": {"columns": [spec.name for spec in columns], "data": [row]}}
