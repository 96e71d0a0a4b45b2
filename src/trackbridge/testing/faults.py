"""A backend that misbehaves as often as you say, around any real one.

::

    store = faulty(store, transient=0.3, ambiguous=0.05, poison=lambda record: record.key == "bad")
    ...
    assert store.faults.counts["transient"] > 0

Probabilities are attributes of ``store.faults`` and may be changed between calls. Of every 100 calls with
the settings above about 30 raise ``Unavailable`` before anything is done, and 5 raise
``TimedOut(ambiguous=True)``, half of them after it was done. The same seed gives the same faults to the
same sequence of calls.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from trackbridge.domain.batches import Batch, InputAdded, MetricColumns, Receipt, Rejection, Setting
from trackbridge.errors import RateLimited, Rejected, TimedOut, Unavailable
from trackbridge.ports.adapter import Adapter

Port = TypeVar("Port")

POISON_REASON = "the record is poison"
_PORT_NAMES = ("tracking", "artifacts", "registry", "jobs", "deployments")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """One record of a batch, as a poison predicate sees it.

    ``kind`` is ``metric``, ``param``, ``tag`` or ``input``; an input's key is its data set's name.
    ``step`` and ``timestamp`` belong to metrics.
    """

    kind: str
    key: str
    value: object
    sequence: int
    step: int | None = None
    timestamp: int | None = None


@dataclass(kw_only=True)
class Faults:
    """What goes wrong, and how often it did.

    Args:
        transient: Probability that a call raises ``Unavailable`` and does nothing.
        rate_limited: Probability that it raises ``RateLimited`` and does nothing.
        ambiguous: Probability that it raises ``TimedOut(ambiguous=True)``.
        ambiguous_done: Share of those whose work was done before.
        partial: Probability that ``write`` makes half of the batch durable, then raises ``Unavailable``.
        retry_after_s: What ``RateLimited`` says.
        latency_s: Seconds that every call takes longer.
        poison: Predicate on ``BatchRecord``; a batch with one that fulfils it is rejected by ``write`` as a
            whole, without a word about which.
        rejects_per_record: The store does tell: poison comes back in ``Receipt.rejected``, all else is kept.
        methods: Names of the methods that fail; None is all of them.
        counts: ``calls`` in all, how many ``passed``, and each fault injected: ``transient``,
            ``rate_limited``, ``ambiguous_done``, ``ambiguous_not_done``, ``partial``, ``poison``.
    """

    transient: float = 0.0
    rate_limited: float = 0.0
    ambiguous: float = 0.0
    ambiguous_done: float = 0.5
    partial: float = 0.0
    retry_after_s: float | None = None
    latency_s: float = 0.0
    poison: Callable[[BatchRecord], bool] | None = None
    rejects_per_record: bool = False
    methods: frozenset[str] | None = None
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    sleep: Callable[[float], object] = time.sleep
    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        total = self.transient + self.rate_limited + self.ambiguous + self.partial
        if not 0.0 <= total <= 1.0:
            raise ValueError(f"the probabilities add up to {total}, which is not between 0 and 1")

    def draw(self, method: str) -> str:
        """Choose what happens to one call, and count it."""
        with self.lock:
            self.counts["calls"] += 1
            fault = self._chosen(method)
            self.counts[fault] += 1
            return fault

    def _chosen(self, method: str) -> str:
        if self.methods is not None and method not in self.methods:
            return "passed"
        chance = self.rng.random()
        partial = self.partial if method == "write" else 0.0
        done = self.ambiguous * self.ambiguous_done
        for fault, probability in (
            ("transient", self.transient),
            ("rate_limited", self.rate_limited),
            ("ambiguous_done", done),
            ("ambiguous_not_done", self.ambiguous - done),
            ("partial", partial),
        ):
            if chance < probability:
                return fault
            chance -= probability
        return "passed"

    def count(self, name: str, times: int = 1) -> None:
        """Count something that happened."""
        with self.lock:
            self.counts[name] += times


class FaultyPort:
    """A port object in front of another one. ``faults`` holds the probabilities and the counts."""

    def __init__(self, target: Any, faults: Faults) -> None:
        self.target = target
        self.faults = faults

    def __getattr__(self, name: str) -> Any:
        if name == "target":  # a copy that has no state yet
            raise AttributeError(name)
        member = getattr(self.target, name)
        if name.startswith("_") or not callable(member):
            return member

        def call(*arguments: Any, **options: Any) -> Any:
            return self._call(name, member, arguments, options)

        return call

    def _call(self, name: str, method: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        faults = self.faults
        if faults.latency_s:
            faults.sleep(faults.latency_s)
        fault = faults.draw(name)
        if fault == "transient":
            raise Unavailable("injected: the backend is down")
        if fault == "rate_limited":
            raise RateLimited("injected: too many calls", retry_after_s=faults.retry_after_s)
        if fault == "ambiguous_not_done":
            raise TimedOut("injected: no answer", ambiguous=True)
        is_write = name == "write" and len(arguments) == 1 and isinstance(arguments[0], Batch)
        if fault == "partial" and is_write:
            self._write(method, _first_half(arguments[0]))
            raise Unavailable("injected: the connection broke in the middle")
        result = self._write(method, arguments[0]) if is_write else method(*arguments, **options)
        if fault == "ambiguous_done":
            raise TimedOut("injected: no answer", ambiguous=True)
        return result

    def _write(self, method: Callable[[Batch], Receipt], batch: Batch) -> Receipt:
        poisoned = self._poisoned(batch)
        if not poisoned:
            return method(batch)
        self.faults.count("poison")
        if not self.faults.rejects_per_record:
            raise Rejected("injected: the batch holds something that is not accepted")
        receipt = method(_selected(batch, lambda sequence: sequence not in poisoned))
        ours = tuple(Rejection(sequence, POISON_REASON) for sequence in sorted(poisoned))
        return Receipt(rejected=receipt.rejected + ours)

    def _poisoned(self, batch: Batch) -> frozenset[int]:
        poison = self.faults.poison
        if poison is None:
            return frozenset()
        return frozenset(record.sequence for record in records_of(batch) if poison(record))


def faulty(
    port_object: Port,
    *,
    transient: float = 0.0,
    rate_limited: float = 0.0,
    ambiguous: float = 0.0,
    seed: int = 0,
    **options: Any,
) -> Port:
    """Return the port object behind faults; the keywords are those of ``Faults``.

    ``seed`` starts the random numbers, unless ``rng`` is given.
    """
    options.setdefault("rng", random.Random(seed))
    faults = Faults(transient=transient, rate_limited=rate_limited, ambiguous=ambiguous, **options)
    return cast("Port", FaultyPort(port_object, faults))


class FaultyAdapter:
    """An adapter whose ports all fail in the same way; ``check``, ``capabilities`` and ``close`` do not.

    The ports share one ``Faults``.
    """

    def __init__(self, adapter: Adapter, faults: Faults) -> None:
        self.target = adapter
        self.faults = faults
        for name in _PORT_NAMES:
            port_object = getattr(adapter, name)
            setattr(self, name, None if port_object is None else FaultyPort(port_object, faults))

    def __getattr__(self, name: str) -> Any:
        if name == "target":  # a copy that has no state yet
            raise AttributeError(name)
        return getattr(self.target, name)


def faulty_adapter(adapter: Adapter, faults: Faults) -> Adapter:
    """Return the adapter with faults in all of its ports."""
    return cast("Adapter", FaultyAdapter(adapter, faults))


def records_of(batch: Batch) -> Iterator[BatchRecord]:
    """Iterate over the records of a batch, one at a time."""
    for key, columns in batch.metrics.items():
        for row in range(len(columns)):
            yield BatchRecord(
                kind="metric",
                key=key,
                value=columns.values[row],
                sequence=columns.sequences[row],
                step=columns.steps[row],
                timestamp=columns.timestamps[row],
            )
    for kind, settings in (("param", batch.params), ("tag", batch.tags)):
        for setting in settings:
            yield BatchRecord(kind=kind, key=setting.key, value=setting.value, sequence=setting.sequence)
    for added in batch.inputs:
        yield BatchRecord(kind="input", key=added.dataset.name, value=added.dataset, sequence=added.sequence)


def _first_half(batch: Batch) -> Batch:
    kept = {record.sequence for number, record in enumerate(records_of(batch)) if number < len(batch) // 2}
    return _selected(batch, kept.__contains__)


def _selected(batch: Batch, keeps: Callable[[int], bool]) -> Batch:
    """Return a batch of the records whose sequence is kept."""

    def kept_settings(settings: list[Setting]) -> list[Setting]:
        return [setting for setting in settings if keeps(setting.sequence)]

    def kept_inputs(inputs: list[InputAdded]) -> list[InputAdded]:
        return [added for added in inputs if keeps(added.sequence)]

    metrics = {key: _selected_points(columns, keeps) for key, columns in batch.metrics.items()}
    return Batch(
        run_id=batch.run_id,
        metrics={key: columns for key, columns in metrics.items() if len(columns)},
        params=kept_settings(batch.params),
        tags=kept_settings(batch.tags),
        inputs=kept_inputs(batch.inputs),
    )


def _selected_points(columns: MetricColumns, keeps: Callable[[int], bool]) -> MetricColumns:
    selected = MetricColumns()
    for row, sequence in enumerate(columns.sequences):
        if keeps(sequence):
            selected.append(
                step=columns.steps[row],
                timestamp=columns.timestamps[row],
                value=columns.values[row],
                sequence=sequence,
            )
    return selected
