"""Listing jobs of a place: one call a page, none for a single job, and few runs looked after."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from itertools import islice

from trackbridge.domain.jobs import JobState
from trackbridge.domain.paging import Page
from trackbridge.errors import BridgeError
from trackbridge.operations.opening import Opened, open_place
from trackbridge.operations.settle import settle_job
from trackbridge.resolve.config import Settings
from trackbridge.resolve.destinations import journal_root, resolve_destinations

SETTLED_MAX = 20
"""How many runs a listing looks after; older ones have been looked after long ago."""

Told = Callable[[str], None]


def newest_jobs(place: Opened, limit: int) -> Page[JobState]:
    """Return so many jobs, newest first, through as many pages as that takes.

    The token is that of the listing where it ended; None when there are no more jobs.

    Raises:
        Unsupported: The place does not list jobs.
    """
    found: list[JobState] = []
    token: str | None = None
    longest = place.capabilities.limits.page_items_max
    while True:
        page = place.jobs.list_jobs(max_results=min(limit - len(found), longest), token=token)
        found += page.items
        token = page.token
        if token is None or len(found) >= limit:
            return Page(items=tuple(found), token=token)


def settle_listed(
    states: Iterable[JobState], place: Opened, *, settings: Settings, on_waiting: Told, on_trouble: Told
) -> None:
    """Settle the runs of the newest jobs of a listing that have ended; each place of runs is opened once.

    Args:
        states: The listing.
        place: Where the jobs ran.
        settings: The settings in use.
        on_waiting: Told of each run whose closing has to wait.
        on_trouble: Told what could not be looked after, and why.
    """
    ended = (state for state in states if state.status.is_final and state.run_id and state.tracking_uri)
    homes: dict[str, Opened | None] = {}
    with contextlib.ExitStack() as opened:
        for state in islice(ended, SETTLED_MAX):
            try:
                if state.tracking_uri not in homes:
                    homes[state.tracking_uri] = None  # one that cannot be opened is told once
                    home = open_place(state.tracking_uri, settings=settings)
                    opened.callback(home.close)
                    homes[state.tracking_uri] = home
                known = homes[state.tracking_uri]
                if known is not None and _settle(state, known, place, settings) is False:
                    on_waiting(f"the run {state.run_id} is closed once what it logged is delivered")
            except BridgeError as error:
                on_trouble(f"the run {state.run_id} could not be looked after: {error}")


def _settle(state: JobState, home: Opened, place: Opened, settings: Settings) -> bool | None:
    destinations = resolve_destinations(state.tracking_uri, settings=settings)
    return settle_job(
        state,
        home.tracking,
        journal_root=journal_root(destinations, settings=settings),
        destination=home.uri,
        artifacts=home.adapter.artifacts,
        jobs=place.jobs,
        place=place.uri,
    )
