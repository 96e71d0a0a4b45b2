"""A workspace in memory, for what needs no MLflow server: folders, experiments, who is signed in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.scripted_servers import Answer, Request, ScriptedServer
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge_adapters.databricks import open_workspace

USER = "me@example.org"
HOME = f"/Users/{USER}"
TOKEN = "dapi" + "0123456789abcdef" * 2
MLFLOW = "/api/2.0/mlflow/"


def opened(
    server: ScriptedServer, home: Path, *, uri: str = "databricks", options: Mapping[str, str] | None = None
) -> Adapter:
    """Open the adapter of the workspace."""
    context = AdapterContext(
        home=home, options=dict(options or {}), clock_ms=lambda: time.time_ns() // 1_000_000
    )
    environment = {"DATABRICKS_HOST": server.url, "DATABRICKS_TOKEN": TOKEN}
    return open_workspace(uri, context=context, environment=environment)


def refusal(status: int, code: str, message: str) -> Answer:
    return Answer(status=status, body={"error_code": code, "message": message})


class Workspace:
    """Answers for a scripted server."""

    def __init__(self) -> None:
        self.folders = {"/", "/Shared", "/Users", HOME}
        self.locked: set[str] = set()
        self.experiments: dict[str, dict[str, Any]] = {}

    def add(self, path: str, tags: Mapping[str, str] | None = None) -> str:
        """Add an experiment, as somebody else does, and return its id."""
        number = str(1000 + len(self.experiments))
        pairs = [{"key": key, "value": value} for key, value in (tags or {}).items()]
        self.experiments[path] = {
            "experiment_id": number,
            "name": path,
            "lifecycle_stage": "active",
            "tags": pairs,
        }
        return number

    def __call__(self, request: Request) -> Answer:
        parts = urlsplit(request.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if parts.path.endswith("/scim/v2/Me"):
            return Answer(body={"userName": USER})
        if parts.path.endswith("/workspace/mkdirs"):
            return self._mkdirs(request.json["path"])
        route = parts.path.removeprefix(MLFLOW)
        if route == "experiments/search":
            return Answer(body={"experiments": list(self.experiments.values())})
        if route == "experiments/get-by-name":
            found = self.experiments.get(query["experiment_name"])
        elif route == "experiments/get":
            numbered = {found["experiment_id"]: found for found in self.experiments.values()}
            found = numbered.get(query["experiment_id"])
        elif route == "experiments/create":
            return self._create(request.json)
        else:
            return refusal(404, "ENDPOINT_NOT_FOUND", f"No API found for '{request.method} {route}'")
        return Answer(body={"experiment": found}) if found else refusal(404, "RESOURCE_DOES_NOT_EXIST", "no")

    def _mkdirs(self, path: str) -> Answer:
        if path in self.experiments:
            return refusal(400, "RESOURCE_ALREADY_EXISTS", f"Node named '{path}' already exists")
        if any(path.startswith(folder) for folder in self.locked):
            return refusal(403, "PERMISSION_DENIED", "User does not have permission")
        self.folders.add(path)
        return Answer()

    def _create(self, body: dict[str, Any]) -> Answer:
        parent = body["name"].rpartition("/")[0] or "/"
        if parent not in self.folders:
            return refusal(404, "RESOURCE_DOES_NOT_EXIST", f"Parent directory {parent} does not exist.")
        if body["name"] in self.folders:
            return refusal(400, "RESOURCE_ALREADY_EXISTS", f"Node named '{body['name']}' already exists")
        tags = {tag["key"]: tag["value"] for tag in body.get("tags") or ()}
        return Answer(body={"experiment_id": self.add(body["name"], tags)})
