"""A deployment target in memory: changes take effect when they are polled, or when a test says so.

Models are those of ``trackbridge.testing.contracts.deployment_models``, or any folder: one without a loader
in Python answers ``{"predictions": [MODEL, ...]}``, one entry a row, with the name of its model.

What a test can do besides the port's methods, on ``adapter.deployments.world``:

- ``world.held = True``: operations stay undone until ``world.finish()``.
- ``world.fail_next = "no quota"``: the next change fails with that reason.
- ``world.broken[("wine", "v2")] = "out of memory"``: the deployment has failed, and answers nothing.
- ``world.record("wine", "v2", requests=100, errors=7, latency_ms=12.5)``: telemetry for ``read_metrics``.
- ``world.calls``: the subjects of the changes that were applied, in order.
"""

from __future__ import annotations

import json
import math
import re
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tests.support.memory_pages import NAME, page_of
from trackbridge.domain.deployment_changes import (
    Facts,
    checked_endpoint_name,
    deployment_changes,
    facts_of,
    is_same_deployment,
    removal_changes,
    shares_of,
    spec_of,
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
from trackbridge.domain.telemetry import LATENCY_BOUNDS_MS
from trackbridge.errors import InvalidInput, Locked, NotFound, PlanStale, Rejected, Unavailable
from trackbridge.ports.capabilities import Capabilities, Feature
from trackbridge.ports.deployments import DeploymentTarget, features_of
from trackbridge.ports.findings import Finding

LOG_CHARS_MAX = 4096

Predict = Callable[[list[Any]], list[Any]]


@dataclass
class MemoryModel:
    """A loaded payload: a function, or why it could not be loaded."""

    predict: Predict
    problem: str = ""


@dataclass
class MemoryDeployment:
    spec: DeploymentSpec
    model: MemoryModel
    is_ready: bool = False
    failure: str = ""
    note: str = ""
    logs: str = ""


@dataclass
class MemoryEndpoint:
    deployments: dict[str, MemoryDeployment] = field(default_factory=dict)
    traffic: dict[str, int] = field(default_factory=dict)
    mirror: dict[str, int] = field(default_factory=dict)
    is_ready: bool = False
    is_deleting: bool = False
    credit: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Served:
    """What telemetry knows of one request, or of one copy of a request."""

    time: int
    deployment: str
    latency_ms: float
    status: int
    is_copy: bool = False


@dataclass
class Pending:
    """An operation under way, and how it ends: ``finish`` returns what went wrong, or nothing."""

    subject: str
    finish: Callable[[], str]
    done: bool = False
    error: str | None = None


@dataclass
class DeploymentWorld:
    """What outlives an adapter, and what tests can turn."""

    endpoints: dict[str, MemoryEndpoint] = field(default_factory=dict)
    operations: dict[str, Pending] = field(default_factory=dict)
    revisions: dict[str, list[EndpointRevision]] = field(default_factory=dict)
    served: dict[str, list[Served]] = field(default_factory=dict)
    old_logs: dict[tuple[str, str], str] = field(default_factory=dict)
    captured: dict[str, list[CapturedPayload]] = field(default_factory=dict)
    payloads: dict[str, MemoryModel] = field(default_factory=dict)
    locks: dict[str, str] = field(default_factory=dict)
    broken: dict[tuple[str, str], str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    held: bool = False
    fail_next: str = ""
    clock_ms: Callable[[], int] = lambda: 0
    mutex: threading.RLock = field(default_factory=threading.RLock)

    def finish(self) -> None:
        """Complete every operation that is under way, in the order of their start."""
        for pending in [item for item in self.operations.values() if not item.done]:
            self.complete(pending)

    def complete(self, pending: Pending) -> None:
        pending.error = pending.finish() or None
        pending.done = True

    def record(
        self,
        endpoint: str,
        deployment: str,
        *,
        requests: int = 1,
        errors: int = 0,
        refused: int = 0,
        mirrored: int = 0,
        latency_ms: float = 1.0,
    ) -> None:
        """Add telemetry, as if so many requests had been answered just now."""
        statuses = [503] * errors + [400] * refused + [200] * (requests - errors - refused)
        served = self.served.setdefault(endpoint, [])
        now = self.clock_ms()
        served += [Served(now, deployment, latency_ms, status) for status in statuses]
        served += [Served(now, deployment, latency_ms, 200, is_copy=True)] * mirrored


class MemoryDeployments(DeploymentTarget):
    """The port in memory."""

    def __init__(
        self, world: DeploymentWorld, capabilities: Capabilities, clock_ms: Callable[[], int]
    ) -> None:
        self.world = world
        self.capabilities = capabilities
        self.clock_ms = clock_ms
        world.clock_ms = clock_ms

    def observe(self, endpoint: str) -> EndpointState | None:
        with self.world.mutex:
            found = self.world.endpoints.get(endpoint)
            return None if found is None else self._state(endpoint, found)

    def list_endpoints(self, *, max_results: int = 1000, token: str | None = None) -> Page[EndpointState]:
        with self.world.mutex:
            states = [self._state(name, found) for name, found in sorted(self.world.endpoints.items())]
        return page_of(states, self._page_size(max_results), token, "list_endpoints")

    def can_read(self, source: str) -> bool:
        return False

    def check(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Finding, ...]:
        return ()

    def plan(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Change, ...]:
        checked_endpoint_name(spec.endpoint)
        checked_endpoint_name(spec.deployment, "deployment")
        for feature in features_of(spec):
            self.capabilities.require(feature, operation="deployments.plan")
        if spec.image or spec.instance_type or spec.options:
            raise Rejected("memory has neither images nor machines nor options", adapter=NAME)
        if spec.instance_count < 1 or not spec.request_timeout_s > 0:
            raise Rejected("the number of instances and the timeout are positive", adapter=NAME)
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
        self._require(Feature.DEPLOYMENTS_TRAFFIC)
        if any((mirror_percent_by_deployment or {}).values()):
            self._require(Feature.DEPLOYMENTS_MIRROR)
        return traffic_changes(observed, percent_by_deployment, mirror_percent_by_deployment)

    # Changes.

    def apply(self, change: Change, *, payload: Path | None = None) -> Operation:
        kind, endpoint, deployment = split_subject(change.subject)
        with self.world.mutex:
            self.world.calls.append(change.subject)
            if kind == "endpoint":
                return self._apply_endpoint(endpoint)
            found = self.world.endpoints.get(endpoint)
            if found is None or found.is_deleting:
                raise self._stale(change)
            if kind == "traffic":
                return self._apply_traffic(endpoint, found, change)
            return self._apply_deployment(endpoint, found, deployment, change, payload)

    def _apply_endpoint(self, endpoint: str) -> Operation:
        found = self.world.endpoints.setdefault(endpoint, MemoryEndpoint())
        if found.is_deleting:
            raise PlanStale(f"endpoint {endpoint!r} is being deleted", adapter=NAME, hint="plan again")

        def finish() -> str:
            found.is_ready = True
            return ""

        return self._start(f"endpoint {endpoint}", finish, holds=found.is_ready)

    def _apply_deployment(
        self, endpoint: str, found: MemoryEndpoint, name: str, change: Change, payload: Path | None
    ) -> Operation:
        current = found.deployments.get(name)
        held = facts_of(current.spec) if current else None
        has_failed = current is not None and bool(self._failure(endpoint, name, current))
        if is_same_deployment(held, change.after) and not has_failed:
            return self._start(change.subject, str, holds=current is None or current.is_ready)
        is_as_before = is_same_deployment(held, change.before)
        if not is_as_before and not (has_failed and is_same_deployment(held, change.after)):
            raise self._stale(change)
        if change.after is None:
            if found.traffic.get(name):
                raise self._stale(change)
            return self._start(change.subject, lambda: self._remove(endpoint, found, name))
        wanted = MemoryDeployment(spec_of(change.after), self._loaded(change.after, payload))
        if self.world.fail_next:
            wanted.model = MemoryModel(wanted.model.predict, problem=self.world.fail_next)
            self.world.fail_next = ""
        if current is None or has_failed:
            found.deployments[name] = wanted
        else:
            current.is_ready = False
        self.world.broken.pop((endpoint, name), None)
        return self._start(change.subject, lambda: self._bring(found, name, wanted, current))

    def _bring(
        self,
        found: MemoryEndpoint,
        name: str,
        wanted: MemoryDeployment,
        current: MemoryDeployment | None,
    ) -> str:
        """Let the wanted deployment take over, if it can be loaded."""
        problem = wanted.model.problem
        wanted.logs = f"{current.logs if current else ''}loading {wanted.spec.model}\n{problem}\n"
        if problem and current is not None and current is found.deployments.get(name):
            current.is_ready, current.logs = True, wanted.logs
            current.note = f"{wanted.spec.model} could not take its place: {problem}"
            return problem
        found.deployments[name] = wanted
        wanted.is_ready, wanted.failure = not problem, problem
        return problem

    def _remove(self, endpoint: str, found: MemoryEndpoint, name: str) -> str:
        gone = found.deployments.pop(name, None)
        found.mirror.pop(name, None)
        if gone is not None:
            self.world.old_logs[endpoint, name] = gone.logs
        return ""

    def _apply_traffic(self, endpoint: str, found: MemoryEndpoint, change: Change) -> Operation:
        held = shares_of(found.traffic, found.mirror)
        after = change.after or {}
        if held == after:
            return self._start(change.subject, str, holds=True)
        if held != change.before:
            raise self._stale(change)
        for name in (*after["traffic"], *after["mirror"]):
            wanted = found.deployments.get(name)
            if wanted is None or not wanted.is_ready:
                raise self._stale(change)

        def finish() -> str:
            found.traffic, found.mirror = dict(after["traffic"]), dict(after["mirror"])
            return ""

        return self._start(change.subject, finish)

    def _loaded(self, facts: Facts, payload: Path | None) -> MemoryModel:
        key = facts["model_digest"] or facts["model_source"] or facts["model"]
        if payload is None and key not in self.world.payloads:
            raise Rejected("the change brings a model, and no payload came with it", adapter=NAME)
        if payload is not None:
            self.world.payloads[key] = load_model(payload, facts["model"])
        return self.world.payloads[key]

    def _start(self, subject: str, finish: Callable[[], str], *, holds: bool = False) -> Operation:
        under_way = [
            name for name, item in self.world.operations.items() if item.subject == subject and not item.done
        ]
        if finish is str and not holds and under_way:
            return self._operation(under_way[-1])
        failure, self.world.fail_next = self.world.fail_next, ""
        pending = Pending(subject, (lambda: failure) if failure else finish, done=holds)
        operation_id = f"operation-{len(self.world.operations) + 1}"
        self.world.operations[operation_id] = pending
        return self._operation(operation_id)

    def _operation(self, operation_id: str) -> Operation:
        pending = self.world.operations[operation_id]
        return Operation(operation_id=operation_id, done=pending.done, error=pending.error)

    def poll(self, operation: Operation) -> Operation:
        with self.world.mutex:
            if operation.operation_id not in self.world.operations:
                raise NotFound(f"there is no operation {operation.operation_id!r}", adapter=NAME)
            pending = self.world.operations[operation.operation_id]
            if not pending.done and not self.world.held:
                self.world.complete(pending)
            return self._operation(operation.operation_id)

    def delete(self, endpoint: str) -> Operation:
        with self.world.mutex:
            self.world.calls.append(f"delete {endpoint}")
            found = self.world.endpoints.get(endpoint)
            if found is None:
                return self._start(f"delete {endpoint}", str, holds=True)
            found.is_deleting = True

            def finish() -> str:
                for name in list(found.deployments):
                    self._remove(endpoint, found, name)
                self.world.endpoints.pop(endpoint, None)
                self.world.served.pop(endpoint, None)
                return ""

            return self._start(f"delete {endpoint}", finish)

    # Requests.

    def invoke(
        self, endpoint: str, payload: bytes, *, content_type: str, deployment: str | None = None
    ) -> bytes:
        self._require(Feature.DEPLOYMENTS_INVOKE)
        with self.world.mutex:
            found = self._find(endpoint)
            if deployment is not None and deployment not in found.deployments:
                raise NotFound(f"{endpoint!r} has no deployment {deployment!r}", adapter=NAME)
            name = deployment or next_in_turn(found.traffic, found.credit)
            if name is None:
                raise Unavailable(f"no deployment of {endpoint!r} has traffic", adapter=NAME)
            try:
                status, answer = self._answer(endpoint, name, found.deployments[name], payload, content_type)
            finally:
                self._mirror(endpoint, found, payload, content_type, is_live=deployment is None)
            self._count(endpoint, name, status)
            self._capture(endpoint, found.deployments[name].spec, payload, content_type, status, answer)
            if status == 503:
                raise Unavailable(answer, adapter=NAME, resource=f"{endpoint}/{name}")
            if status >= 400:
                raise Rejected(answer, adapter=NAME, resource=f"{endpoint}/{name}")
            return answer.encode()

    def _answer(
        self, endpoint: str, name: str, found: MemoryDeployment, payload: bytes, content_type: str
    ) -> tuple[int, str]:
        failure = self._failure(endpoint, name, found)
        if failure:
            return 503, failure
        try:
            rows = json.loads(payload)["inputs"] if content_type == "application/json" else None
        except (ValueError, TypeError, KeyError):
            rows = None
        if not isinstance(rows, list):
            return 400, "the payload is not JSON with 'inputs'"
        try:
            return 200, json.dumps({"predictions": found.model.predict(rows)})
        except Exception as error:
            return 500, f"{type(error).__name__}: {error}"

    def _capture(
        self,
        endpoint: str,
        spec: DeploymentSpec,
        payload: bytes,
        content_type: str,
        status: int,
        answer: str,
    ) -> None:
        kept = self.world.captured.setdefault(endpoint, [])
        if spec.capture_percent:
            kept.append(
                CapturedPayload(
                    deployment=spec.deployment,
                    request_id=f"request-{len(kept)}",
                    time=self.clock_ms(),
                    content_type=content_type,
                    request=payload,
                    response_content_type="application/json",
                    response=answer.encode(),
                    status=status,
                )
            )

    def _mirror(
        self, endpoint: str, found: MemoryEndpoint, payload: bytes, content_type: str, *, is_live: bool
    ) -> None:
        for name, percent in found.mirror.items() if is_live else ():
            credit = found.credit.get(f"mirror {name}", 0) + percent
            found.credit[f"mirror {name}"] = credit % 100
            if credit >= 100:
                status, _ = self._answer(endpoint, name, found.deployments[name], payload, content_type)
                self._count(endpoint, name, status, is_copy=True)

    def _count(self, endpoint: str, name: str, status: int, *, is_copy: bool = False) -> None:
        served = Served(self.clock_ms(), name, 1.0, status, is_copy)
        self.world.served.setdefault(endpoint, []).append(served)

    # Reading.

    def read_logs(self, endpoint: str, deployment: str, *, cursor: str = "") -> LogChunk:
        self._require(Feature.DEPLOYMENTS_LOGS)
        with self.world.mutex:
            place = self.world.endpoints.get(endpoint, MemoryEndpoint()).deployments.get(deployment)
            text = place.logs if place else self.world.old_logs.get((endpoint, deployment))
        if text is None:
            raise NotFound(f"there was no deployment {endpoint}/{deployment}", adapter=NAME)
        start = self._log_place(endpoint, deployment, cursor)
        piece = text[start : start + LOG_CHARS_MAX]
        end = start + len(piece)
        done = place is None and end >= len(text)
        return LogChunk(text=piece, cursor=f"{endpoint}/{deployment}:{end}", done=done)

    def _log_place(self, endpoint: str, deployment: str, cursor: str) -> int:
        if not cursor:
            return 0
        owner, _, number = cursor.rpartition(":")
        if owner != f"{endpoint}/{deployment}" or not re.fullmatch(r"[0-9]{1,12}", number):
            raise InvalidInput("the cursor was not given out for this deployment", adapter=NAME)
        return int(number)

    def read_metrics(self, endpoint: str, *, window_s: int) -> tuple[EndpointMetrics, ...]:
        self._require(Feature.DEPLOYMENTS_METRICS)
        with self.world.mutex:
            found = self._find(endpoint)
            since = self.clock_ms() - window_s * 1000
            served = [item for item in self.world.served.get(endpoint, ()) if item.time > since]
            kept = Counter(
                item.deployment for item in self.world.captured.get(endpoint, ()) if item.time > since
            )
            return tuple(
                msgspec.structs.replace(
                    _metrics(name, served),
                    queued=0,
                    instances=deployment.spec.instance_count if deployment.is_ready else 0,
                    captured=kept[name],
                    window_s=window_s,
                )
                for name, deployment in sorted(found.deployments.items())
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
        self._require(Feature.DEPLOYMENTS_CAPTURE)
        with self.world.mutex:
            found = [
                payload
                for payload in self.world.captured.get(endpoint, [])
                if deployment in (None, payload.deployment)
                and since <= payload.time < (until or payload.time + 1)
            ]
        return page_of(found, self._page_size(max_results), token, "read_captured")

    def start_batch(
        self, endpoint: str, *, source: str, destination: str, key: str, deployment: str | None = None
    ) -> Operation:
        self._require(Feature.DEPLOYMENTS_BATCH)
        subject = f"batch {endpoint} {source} {destination} {key}"
        with self.world.mutex:
            self._find(endpoint)
            if subject not in self.world.calls:
                self.world.calls.append(subject)
            return self._start(subject, str)

    def save_revision(self, revision: EndpointRevision) -> EndpointRevision:
        self._require(Feature.DEPLOYMENTS_REVISIONS)
        with self.world.mutex:
            kept = self.world.revisions.setdefault(revision.endpoint, [])
            if kept and kept[-1].deployments == revision.deployments:
                kept.pop()
            kept.append(msgspec.structs.replace(revision, number=len(kept) + 1))
            return kept[-1]

    def list_revisions(
        self, endpoint: str, *, max_results: int = 1000, token: str | None = None
    ) -> Page[EndpointRevision]:
        self._require(Feature.DEPLOYMENTS_REVISIONS)
        with self.world.mutex:
            kept = self.world.revisions.get(endpoint, [])[::-1]
        return page_of(kept, self._page_size(max_results), token, "list_revisions", endpoint)

    def lock(self, endpoint: str) -> AbstractContextManager[None]:
        self._require(Feature.DEPLOYMENTS_LOCK)
        with self.world.mutex:
            if endpoint in self.world.locks:
                holder = self.world.locks[endpoint]
                raise Locked(f"endpoint {endpoint!r} is being changed by {holder}", adapter=NAME)
            self.world.locks[endpoint] = f"this process since {self.clock_ms()}"
        return self._unlocking(endpoint)

    @contextmanager
    def _unlocking(self, endpoint: str) -> Iterator[None]:
        try:
            yield
        finally:
            del self.world.locks[endpoint]

    # What the methods share.

    def _require(self, feature: Feature) -> None:
        self.capabilities.require(feature, operation=feature.value)

    def _page_size(self, max_results: int) -> int:
        if max_results < 1:
            raise InvalidInput(f"max_results is {max_results}", adapter=NAME, hint="ask for at least 1")
        return min(max_results, self.capabilities.limits.page_items_max)

    def _find(self, endpoint: str) -> MemoryEndpoint:
        found = self.world.endpoints.get(endpoint)
        if found is None:
            raise NotFound(f"there is no endpoint {endpoint!r}", adapter=NAME, hint="deploy a model to it")
        return found

    def _stale(self, change: Change) -> PlanStale:
        return PlanStale(
            f"{change.subject} is not as it was planned from", adapter=NAME, hint="plan again, and apply that"
        )

    def _failure(self, endpoint: str, name: str, found: MemoryDeployment) -> str:
        return self.world.broken.get((endpoint, name), found.failure)

    def _state(self, endpoint: str, found: MemoryEndpoint) -> EndpointState:
        deployments = tuple(
            self._deployment_state(endpoint, name, item, found)
            for name, item in sorted(found.deployments.items())
        )
        status = EndpointStatus.READY if found.is_ready else EndpointStatus.CREATING
        if any(item.status is not EndpointStatus.READY for item in deployments):
            status = EndpointStatus.UPDATING
        have_failed = [item for item in deployments if item.status is EndpointStatus.FAILED]
        if any(item.traffic_percent for item in have_failed) or 0 < len(have_failed) == len(deployments):
            status = EndpointStatus.FAILED
        if found.is_deleting:
            status = EndpointStatus.DELETING
        return EndpointState(
            endpoint=endpoint, status=status, deployments=deployments, url=f"memory://{endpoint}"
        )

    def _deployment_state(
        self, endpoint: str, name: str, item: MemoryDeployment, found: MemoryEndpoint
    ) -> DeploymentState:
        failure = self._failure(endpoint, name, item)
        status = EndpointStatus.READY if item.is_ready else EndpointStatus.UPDATING
        if not item.is_ready and not item.logs:
            status = EndpointStatus.CREATING
        if failure:
            status = EndpointStatus.FAILED
        traffic, mirror = found.traffic.get(name, 0), found.mirror.get(name, 0)
        return DeploymentState(
            deployment=name,
            model=item.spec.model,
            status=status,
            traffic_percent=traffic,
            mirror_percent=mirror,
            instance_count=item.spec.instance_count,
            reason=failure or item.note,
            spec=msgspec.structs.replace(item.spec, traffic_percent=traffic, mirror_percent=mirror),
        )


def next_in_turn(traffic: Mapping[str, int], credit: dict[str, int]) -> str | None:
    """Choose by smooth weighted round robin, which keeps the shares exactly over every 100 choices."""
    if not traffic:
        return None
    for name, percent in traffic.items():
        credit[name] = credit.get(name, 0) + percent
    chosen = max(traffic, key=lambda name: credit[name])
    credit[chosen] -= 100
    return chosen


def load_model(payload: Path, name: str) -> MemoryModel:
    """Run the loader of a model whose code lies in its ``code`` folder; any other payload echoes its name."""
    about = payload / "MLmodel"
    module = re.search(r"loader_module: *(\w+)", about.read_text("utf-8")) if about.is_file() else None
    source = payload / "code" / f"{module[1]}.py" if module else None
    if source is None or not source.is_file():
        return MemoryModel(lambda rows: [name] * len(rows))
    namespace: dict[str, Any] = {}
    try:
        exec(compile(source.read_text("utf-8"), str(source), "exec"), namespace)
        return MemoryModel(namespace["_load_pyfunc"](str(payload)).predict)
    except Exception as error:
        return MemoryModel(lambda rows: [], problem=f"{type(error).__name__}: {error}")


def _metrics(deployment: str, served: list[Served]) -> EndpointMetrics:
    mine = [item for item in served if item.deployment == deployment]
    live = [item for item in mine if not item.is_copy]
    latencies = sorted(item.latency_ms for item in live)

    def quantile(share: float) -> float | None:
        return latencies[math.ceil(share * len(latencies)) - 1] if latencies else None

    return EndpointMetrics(
        deployment=deployment,
        requests=len(live),
        errors=sum(item.status >= 500 for item in live),
        refused=sum(400 <= item.status < 500 for item in live),
        mirrored=len(mine) - len(live),
        latency_p50_ms=quantile(0.5),
        latency_p95_ms=quantile(0.95),
        latency_p99_ms=quantile(0.99),
        latency_counts=_histogram(latencies),
    )


def _histogram(latencies: list[float]) -> tuple[tuple[float | None, int], ...]:
    counts = Counter(bisect_left(LATENCY_BOUNDS_MS, latency) for latency in latencies)
    bounds = (*LATENCY_BOUNDS_MS, None)
    return tuple((bound, counts[place]) for place, bound in enumerate(bounds)) if latencies else ()
