"""The value of a trial: what its run says of the metric, once its job has ended."""

from __future__ import annotations

import math

from trackbridge.domain.jobs import JobState, JobStatus
from trackbridge.domain.runs import Run
from trackbridge.domain.sweeps import ValueOf
from trackbridge.ports.tracking import TrackingStore

NAMES_SHOWN = 8


def value_of(
    run: Run, state: JobState, tracking: TrackingStore, *, metric: str, which: ValueOf
) -> tuple[float | None, str]:
    """Return the value of a trial, or None and the reason why it has none.

    Args:
        run: The trial's run, settled.
        state: How its job has ended.
        tracking: Where the run is.
        metric: The metric.
        which: Which of its points.
    """
    if state.status is not JobStatus.SUCCEEDED:
        code = f" with exit code {state.exit_code}" if state.exit_code is not None else ""
        return None, state.reason or f"its job is {state.status.value}{code}"
    last = run.data.metrics.get(metric)
    if last is None:
        names = sorted(run.data.metrics)[:NAMES_SHOWN]
        there = f"it has {', '.join(names)}" if names else "it has none at all"
        return None, f"its run has no metric {metric!r}; {there}"
    if which is ValueOf.LAST:
        value = last
    else:
        points = [
            point for point in tracking.metric_history(run.info.run_id, metric).values if point == point
        ]
        value = (min if which is ValueOf.MIN else max)(points, default=math.nan)
    if not math.isfinite(value):
        return None, f"the metric {metric!r} is {value}"
    return value, ""
