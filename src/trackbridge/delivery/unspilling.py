"""Runs as they were logged, whatever their store could not hold natively: the reading side of ``fitting``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sized
from typing import TypeVar

import msgspec

from trackbridge.delivery.fitting import escaped_key
from trackbridge.delivery.spills import (
    SPILL_FOLDER,
    Spill,
    decode_spills,
    shows_spills,
    spilled_metrics,
    unspill_data,
    unspill_history,
    unspill_inputs,
)
from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.batches import MetricColumns
from trackbridge.domain.paging import Page
from trackbridge.domain.runs import Run
from trackbridge.errors import Unsupported
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.capabilities import Capabilities, Feature
from trackbridge.ports.tracking import TrackingStore

Item = TypeVar("Item")


class StoredRuns:
    """The runs of one backend with their side-cars merged in.

    Args:
        adapter: The backend, opened, behind the call pipeline.
    """

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    @property
    def capabilities(self) -> Capabilities:
        """What the backend declares, which may change with what it turns out to lack."""
        return self._adapter.capabilities()

    @property
    def holds_everything(self) -> bool:
        """True when the backend keeps all records as they are, so that there are no side-cars."""
        capabilities = self.capabilities
        return capabilities.limits.change_nothing and capabilities.supports(Feature.TRACKING_DATASETS)

    def run(self, run_id: str) -> Run:
        """Return a run as it was logged.

        Raises:
            NotFound: There is no such run.
        """
        return self.unspilled(self._tracking.get_run(run_id))

    def unspilled(self, run: Run, spills: tuple[Spill, ...] | None = None) -> Run:
        """Return a run that the backend gave as it was logged.

        Args:
            run: As the backend has it.
            spills: Those of the run, where they were read already.
        """
        if self.holds_everything:
            return run
        spills = self.spills(run.info.run_id) if spills is None else spills
        histories = {key: self.history(run.info.run_id, key, spills) for key in spilled_metrics(spills)}
        return msgspec.structs.replace(
            run,
            data=unspill_data(run.data, spills, histories=histories),
            inputs=unspill_inputs(run.inputs, spills),
        )

    def listed(self, run: Run) -> Run:
        """Return a run of a listing as it was logged, as far as the listing itself shows that it was not.

        The last value of a metric may lie in a side-car that nothing points to: ``unspilled`` looks for it.
        """
        is_as_logged = self.holds_everything or not (shows_spills(run.data) or self._is_full(run))
        return run if is_as_logged else self.unspilled(run)

    def _is_full(self, run: Run) -> bool:
        """Tell whether a run has as many params or tags as it can have, so that more may lie elsewhere."""
        limits = self.capabilities.limits
        return _reaches(run.data.params, limits.params_per_run_max) or _reaches(
            run.data.tags, limits.tags_per_run_max
        )

    def history(self, run_id: str, key: str, spills: tuple[Spill, ...] | None = None) -> MetricColumns:
        """Return every point of a metric in order of step, then time.

        Args:
            run_id: The run.
            key: The metric, as it was logged.
            spills: Those of the run, where they were read already.
        """
        spills = self.spills(run_id) if spills is None else spills
        escaped = escaped_key(key, self.capabilities.limits)
        native = MetricColumns() if escaped is None else self._tracking.metric_history(run_id, escaped)
        return unspill_history(native, spills, key=key)

    def spills(self, run_id: str) -> tuple[Spill, ...]:
        """Return all that lies in the side-cars of a run."""
        if self.holds_everything or self._adapter.artifacts is None:
            return ()
        store = self._adapter.artifacts

        def page(token: str | None) -> Page[ArtifactInfo]:
            return store.list(run_id, SPILL_FOLDER, token=token)

        spills: list[Spill] = []
        for file in all_pages(page):
            with contextlib.closing(store.open(run_id, file.path)) as content:
                spills.extend(decode_spills(content.read()))
        return tuple(spills)

    @property
    def _tracking(self) -> TrackingStore:
        if self._adapter.tracking is None:
            raise Unsupported("the backend has no tracking", adapter=self.capabilities.adapter)
        return self._adapter.tracking


def _reaches(settings: Sized, most: int | None) -> bool:
    return most is not None and len(settings) >= most


def all_pages(read: Callable[[str | None], Page[Item]]) -> Iterator[Item]:
    """Yield the items of every page of a listing.

    Args:
        read: Returns the page of a token; None asks for the first.
    """
    token: str | None = None
    while True:
        page = read(token)
        yield from page
        token = page.token
        if token is None:
            return
