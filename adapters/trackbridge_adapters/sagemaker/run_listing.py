"""Listings of runs: those with a record in the order of their keys, and those of others merged in.

The keys below ``experiment-runs/<experiment>`` are in the order of the starts, so a page reads as many
records as it has runs, and all of its last start. What SageMaker has of an experiment is searched once for
each listing: its index follows a few seconds behind, which is of no matter for what others made.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING

from trackbridge.domain.page_tokens import Place, listing_of, page_size, place_of, token_of
from trackbridge.domain.paging import Page
from trackbridge.domain.runs import LifecycleStage, Run
from trackbridge.domain.search import Query, matches, ordered
from trackbridge.errors import InvalidInput, NotFound
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.bucket import Bucket
from trackbridge_adapters.sagemaker.capabilities import PAGE_ITEMS_MAX
from trackbridge_adapters.sagemaker.clients import Clients
from trackbridge_adapters.sagemaker.names import RUN_TAG, key_part
from trackbridge_adapters.sagemaker.native_runs import Native
from trackbridge_adapters.sagemaker.run_records import (
    ExperimentRecord,
    RunRecord,
    decode,
    listing_key,
    listing_prefix,
    record_key,
    run_part,
    run_start,
)

if TYPE_CHECKING:
    from trackbridge_adapters.sagemaker.tracking import SageMakerTracking

ORDERED_RUNS_MAX = 10_000
READ_AHEAD_MAX = 256
SEARCH_ITEMS = 100
COMPONENTS_MAX = 20_000
"""Above what an experiment can hold at the default quotas: 300 trials of 50."""

_Order = tuple[int, str]


class Listings:
    """Listings of the runs of one place."""

    def __init__(self, tracking: SageMakerTracking, clients: Clients, bucket: Bucket) -> None:
        self._tracking = tracking
        self._clients = clients
        self._bucket = bucket

    def page(
        self,
        operation: str,
        experiment_ids: Sequence[str],
        query: Query,
        stage: LifecycleStage | None,
        max_results: int,
        token: str | None,
    ) -> Page[Run]:
        """Return a page of the runs that fulfil a query.

        Raises:
            InvalidInput: The token is of something else, or too many runs would have to be put in order.
        """
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=ADAPTER, operation=operation)
        listing = listing_of(operation, experiment_ids, query, stage)
        place = place_of(token, listing, adapter=ADAPTER, operation=operation, types=(int, str))
        if query.order_by:
            return self._sorted(operation, experiment_ids, query, stage, size, listing, place)
        found: list[Run] = []
        for run in self._matching(experiment_ids, query, stage, size, place):
            if len(found) == size:
                return Page(items=tuple(found), token=token_of(listing, list(_newest(found[-1]))))
            found.append(run)
        return Page(items=tuple(found))

    def _sorted(
        self,
        operation: str,
        experiment_ids: Sequence[str],
        query: Query,
        stage: LifecycleStage | None,
        size: int,
        listing: str,
        place: Place | None,
    ) -> Page[Run]:
        matching = self._matching(experiment_ids, query, stage, READ_AHEAD_MAX, None)
        found = list(islice(matching, ORDERED_RUNS_MAX + 1))
        if len(found) > ORDERED_RUNS_MAX:
            raise InvalidInput(
                f"more than {ORDERED_RUNS_MAX:,} runs would have to be put in order here",
                adapter=ADAPTER,
                operation=operation,
                hint="narrow the filter, name fewer experiments, or leave the order out",
            )
        start = place[0] if place else 0
        end = start + size
        items = tuple(ordered(found, query.order_by)[start:end])
        return Page(items=items, token=token_of(listing, [end]) if end < len(found) else None)

    def _matching(
        self,
        experiment_ids: Sequence[str],
        query: Query,
        stage: LifecycleStage | None,
        size: int,
        place: Place | None,
    ) -> Iterator[Run]:
        """Yield the runs that fulfil the filter, newest start first, then by id, those behind a place."""
        after = None if place is None else (place[0], place[1])
        parts = [self._of_experiment(each, size, after) for each in dict.fromkeys(experiment_ids)]
        for run in heapq.merge(*parts, key=_newest):
            if after is not None and _newest(run) <= after:
                continue
            if stage in (None, run.info.lifecycle_stage) and matches(query.filter, run):
                yield run

    def _of_experiment(self, experiment_id: str, size: int, after: _Order | None) -> Iterator[Run]:
        """Return the runs of an experiment, newest start first, then by id; at least those behind a place."""
        try:
            experiment = self._tracking.experiments.resolve(experiment_id)
        except NotFound:  # an unknown experiment has no runs
            return iter(())
        keys = list(self._bucket.list(listing_prefix(experiment.experiment_id)))
        listed = {run_part(key) for key in keys}
        added: dict[str, Native] = {}
        foreign: list[Run] = []
        for found in self._components(experiment):
            tags = {str(tag["Key"]): str(tag["Value"]) for tag in found.get("Tags") or ()}
            part = tags.get(RUN_TAG) or key_part(str(found["TrialComponentName"]))
            if part in listed:
                added[part] = found
            else:
                foreign.append(self._tracking.foreign_run(found, tags, experiment))
        if after is not None:
            keys = [key for key in keys if run_start(key) <= -after[0]]
        # Runs of one start are in the order of keys, which is not that of ids where these are unusual.
        by_start = groupby(self._kept(experiment, keys, added, size), lambda run: run.info.start_time)
        kept = (run for _, runs in by_start for run in sorted(runs, key=_newest))
        return heapq.merge(kept, sorted(foreign, key=_newest), key=_newest)

    def _kept(
        self, experiment: ExperimentRecord, keys: list[str], added: Mapping[str, Native], size: int
    ) -> Iterator[Run]:
        step = min(size + 2, READ_AHEAD_MAX)  # the next, and the one that tells that its start is another
        for start in range(0, len(keys), step):
            parts = [run_part(key) for key in keys[start : start + step]]
            read = self._bucket.get_many([record_key(part) for part in parts])
            for listed, part, (key, held) in zip(keys[start : start + step], parts, read, strict=True):
                if held is None:
                    continue
                record = decode(held[0], RunRecord, resource=self._bucket.address(key))
                # A key that does not match is of an attempt to open the run that somebody else was ahead of.
                if listing_key(experiment.experiment_id, record.start_time, record.run_id) == listed:
                    yield self._tracking.run_of(record, added.get(part), experiment)

    def _components(self, experiment: ExperimentRecord) -> Iterator[Native]:
        """Yield what SageMaker has of an experiment, with tags, parameters and metrics."""
        pages = self._clients.pages(
            "sagemaker",
            "Search",
            "Results",
            Resource="ExperimentTrialComponent",
            SearchExpression={
                "Filters": [
                    {"Name": "Parents.ExperimentName", "Operator": "Equals", "Value": experiment.native}
                ]
            },
            MaxResults=SEARCH_ITEMS,
        )
        return (item["TrialComponent"] for item in islice(pages, COMPONENTS_MAX))


def _newest(run: Run) -> _Order:
    return -run.info.start_time, run.info.run_id
