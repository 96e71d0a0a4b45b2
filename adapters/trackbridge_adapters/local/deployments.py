"""The deployment port over processes of this machine.

What is wanted lies in ``store.db`` and is durable when ``apply`` returns. Each endpoint has a supervisor, a
router and a server per deployment; see ``endpoint_supervisor``, ``endpoint_router``. Every call here that
concerns an endpoint looks whether its supervisor lives, and starts another one if not.
"""

# ruff: noqa: D102  the docstrings of the port are the contract

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from trackbridge.domain.deployment_changes import (
    checked_endpoint_name,
    deployment_changes,
    removal_changes,
    split_subject,
    traffic_changes,
)
from trackbridge.domain.deployments import (
    CapturedPayload,
    DeploymentSpec,
    DeploymentState,
    EndpointMetrics,
    EndpointRevision,
    EndpointState,
    EndpointStatus,
    Operation,
)
from trackbridge.domain.jobs import LogChunk
from trackbridge.domain.paging import Page
from trackbridge.domain.plans import Change
from trackbridge.errors import NotFound
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.deployments import DeploymentTarget
from trackbridge.ports.findings import Finding
from trackbridge_adapters.local.capabilities import ADAPTER, CAPABILITIES
from trackbridge_adapters.local.database import Database
from trackbridge_adapters.local.endpoint_captured import count_captured, read_captured
from trackbridge_adapters.local.endpoint_changes import (
    apply_deployment,
    apply_endpoint,
    apply_traffic,
    begin,
)
from trackbridge_adapters.local.endpoint_checks import check_programs, check_spec, findings_of
from trackbridge_adapters.local.endpoint_folders import EndpointFolder
from trackbridge_adapters.local.endpoint_rows import (
    DeploymentRow,
    EndpointRow,
    bump,
    read_endpoint,
    read_endpoints,
)
from trackbridge_adapters.local.errors import Translating
from trackbridge_adapters.local.tokens import listing_of, page_size, place_of, token_of

HELD = "held"
REVISIONS_MAX = 1000


class LocalDeployments(DeploymentTarget):
    """Endpoints that run on this machine, and outlive the command that made them."""

    def __init__(self, store: Path, database: Database, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._database = database
        self._clock_ms = clock_ms

    # What stands.

    def observe(self, endpoint: str) -> EndpointState | None:
        row = self._look(endpoint, "deployments.observe")
        return _state(row) if row is not None else None

    def list_endpoints(self, *, max_results: int = 1000, token: str | None = None) -> Page[EndpointState]:
        operation = "deployments.list_endpoints"
        listing = listing_of("list_endpoints")
        size = page_size(max_results, operation=operation)
        place = place_of(token, listing, operation=operation, types=(str,))
        after = place[0] if place else ""
        with self._database.reading(operation) as connection:
            rows = read_endpoints(connection, after, size + 1) if connection is not None else []
        states = [self.observe(row.name) for row in rows[:size]]
        more = token_of(listing, [rows[size - 1].name]) if len(rows) > size else None
        return Page(items=tuple(state for state in states if state is not None), token=more)

    def can_read(self, source: str) -> bool:
        return False

    # Plans.

    def check(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Finding, ...]:
        return findings_of()

    def plan(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Change, ...]:
        check_spec(spec)
        return deployment_changes(spec, observed)

    def plan_removal(self, endpoint: str, deployment: str, observed: EndpointState) -> tuple[Change, ...]:
        return removal_changes(endpoint, deployment, observed)

    def plan_traffic(
        self,
        endpoint: str,
        observed: EndpointState,
        *,
        percent_by_deployment: Mapping[str, int],
        mirror_percent_by_deployment: Mapping[str, int] | None = None,
    ) -> tuple[Change, ...]:
        return traffic_changes(observed, percent_by_deployment, mirror_percent_by_deployment)

    # Changes.

    def apply(self, change: Change, *, payload: Path | None = None) -> Operation:
        operation, now = "deployments.apply", self._clock_ms()
        kind, endpoint, _ = split_subject(change.subject)
        check_programs()
        with Translating(operation, change.subject):
            if kind == "endpoint":
                applied = apply_endpoint(self._database, EndpointFolder(self._store, endpoint), change, now)
            elif kind == "traffic":
                applied = apply_traffic(self._database, change, now)
            else:
                applied = apply_deployment(self._database, self._store, change, payload, now)
        self._look(endpoint, operation)
        return Operation(operation_id=str(applied), done=False) if applied else _done()

    def poll(self, operation: Operation) -> Operation:
        if operation.done:
            return operation
        found = None
        with self._database.reading("deployments.poll", operation.operation_id) as connection:
            if connection is not None and operation.operation_id.isdecimal():
                found = connection.execute(
                    "SELECT endpoint, done, error FROM endpoint_operation WHERE operation = ?",
                    (int(operation.operation_id),),
                ).fetchone()
        if found is None:
            raise NotFound(
                f"there is no operation {operation.operation_id[:80]!r}",
                adapter=ADAPTER,
                operation="deployments.poll",
                hint="observe the endpoint to see how it stands",
            )
        endpoint, done, error = found
        if not done:
            self._look(endpoint, "deployments.poll")
        return Operation(operation_id=operation.operation_id, done=bool(done), error=error)

    def delete(self, endpoint: str) -> Operation:
        operation = "deployments.delete"
        with self._database.updating(operation, endpoint) as connection:
            row = read_endpoint(connection, endpoint) if connection is not None else None
            if connection is None or row is None:
                return _done()
            applied = begin(connection, endpoint, f"delete {endpoint}", self._clock_ms())
            if not row.is_deleting:
                bump(connection, endpoint)
                connection.execute("UPDATE endpoint SET is_deleting = 1 WHERE name = ?", (endpoint,))
        self._look(endpoint, operation)
        return Operation(operation_id=str(applied), done=False)

    # Requests.

    def invoke(
        self, endpoint: str, payload: bytes, *, content_type: str, deployment: str | None = None
    ) -> bytes:
        from trackbridge_adapters.local.endpoint_client import invoke

        row = self._find(endpoint, "deployments.invoke")
        if deployment is not None and row.find(deployment) is None:
            raise NotFound(
                f"endpoint {endpoint!r} has no deployment {deployment[:80]!r}",
                adapter=ADAPTER,
                operation="deployments.invoke",
                hint="'bridge endpoints show' names its deployments",
            )
        with Translating("deployments.invoke", endpoint):
            token = EndpointFolder(self._store, endpoint).read_token()
        return invoke(row, token, payload, content_type=content_type, deployment=deployment)

    # Reading.

    def read_logs(self, endpoint: str, deployment: str, *, cursor: str = "") -> LogChunk:
        from trackbridge_adapters.local.endpoint_logs import read_log

        operation = "deployments.read_logs"
        row = self._look(endpoint, operation)
        is_there = row is not None and any(found.name == deployment for found in row.deployments)
        with Translating(operation, f"{endpoint}/{deployment}"):
            log = self._log_of(endpoint, deployment)
            if not is_there and (log is None or not log.exists()):
                raise NotFound(
                    f"there was no deployment {endpoint[:80]}/{deployment[:80]}",
                    adapter=ADAPTER,
                    operation=operation,
                    hint="'bridge endpoints list' names what is there",
                )
            assert log is not None
            return read_log(log, cursor, is_over=not is_there)

    def _log_of(self, endpoint: str, deployment: str) -> Path | None:
        """Return where the log lies; None for names that no endpoint can have."""
        from trackbridge.domain.deployment_changes import is_endpoint_name

        if not is_endpoint_name(endpoint) or not is_endpoint_name(deployment):
            return None
        return EndpointFolder(self._store, endpoint).log(deployment)

    def read_metrics(self, endpoint: str, *, window_s: int) -> tuple[EndpointMetrics, ...]:
        from trackbridge_adapters.local.endpoint_telemetry import read_figures

        operation = "deployments.read_metrics"
        row = self._find(endpoint, operation)
        now_s = self._clock_ms() // 1000
        with self._database.reading(operation, endpoint) as connection:
            if connection is None:
                raise _no_endpoint(endpoint, operation)
            found = [
                (
                    deployment,
                    read_figures(connection, endpoint, deployment.name, now_s=now_s, window_s=window_s),
                )
                for deployment in row.deployments
                if not deployment.is_removing
            ]
        return tuple(self._present_figures(row, deployment, figures) for deployment, figures in found)

    def _present_figures(
        self, row: EndpointRow, deployment: DeploymentRow, figures: EndpointMetrics
    ) -> EndpointMetrics:
        """Return figures with what is so now: who waits, who serves, what was kept."""
        from trackbridge_adapters.local.endpoint_telemetry import read_queued

        is_serving = deployment.serving_generation is not None
        since = self._clock_ms() - figures.window_s * 1000
        return msgspec.structs.replace(
            figures,
            queued=read_queued(row.socket(deployment.name, deployment.serving_generation))
            if is_serving
            else None,
            instances=deployment.spec.instance_count if deployment.status is EndpointStatus.READY else 0,
            captured=count_captured(EndpointFolder(self._store, row.name), deployment.name, since=since),
        )

    def read_captured(
        self,
        endpoint: str,
        *,
        deployment: str | None = None,
        since: int = 0,
        until: int | None = None,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[CapturedPayload]:
        for name, kind in ((endpoint, "endpoint"), (deployment or "x", "deployment")):
            checked_endpoint_name(name, kind)
        return read_captured(
            EndpointFolder(self._store, endpoint),
            deployment=deployment,
            since=since,
            until=until,
            max_results=max_results,
            token=token,
        )

    # Revisions.

    def start_batch(
        self, endpoint: str, *, source: str, destination: str, key: str, deployment: str | None = None
    ) -> Operation:
        CAPABILITIES.require(Feature.DEPLOYMENTS_BATCH, operation="deployments.start_batch")
        raise AssertionError("it is declared as absent")

    def save_revision(self, revision: EndpointRevision) -> EndpointRevision:
        with self._database.writing("deployments.save_revision", revision.endpoint) as connection:
            newest = connection.execute(
                "SELECT body FROM endpoint_revision WHERE endpoint = ? ORDER BY number DESC LIMIT 1",
                (revision.endpoint,),
            ).fetchone()
            kept = msgspec.json.decode(newest[0], type=EndpointRevision) if newest else None
            last = kept.number if kept is not None else 0
            is_same = kept is not None and kept.deployments == revision.deployments
            numbered = msgspec.structs.replace(revision, number=last if is_same else last + 1)
            connection.execute(
                "INSERT OR REPLACE INTO endpoint_revision (endpoint, number, body) VALUES (?, ?, ?)",
                (revision.endpoint, numbered.number, msgspec.json.encode(numbered).decode()),
            )
        return numbered

    def list_revisions(
        self, endpoint: str, *, max_results: int = 1000, token: str | None = None
    ) -> Page[EndpointRevision]:
        operation = "deployments.list_revisions"
        listing = listing_of("list_revisions", endpoint)
        size = page_size(max_results, operation=operation)
        place = place_of(token, listing, operation=operation, types=(int,))
        condition, values = ("AND number < ?", [place[0]]) if place else ("", [])
        with self._database.reading(operation, endpoint) as connection:
            found = (
                []
                if connection is None
                else connection.execute(
                    f"SELECT body FROM endpoint_revision WHERE endpoint = ? {condition} "
                    "ORDER BY number DESC LIMIT ?",
                    (endpoint, *values, size + 1),
                ).fetchall()
            )
        revisions = [msgspec.json.decode(body, type=EndpointRevision) for (body,) in found]
        more = token_of(listing, [revisions[size - 1].number]) if len(revisions) > size else None
        return Page(items=tuple(revisions[:size]), token=more)

    def lock(self, endpoint: str) -> AbstractContextManager[None]:
        from trackbridge.domain.deployment_changes import checked_endpoint_name
        from trackbridge_adapters.local.endpoint_lock import EndpointLock

        folder = EndpointFolder(self._store, checked_endpoint_name(endpoint))
        with Translating("deployments.lock", endpoint):
            return EndpointLock(folder, self._clock_ms())

    # What the methods share.

    def _look(self, endpoint: str, operation: str) -> EndpointRow | None:
        """Return the endpoint, supervised."""
        row = self._read(endpoint, operation)
        if row is None:
            return None
        from trackbridge_adapters.local.endpoint_start import ensure_supervisor

        with Translating(operation, endpoint):
            if ensure_supervisor(EndpointFolder(self._store, endpoint)):
                return self._read(endpoint, operation)  # the supervisor has just looked
        return row

    def _read(self, endpoint: str, operation: str) -> EndpointRow | None:
        with self._database.reading(operation, endpoint) as connection:
            return read_endpoint(connection, endpoint) if connection is not None else None

    def _find(self, endpoint: str, operation: str) -> EndpointRow:
        row = self._look(endpoint, operation)
        if row is None:
            raise _no_endpoint(endpoint, operation)
        return row


def _no_endpoint(endpoint: str, operation: str) -> NotFound:
    return NotFound(
        f"there is no endpoint {endpoint[:80]!r}",
        adapter=ADAPTER,
        operation=operation,
        hint="'bridge endpoints list' names those that are there",
    )


def _done() -> Operation:
    """Return the operation of a change that held already."""
    return Operation(operation_id=HELD, done=True)


def _state(row: EndpointRow) -> EndpointState:
    deployments = tuple(_deployment_state(row, found) for found in row.deployments if not found.is_removing)
    lack = "none of its deployments could be started" if _have_all_failed(deployments) else ""
    return EndpointState(
        endpoint=row.name,
        status=_status(row, deployments),
        deployments=deployments,
        url=f"http://127.0.0.1:{row.port}" if row.port else None,
        reason=row.reason or lack,
        native_id=row.name,
    )


def _have_all_failed(deployments: tuple[DeploymentState, ...]) -> bool:
    return {found.status for found in deployments} == {EndpointStatus.FAILED}


def _status(row: EndpointRow, deployments: tuple[DeploymentState, ...]) -> EndpointStatus:
    if row.is_deleting:
        return EndpointStatus.DELETING
    answering = [found.status for found in deployments if found.traffic_percent]
    if row.reason or EndpointStatus.FAILED in answering or _have_all_failed(deployments):
        return EndpointStatus.FAILED
    if row.port is None:
        return EndpointStatus.CREATING
    settled = (EndpointStatus.READY, EndpointStatus.FAILED)
    if row.routed_generation < row.generation or any(found.status not in settled for found in deployments):
        return EndpointStatus.UPDATING
    return EndpointStatus.READY


def _deployment_state(row: EndpointRow, found: DeploymentRow) -> DeploymentState:
    traffic, mirror = row.traffic.get(found.name, 0), row.mirror.get(found.name, 0)
    return DeploymentState(
        deployment=found.name,
        model=found.spec.model,
        status=found.status,
        traffic_percent=traffic,
        mirror_percent=mirror,
        instance_count=found.spec.instance_count,
        reason=found.reason,
        spec=msgspec.structs.replace(found.spec, traffic_percent=traffic, mirror_percent=mirror),
        native_id=f"{row.name}/{found.name}",
    )
