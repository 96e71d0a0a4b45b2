"""Refusals of AWS in each of its shapes, and what they are here."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.unit.adapters.sagemaker.rig import ARN
from trackbridge.errors import AuthError, BridgeError, RateLimited, Rejected, Unavailable
from trackbridge_adapters._mlflow_rest.errors import RouteMissing
from trackbridge_adapters.sagemaker.arn import parse_arn
from trackbridge_adapters.sagemaker.config import access_of
from trackbridge_adapters.sagemaker.errors import error_of

DENIED = (
    f"User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: sagemaker-mlflow:LogBatch on {ARN}"
)


def translated(
    status: int, body: dict[str, Any], headers: dict[str, str] | None = None, **options: str
) -> BridgeError | None:
    answer = requests.Response()
    answer.status_code = status
    answer.headers.update(headers or {})
    answer._content = json.dumps(body).encode()
    arn = parse_arn(ARN)
    return error_of(answer, body, "/api/2.0/mlflow/runs/log-batch", arn, access_of(arn, options, {}))


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "hint"),
    [
        (403, "AccessDeniedException", DENIED, AuthError, f"allow sagemaker-mlflow:LogBatch on {ARN}"),
        (403, "ExpiredTokenException", "The token expired", AuthError, "aws sso login --profile team"),
        (403, "UnrecognizedClientException", "invalid", AuthError, "AWS_SESSION_TOKEN"),
        (403, "InvalidSignatureException", "Signature expired: 1 is now earlier", AuthError, "timedatectl"),
        (403, "RequestTimeTooSkewed", "too large", AuthError, "timedatectl"),
        (403, "SignatureDoesNotMatch", "does not match", AuthError, "AWS_SECRET_ACCESS_KEY"),
        (
            403,
            "InvalidSignatureException",
            "Credential should be scoped to a valid region",
            AuthError,
            "region",
        ),
        (403, "MissingAuthenticationTokenException", "Missing Authentication Token", AuthError, "proxy"),
        (400, "ThrottlingException", "Rate exceeded", RateLimited, "slowly"),
        (429, "TooManyRequestsException", "", RateLimited, "slowly"),
        (503, "ServiceUnavailableException", "", Unavailable, "list-mlflow-tracking-servers"),
        (404, "ResourceNotFound", "no such server", RouteMissing, "list-mlflow-tracking-servers"),
        (403, "AccessDenied", "Forbidden", AuthError, "sagemaker-mlflow:*"),
        (400, "ValidationException", "a value is wrong", Rejected, "correct"),
    ],
)
@pytest.mark.parametrize("shape", ["header", "header with address", "type", "code", "Message"])
def test_every_shape(
    shape: str, status: int, code: str, message: str, kind: type[BridgeError], hint: str
) -> None:
    headers, body = {}, {"message": message}
    if shape == "header":
        headers = {"x-amzn-ErrorType": code}
    elif shape == "header with address":
        headers = {"x-amzn-ErrorType": f"{code}:http://internal.amazon.com/coral/com.amazon.coral.service/"}
    elif shape == "type":
        body = {"__type": f"com.amazon.coral.service#{code}", **body}
    elif shape == "code":
        body = {"code": code, **body}
    else:
        headers, body = {"x-amzn-errortype": code}, {"Message": message}
    error = translated(status, body, headers, profile="team")
    assert type(error) is kind
    assert hint in (error.hint or "")
    assert code in str(error)


def test_a_gateways_words_without_a_code() -> None:
    expired = translated(403, {"message": "The security token included in the request is expired"})
    assert isinstance(expired, AuthError)
    assert "new credentials" in (expired.hint or "")
    denied = translated(403, {"Message": DENIED})
    assert isinstance(denied, AuthError)
    assert "sagemaker-mlflow:LogBatch" in (denied.hint or "")


def test_retry_after_is_kept() -> None:
    error = translated(429, {"message": "Rate exceeded"}, {"Retry-After": "7"})
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 7


@pytest.mark.parametrize(
    "body",
    [
        {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "Run not found; AccessDenied"},
        {"error_code": "INTERNAL_ERROR", "message": "ExpiredToken"},
        {},
        {"message": "Not Found"},
        {"message": None, "code": 7},
    ],
)
def test_what_mlflow_itself_says_is_left_to_the_shared_table(body: dict[str, Any]) -> None:
    assert translated(404, body) is None


def test_a_secret_in_a_refusal_is_not_told() -> None:
    error = translated(403, {"message": "AccessDenied: token=verysecretvalue AKIAABCDEFGHIJKLMNOP"})
    assert "verysecretvalue" not in str(error)
    assert "AKIAABCDEFGHIJKLMNOP" not in str(error)
