"""Points that were written twice are there twice where nobody says that they are not.

The MLflow server behind keeps one of them; how often each came is counted here, and its histories are
answered with the repetitions.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import Any

from trackbridge.testing.emulators.front import Result, json_result

Point = tuple[str, str, int, int, float]


class RepeatedPoints:
    """How often each point was written. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: Counter[Point] = Counter()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._times.clear()

    def see(self, route: str, request: dict[str, Any]) -> None:
        """Count the points of a request that was taken."""
        points = request.get("metrics") or () if route == "runs/log-batch" else ()
        if route == "runs/log-metric":
            points = (request,)
        with self._lock:
            self._times.update(_point(str(request["run_id"]), point) for point in points)

    def repeated_points(self) -> int:
        """Return how many points are there more than once."""
        with self._lock:
            return sum(times > 1 for times in self._times.values())

    def repeated(self, request: dict[str, Any], answer: Result) -> Result:
        """Return a page of a history with its repetitions."""
        page = json.loads(answer.body)
        run = str(request.get("run_id") or request.get("run_uuid"))
        with self._lock:
            page["metrics"] = [
                point
                for point in page.get("metrics") or ()
                for _ in range(max(1, self._times[_point(run, point)]))
            ]
        return json_result(200, page)


def _point(run: str, point: dict[str, Any]) -> Point:
    step, timestamp = int(point.get("step") or 0), int(point.get("timestamp") or 0)
    return run, str(point.get("key")), step, timestamp, float(point.get("value") or 0)
