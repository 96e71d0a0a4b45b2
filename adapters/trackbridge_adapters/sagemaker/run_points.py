"""Points of runs: sent to SageMaker as far as it can hold them, and kept in chunks that hold them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from trackbridge_adapters.sagemaker import foreign_runs
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.metric_chunks import Point, bits_of, merged, unpack
from trackbridge_adapters.sagemaker.native_metrics import NativeMetrics
from trackbridge_adapters.sagemaker.native_runs import Native
from trackbridge_adapters.sagemaker.run_records import RunRecord, chunk_key, metrics_prefix

LISTINGS_MAX = 5
"""How often chunks are listed anew that were merged while they were read."""
Points = dict[str, list[Point]]


class RunPoints:
    """Points of the runs of one place.

    Args:
        backend: The place.
        exists: Whether SageMaker has a component of this name.
    """

    def __init__(self, backend: Backend, exists: Callable[[str], bool]) -> None:
        self._bucket = backend.bucket
        self._metrics = NativeMetrics(backend.clients, backend.context.clock_ms, exists)

    def is_kept(self, record: RunRecord, name: str) -> bool:
        """Tell whether a chunk is there, and so was sent to SageMaker."""
        return self._bucket.get(chunk_key(record.run_id, name)) is not None

    def send(self, record: RunRecord, points: Points) -> dict[str, int]:
        """Send points to SageMaker; return how many it refused for good, by its code.

        Raises:
            NotFound: There is no component.
        """
        return self._metrics.send(record.component.lower(), points)

    def keep(self, record: RunRecord, name: str, data: bytes) -> None:
        """Keep a chunk."""
        self._bucket.put(chunk_key(record.run_id, name), data)

    def merge(self, record: RunRecord, names: Iterable[str]) -> list[str]:
        """Write one chunk that holds what several do; return the keys of those that may go then."""
        keys = [chunk_key(record.run_id, name) for name in names]
        held = [(self._bucket.address(key), found[0]) for key, found in self._bucket.get_many(keys) if found]
        if not held:  # somebody else has merged them
            return keys
        name, data = merged(held)
        self.keep(record, name, data)
        return [key for key in keys if not key.endswith(name)]

    def kept(self, record: RunRecord, key: str) -> list[Point]:
        """Return the points of a metric that are in chunks, some perhaps twice, in no order."""
        prefix = metrics_prefix(record.run_id)
        for _ in range(LISTINGS_MAX):
            chunks = list(self._bucket.get_many(self._bucket.list(prefix)))
            if all(held is not None for _, held in chunks):
                break
            # Some were merged since they were listed.
        return [
            point
            for name, held in chunks
            if held is not None
            for point in unpack(held[0], key, resource=self._bucket.address(name))
        ]

    def of_component(self, found: Native, key: str) -> list[Point]:
        """Return what SageMaker has of a metric: of each step the last value."""
        summary = foreign_runs.summaries_of(found).get(key)
        if summary is None:
            return []
        arn = str(summary.get("SourceArn") or found["TrialComponentArn"])
        at_ms = foreign_runs.points_time_ms(found, summary)
        points = self._metrics.history(arn, key, otherwise_ms=at_ms)
        return points or [(0, at_ms, bits_of(float(summary["Last"])))]
