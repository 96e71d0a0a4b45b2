"""The histories of metrics for curves; those of runs that have ended are kept, within a bound."""

from __future__ import annotations

import threading
from collections import OrderedDict

from trackbridge.api.client import Client
from trackbridge.domain.batches import MetricColumns
from trackbridge.domain.runs import Run

POINTS_MAX = 2_000_000
"""Points that are kept: 24 bytes each."""

_Key = tuple[str, str, int | None, str]


class Histories:
    """What was read last: zooming, smoothing and another axis ask for the same history again."""

    def __init__(self, points_max: int = POINTS_MAX) -> None:
        self._points_max = points_max
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, MetricColumns] = OrderedDict()

    def of(self, client: Client, run: Run, metric: str) -> MetricColumns:
        """Return every point of a metric of a run, in order of step, then time."""
        last = repr(run.data.metrics.get(metric))  # a run that has ended still takes points
        key = (run.info.run_id, metric, run.info.end_time, last)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept
        columns = client.get_metric_columns(run.info.run_id, metric)
        if run.info.status.is_final:
            self._keep(key, columns)
        return columns

    def _keep(self, key: _Key, columns: MetricColumns) -> None:
        with self._lock:
            self._kept[key] = columns
            while sum(map(len, self._kept.values())) > self._points_max:
                self._kept.popitem(last=False)
