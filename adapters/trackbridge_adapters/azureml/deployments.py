"""Online and batch endpoints of a workspace, by ARM alone.

====================================  ==================================================================
what                                  where
====================================  ==================================================================
what ARM has, operations              ``deployments_resources``, read as ``deployments_state`` says
changes                               ``deployments_changes``, bodies in ``deployments_requests``
models, images, code                  ``deployments_assets``
what Azure cannot hold, and lacks     ``deployments_checks``, ``deployments_findings``
requests                              ``deployments_scoring``, ``deployments_payloads``
telemetry, payloads, logs             ``deployments_metrics``, ``_captured``, ``_logs``
revisions, the lock                   ``deployments_kept``
====================================  ==================================================================
"""

# ruff: noqa: D102  the docstrings of the port are the contract

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec

from trackbridge.domain.deployment_changes import (
    checked_endpoint_name,
    deployment_changes,
    is_endpoint_name,
    removal_changes,
    traffic_changes,
)
from trackbridge.domain.deployments import (
    CapturedPayload,
    DeploymentSpec,
    EndpointMetrics,
    EndpointRevision,
    EndpointState,
    Operation,
)
from trackbridge.domain.jobs import LogChunk
from trackbridge.domain.page_tokens import listing_of, page_size, place_of, token_of
from trackbridge.domain.paging import Page
from trackbridge.domain.plans import Change
from trackbridge.errors import NotFound
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.deployments import DeploymentTarget
from trackbridge.ports.findings import Finding
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.deployments_assets import can_read
from trackbridge_adapters.azureml.deployments_batch import BatchScoring
from trackbridge_adapters.azureml.deployments_captured import CapturedFiles
from trackbridge_adapters.azureml.deployments_changes import DeploymentChanges, endpoint_facts
from trackbridge_adapters.azureml.deployments_checks import check_endpoint, check_mirrors, check_spec
from trackbridge_adapters.azureml.deployments_findings import DeploymentFindings
from trackbridge_adapters.azureml.deployments_kept import EndpointLock, KeptBlobs, Revisions
from trackbridge_adapters.azureml.deployments_logs import DeploymentLogs
from trackbridge_adapters.azureml.deployments_metrics import DeploymentMetrics
from trackbridge_adapters.azureml.deployments_names import rejected
from trackbridge_adapters.azureml.deployments_resources import EndpointResources, HeldEndpoint
from trackbridge_adapters.azureml.deployments_scaling import Scaling
from trackbridge_adapters.azureml.deployments_scoring import Scoring
from trackbridge_adapters.azureml.deployments_state import endpoint_state

PAGE_ITEMS_MAX = 1000


class AzureDeployments(DeploymentTarget):
    """Endpoints of one workspace. Any thread may use it; contacts nobody before it is asked for something."""

    def __init__(
        self,
        resources: EndpointResources,
        *,
        capabilities: Callable[[], Capabilities],
        changes: DeploymentChanges,
        findings: DeploymentFindings,
        scaling: Scaling,
        scoring: Scoring,
        batch: BatchScoring,
        logs: DeploymentLogs,
        metrics: DeploymentMetrics,
        captured: CapturedFiles,
        blobs: KeptBlobs,
        clock_ms: Callable[[], int],
    ) -> None:
        self._resources = resources
        self._capabilities = capabilities
        self._changes = changes
        self._findings = findings
        self._scaling = scaling
        self._scoring = scoring
        self._batch = batch
        self._logs = logs
        self._metrics = metrics
        self._captured = captured
        self._blobs = blobs
        self._revisions = Revisions(blobs)
        self._clock_ms = clock_ms
        self._locks: WeakValueDictionary[str, EndpointLock] = WeakValueDictionary()

    # What stands.

    def observe(self, endpoint: str) -> EndpointState | None:
        held = self._resources.find(endpoint)
        return None if held is None else self._state(held)

    def list_endpoints(self, *, max_results: int = 1000, token: str | None = None) -> Page[EndpointState]:
        operation = "deployments.list_endpoints"
        listing = listing_of("azureml.list_endpoints", self._resources.workspace.address)
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=ADAPTER, operation=operation)
        place = place_of(token, listing, adapter=ADAPTER, operation=operation, types=(str,))
        after = str(place[0]) if place else ""
        rest = [item for item in self._resources.list() if str(item[1].get("name")) > after]
        states = tuple(self._state(held) for held in self._resources.with_deployments(rest[:size]))
        more = token_of(listing, [str(rest[size - 1][1].get("name"))]) if len(rest) > size else None
        return Page(items=states, token=more)

    def _state(self, held: HeldEndpoint) -> EndpointState:
        scales = {} if held.is_batch else self._scaling.bounds(held.deployments)
        return endpoint_state(held, scales, self._logs.why_failed)

    def _found(self, endpoint: str, operation: str) -> HeldEndpoint:
        held = self._resources.find(endpoint)
        if held is None:
            raise NotFound(
                f"there is no endpoint {endpoint[:80]!r}",
                adapter=ADAPTER,
                operation=operation,
                hint="'bridge endpoints list' names what is there",
            )
        return held

    def can_read(self, source: str) -> bool:
        return can_read(source, self._resources.workspace)

    # Plans.

    def check(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Finding, ...]:
        return self._findings.of(spec, observed)

    def plan(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Change, ...]:
        check_spec(spec, self._capabilities())
        check_endpoint(spec, observed)
        changes = check_mirrors(deployment_changes(spec, observed))
        return tuple(
            msgspec.structs.replace(change, after=endpoint_facts(spec))
            if change.subject == f"endpoint {spec.endpoint}"
            else change
            for change in changes
        )

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
        changes = traffic_changes(observed, percent_by_deployment, mirror_percent_by_deployment)
        is_batch = "/batchEndpoints/" in str(observed.native_id or "")
        if is_batch and any(percent not in (0, 100) for percent in percent_by_deployment.values()):
            raise rejected("a batch endpoint cannot share its work", "give one deployment 100")
        return check_mirrors(changes)

    # Changes.

    def apply(self, change: Change, *, payload: Path | None = None) -> Operation:
        endpoint = change.subject.partition(" ")[2].partition("/")[0]
        self._check_lock(endpoint)
        operation = self._changes.apply(change, payload)
        self._scoring.forget(endpoint)
        return operation

    def poll(self, operation: Operation) -> Operation:
        if self._batch.is_ours(operation):
            return self._batch.poll(operation)
        return self._resources.poll(operation)

    def delete(self, endpoint: str) -> Operation:
        self._check_lock(endpoint)
        operation = self._changes.delete(endpoint)
        self._scoring.forget(endpoint)
        return operation

    # Requests.

    def invoke(
        self, endpoint: str, payload: bytes, *, content_type: str, deployment: str | None = None
    ) -> bytes:
        return self._scoring.invoke(endpoint, payload, content_type, deployment)

    def start_batch(
        self, endpoint: str, *, source: str, destination: str, key: str, deployment: str | None = None
    ) -> Operation:
        held = self._found(endpoint, "deployments.start_batch")
        return self._batch.start(held, source=source, destination=destination, key=key, deployment=deployment)

    # Reading.

    def read_logs(self, endpoint: str, deployment: str, *, cursor: str = "") -> LogChunk:
        if not is_endpoint_name(endpoint) or not is_endpoint_name(deployment):
            raise NotFound(f"nothing is called {endpoint[:40]}/{deployment[:40]}", adapter=ADAPTER)
        return self._logs.read(endpoint, deployment, cursor, self._resources.find(endpoint))

    def read_metrics(self, endpoint: str, *, window_s: int) -> tuple[EndpointMetrics, ...]:
        return self._metrics.read(self._found(endpoint, "deployments.read_metrics"), window_s)

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
        return self._captured.read(
            endpoint,
            deployment=deployment,
            since=since,
            until=until,
            max_results=max_results,
            token=token,
        )

    # Revisions and the lock.

    def save_revision(self, revision: EndpointRevision) -> EndpointRevision:
        checked_endpoint_name(revision.endpoint)
        return self._revisions.save(revision)

    def list_revisions(
        self, endpoint: str, *, max_results: int = 1000, token: str | None = None
    ) -> Page[EndpointRevision]:
        operation = "deployments.list_revisions"
        checked_endpoint_name(endpoint)
        listing = listing_of("azureml.list_revisions", endpoint.lower())
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=ADAPTER, operation=operation)
        place = place_of(token, listing, adapter=ADAPTER, operation=operation, types=(int,))
        found = self._revisions.newest_first(endpoint)
        rest = [revision for revision in found if place is None or revision.number < place[0]]
        more = token_of(listing, [rest[size - 1].number]) if len(rest) > size else None
        return Page(items=tuple(rest[:size]), token=more)

    def lock(self, endpoint: str) -> AbstractContextManager[None]:
        held = EndpointLock(self._blobs, checked_endpoint_name(endpoint), self._clock_ms)
        self._locks[endpoint.lower()] = held
        return held

    def _check_lock(self, endpoint: str) -> None:
        held = self._locks.get(endpoint.lower())
        if held is not None:
            held.check()
