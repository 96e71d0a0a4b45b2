"""Azure Resource Manager in the Azure ML double: the route of a workspace, and Azure's errors."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from trackbridge.testing.emulators.front import Result, json_result

WORKSPACE = "test-workspace"
PROVIDER = "Microsoft.MachineLearningServices"


def scope_of(subscription: str, group: str, workspace: str) -> str:
    """Return the path of a workspace in ARM."""
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/{PROVIDER}/workspaces/{workspace}"


def resource_manager_answer(
    method: str, path: str, query: dict[str, str], *, scope: str, properties: dict[str, Any]
) -> Result:
    """Answer a request to ARM, which knows one workspace."""
    if "api-version" not in query:
        message = "The api-version query parameter (?api-version=) is required for all requests."
        return resource_manager_error(400, "MissingApiVersionParameter", message)
    asked, known = path.strip("/").split("/"), scope.strip("/").split("/")
    if asked[1].lower() != known[1].lower():
        message = f"The subscription '{asked[1]}' could not be found."
        return resource_manager_error(404, "SubscriptionNotFound", message)
    if len(asked) < 4 or asked[3].lower() != known[3].lower():
        message = f"Resource group '{asked[3] if len(asked) > 3 else ''}' could not be found."
        return resource_manager_error(404, "ResourceGroupNotFound", message)
    if path.lower().rstrip("/") != scope.lower() or method != "GET":
        message = (
            f"The Resource '{PROVIDER}/workspaces/{asked[-1]}' under resource group '{known[3]}' was not "
            "found."
        )
        return resource_manager_error(404, "ResourceNotFound", message)
    found = {"id": scope, "name": known[-1], "location": "westeurope", "properties": properties}
    return json_result(200, found)


def resource_manager_error(status: int, code: str, message: str) -> Result:
    """Return an error as ARM gives it."""
    return json_result(status, {"error": {"code": code, "message": message}})


def service_error(status: int, code: str, message: str) -> Result:
    """Return an error as the workspace's own services give it."""
    error = {"code": code, "severity": None, "message": message, "innerError": None}
    told = {"error": error, "correlation": {"request": uuid.uuid4().hex}, "environment": "westeurope"}
    return json_result(status, told)


def forbidden(shape: Callable[[int, str, str], Result], action: str, scope: str) -> Result:
    """Return the refusal of somebody who lacks a role."""
    message = (
        "The client '11111111-2222-3333-4444-555555555555' does not have authorization to perform action "
        f"'{PROVIDER}/workspaces/{action}' over scope '{scope}'."
    )
    return shape(403, "AuthorizationFailed", message)
