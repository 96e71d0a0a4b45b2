"""What delivery hands to a tracking store: the records of one run, gathered by kind.

Metrics come as columns, because a store that takes a million points should not pay for a million
objects. Order inside a batch does not matter, but for tags: the last value of a tag is its value.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from trackbridge.domain.runs import DatasetInput


def _int64() -> array[int]:
    return array("q")


def _float64() -> array[float]:
    return array("d")


def _uint64() -> array[int]:
    return array("Q")


@dataclass(slots=True, kw_only=True, repr=False)
class MetricColumns:
    """Points of one metric of one run as four columns of equal length.

    ``steps`` and ``timestamps`` are int64 (``array('q')``), ``values`` float64 kept by their bits
    (``array('d')``), ``sequences`` the journal's number of each record (``array('Q')``).
    """

    steps: array[int] = field(default_factory=_int64)
    timestamps: array[int] = field(default_factory=_int64)
    values: array[float] = field(default_factory=_float64)
    sequences: array[int] = field(default_factory=_uint64)

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        span = f", steps {self.steps[0]:,} to {self.steps[-1]:,}" if self.steps else ""
        return f"<MetricColumns {len(self):,} points{span}>"

    def append(self, *, step: int, timestamp: int, value: float, sequence: int) -> None:
        """Add one point."""
        self.steps.append(step)
        self.timestamps.append(timestamp)
        self.values.append(value)
        self.sequences.append(sequence)


@dataclass(frozen=True, slots=True)
class Setting:
    """A param or a tag. A tag's value of None deletes it."""

    key: str
    value: str | None
    sequence: int


@dataclass(frozen=True, slots=True)
class InputAdded:
    """A data set that the run read."""

    dataset: DatasetInput
    sequence: int


@dataclass(slots=True, kw_only=True)
class Batch:
    """Records of one run."""

    run_id: str
    metrics: dict[str, MetricColumns] = field(default_factory=dict)
    params: list[Setting] = field(default_factory=list)
    tags: list[Setting] = field(default_factory=list)
    inputs: list[InputAdded] = field(default_factory=list)

    def __len__(self) -> int:
        points = sum(map(len, self.metrics.values()))
        return points + len(self.params) + len(self.tags) + len(self.inputs)


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record that the store will never take, by its journal sequence, and why."""

    sequence: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Every record of the batch is now durable in the store, but for those in ``rejected``."""

    rejected: tuple[Rejection, ...] = ()
