"""A model of the tracking contract, against which Hypothesis plays any store.

Bind it by a subclass that says where a new, empty store is::

    class LocalMachine(TrackingStateMachine):
        def new_store(self) -> Callable[[], Adapter]:
            folder = tempfile.mkdtemp()
            return lambda: open_adapter(f"file:{folder}", context=...)

    TestLocalMachine = LocalMachine.TestCase
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trackbridge.domain.batches import Batch
from trackbridge.domain.ids import experiment_id_of
from trackbridge.domain.metric_values import kind_of
from trackbridge.domain.runs import TAG_NAME, LifecycleStage, RunSpec, RunStatus
from trackbridge.errors import NotFound, Rejected
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.tracking import TrackingStore
from trackbridge.testing.contracts.samples import (
    FINITE_VALUES,
    NON_FINITE_VALUES,
    Point,
    batch_of,
    bits_of,
    points_of,
    run_spec,
)

RUN_IDS = [f"{number:032x}" for number in range(1, 4)]
EXPERIMENTS = ["one", "two"]
KEYS = ["m", "M", "ключ 🔑"]
PLAIN_KEY = "key"
"""Stands for a key of ``KEYS`` that the store does not allow."""
NOW_MS = int(time.time() * 1000)

STEPS = st.integers(-2, 3)
TIMES = st.integers(NOW_MS - 2, NOW_MS)
TEXTS = st.sampled_from(["", "1", "2", "é 'x'"])
STATUSES = st.sampled_from([RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED])
RUNS, NAMES = st.sampled_from(RUN_IDS), st.sampled_from(EXPERIMENTS)


@dataclass
class ModelRun:
    """What a run should be. ``points`` are (step, timestamp, bits) in the order of writing."""

    experiment: str
    start_time: int
    status: RunStatus = RunStatus.RUNNING
    end_time: int | None = None
    deleted: bool = False
    deleted_with_experiment: bool = False
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: dict[str, dict[tuple[int, int, int], float]] = field(default_factory=dict)

    @property
    def is_gone(self) -> bool:
        """True when it is deleted, in either way."""
        return self.deleted or self.deleted_with_experiment

    def last_values(self) -> dict[str, int | None]:
        """Return the bits of the last value of each metric; of NaNs one is as good as another: None."""
        found: dict[str, int | None] = {}
        for key, points in self.points.items():
            last = max((step, at, value == value, value) for (step, at, _), value in points.items())
            found[key] = comparable(last[3])
        return found


def comparable(value: float) -> int | None:
    """Return the bits of a value; of values that the order leaves equal the same."""
    if value != value:
        return None
    return bits_of(value + 0.0)


class TrackingStateMachine(RuleBasedStateMachine):
    """Opens, writes, closes, deletes, restores, repeats and crashes; reads after each step."""

    def new_store(self) -> Callable[[], Adapter]:
        """Return a function that opens a new, empty store; called again it opens the same store anew."""
        raise TypeError(f"{type(self).__name__} needs a method new_store")

    @initialize()
    def begin(self) -> None:
        """Open the store."""
        self.open_adapter = self.new_store()
        self.adapter = self.open_adapter()
        self.capabilities = self.adapter.capabilities()
        self.runs: dict[str, ModelRun] = {}
        self.deleted_experiments: set[str] = set()
        self.repeatable: list[Callable[[], object]] = []
        # Two runs from the start, so that most steps have something to work on.
        for run_id in RUN_IDS[:2]:
            self.open_run_as(run_spec(run_id, run_id=run_id, experiment=EXPERIMENTS[0]))

    def teardown(self) -> None:
        """Close the store."""
        if hasattr(self, "adapter"):
            self.adapter.close()

    @property
    def store(self) -> TrackingStore:
        """The port under test."""
        assert self.adapter.tracking is not None
        return self.adapter.tracking

    def allowed(self, key: str) -> str:
        """Return the key, or another that the store allows."""
        pattern = self.capabilities.limits.key_pattern
        return key if pattern is None or re.fullmatch(pattern, key) else PLAIN_KEY

    def do(self, write: Callable[[], object]) -> None:
        """Make a write that the journal would repeat after a crash."""
        write()
        self.repeatable.append(write)

    @rule(
        run_id=RUNS, name=NAMES, start_time=st.integers(NOW_MS - 3, NOW_MS), tag=TEXTS, resume=st.booleans()
    )
    def open_run(self, run_id: str, name: str, start_time: int, tag: str, resume: bool) -> None:
        """Open a run, or take it up again."""
        spec = run_spec(
            run_id, run_id=run_id, experiment=name, start_time=start_time, tags={"tag": tag}, resume=resume
        )
        self.open_run_as(spec)

    def open_run_as(self, spec: RunSpec) -> None:
        model, name = self.runs.get(spec.run_id), spec.experiment_name
        if (model.is_gone if model else name in self.deleted_experiments) or (
            model and model.experiment in self.deleted_experiments
        ):
            self.refuses(lambda: self.store.open_run(spec))
            return
        self.do(lambda: self.store.open_run(spec))
        self.model_open(model, spec)

    def model_open(self, model: ModelRun | None, spec: RunSpec) -> None:
        if model is None:
            self.runs[spec.run_id] = ModelRun(
                experiment=spec.experiment_name, start_time=spec.start_time, tags=dict(spec.tags)
            )
        elif spec.resume:
            model.status, model.end_time = RunStatus.RUNNING, None
            model.tags.update(spec.tags)

    def write(self, run_id: str, batch: Batch) -> ModelRun | None:
        """Write a batch that must be accepted; None when the run is not there to take it."""
        model = self.runs.get(run_id)
        if model is None:
            try:
                self.store.write(batch)
            except NotFound:
                return None
            raise AssertionError("a write to an unknown run was accepted")
        if model.is_gone:
            self.refuses(lambda: self.store.write(batch))
            return None
        self.do(lambda: self.accepted(batch))
        return model

    def accepted(self, batch: Batch) -> None:
        assert self.store.write(batch).rejected == ()

    def refuses(self, write: Callable[[], object]) -> None:
        try:
            write()
        except Rejected:
            return
        raise AssertionError("a write to something that was deleted was accepted")

    @rule(
        run_id=RUNS,
        data=st.lists(
            st.tuples(
                st.sampled_from(KEYS), st.sampled_from([*FINITE_VALUES, *NON_FINITE_VALUES]), STEPS, TIMES
            ),
            min_size=1,
            max_size=6,
        ),
    )
    def log_metrics(self, run_id: str, data: list[tuple[str, str, int, int]]) -> None:
        """Write points."""
        values = FINITE_VALUES | NON_FINITE_VALUES
        unheld = self.capabilities.limits.metric_values_unheld
        points: list[Point] = [
            (self.allowed(key), values[name], step, at)
            for key, name, step, at in data
            if kind_of(values[name]) not in unheld
        ]
        model = self.write(run_id, batch_of(run_id, metrics=points))
        if model is None:
            return
        for key, value, step, at in points:
            model.points.setdefault(key, {}).setdefault((step, at, bits_of(value)), value)

    @rule(run_id=RUNS, key=st.sampled_from(KEYS), value=TEXTS)
    def log_param(self, run_id: str, key: str, value: str) -> None:
        """Write a param, which may be in conflict."""
        key = self.allowed(key)
        model = self.runs.get(run_id)
        batch = batch_of(run_id, params=[(key, value)])
        if model is not None and not model.is_gone and model.params.get(key, value) != value:
            assert not self.is_accepted(batch)
            return
        written = self.write(run_id, batch)
        if written is not None:
            written.params[key] = value

    def is_accepted(self, batch: Batch) -> bool:
        try:
            return not self.store.write(batch).rejected
        except Rejected:
            return False

    @rule(
        run_id=RUNS,
        changes=st.lists(st.tuples(st.sampled_from(KEYS), st.none() | TEXTS), min_size=1, max_size=4),
    )
    def set_tags(self, run_id: str, changes: list[tuple[str, str | None]]) -> None:
        """Set and delete tags."""
        changes = [(self.allowed(key), value) for key, value in changes]
        model = self.write(run_id, batch_of(run_id, tags=changes))
        if model is None:
            return
        for key, value in changes:
            model.tags.pop(key, None)
            if value is not None:
                model.tags[key] = value

    @rule(run_id=RUNS, status=STATUSES, end_time=st.integers(NOW_MS, NOW_MS + 9))
    def close_run(self, run_id: str, status: RunStatus, end_time: int) -> None:
        """Close a run."""
        model = self.runs.get(run_id)
        if model is None:
            return
        if model.is_gone:
            self.refuses(lambda: self.store.close_run(run_id, status=status, end_time=end_time))
            return
        self.do(lambda: self.store.close_run(run_id, status=status, end_time=end_time))
        model.status, model.end_time = status, end_time

    @precondition(lambda self: self.capabilities.supports(Feature.TRACKING_DELETE))
    @rule(run_id=RUNS, delete=st.booleans())
    def delete_or_restore_run(self, run_id: str, delete: bool) -> None:
        """Delete or restore a run of an experiment that is there."""
        model = self.runs.get(run_id)
        if model is None or model.experiment in self.deleted_experiments:
            return
        (self.store.delete_run if delete else self.store.restore_run)(run_id)
        model.deleted = delete
        self.repeatable.clear()

    @precondition(lambda self: self.capabilities.supports(Feature.TRACKING_DELETE))
    @rule(name=NAMES, delete=st.booleans())
    def delete_or_restore_experiment(self, name: str, delete: bool) -> None:
        """Delete or restore an experiment that has runs."""
        runs = [model for model in self.runs.values() if model.experiment == name]
        if not runs:
            return
        change = self.store.delete_experiment if delete else self.store.restore_experiment
        change(experiment_id_of(name))
        (self.deleted_experiments.add if delete else self.deleted_experiments.discard)(name)
        for model in runs:
            model.deleted_with_experiment = delete
        self.repeatable.clear()

    @rule(last=st.integers(1, 6))
    def repeat(self, last: int) -> None:
        """Say the last writes again, in order, as delivery does when it does not know how far it came."""
        for write in self.repeatable[-last:]:
            write()

    @rule()
    def crash(self) -> None:
        """Leave the store without closing it, and open it anew."""
        abandoned, self.adapter = self.adapter, self.open_adapter()
        self.release(abandoned)

    def release(self, abandoned: Adapter) -> None:
        """Release what a crash of a real process would release."""
        abandoned.close()

    @invariant()
    def runs_are_what_was_written(self) -> None:
        """``get_run`` agrees with the model."""
        for run_id, model in getattr(self, "runs", {}).items():
            run = self.store.get_run(run_id)
            assert run.info.experiment_id == experiment_id_of(model.experiment)
            assert (run.info.status, run.info.end_time) == (model.status, model.end_time)
            assert (run.info.start_time, run.info.run_name) == (model.start_time, model.tags[TAG_NAME])
            assert (run.info.lifecycle_stage is LifecycleStage.DELETED) == model.is_gone
            assert run.data.params == model.params
            assert {key: run.data.tags.get(key) for key in model.tags} == model.tags
            assert not [key for key in (*KEYS, PLAIN_KEY) if key in run.data.tags and key not in model.tags]
            assert {key: comparable(value) for key, value in run.data.metrics.items()} == model.last_values()

    @invariant()
    def histories_are_what_was_written(self) -> None:
        """``metric_history`` agrees with the model, in content and order."""
        if not hasattr(self, "runs") or not self.capabilities.supports(Feature.TRACKING_METRIC_HISTORY):
            return
        dedup = self.capabilities.supports(Feature.TRACKING_METRIC_DEDUP)
        for run_id, model in self.runs.items():
            for key in map(self.allowed, KEYS):
                stored = points_of(self.store.metric_history(run_id, key))
                assert [point[:2] for point in stored] == sorted(point[:2] for point in stored)
                assert sorted(stored if dedup else dict.fromkeys(stored)) == sorted(model.points.get(key, {}))

    @invariant()
    def runs_are_listed_in_order(self) -> None:
        """``list_runs`` agrees with the model for every stage."""
        if not hasattr(self, "runs"):
            return
        for name in EXPERIMENTS:
            for stage in (LifecycleStage.ACTIVE, LifecycleStage.DELETED, None):
                expected = [
                    (-model.start_time, run_id)
                    for run_id, model in self.runs.items()
                    if model.experiment == name
                    and (stage is None or model.is_gone == (stage is LifecycleStage.DELETED))
                ]
                page = self.store.list_runs(experiment_id_of(name), stage=stage)
                assert [run.info.run_id for run in page] == [run_id for _, run_id in sorted(expected)]
