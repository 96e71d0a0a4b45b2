"""Runs of the source as they were listed a moment ago, so that they are not asked for one by one again."""

from __future__ import annotations

import threading

from trackbridge.domain.runs import Run

VALUES_MAX = 40_000
"""Params, tags, metrics and data sets of all that is held; some 300 bytes each. The rest is asked for."""


class ListedRuns:
    """Runs by id, each to be taken once. Any thread may use it."""

    def __init__(self, *, most: int = VALUES_MAX) -> None:
        self._left = most
        self._runs: dict[str, Run] = {}
        self._lock = threading.Lock()

    def note(self, run: Run) -> None:
        """Hold a run, while there is room."""
        with self._lock:
            count = _values_of(run)
            if run.info.run_id not in self._runs and count <= self._left:
                self._left -= count
                self._runs[run.info.run_id] = run

    def clear(self) -> None:
        """Hold none any longer: what follows is newer."""
        with self._lock:
            self._left += sum(map(_values_of, self._runs.values()))
            self._runs.clear()

    def take(self, run_id: str) -> Run | None:
        """Return a run that is held, and hold it no longer."""
        with self._lock:
            run = self._runs.pop(run_id, None)
            self._left += 0 if run is None else _values_of(run)
            return run


def _values_of(run: Run) -> int:
    data = run.data
    return 10 + len(data.params) + len(data.tags) + len(data.metrics) + len(run.inputs.dataset_inputs)
