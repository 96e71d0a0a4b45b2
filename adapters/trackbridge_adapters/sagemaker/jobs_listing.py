"""Lists of a place's jobs: few calls for many jobs.

The names of both kinds come by the hundred, and so do the descriptions of training jobs (Search); where the
search is behind, which it may be by seconds, a job is described by itself. Processing jobs are not searched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from heapq import merge
from itertools import islice
from typing import Any

from trackbridge.domain.jobs import JobState
from trackbridge.domain.page_tokens import listing_of, page_size, place_of, token_of
from trackbridge.domain.paging import Page
from trackbridge.errors import NotFound
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.capabilities import PAGE_ITEMS_MAX
from trackbridge_adapters.sagemaker.clients import Clients
from trackbridge_adapters.sagemaker.jobs_kinds import (
    PROCESSING,
    TRAINING,
    Kind,
    kind_of_job,
    names_begin,
)
from trackbridge_adapters.sagemaker.place import Place

OPERATION = "jobs.list_jobs"
ROWS = 100
AT_ONCE = 16
_SECOND = timedelta(seconds=1)

Row = tuple[int, str, Mapping[str, Any]]
"""When a job was made, in milliseconds, its name, and its summary."""
Describe = Callable[[str, Kind, Mapping[str, Any] | None], JobState]
"""Returns the state of a job, of which the description may be known already."""


def page(
    clients: Clients, place: Place, *, max_results: int, token: str | None, describe: Describe
) -> Page[JobState]:
    """Return one page of a place's jobs, the newest first.

    Raises:
        InvalidInput: The token is none of this listing's, or there is to be nothing on the page.
    """
    size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=ADAPTER, operation=OPERATION)
    listing = listing_of("list_jobs", place.text)
    last = place_of(token, listing, adapter=ADAPTER, operation=OPERATION, types=(int, str))
    rows = merge(*(_rows(clients, place, kind, last) for kind in (TRAINING, PROCESSING)), reverse=True)
    found = list(islice(rows, size + 1))
    shown = found[:size]
    known = _descriptions(clients, place, shown)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        states = pool.map(lambda row: _state(place, row, known.get(row[1]), describe), shown)
        items = tuple(state for state in states if state is not None)
    more = token_of(listing, list(shown[-1][:2])) if len(found) > size else None
    return Page(items=items, token=more)


def _state(place: Place, row: Row, told: Mapping[str, Any] | None, describe: Describe) -> JobState | None:
    kind = kind_of_job(place, row[1])
    assert kind is not None  # it was looked at by its name
    is_current = told is not None and told.get("LastModifiedTime") == row[2]["LastModifiedTime"]
    try:
        return describe(row[1], kind, told if is_current else None)
    except NotFound:  # it was deleted meanwhile
        return None


def _rows(clients: Clients, place: Place, kind: Kind, last: list[Any] | None) -> Iterator[Row]:
    """Yield the jobs of a kind, the newest first, from behind the last that was shown."""
    named: dict[str, Any] = {}
    if last is not None:
        named["CreationTimeBefore"] = _moment(last[0]) + _SECOND
    rows = clients.pages(
        "sagemaker",
        f"List{kind.word}Jobs",
        f"{kind.word}JobSummaries",
        NameContains=f"{names_begin(place)}{kind.mark}",
        SortBy="CreationTime",
        SortOrder="Descending",
        MaxResults=ROWS,
        **named,
    )
    # Those of one moment in the order of their names, whatever SageMaker makes of it.
    held: list[Row] = []
    for row in rows:
        name = str(row[kind.name_field])
        if kind_of_job(place, name) is not kind:
            continue
        item: Row = (round(row["CreationTime"].timestamp() * 1000), name, row)
        if held and held[0][0] != item[0]:
            yield from _in_order(held, last)
            held = []
        held.append(item)
    yield from _in_order(held, last)


def _in_order(held: list[Row], last: list[Any] | None) -> Iterator[Row]:
    for item in sorted(held, key=lambda item: item[1], reverse=True):
        if last is None or [item[0], item[1]] < last:
            yield item


def _descriptions(clients: Clients, place: Place, rows: list[Row]) -> dict[str, Mapping[str, Any]]:
    """Return what Search tells of the training jobs among some rows, by name."""
    training = [row for row in rows if kind_of_job(place, row[1]) is TRAINING]
    if len(training) < 2:  # one is described as quickly
        return {}
    filters = [
        {"Name": "TrainingJobName", "Operator": "Contains", "Value": names_begin(place)},
        {"Name": "CreationTime", "Operator": "GreaterThanOrEqualTo", "Value": _text(training[-1][0] - 1000)},
        {"Name": "CreationTime", "Operator": "LessThanOrEqualTo", "Value": _text(training[0][0] + 1000)},
    ]
    found = clients.pages(
        "sagemaker",
        "Search",
        "Results",
        Resource="TrainingJob",
        SearchExpression={"Filters": filters},
        SortBy="CreationTime",
        SortOrder="Descending",
        MaxResults=ROWS,
    )
    return {row["TrainingJob"]["TrainingJobName"]: row["TrainingJob"] for row in found}


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, timezone.utc)


def _text(time_ms: int) -> str:
    return _moment(time_ms).strftime("%Y-%m-%dT%H:%M:%SZ")
