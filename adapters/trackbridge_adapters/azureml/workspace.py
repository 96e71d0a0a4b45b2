"""Where a workspace's services are: from its long URI, else from ARM, asked once and remembered."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path
from urllib.parse import quote

import requests

from trackbridge.errors import BridgeError, ConfigError, Unavailable
from trackbridge.transport.http import HttpClient, error_of_status
from trackbridge_adapters._mlflow_rest.errors import code_of, message_of
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.config import Workspace, workspace_in
from trackbridge_adapters.azureml.errors import json_of, refusal_of

API_VERSION = "2024-04-01"
FILE_NAME = "azureml-workspaces.json"
_MISSING = {
    "SubscriptionNotFound": "check the subscription's id: az account list",
    "InvalidSubscriptionId": "check the subscription's id: az account list",
    "ResourceGroupNotFound": "check the resource group: az group list",
    "ResourceNotFound": "check the workspace's name: az ml workspace list",
}


class Location:
    """Addresses of one workspace.

    Args:
        workspace: The workspace.
        http: Sends the request to ARM.
        home: The project's folder, where the answer is kept.
        arm: ARM's address.
        endpoint: An address to use instead of what ARM names.
    """

    def __init__(
        self, workspace: Workspace, *, http: HttpClient, home: Path, arm: str, endpoint: str | None
    ) -> None:
        self.workspace = workspace
        self._http = http
        self._file = home / FILE_NAME
        self._arm = arm
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._base: str | None = None

    def arm_url(self) -> str:
        """Return ARM's address."""
        return self._arm

    def mlflow_url(self) -> str:
        """Return where the MLflow routes begin."""
        return f"{self.base()}/mlflow/v2.0{self.workspace.scope}"

    def history_url(self) -> str:
        """Return where the routes of the run history begin."""
        return f"{self.base()}/history/v1.0{self.workspace.scope}"

    def artifact_url(self) -> str:
        """Return where the routes of the artifact service begin."""
        return f"{self.base()}/artifact/v2.0{self.workspace.scope}"

    def base(self) -> str:
        """Return scheme and host.

        Raises:
            ConfigError: There is no such workspace.
            AuthError: We may not read it.
        """
        with self._lock:
            if self._base is None:
                self._base = self._found()
            return self._base

    def ask_arm(self) -> str:
        """Return the host that ARM names, asked anew."""
        url = f"{self._arm}{quote(self.workspace.scope)}"
        answer = self._http.request("GET", url, query={"api-version": API_VERSION})
        body = json_of(answer)
        if answer.status_code >= 400:
            raise self._refused(answer, body)
        uri = str((body.get("properties") or {}).get("mlFlowTrackingUri") or "")
        found = workspace_in(uri)
        if found is None or found.host is None:
            raise Unavailable(
                f"ARM names no tracking URI of the workspace {self.workspace.name}",
                adapter=ADAPTER,
                hint="is the workspace being made? Look at it in the portal",
            )
        return found.host

    def _found(self) -> str:
        if self._endpoint is not None:
            if self.workspace.host is None:
                self.ask_arm()  # a wrong name is told as one
            return self._endpoint
        if self.workspace.host is not None:
            return f"https://{self.workspace.host}"
        known = self._remembered().get(self._key)
        if not isinstance(known, str):
            known = self.ask_arm()
            self._remember(known)
        return f"https://{known}"

    @property
    def _key(self) -> str:
        return f"{self._arm} {self.workspace.address}"

    def _remembered(self) -> dict[str, object]:
        try:
            found = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _remember(self, host: str) -> None:
        """Keep the answer; where it cannot be kept, the next process asks again."""
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._file.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps({**self._remembered(), self._key: host}), encoding="utf-8")
            temporary.replace(self._file)

    def _refused(self, answer: requests.Response, body: dict[str, object]) -> BridgeError:
        code, message = code_of(body), message_of(body)
        where = f"workspace {self.workspace.address}"
        if answer.status_code == 404:
            hint = _MISSING.get(code, "check subscription, resource group and name of the workspace")
            text = f"there is no such workspace: {message or code}"
            return ConfigError(text, adapter=ADAPTER, resource=where, hint=hint)
        told = error_of_status(answer, message or code, adapter=ADAPTER, resource=where)
        return refusal_of(answer, body, where, authentication=self._http.authentication) or told
