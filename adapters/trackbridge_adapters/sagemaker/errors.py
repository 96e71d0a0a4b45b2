"""From AWS's refusals to our errors: one table.

In front of MLflow stands AWS, which answers in its own ways: a code in the header ``x-amzn-ErrorType`` or in
``__type``, a text in ``message`` or ``Message``. What MLflow itself answers has an ``error_code``, and is not
touched here. A gateway's answer may have no code at all, so the text counts too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import requests

from trackbridge.domain.secrets import shown
from trackbridge.errors import AuthError, BridgeError, RateLimited, Rejected, Unavailable
from trackbridge.transport.http import retry_after_s
from trackbridge_adapters._mlflow_rest.errors import MESSAGE_CHARS_MAX, RouteMissing
from trackbridge_adapters.sagemaker.arn import ADAPTER, MlflowArn
from trackbridge_adapters.sagemaker.config import Access

WRONG_TIME = re.compile(
    r"RequestTimeTooSkewed|RequestExpired|RequestInTheFuture|Signature expired|Signature not yet current"
)
EXPIRED = re.compile(r"ExpiredToken|token included in the request is expired|TokenRefreshRequired")
UNKNOWN_KEY = re.compile(
    r"UnrecognizedClient|InvalidClientTokenId|InvalidAccessKeyId|InvalidToken"
    r"|security token included in the request is invalid"
)

Asked = TypeVar("Asked")
"""What was asked: the server of an ARN, or a place."""


@dataclass(frozen=True, slots=True)
class Rule(Generic[Asked]):
    """What one kind of refusal is here, and what to do about it. The pattern is sought in "CODE: message"."""

    pattern: re.Pattern[str]
    kind: type[BridgeError]
    hint: Callable[[re.Match[str], Asked, Access], str]


def of_profile(access: Access) -> str:
    """Return how AWS's command is told of the profile."""
    return f" --profile {access.profile}" if access.profile else ""


WRONG_CLOCK: Rule[Any] = Rule(
    WRONG_TIME,
    AuthError,
    lambda found, asked, access: (
        "set this machine's clock (timedatectl set-ntp true): AWS takes signatures up to 5 minutes off"
    ),
)
EXPIRED_KEY: Rule[Any] = Rule(
    EXPIRED,
    AuthError,
    lambda found, asked, access: (
        f"get new credentials: aws sso login{of_profile(access)}, or export new AWS_… variables"
    ),
)
NO_SUCH_KEY: Rule[Any] = Rule(
    UNKNOWN_KEY,
    AuthError,
    lambda found, asked, access: (
        "the key was deleted, is of another partition, or its AWS_SESSION_TOKEN is missing; "
        f"see: aws sts get-caller-identity{of_profile(access)}"
    ),
)
WRONG_SIGNATURE: Rule[Any] = Rule(
    re.compile(r"SignatureDoesNotMatch|InvalidSignature|IncompleteSignature|signature we calculated"),
    AuthError,
    lambda found, asked, access: (
        "check AWS_SECRET_ACCESS_KEY; a proxy that changes requests breaks signatures too"
    ),
)
NO_SIGNATURE: Rule[Any] = Rule(
    re.compile(r"(?i)Missing ?Authentication ?Token"),
    AuthError,
    lambda found, asked, access: (
        "a proxy took the signature off, or AWS has no such route: check the endpoint"
    ),
)
THROTTLED: Rule[Any] = Rule(
    re.compile(r"Throttl|TooManyRequests|RequestLimitExceeded|Rate exceeded|^SlowDown"),
    RateLimited,
    lambda found, asked, access: "it is tried again, more slowly",
)

RULES: tuple[Rule[MlflowArn], ...] = (
    WRONG_CLOCK,
    Rule(
        re.compile(r"not authorized to perform: (?P<action>[\w-]+:\w+)"),
        AuthError,
        lambda found, arn, access: (
            f"allow {found['action']} on {arn.text} in the policies of "
            f"{access.role_arn or 'your user or role'}"
        ),
    ),
    EXPIRED_KEY,
    NO_SUCH_KEY,
    Rule(
        re.compile(r"scoped to (?:a valid region|correct service)"),
        AuthError,
        lambda found, arn, access: (
            f"the server is not of the region {arn.region}, or of another kind: see {arn.command}"
        ),
    ),
    WRONG_SIGNATURE,
    NO_SIGNATURE,
    THROTTLED,
    Rule(
        re.compile(r"^(?:ServiceUnavailable|InternalFailure|InternalServer|ServiceFault)"),
        Unavailable,
        lambda found, arn, access: f"is the server started? see: {arn.command}",
    ),
    Rule(
        re.compile(r"^ResourceNotFound"),
        RouteMissing,  # says nothing about the run that was asked for
        lambda found, arn, access: f"check region, account and name in the ARN: {arn.command}",
    ),
    Rule(
        re.compile(r"^(?:AccessDenied|Forbidden|NotAuthorized|Unauthorized)"),
        AuthError,
        lambda found, arn, access: (
            f"check the ARN, and that your role may use sagemaker-mlflow:* on it: {arn.command}"
        ),
    ),
    Rule(
        re.compile(r"^(?:Validation|InvalidParameter|SerializationException)"),
        Rejected,
        lambda found, arn, access: "correct the request: the same one will never be taken",
    ),
)


def told_by(answer: requests.Response, body: Mapping[str, Any]) -> str | None:
    """Return "CODE: message" of a refusal of AWS's; None where MLflow itself answers."""
    if answer.status_code < 400 or "error_code" in body:
        return None
    code = answer.headers.get("x-amzn-ErrorType") or str(body.get("__type") or body.get("code") or "")
    code = code.partition(":")[0].rpartition("#")[2]  # "…#Name", "Name:http://…"
    message = shown(str(body.get("message") or body.get("Message") or ""), chars_max=MESSAGE_CHARS_MAX)
    return f"{code}: {message}" if code and message else code or message or None


def error_of(
    answer: requests.Response, body: Mapping[str, Any], resource: str, arn: MlflowArn, access: Access
) -> BridgeError | None:
    """Return the error that a refusal of AWS's stands for; None for any other answer."""
    told = told_by(answer, body)
    if told is None:
        return None
    for rule in RULES:
        found = rule.pattern.search(told)
        if found is None:
            continue
        text, hint = f"{told} (status {answer.status_code})", rule.hint(found, arn, access)
        if rule.kind is RateLimited:
            wait_s = retry_after_s(answer)
            return RateLimited(text, retry_after_s=wait_s, adapter=ADAPTER, resource=resource, hint=hint)
        return rule.kind(text, adapter=ADAPTER, resource=resource, hint=hint)
    return None
