"""Telemetry for subscribers: every ten seconds what a process has answered, and a sample of its requests.

A request costs a few counts. Everything else happens on a thread, and subscribers and sinks run in processes
of their own (``trackbridge.events``): one that hangs, or burns the processor, changes nothing for those who
ask. The sink ``cloudwatch`` alone is served here: it is a line on stdout.
"""

from __future__ import annotations

import math
import threading
import time
import zlib
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable

import msgspec

from trackbridge.domain.events import REQUESTS_ANSWERED, REQUESTS_SCORED
from trackbridge.domain.serving import ScoredRequest, ServingSettings, TelemetryWindow
from trackbridge.errors import BridgeError
from trackbridge.events import publish
from trackbridge.resolve.config import Settings
from trackbridge.serving import embedded_metrics
from trackbridge.serving.metrics import LATENCY_BUCKETS_S
from trackbridge.serving.observers import Answered

STOP_S = 1.0
STEPS_PER_E = 50  # buckets of two percent: latencies are right within one percent
DURATION_S_MIN = 1e-6
REQUESTS_MAX = 2_000
"""How many requests of a window are told one by one; the others are only counted."""
BATCH_REQUESTS = 200
HASH_RANGE = 1 << 32


class WindowTelemetry:
    """Counts answers, and publishes what was counted.

    Args:
        settings: The server's, whose ``name`` and ``model`` it is about, and whose ``window_s`` it sums up.
        captured: Returns how many payloads this process has kept so far.
    """

    def __init__(self, settings: ServingSettings, *, captured: Callable[[], int] = lambda: 0) -> None:
        self._name, self._model = settings.name, settings.model
        self._window_s = settings.window_s
        self._captured, self._captured_before = captured, 0
        sinks, percent = _configured()
        self._is_embedding = embedded_metrics.SINK in sinks
        self._threshold = HASH_RANGE * percent / 100
        self._counts = _Counts()
        self._lock = threading.Lock()  # held for a count, or for taking them away; never longer
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trackbridge-windows", daemon=True)
        self._thread.start()

    def on_answered(self, answered: Answered) -> None:
        """Count one answer."""
        with self._lock:
            self._counts.add(answered)
        if self._threshold and zlib.crc32(answered.request_id.encode()) < self._threshold:
            self._counts.kept.append(self._told(answered))  # the oldest makes room

    def on_queue(self, waiting: int) -> None:
        """Take how many requests wait."""
        if waiting > self._counts.queued_max:
            self._counts.queued_max = waiting

    def stop(self) -> None:
        """Publish what is left, and end."""
        self._stopping.set()
        self._thread.join(STOP_S)

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stopping.wait(self._window_s):
            self._publish(self._window_s)
            began = time.monotonic()
        self._publish(round(time.monotonic() - began, 3))

    def _publish(self, window_s: float) -> None:
        with self._lock:
            counts, self._counts = self._counts, _Counts()
        if not counts.statuses:
            return
        window = self._summed_up(counts, window_s)
        data = msgspec.to_builtins(window)
        subject, time_ms = data.pop("name"), data.pop("time_ms")
        publish(REQUESTS_ANSWERED, subject=subject, data=data, time_ms=time_ms)
        if self._is_embedding:
            embedded_metrics.write(window)
        self._publish_requests(list(counts.kept))

    def _publish_requests(self, kept: list[ScoredRequest]) -> None:
        for begin in range(0, len(kept), BATCH_REQUESTS):
            told = [msgspec.to_builtins(request) for request in kept[begin : begin + BATCH_REQUESTS]]
            for fields in told:
                del fields["name"], fields["model"]  # the event says them once
            publish(REQUESTS_SCORED, subject=self._name, data={"model": self._model, "requests": told})

    def _told(self, answered: Answered) -> ScoredRequest:
        """Return an answered request without its payload."""
        answer = answered.answer
        return ScoredRequest(
            name=self._name,
            model=self._model,
            request_id=answered.request_id,
            time_ms=time.time_ns() // 1_000_000,
            status=answer.status,
            duration_ms=round(answered.duration_s * 1000, 3),
            scoring_ms=round(answer.scoring_s * 1000, 3),
            rows=answer.rows,
            request_bytes=len(answered.body),
            response_bytes=len(answer.body),
        )

    def _summed_up(self, counts: _Counts, window_s: float) -> TelemetryWindow:
        statuses = counts.statuses
        captured = self._captured()
        newly, self._captured_before = captured - self._captured_before, captured
        bounds_ms = (*(round(bound_s * 1000, 3) for bound_s in LATENCY_BUCKETS_S), None)
        return TelemetryWindow(
            name=self._name,
            model=self._model,
            time_ms=time.time_ns() // 1_000_000,
            window_s=window_s,
            requests=statuses.total(),
            errors=sum(count for status, count in statuses.items() if status >= 500),
            refused=sum(count for status, count in statuses.items() if 400 <= status < 500),
            latency_p50_ms=_quantile_ms(counts.buckets, 50),
            latency_p95_ms=_quantile_ms(counts.buckets, 95),
            latency_p99_ms=_quantile_ms(counts.buckets, 99),
            latency_sum_ms=round(counts.latency_s * 1000, 3),
            latency_min_ms=round(counts.latency_min_s * 1000, 3),
            latency_max_ms=round(counts.latency_max_s * 1000, 3),
            latency_counts=tuple(zip(bounds_ms, counts.histogram, strict=True)),
            statuses={str(status): count for status, count in sorted(statuses.items())},
            rows=counts.rows,
            scoring_ms=round(counts.scoring_s * 1000, 3),
            queued_max=counts.queued_max,
            captured=newly,
        )


class _Counts:
    """What is counted in one window."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.buckets: Counter[int] = Counter()
        self.histogram = [0] * (len(LATENCY_BUCKETS_S) + 1)
        self.latency_s = self.latency_max_s = self.scoring_s = 0.0
        self.latency_min_s = math.inf
        self.rows = self.queued_max = 0
        self.kept: deque[ScoredRequest] = deque(maxlen=REQUESTS_MAX)

    def add(self, answered: Answered) -> None:
        """Count one answer."""
        duration_s, answer = answered.duration_s, answered.answer
        self.statuses[answer.status] += 1
        self.buckets[math.floor(math.log(max(duration_s, DURATION_S_MIN)) * STEPS_PER_E)] += 1
        self.histogram[bisect_left(LATENCY_BUCKETS_S, duration_s)] += 1
        self.latency_s += duration_s
        self.latency_min_s = min(self.latency_min_s, duration_s)
        self.latency_max_s = max(self.latency_max_s, duration_s)
        self.scoring_s += answer.scoring_s
        self.rows += answer.rows


def _configured() -> tuple[tuple[str, ...], float]:
    """Return the sinks, and the percentage of requests to tell; a wrong setting stops no server."""
    try:
        settings = Settings()
        return settings.value("telemetry_sinks"), settings.value("telemetry_requests_percent")
    except BridgeError:  # ``bridge doctor`` tells of it, and the container's start
        return (), 0.0


def _quantile_ms(buckets: Counter[int], percent: int) -> float:
    """Return the latency, in milliseconds, that so many percent of the requests do not exceed."""
    wanted = math.ceil(sum(buckets.values()) * percent / 100)
    for bucket in sorted(buckets):
        wanted -= buckets[bucket]
        if wanted <= 0:
            break
    return round(math.exp((bucket + 0.5) / STEPS_PER_E) * 1000, 3)
