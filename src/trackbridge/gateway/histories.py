"""Every point of a metric, read once for all of its pages.

A client asks for a long history page by page. The backend gives it as a whole, in columns, and it is kept
until the next page is asked for: for a minute, and so many points altogether at the most.
"""

from __future__ import annotations

import operator
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from trackbridge.api.client import Client
from trackbridge.domain.batches import MetricColumns
from trackbridge.errors import NotFound

KEPT_S = 60.0
KEPT_POINTS_MAX = 2_000_000
"""48 MB: a point is three numbers of 64 bits."""


@dataclass(frozen=True, slots=True)
class _Kept:
    at: float
    columns: MetricColumns


class Histories:
    """Reads histories, in the order in which mlflow pages through them: time, then step, then value."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()

    def read(self, run_id: str, key: str, *, is_delivered: bool = False) -> MetricColumns:
        """Return every point as the backend has it now, in order of step, then time.

        A run that is not has no points, as with mlflow.

        Args:
            run_id: The run.
            key: The metric.
            is_delivered: Whether what was logged has been delivered for this request already.
        """
        reader = self._client.reader
        try:
            return reader.stored.history(run_id, key) if is_delivered else reader.metric_history(run_id, key)
        except NotFound:
            return MetricColumns()

    def begin(self, run_id: str, key: str) -> MetricColumns:
        """Return every point as the backend has it now, in mlflow's order."""
        return in_order_of_time(self.read(run_id, key))

    def resume(self, run_id: str, key: str) -> MetricColumns:
        """Return the points for a later page: those of the page before, while they are kept."""
        with self._lock:
            kept = self._kept.pop((run_id, key), None)
        if kept is not None and time.monotonic() - kept.at < KEPT_S:
            return kept.columns
        return self.begin(run_id, key)

    def keep(self, run_id: str, key: str, columns: MetricColumns) -> None:
        """Keep points for the next page."""
        now = time.monotonic()
        with self._lock:
            self._kept[run_id, key] = _Kept(now, columns)
            self._kept.move_to_end((run_id, key))
            while self._kept and (self._points() > KEPT_POINTS_MAX or self._oldest_age_s(now) > KEPT_S):
                self._kept.popitem(last=False)

    def _points(self) -> int:
        return sum(len(kept.columns) for kept in self._kept.values())

    def _oldest_age_s(self, now: float) -> float:
        return now - next(iter(self._kept.values())).at


def in_order_of_time(columns: MetricColumns) -> MetricColumns:
    """Return points in order of time, then step, then value; they come in order of step, then time."""
    steps, timestamps, values = columns.steps, columns.timestamps, columns.values
    is_by_time = all(map(operator.le, timestamps, timestamps[1:]))
    if is_by_time and all(map(operator.lt, steps, steps[1:])):
        return columns
    places = sorted(
        range(len(columns)),
        key=lambda place: (timestamps[place], steps[place], values[place] != values[place], values[place]),
    )
    found = MetricColumns()
    found.steps.extend(steps[place] for place in places)
    found.timestamps.extend(timestamps[place] for place in places)
    found.values.extend(values[place] for place in places)
    return found
