"""What a client is told when something cannot be done: mlflow's body of an error, and its HTTP status.

::

    {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "...", "sqlstate": "KAM00", "error_class": "..."}

``sqlstate`` and ``error_class`` are as mlflow 3.17 derives them from the code; its older clients ignore them.
"""

from __future__ import annotations

import msgspec

from trackbridge.api.mlflow_codes import code_of, message_of
from trackbridge.errors import BridgeError, RateLimited

# mlflow/exceptions.py: ERROR_CODE_TO_HTTP_STATUS. Every other code is 500.
STATUSES = {
    "INTERNAL_ERROR": 500,
    "INVALID_STATE": 500,
    "DATA_LOSS": 500,
    "NOT_IMPLEMENTED": 501,
    "TEMPORARILY_UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
    "REQUEST_LIMIT_EXCEEDED": 429,
    "CANCELLED": 499,
    "RESOURCE_EXHAUSTED": 429,
    "ABORTED": 409,
    "RESOURCE_CONFLICT": 409,
    "ALREADY_EXISTS": 409,
    "NOT_FOUND": 404,
    "ENDPOINT_NOT_FOUND": 404,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "PERMISSION_DENIED": 403,
    "CUSTOMER_UNAUTHORIZED": 401,
    "UNAUTHENTICATED": 401,
    "BAD_REQUEST": 400,
    "RESOURCE_ALREADY_EXISTS": 400,
    "INVALID_PARAMETER_VALUE": 400,
}

_USER, _SERVER = "KAM00", "XXM00"
# mlflow/error_classification.py: sqlstate and error class of a code, where it has them.
_CLASSES = {
    "BAD_REQUEST": (_USER, "INVALID_PARAMETER_VALUE"),
    "CUSTOMER_UNAUTHORIZED": (_USER, "PERMISSION_DENIED"),
    "ENDPOINT_NOT_FOUND": (_USER, "RESOURCE_NOT_FOUND"),
    "INTERNAL_ERROR": (_SERVER, "CLIENT_INTERNAL_ERROR"),
    "INVALID_PARAMETER_VALUE": (_USER, "INVALID_PARAMETER_VALUE"),
    "INVALID_STATE": (_SERVER, "CLIENT_INTERNAL_ERROR"),
    "NOT_FOUND": (_USER, "RESOURCE_NOT_FOUND"),
    "PERMISSION_DENIED": (_USER, "PERMISSION_DENIED"),
    "RESOURCE_ALREADY_EXISTS": (_USER, "RESOURCE_ALREADY_EXISTS"),
    "RESOURCE_DOES_NOT_EXIST": (_USER, "RESOURCE_NOT_FOUND"),
    "TEMPORARILY_UNAVAILABLE": (_SERVER, "CLIENT_INTERNAL_ERROR"),
}


class Refused(BridgeError):
    """A request that is answered with one of mlflow's error codes; the message is told as it is."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of an answer that tells an error."""

    error_code: str
    message: str
    sqlstate: str | None = None
    error_class: str | None = None


class ErrorAnswer(msgspec.Struct, frozen=True):
    """An HTTP answer that tells an error; ``headers`` are those beside the content type."""

    status: int
    body: bytes
    headers: dict[str, str] = {}


def invalid(message: str) -> Refused:
    """Return the error of a request with a wrong value."""
    return Refused("INVALID_PARAMETER_VALUE", message)


def missing(parameter: str) -> Refused:
    """Return the error of a request that lacks a parameter, in mlflow's words."""
    return invalid(
        f"Missing value for required parameter '{parameter}'. "
        "See the API docs for more information about request parameters."
    )


def absent(message: str) -> Refused:
    """Return the error of a request for what does not exist."""
    return Refused("RESOURCE_DOES_NOT_EXIST", message)


def error_answer(error: Exception) -> ErrorAnswer:
    """Return how a client is told of an error.

    Of an error that is not one of ours nothing is told but that it happened: it may hold anything.
    """
    if isinstance(error, Refused):
        return answer_of(error.code, error.message)
    if not isinstance(error, BridgeError):
        return answer_of("INTERNAL_ERROR", "the gateway failed; its log says why")
    limited = error if isinstance(error, RateLimited) else error.__cause__
    headers = {}
    if isinstance(limited, RateLimited) and limited.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(limited.retry_after_s)))
    return answer_of(code_of(error), message_of(error), headers)


def answer_of(code: str, message: str, headers: dict[str, str] | None = None) -> ErrorAnswer:
    """Return the answer for an error code of mlflow's."""
    sqlstate, error_class = _CLASSES.get(code, (None, None))
    told = message.encode("utf-8", "backslashreplace").decode()  # a lone surrogate is no text
    body = ErrorBody(code, told, sqlstate, error_class)
    return ErrorAnswer(STATUSES.get(code, 500), msgspec.json.encode(body), headers or {})
