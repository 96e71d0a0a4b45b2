"""A listing asks once a page and for no single job, and looks after few runs."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from trackbridge.domain.ids import experiment_id_of, mint_id
from trackbridge.domain.job_tags import TAG_JOB, TAG_JOB_STATUS
from trackbridge.domain.jobs import JobSpec, JobState, JobStatus, LogChunk
from trackbridge.domain.paging import Page
from trackbridge.domain.runs import RunSpec, RunStatus
from trackbridge.errors import AuthError
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
        self.is_local = True


def opened_run(place: Opened) -> str:
    run_id, experiment_id = mint_id(), experiment_id_of("e")
    place.tracking.ensure_experiment("e", experiment_id=experiment_id)
    place.tracking.open_run(
        RunSpec(
            run_id=run_id,
            experiment_id=experiment_id,
            experiment_name="e",
            name="n",
            user="anna",
            start_time=1,
        )
    )
    return run_id


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """A store with 1,000 jobs that have ended, all but one written down without having run."""
    place = open_place(str(tmp_path / "store"))
    run_id = opened_run(place)
    spec = JobSpec(name="train", command=("true",), run_id=run_id, tracking_uri=place.uri)
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
    settle_listed(page.items, place, settings=Settings(), on_note=waiting.append, on_trouble=pytest.fail)
    assert homes == [opened.uri]
    assert len(settled) == len(waiting) == SETTLED_MAX
    assert place.jobs.calls == {"list_jobs": 1}


def test_a_place_that_cannot_be_opened_is_told_once(opened: Opened) -> None:
    troubles: list[str] = []
    states = [
        JobState(job_id="a", status=state.status, run_id="r", tracking_uri="moon")
        for state in newest_jobs(opened, 3).items
    ]
    settle_listed(states, opened, settings=Settings(), on_note=pytest.fail, on_trouble=troubles.append)
    assert len(troubles) == 1
    assert "moon" in troubles[0]


class Cloud:
    """A place elsewhere, whose jobs have all ended; ``opened`` are the places of runs that were opened."""

    def __init__(self, home: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        self.uri = "file:/nowhere/else"
        self.capabilities = self
        self.is_local = False
        self.jobs = self
        self.adapter = self
        self.artifacts = None
        self.opened: list[str] = []
        self.notes: list[str] = []
        self.troubles: list[str] = []
        self.home = home
        monkeypatch.setattr(job_listing, "open_place", self.open)
        monkeypatch.setenv("BRIDGE_TRACKING_URI", home.uri)

    def open(self, uri: str, *, settings: Settings) -> Opened:
        self.opened.append(uri)
        return open_place(uri, settings=settings)

    def read_logs(self, job_id: str, **_: object) -> LogChunk:
        return LogChunk(text="it ran\n", cursor="", done=True)

    def state(self, run_id: str, uri: str = "", status: JobStatus = JobStatus.SUCCEEDED) -> JobState:
        uri = uri or self.home.uri
        return JobState(job_id=mint_id(), status=status, run_id=run_id, tracking_uri=uri, end_time=5)

    def look(self, *states: JobState) -> None:
        self.opened.clear()
        settle_listed(
            states,
            self,  # type: ignore[arg-type]
            settings=Settings(),
            on_note=self.notes.append,
            on_trouble=self.troubles.append,
        )


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "home"))
    return Cloud(open_place(str(tmp_path / "runs")), monkeypatch)


def test_the_run_of_a_job_that_has_ended_elsewhere_is_settled_once(cloud: Cloud) -> None:
    state = cloud.state(opened_run(cloud.home), status=JobStatus.FAILED)
    going_on = cloud.state(opened_run(cloud.home), status=JobStatus.RUNNING)
    cloud.look(going_on, state)
    run = cloud.home.tracking.get_run(state.run_id or "")
    assert (run.info.status, run.info.end_time) == (RunStatus.FAILED, 5)
    assert (run.data.tags[TAG_JOB], run.data.tags[TAG_JOB_STATUS]) == (state.job_id, "FAILED")
    assert cloud.home.tracking.get_run(going_on.run_id or "").info.status is RunStatus.RUNNING
    assert [str(state.run_id) in note for note in cloud.notes] == [True]
    cloud.look(going_on, state)
    assert cloud.opened == [], "what is known to be settled is not asked for again"
    assert (len(cloud.notes), cloud.troubles) == (1, [])


def test_what_a_listing_has_left_the_next_one_goes_on_with(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_listing, "SETTLED_MAX", 2)
    states = [cloud.state(opened_run(cloud.home)) for _ in range(3)]

    def are_closed() -> list[bool]:
        return [cloud.home.tracking.get_run(str(state.run_id)).info.status.is_final for state in states]

    cloud.look(*states)
    assert are_closed() == [True, True, False]
    cloud.look(*states)
    assert are_closed() == [True, True, True]


def test_a_job_does_not_decide_which_address_is_asked(cloud: Cloud, tmp_path: Path) -> None:
    cloud.look(
        cloud.state("r", "https://elsewhere.example"),
        cloud.state("r", f"file:{tmp_path}/of/another/machine"),
    )
    assert (cloud.opened, cloud.notes, cloud.troubles) == ([], [], [])
    assert not (tmp_path / "of").exists()


def test_a_home_that_cannot_be_asked_is_asked_once(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> bool:
        raise AuthError("the token has expired")

    monkeypatch.setattr(job_listing, "settle_job", refuse)
    cloud.look(*(cloud.state(opened_run(cloud.home)) for _ in range(3)))
    assert len(cloud.troubles) == 1
