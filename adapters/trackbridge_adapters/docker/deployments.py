"""The deployment port over a folder of build contexts; see ``state`` for what lies where."""

# ruff: noqa: D102  the docstrings of the port are the contract

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime, timezone
from getpass import getuser
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from trackbridge.domain.deployment_changes import (
    checked_endpoint_name,
    deployment_changes,
    facts_of,
    is_same_deployment,
    removal_changes,
    shares_of,
    spec_of,
    split_subject,
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
from trackbridge.domain.page_tokens import listing_of, page_size, place_of, token_of
from trackbridge.domain.paging import Page
from trackbridge.domain.plans import Change
from trackbridge.errors import Locked, NotFound, PlanStale, Rejected
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.deployments import DeploymentTarget
from trackbridge.ports.findings import Finding
from trackbridge.transport.file_locks import try_held
from trackbridge_adapters.docker.building import discard_contexts, refuse_broken, start_building
from trackbridge_adapters.docker.capabilities import CAPABILITIES, PAGE_ITEMS_MAX
from trackbridge_adapters.docker.checks import check_spec, findings_of
from trackbridge_adapters.docker.config import ADAPTER
from trackbridge_adapters.docker.errors import translating
from trackbridge_adapters.docker.state import Built, Endpoint, Store, Work

APPLY = "deployments.apply"
REVISIONS_MAX = 1000
HELD = Operation(operation_id="held", done=True)


class DockerDeployments(DeploymentTarget):
    """Deployments as build contexts. Nothing is run: what needs that is declared absent."""

    def __init__(self, folder: Path, clock_ms: Callable[[], int]) -> None:
        self._folder = folder
        self._store = Store(folder)
        self._clock_ms = clock_ms

    # What stands.

    def observe(self, endpoint: str) -> EndpointState | None:
        with translating("deployments.observe", endpoint):
            content = self._store.read(endpoint)
        return self._state(endpoint, content) if content is not None else None

    def list_endpoints(self, *, max_results: int = 1000, token: str | None = None) -> Page[EndpointState]:
        operation, listing = "deployments.list_endpoints", listing_of("list_endpoints")
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=ADAPTER, operation=operation)
        place = place_of(token, listing, adapter=ADAPTER, operation=operation, types=(str,))
        with translating(operation, str(self._folder)):
            names = [name for name in self._store.names() if place is None or name > place[0]]
            found = [(name, self._store.read(name)) for name in names[:size]]
        states = tuple(self._state(name, content) for name, content in found if content is not None)
        more = token_of(listing, [names[size - 1]]) if len(names) > size else None
        return Page(items=states, token=more)

    def _state(self, endpoint: str, content: Endpoint) -> EndpointState:
        deployments = tuple(
            self._deployment_state(endpoint, name, built, content.traffic.get(name, 0))
            for name, built in sorted(content.deployments.items())
        )
        statuses = {found.status for found in deployments}
        answering = {found.status for found in deployments if found.traffic_percent}
        status = EndpointStatus.READY
        if statuses == {EndpointStatus.FAILED} or EndpointStatus.FAILED in answering:
            status = EndpointStatus.FAILED
        elif statuses - {EndpointStatus.READY, EndpointStatus.FAILED}:
            status = EndpointStatus.UPDATING
        path = str(self._store.path(endpoint))
        return EndpointState(endpoint=endpoint, status=status, deployments=deployments, native_id=path)

    def _deployment_state(self, endpoint: str, name: str, built: Built, share: int) -> DeploymentState:
        spec = built.wanted
        return DeploymentState(
            deployment=name,
            model=spec.model,
            status=built.status,
            traffic_percent=share,
            instance_count=spec.instance_count,
            reason=built.reason,
            spec=msgspec.structs.replace(spec, traffic_percent=share),
            time=built.time,
            native_id=str(self._store.path(endpoint) / name) if built.context else None,
        )

    def can_read(self, source: str) -> bool:
        return False

    # Plans.

    def check(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Finding, ...]:
        return findings_of(self._folder, spec)

    def plan(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Change, ...]:
        check_spec(spec)
        return deployment_changes(spec, observed)

    def plan_removal(self, endpoint: str, deployment: str, observed: EndpointState) -> tuple[Change, ...]:
        return removal_changes(endpoint, deployment, observed)

    # Changes.

    def apply(self, change: Change, *, payload: Path | None = None) -> Operation:
        kind, endpoint, deployment = split_subject(change.subject)
        checked_endpoint_name(endpoint)
        with translating(APPLY, change.subject):
            if kind == "deployment" and change.after is not None:
                return self._bring(change, spec_of(change.after), payload)
            with self._store.locked(endpoint):
                content = self._store.read(endpoint)
                if kind == "endpoint":
                    content = content or Endpoint()
                elif kind == "traffic":
                    _share(content, change)
                else:
                    _remove(content, deployment, change)
                if content is not None:
                    self._store.write(endpoint, content)
                    discard_contexts(self._store, endpoint, content)
        return HELD

    def _bring(self, change: Change, wanted: DeploymentSpec, payload: Path | None) -> Operation:
        check_spec(msgspec.structs.replace(wanted, traffic_percent=100))  # a change holds no share
        endpoint, name = wanted.endpoint, wanted.deployment
        if change.subject != f"deployment {endpoint}/{name}":
            raise Rejected(
                "the change is not of the deployment that it names", adapter=ADAPTER, hint="plan again"
            )
        with self._store.locked(endpoint):
            content = self._store.read(endpoint)
            if content is None:
                _refuse_stale(change, "there is no endpoint of this name")
            current = content.deployments.get(name)
            if _holds(current, change):
                return _operation(endpoint, current.work) if current and current.work else HELD
            source = payload or self._kept_model(endpoint, current, wanted)
            work = Work(spec=wanted, payload=str(source.absolute()), token=secrets.token_hex(8))
            if current is None:
                current = Built(spec=wanted)
            elif current.work is not None:
                content.end(current.work.token, "a later change took its place")
            current.work = work
            content.deployments[name] = current
            self._store.write(endpoint, content)
        start_building(self._store, endpoint, name)
        return _operation(endpoint, work)

    def _kept_model(self, endpoint: str, current: Built | None, wanted: DeploymentSpec) -> Path:
        """Return where the model lies already: in the context that stands, if it is the same."""
        is_same = current is not None and current.context and current.spec.model_digest == wanted.model_digest
        if current is None or not is_same or not wanted.model_digest:
            raise Rejected(
                "the change brings a model, and its payload did not come along",
                adapter=ADAPTER,
                operation=APPLY,
                resource=f"deployment {endpoint}/{wanted.deployment}",
                hint="hand over the folder that holds the model",
            )
        return self._store.contexts(endpoint) / current.context / "model"

    def poll(self, operation: Operation) -> Operation:
        if operation.done:
            return operation
        endpoint, _, token = operation.operation_id.partition("/")
        with translating("deployments.poll", operation.operation_id):
            content = self._store.read(endpoint)
            if content is not None and token in content.outcomes:
                error = content.outcomes[token].error
                return Operation(operation_id=operation.operation_id, done=True, error=error)
            for name, built in content.deployments.items() if content is not None else ():
                if built.work is not None and built.work.token == token:
                    refuse_broken(self._store, endpoint, name)
                    start_building(self._store, endpoint, name)
                    return operation
        raise NotFound(
            f"there is no operation {operation.operation_id[:80]!r}",
            adapter=ADAPTER,
            operation="deployments.poll",
            hint="observe the endpoint to see how it stands",
        )

    def delete(self, endpoint: str) -> Operation:
        with translating("deployments.delete", endpoint):
            if self._store.read(endpoint) is None:
                return HELD
            gone = self._folder / f".deleted-{secrets.token_hex(8)}"
            with self._store.locked(endpoint):
                if self._store.read(endpoint) is not None:
                    self._store.path(endpoint).rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
        return HELD

    # Revisions, and the lock.

    def save_revision(self, revision: EndpointRevision) -> EndpointRevision:
        endpoint = checked_endpoint_name(revision.endpoint)
        with translating("deployments.save_revision", endpoint), self._store.locked(endpoint):
            known = self._store.read_revisions(endpoint)
            last = known[-1].number if known else 0
            is_same = bool(known) and known[-1].deployments == revision.deployments
            numbered = msgspec.structs.replace(revision, number=last if is_same else last + 1)
            kept = [*(known[:-1] if is_same else known), numbered]
            self._store.write_revisions(endpoint, kept[-REVISIONS_MAX:])
        return numbered

    def list_revisions(
        self, endpoint: str, *, max_results: int = 1000, token: str | None = None
    ) -> Page[EndpointRevision]:
        operation, listing = "deployments.list_revisions", listing_of("list_revisions", endpoint)
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=ADAPTER, operation=operation)
        place = place_of(token, listing, adapter=ADAPTER, operation=operation, types=(int,))
        with translating(operation, endpoint):
            known = self._store.read_revisions(checked_endpoint_name(endpoint))
        found = [item for item in reversed(known) if place is None or item.number < place[0]]
        more = token_of(listing, [found[size - 1].number]) if len(found) > size else None
        return Page(items=tuple(found[:size]), token=more)

    def lock(self, endpoint: str) -> AbstractContextManager[Any]:
        path = self._store.operation_lock(checked_endpoint_name(endpoint))
        with translating("deployments.lock", endpoint), ExitStack() as stack:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not stack.enter_context(try_held(path, makes_it=True)):
                raise Locked(
                    f"endpoint {endpoint!r} is being changed by {_shown(path.read_bytes())}",
                    adapter=ADAPTER,
                    operation="deployments.lock",
                    hint="wait until that is done, then plan again",
                )
            holder = {"user": _user(), "pid": os.getpid(), "since": self._clock_ms()}
            path.write_text(json.dumps(holder), "utf-8")
            return stack.pop_all()

    # What needs somebody who runs the image.

    def plan_traffic(
        self,
        endpoint: str,
        observed: EndpointState,
        *,
        percent_by_deployment: Mapping[str, int],
        mirror_percent_by_deployment: Mapping[str, int] | None = None,
    ) -> tuple[Change, ...]:
        _refuse(Feature.DEPLOYMENTS_TRAFFIC, "plan_traffic")

    def invoke(
        self, endpoint: str, payload: bytes, *, content_type: str, deployment: str | None = None
    ) -> bytes:
        _refuse(Feature.DEPLOYMENTS_INVOKE, "invoke")

    def read_logs(self, endpoint: str, deployment: str, *, cursor: str = "") -> LogChunk:
        _refuse(Feature.DEPLOYMENTS_LOGS, "read_logs")

    def read_metrics(self, endpoint: str, *, window_s: int) -> tuple[EndpointMetrics, ...]:
        _refuse(Feature.DEPLOYMENTS_METRICS, "read_metrics")

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
        _refuse(Feature.DEPLOYMENTS_CAPTURE, "read_captured")

    def start_batch(
        self, endpoint: str, *, source: str, destination: str, key: str, deployment: str | None = None
    ) -> Operation:
        _refuse(Feature.DEPLOYMENTS_BATCH, "start_batch")


def _holds(current: Built | None, change: Change) -> bool:
    """Tell whether a deployment stands as after the change already.

    Raises:
        PlanStale: It stands neither so nor as before.
    """
    held = facts_of(current.wanted) if current is not None else None
    if is_same_deployment(held, change.after):
        return current is not None and current.status is not EndpointStatus.FAILED
    if not is_same_deployment(held, change.before):
        _refuse_stale(change, "it is another one now")
    return False


def _share(content: Endpoint | None, change: Change) -> None:
    """Make one deployment the current one."""
    if content is None:
        _refuse_stale(change, "there is no endpoint of this name")
    after = change.after or {}
    held = shares_of(content.traffic, {})
    if held == after:
        return
    if held != change.before:
        _refuse_stale(change, f"the current one is {', '.join(content.traffic) or 'none'}")
    name = next(iter(after.get("traffic") or {"": 0}))
    if after != {"traffic": {name: 100}, "mirror": {}}:
        CAPABILITIES.require(Feature.DEPLOYMENTS_TRAFFIC, operation=APPLY)
    built = content.deployments.get(name)
    if built is None or not built.context:
        why = f": {built.reason}" if built is not None and built.reason else ""
        raise Rejected(
            f"{change.subject.partition(' ')[2]}/{name} has no build context{why}",
            adapter=ADAPTER,
            operation=APPLY,
            hint="deploy it again",
        )
    content.traffic = {name: 100}


def _remove(content: Endpoint | None, deployment: str, change: Change) -> None:
    """Take a deployment away that is not the current one."""
    current = content.deployments.get(deployment) if content is not None else None
    if content is None or current is None:
        return
    if not is_same_deployment(facts_of(current.wanted), change.before):
        _refuse_stale(change, "it is another one now")
    if content.traffic.get(deployment):
        _refuse_stale(change, "it has the traffic now")
    if current.work is not None:
        content.end(current.work.token, "the deployment was taken away")
    del content.deployments[deployment]


def _operation(endpoint: str, work: Work) -> Operation:
    return Operation(operation_id=f"{endpoint}/{work.token}", done=False)


def _refuse(feature: Feature, method: str) -> NoReturn:
    CAPABILITIES.require(feature, operation=f"deployments.{method}")
    raise AssertionError("it is declared as absent")


def _refuse_stale(change: Change, why: str) -> NoReturn:
    raise PlanStale(
        f"{change.subject} has changed since the plan was made: {why}",
        adapter=ADAPTER,
        operation=APPLY,
        hint="plan again",
    )


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container may have no name for its user
        return str(os.getuid())


def _shown(holder: bytes) -> str:
    try:
        about = json.loads(holder)
        since = datetime.fromtimestamp(about["since"] / 1000, timezone.utc)
        return f"{about['user']} (process {about['pid']}) since {since:%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, KeyError, TypeError):
        return "another process"
