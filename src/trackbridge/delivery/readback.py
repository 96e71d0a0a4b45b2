"""Which points of a batch a store has already, for stores that would take them twice.

After a timeout nobody knows whether the batch was written. A store that keeps a point once, however often
it is sent, gets it again. The others are read back first.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import replace

from trackbridge.domain.batches import Batch, MetricColumns
from trackbridge.ports.tracking import TrackingStore

_BITS = struct.Struct("<d")


def without_present(batch: Batch, store: TrackingStore) -> Batch:
    """Return the batch without the points that the store has. The rest of it may be repeated anyway."""
    metrics = {
        key: rest
        for key, columns in batch.metrics.items()
        if len(rest := _absent(columns, store.metric_history(batch.run_id, key)))
    }
    return replace(batch, metrics=metrics)


def _absent(columns: MetricColumns, present: MetricColumns) -> MetricColumns:
    known = set(_identities(present))
    missing = [index for index, identity in enumerate(_identities(columns)) if identity not in known]
    return MetricColumns(
        steps=array("q", [columns.steps[index] for index in missing]),
        timestamps=array("q", [columns.timestamps[index] for index in missing]),
        values=array("d", [columns.values[index] for index in missing]),
        sequences=array("Q", [columns.sequences[index] for index in missing]),
    )


def _identities(columns: MetricColumns) -> list[tuple[int, int, bytes]]:
    """A point is its step, its time and the bits of its value."""
    rows = zip(columns.steps, columns.timestamps, columns.values, strict=True)
    return [(step, timestamp, _BITS.pack(value)) for step, timestamp, value in rows]
