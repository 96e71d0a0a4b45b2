"""What the store says after ``bridge demo``, held against what the trainings say."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from trackbridge.cli.demo_proof import Comparison, compare, newest_time, stored_points
from trackbridge.cli.demo_sweep import Training
from trackbridge.errors import BridgeError, NotFound

if TYPE_CHECKING:
    from trackbridge.api.client import Client
    from trackbridge.api.results import Run

CLOSING_S_MAX = 20.0
POLL_S = 0.05
OBJECTIVE = "validation_accuracy"


@dataclass(frozen=True)
class Result:
    """One training, and its run as it stands in the store. ``newest_ms`` is the time of its last point."""

    training: Training
    run: Run
    comparison: Comparison
    newest_ms: int

    @property
    def objective(self) -> float:
        """Its validation accuracy at the last epoch that it finished."""
        return self.run.data.metrics[OBJECTIVE]


def read_result(client: Client, training: Training) -> Result:
    """Wait until a run is closed and all of it delivered, and compare it with the training's account.

    Raises:
        BridgeError: It is not closed within ``CLOSING_S_MAX``.
    """
    run = _closed_run(client, training.run_id)
    assert training.account is not None
    comparison = compare(training.account, stored_points(client, training.run_id))
    return Result(training, run, comparison, newest_time(client, training.run_id))


def _closed_run(client: Client, run_id: str) -> Run:
    deadline = time.monotonic() + CLOSING_S_MAX
    run = _find(client, run_id)
    while run is None or not run.info.status.is_final:
        if time.monotonic() > deadline:
            state = "not in the store" if run is None else f"still {run.info.status}"
            raise BridgeError(
                f"run {run_id} is {state} {CLOSING_S_MAX:.0f} s after its program ended",
                hint="see: bridge sync status",
            )
        time.sleep(POLL_S)
        run = _find(client, run_id)
    return run


def _find(client: Client, run_id: str) -> Run | None:
    try:
        return client.get_run(run_id)
    except NotFound:  # its delivery has not begun
        return None


def best_of(results: Sequence[Result]) -> Result:
    """Return the training with the best validation accuracy, of those that were not killed."""
    finished = [result for result in results if result.training.killed_ms is None]
    return max(finished, key=lambda result: result.objective)


def killed_of(results: Sequence[Result]) -> Result:
    """Return the training that was killed."""
    return next(result for result in results if result.training.killed_ms is not None)


def call_us(results: Sequence[Result]) -> float:
    """Return the median time of a call of ``log_metric`` in the trainings, in microseconds."""
    accounts = (result.training.account for result in results)
    return median(elapsed for account in accounts if account for elapsed in account.elapsed_ns) / 1000


def result_record(result: Result) -> dict[str, Any]:
    """Return a result as a JSON object."""
    comparison, info = result.comparison, result.run.info
    return {
        "name": result.training.configuration.name,
        "run_id": info.run_id,
        "status": info.status.value,
        OBJECTIVE: result.objective,
        "points_returned": comparison.returned,
        "points_stored": comparison.stored,
        "missing": len(comparison.missing),
        "doubled": len(comparison.doubled),
        "unknown": len(comparison.unknown),
        "kept_under_way": comparison.kept_under_way,
        "newest_point_ms": result.newest_ms,
        "end_time_ms": info.end_time,
        "killed_ms": result.training.killed_ms,
    }


def check(results: Sequence[Result]) -> None:
    """See that the proof holds.

    Raises:
        BridgeError: A point is missing, doubled or unknown, or a run was not closed as it should.
    """
    broken = [failure for result in results for failure in failures(result)]
    if broken:
        raise BridgeError(
            f"the proof failed: {'; '.join(broken)}",
            hint="please report it with the output of: bridge demo --json",
        )


def failures(result: Result) -> Iterator[str]:
    """Tell in what the store differs from what the training's own account says."""
    name, info = result.training.configuration.name, result.run.info
    for kind in ("missing", "doubled", "unknown"):
        points = getattr(result.comparison, kind)
        if points:
            yield f"{name}: {len(points):,} points are {kind}, first {points[0].key} at step {points[0].step}"
    killed_ms = result.training.killed_ms
    expected = "FINISHED" if killed_ms is None else "KILLED"
    if info.status.value != expected:
        yield f"{name}: the run is {info.status}, not {expected}"
    elif killed_ms is not None and not result.newest_ms <= (info.end_time or 0) <= killed_ms:
        yield f"{name}: the run ended at {info.end_time} ms, not between its last point and its death"
