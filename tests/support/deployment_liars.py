"""Deployment targets that break the contract, each in one way, to see that the suite notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec

from tests.support.memory_adapter import MemoryAdapter
from tests.support.memory_deployments import (
    MemoryDeployment,
    MemoryDeployments,
    MemoryEndpoint,
    MemoryModel,
    load_model,
)
from trackbridge.domain.deployment_changes import Facts, facts_of
from trackbridge.domain.deployments import (
    CapturedPayload,
    DeploymentSpec,
    EndpointMetrics,
    EndpointRevision,
    EndpointState,
    Operation,
)
from trackbridge.domain.jobs import LogChunk
from trackbridge.domain.paging import Page
from trackbridge.domain.plans import Action, Change
from trackbridge.errors import BridgeError, NotFound
from trackbridge.ports.capabilities import Feature


class PlansWhatHolds(MemoryDeployments):
    def plan(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Change, ...]:
        changes = super().plan(spec, observed)
        keep = Change(
            action=Action.UPDATE, subject=f"traffic {spec.endpoint}", after={}, why="for good measure"
        )
        return changes or (keep,)


class PlansTrafficFirst(MemoryDeployments):
    def plan(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Change, ...]:
        changes = super().plan(spec, observed)
        return tuple(sorted(changes, key=lambda change: change.subject.startswith("deployment ")))


class ActsWhilePlanning(MemoryDeployments):
    def plan(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Change, ...]:
        changes = super().plan(spec, observed)
        if observed is None:
            self.world.endpoints.setdefault(spec.endpoint, MemoryEndpoint())
        return changes


class TakesAnyName(MemoryDeployments):
    def plan(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Change, ...]:
        safe = msgspec.structs.replace(spec, endpoint="wine", deployment="v1")
        return super().plan(safe, observed)


class SilentlyTakesAutoscale(MemoryDeployments):
    def plan(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Change, ...]:
        return super().plan(msgspec.structs.replace(spec, autoscale=None), observed)


class AppliesStalePlans(MemoryDeployments):
    def apply(self, change: Change, *, payload: Path | None = None) -> Operation:
        return super().apply(self._as_if_fresh(change), payload=payload)

    def _as_if_fresh(self, change: Change) -> Change:
        _, _, rest = change.subject.partition(" ")
        endpoint, _, deployment = rest.partition("/")
        found = self.world.endpoints.get(endpoint)
        if found is None:
            return change
        before: Facts | None = {"traffic": dict(found.traffic), "mirror": dict(found.mirror)}
        if deployment:
            current = found.deployments.get(deployment)
            before = facts_of(current.spec) if current else None
        return msgspec.structs.replace(change, before=before)


class StartsTwice(MemoryDeployments):
    def _start(self, subject: str, finish: Callable[[], str], *, holds: bool = False) -> Operation:
        return super()._start(subject, finish)


class TakesTheOldServerDownFirst(MemoryDeployments):
    def _apply_deployment(
        self, endpoint: str, found: MemoryEndpoint, name: str, change: Change, payload: Path | None
    ) -> Operation:
        failed = isinstance(payload, Path) and bool(load_model(payload, "").problem)
        if failed and name in found.deployments:
            found.deployments[name].model = MemoryModel(lambda rows: [0.0] * len(rows))
        return super()._apply_deployment(endpoint, found, name, change, payload)


class HidesFailures(MemoryDeployments):
    def _bring(
        self,
        found: MemoryEndpoint,
        name: str,
        wanted: MemoryDeployment,
        current: MemoryDeployment | None,
    ) -> str:
        super()._bring(found, name, wanted, current)
        return ""


class NeedsThePayloadForEver(MemoryDeployments):
    def _answer(
        self, endpoint: str, name: str, found: MemoryDeployment, payload: bytes, content_type: str
    ) -> tuple[int, str]:
        if not self.folders.get(found.spec.model_digest, Path()).exists():
            return 500, "the payload is gone"
        return super()._answer(endpoint, name, found, payload, content_type)

    def _loaded(self, facts: Facts, payload: Path | None) -> MemoryModel:
        if payload is not None:
            self.folders[facts["model_digest"]] = payload
        return super()._loaded(facts, payload)

    @property
    def folders(self) -> dict[str, Path]:
        return self.world.__dict__.setdefault("folders", {})


class RemovesWhatHasTraffic(MemoryDeployments):
    def plan_removal(self, endpoint: str, deployment: str, observed: EndpointState) -> tuple[Change, ...]:
        idle = [
            msgspec.structs.replace(found, traffic_percent=0, mirror_percent=0)
            for found in observed.deployments
        ]
        quiet = msgspec.structs.replace(observed, deployments=tuple(idle))
        return super().plan_removal(endpoint, deployment, quiet)


class AcceptsAnyShares(MemoryDeployments):
    def plan_traffic(
        self,
        endpoint: str,
        observed: EndpointState,
        *,
        percent_by_deployment: Mapping[str, int],
        mirror_percent_by_deployment: Mapping[str, int] | None = None,
    ) -> tuple[Change, ...]:
        return (
            Change(action=Action.UPDATE, subject=f"traffic {endpoint}", after=dict(percent_by_deployment)),
        )


class IgnoresTheShares(MemoryDeployments):
    def invoke(
        self, endpoint: str, payload: bytes, *, content_type: str, deployment: str | None = None
    ) -> bytes:
        found = self._find(endpoint)
        chosen = deployment or next(iter(found.traffic), None)
        return super().invoke(endpoint, payload, content_type=content_type, deployment=chosen)


class IgnoresTheName(MemoryDeployments):
    def invoke(
        self, endpoint: str, payload: bytes, *, content_type: str, deployment: str | None = None
    ) -> bytes:
        return super().invoke(endpoint, payload, content_type=content_type)


class LetsMirrorsFail(MemoryDeployments):
    def _mirror(self, endpoint: str, found: MemoryEndpoint, *arguments: Any, is_live: bool) -> None:
        super()._mirror(endpoint, found, *arguments, is_live=is_live)
        for name in found.mirror:
            self._find(endpoint).deployments[name].model.predict([1.0])


class CountsCopiesAsRequests(MemoryDeployments):
    def _count(self, endpoint: str, name: str, status: int, *, is_copy: bool = False) -> None:
        super()._count(endpoint, name, status)
        if is_copy:
            super()._count(endpoint, name, status, is_copy=True)


class AnswersNonsense(MemoryDeployments):
    def _answer(
        self, endpoint: str, name: str, found: MemoryDeployment, payload: bytes, content_type: str
    ) -> tuple[int, str]:
        status, answer = super()._answer(endpoint, name, found, payload, content_type)
        return (200, '{"predictions": [1.0]}') if status == 400 else (status, answer)


class RaisesKeyErrorForTheUnknown(MemoryDeployments):
    def invoke(
        self, endpoint: str, payload: bytes, *, content_type: str, deployment: str | None = None
    ) -> bytes:
        try:
            return super().invoke(endpoint, payload, content_type=content_type, deployment=deployment)
        except NotFound as error:
            raise KeyError(endpoint) from error


class LosesLogsOfTheRemoved(MemoryDeployments):
    def read_logs(self, endpoint: str, deployment: str, *, cursor: str = "") -> LogChunk:
        try:
            return super().read_logs(endpoint, deployment, cursor=cursor)
        finally:
            self.world.old_logs.clear()

    def _remove(self, endpoint: str, found: MemoryEndpoint, name: str) -> str:
        problem = super()._remove(endpoint, found, name)
        self.world.old_logs.clear()
        return problem


class TakesAnyCursor(MemoryDeployments):
    def _log_place(self, endpoint: str, deployment: str, cursor: str) -> int:
        return 0


class ForgetsRefusals(MemoryDeployments):
    def read_metrics(self, endpoint: str, *, window_s: int) -> tuple[EndpointMetrics, ...]:
        found = super().read_metrics(endpoint, window_s=window_s)
        return tuple(msgspec.structs.replace(item, refused=0) for item in found)


class KeepsEveryRevision(MemoryDeployments):
    def save_revision(self, revision: EndpointRevision) -> EndpointRevision:
        kept = self.world.revisions.setdefault(revision.endpoint, [])
        kept.append(msgspec.structs.replace(revision, number=len(kept) + 1))
        return kept[-1]


class ListsOldestRevisionsFirst(MemoryDeployments):
    def list_revisions(
        self, endpoint: str, *, max_results: int = 1000, token: str | None = None
    ) -> Page[EndpointRevision]:
        return Page(items=tuple(self.world.revisions.get(endpoint, ())))


class LosesRevisionsWithTheEndpoint(MemoryDeployments):
    def delete(self, endpoint: str) -> Operation:
        self.world.revisions.pop(endpoint, None)
        return super().delete(endpoint)


class DeletesOnce(MemoryDeployments):
    def delete(self, endpoint: str) -> Operation:
        self._find(endpoint)
        return super().delete(endpoint)


class LocksNobodyOut(MemoryDeployments):
    def lock(self, endpoint: str) -> AbstractContextManager[None]:
        return nullcontext()


class LocksLate(MemoryDeployments):
    def lock(self, endpoint: str) -> AbstractContextManager[None]:
        take = super().lock

        @contextmanager
        def late() -> Iterator[None]:
            with take(endpoint):
                yield

        return late()


class KeepsTheLockAfterAnError(MemoryDeployments):
    def lock(self, endpoint: str) -> AbstractContextManager[None]:
        super().lock(endpoint)

        @contextmanager
        def careless() -> Iterator[None]:
            yield
            del self.world.locks[endpoint]

        return careless()


class KnowsEveryOperation(MemoryDeployments):
    def poll(self, operation: Operation) -> Operation:
        try:
            return super().poll(operation)
        except BridgeError:
            return msgspec.structs.replace(operation, done=True)


class KeepsNoPayloads(MemoryDeployments):
    def _capture(self, endpoint: str, spec: DeploymentSpec, *about: Any) -> None:
        pass


class KeepsEachPayloadTwice(MemoryDeployments):
    def _capture(self, endpoint: str, spec: DeploymentSpec, *about: Any) -> None:
        super()._capture(endpoint, spec, *about)
        super()._capture(endpoint, spec, *about)


class KeepsPayloadsUnasked(MemoryDeployments):
    def _capture(self, endpoint: str, spec: DeploymentSpec, *about: Any) -> None:
        super()._capture(endpoint, msgspec.structs.replace(spec, capture_percent=100), *about)


class ReadsPayloadsOfAnyTime(MemoryDeployments):
    def read_captured(self, endpoint: str, **options: Any) -> Page[CapturedPayload]:
        return super().read_captured(endpoint, **{**options, "until": None})


class LosesPayloadsWithTheEndpoint(MemoryDeployments):
    def delete(self, endpoint: str) -> Operation:
        self.world.captured.pop(endpoint, None)
        return super().delete(endpoint)


class ForgetsSlowRequests(MemoryDeployments):
    def read_metrics(self, endpoint: str, *, window_s: int) -> tuple[EndpointMetrics, ...]:
        found = super().read_metrics(endpoint, window_s=window_s)
        return tuple(
            msgspec.structs.replace(item, latency_counts=((0.1, 0), (None, 0))) if item.requests else item
            for item in found
        )


def lying(deployments: Callable[..., MemoryDeployments], missing: Feature | None = None) -> MemoryAdapter:
    """Return an adapter in memory with a deployment target that lies."""
    reasons = {missing: f"{missing.value} is switched off"} if missing else {}
    adapter = MemoryAdapter(missing=reasons)
    honest = adapter.deployments
    assert isinstance(honest, MemoryDeployments)
    adapter.deployments = deployments(honest.world, adapter.capabilities(), honest.clock_ms)
    return adapter
