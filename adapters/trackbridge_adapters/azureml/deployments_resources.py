"""Endpoints and their deployments as ARM has them: read, and changed without waiting.

An operation is named by the subject of its change and where ARM tells how it stands, if it does; else the
resource itself is looked at: ``deployment wine/v2 https://…/mfeOperationsStatus/…``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from trackbridge.domain.deployment_changes import split_subject
from trackbridge.domain.deployments import Operation
from trackbridge.errors import BridgeError, InvalidInput, NotFound, Transient
from trackbridge_adapters.azureml.arm import Arm, Json, path_of
from trackbridge_adapters.azureml.assets import properties_of
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.config import Workspace
from trackbridge_adapters.azureml.deployments_names import is_name, native_deployment

ONLINE, BATCH = "onlineEndpoints", "batchEndpoints"
HELD = "held"
AT_ONCE = 8
"""How many endpoints of a listing are looked at at once."""
UNDER_WAY = ("creating", "updating", "scaling", "deleting")


@dataclass(frozen=True, slots=True)
class HeldEndpoint:
    """An endpoint and its deployments, as ARM tells them. ``kind`` is ``ONLINE`` or ``BATCH``."""

    kind: str
    endpoint: Json
    deployments: Sequence[Json]

    @property
    def is_batch(self) -> bool:
        """Whether it scores files."""
        return self.kind == BATCH

    @property
    def id(self) -> str:
        """Its id in ARM."""
        return str(self.endpoint.get("id") or "")

    def find(self, deployment: str) -> Json | None:
        """Return a deployment, by our name; None where it is not there."""
        native = native_deployment(deployment).lower()
        return next((held for held in self.deployments if str(held.get("name")).lower() == native), None)


def is_under_way(resource: Mapping[str, Any]) -> bool:
    """Tell whether a resource is being changed."""
    return state_of(resource) in UNDER_WAY


def state_of(resource: Mapping[str, Any]) -> str:
    """Return the state of a resource, in small letters."""
    return str(properties_of(resource).get("provisioningState") or "Succeeded").lower()


class EndpointResources:
    """Endpoints of one workspace. Any thread may use it.

    Args:
        arm: Asks ARM.
        workspace: Which.
    """

    def __init__(self, arm: Arm, workspace: Workspace) -> None:
        self.arm = arm
        self.workspace = workspace
        self.scope = quote(workspace.scope)

    # Reading.

    def find(self, endpoint: str) -> HeldEndpoint | None:
        """Return an endpoint with its deployments; None where there is none."""
        if not is_name(endpoint):
            return None
        for kind in (ONLINE, BATCH):
            found = self.arm.find(self.path(kind, endpoint), kind)
            if found is not None:
                return self._with_deployments(kind, found)
        return None

    def list(self) -> list[tuple[str, Json]]:
        """Return kind and resource of each endpoint, in order of name; without their deployments."""

        def of(kind: str) -> list[tuple[str, Json]]:
            return [(kind, found) for found in self.arm.pages(f"{self.scope}/{kind}", kind)]

        with ThreadPoolExecutor(2) as pool:
            found = [item for items in pool.map(of, (ONLINE, BATCH)) for item in items]
        return sorted(found, key=lambda item: str(item[1].get("name")))

    def with_deployments(self, endpoints: Sequence[tuple[str, Json]]) -> Iterator[HeldEndpoint]:
        """Yield endpoints with their deployments, in the same order; without those that have gone since."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(lambda item: self._with_deployments(*item), endpoints)
            yield from (held for held in found if held is not None)

    def _with_deployments(self, kind: str, endpoint: Json) -> HeldEndpoint | None:
        path = self.path(kind, str(endpoint.get("name")))
        try:
            deployments = list(self.arm.pages(f"{path}/deployments", kind))
        except NotFound:  # deleted in between
            return None
        return HeldEndpoint(kind, endpoint, sorted(deployments, key=lambda held: str(held.get("name"))))

    # Changing.

    def change(
        self, method: str, subject: str, kind: str, body: Mapping[str, Any] | None = None
    ) -> Operation:
        """Begin a change of an endpoint or a deployment, and return its operation."""
        _, address = self.arm.begin(method, self._path_of(subject, kind), kind, body)
        return Operation(operation_id=f"{subject} {address or kind}", done=False)

    def going_on(self, subject: str, kind: str) -> Operation:
        """Return the operation of a change that somebody has begun."""
        return Operation(operation_id=f"{subject} {kind}", done=False)

    def poll(self, operation: Operation) -> Operation:
        """Return how an operation stands.

        Raises:
            NotFound: It is none.
        """
        if operation.done:
            return operation
        subject, where = _parts(operation.operation_id)
        error: str | None = None
        try:
            done = self._has_ended(subject, where)
        except (Transient, NotFound):
            raise
        except BridgeError as failed:
            done, error = True, failed.message
        return Operation(operation_id=operation.operation_id, done=done, error=error)

    def _has_ended(self, subject: str, where: str) -> bool:
        if where not in (ONLINE, BATCH):
            try:
                return self.arm.has_ended(where, self._path_of(subject, ONLINE))
            except NotFound:  # ARM forgets operations after some hours; the resource tells as well
                where = BATCH if f"/{BATCH}/" in where else ONLINE
        found = self.arm.find(self._path_of(subject, where), where)
        if found is None:
            return True
        if state_of(found) in ("failed", "canceled"):
            raise BridgeError(f"{subject} is {state_of(found)} in Azure", adapter=ADAPTER)
        return not is_under_way(found)

    # Addresses.

    def path(self, kind: str, endpoint: str, deployment: str = "") -> str:
        """Return the path of an endpoint, or of a deployment by our name."""
        below = path_of("deployments", native_deployment(deployment)) if deployment else ""
        return f"{self.scope}/{kind}{path_of(endpoint)}{below}"

    @staticmethod
    def id_of(held: HeldEndpoint, deployment: str) -> str:
        """Return the id of a deployment of an endpoint, by our name."""
        return f"{held.id}/deployments/{native_deployment(deployment)}"

    def _path_of(self, subject: str, kind: str) -> str:
        _, endpoint, deployment = split_subject(subject)
        return self.path(kind, endpoint, deployment)


def held_operation() -> Operation:
    """Return the operation of a change that holds already."""
    return Operation(operation_id=HELD, done=True)


def _parts(operation_id: str) -> tuple[str, str]:
    """Return the subject of an operation, and where it is looked at.

    Raises:
        NotFound: The id was not given out by us.
    """
    subject, _, where = operation_id.rpartition(" ")
    try:
        split_subject(subject)
        if where in (ONLINE, BATCH) or where.startswith(("https://", "http://", "/")):
            return subject, where
    except InvalidInput:
        pass
    raise NotFound(
        f"there is no operation {operation_id[:80]!r}",
        adapter=ADAPTER,
        operation="deployments.poll",
        hint="observe the endpoint to see how it stands",
    )
