"""Jobs wait for their turn: so many at a time, first come, first served."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.adapters.local.job_rig import FOREVER, Rig, touches, until, waits_for
from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import JobStatus
from trackbridge.errors import ConfigError

ROOT = Path(__file__).parents[4]

SUBMIT = """
import sys, time
from pathlib import Path
from trackbridge.domain.jobs import JobSpec
from trackbridge_adapters.local.adapter import LocalAdapter
from trackbridge_adapters.local.config import Settings
adapter = LocalAdapter(Settings(folder=Path(sys.argv[1])), lambda: time.time_ns() // 1_000_000)
command = (sys.executable, "-c", "import sys; open(sys.argv[1], 'a').write('x')", sys.argv[2])
sys.stdin.readline()
for number in range(5):
    print(adapter.jobs.submit(JobSpec(name="one", command=command), key=str(number)).job_id)
"""


def appends(path: Path, text: str) -> str:
    return f"with open({str(path)!r}, 'a') as file: file.write({text!r})\n"


def test_jobs_start_in_the_order_of_their_submission(rig: Rig, tmp_path: Path) -> None:
    go, order = tmp_path / "go", tmp_path / "order"
    blocker = rig.submit(waits_for(go))
    rig.becomes(blocker, JobStatus.RUNNING)
    jobs = [rig.submit(appends(order, str(number))) for number in range(8)]
    assert {rig.jobs.status(job_id).status for job_id in jobs} == {JobStatus.QUEUED}
    go.touch()
    assert {rig.ended(job_id).status for job_id in jobs} == {JobStatus.SUCCEEDED}
    assert order.read_text() == "01234567"


def test_no_more_run_than_allowed_and_no_fewer(rig: Rig, tmp_path: Path) -> None:
    jobs = rig.open(jobs_parallel_max="3").jobs
    go = tmp_path / "go"
    ids = [jobs.submit(rig.spec(waits_for(go)), key=mint_id()).job_id for _ in range(6)]
    rig.submitted += ids
    for job_id in ids[:3]:
        rig.becomes(job_id, JobStatus.RUNNING)
    for job_id in ids[3:]:
        rig.runner(job_id)
    assert [jobs.status(job_id).status for job_id in ids[3:]] == [JobStatus.QUEUED] * 3
    go.touch()
    assert {rig.ended(job_id).status for job_id in ids} == {JobStatus.SUCCEEDED}


def test_a_waiting_job_is_cancelled_without_ever_starting(rig: Rig, tmp_path: Path) -> None:
    go = tmp_path / "go"
    first, second, third = rig.submit(waits_for(go)), rig.submit(touches(tmp_path / "no")), rig.submit()
    rig.becomes(first, JobStatus.RUNNING)
    rig.jobs.cancel(second)
    state = rig.ended(second)
    assert (state.status, state.exit_code, state.attempt) == (JobStatus.CANCELLED, None, 0)
    assert state.start_time is None
    go.touch()
    assert rig.ended(third).status is JobStatus.SUCCEEDED
    assert not (tmp_path / "no").exists()


def test_a_waiting_job_ends_when_its_runner_is_terminated(rig: Rig) -> None:
    first, second = rig.submit(FOREVER), rig.submit()
    rig.becomes(first, JobStatus.RUNNING)
    rig.runner(second).terminate()
    state = rig.ended(second)
    assert state.status is JobStatus.FAILED
    assert "terminated" in state.reason


def test_the_slot_of_a_killed_runner_is_given_to_the_next(rig: Rig) -> None:
    first, second = rig.submit(FOREVER), rig.submit()
    rig.becomes(first, JobStatus.RUNNING)
    rig.kill_runner(first)
    until(lambda: rig.jobs.status(second).status is JobStatus.SUCCEEDED)


def test_processes_that_submit_the_same_keys_at_once_start_each_job_once(rig: Rig, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    submitters = [
        subprocess.Popen(
            [sys.executable, "-c", SUBMIT, str(rig.store), str(starts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(2)
    ]
    for submitter in submitters:
        assert submitter.stdin is not None
        submitter.stdin.write("go\n")
        submitter.stdin.flush()
    told = [submitter.communicate(timeout=60)[0].split() for submitter in submitters]
    assert told[0] == told[1]
    assert len(set(told[0])) == 5
    rig.submitted += told[0]
    assert {rig.ended(job_id).status for job_id in told[0]} == {JobStatus.SUCCEEDED}
    assert starts.read_text() == "x" * 5


@pytest.mark.parametrize("number", ["0", "-1", "many", "1.5", "", "10001", "²"])
def test_a_wrong_number_of_parallel_jobs_is_refused(rig: Rig, number: str) -> None:
    with pytest.raises(ConfigError, match="jobs_parallel_max"):
        rig.open(jobs_parallel_max=number)


@pytest.mark.parametrize("seconds", ["-1", "soon", "nan", "inf", ""])
def test_a_wrong_notice_is_refused(rig: Rig, seconds: str) -> None:
    with pytest.raises(ConfigError, match="jobs_notice_s"):
        rig.open(jobs_notice_s=seconds)
