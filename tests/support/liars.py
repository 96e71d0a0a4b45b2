"""Adapters that break the contract, each in one way, to see that the suites notice."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from tests.support.memory_adapter import MemoryAdapter, MemoryArtifacts, MemoryRun, MemoryTracking, page_of
from tests.support.memory_registry import MemoryRegistry
from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.batches import Batch, MetricColumns, Receipt
from trackbridge.domain.metric_values import NON_FINITE
from trackbridge.domain.paging import Page
from trackbridge.domain.runs import Experiment, Run, RunSpec, RunStatus
from trackbridge.errors import Unsupported
from trackbridge.ports.capabilities import Capabilities, Feature, Limits


class SilentlySupports(MemoryTracking):
    """Deletes although it says that it cannot."""

    def _require(self, feature: Feature) -> None:
        pass


class RefusesWithoutReason(MemoryTracking):
    def _require(self, feature: Feature) -> None:
        if not self.capabilities.supports(feature):
            raise Unsupported("no")


class DropsMinusZero(MemoryTracking):
    def add_point(self, run: MemoryRun, key: str, step: int, timestamp: int, value: float) -> None:
        super().add_point(run, key, step, timestamp, value + 0.0)


class DropsPayloads(MemoryTracking):
    def add_point(self, run: MemoryRun, key: str, step: int, timestamp: int, value: float) -> None:
        super().add_point(run, key, step, timestamp, value if value == value else float("nan"))


class DuplicatesOnRetry(MemoryTracking):
    def add_point(self, run: MemoryRun, key: str, step: int, timestamp: int, value: float) -> None:
        run.points.setdefault(key, []).append((step, timestamp, value))


class TruncatesValues(MemoryTracking):
    def write(self, batch: Batch) -> Receipt:
        params = [replace(param, value=(param.value or "")[:250]) for param in batch.params]
        return super().write(replace(batch, params=params))


class CutsAtNul(MemoryTracking):
    def write(self, batch: Batch) -> Receipt:
        tags = [
            replace(tag, value=tag.value.partition("\0")[0] if tag.value is not None else None)
            for tag in batch.tags
        ]
        return super().write(replace(batch, tags=tags))


class ListsOldestFirst(MemoryTracking):
    def _page(self, items: Any, max_results: int, token: str | None, *listing: object) -> Page[Any]:
        return super()._page(items[::-1], max_results, token, *listing)


class IgnoresTokens(MemoryTracking):
    def _page(self, items: Any, max_results: int, token: str | None, *listing: object) -> Page[Any]:
        return page_of(items, max_results, None)


class HistoryAsWritten(MemoryTracking):
    def metric_history(self, run_id: str, key: str) -> MetricColumns:
        columns = MetricColumns()
        for step, timestamp, value in self._find(run_id).points.get(key, ()):
            columns.steps.append(step)
            columns.timestamps.append(timestamp)
            columns.values.append(value)
        return columns


class LastWrittenIsLast(MemoryTracking):
    def last_point(self, points: list[tuple[int, int, float]]) -> tuple[int, int, float]:
        return points[-1]


class ForgetsMoments(MemoryTracking):
    def _run(self, run: MemoryRun) -> Run:
        told = super()._run(run)
        return msgspec.structs.replace(told, data=msgspec.structs.replace(told.data, moments={}))


class ReplacesParams(MemoryTracking):
    def _param_problem(self, run: MemoryRun, key: str, value: str) -> str | None:
        return None


class LosesTheRestOfARejectedBatch(MemoryTracking):
    def write(self, batch: Batch) -> Receipt:
        run = self._find(batch.run_id)
        before = msgspec.structs.replace(self._run(run).data)
        receipt = super().write(batch)
        if receipt.rejected:
            run.params = dict(before.params)
        return receipt


class RefusesAfterTheEnd(MemoryTracking):
    def write(self, batch: Batch) -> Receipt:
        if self._find(batch.run_id).status.is_final:
            return Receipt()
        return super().write(batch)


class ResumesAlways(MemoryTracking):
    def open_run(self, spec: RunSpec) -> Run:
        return super().open_run(msgspec.structs.replace(spec, resume=True))


class ClosesOnce(MemoryTracking):
    def close_run(self, run_id: str, *, status: RunStatus, end_time: int) -> None:
        if not self._find(run_id).status.is_final:
            super().close_run(run_id, status=status, end_time=end_time)


class RestoresEverything(MemoryTracking):
    def restore_experiment(self, experiment_id: str) -> None:
        super().restore_experiment(experiment_id)
        for run in self.state.runs.values():
            run.deleted = False


class ForgetsExperimentTags(MemoryTracking):
    def ensure_experiment(
        self, name: str, *, experiment_id: str, tags: dict[str, str] | None = None
    ) -> Experiment:
        known = any(item.name == name for item in self.state.experiments.values())
        return super().ensure_experiment(name, experiment_id=experiment_id, tags=None if known else tags)


class RaisesKeyError(MemoryTracking):
    def get_run(self, run_id: str) -> Run:
        return self._run(self.state.runs[run_id])


class NotThreadSafe(MemoryTracking):
    """Reads, waits for others, and then writes what it read."""

    def write(self, batch: Batch) -> Receipt:
        import time

        run = self._find(batch.run_id)
        before = dict(run.tags)
        time.sleep(0.01)
        receipt = super().write(batch)
        run.tags = {**before, **{tag.key: tag.value for tag in batch.tags if tag.value is not None}}
        return receipt


class FindsByPrefix(MemoryTracking):
    """Has a parameter more than the port."""

    def get_run(self, run_id: str, exact: bool = False) -> Run:
        return super().get_run(run_id)


class TakesAnyBytes(MemoryArtifacts):
    def _commit(self, run_id: str, path: str, content: bytes, digest: str, size: int) -> ArtifactInfo:
        import hashlib

        found = f"sha256:{hashlib.sha256(content).hexdigest()}"
        return super()._commit(run_id, path, content, found, len(content))


class KeepsTheOldBytes(MemoryArtifacts):
    def _commit(self, run_id: str, path: str, content: bytes, digest: str, size: int) -> ArtifactInfo:
        if path in self.state.files.get(run_id, {}):
            return self.stat(run_id, path)
        return super()._commit(run_id, path, content, digest, size)


class ReadsHalf(MemoryArtifacts):
    """Shows a file before all of it is there."""

    def open(self, run_id: str, path: str) -> BinaryIO:
        content = super().open(run_id, path).read()
        return io.BytesIO(content[: 1 << 16])


class ListsEverythingBelow(MemoryArtifacts):
    def list(
        self, run_id: str, prefix: str = "", *, max_results: int = 1000, token: str | None = None
    ) -> Page[ArtifactInfo]:
        names = sorted(name for name in self.state.files.get(run_id, {}) if name.startswith(prefix))
        return page_of([self.stat(run_id, name) for name in names], max_results, token, run_id, prefix)


class FollowsPaths(MemoryArtifacts):
    """Writes to a folder, wherever the path leads."""

    root: Path

    def put(self, run_id: str, path: str, file: Path, *, digest: str, size: int) -> ArtifactInfo:
        target = self.root / run_id / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
        return super().put(run_id, path, file, digest=digest, size=size)


def lying(
    tracking: Callable[..., MemoryTracking] = MemoryTracking,
    artifacts: Callable[..., MemoryArtifacts] = MemoryArtifacts,
    registry: Callable[..., MemoryRegistry] = MemoryRegistry,
    **options: Any,
) -> MemoryAdapter:
    """Return an adapter in memory with a port that lies."""
    adapter = MemoryAdapter(**options)
    declared: Capabilities = adapter.capabilities()
    honest = adapter.tracking
    assert isinstance(honest, MemoryTracking)
    adapter.tracking = tracking(adapter.state, declared, honest.clock_ms)
    adapter.artifacts = artifacts(adapter.state, declared)
    adapter.registry = registry(adapter.state, declared, honest.clock_ms)
    return adapter


def undeclared(features: Iterable[Feature]) -> dict[Feature, str]:
    """Return reasons with which features are switched off."""
    return {feature: f"{feature.value} is switched off here" for feature in features}


def declaring(adapter: MemoryAdapter, **changes: Any) -> MemoryAdapter:
    """Let an adapter declare something else than it does."""
    adapter._capabilities = msgspec.structs.replace(adapter.capabilities(), **changes)
    return adapter


def without_reason() -> MemoryAdapter:
    """Return an adapter that leaves a feature undeclared."""
    adapter = MemoryAdapter()
    features = dict(adapter.capabilities().features)
    del features[Feature.TRACKING_TRACES]
    return declaring(adapter, features=features)


def with_limit_that_it_ignores() -> MemoryAdapter:
    """Return an adapter that says it takes no NaN, and takes it."""
    return declaring(MemoryAdapter(), limits=Limits(metric_values_unheld=NON_FINITE))


def with_limit_that_it_undercuts() -> MemoryAdapter:
    """Return an adapter that takes shorter values than it says."""
    return declaring(
        MemoryAdapter(limits=Limits(param_value_chars_max=100)), limits=Limits(param_value_chars_max=200)
    )


def without_dedup_but_deduplicating() -> MemoryAdapter:
    """Return an adapter that works better than it says."""
    adapter = MemoryAdapter(dedup=False)
    adapter.tracking = MemoryAdapter(adapter.state).tracking
    return adapter


def with_root(root: Path) -> MemoryAdapter:
    """Return an adapter that writes below (and beside) a folder."""
    adapter = lying(artifacts=FollowsPaths)
    assert isinstance(adapter.artifacts, FollowsPaths)
    adapter.artifacts.root = root
    return adapter
