"""What Azure's services say when they refuse something, and what to do about it: one table.

Codes come from ARM (``error.code``) and, deeper, from the workspace's own services: ``error.code`` is then
``UserError``, and the reason is the innermost ``innererror`` (or ``innerError``). Colours of a terminal,
which some messages carry, are taken out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import requests

from trackbridge.domain.secrets import shown
from trackbridge.errors import AuthError, BridgeError, Conflict, NotFound, RateLimited, Rejected, Unavailable
from trackbridge.transport.http import Authentication, error_of_status, retry_after_s
from trackbridge_adapters._mlflow_rest.errors import code_of, message_of
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.sign_in import Way, way_of

ROLE_HINT = "ask an owner of the workspace for the role 'AzureML Data Scientist' on it"

ARM_CODES: Mapping[str, tuple[type[BridgeError], str]] = {
    "SubscriptionNotFound": (NotFound, "check the subscription's id: az account list"),
    "InvalidSubscriptionId": (NotFound, "check the subscription's id: az account list"),
    "ResourceGroupNotFound": (NotFound, "check the resource group: az group list"),
    "ResourceNotFound": (NotFound, "check the workspace's name: az ml workspace list"),
    "NotFoundError": (NotFound, "check name and version"),
    "ScopeLocked": (Rejected, "the resource is locked against changes: ask who set the lock"),
    "ReadOnlyDisabledSubscription": (Rejected, "the subscription is disabled: ask who pays for it"),
    "MissingSubscriptionRegistration": (
        Rejected,
        "register the provider once: az provider register -n Microsoft.MachineLearningServices",
    ),
    "NoRegisteredProviderFound": (Rejected, "this cloud or region lacks the API version: update trackbridge"),
    "InvalidResourceType": (Rejected, "this cloud or region lacks the kind of resource"),
    "InvalidApiVersionParameter": (Rejected, "this cloud lacks the API version: update trackbridge"),
    "RequestDisallowedByPolicy": (Rejected, "a policy of the organisation forbids it: ask who manages it"),
    "QuotaExceeded": (Rejected, "ask for a higher quota in the portal"),
    "ImmutableError": (Conflict, "the version is taken by another payload: register a new version"),
    "ConflictError": (Conflict, "somebody else changed it: look again"),
    "TooManyRequests": (RateLimited, "wait; Azure says how long"),
    "OutOfQuota": (Rejected, "ask for a higher quota in the portal, or choose fewer or smaller machines"),
    "OutOfCapacity": (Rejected, "the region has no such machines left: another instance type, or later"),
    "ResourceNotReady": (Rejected, "see why it did not start: bridge endpoints logs"),
    "ImageBuildFailure": (Rejected, "see the build's log in the studio, and correct what the image requires"),
    "OperationNotAllowed": (Rejected, "ask for a higher quota in the portal"),
}
"""Codes that say more than the status that they come with, and what to do."""

IMMUTABLE = ("Asset paths cannot be updated", "it cannot be recreated")
"""What the services say of a version whose number is taken, or was; the code is but ``UserError``."""

_TENANT = re.compile(r"must match (?:one of )?the tenants? '?https://sts\.[a-z.]+/([0-9a-fA-F-]{36})")
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
DEPTH_MAX = 20
"""Of reasons within reasons."""


def refusal_of(
    answer: requests.Response,
    body: Mapping[str, Any],
    resource: str | None = None,
    *,
    authentication: Authentication | None = None,
) -> AuthError | None:
    """Return the error for an answer with the status 401 or 403; None for any other answer.

    Args:
        answer: What came back.
        body: The JSON in it.
        resource: The thing concerned.
        authentication: What was signed in with, whose way to a new token the hint names.
    """
    status = answer.status_code
    if status not in (401, 403):
        return None
    code, message = code_of(body), message_of(body)
    text = f"{message or code or answer.reason or 'refused'} (status {status})"
    hint = refusal_hint(code, message, status, way_of(authentication))
    return AuthError(text, adapter=ADAPTER, resource=resource, hint=hint)


def refusal_hint(code: str, message: str, status: int, way: Way) -> str:
    """Return what to do after a 401 or 403, by how the one who was refused signs in."""
    if "Tenant" in code or "wrong issuer" in message:
        found = _TENANT.search(message)
        return f"the token is of another tenant: {way.tenant(found[1] if found else 'TENANT')}"
    if "Expired" in code or "expir" in message:
        return f"the token has expired: {way.renewal}; and check this machine's clock"
    if "Audience" in code or "audience" in message:
        return f"the token is for another service: {way.audience}"
    if status == 403:
        return ROLE_HINT
    return f"the token is refused: {way.renewal}"


def arm_error(
    answer: requests.Response,
    body: Mapping[str, Any],
    resource: str,
    *,
    authentication: Authentication | None = None,
) -> BridgeError:
    """Return the error for an answer of ARM with a status of 400 or more.

    The status decides about sign-in, throttling and outages; else the innermost code that the table knows.
    """
    status = answer.status_code
    where = resource_of(resource)
    message = plain(message_of(body)) or code_of(body)
    if status == 403 and code_of(body) in ARM_CODES:
        return _by_code(answer, code_of(body), message, where)
    refused = refusal_of(answer, body, where, authentication=authentication)
    if refused is not None:
        return refused
    if status in (408, 429) or status >= 500:
        return error_of_status(answer, message, adapter=ADAPTER, resource=where)
    if any(words in message for words in IMMUTABLE):
        return _by_code(answer, "ImmutableError", message, where)
    for code in reversed(codes_of(body)):
        if code in ARM_CODES:
            return _by_code(answer, code, message, where)
    return error_of_status(answer, message, adapter=ADAPTER, resource=where)


def operation_error(told: Mapping[str, Any], resource: str) -> BridgeError:
    """Return the error for an operation that ended without success, by what its status says."""
    message = plain(message_of(told)) or code_of(told) or f"it ended as {told.get('status')!s}"
    if any(words in message for words in IMMUTABLE):
        hint = ARM_CODES["ImmutableError"][1]
        return Conflict(message, adapter=ADAPTER, resource=resource_of(resource), hint=hint)
    for code in reversed(codes_of(told)):
        if code in ("InternalServerError", "ServiceError", "TransientError"):
            return Unavailable(message, adapter=ADAPTER, resource=resource_of(resource))
        kind, hint = ARM_CODES.get(code, (None, ""))
        if kind is not None and kind is not RateLimited:
            return kind(message, adapter=ADAPTER, resource=resource_of(resource), hint=hint)
    return Rejected(message, adapter=ADAPTER, resource=resource_of(resource))


def codes_of(body: Mapping[str, Any]) -> list[str]:
    """Return the codes in an error, outermost first."""
    found: list[str] = []
    part: Any = body.get("error")
    while isinstance(part, Mapping) and len(found) < DEPTH_MAX:
        found.append(str(part.get("code") or ""))
        part = part.get("innererror") or part.get("innerError")
    return found


def plain(message: str) -> str:
    """Return a message without the colours of a terminal, and without secrets."""
    return shown(_COLOURS.sub("", message), chars_max=500)


def resource_of(path: str) -> str:
    """Return what a path of ARM is about: what comes behind the workspace or registry."""
    for kind in ("/workspaces/", "/registries/"):
        _, found, rest = path.partition(kind)
        if found:
            return rest.partition("?")[0][:200]
    return path.partition("?")[0][:200]


def _by_code(answer: requests.Response, code: str, message: str, resource: str) -> BridgeError:
    kind, hint = ARM_CODES[code]
    text = f"{message or code} (status {answer.status_code})"
    if kind is RateLimited:
        return RateLimited(text, retry_after_s=retry_after_s(answer), adapter=ADAPTER, resource=resource)
    return kind(text, adapter=ADAPTER, resource=resource, hint=hint)


def json_of(answer: requests.Response) -> dict[str, Any]:
    """Return the JSON object in an answer, {} where there is none."""
    try:
        found = json.loads(answer.content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
