"""What Azure's services say when they let nobody in, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import requests

from trackbridge.errors import AuthError
from trackbridge_adapters._mlflow_rest.errors import code_of, message_of
from trackbridge_adapters.azureml.clouds import ADAPTER

ROLE_HINT = "ask an owner of the workspace for the role 'AzureML Data Scientist' on it"


def refusal_of(
    answer: requests.Response, body: Mapping[str, Any], resource: str | None = None
) -> AuthError | None:
    """Return the error for an answer with the status 401 or 403; None for any other answer."""
    status = answer.status_code
    if status not in (401, 403):
        return None
    code, message = code_of(body), message_of(body)
    text = f"{message or code or answer.reason or 'refused'} (status {status})"
    return AuthError(text, adapter=ADAPTER, resource=resource, hint=refusal_hint(code, message, status))


def refusal_hint(code: str, message: str, status: int) -> str:
    """Return what to do after a 401 or 403."""
    if "Tenant" in code or "wrong issuer" in message:
        return "the token is of another tenant: az login --tenant TENANT"
    if "Expired" in code or "expir" in message:
        return "the token has expired: sign in again (az login), and check this machine's clock"
    if "Audience" in code or "audience" in message:
        return "the token is for another service; ask for https://management.azure.com"
    return ROLE_HINT if status == 403 else "sign in again: az login"


def json_of(answer: requests.Response) -> dict[str, Any]:
    """Return the JSON object in an answer, {} where there is none."""
    try:
        found = json.loads(answer.content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
