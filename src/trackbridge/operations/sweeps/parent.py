"""The run of the sweep itself: the parent of its trials' runs, with what is searched and what was found."""

from __future__ import annotations

import json
import time

from trackbridge.domain.batches import Batch, MetricColumns, Setting
from trackbridge.domain.ids import experiment_id_of
from trackbridge.domain.runs import TAG_SOURCE_TYPE, TAG_USER, RunSpec, RunStatus
from trackbridge.errors import NotFound
from trackbridge.operations.sweeps.definition import SweepDefinition
from trackbridge.operations.sweeps.records import Trial
from trackbridge.ports.capabilities import Limits
from trackbridge.ports.tracking import TrackingStore

TAG_SWEEP = "bridge.sweep"
TAG_TRIAL = "bridge.sweep.trial"
SOURCE_TYPE = "SWEEP"


def open_parent(definition: SweepDefinition, tracking: TrackingStore, limits: Limits) -> None:
    """Open the parent run, or set it back to RUNNING."""
    experiment_id = experiment_id_of(definition.experiment)
    tracking.ensure_experiment(definition.experiment, experiment_id=experiment_id)
    tracking.open_run(
        RunSpec(
            run_id=definition.run_id,
            experiment_id=experiment_id,
            experiment_name=definition.experiment,
            name=definition.name,
            user=definition.user,
            start_time=now_ms(),
            tags=_tags(definition, limits),
            resume=True,
        )
    )


def note_progress(
    definition: SweepDefinition,
    tracking: TrackingStore,
    limits: Limits,
    counts: dict[str, int],
    best: Trial | None,
) -> None:
    """Write the counts of trials and the best one to the parent run; of its metric, the best value so far."""
    tags = {f"{TAG_SWEEP}.{name}": str(count) for name, count in counts.items()}
    batch = Batch(run_id=definition.run_id)
    if best is not None and best.value is not None:
        tags |= {
            f"{TAG_SWEEP}.best.run_id": best.run_id,
            f"{TAG_SWEEP}.best.trial": str(best.number),
            f"{TAG_SWEEP}.best.value": repr(best.value),
            f"{TAG_SWEEP}.best.params": json.dumps(best.params),
        }
        points = batch.metrics.setdefault(definition.metric, MetricColumns())
        ended = counts["complete"] + counts["failed"]
        points.append(step=ended, timestamp=best.end_time or 0, value=best.value, sequence=0)
    batch.tags.extend(Setting(name, _fitting(value, limits), 0) for name, value in tags.items())
    tracking.write(batch)


def close_parent(
    definition: SweepDefinition, tracking: TrackingStore, status: RunStatus, end_time: int
) -> None:
    """Close the parent run."""
    tracking.close_run(definition.run_id, status=status, end_time=end_time)


def status_of(definition: SweepDefinition, tracking: TrackingStore) -> RunStatus | None:
    """Return the status of the parent run; None where there is none."""
    try:
        return tracking.get_run(definition.run_id).info.status
    except NotFound:
        return None


def now_ms() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _tags(definition: SweepDefinition, limits: Limits) -> dict[str, str]:
    user = {TAG_USER: definition.user} if definition.user else {}
    return {
        TAG_SOURCE_TYPE: SOURCE_TYPE,
        **user,
        **definition.tags,
        **_definition_tags(definition, limits),
    }


def _definition_tags(definition: SweepDefinition, limits: Limits) -> dict[str, str]:
    tags = {
        TAG_SWEEP: definition.key,
        f"{TAG_SWEEP}.sampler": definition.sampler.value,
        f"{TAG_SWEEP}.metric": definition.metric,
        f"{TAG_SWEEP}.mode": definition.mode.value,
        f"{TAG_SWEEP}.seed": str(definition.seed),
        f"{TAG_SWEEP}.space": json.dumps({name: str(item) for name, item in definition.space.items()}),
    }
    return {name: _fitting(value, limits) for name, value in tags.items()}


def _fitting(value: str, limits: Limits) -> str:
    """Return a tag's value as long as the backend takes it; the sweep's folder has all of it."""
    longest = limits.tag_value_chars_max
    return value if longest is None or len(value) <= longest else f"{value[: longest - 1]}…"
