"""A sweep over jobs that end when a test says so, with runs in memory and waits that take no time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.memory_adapter import MemoryAdapter
from trackbridge.domain.batches import Batch, MetricColumns
from trackbridge.domain.jobs import JobSpec, JobState, JobStatus, LogChunk
from trackbridge.domain.runs import Run
from trackbridge.domain.sweeps import parse_space
from trackbridge.errors import Conflict, NotFound
from trackbridge.operations.job_sources.sources import JobSource
from trackbridge.operations.sweeps.definition import Sampler, SweepDefinition, SweepLimits
from trackbridge.operations.sweeps.records import SweepFolder
from trackbridge.operations.sweeps.running import Outcome, Surroundings, Sweeping
from trackbridge.operations.waiting import Pace, Stop

Work = Callable[["Scene", JobSpec], JobStatus]


def log(scene: Scene, spec: JobSpec, *values: float, metric: str = "loss") -> None:
    """Log points to the run of a job, as its program would."""
    columns = MetricColumns()
    for step, value in enumerate(values):
        columns.append(step=step, timestamp=step, value=value, sequence=step)
    scene.tracking.write(Batch(run_id=str(spec.run_id), metrics={metric: columns}))


def distance(scene: Scene, spec: JobSpec) -> JobStatus:
    """A program whose loss is the distance of x from 3."""
    log(scene, spec, abs(float(spec.parameters["x"]) - 3))
    return JobStatus.SUCCEEDED


@dataclass
class Jobs:
    """Jobs that do their work when they are looked at for the second time."""

    scene: Scene
    work: Work
    specs: dict[str, JobSpec] = field(default_factory=dict)
    states: dict[str, JobState] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    at_once: int = 0
    before_submit: Callable[[str], None] = lambda key: None
    before_status: Callable[[str], None] = lambda job_id: None

    def check(self, spec: JobSpec) -> tuple[Any, ...]:
        return ()

    def submit(self, spec: JobSpec, *, key: str) -> JobState:
        self.before_submit(key)
        if key in self.specs and self.specs[key] != spec:
            raise Conflict("another spec")
        if key not in self.specs:
            self.calls.append(key)
            self.specs[key] = spec
            self.states[key] = JobState(
                job_id=key,
                status=JobStatus.RUNNING,
                run_id=spec.run_id,
                tracking_uri=spec.tracking_uri,
                submit_time=1,
            )
        under_way = sum(not state.status.is_final for state in self.states.values())
        self.at_once = max(self.at_once, under_way)
        return self.states[key]

    def status(self, job_id: str) -> JobState:
        self.before_status(job_id)
        if job_id not in self.states:
            raise NotFound(f"no job {job_id}")
        state = self.states[job_id]
        if not state.status.is_final:
            self.end(job_id, self.work(self.scene, self.specs[job_id]))
        return state

    def end(self, job_id: str, status: JobStatus, reason: str = "") -> None:
        """End a job; the next look at it tells."""
        code = {JobStatus.SUCCEEDED: 0, JobStatus.FAILED: 1}.get(status)
        self.states[job_id] = msgspec.structs.replace(
            self.states[job_id], status=status, exit_code=code, end_time=2, reason=reason
        )

    def read_logs(self, job_id: str, *, cursor: str = "", tail_bytes: int | None = None) -> LogChunk:
        return LogChunk(text="", cursor="end", done=True)

    def cancel(self, job_id: str) -> None:
        self.end(job_id, JobStatus.CANCELLED)


class Scene:
    """A sweep that can be gone on with by one process after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.adapter = MemoryAdapter()
        assert self.adapter.tracking is not None
        self.tracking = self.adapter.tracking
        self.jobs = Jobs(self, distance)
        self.stop = Stop()
        self.troubles: list[str] = []
        self.now_s = 0.0

    def definition(self, **fields: Any) -> SweepDefinition:
        chosen: dict[str, Any] = {
            "key": "night",
            "source": JobSource(base=JobSpec(name="train", command=()), source_name="train.py"),
            "space": parse_space({"x": "1,2,3,4"}),
            "sampler": Sampler.GRID,
            "seed": 1,
            "metric": "loss",
            "experiment": "wine",
            "name": "train",
            "user": "anna",
        }
        return SweepDefinition(**{**chosen, **fields})

    def sweeping(self, definition: SweepDefinition | None = None, **limits: Any) -> Sweeping:
        definition = definition or self.definition()
        folder = SweepFolder(self.root, definition.key)
        folder.path.mkdir(parents=True, exist_ok=True)
        around = Surroundings(
            jobs=self.jobs,  # type: ignore[arg-type]
            tracking=self.tracking,
            artifacts=None,
            tracking_capabilities=self.adapter.capabilities(),
            jobs_are_local=False,
            tracking_uri="file:/store",
            place="memory:",
            journal_root=self.root / "journal",
            spec_of=lambda params: JobSpec(
                name="train", command=("train", *params.values()), parameters=dict(params)
            ),
        )
        return Sweeping(
            definition,
            SweepLimits(**{"parallel": 2, **limits}),
            folder,
            around,
            on_trouble=self.troubles.append,
            stop=self.stop,
            pace=Pace(clock=lambda: self.now_s, pause=self.pause),
        )

    def run(self, definition: SweepDefinition | None = None, **limits: Any) -> Outcome:
        return self.sweeping(definition, **limits).run()

    def pause(self, seconds: float) -> None:
        self.now_s += seconds

    def parent(self) -> Run:
        return self.tracking.get_run(self.definition().run_id)

    def runs(self) -> list[Run]:
        """The runs of trials, by their numbers."""
        every = [self.tracking.get_run(run_id) for run_id in self.adapter.state.runs]
        trials = [run for run in every if "bridge.sweep.trial" in run.data.tags]
        return sorted(trials, key=lambda run: int(run.data.tags["bridge.sweep.trial"]))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)
