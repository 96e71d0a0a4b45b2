"""An Azure ML workspace on this machine, in front of a real MLflow server::

    with mlflow_server(folder) as server, AzureMachineLearning(server.url) as azure:
        adapter = open_workspace(azure.uri, context=..., credential=azure.credential())

It speaks what the service speaks, as strictly: bearer tokens with audience, tenant and expiry
(``azureml_tokens``), the workspace's route of ARM (``azureml_arm``), the MLflow routes that Azure has with
its limits and its errors (``azureml_rules``; any other route is 404 with an empty body), repeated points
that are kept (``azureml_points``), the artifact routes of the run history (``azureml_artifacts``), and the
storage behind them (``azureml_blobs``). What the service alone knows stays open: see what the rules cite.

Programs of their own sign in as on an Azure machine: ``azure.environment()`` names an identity endpoint that
azure-identity's ManagedIdentityCredential asks.
"""

from __future__ import annotations

import json
import uuid
from email.utils import formatdate
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from trackbridge.testing.emulators.azureml_arm import (
    WORKSPACE,
    forbidden,
    resource_manager_answer,
    resource_manager_error,
    scope_of,
    service_error,
)
from trackbridge.testing.emulators.azureml_artifacts import RunArtifacts
from trackbridge.testing.emulators.azureml_blobs import CONTAINER, BlobStore
from trackbridge.testing.emulators.azureml_points import RepeatedPoints
from trackbridge.testing.emulators.azureml_rules import ROUTES, broken_rule
from trackbridge.testing.emulators.azureml_tokens import (
    IDENTITY_HEADER,
    IDENTITY_PATH,
    EmulatedCredential,
    TokenIssuer,
    query_of,
)
from trackbridge.testing.emulators.front import Front, Result, json_result

SUBSCRIPTION = "00000000-1111-2222-3333-444444444444"
GROUP = "test-group"
TENANT = "99999999-8888-7777-6666-555555555555"
REGION = "westeurope"
_MLFLOW = "/api/2.0/mlflow/"
_RUN_ROUTES = ("runs/log-batch", "runs/log-parameter", "runs/set-tag")
_READING_ENDS = ("search", "get-latest-versions")


class AzureMachineLearning(Front):
    """The double. Leave the context to stop it.

    Args:
        mlflow_url: Where the MLflow server is that keeps runs and models.
        workspace: The workspace's name.
        token_seconds: How long tokens last.
        signature_seconds: How long the addresses of files last.
        permissions: ``read`` and ``write``; without one, what needs it is 403.
    """

    def __init__(
        self,
        mlflow_url: str,
        *,
        workspace: str = WORKSPACE,
        token_seconds: float = 3600.0,
        signature_seconds: float = 3600.0,
        permissions: frozenset[str] = frozenset({"read", "write"}),
    ) -> None:
        super().__init__(mlflow_url)
        self.workspace = workspace
        self.permissions = permissions
        self.tells_host: str | None = None
        """The host that ARM names; without it, this one."""
        self.issuer = TokenIssuer(tenant=TENANT, seconds=token_seconds, now_s=self.now_s)
        self.blobs = BlobStore(signature_seconds=signature_seconds, now_s=self.now_s)
        self.artifacts = RunArtifacts(self.blobs)
        self.points = RepeatedPoints()

    @property
    def scope(self) -> str:
        """The workspace's path in ARM."""
        return scope_of(SUBSCRIPTION, GROUP, self.workspace)

    @property
    def uri(self) -> str:
        """The short tracking URI."""
        return f"azureml://{SUBSCRIPTION}/{GROUP}/{self.workspace}"

    @property
    def long_uri(self) -> str:
        """The tracking URI that the workspace tells."""
        return f"azureml://{self.tells_host or self.host}/mlflow/v1.0{self.scope}"

    @property
    def options(self) -> dict[str, str]:
        """Options of a remote that lead here instead of to Azure."""
        return {"arm_endpoint": self.url, "endpoint": self.url}

    def environment(self) -> dict[str, str]:
        """Return variables by which azure-identity gets tokens of this double, as on a machine of Azure."""
        return {
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            "IDENTITY_ENDPOINT": f"{self.url}{IDENTITY_PATH}",
            "IDENTITY_HEADER": IDENTITY_HEADER,
        }

    def credential(self) -> EmulatedCredential:
        """Return a credential as azure-identity has them."""
        return EmulatedCredential(self.issuer)

    def clear(self) -> None:
        """Forget files, points and requests; the MLflow server is emptied by who started it."""
        self.blobs.clear()
        self.artifacts.clear()
        self.points.clear()
        self.requests.clear()

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Result:
        """Answer one request."""
        status, content, given = self._answered(method, target, headers, body)
        return Result(status, content, {**given, "x-ms-request-id": str(uuid.uuid4())})

    def _answered(self, method: str, target: str, headers: Any, body: bytes) -> Result:
        parts = urlsplit(target)
        if parts.path.startswith(CONTAINER):
            path = unquote(parts.path[len(CONTAINER) :], errors="surrogatepass")
            return self.blobs.answer(method, path, parts.query, headers, body)
        query = query_of(parts.query)
        given = self.issuer.given(method, parts.path, query, headers, body)
        if given is not None:
            return given
        is_arm = parts.path.lower().startswith("/subscriptions/")
        refusal = self.issuer.refusal(headers.get("Authorization"))
        if refusal is not None:
            shape = resource_manager_error if is_arm else service_error
            status, content, more = shape(refusal.status, refusal.code, refusal.message)
            return Result(status, content, {**more, "WWW-Authenticate": 'Bearer error="invalid_token"'})
        if is_arm:
            return self._resource_manager(method, parts.path, query)
        service, rest = self._within_workspace(parts.path)
        if service is None:
            return service_error(404, "UserError", "Workspace not found")
        if service == "mlflow/v2.0" and rest.startswith(_MLFLOW) and rest.removeprefix(_MLFLOW) in ROUTES:
            return self._mlflow(method, rest.removeprefix(_MLFLOW), parts.query, query, body)
        if service == "history/v1.0":
            return self._history(method, unquote(rest), query, body)
        if service == "artifact/v2.0":
            return self._artifact_service(method, unquote(rest), query)
        return Result(404, b"", {})

    def _within_workspace(self, path: str) -> tuple[str | None, str]:
        """Split a path into the service and what stands behind the workspace; None for another workspace."""
        start = path.lower().find(f"{self.scope}/".lower())
        if start < 0:
            return None, ""
        return path[:start].strip("/"), path[start + len(self.scope) :]

    def _resource_manager(self, method: str, path: str, query: dict[str, str]) -> Result:
        if "read" not in self.permissions and path.lower().rstrip("/") == self.scope.lower():
            return forbidden(resource_manager_error, "read", self.scope)
        properties = {
            "mlFlowTrackingUri": self.long_uri,
            "workspaceId": str(uuid.uuid5(uuid.NAMESPACE_URL, self.scope)),
            "provisioningState": "Succeeded",
            "tenantId": TENANT,
        }
        return resource_manager_answer(method, path, query, scope=self.scope, properties=properties)

    # The run history, and the artifact service beside it.

    def _history(self, method: str, path: str, query: dict[str, str], body: bytes) -> Result:
        rest = path.strip("/").split("/")
        kind = "write" if method == "POST" else "read"
        if kind not in self.permissions:
            return forbidden(service_error, f"experiments/runs/{kind}", self.scope)
        if rest[0] == "experimentids" and rest[2:3] == ["runs"] and rest[4:] == ["token"]:
            token = self.issuer.issue()
            expiry = formatdate(token.expires_on, usegmt=True)
            return json_result(200, {"token": token.token, "expiryTimeUtc": expiry})
        if len(rest) < 5 or (rest[0], rest[2], rest[4]) != ("experiments", "runs", "artifacts"):
            return Result(404, b"", {})
        run = self._run(rest[3])
        if run is None or run["info"]["experiment_id"] != rest[1]:
            return service_error(404, "UserError", f"Run {rest[3]} not found")
        status, answer = self.artifacts.answer(method, "/".join(rest[5:]), rest[3], query, body, self.url)
        return (
            service_error(status, "UserError", str(answer)) if status >= 400 else json_result(status, answer)
        )

    def _artifact_service(self, method: str, path: str, query: dict[str, str]) -> Result:
        if "write" not in self.permissions:
            return forbidden(service_error, "experiments/runs/write", self.scope)
        rest = path.strip("/").split("/")
        if (
            method != "GET"
            or len(rest) != 4
            or (rest[0], rest[1], rest[3]) != ("artifacts", "ExperimentRun", "write")
        ):
            return Result(404, b"", {})
        status, answer = self.artifacts.to_write_again(rest[2], query.get("path", ""), self.url)
        return (
            service_error(status, "UserError", str(answer)) if status >= 400 else json_result(status, answer)
        )

    # The MLflow server behind.

    def _mlflow(self, method: str, route: str, query_text: str, query: dict[str, str], body: bytes) -> Result:
        kind = "read" if method == "GET" or route.endswith(_READING_ENDS) else "write"
        if kind not in self.permissions:
            return forbidden(service_error, f"{route.split('/')[0]}/{kind}", self.scope)
        request: dict[str, Any] = dict(query)
        if body:
            try:
                request = json.loads(body)
            except ValueError:
                return _mlflow_error(400, "MALFORMED_REQUEST", "the body is not JSON")
        broken = broken_rule(route, request, self._run_concerned(route, request))
        if broken is None and route == "model-versions/create":
            broken = self.artifacts.source_problem(str(request.get("source") or ""))
        if broken is not None:
            return _mlflow_error(400, "INVALID_PARAMETER_VALUE", broken.message)
        answer = self.forward(method, _MLFLOW + route + (f"?{query_text}" if query_text else ""), body)
        if answer.status >= 400:
            return _translated_error(answer)
        self.points.see(route, request)
        if route == "metrics/get-history":
            return self.points.repeated(request, answer)
        if b'"artifact_uri"' in answer.body or b'"artifact_location"' in answer.body:
            return json_result(200, self._with_azure_uris(json.loads(answer.body)))
        return answer

    def _run_concerned(self, route: str, request: dict[str, Any]) -> dict[str, Any] | None:
        adds_settings = route != "runs/log-batch" or request.get("params") or request.get("tags")
        return self._run(str(request.get("run_id"))) if route in _RUN_ROUTES and adds_settings else None

    def _run(self, run_id: str) -> dict[str, Any] | None:
        answer = self.forward("GET", f"{_MLFLOW}runs/get?run_id={quote(run_id, safe='')}")
        found: dict[str, Any] | None = json.loads(answer.body)["run"] if answer.status == 200 else None
        return found

    def _with_azure_uris(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._with_azure_uris(item) for item in value]
        if not isinstance(value, dict):
            return value
        changed = {key: self._with_azure_uris(item) for key, item in value.items()}
        root = f"azureml://{self.host}/mlflow/v2.0{self.scope}/experiments/{value.get('experiment_id')}"
        if "artifact_uri" in value:
            changed["artifact_uri"] = f"{root}/runs/{value.get('run_id')}/artifacts"
        if "artifact_location" in value:
            changed["artifact_location"] = ""
        return changed


def _mlflow_error(status: int, error_code: str, message: str) -> Result:
    """Return an error as the MLflow routes give it: capitals, and mlflow's own code beside."""
    error = {
        "Code": "ValidationError" if status == 400 else "UserError",
        "Severity": None,
        "Message": message,
    }
    told = {
        "Error": error,
        "Correlation": {"operation": uuid.uuid4().hex},
        "Environment": REGION,
        "ComponentName": "mlflow",
        "error_code": error_code,
    }
    return json_result(status, told)


def _translated_error(answer: Result) -> Result:
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = {}
    code, message = str(found.get("error_code") or "INTERNAL_ERROR"), str(found.get("message") or "")
    return _mlflow_error(answer.status, code, message)
