"""From the answers of an MLflow server to our errors: one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests

from trackbridge.domain.secrets import shown
from trackbridge.errors import AuthError, BridgeError, NotFound, RateLimited, Rejected, Unavailable
from trackbridge.transport.http import error_of_status, retry_after_s

MESSAGE_CHARS_MAX = 500

CODES: dict[str, type[BridgeError]] = {
    "RESOURCE_DOES_NOT_EXIST": NotFound,
    "NOT_FOUND": NotFound,
    "RESOURCE_ALREADY_EXISTS": Rejected,
    "INVALID_PARAMETER_VALUE": Rejected,
    "BAD_REQUEST": Rejected,
    "INVALID_STATE": Rejected,
    "MALFORMED_REQUEST": Rejected,
    "RESOURCE_LIMIT_EXCEEDED": Rejected,
    "QUOTA_EXCEEDED": Rejected,
    "PERMISSION_DENIED": AuthError,
    "UNAUTHENTICATED": AuthError,
    "CUSTOMER_UNAUTHORIZED": AuthError,
    "TEMPORARILY_UNAVAILABLE": Unavailable,
    "INTERNAL_ERROR": Unavailable,
}
"""Error codes of MLflow (mlflow/protos/databricks_pb2) and the errors that they are here."""

API = ("/api/2.0/mlflow/", "/api/3.0/mlflow/", "/v1/traces")
MISSING_ROUTE_CODES = frozenset({"", "ENDPOINT_NOT_FOUND"})

DATABASE_TROUBLE = "(Background on this error at: https://sqlalche.me"
"""What SQLAlchemy says of a database that is locked, or in which two writes met; servers answer 400 then, and
the same call succeeds later."""

PARAM_CONFLICT = "Changing param values is not allowed"
"""What a server says to another value of a param; one whose store is a folder answers 500 with it."""

THROTTLED = frozenset({"REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "Throttled"})


class RouteMissing(Unavailable):
    """Nobody answers at a route of the protocol.

    An old or partial server lacks it; or an ingress answers for a server that is being replaced. So it may
    be there later, and says nothing about the run or model that was asked for.
    """


def code_of(body: Mapping[str, Any]) -> str:
    """Return the error code in an answer of either style, "" without one."""
    nested = body.get("error")
    if isinstance(nested, Mapping) and "error_code" not in body:
        return str(nested.get("code") or "")
    return str(body.get("error_code") or "")


def message_of(body: Mapping[str, Any]) -> str:
    """Return what the server says in words."""
    nested = body.get("error") or body.get("Error")  # Azure ML's MLflow routes write capitals
    if isinstance(nested, Mapping):
        text = nested.get("message") or nested.get("Message")
    else:
        text = body.get("message")
    return shown(str(text or ""), chars_max=MESSAGE_CHARS_MAX)


def error_of(
    answer: requests.Response, body: Mapping[str, Any], resource: str, *, adapter: str
) -> BridgeError:
    """Return the error for an answer with a status of 400 or more.

    The code decides where the server gives one that we know, else the status. A code that is permanent does
    not hide a status that is not: a gateway's 503 stays ``Unavailable``.
    """
    code, message = code_of(body), message_of(body)
    if code in THROTTLED:
        return RateLimited(message, retry_after_s=retry_after_s(answer), adapter=adapter, resource=resource)
    if answer.status_code in (404, 405) and code in MISSING_ROUTE_CODES and resource.startswith(API):
        hint = "check the address; an old server, or a proxy whose server is away, answers like this"
        text = f"nobody answers at {resource} (status {answer.status_code})"
        return RouteMissing(text, adapter=adapter, resource=resource, hint=hint)
    if DATABASE_TROUBLE in message:
        text = f"the server's database failed; two writes may have met: {message}"
        return Unavailable(text, adapter=adapter, resource=resource)
    if PARAM_CONFLICT in message:
        return Rejected(f"{message} (status {answer.status_code})", adapter=adapter, resource=resource)
    kind = CODES.get(code)
    if kind is None or answer.status_code in (401, 403, 408, 429, 502, 503, 504):
        return error_of_status(answer, message or code, adapter=adapter, resource=resource)
    return kind(f"{message or code} (status {answer.status_code})", adapter=adapter, resource=resource)
