"""The job contract: listing, and what another program sees."""

from __future__ import annotations

import pytest

from trackbridge.domain.jobs import JobStatus
from trackbridge.errors import InvalidInput
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import each, requires
from trackbridge.testing.contracts.jobs_base import FOREVER, JobTests, port_of
from trackbridge.testing.contracts.tracking_base import pages_hold, refuses_garbage


class ListTests(JobTests):
    """All jobs, newest first."""

    @requires(Feature.JOBS_LIST)
    def test_at_first_there_are_none(self) -> None:
        page = self.jobs.list_jobs()
        assert (page.items, page.token) == ((), None)

    @requires(Feature.JOBS_LIST)
    def test_the_newest_is_first(self) -> None:
        """Whatever the size of the pages, and none is given for a token of nobody."""
        states = [self.run(name=str(number)) for number in range(3)]
        assert list(self.jobs.list_jobs()) == states[::-1]
        pages_hold(
            [state.job_id for state in states[::-1]],
            lambda size, token: self.jobs.list_jobs(max_results=size, token=token),
            sizes=(1, 2, 3, 4, 1000),
            item=lambda state: state.job_id,
        )
        refuses_garbage(lambda token: self.jobs.list_jobs(token=token))

    @requires(Feature.JOBS_LIST)
    def test_jobs_of_every_status_are_listed(self) -> None:
        ended, running = self.run("import sys; sys.exit(1)"), self.submit(FOREVER)
        self.running(running.job_id)
        listed = {state.job_id: state.status for state in self.jobs.list_jobs()}
        assert listed == {ended.job_id: JobStatus.FAILED, running.job_id: JobStatus.RUNNING}

    @requires(Feature.JOBS_LIST)
    @each("size", [0, -1])
    def test_a_page_of_nothing_is_refused(self, size: int) -> None:
        with pytest.raises(InvalidInput):
            self.jobs.list_jobs(max_results=size)


class ReopenedTests(JobTests):
    """A job belongs to the backend, not to the program that submitted it."""

    def test_another_program_sees_a_job(self) -> None:
        state = self.run()
        assert port_of(self.reopened()).status(state.job_id) == state

    def test_another_program_cancels_a_job(self) -> None:
        job_id = self.submit(FOREVER).job_id
        self.running(job_id)
        port_of(self.reopened()).cancel(job_id)
        assert self.ended(job_id).status is JobStatus.CANCELLED

    def test_a_job_goes_on_when_its_adapter_is_closed(self) -> None:
        job_id = self.submit("import time; time.sleep(0.3)").job_id
        self.opened.close()
        self.opened = self.reopened()
        assert self.ended(job_id).status is JobStatus.SUCCEEDED

    @requires(Feature.JOBS_LIST)
    def test_another_program_lists_jobs(self) -> None:
        state = self.run()
        assert list(port_of(self.reopened()).list_jobs()) == [state]
