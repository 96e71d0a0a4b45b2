"""Listings of runs in the port's order: newest start first, then by our id, which the server does not know.

The server sorts by start and breaks ties by its own ids. So a group of runs that started in the same
millisecond is read whole and sorted here, and the next page begins at a time and an id of ours instead of
at a token of the server's.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from trackbridge.domain.page_tokens import listing_of, page_size, place_of, token_of
from trackbridge.domain.paging import Page
from trackbridge.domain.runs import LifecycleStage, Run
from trackbridge.domain.search import (
    And,
    Comparison,
    Entity,
    Expression,
    Operator,
    Query,
    matches,
    ordered,
)
from trackbridge.errors import InvalidInput, NotFound
from trackbridge_adapters._mlflow_rest.capabilities import PAGE_ITEMS_MAX
from trackbridge_adapters._mlflow_rest.conversions import STAGE_VIEWS
from trackbridge_adapters._mlflow_rest.wire import Json

if TYPE_CHECKING:
    from trackbridge_adapters._mlflow_rest.tracking import RestTracking

ORDERED_RUNS_MAX = 10_000
_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,200}")
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9 _./:+-]{1,250}")
_PLAIN_NUMBER = re.compile(r"[0-9]+\.[0-9]+")  # the server reads no exponents
_NUMBER_OPERATORS = frozenset({Operator.EQ, Operator.LT, Operator.LE, Operator.GT, Operator.GE})


def listed_runs(
    tracking: RestTracking,
    experiment_ids: tuple[str, ...],
    stage: LifecycleStage | None,
    max_results: int,
    token: str | None,
    operation: str,
    query: Query,
) -> Page[Run]:
    """Return a page of the runs that fulfil a filter, newest first."""
    adapter = tracking.service.adapter
    size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=adapter, operation=operation)
    listing = listing_of(operation, experiment_ids, stage, query)
    place = place_of(token, listing, adapter=adapter, operation=operation, types=(int, str))
    found: list[Run] = []
    for run in _matching(tracking, experiment_ids, stage, query, size, newest=place[0] if place else None):
        if place is not None and _key(run) <= (-place[0], place[1]):
            continue
        if len(found) == size:
            last = found[-1].info
            return Page(items=tuple(found), token=token_of(listing, [last.start_time, last.run_id]))
        found.append(run)
    return Page(items=tuple(found))


def searched_runs(
    tracking: RestTracking,
    experiment_ids: tuple[str, ...],
    stage: LifecycleStage | None,
    max_results: int,
    token: str | None,
    operation: str,
    query: Query,
) -> Page[Run]:
    """Return a page of the runs that fulfil a query with an order of its own, which is made here."""
    adapter = tracking.service.adapter
    size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=adapter, operation=operation)
    listing = listing_of(operation, experiment_ids, stage, query)
    place = place_of(token, listing, adapter=adapter, operation=operation, types=(int,))
    found: list[Run] = []
    for run in _matching(tracking, experiment_ids, stage, query, PAGE_ITEMS_MAX):
        if len(found) == ORDERED_RUNS_MAX:
            raise InvalidInput(
                f"more than {ORDERED_RUNS_MAX:,} runs would have to be put in order here",
                adapter=adapter,
                operation=operation,
                hint="narrow the filter, name fewer experiments, or leave the order out",
            )
        found.append(run)
    start = place[0] if place else 0
    end = start + size
    items = tuple(ordered(found, query.order_by)[start:end])
    return Page(items=items, token=token_of(listing, [end]) if end < len(found) else None)


def _matching(
    tracking: RestTracking,
    experiment_ids: tuple[str, ...],
    stage: LifecycleStage | None,
    query: Query,
    size: int,
    newest: int | None = None,
) -> Iterator[Run]:
    """Yield the runs that fulfil the filter, newest start first, then by our id."""
    natives = list(_native_experiments(tracking, experiment_ids))
    if not natives:
        return
    conditions = pushed_down(query.filter)
    if newest is not None:
        conditions.append(f"attributes.start_time <= {newest}")
    body: Json = {
        "experiment_ids": natives,
        "filter": " AND ".join(conditions),
        "run_view_type": STAGE_VIEWS[stage],
        "max_results": min(size + 1, PAGE_ITEMS_MAX),
        "order_by": ["attributes.start_time DESC"],
    }
    runs = (run for run in map(tracking.run_of, _pages(tracking, body)) if matches(query.filter, run))
    for _, group in groupby(runs, key=lambda run: run.info.start_time):
        yield from sorted(group, key=_key)


def _pages(tracking: RestTracking, body: Json) -> Iterator[Json]:
    while True:
        answer = tracking.wire.post("runs/search", body)
        yield from answer.get("runs") or ()
        token = answer.get("next_page_token")
        if not token:
            return
        # A filter that is evaluated here may leave little of a page: after the first they are large.
        body = {**body, "page_token": token, "max_results": PAGE_ITEMS_MAX}


def _native_experiments(tracking: RestTracking, experiment_ids: tuple[str, ...]) -> Iterator[str]:
    for experiment_id in experiment_ids:
        with contextlib.suppress(NotFound):  # an unknown experiment has no runs
            yield tracking.native_experiment_id(experiment_id)


def pushed_down(expression: Expression | None) -> list[str]:
    """Return conditions in the server's language which every run that fulfils the filter fulfils.

    They only spare the server and the wire some runs: the whole filter is evaluated here once more.
    """
    if isinstance(expression, And):
        return [condition for term in expression.terms for condition in pushed_down(term)]
    if not isinstance(expression, Comparison) or not _PLAIN_KEY.fullmatch(expression.key):
        return []
    value = expression.value
    if expression.entity is Entity.METRIC and expression.operator in _NUMBER_OPERATORS:
        number = repr(float(value)) if isinstance(value, (int, float)) else ""
        is_plain = _PLAIN_NUMBER.fullmatch(number) is not None
        return [f"metrics.{expression.key} {expression.operator.value} {number}"] if is_plain else []
    if expression.entity in (Entity.PARAM, Entity.TAG) and expression.operator is Operator.EQ:
        text = str(value)
        is_plain = _PLAIN_VALUE.fullmatch(text) is not None
        return [f"{expression.entity.value}.{expression.key} = '{text}'"] if is_plain else []
    return []


def _key(run: Run) -> tuple[int, str]:
    return -run.info.start_time, run.info.run_id
