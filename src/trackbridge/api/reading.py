"""Reading runs: what this process has open from memory, the rest from the first destination.

Before the destination is asked, what was logged is delivered to it (see ``Session.drain``). What it could
not hold natively, and delivery put into side-cars, is merged back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from trackbridge.api.session import Session
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.calls.policy import CallPolicy
from trackbridge.delivery.connect import open_uri
from trackbridge.delivery.unspilling import StoredRuns, all_pages
from trackbridge.domain.batches import MetricColumns
from trackbridge.domain.ids import is_minted
from trackbridge.domain.paging import Page
from trackbridge.domain.records import OpenMode
from trackbridge.domain.runs import Experiment, LifecycleStage, Run, RunData
from trackbridge.domain.search import (
    Query,
    comparisons,
    matches,
    matches_experiment,
    ordered,
    ordered_experiments,
)
from trackbridge.errors import Exhausted, InvalidInput, NotFound, Transient, Unsupported
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import Capabilities, Feature
from trackbridge.ports.tracking import TrackingStore
from trackbridge.resolve.destinations import Destination
from trackbridge.resolve.home import bridge_home

Item = TypeVar("Item")

RUNS_FILTERED_HERE_MAX = 10_000
READ_S_MAX = 30.0
"""How long a call that reads is tried at the most, in seconds."""


class Reader:
    """Reads from the first destination of a session."""

    def __init__(self, session: Session, destination: Destination, *, call_s_max: float = READ_S_MAX) -> None:
        self._session = session
        self._destination = destination
        self._call_s_max = call_s_max
        self._adapter: Adapter | None = None

    def hurried(self, call_s_max: float) -> Reader:
        """Return a reader of the same backend whose calls are tried for so many seconds at the most."""
        return Reader(self._session, self._destination, call_s_max=call_s_max)

    @property
    def adapter(self) -> Adapter:
        """The backend, opened at the first use, behind the call pipeline."""
        if self._adapter is None:
            adapter = open_uri(self._destination.uri, settings=self._session.settings)
            self._adapter = wrap_adapter(adapter, CallPolicy.for_waiting_people(self._call_s_max))
        return self._adapter

    @property
    def capabilities(self) -> Capabilities:
        """What the backend declares."""
        return self.adapter.capabilities()

    @property
    def stored(self) -> StoredRuns:
        """The runs of the backend with their side-cars merged in, without delivery before."""
        return StoredRuns(self.adapter)

    @property
    def tracking(self) -> TrackingStore:
        """The tracking port, without delivery before."""
        if self.adapter.tracking is None:
            raise Unsupported(
                "the backend has no tracking",
                adapter=self.capabilities.adapter,
                resource=self._destination.uri.text,
                hint="name a place that keeps runs; a registry alone is for BRIDGE_REGISTRY_URI",
            )
        return self.adapter.tracking

    @property
    def artifacts(self) -> ArtifactStore:
        """The artifact port, without delivery before."""
        if self.adapter.artifacts is None:
            raise Unsupported("the backend stores no artifacts", resource=self._destination.uri.text)
        return self.adapter.artifacts

    def drain(self) -> None:
        """Deliver first what was logged.

        Raises:
            Unavailable: Not all of it could be delivered in time.
        """
        self._session.drain(self._session.settings.value("read_wait_s"))

    # Runs.

    def get_run(self, run_id: str) -> Run:
        """Return a run; one that this process has open never waits for the destination."""
        recorder = self._session.recorders.get(run_id)
        if recorder is None:
            self.drain()
            return self.stored.unspilled(self._stored_run(run_id))
        known = recorder.snapshot()
        if recorder.opened.how is OpenMode.CREATE:
            return known
        try:
            self.drain()
            return _merged(known, self.stored.unspilled(self.tracking.get_run(run_id)))
        except (Transient, Exhausted, NotFound):
            return known

    def _stored_run(self, run_id: str) -> Run:
        """Return a run, also by the id that it had where it was copied from, as the ledger remembers it."""
        try:
            return self.tracking.get_run(run_id)
        except NotFound:
            if is_minted(run_id):  # such ids are kept by copies
                raise
            from trackbridge.operations.migrate.ledger import copies_of

            home = bridge_home(self._session.settings.around, warn=False)
            copies = copies_of(home, run_id, target=self._destination.uri.text)
            if len(copies) != 1:
                raise
            return self.tracking.get_run(copies[0])

    def metric_history(self, run_id: str, key: str) -> MetricColumns:
        """Return every point of a metric in order of step, then time."""
        self.drain()
        return self.stored.history(run_id, key)

    def search_runs(
        self,
        experiment_ids: tuple[str, ...],
        query: Query,
        *,
        stage: LifecycleStage | None,
        max_results: int,
        token: str | None,
    ) -> Page[Run]:
        """Search where the backend can, else here over at most 10,000 runs.

        Raises:
            InvalidInput: More runs than that would have to be read.
        """
        self.drain()
        if self.can_search(query):
            found = self.tracking.search_runs(
                experiment_ids, query=query, stage=stage, max_results=max_results, token=token
            )
        else:
            runs = [run for run in self._all_runs(experiment_ids, stage) if _fulfils(query, run)]
            found = _page(ordered(runs, query.order_by), max_results, token)
        if self.stored.holds_everything:
            return found
        return msgspec.structs.replace(found, items=tuple(map(self.stored.listed, found.items)))

    def can_search(self, query: Query) -> bool:
        """Tell whether the backend evaluates a query itself, a page at a time."""
        capabilities = self.capabilities
        if not capabilities.supports(Feature.TRACKING_SEARCH):
            return False
        return query.filter is None or comparisons(query.filter) <= capabilities.search_comparisons

    def _all_runs(self, experiment_ids: tuple[str, ...], stage: LifecycleStage | None) -> Iterator[Run]:
        count = 0
        for experiment_id in experiment_ids:
            for run in self._runs_of(experiment_id, stage):
                count += 1
                if count > RUNS_FILTERED_HERE_MAX:
                    raise InvalidInput(
                        f"the search would read more than {RUNS_FILTERED_HERE_MAX:,} runs, because "
                        f"{self.capabilities.adapter} cannot evaluate this filter itself",
                        operation="search_runs",
                        hint="name fewer experiments, or use only conditions that the backend takes",
                    )
                yield run

    def _runs_of(self, experiment_id: str, stage: LifecycleStage | None) -> Iterator[Run]:
        return all_pages(lambda token: self.tracking.list_runs(experiment_id, stage=stage, token=token))

    # Experiments.

    def get_experiment(self, experiment_id: str) -> Experiment:
        """Return an experiment by our id or the backend's.

        Raises:
            NotFound: There is none.
        """
        return self._experiment(
            lambda found: experiment_id in (found.experiment_id, found.native_id), experiment_id
        )

    def find_experiment(self, name: str) -> Experiment | None:
        """Return an experiment by name, deleted or not, or None."""
        try:
            return self._experiment(lambda found: found.name == name, name)
        except NotFound:
            return None

    def glimpse_experiment(self, name: str) -> Experiment | None:
        """Return an experiment by name as the store has it now, or None; nothing is waited for.

        None, too, where the store does not answer now or lists none.
        """
        try:
            return next((found for found in self._all_experiments(stage=None) if found.name == name), None)
        except (Transient, Exhausted, Unsupported):
            return None

    def glimpse_run(self, run_id: str) -> Run | None:
        """Return a run; None when the store does not answer now.

        Raises:
            NotFound: There is no such run.
        """
        try:
            return self.get_run(run_id)
        except (Transient, Exhausted):
            return None

    def _experiment(self, condition: Callable[[Experiment], bool], what: str) -> Experiment:
        self.drain()
        for found in self._all_experiments(stage=None):
            if condition(found):
                return found
        raise NotFound(
            f"there is no experiment {what!r}",
            adapter=self.capabilities.adapter,
            hint="see: bridge experiments list",
        )

    def search_experiments(
        self, query: Query, *, stage: LifecycleStage | None, max_results: int, token: str | None
    ) -> Page[Experiment]:
        """Return the experiments that fulfil a query."""
        self.drain()
        found = [
            experiment
            for experiment in self._all_experiments(stage)
            if query.filter is None or matches_experiment(query.filter, experiment)
        ]
        return _page(ordered_experiments(found, query.order_by), max_results, token)

    def _all_experiments(self, stage: LifecycleStage | None) -> Iterator[Experiment]:
        return all_pages(lambda token: self.tracking.list_experiments(stage=stage, token=token))


def _merged(known: Run, stored: Run) -> Run:
    """Put what this process logged over what the store had before."""
    data = RunData(
        metrics={**stored.data.metrics, **known.data.metrics},
        moments={**stored.data.moments, **known.data.moments},
        params={**stored.data.params, **known.data.params},
        tags={**stored.data.tags, **known.data.tags},
    )
    return Run(info=stored.info, data=data, inputs=stored.inputs)


def _fulfils(query: Query, run: Run) -> bool:
    return query.filter is None or matches(query.filter, run)


def _page(items: list[Item], max_results: int, token: str | None) -> Page[Item]:
    """Cut one page out of a list; the token is the index of its first item."""
    try:
        start = int(token or 0)
    except ValueError as error:
        raise InvalidInput(f"the page token {token!r} was not given out by this search") from error
    end = start + max_results
    return Page(items=tuple(items[start:end]), token=str(end) if end < len(items) else None)
