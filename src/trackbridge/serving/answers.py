"""What a server answers, and why it refuses: in the shape of mlflow's server, never with a stack trace."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from trackbridge.errors import Rejected

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"
MESSAGE_CHARS_MAX = 4000

STATUS_OF = {
    "BAD_REQUEST": 400,
    "UNAUTHENTICATED": 401,
    "ENDPOINT_NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "REQUEST_TIMEOUT": 408,
    "REQUEST_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "REQUEST_LIMIT_EXCEEDED": 429,
    "INTERNAL_ERROR": 500,
    "TEMPORARILY_UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""Status of each error code that we give ourselves; mlflow's where it has one for the case."""

Headers = tuple[tuple[bytes, bytes], ...]


class Answer(NamedTuple):
    """One answer; ``is_last`` closes the connection after it.

    ``rows`` is how many predictions it holds, ``scoring_s`` how long the model was at work, in seconds.
    """

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Headers = ()
    is_last: bool = False
    rows: int = 0
    scoring_s: float = 0.0


class Refusal(Rejected):
    """A request that is answered with an error.

    Args:
        error_code: As in mlflow's answers; see ``STATUS_OF``.
        message: What is wrong, and where; a long one is cut in the middle.
        status: The HTTP status; by default the one of the error code.
        headers: Further headers of the answer.
        details: Further members of the answer, as mlflow's ``sqlstate``.
        is_last: Close the connection, because the rest of the request was not read.
        is_failure: Our log holds the cause, under the request's id; so it is for every status from 500 on.
    """

    def __init__(
        self,
        error_code: str,
        message: str,
        *,
        status: int | None = None,
        headers: Headers = (),
        details: dict[str, Any] | None = None,
        is_last: bool = False,
        is_failure: bool = False,
    ) -> None:
        super().__init__(clipped(message))
        self.error_code = error_code
        self.status = STATUS_OF[error_code] if status is None else status
        self.headers = headers
        self.details = details or {}
        self.is_last = is_last
        self.is_failure = is_failure or self.status >= 500

    def answer(self, request_id: str) -> Answer:
        """Return the answer; one whose cause is in our log names the request, so that it is found there."""
        content: dict[str, Any] = {"error_code": self.error_code, "message": self.message, **self.details}
        if self.is_failure:
            content["request_id"] = request_id
        return Answer(self.status, msgspec.json.encode(content), JSON, self.headers, self.is_last)


def bad_request(message: str) -> Refusal:
    """Return the refusal of a payload, worded as mlflow words it."""
    return Refusal("BAD_REQUEST", f"Invalid input. {message}")


def refusal_of(error: Any, *, prefix: str = "") -> Refusal:
    """Return the refusal that an MlflowException stands for, without its stack trace."""
    details = {
        "sqlstate": getattr(error, "sqlstate", None),
        "error_class": getattr(error, "error_class", None),
    }
    return Refusal(
        str(error.error_code),
        f"{prefix}{error.message}",
        status=int(error.get_http_status_code()),
        details={name: value for name, value in details.items() if value is not None},
    )


def clipped(message: str) -> str:
    """Return a message without what is too much of it: mlflow puts whole payloads into some."""
    message = message.encode("utf-8", "replace").decode("utf-8")
    if len(message) <= MESSAGE_CHARS_MAX:
        return message
    half = MESSAGE_CHARS_MAX // 2
    return f"{message[:half]} ... {message[-half:]}"
