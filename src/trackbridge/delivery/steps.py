"""A window of journal records as the steps that deliver it.

Order is kept where it matters: a run is opened before its data, and closed after them; a tag's values
keep their order. Everything else of a run in the window goes into one batch, also across its artifacts.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

from trackbridge.domain.batches import Batch, InputAdded, MetricColumns, Setting
from trackbridge.domain.records import (
    ArtifactLogged,
    ExperimentOpened,
    InputLogged,
    MetricLogged,
    MetricsLogged,
    ModelRegistered,
    ParamsSet,
    Record,
    RunClosed,
    RunOpened,
    TagsSet,
)

ControlRecord = RunOpened | RunClosed | ExperimentOpened | ArtifactLogged | ModelRegistered


@dataclass(frozen=True, slots=True)
class BatchStep:
    """Write the data of one run. ``last_ms`` is the time of its last record."""

    batch: Batch
    last_ms: int


@dataclass(frozen=True, slots=True)
class ControlStep:
    """Everything else: open or close a run, open an experiment, store an artifact, register a model."""

    sequence: int
    record: ControlRecord


Step = BatchStep | ControlStep


def plan_steps(records: Iterable[tuple[int, Record]]) -> list[Step]:
    """Return the steps that deliver the records, in order."""
    steps: list[Step] = []
    gathered: dict[str, _Gathered] = {}
    for sequence, record in records:
        if type(record) is MetricLogged:  # first, and in place: nearly every record is one
            run = gathered.get(record.run_id)
            if run is None:
                run = gathered[record.run_id] = _Gathered(record.run_id)
            points = run.points.get(record.key)
            if points is None:
                points = run.points[record.key] = []
            points.append((sequence, record))
        elif isinstance(record, ControlRecord):
            run = None
            if not isinstance(record, (ExperimentOpened, ArtifactLogged)):
                run = gathered.pop(record.run_id, None)
            if run is not None:
                steps.append(run.step())
            steps.append(ControlStep(sequence, record))
        elif not isinstance(record, MetricLogged):
            run = gathered.setdefault(record.run_id, _Gathered(record.run_id))
            run.add(sequence, record)
    steps.extend(run.step() for run in gathered.values())
    return steps


@dataclass(slots=True)
class _Gathered:
    """Data records of one run on their way into a batch."""

    run_id: str
    points: dict[str, list[tuple[int, MetricLogged]]] = field(default_factory=dict)
    params: list[Setting] = field(default_factory=list)
    tags: list[Setting] = field(default_factory=list)
    inputs: list[InputAdded] = field(default_factory=list)
    last_ms: int = 0

    def add(self, sequence: int, record: MetricsLogged | ParamsSet | TagsSet | InputLogged) -> None:
        if isinstance(record, MetricsLogged):
            rows = zip(record.keys, record.values, record.timestamps, record.steps, strict=True)
            for number, (key, value, timestamp, step) in enumerate(rows, sequence):
                point = MetricLogged(self.run_id, key, value, timestamp, step)
                self.points.setdefault(key, []).append((number, point))
            return
        self.last_ms = max(self.last_ms, record.timestamp)
        if isinstance(record, InputLogged):
            self.inputs.append(InputAdded(record.dataset, sequence))
        elif isinstance(record, ParamsSet):
            self.params.extend(_settings(sequence, record.params))
        else:
            self.tags.extend(_settings(sequence, record.tags))

    def step(self) -> BatchStep:
        metrics = {key: _columns(points) for key, points in self.points.items()}
        batch = Batch(
            run_id=self.run_id, metrics=metrics, params=self.params, tags=self.tags, inputs=self.inputs
        )
        newest = max((max(columns.timestamps) for columns in metrics.values()), default=0)
        return BatchStep(batch, max(self.last_ms, newest))


def _settings(sequence: int, values: dict[str, str] | dict[str, str | None]) -> Iterable[Setting]:
    return (Setting(key, value, number) for number, (key, value) in enumerate(values.items(), sequence))


def _columns(points: list[tuple[int, MetricLogged]]) -> MetricColumns:
    return MetricColumns(
        steps=array("q", [point.step for _, point in points]),
        timestamps=array("q", [point.timestamp for _, point in points]),
        values=array("d", [point.value for _, point in points]),
        sequences=array("Q", [sequence for sequence, _ in points]),
    )


def records_of(batch: Batch, sequences: frozenset[int] | None = None) -> list[tuple[int, Record]]:
    """Return the records of a batch, one for each point, param, tag and input, in order of sequence.

    Args:
        batch: The batch.
        sequences: Only these; None for all.
    """
    found: list[tuple[int, Record]] = []
    for key, columns in batch.metrics.items():
        rows = zip(columns.sequences, columns.values, columns.timestamps, columns.steps, strict=True)
        found.extend(
            (sequence, MetricLogged(batch.run_id, key, value, timestamp, step))
            for sequence, value, timestamp, step in rows
            if sequences is None or sequence in sequences
        )
    others: list[tuple[int, Record]] = [
        *((item.sequence, ParamsSet(batch.run_id, 0, {item.key: item.value or ""})) for item in batch.params),
        *((item.sequence, TagsSet(batch.run_id, 0, {item.key: item.value})) for item in batch.tags),
        *((item.sequence, InputLogged(batch.run_id, 0, item.dataset)) for item in batch.inputs),
    ]
    found.extend(item for item in others if sequences is None or item[0] in sequences)
    return sorted(found, key=lambda item: item[0])


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """Split a batch of at least two records into two of about the same size."""
    records = records_of(batch)
    middle = len(records) // 2
    return _batch(batch.run_id, records[:middle]), _batch(batch.run_id, records[middle:])


def _batch(run_id: str, records: list[tuple[int, Record]]) -> Batch:
    steps = plan_steps(records)
    assert len(steps) == 1, "data of one run make one batch"
    step = steps[0]
    assert isinstance(step, BatchStep)
    return step.batch
