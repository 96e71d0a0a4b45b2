"""The MLflow endpoint of a workspace: a real MLflow server's answers, with what Azure ML refuses and lacks.

Models and their versions are the workspace's own assets (``models_mlflow``): there are no others.
"""

from __future__ import annotations

import http.client
import json
import threading
import uuid
from dataclasses import replace
from importlib import import_module
from typing import Any
from urllib.parse import quote, urlsplit

from trackbridge.testing.emulators.azureml.core import (
    REGION,
    SERVICE,
    WORKSPACE,
    Answer,
    Cloud,
    Request,
    Route,
)
from trackbridge.testing.emulators.azureml.refusal import Refused
from trackbridge.testing.emulators.azureml.rules import ROUTES as KNOWN_ROUTES
from trackbridge.testing.emulators.azureml.rules import broken_rule
from trackbridge.testing.emulators.azureml.run_names import RunNames
from trackbridge.testing.emulators.front import Result
from trackbridge.testing.emulators.points import RepeatedPoints

FORWARD_S = 60.0
_API = "/api/2.0/mlflow/"
_RUN_ROUTES = ("runs/log-batch", "runs/log-parameter", "runs/set-tag")
_MODEL_ROUTES = ("registered-models/", "model-versions/")


class MlflowBehind:
    """The MLflow server behind, and what it does not remember; ``cloud.part(MlflowBehind)``."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._connections = threading.local()
        self.points = RepeatedPoints()
        self.names = RunNames()
        self._experiments: dict[str, str] = {}

    def call(self, method: str, route: str, request: dict[str, Any] | None = None, query: str = "") -> Result:
        """Send a request on, such as ``("GET", "runs/get", query="run_id=…")``."""
        body = json.dumps(request).encode() if request is not None else b""
        return self.forward(method, f"{_API}{route}" + (f"?{query}" if query else ""), body)

    def forward(self, method: str, target: str, body: bytes) -> Result:
        """Send a request on as it is."""
        url = self._cloud.mlflow()
        if not url:
            return Result(
                503, b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "no MLflow server"}', {}
            )
        held: http.client.HTTPConnection | None = getattr(self._connections, "held", None)
        if held is not None:
            try:
                return _exchange(held, method, target, body)
            except (http.client.HTTPException, OSError):
                held.close()  # it was idle for long: nothing was done
        place = urlsplit(url)
        self._connections.held = http.client.HTTPConnection(
            place.hostname or "", place.port, timeout=FORWARD_S
        )
        return _exchange(self._connections.held, method, target, body)

    def run(self, run_id: str) -> dict[str, Any] | None:
        """Return a run as MLflow tells it, None when there is none."""
        answer = self.call("GET", "runs/get", query=f"run_id={quote(self.names.id_of(run_id), safe='')}")
        found = json.loads(answer.body)["run"] if answer.status == 200 else None
        told: dict[str, Any] | None = self.names.outward(found)
        return told

    def experiment_of(self, run_id: str) -> str | None:
        """Return the id of the experiment that a run belongs to for ever, None when there is no such run."""
        if run_id not in self._experiments:
            found = self.run(run_id)
            if found is None:
                return None
            self._experiments[run_id] = str(found["info"]["experiment_id"])
        return self._experiments[run_id]


def run_of(cloud: Cloud, run_id: str) -> dict[str, Any]:
    """Return a run (``info``, ``data``), for the run history and for jobs.

    Raises:
        Refused: There is none.
    """
    found = cloud.part(MlflowBehind).run(run_id)
    if found is None:
        raise Refused(404, "UserError", f"Run {run_id} not found")
    return found


def _answer(cloud: Cloud, request: Request) -> Answer:
    route = request.names["route"]
    if route not in KNOWN_ROUTES:
        return Answer(404, b"")  # as the service does: logged models, traces of version 3, webhooks
    behind = cloud.part(MlflowBehind)
    asked: dict[str, Any] = dict(request.query)
    if request.body:
        try:
            asked = json.loads(request.body)
        except ValueError:
            return mlflow_error(400, "MALFORMED_REQUEST", "the body is not JSON")
    adds = route != "runs/log-batch" or asked.get("params") or asked.get("tags")
    run = behind.run(str(asked.get("run_id"))) if route in _RUN_ROUTES and adds else None
    broken = broken_rule(route, asked, run)
    if broken is not None:
        return mlflow_error(400, "INVALID_PARAMETER_VALUE", broken.message)
    if route.startswith(_MODEL_ROUTES):
        return _of_models(cloud, request, route, asked)
    query = behind.names.inward_query(request.target.partition("?")[2])
    body = behind.names.inward(request.body)
    found = behind.forward(request.method, _API + route + (f"?{query}" if query else ""), body)
    if found.status >= 400:
        return _translated(found)
    behind.points.see(route, asked)
    if route == "metrics/get-history":
        found = behind.points.repeated(asked, found)
    content = behind.names.outward(json.loads(found.body or b"{}"))
    return Answer(found.status, _with_azure_uris(content, cloud, request))


def _of_models(cloud: Cloud, request: Request, route: str, asked: dict[str, Any]) -> Answer:
    models = import_module("trackbridge.testing.emulators.azureml.models_mlflow")
    try:
        with cloud.lock:
            status, content = models.answer(cloud, request.workspace_id, request.method, route, asked)
    except Refused as refused:
        return mlflow_error(refused.status, refused.code, refused.message)
    if status >= 400:
        code, message = str(content.get("error_code")), str(content.get("message"))
        return mlflow_error(status, code, message)
    return Answer(status, content)


def mlflow_error(status: int, error_code: str, message: str) -> Answer:
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
    return Answer(status, told)


def _translated(answer: Result) -> Answer:
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = {}
    code, message = str(found.get("error_code") or "INTERNAL_ERROR"), str(found.get("message") or "")
    return mlflow_error(answer.status, code, message)


def _with_azure_uris(value: Any, cloud: Cloud, request: Request) -> Any:
    if isinstance(value, list):
        return [_with_azure_uris(item, cloud, request) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {key: _with_azure_uris(item, cloud, request) for key, item in value.items()}
    if "artifact_uri" in value:
        host = cloud.addresses(request).mlflow
        root = f"azureml://{host}/mlflow/v2.0{request.workspace_id}/experiments/{value.get('experiment_id')}"
        changed["artifact_uri"] = f"{root}/runs/{value.get('run_id')}/artifacts"
    if "artifact_location" in value:
        changed["artifact_location"] = ""
    return changed


def _exchange(connection: http.client.HTTPConnection, method: str, target: str, body: bytes) -> Result:
    connection.request(method, target, body=body or None, headers={"Content-Type": "application/json"})
    answer = connection.getresponse()
    return Result(answer.status, answer.read(), {})


def _routes() -> tuple[Route, ...]:
    made = []
    for version in ("v1.0", "v2.0"):
        template = f"/mlflow/{version}{WORKSPACE}{_API}{{route...}}"
        made += [
            Route("GET", template, _answer, plane=SERVICE, waits=True),
            Route("PATCH", template, _answer, plane=SERVICE, waits=True),
            Route("DELETE", template, _answer, plane=SERVICE, waits=True),
        ]
        # Searching is a POST, and needs no more than reading.
        for reading in ("experiments/search", "runs/search", "registered-models/get-latest-versions"):
            place = template.replace("{route...}", reading)
            made.append(Route("POST", place, _named(reading), plane=SERVICE, waits=True, right="read"))
        made.append(Route("POST", template, _answer, plane=SERVICE, waits=True))
        missing = f"/mlflow/{version}{WORKSPACE}/{{rest...}}"
        made += [
            Route(method, missing, _missing, plane=SERVICE) for method in ("GET", "POST", "PATCH", "DELETE")
        ]
    return tuple(made)


def _named(route: str) -> Any:
    def answer(cloud: Cloud, request: Request) -> Answer:
        return _answer(cloud, replace(request, names={**request.names, "route": route}))

    return answer


def _missing(cloud: Cloud, request: Request) -> Answer:
    return Answer(404, b"")


ROUTES = _routes()
