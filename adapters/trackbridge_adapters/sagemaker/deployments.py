"""The deployment port over SageMaker's endpoints, by boto3 alone.

::

    plan (pure) -> apply: model in S3 -> CreateModel -> CreateEndpointConfig -> Create-/UpdateEndpoint
                -> poll: in service with that config? -> scaling, cleaning up   (else: taken back, and why)

SageMaker's answers are how an endpoint stands; what it cannot tell (the spec of a deployment, what failed,
that an endpoint is wanted before it has its first variant) lies in the bucket, see ``deployments_records``.
"""

# ruff: noqa: D102  the docstrings of the port are the contract

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from trackbridge.domain.deployment_changes import checked_endpoint_name, is_endpoint_name
from trackbridge.domain.deployments import (
    CapturedPayload,
    DeploymentSpec,
    DeploymentState,
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
from trackbridge.ports.deployments import DeploymentTarget
from trackbridge.ports.findings import Finding
from trackbridge_adapters.sagemaker import (
    deployments_batch,
    deployments_captured,
    deployments_logs,
    deployments_metrics,
)
from trackbridge_adapters.sagemaker.arn import ADAPTER, SUFFIXES
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.capabilities import PAGE_ITEMS_MAX
from trackbridge_adapters.sagemaker.deployments_aftermath import Aftermath
from trackbridge_adapters.sagemaker.deployments_changes import Changes, refuse_busy
from trackbridge_adapters.sagemaker.deployments_checks import DeploymentChecks
from trackbridge_adapters.sagemaker.deployments_invoke import Invoker
from trackbridge_adapters.sagemaker.deployments_lock import EndpointLock
from trackbridge_adapters.sagemaker.deployments_names import endpoint_of, native_endpoint, variant_of
from trackbridge_adapters.sagemaker.deployments_operations import (
    BATCH,
    CONFIG,
    DELETE,
    WEIGHTS,
    begun,
    held,
    parts_of,
)
from trackbridge_adapters.sagemaker.deployments_options import defaults_of
from trackbridge_adapters.sagemaker.deployments_payloads import can_read
from trackbridge_adapters.sagemaker.deployments_plan import Planner
from trackbridge_adapters.sagemaker.deployments_records import EndpointRecord, Records
from trackbridge_adapters.sagemaker.deployments_requests import Drafts
from trackbridge_adapters.sagemaker.deployments_revisions import Revisions
from trackbridge_adapters.sagemaker.deployments_view import View, Views, state_of

LOOKS_AT_ONCE = 8


class SageMakerDeployments(DeploymentTarget):
    """The endpoints of one place. Any thread may use it.

    Args:
        backend: The place.

    Raises:
        ConfigError: An option is wrong.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._clients = backend.clients
        defaults = defaults_of(backend.context.options, os.environ)
        self._drafts = Drafts(backend, defaults)
        self._planner = Planner(backend.place, defaults, backend.capabilities)
        self._records = Records(backend.bucket)
        self._views = Views(backend, self._records)
        self._aftermath = Aftermath(backend, self._records, self._views)
        self._changes = Changes(backend, defaults, self._planner, self._records, self._views, self._aftermath)
        self._checks = DeploymentChecks(backend, defaults, self._drafts)
        self._revisions = Revisions(backend.bucket)
        self._invoker = Invoker(backend, self._views.described)
        self._locks: WeakValueDictionary[str, EndpointLock] = WeakValueDictionary()

    # What stands.

    def observe(self, endpoint: str) -> EndpointState | None:
        return self._state(self._views.look(endpoint)) if is_endpoint_name(endpoint) else None

    def list_endpoints(self, *, max_results: int = 1000, token: str | None = None) -> Page[EndpointState]:
        operation = "deployments.list_endpoints"
        listing = listing_of("list_endpoints", self._backend.place.text)
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=ADAPTER, operation=operation)
        place = place_of(token, listing, adapter=ADAPTER, operation=operation, types=(str,))
        names = [name for name in sorted(self._names()) if not place or name > place[0]]
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
            states = list(pool.map(self.observe, names[:size]))
        more = token_of(listing, [names[size - 1]]) if len(names) > size else None
        return Page(items=tuple(state for state in states if state is not None), token=more)

    def can_read(self, source: str) -> bool:
        return can_read(source)

    # Plans.

    def check(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Finding, ...]:
        return self._checks.look(spec, observed)

    def plan(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Change, ...]:
        return self._planner.plan(spec, observed)

    def plan_removal(self, endpoint: str, deployment: str, observed: EndpointState) -> tuple[Change, ...]:
        return self._planner.plan_removal(endpoint, deployment, observed)

    def plan_traffic(
        self,
        endpoint: str,
        observed: EndpointState,
        *,
        percent_by_deployment: Mapping[str, int],
        mirror_percent_by_deployment: Mapping[str, int] | None = None,
    ) -> tuple[Change, ...]:
        return self._planner.plan_traffic(observed, percent_by_deployment, mirror_percent_by_deployment)

    # Changes.

    def apply(self, change: Change, *, payload: Path | None = None) -> Operation:
        self._check_lock(change.subject.partition(" ")[2].partition("/")[0])
        return self._changes.apply(change, payload)

    def poll(self, operation: Operation) -> Operation:
        if operation.done:
            return operation
        kind, about = parts_of(operation)
        if kind == CONFIG:
            endpoint, config, deployment = about
            return self._aftermath.poll_config(operation, endpoint, config, deployment)
        if kind == WEIGHTS:
            endpoint, config = about
            return self._aftermath.poll_weights(operation, endpoint, config)
        if kind == BATCH:
            return deployments_batch.poll(self._clients, operation, *about)
        return self._aftermath.poll_deletion(operation, *about)

    def delete(self, endpoint: str) -> Operation:
        if not is_endpoint_name(endpoint):
            return held()
        self._check_lock(endpoint)
        view = self._views.look(endpoint)
        if view.told is None and view.record is None:
            return held()
        if view.status == "Deleting":
            return begun(DELETE, endpoint)
        refuse_busy(view)

        def deleting(record: EndpointRecord | None) -> EndpointRecord:
            return msgspec.structs.replace(record or EndpointRecord(), is_deleting=True)

        self._records.change(endpoint, deleting)
        if view.told is None:
            self._aftermath.finish_deletion(self._views.look(endpoint))
            return held()
        self._aftermath.stop_scaling(view)
        try:
            self._clients.call("sagemaker", "DeleteEndpoint", EndpointName=view.native)
        except NotFound:  # somebody was quicker
            self._aftermath.finish_deletion(self._views.look(endpoint))
            return held()
        return begun(DELETE, endpoint)

    # Requests.

    def invoke(
        self, endpoint: str, payload: bytes, *, content_type: str, deployment: str | None = None
    ) -> bytes:
        return self._invoker.invoke(endpoint, payload, content_type=content_type, deployment=deployment)

    def start_batch(
        self, endpoint: str, *, source: str, destination: str, key: str, deployment: str | None = None
    ) -> Operation:
        view = self._existing(endpoint, "deployments.start_batch")
        state = self._state(view)
        assert state is not None
        busiest = max(state.deployments, key=lambda found: found.traffic_percent, default=None)
        name = deployment if deployment is not None else busiest.deployment if busiest is not None else ""
        variant, found = view.find(name), state.find(name)
        asked: Mapping[str, Any] = variant.asked if variant is not None else {}
        batch = view.record.batch.get(name) if view.record is not None else None
        model = asked.get("ModelName") or (batch.model if batch is not None else None)
        if model is None or found is None:
            raise _missing(
                f"endpoint {endpoint!r} has no deployment {name[:80]!r}", "deployments.start_batch"
            )
        job = deployments_batch.job_name(view.native, key)
        default = self._drafts.instance_type(found.spec) if found.spec is not None else ""
        deployments_batch.start(
            self._clients,
            model=str(model),
            instance_type=asked.get("InstanceType") or default,
            spec=found.spec,
            source=source,
            destination=destination,
            name=job,
        )
        return begun(BATCH, job)

    # Reading.

    def read_logs(self, endpoint: str, deployment: str, *, cursor: str = "") -> LogChunk:
        operation = "deployments.read_logs"
        if not is_endpoint_name(endpoint) or not is_endpoint_name(deployment):
            raise _missing(f"there was no deployment {endpoint[:80]}/{deployment[:80]}", operation)
        state = self.observe(endpoint)
        native = native_endpoint(self._backend.place, endpoint)
        return deployments_logs.read_piece(
            self._clients,
            native,
            [variant_of(deployment, mirrors=mirrors) for mirrors in (False, True)],
            cursor,
            place=self._backend.place.text,
            is_gone=state is None or state.find(deployment) is None,
        )

    def read_metrics(self, endpoint: str, *, window_s: int) -> tuple[EndpointMetrics, ...]:
        view = self._existing(endpoint, "deployments.read_metrics")
        state = self._state(view)
        deployments: tuple[DeploymentState, ...] = state.deployments if state is not None else ()
        return deployments_metrics.read(
            self._clients,
            view.native,
            deployments,
            now_s=self._backend.context.clock_ms() / 1000,
            window_s=window_s,
            is_asynchronous="AsyncInferenceConfig" in view.config,
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
        return deployments_captured.read_captured(
            self._backend.bucket,
            endpoint,
            native_endpoint(self._backend.place, endpoint),
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
        checked_endpoint_name(endpoint)
        return self._revisions.page(endpoint, max_results=max_results, token=token)

    def lock(self, endpoint: str) -> AbstractContextManager[None]:
        checked_endpoint_name(endpoint)
        lock = EndpointLock(self._backend.bucket, endpoint, self._backend.context.clock_ms)
        self._locks[endpoint] = lock
        return lock

    # What the methods share.

    def _names(self) -> set[str]:
        """Return the endpoints of the place: SageMaker's, and those that are to get their first variant."""
        place = self._backend.place
        asked = {"NameContains": f"{place.prefix}-"} if place.prefix else {}
        rows = self._clients.pages(
            "sagemaker",
            "ListEndpoints",
            "Endpoints",
            SortBy="Name",
            SortOrder="Ascending",
            MaxResults=100,
            **asked,
        )
        native = (endpoint_of(place, str(row["EndpointName"])) for row in rows)
        return {name for name in native if name and is_endpoint_name(name)} | set(self._records.endpoints())

    def _state(self, view: View) -> EndpointState | None:
        place = self._backend.place
        host = f"runtime.sagemaker.{place.region}.{SUFFIXES[place.partition][1]}"
        return state_of(view, f"https://{host}/endpoints/{view.native}/invocations")

    def _existing(self, endpoint: str, operation: str) -> View:
        view = self._views.look(endpoint) if is_endpoint_name(endpoint) else None
        if view is None or not view.exists:
            raise _missing(f"there is no endpoint {endpoint[:80]!r}", operation)
        return view

    def _check_lock(self, endpoint: str) -> None:
        lock = self._locks.get(endpoint)
        if lock is not None:
            lock.check()


def _missing(message: str, operation: str) -> NotFound:
    return NotFound(
        message,
        adapter=ADAPTER,
        operation=operation,
        hint="'bridge endpoints list' names those that are there",
    )
