"""The job contract: from submission to one of three ends."""

from __future__ import annotations

import time

import pytest

from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import JobState, JobStatus
from trackbridge.errors import NotFound, Rejected
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import each, requires
from trackbridge.testing.contracts.jobs_base import FOREVER, READY, JobTests, port_of

ORDER = [JobStatus.QUEUED, JobStatus.STARTING, JobStatus.RUNNING]
UNKNOWN = ("0" * 32, "", "../..", "a/b", "\0", "%s", "x" * 5000)

POLITE = READY + (
    "import signal, time\n"
    "def leave(*_):\n    print('asked', flush=True)\n    sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, leave)\nprint('armed', flush=True)\n"
    "while True: time.sleep(0.01)"
)
DEAF = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('armed', flush=True)\n"
    "while True: time.sleep(0.01)"
)


class LifeTests(JobTests):
    """What ``status`` says, and when."""

    def test_a_job_ends_well(self) -> None:
        run_id = mint_id()
        state = self.run("", name="a name", run_id=run_id)
        assert (state.status, state.exit_code, state.reason) == (JobStatus.SUCCEEDED, 0, "")
        assert (state.name, state.run_id, state.tracking_uri) == ("a name", run_id, "")
        assert state.attempt == 1
        assert state.submit_time is not None
        assert state.start_time is not None
        assert state.end_time is not None
        assert state.submit_time <= state.start_time <= state.end_time

    def test_submission_does_not_wait_for_the_end(self) -> None:
        state = self.submit(FOREVER)
        assert not state.status.is_final
        assert state.end_time is None
        assert state.exit_code is None
        assert self.running(state.job_id).attempt == 1

    def test_states_only_go_forward(self) -> None:
        state = self.submit("import time; time.sleep(0.2)")
        seen = [state.status]
        while not seen[-1].is_final:
            seen.append(self.jobs.status(state.job_id).status)
        assert seen[-1] is JobStatus.SUCCEEDED
        places = [ORDER.index(status) for status in seen[:-1]]
        assert places == sorted(places)

    def test_an_exit_code_tells_of_failure(self) -> None:
        codes = (1, 3, 255)
        states = self.run_beside([self.spec(f"import sys; sys.exit({code})") for code in codes])
        for code, state in zip(codes, states, strict=True):
            assert state is not None
            assert (state.status, state.exit_code) == (JobStatus.FAILED, code)
            assert state.reason, "the user wants to know why"
            assert state.end_time is not None

    def test_a_signal_tells_of_failure(self) -> None:
        state = self.run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        assert (state.status, state.exit_code) == (JobStatus.FAILED, -9)
        assert state.reason

    def test_a_program_that_is_not_there_fails(self) -> None:
        state = self.run_if_taken(self.spec(command=("there-is-no-such-program",)))
        if state is not None:
            assert state.status is JobStatus.FAILED
            assert state.exit_code != 0
            assert state.reason

    @each("job_id", UNKNOWN)
    def test_an_unknown_job_is_not_found(self, job_id: str) -> None:
        with pytest.raises(NotFound):
            self.jobs.status(job_id)
        with pytest.raises(NotFound):
            self.jobs.cancel(job_id)

    @requires(Feature.JOBS_LOGS)
    def test_an_unknown_job_has_no_log(self) -> None:
        self.run()
        with pytest.raises(NotFound):
            self.jobs.read_logs("0" * 32)


class CancelTests(JobTests):
    """Asking a job to stop."""

    def test_a_running_job_is_cancelled(self) -> None:
        job_id = self.submit(FOREVER).job_id
        self.running(job_id)
        self.jobs.cancel(job_id)
        state = self.ended(job_id)
        assert state.status is JobStatus.CANCELLED
        assert state.end_time is not None

    def test_a_job_is_cancelled_right_after_its_submission(self) -> None:
        job_id = self.submit(FOREVER).job_id
        self.jobs.cancel(job_id)
        assert self.ended(job_id).status is JobStatus.CANCELLED

    def test_cancelling_twice_succeeds(self) -> None:
        job_id = self.submit(FOREVER).job_id
        self.jobs.cancel(job_id)
        self.jobs.cancel(job_id)
        assert self.ended(job_id).status is JobStatus.CANCELLED

    @requires(Feature.JOBS_LOGS)
    def test_the_program_is_asked_to_leave(self) -> None:
        job_id = self.submit(POLITE).job_id
        self.until_logged(job_id, "armed")
        self.jobs.cancel(job_id)
        assert self.ended(job_id).status is JobStatus.CANCELLED, "it was asked to, whatever it ends with"
        assert self.log(job_id).endswith(self.logged("asked\n"))

    @requires(Feature.JOBS_LOGS)
    def test_a_program_that_does_not_leave_is_killed(self) -> None:
        job_id = self.submit(DEAF).job_id
        self.until_logged(job_id, "armed")
        self.jobs.cancel(job_id)
        assert self.ended(job_id).status is JobStatus.CANCELLED

    def test_no_further_attempt_follows(self) -> None:
        job_id = self.submit(FOREVER, attempts_max=3).job_id
        self.running(job_id)
        self.jobs.cancel(job_id)
        state = self.ended(job_id)
        assert (state.status, state.attempt) == (JobStatus.CANCELLED, 1)


class FinalTests(JobTests):
    """An end is an end."""

    def _stays(self, state: JobState) -> None:
        assert state.status.is_final
        self.jobs.cancel(state.job_id)
        time.sleep(0.05)
        assert self.jobs.status(state.job_id) == state
        assert port_of(self.reopened()).status(state.job_id) == state

    def test_success_stays(self) -> None:
        self._stays(self.run())

    def test_failure_stays(self) -> None:
        self._stays(self.run("import sys; sys.exit(1)"))

    def test_cancellation_stays(self) -> None:
        job_id = self.submit(FOREVER).job_id
        self.jobs.cancel(job_id)
        self._stays(self.ended(job_id))


class LimitTests(JobTests):
    """Time limits and attempts."""

    def test_a_job_is_ended_at_its_time_limit(self) -> None:
        state = self.run(FOREVER, time_limit_s=self.limit_s)
        assert state.status is JobStatus.FAILED
        assert state.reason

    def test_leaving_at_the_limit_is_no_success(self) -> None:
        assert self.run(POLITE, time_limit_s=self.limit_s).status is JobStatus.FAILED

    def test_a_command_that_fails_is_started_again(self) -> None:
        state = self.run("import sys; sys.exit(4)", attempts_max=3)
        assert (state.status, state.attempt, state.exit_code) == (JobStatus.FAILED, 3, 4)

    @requires(Feature.JOBS_LOGS)
    def test_each_attempt_is_in_the_log(self) -> None:
        state = self.run("import sys; print('tried', flush=True); sys.exit(4)", attempts_max=3)
        assert self.log(state.job_id) == self.logged("tried\n" * 3)

    def test_a_command_that_succeeds_within_its_limit_is_started_once(self) -> None:
        state = self.run("", attempts_max=3, time_limit_s=600)
        assert (state.status, state.attempt) == (JobStatus.SUCCEEDED, 1)


class KeyTests(JobTests):
    """The key makes submission repeatable."""

    def test_the_same_key_is_the_same_job(self) -> None:
        key = mint_id()
        first = self.submit(FOREVER, key=key)
        assert self.submit(FOREVER, key=key).job_id == first.job_id

    def test_it_is_the_same_job_after_its_end(self) -> None:
        key = mint_id()
        state = self.ended(self.submit("", key=key).job_id)
        assert self.submit("", key=key) == state

    def test_it_is_the_same_job_for_another_program(self) -> None:
        key = mint_id()
        state = self.ended(self.submit("", key=key).job_id)
        assert port_of(self.reopened()).submit(self.spec(), key=key) == state

    def test_another_key_is_another_job(self) -> None:
        assert self.submit().job_id != self.submit().job_id

    def test_an_unknown_cancelled_key_is_free(self) -> None:
        with pytest.raises(Rejected):
            self.submit(command=(), key="refused")
        assert self.ended(self.submit("", key="refused").job_id).status is JobStatus.SUCCEEDED
