"""Histories of metrics: whole, by pages, of several runs at once, and thinned out for curves."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from trackbridge.domain import page_tokens
from trackbridge.domain.batches import MetricColumns
from trackbridge.gateway.entities import Point
from trackbridge.gateway.errors import invalid
from trackbridge.gateway.histories import in_order_of_time
from trackbridge.gateway.routes import Route, Scope
from trackbridge.gateway.wire import Answer, Request, number

if TYPE_CHECKING:
    from trackbridge.gateway.gateway import Gateway

BULK_RUNS_MAX = 100
BULK_POINTS_MAX = 25_000
INTERVAL_POINTS_MAX = 2_500
"""Of one run, as mlflow/server/handlers.py has it."""
PAGE_POINTS_MAX = 100_000
"""Of one page; a client that asks for more gets these and a token."""


class GetMetricHistory(Request):
    """``metrics/get-history``."""

    run_id: str | None = None
    run_uuid: str | None = None
    metric_key: str | None = None
    page_token: str | None = None
    max_results: int | None = None
    required = ("run_id", "metric_key")


class GetMetricHistoryBulk(Request):
    """``metrics/get-history-bulk``, of which mlflow's own pages make use."""

    run_id: list[str] = msgspec.field(default_factory=list)
    metric_key: str | None = None
    max_results: int | None = None


class GetMetricHistoryBulkInterval(Request):
    """``metrics/get-history-bulk-interval``."""

    run_ids: list[str] = msgspec.field(default_factory=list)
    metric_key: str | None = None
    start_step: int | None = None
    end_step: int | None = None
    max_results: int | None = None
    required = ("run_ids", "metric_key")


class PointOfRun(Answer, gc=False):
    """A point, and whose it is."""

    key: str
    value: float | str
    timestamp: int
    step: int
    run_id: str


class History(Answer):
    """Points of a metric of one run."""

    metrics: list[Point] = msgspec.field(default_factory=list)
    next_page_token: str | None = None


class BulkHistory(msgspec.Struct):
    """Points of a metric of several runs; mlflow writes an empty list here."""

    metrics: list[PointOfRun]


class IntervalHistory(Answer):
    """Points of a metric of several runs, thinned out."""

    metrics: list[PointOfRun] = msgspec.field(default_factory=list)


def get_metric_history(gateway: Gateway, request: GetMetricHistory) -> History:
    """Return the points of a metric, a page of them where a size is asked for."""
    run_id, key, size = request.run_id or "", request.metric_key or "", request.max_results
    if size is not None and size <= 0:
        raise invalid(
            f"Invalid value {size} for parameter 'max_results' supplied. It must be a positive integer."
        )
    listing = page_tokens.listing_of("history", run_id, key)
    place = page_tokens.place_of(
        request.page_token or None, listing, adapter="gateway", operation="get_metric_history", types=(int,)
    )
    start = 0 if place is None else int(place[0])
    histories = gateway.histories
    columns = histories.begin(run_id, key) if start == 0 else histories.resume(run_id, key)
    end = len(columns) if size is None else start + min(size, PAGE_POINTS_MAX)
    if end >= len(columns):
        return History(_points(key, columns, start, len(columns)))
    histories.keep(run_id, key, columns)
    return History(_points(key, columns, start, end), page_tokens.token_of(listing, [end]))


def get_metric_history_bulk(gateway: Gateway, request: GetMetricHistoryBulk) -> BulkHistory:
    """Return the points of a metric of several runs, by run, then time."""
    _check_runs("GetMetricHistoryBulk", request.run_id, "run_id")
    if request.metric_key is None:
        raise invalid("GetMetricHistoryBulk request must specify a metric_key.")
    most = BULK_POINTS_MAX if request.max_results is None else min(request.max_results, BULK_POINTS_MAX)
    found: list[PointOfRun] = []
    for number_of_run, run_id in enumerate(sorted(set(request.run_id))):
        columns = in_order_of_time(
            gateway.histories.read(run_id, request.metric_key, is_delivered=number_of_run > 0)
        )
        found += _points_of_run(run_id, request.metric_key, columns, range(len(columns))[: most - len(found)])
        if len(found) >= most:
            break
    return BulkHistory(found)


def get_metric_history_bulk_interval(
    gateway: Gateway, request: GetMetricHistoryBulkInterval
) -> IntervalHistory:
    """Return evenly chosen points of each of several runs, in order of step; the last one always."""
    _check_runs("GetMetricHistoryBulkInterval", request.run_ids, "run_ids")
    most = INTERVAL_POINTS_MAX if request.max_results is None else request.max_results
    if not 1 <= most <= INTERVAL_POINTS_MAX:
        raise invalid(f"max_results must be between 1 and {INTERVAL_POINTS_MAX}.")
    first, last = request.start_step, request.end_step
    if (first is None) != (last is None):
        raise invalid("If either start step or end step are specified, both must be specified.")
    if first is not None and last is not None and first > last:
        raise invalid(
            f"end_step must be greater than start_step. Found start_step={first} and end_step={last}."
        )
    key = request.metric_key or ""
    found: list[PointOfRun] = []
    for number_of_run, run_id in enumerate(request.run_ids):
        columns = gateway.histories.read(run_id, key, is_delivered=number_of_run > 0)
        begin = 0 if first is None else bisect_left(columns.steps, first)
        end = len(columns) if last is None else bisect_right(columns.steps, last)
        found += _points_of_run(run_id, key, columns, chosen(begin, end, most))
    return IntervalHistory(found)


def chosen(begin: int, end: int, most: int) -> list[int]:
    """Return at most so many of the places from ``begin`` to ``end``.

    They are the first of as many equal parts, and the last of all. SQL's
    NTILE divides as this does: the parts that are longer by one come first.
    """
    count = end - begin
    if count <= most:
        return list(range(begin, end))
    size, longer = divmod(count, most)
    places = [begin + part * size + min(part, longer) for part in range(most)]
    places[-1] = end - 1
    return places


def _check_runs(name: str, run_ids: list[str], what: str) -> None:
    if not run_ids:
        raise invalid(f"{name} request must specify at least one {what}.")
    if len(run_ids) > BULK_RUNS_MAX:
        raise invalid(
            f"{name} request cannot specify more than {BULK_RUNS_MAX} {what}. Received {len(run_ids)} {what}."
        )


def _points(key: str, columns: MetricColumns, start: int, end: int) -> list[Point]:
    rows = zip(
        columns.values[start:end], columns.timestamps[start:end], columns.steps[start:end], strict=True
    )
    return [Point(key, number(value), timestamp, step) for value, timestamp, step in rows]


def _points_of_run(run_id: str, key: str, columns: MetricColumns, places: Iterable[int]) -> list[PointOfRun]:
    values, timestamps, steps = columns.values, columns.timestamps, columns.steps
    return [
        PointOfRun(key, number(values[place]), timestamps[place], steps[place], run_id) for place in places
    ]


ROUTES = (
    Route("GET", "metrics/get-history", get_metric_history, GetMetricHistory, Scope.READ),
    Route("GET", "metrics/get-history-bulk", get_metric_history_bulk, GetMetricHistoryBulk, Scope.READ),
    Route(
        "GET",
        "metrics/get-history-bulk-interval",
        get_metric_history_bulk_interval,
        GetMetricHistoryBulkInterval,
        Scope.READ,
    ),
)
