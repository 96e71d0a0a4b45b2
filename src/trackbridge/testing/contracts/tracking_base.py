"""What the parts of the tracking contract share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from trackbridge.delivery.fitting import split
from trackbridge.domain.batches import Batch, Rejection
from trackbridge.domain.ids import experiment_id_of
from trackbridge.domain.paging import Page
from trackbridge.domain.runs import LifecycleStage, Run, RunStatus
from trackbridge.errors import InvalidInput, Rejected
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.tracking import TrackingStore
from trackbridge.testing.contracts.base import Contract
from trackbridge.testing.contracts.samples import points_of, run_spec

Item = TypeVar("Item")

PAGES_MAX = 1000


class TrackingTests(Contract):
    """Access to the store, and writes that keep to the declared number of records per write."""

    @property
    def store(self) -> TrackingStore:
        """The port under test."""
        store = self.opened.tracking
        assert store is not None, "the adapter has no tracking port"
        return store

    @property
    def now(self) -> int:
        """A time that no limit of age refuses, in milliseconds."""
        return int(time.time() * 1000)

    def open_run(self, name: str = "run", **fields: object) -> str:
        """Open a run and return its id."""
        return self.store.open_run(run_spec(name, **fields)).info.run_id  # type: ignore[arg-type]

    def experiment_of(self, run_id: str) -> str:
        """Return the id of the run's experiment."""
        return self.store.get_run(run_id).info.experiment_id

    def write(self, batch: Batch) -> tuple[Rejection, ...]:
        """Write in as many parts as the limits ask for; return what was rejected."""
        parts = split(batch, self.limits)
        return tuple(rejection for part in parts for rejection in self.store.write(part).rejected)

    def write_all(self, batch: Batch) -> None:
        """Write what the store must accept as a whole."""
        assert self.write(batch) == ()

    def is_accepted(self, batch: Batch) -> bool:
        """Write one record; tell whether the store took it, refusing it in either of the two ways."""
        try:
            return not self.store.write(batch).rejected
        except Rejected:
            return False

    def history(self, run_id: str, key: str) -> list[tuple[int, int, int]]:
        """Return step, timestamp and bits of each point; repetitions left out where none is promised to be.

        Without ``tracking.metric_dedup`` a store may hold a point several times.
        """
        columns = self.store.metric_history(run_id, key)
        assert len(columns.sequences) == 0, "sequences are left empty"
        points = points_of(columns)
        if self.capabilities.supports(Feature.TRACKING_METRIC_DEDUP):
            return points
        return list(dict.fromkeys(points))

    def listed(self, experiment_id: str, stage: LifecycleStage | None = LifecycleStage.ACTIVE) -> list[str]:
        """Return the ids of the runs that are listed."""
        return [run.info.run_id for run in self.store.list_runs(experiment_id, stage=stage)]

    def close(self, run_id: str, status: RunStatus = RunStatus.FINISHED, end_time: int = 2) -> None:
        """Close a run."""
        self.store.close_run(run_id, status=status, end_time=end_time)

    def unchanged_by(self, run_id: str, write: Callable[[], object]) -> None:
        """Repeat a write that was done already, twice, and see that nothing changed."""
        before = self.store.get_run(run_id)
        write()
        write()
        assert same_run(self.store.get_run(run_id), before)


def same_run(one: Run, other: Run) -> bool:
    """Compare runs; a NaN equals a NaN."""
    return repr(one) == repr(other)


def all_pages(read: Callable[[str | None], Page[Item]], *, size: int) -> list[Item]:
    """Read a listing to its end; no page may be larger than asked for."""
    items: list[Item] = []
    token: str | None = None
    for _ in range(PAGES_MAX):
        page = read(token)
        assert len(page) <= size, f"a page of {size} was asked for, {len(page)} came"
        items.extend(page)
        token = page.token
        if token is None:
            return items
    raise AssertionError(f"the listing did not end within {PAGES_MAX} pages")


CONTRACT_EXPERIMENT_ID = experiment_id_of("contract")
"""Id of the experiment that ``run_spec`` names."""

GARBAGE_TOKENS = ("garbage", "", "0", "-1", "AAAA", "eyJhIjoxfQ==", "\0", "💥", "9" * 5000)


def pages_hold(
    whole: Sequence[object],
    read: Callable[[int, str | None], Page[Item]],
    *,
    sizes: Sequence[int],
    item: Callable[[Item], object] = lambda item: item,
) -> None:
    """See that pages of each size together hold the whole, in its order."""
    for size in sizes:
        paged = all_pages(partial(read, size), size=size)
        assert [item(found) for found in paged] == whole, f"in pages of {size}"


def refuses_garbage(read: Callable[[str], object], tokens: Sequence[str] = GARBAGE_TOKENS) -> None:
    """See that a listing refuses each token that nobody gave out."""
    taken = []
    for token in tokens:
        try:
            read(token)
        except InvalidInput:
            continue
        taken.append(token)
    assert taken == [], "these tokens were not given out, and taken"
