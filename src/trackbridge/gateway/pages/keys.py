"""Which keys and values the newest runs of experiments have: for columns to choose, and for completion."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from trackbridge.api.client import Client

SAMPLE_RUNS = 200
VALUES_MAX = 20
KEYS_MAX = 500
KEPT_S = 30.0
KEPT_MAX = 50


@dataclass(frozen=True)
class Seen:
    """Keys by kind (``metrics``, ``params``, ``tags``), sorted, and values by the name of a column."""

    keys: dict[str, list[str]] = field(default_factory=dict)
    values: dict[str, list[str]] = field(default_factory=dict)


class KeysSeen:
    """The keys of experiments, asked for at most every 30 seconds; of the 50 looked at last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, ...], tuple[float, Seen]] = OrderedDict()

    def of(self, client: Client, experiments: tuple[str, ...]) -> Seen:
        """Return what the newest 200 runs of experiments have."""
        now = time.monotonic()
        with self._lock:
            kept = self._kept.get(experiments)
        if kept is not None and now - kept[0] < KEPT_S:
            return kept[1]
        seen = _seen(client, experiments)
        with self._lock:
            self._kept[experiments] = (now, seen)
            self._kept.move_to_end(experiments)
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return seen


def _seen(client: Client, experiments: tuple[str, ...]) -> Seen:
    runs = (
        client.search_runs(experiments, run_view_type="all", max_results=SAMPLE_RUNS) if experiments else []
    )
    keys: dict[str, set[str]] = {"metrics": set(), "params": set(), "tags": set()}
    values: dict[str, dict[str, None]] = {}
    for run in runs:
        keys["metrics"].update(run.data.metrics)
        for kind, settings in (("params", run.data.params), ("tags", run.data.tags)):
            keys[kind].update(settings)
            for key, value in settings.items():
                _add(values, f"{kind}.{key}", value)
        _add(values, "run_name", run.info.run_name)
        _add(values, "user_id", run.info.user_id)
    return Seen(
        {kind: sorted(found)[:KEYS_MAX] for kind, found in keys.items()},
        {name: sorted(found) for name, found in values.items()},
    )


def _add(values: dict[str, dict[str, None]], name: str, value: str) -> None:
    found = values.setdefault(name, {})
    if len(found) < VALUES_MAX and value and len(value) <= 100:
        found[value] = None
