"""Points to and from SageMaker's metrics: what it can hold is sent in tens, and what it refuses is counted.

SageMaker holds no NaN and no infinity, steps from 0 to 2³¹-1, and takes times from 14 days ago to two hours
ahead. The chunks of a run hold every point; these calls only let Studio and AWS's SDK see them.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from trackbridge.errors import NotFound, Unavailable
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.clients import Clients
from trackbridge_adapters.sagemaker.limits import METRIC_AGE_S_MAX, METRIC_AHEAD_S_MAX, fits
from trackbridge_adapters.sagemaker.metric_chunks import Point, bits_of, value_of

POINTS_PER_CALL = 10
CALLS_AT_ONCE = 4
MARGIN_S = 120
"""Points this near to the bounds of time are not sent: the service's clock is not ours."""
STEP_MAX = 2**31 - 1
SENT_MAX = 8192
OVER_LIMIT, INTERNAL = "METRIC_LIMIT_EXCEEDED", "INTERNAL_ERROR"
CONFLICT, INVALID = "CONFLICT_ERROR", "VALIDATION_ERROR"
TRIES_AGAIN = frozenset({INTERNAL, CONFLICT})
TRUNCATED = "Truncated"
PAGES_MAX = 10_000

Sample = tuple[str, Point]


class NativeMetrics:
    """Metrics of components. Any thread may use it.

    Args:
        clients: The services.
        clock_ms: The time, for the points that are too old.
        exists: Whether there is a component of this name.

    Which calls have got through is remembered, in memory and for the last ones alone: what is written again
    after a break is not sent again.
    """

    def __init__(self, clients: Clients, clock_ms: Callable[[], int], exists: Callable[[str], bool]) -> None:
        self._clients = clients
        self._clock_ms = clock_ms
        self._exists = exists
        self._lock = threading.Lock()
        self._owed: OrderedDict[bytes, tuple[int, ...]] = OrderedDict()
        self._full: set[tuple[str, str]] = set()

    def send(self, component: str, points: Mapping[str, list[Point]]) -> dict[str, int]:
        """Send what SageMaker can hold.

        Returns:
            How many points it refused for good, by its code.

        Raises:
            NotFound: There is no such component.
            Unavailable: It could not keep some of them now; those alone are sent when this is called again.
        """
        samples = list(self._holdable(component, points))
        calls = [samples[at : at + POINTS_PER_CALL] for at in range(0, len(samples), POINTS_PER_CALL)]
        refused: Counter[str] = Counter()
        if len(calls) < 2:
            answers = [self._send(component, call) for call in calls]
        else:
            with ThreadPoolExecutor(min(CALLS_AT_ONCE, len(calls))) as pool:
                answers = list(pool.map(lambda call: self._send(component, call), calls))
        for answer in answers:
            refused.update(answer)
        return dict(refused)

    def history(self, arn: str, key: str, *, otherwise_ms: int) -> list[Point]:
        """Return the points that SageMaker has of a metric: the last value of each step.

        Points that were sent without a step come by the minute, as step 0. Steps have no time there:
        ``otherwise_ms`` stands for it.
        """
        by_step = self._series(arn, key, "IterationNumber", "IterationNumber")
        if by_step:
            return [(step, otherwise_ms, bits_of(value)) for step, value in by_step]
        by_time = self._series(arn, key, "Timestamp", "OneMinute")
        return [(0, at_s * 1000, bits_of(value)) for at_s, value in by_time]

    def _holdable(self, component: str, points: Mapping[str, list[Point]]) -> Iterator[Sample]:
        now_ms = self._clock_ms()
        oldest = now_ms - (METRIC_AGE_S_MAX - MARGIN_S) * 1000
        newest = now_ms + (METRIC_AHEAD_S_MAX - MARGIN_S) * 1000
        for key, held in points.items():
            if (component, key) in self._full or not fits(
                "sagemaker-metrics", "BatchPutMetrics", "MetricData.member.MetricName", key
            ):
                continue
            for point in held:
                step, timestamp, bits = point
                if 0 <= step <= STEP_MAX and oldest <= timestamp <= newest and math.isfinite(value_of(bits)):
                    yield key, point

    def _send(self, component: str, samples: list[Sample]) -> Counter[str]:
        """Send up to ten points; those that the service could not keep just now are sent once more."""
        name = hashlib.sha256(repr((component, samples)).encode("utf-8", "backslashreplace")).digest()
        with self._lock:
            owed = self._owed.get(name, tuple(range(len(samples))))
        refused: Counter[str] = Counter()
        for is_last in (False, True):
            if not owed:
                break
            failed = self._put(component, [samples[index] for index in owed])
            self._refuse_missing(component, failed, len(owed))
            for place, code in failed.items():
                if code not in TRIES_AGAIN or (is_last and code == CONFLICT):
                    refused[code] += 1
                if code == OVER_LIMIT and len(self._full) < SENT_MAX:
                    self._full.add((component, samples[owed[place]][0]))
            # A conflict that stays is one for good: something else is at this place.
            again = {INTERNAL} if is_last else TRIES_AGAIN
            owed = tuple(owed[place] for place, code in failed.items() if code in again)
            self._note(name, owed)
        if owed:
            raise Unavailable(
                f"SageMaker could not keep {len(owed)} points of metrics",
                adapter=ADAPTER,
                operation="sagemaker-metrics:BatchPutMetrics",
                resource=f"component {component}",
            )
        return refused

    def _refuse_missing(self, component: str, failed: Mapping[int, str], sent: int) -> None:
        """Raise where all points are invalid because there is nothing that they could belong to."""
        are_invalid = len(failed) == sent and all(code == INVALID for code in failed.values())
        if are_invalid and not self._exists(component):
            raise NotFound(
                f"there is no component {component}",
                adapter=ADAPTER,
                operation="sagemaker-metrics:BatchPutMetrics",
            )

    def _note(self, name: bytes, owed: tuple[int, ...]) -> None:
        with self._lock:
            self._owed[name] = owed
            self._owed.move_to_end(name)
            while len(self._owed) > SENT_MAX:
                self._owed.popitem(last=False)

    def _put(self, component: str, samples: list[Sample]) -> dict[int, str]:
        """Make one call; return the code of each point that was not kept, by its place."""
        data = [
            {"MetricName": key, "Timestamp": at / 1000, "Step": step, "Value": value_of(bits)}
            for key, (step, at, bits) in samples
        ]
        answer = self._clients.call(
            "sagemaker-metrics", "BatchPutMetrics", TrialComponentName=component, MetricData=data
        )
        errors = answer.get("Errors") or ()
        return {int(error.get("MetricIndex") or 0): str(error.get("Code", "")) for error in errors}

    def _series(self, arn: str, key: str, axis: str, period: str) -> list[tuple[int, float]]:
        found: list[tuple[int, float]] = []
        query: dict[str, Any] = {
            "MetricName": key,
            "ResourceArn": arn,
            "MetricStat": "Last",
            "Period": period,
            "XAxisType": axis,
        }
        for _ in range(PAGES_MAX):
            answer = self._clients.call("sagemaker-metrics", "BatchGetMetrics", MetricQueries=[query])
            (result,) = answer["MetricQueryResults"]
            page = list(zip(result["XAxisValues"], result["MetricValues"], strict=True))
            found += page
            if result["Status"] == "InternalError":
                raise Unavailable(
                    f"SageMaker could not read a metric: {result.get('Message', '')}",
                    adapter=ADAPTER,
                    operation="sagemaker-metrics:BatchGetMetrics",
                    resource=arn,
                )
            if result["Status"] != TRUNCATED or not page:
                break
            query["Start"] = page[-1][0] + 1
        return found
