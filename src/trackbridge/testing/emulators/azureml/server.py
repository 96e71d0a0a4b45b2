"""Requests to the emulated cloud: led to the host's services, checked, answered, told in Azure's shapes."""

from __future__ import annotations

import json
import re
import traceback
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from trackbridge.testing.emulators.azureml import shapes
from trackbridge.testing.emulators.azureml.addresses import Suffixes
from trackbridge.testing.emulators.azureml.core import (
    ARM,
    PROVIDER,
    SCORING,
    SERVICE,
    VAULT,
    Answer,
    Cloud,
    Request,
    Route,
)
from trackbridge.testing.emulators.azureml.faults import Faults
from trackbridge.testing.emulators.azureml.refusal import Refused
from trackbridge.testing.emulators.azureml.routes import VERSIONS, all_routes, has_version
from trackbridge.testing.emulators.azureml.tokens import JOB_AUDIENCE, query_of
from trackbridge.testing.emulators.azureml.vaults import SUFFIX as VAULT_SUFFIX
from trackbridge.testing.emulators.azureml.workspaces import Workspaces
from trackbridge.testing.emulators.listener import Arrived, Sent

CALLS_MAX = 100_000
CLIENT = "11111111-2222-3333-4444-555555555555"
ACTIONS = {"read": "read", "write": "write", "secrets": "datastores/listSecrets/action"}


@dataclass(slots=True)
class Call:
    """A request that came, and how it was answered. ``code`` is Azure's name of the error, or empty."""

    method: str
    path: str
    host: str
    query: Mapping[str, str]
    status: int = 200
    code: str = ""


class Services:
    """Answers requests.

    Args:
        cloud: What is there.
        faults: What is to go wrong.
        suffixes: How the hosts of the cloud end.
        permissions: ``read``, ``write`` and ``secrets``; without one, what needs it is 403.
    """

    def __init__(self, cloud: Cloud, faults: Faults, suffixes: Suffixes, permissions: set[str]) -> None:
        self.cloud, self.faults, self.suffixes, self.permissions = cloud, faults, suffixes, permissions
        cloud.rights = permissions
        self.calls: deque[Call] = deque(maxlen=CALLS_MAX)
        self.failures: list[str] = []
        """Faults of the emulator itself, which it told as HTTP 500."""
        inference = re.escape(f".inference.{suffixes.studio}")
        self._hosts = (
            (re.compile(rf"(?P<name>[\w-]+)\.[\w-]+{inference}"), "/endpoints/{name}"),
            (re.compile(rf"[\w-]+\.{re.escape(suffixes.metrics)}"), "/metrics-monitor"),
            (re.compile(re.escape(suffixes.logs)), "/loganalytics"),
            (re.compile(rf"(?P<name>[\w-]+)\.{re.escape(VAULT_SUFFIX)}"), "/keyvault/{name}"),
        )

    def answer(self, arrived: Arrived) -> Sent:
        """Answer one request; called from any thread."""
        host = str(arrived.headers.get("Host") or "")
        request = Request(
            arrived.method,
            self._target(host, arrived.target),
            arrived.headers,
            arrived.body,
            host=host,
            is_tls=arrived.is_tls,
        )
        call = Call(request.method, request.path, host, request.query)
        self.calls.append(call)
        route: Route | None = None
        try:
            given = self.cloud.issuer.given(
                request.method,
                request.path,
                query_of(request.target.partition("?")[2]),
                request.headers,
                request.body,
            )
            if given is not None:
                call.status = given.status
                return Sent(given.status, given.headers, given.body)
            route, request = self._found(request)
            answer = self._answered(route, request)
        except Refused as refused:
            call.code = refused.code
            answer = told(refused, _plane(route, request))
        except Exception as error:  # told to the client as Azure would, and kept for whoever tests
            self.failures.append(traceback.format_exc())
            failure = Refused(500, "InternalServerError", f"{type(error).__name__}: {error}")
            call.code = failure.code
            answer = told(failure, _plane(route, request))
        call.status = answer.status
        return _sent(answer)

    def _target(self, host: str, target: str) -> str:
        """Return the target, below a path of its own for hosts that are services of their own."""
        name = host.partition(":")[0].lower()
        for pattern, prefix in self._hosts:
            found = pattern.fullmatch(name)
            if found is not None:
                return prefix.format(**found.groupdict()) + target
        return target

    def _found(self, request: Request) -> tuple[Route, Request]:
        path = request.path
        methods = set()
        for pattern, route in all_routes():
            found = pattern.fullmatch(path)
            if found is None:
                continue
            if route.method == request.method:
                names = {name: unquote(value) for name, value in found.groupdict().items()}
                return route, replace(request, names=names)
            methods.add(route.method)
        if methods:
            message = f"The requested resource does not support http method '{request.method}'."
            raise Refused(405, "MethodNotAllowed", message, headers={"Allow": ", ".join(sorted(methods))})
        self._check_token(None, request)
        raise Refused(404, "ResourceNotFound", f"There is no route {request.method} {path}")

    def _answered(self, route: Route, request: Request) -> Answer:
        # Faults first: a service that is overloaded asks nobody who he is.
        self.faults.check(request.method, request.path)
        self._check_token(route, request)
        if route.plane == ARM:
            self._check_version(route, request)
        self._check_place(request)
        self._check_rights(route, request)
        if route.shape:
            shapes.check(route.shape, request.content, names=request.names)
        if route.waits:
            answer = route.operation(self.cloud, request)
        else:
            with self.cloud.lock:
                answer = route.operation(self.cloud, request)
                # While the lock is held: what is kept may change before it is sent.
                answer = answer._replace(content=_written(answer.content))
        self.faults.check(request.method, request.path, is_after=True)
        return answer

    def _check_token(self, route: Route | None, request: Request) -> None:
        if route is not None and (route.is_open or route.plane == SCORING):
            return
        audiences = route.audiences if route is not None and route.audiences else self.audiences
        if _plane(route, request) == SERVICE:
            audiences = (*audiences, JOB_AUDIENCE)
        refusal = self.cloud.issuer.refusal(request.headers.get("Authorization"), audiences)
        if refusal is not None:
            challenge = {
                "WWW-Authenticate": f'Bearer authorization_uri="https://{self.suffixes.login}/{self.cloud.tenant}"'
                ', error="invalid_token"'
            }
            raise Refused(refusal.status, refusal.code, refusal.message, headers=challenge)

    @property
    def audiences(self) -> tuple[str, ...]:
        """What tokens for Resource Manager and for the workspace's services are for."""
        return (f"https://{self.suffixes.resource_manager}", f"https://{self.suffixes.studio}")

    def _check_version(self, route: Route, request: Request) -> None:
        version = request.api_version
        if not version:
            message = "The api-version query parameter (?api-version=) is required for all requests."
            raise Refused(400, "MissingApiVersionParameter", message)
        if not has_version(route, version):
            known = "', '".join(route.versions or VERSIONS)
            message = f"The api-version '{version}' is invalid. The supported versions are '{known}'."
            raise Refused(400, "InvalidApiVersionParameter", message)

    def _check_place(self, request: Request) -> None:
        names, cloud = request.names, self.cloud
        cloud.part(Workspaces)  # made anew after a reset
        subscription, group = names.get("subscription"), names.get("group")
        # A registry's own routes name the subscription and the group that Microsoft keeps it in.
        if "registry" in names or subscription is None:
            return
        if subscription.lower() != cloud.subscription.lower():
            message = f"The subscription '{subscription}' could not be found."
            raise Refused(404, "SubscriptionNotFound", message)
        if group is not None and group.lower() != cloud.group.lower():
            raise Refused(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")
        workspace = names.get("workspace")
        is_below = workspace and not request.resource_id.lower().endswith(f"/workspaces/{workspace}".lower())
        if is_below and request.workspace_id not in cloud.resources:
            resource = f"The Resource '{PROVIDER}/workspaces/{workspace}'"
            raise Refused(
                404, "ResourceNotFound", f"{resource} under resource group '{group}' was not found."
            )

    def _check_rights(self, route: Route, request: Request) -> None:
        if route.plane == SCORING:
            return
        right = route.right or ("read" if request.method in ("GET", "HEAD") else "write")
        if right not in self.permissions:
            message = (
                f"The client '{CLIENT}' with object id '{CLIENT}' does not have authorization to perform "
                f"action '{PROVIDER}/workspaces/{ACTIONS[right]}' over scope '{request.resource_id}' or the "
                "scope is invalid."
            )
            raise Refused(403, "AuthorizationFailed", message)


def told(refused: Refused, plane: str) -> Answer:
    """Return how a plane tells a refusal."""
    if plane == ARM:
        error: dict[str, Any] = {"code": refused.code, "message": refused.message}
        if refused.code not in ("ResourceNotFound", "AuthorizationFailed", "SubscriptionNotFound"):
            error |= {"details": refused.details, "additionalInfo": []}
        return Answer(refused.status, {"error": error}, refused.headers)
    if plane == VAULT:
        return Answer(
            refused.status, {"error": {"code": refused.code, "message": refused.message}}, refused.headers
        )
    error = {"code": refused.code, "severity": None, "message": refused.message, "innerError": None}
    body = {
        "error": {**error, "details": refused.details},
        "correlation": {"operation": uuid.uuid4().hex, "request": uuid.uuid4().hex[:16]},
        "environment": "westeurope",
        "location": "westeurope",
        "componentName": "emulator",
    }
    return Answer(refused.status, body, refused.headers)


def _plane(route: Route | None, request: Request) -> str:
    if route is not None:
        return route.plane
    return ARM if request.path.lower().startswith("/subscriptions") else "service"


def _written(content: Any) -> Any:
    return json.dumps(content).encode() if isinstance(content, (dict, list)) else content


def _sent(answer: Answer) -> Sent:
    headers = {"x-ms-request-id": str(uuid.uuid4()), **answer.headers}
    if answer.content is None:
        return Sent(answer.status, headers, b"")
    if isinstance(answer.content, (dict, list)):
        return Sent(answer.status, _as_json(headers), _written(answer.content))
    if isinstance(answer.content, bytes):
        return Sent(answer.status, _as_json(headers) if answer.content else headers, answer.content)
    return Sent(answer.status, headers, answer.content)


def _as_json(headers: dict[str, str]) -> dict[str, str]:
    return {"Content-Type": "application/json; charset=utf-8", **headers}
