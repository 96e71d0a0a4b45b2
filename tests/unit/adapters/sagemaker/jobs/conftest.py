"""An emulated account in which jobs run, and a place in it for each test."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.sagemaker_jobs import OPTIONS, jobs_emulator, open_place
from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import JobSpec, JobState
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.jobs import JobBackend
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge.testing.emulators.sagemaker.jobs_records import Jobs
from trackbridge_adapters.sagemaker import open_adapter

WAIT_S = 120.0
PAUSE_S = 0.05


class Place:
    """A place of jobs, and what tests do there."""

    def __init__(self, emulator: SageMakerEmulator, home: Path) -> None:
        self.emulator = emulator
        self.home = home
        self.uri = f"{emulator.uri}/{mint_id()}"
        self.adapter = self.opened()

    def opened(self, **options: str) -> Adapter:
        """Open the place once more, as another program does."""
        return open_place(self.uri, self.home, **options)

    def trying_once(self) -> JobBackend:
        """Return the port without what tries again."""
        context = AdapterContext(
            home=self.home, options=OPTIONS, clock_ms=lambda: time.time_ns() // 1_000_000
        )
        jobs = open_adapter(self.uri, context=context).jobs
        assert jobs is not None
        return jobs

    @property
    def jobs(self) -> JobBackend:
        """The port."""
        assert self.adapter.jobs is not None
        return self.adapter.jobs

    @property
    def platform(self) -> Jobs:
        """What the emulator lets befall jobs."""
        return self.emulator.cloud.part(Jobs)

    def spec(self, code: str = "", **fields: Any) -> JobSpec:
        """Return a spec that runs some code of Python."""
        return msgspec.structs.replace(JobSpec(name="job", command=(sys.executable, "-c", code)), **fields)

    def submit(self, code: str = "", *, key: str | None = None, **fields: Any) -> JobState:
        """Submit some code."""
        return self.jobs.submit(self.spec(code, **fields), key=key or mint_id())

    def until(self, job_id: str, holds: Callable[[JobState], bool]) -> JobState:
        """Wait until something holds of a job."""
        deadline_s = time.monotonic() + WAIT_S
        while not holds(state := self.jobs.status(job_id)):
            assert time.monotonic() < deadline_s, state
            time.sleep(PAUSE_S)
        return state

    def ended(self, job_id: str) -> JobState:
        """Wait for a job's end."""
        return self.until(job_id, lambda state: state.status.is_final)

    def log(self, job_id: str, *, until: str | None = None) -> str:
        """Read a log to its end, or until it holds some text."""
        deadline_s, text, cursor, is_done = time.monotonic() + WAIT_S, "", "", False
        while not is_done and (until is None or until not in text):
            assert time.monotonic() < deadline_s, text
            chunk = self.jobs.read_logs(job_id, cursor=cursor)
            text, cursor, is_done = text + chunk.text, chunk.cursor, chunk.done
            if not chunk.text:
                time.sleep(PAUSE_S)
        return text


@pytest.fixture(scope="package")
def account() -> Iterator[SageMakerEmulator]:
    with jobs_emulator() as emulator:
        yield emulator


@pytest.fixture
def place(account: SageMakerEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name, value in account.environment().items():  # the tests beside these take them away
        monkeypatch.setenv(name, value)
    place = Place(account, tmp_path)
    yield place
    for state in place.jobs.list_jobs():
        if not state.status.is_final:
            place.jobs.cancel(state.job_id)
            place.ended(state.job_id)
    place.adapter.close()
    account.access.allow_all()
    account.faults.clear()
    account.raise_failures()
