"""What users do with each verb, so that an adapter makes every call that it can make: on any backend."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from trackbridge.domain.artifacts import artifact_uri
from trackbridge.domain.deployments import DeploymentSpec, EndpointState, Operation
from trackbridge.domain.ids import experiment_id_of, mint_id
from trackbridge.domain.jobs import JobSpec, JobState
from trackbridge.domain.models import Approval, ModelVersionSpec
from trackbridge.domain.runs import DatasetInput, RunStatus
from trackbridge.domain.search import Query
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.samples import batch_of, digest_of, file_of, run_spec

LARGE_BYTES = 20 * 2**20
"""More than a part of any store has."""
PATIENCE_S = 120.0
PAUSE_S = 0.05


def holds(asked: frozenset[str], table: frozenset[str]) -> None:
    """Demand that what was asked is what a table says."""
    lacking, idle = sorted(asked - table), sorted(table - asked)
    assert (lacking, idle) == ([], []), f"no policy allows {lacking}; nothing uses {idle}"


def track(adapter: Adapter, folder: Path) -> str:
    """Look, log, read, search, delete and restore; returns a run that is finished."""
    store = adapter.tracking
    assert store is not None
    assert all(found.severity.value != "error" for found in adapter.check(write=True)), adapter.check()
    name = f"permissions-{mint_id()}"
    for team in ("one", "two"):
        store.ensure_experiment(name, experiment_id=experiment_id_of(name), tags={"team": team})
    run = store.open_run(run_spec(experiment=name, tags={"stage": "first"})).info.run_id
    now_ms = time.time_ns() // 1_000_000
    data = DatasetInput(name="digits", digest="1", source_type="local", source="digits.csv")
    points = [("loss", 1.0 / step, step, now_ms + step) for step in range(1, 30)]
    receipt = store.write(
        batch_of(run, metrics=points, params=[("lr", "0.1")], tags=[("stage", "second")], inputs=[data])
    )
    assert receipt.rejected == ()
    store.write(batch_of(run, tags=[("stage", None)], first_sequence=100))
    store.close_run(run, status=RunStatus.FINISHED, end_time=now_ms + 100)
    store.open_run(run_spec(run_id=run, experiment=name, resume=True))
    store.close_run(run, status=RunStatus.FINISHED, end_time=now_ms + 200)
    experiment = store.get_run(run).info.experiment_id
    assert list(store.metric_history(run, "loss").steps) == list(range(1, 30))
    assert len(store.list_runs(experiment).items) == 1
    assert len(list(store.list_experiments().items)) >= 1
    store.search_runs((experiment,), query=Query())
    store.delete_run(run)
    store.restore_run(run)
    store.delete_experiment(experiment)
    store.restore_experiment(experiment)
    _keep_files(adapter, run, folder)
    return run


def _keep_files(adapter: Adapter, run: str, folder: Path) -> None:
    files = adapter.artifacts
    assert files is not None
    content = b"weights"
    file = file_of(folder, content)
    for path in ("model/weights", "model/deep/weights", "gone"):
        files.put(run, path, file, digest=digest_of(content), size=len(content))
    files.put(run, "gone", file_of(folder, b"other"), digest=digest_of(b"other"), size=5)
    assert [found.path for found in files.list(run, "model").items] == ["model/deep", "model/weights"]
    assert files.stat(run, "model/weights").file_size == len(content)
    with files.open(run, "model/weights") as opened:
        assert opened.read() == content
    capabilities = adapter.capabilities()
    if capabilities.supports(Feature.ARTIFACTS_PRESIGN):
        files.presign(run, "model/weights", expires_s=60)
    if capabilities.supports(Feature.ARTIFACTS_RESUMABLE_UPLOAD):
        large = b"\0" * LARGE_BYTES
        source = file_of(folder, large)
        files.put_resumable(
            run,
            "large",
            source,
            digest=digest_of(large),
            size=LARGE_BYTES,
            state=folder / f"state-{mint_id()}",
        )
    if capabilities.supports(Feature.ARTIFACTS_DELETE):
        files.delete(run, "gone")
        files.delete(run, "model/deep")


def payload(adapter: Adapter, folder: Path, size: int = 10, *, is_mlflow: bool = False) -> str:
    """Keep the files of a model with a run; returns their address."""
    store, files = adapter.tracking, adapter.artifacts
    assert store is not None
    assert files is not None
    run = store.open_run(run_spec()).info.run_id
    content = random.Random(1).randbytes(size)  # what packing does not make small
    file = file_of(folder, content)
    files.put(run, "model/weights.bin", file, digest=digest_of(content), size=size)
    if is_mlflow:
        told = b"flavors: {}\n"
        files.put(run, "model/MLmodel", file_of(folder, told), digest=digest_of(told), size=len(told))
    return artifact_uri(run, "model")


def register(adapter: Adapter, source: str, name: str = "wine") -> None:
    """Register, label, read and delete; a model with one version stays."""
    registry = adapter.registry
    assert registry is not None
    registry.ensure_model(name, description="of wine", tags={"team": "one"})
    spec = ModelVersionSpec(name=name, source=source, digest=digest_of(b"a model"))
    first = registry.create_version(spec, key="first").version
    second = registry.create_version(spec, key="second").version
    for version in (None, first):
        registry.set_tags(name, version, tags={"checked": "yes", "gone": "soon"})
        registry.set_tags(name, version, tags={"gone": None})
        registry.set_description(name, version, description="better")
    capabilities = adapter.capabilities()
    if capabilities.supports(Feature.REGISTRY_ALIAS):
        registry.set_alias(name, "champion", version=first)
        registry.set_alias(name, "champion", version=second)
        registry.set_alias(name, "champion", version=None)
    if capabilities.supports(Feature.REGISTRY_STAGE):
        registry.set_stage(name, first, stage="Production")
    if capabilities.supports(Feature.REGISTRY_APPROVAL):
        registry.set_approval(name, first, approval=Approval.APPROVED)
    if capabilities.supports(Feature.REGISTRY_HISTORY):
        registry.list_changes(name, first)
    assert registry.get_model(name).name == name
    assert registry.get_version(name, first).version == first
    assert name in [found.name for found in registry.list_models().items]
    assert {found.version for found in registry.list_versions(name).items} == {first, second}
    registry.delete_version(name, second)
    registry.ensure_model("idle")
    registry.delete_model("idle")


def run_job(adapter: Adapter, spec: JobSpec) -> JobState:
    """Check, preview, submit, follow and list; another job is cancelled."""
    jobs = adapter.jobs
    assert jobs is not None
    findings = [found for found in jobs.check(spec) if found.severity.value == "error"]
    assert findings == [], findings
    jobs.preview(spec)
    state = jobs.submit(spec, key=mint_id())
    _wait(lambda: jobs.status(state.job_id).status.is_final, "the job's end")
    cursor, done = "", False
    while not done:
        piece = jobs.read_logs(state.job_id, cursor=cursor)
        cursor, done = piece.cursor, piece.done
    jobs.read_logs(state.job_id, tail_bytes=100)
    assert state.job_id in [found.job_id for found in jobs.list_jobs().items]
    other = jobs.submit(spec, key=mint_id())
    jobs.cancel(other.job_id)
    _wait(lambda: jobs.status(other.job_id).status.is_final, "the end of the cancelled job")
    assert len(jobs.list_jobs().items) >= 2
    return jobs.status(state.job_id)


class Deploying:
    """Brings about what a spec says, and changes it.

    Args:
        adapter: With a target of deployments.
        payload: Returns the folder of a model by its name.
    """

    def __init__(self, adapter: Adapter, payload: Callable[[str], Path]) -> None:
        assert adapter.deployments is not None
        self.target = adapter.deployments
        self._payload = payload

    def deploy(self, spec: DeploymentSpec) -> EndpointState:
        """Look, plan and apply."""
        observed = self.target.observe(spec.endpoint)
        findings = [found for found in self.target.check(spec, observed) if found.severity.value == "error"]
        assert findings == [], findings
        for change in self.target.plan(spec, observed):
            brings = not self.target.can_read(spec.model_source)
            name = spec.model.removeprefix("models:/").partition("/")[0]
            self.done(self.target.apply(change, payload=self._payload(name) if brings else None))
        return self.seen(spec.endpoint)

    def share(self, endpoint: str, **percents: int) -> None:
        """Share the traffic."""
        changes = self.target.plan_traffic(endpoint, self.seen(endpoint), percent_by_deployment=percents)
        for change in changes:
            self.done(self.target.apply(change))

    def remove(self, endpoint: str, deployment: str) -> None:
        """Take a deployment away."""
        for change in self.target.plan_removal(endpoint, deployment, self.seen(endpoint)):
            self.done(self.target.apply(change))

    def seen(self, endpoint: str) -> EndpointState:
        """Return an endpoint that is there."""
        state = self.target.observe(endpoint)
        assert state is not None
        return state

    def done(self, operation: Operation) -> None:
        """Wait until an operation has ended well."""
        held = [operation]

        def has_ended() -> bool:
            held.append(self.target.poll(held[-1])) if not held[-1].done else None
            return held[-1].done

        _wait(has_ended, str(operation))
        assert held[-1].error is None, held[-1]


def _wait(holds: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, f"{what} did not come"
        time.sleep(PAUSE_S)
