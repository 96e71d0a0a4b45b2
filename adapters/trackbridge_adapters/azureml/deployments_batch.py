"""Work of batch endpoints: an invocation is a job of the workspace, named by its key."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

from trackbridge.domain.deployments import Operation
from trackbridge.domain.secrets import shown
from trackbridge.errors import BridgeError, NotFound, Rejected
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._mlflow_rest.wire import encoded
from trackbridge_adapters.azureml.arm import Json, path_of
from trackbridge_adapters.azureml.assets import properties_of
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.deployments_kept import KeptBlobs, folder_of
from trackbridge_adapters.azureml.deployments_names import native_deployment
from trackbridge_adapters.azureml.deployments_resources import EndpointResources, HeldEndpoint
from trackbridge_adapters.azureml.deployments_scoring import DEPLOYMENT_HEADER, Scoring
from trackbridge_adapters.azureml.errors import arm_error, json_of
from trackbridge_adapters.azureml.paths import Paths

OPERATION = "deployments.start_batch"
MARK = "batch "
OUTPUT = "score"
_ENDED = {"completed": None, "failed": "the job failed", "canceled": "the job was canceled"}


class BatchScoring:
    """Starts work of batch endpoints of one workspace. Any thread may use it.

    Args:
        resources: Of the workspace.
        http: Sends requests.
        scoring: Signs in at endpoints.
        blobs: Keeps which key named which job.
        paths: Opens addresses of files.
    """

    def __init__(
        self, resources: EndpointResources, http: HttpClient, scoring: Scoring, blobs: KeptBlobs, paths: Paths
    ) -> None:
        self._resources = resources
        self._http = http
        self._scoring = scoring
        self._blobs = blobs
        self._paths = paths

    def start(
        self, held: HeldEndpoint, *, source: str, destination: str, key: str, deployment: str | None
    ) -> Operation:
        """Start scoring files; see the port."""
        endpoint = str(held.endpoint.get("name"))
        if not held.is_batch:
            raise _rejected(
                f"the endpoint {endpoint!r} answers requests", "deploy the model with serving batch"
            )
        if deployment is not None and held.find(deployment) is None:
            raise NotFound(f"endpoint {endpoint!r} has no deployment {deployment[:80]!r}", adapter=ADAPTER)
        for address in (source, destination):
            if not address.startswith(("azureml://", "https://")):
                raise _rejected(
                    f"{address[:120]!r} is no address of Azure's storage",
                    "write azureml://datastores/NAME/paths/PATH",
                )
        digest = hashlib.sha256(f"{held.id.lower()} {key}".encode()).hexdigest()[:32]
        noted = f"{folder_of(endpoint)}/batches/{digest}"
        known = self._blobs.read(noted)
        if known is not None:
            return _begun(endpoint, known[0].decode())
        name = f"bridge-{digest}"
        if self._job(name) is None:
            name = self._posted(held, name, source, destination, deployment)
        self._blobs.write(noted, name.encode())
        return _begun(endpoint, name)

    def _posted(
        self, held: HeldEndpoint, name: str, source: str, destination: str, deployment: str | None
    ) -> str:
        properties = {
            "name": name,
            "inputData": {"data": {"jobInputType": self._kind(source), "uri": source}},
            "outputData": {OUTPUT: {"jobOutputType": "UriFolder", "uri": destination}},
        }
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._scoring.identity()}"}
        if deployment is not None:
            headers[DEPLOYMENT_HEADER] = native_deployment(deployment)
        answer = self._http.request(
            "POST",
            str(properties_of(held.endpoint).get("scoringUri")),
            body=encoded({"properties": properties}),
            headers=headers,
            authenticate=False,
        )
        told = json_of(answer)
        if answer.status_code >= 400:
            raise arm_error(answer, told, f"/workspaces/w/batchEndpoints/{held.endpoint.get('name')}")
        return str(told.get("name") or name)

    def _kind(self, source: str) -> str:
        """Tell a file from a folder; what cannot be looked at is told by its name."""
        try:
            found = self._paths.find(source)
            entry = found.files.find(found.path)
            return "UriFolder" if entry is None or entry.is_dir else "UriFile"
        except BridgeError:
            return "UriFile" if "." in source.rpartition("/")[2] else "UriFolder"

    # How it stands.

    @staticmethod
    def is_ours(operation: Operation) -> bool:
        """Tell whether an operation is work of a batch endpoint."""
        return operation.operation_id.startswith(MARK)

    def poll(self, operation: Operation) -> Operation:
        """Return how the work stands; see the port."""
        name = operation.operation_id.rpartition("/")[2]
        found = self._job(name)
        if found is None:
            raise NotFound(f"there is no job {name[:80]!r}", adapter=ADAPTER, operation="deployments.poll")
        told: dict[str, Any] = properties_of(found)
        status = str(told.get("status") or "").lower()
        if status not in _ENDED:
            return Operation(operation_id=operation.operation_id, done=False)
        why = _ENDED[status]
        more = shown(json.dumps(told["error"]), chars_max=500) if why and told.get("error") else ""
        error = f"{why}: {more or 'bridge jobs logs ' + name}" if why else None
        return Operation(operation_id=operation.operation_id, done=True, error=error)

    def _job(self, name: str) -> Json | None:
        path = f"{quote(self._resources.workspace.scope)}/jobs{path_of(name)}"
        return self._resources.arm.find(path, "jobs")


def _begun(endpoint: str, job: str) -> Operation:
    return Operation(operation_id=f"{MARK}{endpoint}/{job}", done=False)


def _rejected(message: str, hint: str) -> Rejected:
    return Rejected(message, adapter=ADAPTER, operation=OPERATION, hint=hint)
