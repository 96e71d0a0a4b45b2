"""A listing asks once a page and for no single job, and looks after few runs."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import JobSpec, JobState
from trackbridge.domain.paging import Page
from trackbridge.operations import job_listing
from trackbridge.operations.following import wait_for_job
from trackbridge.operations.job_listing import SETTLED_MAX, newest_jobs, settle_listed
from trackbridge.operations.opening import Opened, open_place
from trackbridge.resolve.config import Settings

JOBS = 1000


class Counting:
    """Jobs that count what they are asked."""

    def __init__(self, jobs: Any) -> None:
        self._jobs = jobs
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.calls[name] += 1
            return getattr(self._jobs, name)(*arguments, **options)

        return counted


class Place:
    """A place whose pages are short."""

    def __init__(self, opened: Opened, page_items_max: int) -> None:
        self.jobs = Counting(opened.jobs)
        self.uri = opened.uri
        self.capabilities = self
        self.limits = self
        self.page_items_max = page_items_max


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """A store with 1,000 jobs that have ended, all but one written down without having run."""
    place = open_place(str(tmp_path / "store"))
    spec = JobSpec(name="train", command=("true",), run_id=mint_id(), tracking_uri=place.uri)
    state = place.jobs.submit(spec, key="first")
    wait_for_job(state.job_id, place.jobs)
    with sqlite3.connect(tmp_path / "store/store.db") as connection:
        columns = "spec, status, reason, attempt, exit_code, submit_time, start_time, end_time"
        statement = f"INSERT INTO job (job_id, key, {columns}) SELECT ?, ?, {columns} FROM job LIMIT 1"
        connection.executemany(statement, [(mint_id(), f"k{number}") for number in range(JOBS - 1)])
    return place


def test_one_call_a_page_and_none_for_a_job(opened: Opened) -> None:
    place: Any = Place(opened, JOBS)
    page = newest_jobs(place, JOBS)
    assert len({state.job_id for state in page.items}) == JOBS
    assert page.token is None
    assert place.jobs.calls == {"list_jobs": 1}


def test_many_pages_and_a_limit(opened: Opened) -> None:
    place: Any = Place(opened, 300)
    assert len(newest_jobs(place, JOBS).items) == JOBS
    assert place.jobs.calls == {"list_jobs": 4}
    few = newest_jobs(place, 5)
    assert len(few.items) == 5
    assert few.token is not None
    assert place.jobs.calls == {"list_jobs": 5}


def test_few_runs_are_looked_after_and_their_place_is_opened_once(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes: list[object] = []
    settled: list[JobState] = []

    def open_counted(uri: object, **options: Any) -> Opened:
        homes.append(uri)
        return open_place(uri, **options)  # type: ignore[arg-type]

    def settle(state: JobState, *_: object, **__: object) -> bool:
        settled.append(state)
        return False

    monkeypatch.setattr(job_listing, "open_place", open_counted)
    monkeypatch.setattr(job_listing, "settle_job", settle)
    place: Any = Place(opened, JOBS)
    page: Page[JobState] = newest_jobs(place, JOBS)
    waiting: list[str] = []
    settle_listed(page.items, place, settings=Settings(), on_waiting=waiting.append, on_trouble=pytest.fail)
    assert homes == [opened.uri]
    assert len(settled) == len(waiting) == SETTLED_MAX
    assert place.jobs.calls == {"list_jobs": 1}


def test_a_place_that_cannot_be_opened_is_told_once(opened: Opened) -> None:
    troubles: list[str] = []
    states = [
        JobState(job_id="a", status=state.status, run_id="r", tracking_uri="moon")
        for state in newest_jobs(opened, 3).items
    ]
    settle_listed(states, opened, settings=Settings(), on_waiting=pytest.fail, on_trouble=troubles.append)
    assert len(troubles) == 1
    assert "moon" in troubles[0]
