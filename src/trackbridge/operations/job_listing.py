"""Listing jobs of a place: one call a page, none for a single job, and few runs looked after.

The run of a job that has ended is looked after once: whether it says so, and if not, it is settled. Where the
jobs of others are listed as well, only runs that are where this user's are: nobody else's job decides which
address we ask.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from trackbridge.domain.jobs import JobState
from trackbridge.domain.paging import Page
from trackbridge.errors import AuthError, BridgeError, Exhausted, NotFound, Transient
from trackbridge.operations.job_facts import has_all
from trackbridge.operations.job_settled import SettledJobs
from trackbridge.operations.opening import Opened, find_place, open_place
from trackbridge.operations.settle import settle_job
from trackbridge.resolve.config import Settings
from trackbridge.resolve.destinations import journal_root, resolve_destinations
from trackbridge.resolve.remotes import remotes_of
from trackbridge.resolve.uri import parse

SETTLED_MAX = 20
"""How many runs one listing looks after; the next one goes on with those that it has left."""

Told = Callable[[str], None]


def newest_jobs(place: Opened, limit: int) -> Page[JobState]:
    """Return so many jobs, newest first, through as many pages as that takes.

    It ends early at a page that has none: there the jobs of others stand close. The token is that of the
    listing where it ended; None when there are no more jobs.

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
        if token is None or not page.items or len(found) >= limit:
            return Page(items=tuple(found), token=token)


def settle_listed(
    states: Iterable[JobState], place: Opened, *, settings: Settings, on_note: Told, on_trouble: Told
) -> None:
    """Settle the runs of jobs that have ended, the newest first; each place of runs is opened once.

    Args:
        states: The listing.
        place: Where the jobs ran.
        settings: The settings in use.
        on_note: Told of each run that is closed by this, and of each that has to wait.
        on_trouble: Told what could not be looked after, and why.
    """
    settled = SettledJobs(_journals_of(place.uri, settings), place.uri)
    ended = (state for state in states if state.status.is_final and state.run_id and state.tracking_uri)
    ours = _Ours(place, settings)
    left = islice(
        (state for state in ended if state not in settled and state.tracking_uri in ours), SETTLED_MAX
    )
    homes: dict[str, Opened | None] = {}
    with contextlib.ExitStack() as opened:
        opened.callback(settled.save)
        for state in left:
            uri = state.tracking_uri
            try:
                if uri not in homes:
                    homes[uri] = None  # one that cannot be opened is told once
                    homes[uri] = home = open_place(uri, settings=settings)
                    opened.callback(home.close)
                known = homes[uri]
                if known is not None:
                    _look_after(state, known, place, settings, settled, on_note)
            except BridgeError as error:
                if isinstance(error, (Transient, Exhausted, AuthError)):  # nor would it answer for the others
                    homes[uri] = None
                on_trouble(f"the run {state.run_id} could not be looked after: {error}")


def _look_after(
    state: JobState, home: Opened, place: Opened, settings: Settings, settled: SettledJobs, on_note: Told
) -> None:
    """Settle one run, unless it says already how its job has ended."""
    try:
        is_settled = has_all(home.tracking.get_run(state.run_id or ""), state)
    except NotFound:  # somebody has deleted it for good
        is_settled = True
    if not is_settled:
        is_settled = (
            settle_job(
                state,
                home.tracking,
                journal_root=_journals_of(state.tracking_uri, settings),
                destination=home.uri,
                artifacts=home.adapter.artifacts,
                jobs=place.jobs,
                place=place.uri,
            )
            is not False
        )
        told = (
            "says now how its job has ended" if is_settled else "is closed once what it logged is delivered"
        )
        on_note(f"the run {state.run_id} {told}")
    if is_settled:
        settled.add(state)


class _Ours:
    """The tracking URIs whose runs are looked after: for jobs of this machine all, else those in use here."""

    def __init__(self, place: Opened, settings: Settings) -> None:
        self._is_local = place.capabilities.is_local
        self._known = frozenset() if self._is_local else frozenset(_in_use(place, settings))
        self._settings = settings

    def __contains__(self, uri: str) -> bool:
        if self._is_local or uri in self._known:
            return True
        path = parse(uri, around=self._settings.around).path if uri.startswith("file:") else None
        return path is not None and path.is_dir()  # else it is a folder of another machine


def _in_use(place: Opened, settings: Settings) -> Iterator[str]:
    yield place.uri
    for destination in resolve_destinations(settings=settings):
        yield destination.uri.text
    for name in remotes_of(settings):
        with contextlib.suppress(BridgeError):  # who names it is told
            yield find_place(name, settings=settings).uri.text


def _journals_of(uri: str, settings: Settings) -> Path:
    return journal_root(resolve_destinations(uri, settings=settings), settings=settings)
