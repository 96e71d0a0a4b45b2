"""Telemetry for subscribers: every ten seconds one event that sums up the requests of a worker.

A request costs one count. Everything else happens on a thread, and subscribers run in processes of their own
(``trackbridge.events``): a hook that hangs, or burns the processor, changes nothing for those who ask.
"""

from __future__ import annotations

import math
import threading
from collections import Counter

from trackbridge.domain.events import REQUESTS_ANSWERED
from trackbridge.domain.serving import ServingSettings
from trackbridge.events import publish
from trackbridge.serving.observers import Answered

WINDOW_S = 10.0
STOP_S = 1.0
STEPS_PER_E = 50  # buckets of two percent: latencies are right within one percent
DURATION_S_MIN = 1e-6


class WindowTelemetry:
    """Counts answers, and publishes what was counted.

    Args:
        settings: The server's, whose ``name`` the events are about.
        window_s: Seconds that one event sums up.
    """

    def __init__(self, settings: ServingSettings, *, window_s: float = WINDOW_S) -> None:
        self._settings = settings
        self._window_s = window_s
        self._counts: Counter[tuple[int, int]] = Counter()  # by class of the status, and by bucket
        self._lock = threading.Lock()  # held for a count, or for taking them away; never longer
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trackbridge-windows", daemon=True)
        self._thread.start()

    def on_answered(self, answered: Answered) -> None:
        """Count one answer."""
        bucket = math.floor(math.log(max(answered.duration_s, DURATION_S_MIN)) * STEPS_PER_E)
        with self._lock:
            self._counts[answered.answer.status // 100, bucket] += 1

    def stop(self) -> None:
        """Publish what is left, and end."""
        self._stopping.set()
        self._thread.join(STOP_S)

    def _run(self) -> None:
        while not self._stopping.wait(self._window_s):
            self._publish()
        self._publish()

    def _publish(self) -> None:
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts:
            return
        by_class: Counter[int] = Counter()
        buckets: Counter[int] = Counter()
        for (status_class, bucket), count in counts.items():
            by_class[status_class] += count
            buckets[bucket] += count
        publish(
            REQUESTS_ANSWERED,
            subject=self._settings.name,
            data={
                "model": self._settings.model,
                "window_s": self._window_s,
                "requests": sum(buckets.values()),
                "errors": by_class[5],
                "refused": by_class[4],
                **{f"latency_p{percent}_ms": _quantile_ms(buckets, percent) for percent in (50, 95, 99)},
            },
        )


def _quantile_ms(buckets: Counter[int], percent: int) -> float:
    """Return the latency, in milliseconds, that so many percent of the requests do not exceed."""
    wanted = math.ceil(sum(buckets.values()) * percent / 100)
    for bucket in sorted(buckets):
        wanted -= buckets[bucket]
        if wanted <= 0:
            break
    return round(math.exp((bucket + 0.5) / STEPS_PER_E) * 1000, 3)
