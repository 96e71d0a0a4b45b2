"""Searching runs, experiments and data sets, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

import msgspec

from trackbridge.api.mlflow_ids import told_experiment_id
from trackbridge.domain import page_tokens
from trackbridge.domain.runs import Experiment, LifecycleStage, Run
from trackbridge.domain.search import (
    TAG_DATASET_CONTEXT,
    Query,
    matches_experiment,
    ordered_experiments,
    parse_experiment_query,
    parse_query,
)
from trackbridge.gateway.entities import Experiments, RunsPage, experiment_body, run_body
from trackbridge.gateway.errors import invalid
from trackbridge.gateway.routes import Route, Scope
from trackbridge.gateway.wire import Answer, Request, view_of

if TYPE_CHECKING:
    from trackbridge.gateway.gateway import Gateway

Item = TypeVar("Item")

RESULTS_DEFAULT = 1_000
RESULTS_MAX = 50_000
DATASET_EXPERIMENTS_MAX = 20
DATASETS_MAX = 1_000
DATASET_RUNS_MAX = 10_000
"""Runs that are looked at for data sets; there is no list of these."""
_STAGES = {"ACTIVE_ONLY": LifecycleStage.ACTIVE, "DELETED_ONLY": LifecycleStage.DELETED, "ALL": None}


class SearchRuns(Request):
    """``runs/search``."""

    experiment_ids: list[str] = msgspec.field(default_factory=list)
    filter: str | None = None
    run_view_type: str | int | None = None
    max_results: int | None = None
    order_by: list[str] = msgspec.field(default_factory=list)
    page_token: str | None = None


class SearchExperiments(Request):
    """``experiments/search``."""

    max_results: int | None = None
    page_token: str | None = None
    filter: str | None = None
    order_by: list[str] = msgspec.field(default_factory=list)
    view_type: str | int | None = None


class SearchDatasets(Request):
    """``experiments/search-datasets``."""

    experiment_ids: list[str] = msgspec.field(default_factory=list)


class DatasetSummary(Answer):
    """A data set that runs of an experiment read, in one role."""

    experiment_id: str
    name: str
    digest: str
    context: str | None = None


class DatasetSummaries(Answer):
    """The data sets of experiments."""

    dataset_summaries: list[DatasetSummary] = msgspec.field(default_factory=list)


def search_runs(gateway: Gateway, request: SearchRuns) -> RunsPage:
    """Return the runs that fulfil a filter, newest first unless ordered."""
    found, token = runs_page(
        gateway,
        gateway.experiments.ids(request.experiment_ids),
        parse_query(request.filter or "", tuple(request.order_by)),
        stage=_STAGES[view_of(request.run_view_type)],
        max_results=results_max(request.max_results),
        token=request.page_token or None,
    )
    return RunsPage([run_body(run) for run in found], token)


def runs_page(
    gateway: Gateway,
    experiment_ids: tuple[str, ...],
    query: Query,
    *,
    stage: LifecycleStage | None,
    max_results: int,
    token: str | None,
) -> tuple[list[Run], str | None]:
    """Return so many runs of a search, gathered from as many pages of the backend as that takes."""
    reader = gateway.client.reader
    page_max = reader.capabilities.limits.page_items_max
    found: list[Run] = []
    while True:
        left = max_results - len(found)
        if reader.can_search(query):  # else each page would read all runs again
            left = min(left, page_max)
        page = reader.search_runs(experiment_ids, query, stage=stage, max_results=left, token=token)
        found.extend(page)
        token = page.token
        if token is None or len(found) >= max_results:
            return found, token


def search_experiments(gateway: Gateway, request: SearchExperiments) -> Experiments:
    """Return the experiments that fulfil a filter, newest first unless ordered."""
    query = parse_experiment_query(request.filter or "", tuple(request.order_by))
    found = [
        experiment
        for experiment in gateway.experiments.all(_STAGES[view_of(request.view_type)])
        if query.filter is None or matches_experiment(query.filter, _as_told(experiment))
    ]
    in_order = ordered_experiments(found, query.order_by)
    listing = page_tokens.listing_of("experiments", query, request.view_type)
    most = results_max(request.max_results or 0)  # mlflow has no default here
    page, token = cut(in_order, most, request.page_token, listing)
    return Experiments([experiment_body(experiment) for experiment in page], token)


def _as_told(experiment: Experiment) -> Experiment:
    """Return an experiment with the id that clients know, which is what their filters name."""
    told = told_experiment_id(experiment.experiment_id)
    return msgspec.structs.replace(experiment, experiment_id=told)


def search_datasets(gateway: Gateway, request: SearchDatasets) -> DatasetSummaries:
    """Return the data sets that runs of experiments read."""
    if not request.experiment_ids:
        raise invalid("SearchDatasets request must specify at least one experiment_id.")
    if len(request.experiment_ids) > DATASET_EXPERIMENTS_MAX:
        raise invalid(
            f"SearchDatasets request cannot specify more than {DATASET_EXPERIMENTS_MAX} experiment_ids. "
            f"Received {len(request.experiment_ids)} experiment_ids."
        )
    runs, _ = runs_page(
        gateway,
        gateway.experiments.ids(request.experiment_ids),
        Query(),
        stage=None,
        max_results=DATASET_RUNS_MAX,
        token=None,
    )
    found = {(item.experiment_id, item.name, item.digest, item.context): item for item in _summaries(runs)}
    return DatasetSummaries(list(found.values())[:DATASETS_MAX])


def _summaries(runs: list[Run]) -> Iterator[DatasetSummary]:
    for run in runs:
        experiment_id = told_experiment_id(run.info.experiment_id)
        for dataset in run.inputs.dataset_inputs:
            context = dataset.tags.get(TAG_DATASET_CONTEXT)
            yield DatasetSummary(experiment_id, dataset.name, dataset.digest, context)


def results_max(given: int | None) -> int:
    """Return how many results are asked for.

    Raises:
        Refused: Less than one, or more than mlflow's server gives.
    """
    if given is None:
        return RESULTS_DEFAULT
    if not 1 <= given <= RESULTS_MAX:
        bound = "a positive integer" if given < 1 else f"at most {RESULTS_MAX}"
        raise invalid(f"Invalid value {given} for parameter 'max_results' supplied. It must be {bound}")
    return given


def cut(
    items: list[Item], max_results: int, token: str | None, listing: str
) -> tuple[list[Item], str | None]:
    """Return one page of a list that is here as a whole, and the token of the next.

    Raises:
        InvalidInput: The token was not given out by this listing.
    """
    place = page_tokens.place_of(token or None, listing, adapter="gateway", operation="search", types=(int,))
    start = 0 if place is None else int(place[0])
    end = start + max_results
    more = page_tokens.token_of(listing, [end]) if end < len(items) else None
    return items[start:end], more


ROUTES = (
    Route("POST", "runs/search", search_runs, SearchRuns, Scope.READ),
    Route("POST", "experiments/search", search_experiments, SearchExperiments, Scope.READ),
    Route("GET", "experiments/search", search_experiments, SearchExperiments, Scope.READ),
    Route("POST", "experiments/search-datasets", search_datasets, SearchDatasets, Scope.READ),
)
