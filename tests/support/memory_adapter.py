"""A backend in memory: honest about what it does, with features and limits that a test can choose."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from tests.support.memory_deployments import DeploymentWorld, MemoryDeployments
from tests.support.memory_jobs import MemoryJobs, MemoryJobsState
from tests.support.memory_pages import NAME, page_of
from tests.support.memory_registry import MemoryRegistry, MemoryRegistryState
from trackbridge.delivery.fitting import estimated_bytes
from trackbridge.domain.artifacts import ArtifactInfo, checked_path
from trackbridge.domain.batches import Batch, MetricColumns, Receipt, Rejection
from trackbridge.domain.metric_values import kind_of, last_point
from trackbridge.domain.paging import Page
from trackbridge.domain.runs import (
    TAG_NAME,
    DatasetInput,
    Experiment,
    LifecycleStage,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunSpec,
    RunStatus,
)
from trackbridge.domain.search import COMPARISONS, Query, matches, ordered
from trackbridge.domain.traces import LoggedModel, ModelLink, Trace
from trackbridge.errors import Conflict, NotFound, Rejected
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import (
    SUPPORTED,
    Absence,
    Capabilities,
    Capability,
    Feature,
    Limits,
    absent,
)
from trackbridge.ports.deployments import DeploymentTarget
from trackbridge.ports.findings import Finding, Severity
from trackbridge.ports.jobs import JobBackend
from trackbridge.ports.registry import ModelRegistry
from trackbridge.ports.tracking import TrackingStore

Item = TypeVar("Item")

PART_BYTES = 256 * 1024
HERE = frozenset(Feature)
NEVER_HERE = {
    Feature.ARTIFACTS_PRESIGN: absent(Absence.NEVER, "bytes in memory have no address that others could use"),
}


@dataclass
class MemoryExperiment:
    experiment_id: str
    name: str
    tags: dict[str, str]
    creation_time: int
    last_update_time: int
    deleted: bool = False


@dataclass
class MemoryRun:
    run_id: str
    experiment_id: str
    name: str
    user: str
    start_time: int
    tags: dict[str, str]
    status: RunStatus = RunStatus.RUNNING
    end_time: int | None = None
    deleted: bool = False
    deleted_with_experiment: bool = False
    params: dict[str, str] = field(default_factory=dict)
    points: dict[str, list[tuple[int, int, float]]] = field(default_factory=dict)
    known_points: set[tuple[str, int, int, str]] = field(default_factory=set)
    inputs: dict[tuple[str, str], DatasetInput] = field(default_factory=dict)
    models: tuple[ModelLink, ...] = ()

    @property
    def is_gone(self) -> bool:
        return self.deleted or self.deleted_with_experiment


@dataclass
class MemoryFile:
    content: bytes
    digest: str


@dataclass
class MemoryState:
    """What outlives an adapter: open another one on it to play a restart."""

    experiments: dict[str, MemoryExperiment] = field(default_factory=dict)
    runs: dict[str, MemoryRun] = field(default_factory=dict)
    logged_models: dict[str, LoggedModel] = field(default_factory=dict)
    traces: dict[str, Trace] = field(default_factory=dict)
    files: dict[str, dict[str, MemoryFile]] = field(default_factory=dict)
    uploads: dict[tuple[str, str, str], bytearray] = field(default_factory=dict)
    registry: MemoryRegistryState = field(default_factory=MemoryRegistryState)
    jobs: MemoryJobsState = field(default_factory=MemoryJobsState)
    deployments: DeploymentWorld = field(default_factory=DeploymentWorld)
    lock: threading.RLock = field(default_factory=threading.RLock)


def now_ms() -> int:
    return int(time.time() * 1000)


class MemoryAdapter:
    """Every port that is there in memory.

    Args:
        state: What to open; a new, empty one by default.
        missing: Features that are switched off, each with its reason.
        limits: What is declared, and enforced.
        dedup: False appends repeated points, and declares that.
        clock_ms: The time of creations, and from which the age of points is measured.
    """

    def __init__(
        self,
        state: MemoryState | None = None,
        *,
        missing: Mapping[Feature, str] | None = None,
        limits: Limits | None = None,
        dedup: bool = True,
        clock_ms: Callable[[], int] = now_ms,
    ) -> None:
        off = dict(missing or {})
        if not dedup:
            off[Feature.TRACKING_METRIC_DEDUP] = "repeated points are appended"
        features: dict[Feature, Capability] = dict.fromkeys(HERE, SUPPORTED) | NEVER_HERE
        features |= {feature: absent(Absence.NOT_OFFERED, reason) for feature, reason in off.items()}
        searches = features[Feature.TRACKING_SEARCH].supported
        self._capabilities = Capabilities(
            adapter=NAME,
            features=features,
            limits=limits or Limits(),
            search_comparisons=COMPARISONS if searches else frozenset(),
        )
        self.state = state or MemoryState()
        self.tracking: TrackingStore | None = MemoryTracking(self.state, self._capabilities, clock_ms)
        self.artifacts: ArtifactStore | None = MemoryArtifacts(self.state, self._capabilities)
        self.registry: ModelRegistry | None = MemoryRegistry(self.state, self._capabilities, clock_ms)
        self.jobs: JobBackend | None = MemoryJobs(self.state.jobs, self._capabilities, clock_ms)
        self.deployments: DeploymentTarget | None = MemoryDeployments(
            self.state.deployments, self._capabilities, clock_ms
        )

    def capabilities(self) -> Capabilities:
        return self._capabilities

    def check(self, *, write: bool = False) -> tuple[Finding, ...]:
        return (
            Finding(severity=Severity.OK, subject=NAME, message=f"{len(self.state.runs)} runs in memory"),
        )

    def close(self) -> None:
        pass


class MemoryTracking(TrackingStore):
    def __init__(self, state: MemoryState, capabilities: Capabilities, clock_ms: Callable[[], int]) -> None:
        self.state = state
        self.capabilities = capabilities
        self.limits = capabilities.limits
        self.clock_ms = clock_ms

    def ensure_experiment(
        self, name: str, *, experiment_id: str, tags: dict[str, str] | None = None
    ) -> Experiment:
        with self.state.lock:
            experiment = self._ensure(name, experiment_id)
            self._check_texts((tags or {}).items(), self.limits.tag_value_chars_max)
            if tags:
                experiment.tags.update(tags)
                experiment.last_update_time = self.clock_ms()
            return self._experiment(experiment)

    def open_run(self, spec: RunSpec) -> Run:
        with self.state.lock:
            run = self.state.runs.get(spec.run_id)
            if run is not None:
                self._refuse_deleted(run)
            self._check_texts(spec.tags.items(), self.limits.tag_value_chars_max)
            if run is None:
                run = self._create_run(spec)
            elif spec.resume:
                run.status, run.end_time = RunStatus.RUNNING, None
                self._set_tags(run, spec.tags.items())
            return self._run(run)

    def write(self, batch: Batch) -> Receipt:
        with self.state.lock:
            run = self._find(batch.run_id)
            self._refuse_deleted(run)
            if batch.inputs:
                self.capabilities.require(Feature.TRACKING_DATASETS, operation="tracking.write")
            self._refuse_large(batch)
            rejected: list[Rejection] = []
            for key, columns in batch.metrics.items():
                self._write_points(run, key, columns, rejected)
            for param in batch.params:
                problem = self._param_problem(run, param.key, param.value or "")
                if problem:
                    rejected.append(Rejection(param.sequence, problem))
                else:
                    run.params[param.key] = param.value or ""
            for tag in batch.tags:
                problem = self._tag_problem(run, tag.key, tag.value)
                if problem:
                    rejected.append(Rejection(tag.sequence, problem))
                else:
                    self._set_tags(run, [(tag.key, tag.value)])
            for added in batch.inputs:
                run.inputs.setdefault((added.dataset.name, added.dataset.digest), added.dataset)
            return Receipt(rejected=tuple(rejected))

    def get_run(self, run_id: str) -> Run:
        with self.state.lock:
            return self._run(self._find(run_id))

    def list_runs(
        self,
        experiment_id: str,
        *,
        stage: LifecycleStage | None = LifecycleStage.ACTIVE,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[Run]:
        with self.state.lock:
            runs = ordered(self._runs_of((experiment_id,), stage))
        return self._page(runs, max_results, token, "list_runs", experiment_id, stage)

    def close_run(self, run_id: str, *, status: RunStatus, end_time: int) -> None:
        with self.state.lock:
            run = self._find(run_id)
            self._refuse_deleted(run)
            if not status.is_final:
                raise Rejected(f"{status.value} is not final", adapter=NAME, hint="use a final status")
            run.status, run.end_time = status, end_time

    def list_experiments(
        self,
        *,
        stage: LifecycleStage | None = LifecycleStage.ACTIVE,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[Experiment]:
        self._require(Feature.TRACKING_EXPERIMENT_LISTING)
        with self.state.lock:
            found = [
                self._experiment(item)
                for item in self.state.experiments.values()
                if stage is None or item.deleted == (stage is LifecycleStage.DELETED)
            ]
        found.sort(key=lambda item: (-(item.creation_time or 0), item.experiment_id))
        return self._page(found, max_results, token, "list_experiments", stage)

    def metric_history(self, run_id: str, key: str) -> MetricColumns:
        self._require(Feature.TRACKING_METRIC_HISTORY)
        with self.state.lock:
            points = list(self._find(run_id).points.get(key, ()))
        columns = MetricColumns()
        for step, timestamp, value in sorted(points, key=lambda point: point[:2]):
            columns.steps.append(step)
            columns.timestamps.append(timestamp)
            columns.values.append(value)
        return columns

    def search_runs(
        self,
        experiment_ids: tuple[str, ...],
        *,
        query: Query,
        stage: LifecycleStage | None = LifecycleStage.ACTIVE,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[Run]:
        self._require(Feature.TRACKING_SEARCH)
        with self.state.lock:
            runs = self._runs_of(experiment_ids, stage)
        found = ordered((run for run in runs if matches(query.filter, run)), query.order_by)
        return self._page(found, max_results, token, "search_runs", experiment_ids, query, stage)

    def delete_run(self, run_id: str) -> None:
        self._require(Feature.TRACKING_DELETE)
        with self.state.lock:
            self._find(run_id).deleted = True

    def restore_run(self, run_id: str) -> None:
        self._require(Feature.TRACKING_DELETE)
        with self.state.lock:
            self._find(run_id).deleted = False

    def delete_experiment(self, experiment_id: str) -> None:
        self._mark_experiment(experiment_id, deleted=True)

    def restore_experiment(self, experiment_id: str) -> None:
        self._mark_experiment(experiment_id, deleted=False)

    def put_logged_model(self, model: LoggedModel) -> LoggedModel:
        self._require(Feature.TRACKING_LOGGED_MODELS)
        with self.state.lock:
            self._held(self.state.experiments, model.experiment_id, "experiment")
            for metric in model.metrics:
                self._find(metric.run_id)
            there = self.state.logged_models.get(model.model_id)
            if there is not None:
                self._refuse_other_model(model, there)
            created = self.clock_ms() if there is None else there.creation_time
            known = there.metrics if there is not None else ()
            merged = msgspec.structs.replace(
                there or model,
                status=model.status,
                tags=model.tags,
                params={**(there.params if there is not None else {}), **model.params},
                metrics=tuple(sorted({*known, *model.metrics})),
                creation_time=created,
            )
            self.state.logged_models[model.model_id] = merged
        for metric in set(merged.metrics) - set(known):
            columns = MetricColumns()
            columns.append(step=metric.step, timestamp=metric.timestamp, value=metric.value, sequence=1)
            self.write(Batch(run_id=metric.run_id, metrics={metric.key: columns}))
        return merged

    def _refuse_other_model(self, model: LoggedModel, there: LoggedModel) -> None:
        params = {key: there.params.get(key, value) for key, value in model.params.items()}
        if (model.name, model.model_type, model.params) != (there.name, there.model_type, params):
            raise Conflict(f"logged model {model.model_id} is another", adapter=NAME, hint="log a new one")

    def get_logged_model(self, model_id: str) -> LoggedModel:
        self._require(Feature.TRACKING_LOGGED_MODELS)
        return self._held(self.state.logged_models, model_id, "logged model")

    def list_logged_models(
        self, experiment_ids: tuple[str, ...], *, max_results: int = 1000, token: str | None = None
    ) -> Page[LoggedModel]:
        self._require(Feature.TRACKING_LOGGED_MODELS)
        models = self.state.logged_models.values()
        found = [model for model in models if model.experiment_id in experiment_ids]
        return self._page(found, max_results, token, "logged models", experiment_ids)

    def link_models(self, run_id: str, links: tuple[ModelLink, ...]) -> None:
        self._require(Feature.TRACKING_LOGGED_MODELS)
        with self.state.lock:
            run = self._find(run_id)
            for link in links:
                self._held(self.state.logged_models, link.model_id, "logged model")
            there = {(link.model_id, link.step is None) for link in run.models}
            run.models += tuple(link for link in links if (link.model_id, link.step is None) not in there)

    def put_trace(self, trace: Trace) -> None:
        self._require(Feature.TRACKING_TRACES)
        self._held(self.state.experiments, trace.experiment_id, "experiment")
        if any(f"tr-{span.get('traceId')}" != trace.trace_id for span in trace.spans):
            raise Rejected("a span is of another trace", adapter=NAME, hint="look at its traceId")
        self.state.traces[trace.trace_id] = trace

    def get_trace(self, trace_id: str) -> Trace:
        self._require(Feature.TRACKING_TRACES)
        return self._held(self.state.traces, trace_id, "trace")

    def list_traces(
        self, experiment_ids: tuple[str, ...], *, max_results: int = 1000, token: str | None = None
    ) -> Page[Trace]:
        self._require(Feature.TRACKING_TRACES)
        traces = self.state.traces.values()
        found = [
            msgspec.structs.replace(trace, spans=())
            for trace in traces
            if trace.experiment_id in experiment_ids
        ]
        return self._page(found, max_results, token, "traces", experiment_ids)

    # What the methods share.

    def _require(self, feature: Feature) -> None:
        self.capabilities.require(feature, operation=feature.value)

    def _held(self, things: Mapping[str, Item], identifier: str, kind: str) -> Item:
        if identifier not in things:
            raise NotFound(f"there is no {kind} {identifier!r}", adapter=NAME, hint="look at its id")
        return things[identifier]

    def _find(self, run_id: str) -> MemoryRun:
        return self._held(self.state.runs, run_id, "run")

    def _refuse_deleted(self, run: MemoryRun) -> None:
        if run.is_gone:
            raise Rejected(f"run {run.run_id} was deleted", adapter=NAME, hint="restore it with restore_run")

    def _ensure(self, name: str, experiment_id: str) -> MemoryExperiment:
        found = next((item for item in self.state.experiments.values() if item.name == name), None)
        if found is not None and found.deleted:
            raise Rejected(
                f"experiment {name!r} was deleted", adapter=NAME, hint="restore it: restore_experiment"
            )
        if found is not None:
            return found
        now = self.clock_ms()
        created = MemoryExperiment(experiment_id, name, {}, creation_time=now, last_update_time=now)
        self.state.experiments[experiment_id] = created
        return created

    def _create_run(self, spec: RunSpec) -> MemoryRun:
        experiment = self._ensure(spec.experiment_name, spec.experiment_id)
        run = MemoryRun(
            run_id=spec.run_id,
            experiment_id=experiment.experiment_id,
            name=spec.name,
            user=spec.user,
            start_time=spec.start_time,
            tags=dict(spec.tags),
        )
        self.state.runs[spec.run_id] = run
        return run

    def _set_tags(self, run: MemoryRun, tags: Iterable[tuple[str, str | None]]) -> None:
        for key, value in tags:
            if value is None:
                run.tags.pop(key, None)
                continue
            run.tags[key] = value
            if key == TAG_NAME:
                run.name = value

    def _write_points(
        self, run: MemoryRun, key: str, columns: MetricColumns, rejected: list[Rejection]
    ) -> None:
        for step, timestamp, value, sequence in zip(
            columns.steps, columns.timestamps, columns.values, columns.sequences, strict=True
        ):
            problem = self._key_problem(key) or self._point_problem(timestamp, value)
            if problem:
                rejected.append(Rejection(sequence, problem))
            else:
                self.add_point(run, key, step, timestamp, value)

    def add_point(self, run: MemoryRun, key: str, step: int, timestamp: int, value: float) -> None:
        # The text of a float shows neither the sign nor the payload of a NaN.
        identity = (key, step, timestamp, columns_bytes(value))
        if self.capabilities.supports(Feature.TRACKING_METRIC_DEDUP) and identity in run.known_points:
            return
        run.known_points.add(identity)
        run.points.setdefault(key, []).append((step, timestamp, value))

    def _point_problem(self, timestamp: int, value: float) -> str | None:
        if kind_of(value) in self.limits.metric_values_unheld:
            return f"{value} cannot be kept by its bits"
        age_max = self.limits.metric_age_ms_max
        if age_max is not None and self.clock_ms() - timestamp > age_max:
            return f"the point is older than {age_max} ms"
        return None

    def _param_problem(self, run: MemoryRun, key: str, value: str) -> str | None:
        if run.params.get(key, value) != value:
            return f"param {key!r} has another value already"
        most = self.limits.params_per_run_max
        if most is not None and key not in run.params and len(run.params) >= most:
            return f"a run has at most {most} params"
        return self._text_problem(key, value, self.limits.param_value_chars_max)

    def _tag_problem(self, run: MemoryRun, key: str, value: str | None) -> str | None:
        most = self.limits.tags_per_run_max
        if most is not None and value is not None and key not in run.tags and len(run.tags) >= most:
            return f"a run has at most {most} tags"
        return self._text_problem(key, value or "", self.limits.tag_value_chars_max)

    def _key_problem(self, key: str) -> str | None:
        if self.limits.key_chars_max is not None and len(key) > self.limits.key_chars_max:
            return f"key {key[:80]!r} is longer than {self.limits.key_chars_max} characters"
        if self.limits.key_pattern is not None and not re.fullmatch(self.limits.key_pattern, key):
            return f"key {key[:80]!r} does not match {self.limits.key_pattern}"
        return None

    def _text_problem(self, key: str, value: str, chars_max: int | None) -> str | None:
        if chars_max is not None and len(value) > chars_max:
            return f"the value of {key[:80]!r} is longer than {chars_max} characters"
        return self._key_problem(key)

    def _check_texts(self, texts: Iterable[tuple[str, str]], chars_max: int | None) -> None:
        for key, value in texts:
            problem = self._text_problem(key, value, chars_max)
            if problem:
                raise Rejected(problem, adapter=NAME, hint="shorten it")

    def _refuse_large(self, batch: Batch) -> None:
        counts = (
            ("metrics", sum(map(len, batch.metrics.values())), self.limits.metrics_per_write_max),
            ("params", len(batch.params), self.limits.params_per_write_max),
            ("tags", len(batch.tags), self.limits.tags_per_write_max),
            ("bytes", estimated_bytes(batch), self.limits.write_bytes_max),
        )
        for what, count, most in counts:
            if most is not None and count > most:
                raise Rejected(
                    f"{count} {what} in one write; {most} are allowed", adapter=NAME, hint="split it"
                )

    def _mark_experiment(self, experiment_id: str, *, deleted: bool) -> None:
        self._require(Feature.TRACKING_DELETE)
        with self.state.lock:
            self._held(self.state.experiments, experiment_id, "experiment").deleted = deleted
            for run in self.state.runs.values():
                if run.experiment_id == experiment_id:
                    run.deleted_with_experiment = deleted and (run.deleted_with_experiment or not run.deleted)

    def _runs_of(self, experiment_ids: Sequence[str], stage: LifecycleStage | None) -> list[Run]:
        return [
            self._run(run)
            for run in self.state.runs.values()
            if run.experiment_id in experiment_ids
            and (stage is None or run.is_gone == (stage is LifecycleStage.DELETED))
        ]

    def _experiment(self, held: MemoryExperiment) -> Experiment:
        return Experiment(
            experiment_id=held.experiment_id,
            name=held.name,
            lifecycle_stage=_stage(held.deleted),
            tags=dict(held.tags),
            creation_time=held.creation_time,
            last_update_time=held.last_update_time,
        )

    def _run(self, run: MemoryRun) -> Run:
        info = RunInfo(
            run_id=run.run_id,
            experiment_id=run.experiment_id,
            run_name=run.name,
            user_id=run.user,
            status=run.status,
            start_time=run.start_time,
            end_time=run.end_time,
            lifecycle_stage=_stage(run.is_gone),
        )
        last = {key: self.last_point(points) for key, points in run.points.items()}
        data = RunData.of_points(last, params=dict(run.params), tags=dict(run.tags))
        inputs = RunInputs(dataset_inputs=tuple(run.inputs.values()))
        return Run(info=info, data=data, inputs=inputs, models=run.models)

    def last_point(self, points: list[tuple[int, int, float]]) -> tuple[int, int, float]:
        return last_point(points)

    def _page(
        self, items: Sequence[Item], max_results: int, token: str | None, *listing: object
    ) -> Page[Item]:
        size = min(max_results, self.limits.page_items_max)
        return page_of(items, size, token, *listing)


class MemoryArtifacts(ArtifactStore):
    def __init__(self, state: MemoryState, capabilities: Capabilities) -> None:
        self.state = state
        self.capabilities = capabilities

    def put(self, run_id: str, path: str, file: Path, *, digest: str, size: int) -> ArtifactInfo:
        checked_path(path)
        return self._commit(run_id, path, file.read_bytes(), digest, size)

    def open(self, run_id: str, path: str) -> BinaryIO:
        with self.state.lock:
            return io.BytesIO(self._file(run_id, path).content)

    def stat(self, run_id: str, path: str) -> ArtifactInfo:
        with self.state.lock:
            files = self.state.files.get(run_id, {})
            if path and any(name.startswith(f"{path}/") for name in files):
                return ArtifactInfo(path=path, is_dir=True)
            return _info(path, self._file(run_id, path))

    def list(
        self, run_id: str, prefix: str = "", *, max_results: int = 1000, token: str | None = None
    ) -> Page[ArtifactInfo]:
        with self.state.lock:
            names = self.state.files.get(run_id, {})
            start = f"{prefix}/" if prefix else ""
            children = {
                start + name[len(start) :].partition("/")[0] for name in names if name.startswith(start)
            }
            if prefix in names:
                children.add(prefix)
            found = [self.stat(run_id, child) for child in sorted(children)]
        size = min(max_results, self.capabilities.limits.page_items_max)
        return page_of(found, size, token, "list", run_id, prefix)

    def delete(self, run_id: str, path: str) -> None:
        self.capabilities.require(Feature.ARTIFACTS_DELETE, operation="artifacts.delete")
        checked_path(path)
        with self.state.lock:
            files = self.state.files.get(run_id, {})
            for name in [name for name in files if name == path or name.startswith(f"{path}/")]:
                del files[name]

    def presign(self, run_id: str, path: str, *, expires_s: int) -> str:
        self.capabilities.require(Feature.ARTIFACTS_PRESIGN, operation="artifacts.presign")
        raise AssertionError("memory never declares this")

    def put_resumable(
        self, run_id: str, path: str, file: Path, *, digest: str, size: int, state: Path
    ) -> ArtifactInfo:
        self.capabilities.require(Feature.ARTIFACTS_RESUMABLE_UPLOAD, operation="artifacts.put_resumable")
        checked_path(path)
        upload = (run_id, path, digest)
        if not state.exists():
            self.state.uploads.pop(upload, None)
        content = self.state.uploads.setdefault(upload, bytearray())
        with file.open("rb") as reader:
            reader.seek(len(content))
            while part := reader.read(PART_BYTES):
                content += part
                state.write_text(str(len(content)))
        try:
            return self._commit(run_id, path, bytes(content), digest, size)
        finally:
            del self.state.uploads[upload]
            state.unlink(missing_ok=True)

    def _file(self, run_id: str, path: str) -> MemoryFile:
        found = self.state.files.get(run_id, {}).get(path)
        if found is None:
            raise NotFound(f"there is no artifact {path[:80]!r}", adapter=NAME, hint="list the artifacts")
        return found

    def _commit(self, run_id: str, path: str, content: bytes, digest: str, size: int) -> ArtifactInfo:
        found = f"sha256:{hashlib.sha256(content).hexdigest()}"
        most = self.capabilities.limits.artifact_bytes_max
        if (found, len(content)) != (digest, size):
            raise Rejected(f"{len(content)} bytes with {found} came", adapter=NAME, hint="log the file again")
        if most is not None and size > most:
            raise Rejected(f"{size} bytes; {most} are allowed", adapter=NAME, hint="split the file")
        with self.state.lock:
            files = self.state.files.setdefault(run_id, {})
            parts = path.split("/")
            above = {"/".join(parts[:count]) for count in range(1, len(parts))}
            if above & files.keys() or any(name.startswith(f"{path}/") for name in files):
                raise Rejected(f"{path!r} is both a file and a folder", adapter=NAME, hint="use another path")
            files[path] = MemoryFile(content, digest)
            return _info(path, files[path])


def columns_bytes(value: float) -> str:
    columns = MetricColumns()
    columns.values.append(value)
    return columns.values.tobytes().hex()


def _stage(deleted: bool) -> LifecycleStage:
    return LifecycleStage.DELETED if deleted else LifecycleStage.ACTIVE


def _info(path: str, file: MemoryFile) -> ArtifactInfo:
    return ArtifactInfo(path=path, file_size=len(file.content), digest=file.digest)
