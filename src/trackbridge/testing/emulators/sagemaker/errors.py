"""Refusals in the form that each of AWS's protocols has for them."""

from __future__ import annotations

from xml.sax.saxutils import escape

from trackbridge.testing.emulators.sagemaker.protocol import Answer, write_error
from trackbridge.testing.emulators.sagemaker.refusal import Refused
from trackbridge.testing.emulators.sagemaker.requests import Request

_STORAGE_CODES = {
    "ThrottlingException": ("SlowDown", 503),
    "AccessDeniedException": ("AccessDenied", 403),
    "ExpiredTokenException": ("ExpiredToken", 400),
    "UnrecognizedClientException": ("InvalidAccessKeyId", 403),
    "MissingAuthenticationTokenException": ("AccessDenied", 403),
    "InvalidSignatureException": ("SignatureDoesNotMatch", 403),
    "InternalFailure": ("InternalError", 500),
}
"""S3's names of what other services call otherwise, with its status."""
_QUERY_CODES = {
    "ThrottlingException": "Throttling",
    "AccessDeniedException": "AccessDenied",
    "ExpiredTokenException": "ExpiredToken",
    "UnrecognizedClientException": "InvalidClientTokenId",
    "MissingAuthenticationTokenException": "MissingAuthenticationToken",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "UnknownOperationException": "InvalidAction",
}
"""Those of the services with the query protocol (STS, IAM)."""


def told(request: Request, refused: Refused, request_id: str, *, is_rest: bool = False) -> Answer:
    """Return how a request is told that it was refused."""
    if is_rest or request.headers.get("X-Amz-Target"):
        return write_error(refused, request_id, is_rest=is_rest)
    if request.service == "s3":
        return _of_storage(request, refused, request_id)
    if "cbor" in (request.headers.get("Content-Type") or ""):
        return write_error(refused, request_id, is_rest=True)
    return _of_query(refused, request_id)


def _of_storage(request: Request, refused: Refused, request_id: str) -> Answer:
    code, status = _STORAGE_CODES.get(refused.code, (refused.code, refused.status))
    if code == "SignatureDoesNotMatch" and refused.message.startswith(
        ("Signature expired", "Signature not yet")
    ):
        code = "RequestTimeTooSkewed"
    more = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in refused.fields.items())
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{escape(code)}</Code>'
        f"<Message>{escape(refused.message)}</Message>{more}<RequestId>{request_id}</RequestId></Error>"
    )
    headers = {"Content-Type": "application/xml", "x-amz-request-id": request_id}
    if "Region" in refused.fields:
        headers["x-amz-bucket-region"] = str(refused.fields["Region"])
    return Answer(status, headers, text.encode())


def _of_query(refused: Refused, request_id: str) -> Answer:
    code = _QUERY_CODES.get(refused.code, refused.code)
    error = f"<Type>Sender</Type><Code>{escape(code)}</Code><Message>{escape(refused.message)}</Message>"
    text = f"<ErrorResponse><Error>{error}</Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    return Answer(refused.status, {"Content-Type": "text/xml"}, text.encode())
