"""Requests to the emulated Azure ML without ports: its services, over blobs in memory."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from trackbridge.testing.emulators.azureml.addresses import CLOUDS, Addresses
from trackbridge.testing.emulators.azureml.core import Cloud
from trackbridge.testing.emulators.azureml.faults import Faults
from trackbridge.testing.emulators.azureml.mlflow_endpoint import MlflowBehind
from trackbridge.testing.emulators.azureml.server import Services
from trackbridge.testing.emulators.azureml.storage import ACCOUNT, CONTAINER, REGISTRY_ACCOUNT, Storage
from trackbridge.testing.emulators.azureml.workspaces import Workspaces
from trackbridge.testing.emulators.listener import Arrived

VERSION = "2024-04-01"
DATA_PLANE_VERSION = "2021-10-01-dataplanepreview"
HERE = "http://here"
KEY = base64.b64encode(b"k" * 64).decode()
MLMODEL = b"flavors:\n  sklearn:\n    pickled_model: model.pkl\n"


class Told(NamedTuple):
    """An answer: status, JSON, headers."""

    status: int
    content: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        """Azure's name of the error."""
        return str(self.content["error"]["code"])

    @property
    def message(self) -> str:
        """Azure's words of the error."""
        return str(self.content["error"]["message"])


class MemoryStorage(Storage):
    """Blob storage as the emulator talks to it, without Azurite."""

    def __init__(self, cloud: Cloud) -> None:
        keys = {ACCOUNT: KEY, REGISTRY_ACCOUNT: KEY}
        super().__init__("http://127.0.0.1:1", keys, now_s=cloud.now_s)
        self.held: dict[tuple[str, str, str], bytes] = {}

    def _call(
        self,
        method: str,
        account: str,
        path: str,
        query: Mapping[str, str],
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        container, _, name = unquote(path).strip("/").partition("/")
        place = (account, container, name)
        if query.get("comp") == "list":
            return 200, self._listing(account, container, query.get("prefix", ""))
        if query.get("restype") == "container":
            return 201, b""
        if method == "PUT":
            self.held[place] = body
            return 201, b""
        if method == "DELETE":
            return (202 if self.held.pop(place, None) is not None else 404), b""
        return (200, self.held[place]) if place in self.held else (404, b"")

    def _listing(self, account: str, container: str, prefix: str) -> bytes:
        rows = "".join(
            f"<Blob><Name>{name}</Name><Properties><Content-Length>{len(content)}</Content-Length>"
            "</Properties></Blob>"
            for (owner, place, name), content in sorted(self.held.items())
            if (owner, place) == (account, container) and name.startswith(prefix)
        )
        return f"<EnumerationResults><Blobs>{rows}</Blobs></EnumerationResults>".encode()


class Rig:
    """One cloud, and how to ask it."""

    def __init__(self, **settings: Any) -> None:
        self.cloud = Cloud(**settings)
        self.cloud.clock.stop()
        self.storage = MemoryStorage(self.cloud)
        self.cloud.storage = self.storage
        self.cloud.addresses = lambda request: Addresses(
            HERE, HERE, f"{HERE}/endpoints/{{name}}", "here", "core.windows.net", f"{HERE}/blobs"
        )
        self.permissions = {"read", "write", "secrets"}
        self.services = Services(self.cloud, Faults(self.cloud.now_s), CLOUDS[0], self.permissions)
        self.cloud.part(Workspaces)
        self.runs: dict[str, dict[str, Any]] = {}
        self.cloud.part(MlflowBehind).run = self.runs.get  # type: ignore[method-assign]

    @property
    def workspace(self) -> str:
        """The workspace's id in ARM."""
        return self.cloud.workspace_id

    @property
    def registry(self) -> str:
        """Where the first registry's data plane is."""
        return (
            f"/mferp/managementfrontend/subscriptions/{self.cloud.subscription}/resourceGroups"
            "/registries-group/providers/Microsoft.MachineLearningServices/registries/test-registry"
        )

    def ask(self, method: str, path: str, body: Any = None, *, version: str = VERSION) -> Told:
        """Send a request. Paths that begin with no slash are below the workspace in ARM."""
        target = path if path.startswith("/") else f"{self.workspace}/{path}"
        if version:
            target += ("&" if "?" in target else "?") + f"api-version={version}"
        token = self.cloud.issuer.issue(audience="https://management.azure.com").token
        headers = {"Host": "127.0.0.1:1", "Authorization": f"Bearer {token}"}
        content = b"" if body is None else json.dumps(body).encode()
        sent = self.services.answer(Arrived(method, target, headers, content, False))
        assert self.services.failures == []
        assert isinstance(sent.body, bytes)
        return Told(sent.status, json.loads(sent.body) if sent.body else None, dict(sent.headers))

    def mlflow(self, method: str, route: str, body: Any = None) -> Told:
        """Send a request to the MLflow endpoint, such as ``registered-models/get?name=x``."""
        return self.ask(method, f"/mlflow/v2.0{self.workspace}/api/2.0/mlflow/{route}", body, version="")

    def history(self, method: str, path: str, body: Any = None) -> Told:
        """Send a request to the run history."""
        return self.ask(method, f"/history/v1.0{self.workspace}/{path}", body, version="")

    def in_registry(self, method: str, path: str, body: Any = None) -> Told:
        """Send a request to the first registry's data plane."""
        return self.ask(method, f"{self.registry}/{path}", body, version=DATA_PLANE_VERSION)

    def outcome(self, begun: Told, *, seconds: float = 60.0) -> dict[str, Any]:
        """Let an operation's time pass, and return what it has become."""
        self.cloud.clock.advance(seconds)
        self.cloud.clock.raise_errors()
        place = begun.headers["Azure-AsyncOperation"].removeprefix(HERE)
        found: dict[str, Any] = self.ask("GET", place, version="").content
        return found

    def upload(self, name: str, files: Mapping[str, bytes]) -> str:
        """Put a folder into the default datastore; returns its short address."""
        for path, content in files.items():
            self.storage.put(f"LocalUpload/{name}/{path}", content, container=CONTAINER)
        return f"azureml://datastores/workspaceblobstore/paths/LocalUpload/{name}"

    def model(
        self, name: str, version: str = "1", *, kind: str = "mlflow_model", **properties: Any
    ) -> dict[str, Any]:
        """Register a model with files of its own, and return the version."""
        uri = self.upload(f"{name}-{version}", {"MLmodel": MLMODEL, "model.pkl": name.encode()})
        given = {"modelType": kind, "modelUri": uri, **properties}
        made = self.ask("PUT", f"models/{name}/versions/{version}", {"properties": given})
        assert made.status == 201, made
        content: dict[str, Any] = made.content
        return content
