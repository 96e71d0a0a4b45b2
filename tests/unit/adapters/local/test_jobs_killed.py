"""A job whose runner is killed, in whatever state, is noticed and ended by whoever looks next."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.unit.adapters.local.job_rig import (
    BEATING,
    FOREVER,
    Rig,
    is_alive,
    is_still,
    touches,
    until,
    waits_for,
)
from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import Environment, JobStatus
from trackbridge_adapters.local import jobs as jobs_module
from trackbridge_adapters.local.jobs import LocalJobs

DAEMON = """
import os, subprocess, sys
subprocess.Popen([sys.executable, "-c", {code!r}, {beats!r}], start_new_session=True)
while not os.path.exists({beats!r}):
    pass
"""


def beats_and_goes_on(beats: Path) -> str:
    """Return code that starts a process which has left its session, and goes on itself."""
    return DAEMON.format(code=BEATING, beats=str(beats)) + FOREVER


def test_a_runner_killed_while_its_job_runs(rig: Rig, tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    job_id = rig.submit(beats_and_goes_on(beats))
    until(beats.exists)
    rig.kill_runner(job_id)
    state = rig.jobs.status(job_id)
    assert state.status is JobStatus.FAILED
    assert "runner died while the job ran" in state.reason
    assert rig.processes(job_id) == []
    assert is_still(beats), "what left its session was found by its environment"
    assert rig.run().status is JobStatus.SUCCEEDED, "the slot is free again"


def test_the_listing_notices_a_killed_runner(rig: Rig) -> None:
    job_id = rig.submit(FOREVER)
    rig.becomes(job_id, JobStatus.RUNNING)
    rig.kill_runner(job_id)
    (state,) = rig.jobs.list_jobs()
    assert state.status is JobStatus.FAILED
    assert rig.processes(job_id) == []


def test_the_next_submission_ends_what_a_killed_runner_left(rig: Rig, tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    job_id = rig.submit(beats_and_goes_on(beats))
    until(beats.exists)
    rig.kill_runner(job_id)
    rig.submit()
    assert rig.processes(job_id) == []
    assert is_still(beats)


def test_submitting_again_notices_a_killed_runner(rig: Rig) -> None:
    key = mint_id()
    job_id = rig.submit(FOREVER, key=key)
    rig.becomes(job_id, JobStatus.RUNNING)
    rig.kill_runner(job_id)
    assert rig.jobs.submit(rig.spec(FOREVER), key=key).status is JobStatus.FAILED


def test_a_runner_killed_while_its_job_waits(rig: Rig, tmp_path: Path) -> None:
    go = tmp_path / "go"
    first, second, third = rig.submit(waits_for(go)), rig.submit(), rig.submit()
    rig.becomes(first, JobStatus.RUNNING)
    rig.kill_runner(second)
    go.touch()
    assert rig.ended(third).status is JobStatus.SUCCEEDED, "the dead one is not waited for"
    state = rig.jobs.status(second)
    assert (state.status, state.exit_code, state.attempt) == (JobStatus.FAILED, None, 0)
    assert "runner died while the job waited" in state.reason


def test_a_runner_killed_while_it_makes_the_environment(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_uv = tmp_path / "uv"
    slow_uv.write_text(f"#!{sys.executable}\n{touches(tmp_path / 'building')}{FOREVER}\n", encoding="utf-8")
    slow_uv.chmod(0o700)
    monkeypatch.setattr(jobs_module, "find_uv", lambda: str(slow_uv))
    job_id = rig.submit(environment=Environment(requirements=("anything",)))
    until((tmp_path / "building").exists)
    assert rig.jobs.status(job_id).status is JobStatus.STARTING
    rig.kill_runner(job_id)
    state = rig.jobs.status(job_id)
    assert state.status is JobStatus.FAILED
    assert "while its environment was made" in state.reason
    assert rig.processes(job_id) == []


def test_a_runner_killed_after_the_end_changes_nothing(rig: Rig) -> None:
    state = rig.run("import sys; sys.exit(3)")
    for process in rig.processes(state.job_id):
        process.kill()
    assert rig.jobs.status(state.job_id) == state


def test_a_runner_killed_after_cancel(rig: Rig, tmp_path: Path) -> None:
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{touches(tmp_path / 'armed')}"
    patient = rig.open(jobs_notice_s="600").jobs
    assert patient is not None
    job_id = patient.submit(rig.spec(deaf + FOREVER), key=mint_id()).job_id
    rig.submitted.append(job_id)
    until((tmp_path / "armed").exists)
    rig.jobs.cancel(job_id)
    rig.kill_runner(job_id)
    assert rig.jobs.status(job_id).status is JobStatus.CANCELLED
    assert rig.processes(job_id) == []


def test_everything_killed_as_by_a_restart_of_the_machine(rig: Rig) -> None:
    running, waiting = rig.submit(FOREVER), rig.submit()
    rig.becomes(running, JobStatus.RUNNING)
    rig.runner(waiting)
    processes = rig.processes()
    for process in processes:
        process.kill()
    until(lambda: not any(map(is_alive, processes)))
    states = [rig.open().jobs.status(job_id) for job_id in (running, waiting)]  # type: ignore[union-attr]
    assert [state.status for state in states] == [JobStatus.FAILED, JobStatus.FAILED]
    assert all("the machine went down" in state.reason for state in states)
    assert rig.run().status is JobStatus.SUCCEEDED


def test_another_process_with_the_number_of_the_job_is_left_alone(rig: Rig) -> None:
    job_id = rig.submit(FOREVER)
    rig.becomes(job_id, JobStatus.RUNNING)
    rig.kill_runner(job_id)
    for process in rig.processes(job_id):
        process.kill()
    bystander = subprocess.Popen([sys.executable, "-c", FOREVER], start_new_session=True)
    try:
        with sqlite3.connect(rig.store / "store.db") as connection:
            connection.execute("UPDATE job SET process_id = ?", (bystander.pid,))
        assert rig.jobs.status(job_id).status is JobStatus.FAILED
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


class SubmitterDied(BaseException):
    pass


def die_before_the_runner_starts(self: LocalJobs, *arguments: object, **options: object) -> None:
    raise SubmitterDied


def written_but_not_started(rig: Rig, monkeypatch: pytest.MonkeyPatch, key: str) -> str:
    """Leave a job behind as a submitter does that dies after writing it; return its id."""
    with monkeypatch.context() as patch:
        patch.setattr(LocalJobs, "_start_runner", die_before_the_runner_starts)
        with pytest.raises(SubmitterDied):
            rig.submit(key=key)
    with sqlite3.connect(rig.store / "store.db") as connection:
        return str(connection.execute("SELECT job_id FROM job").fetchone()[0])


def test_a_submitter_that_died_can_submit_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = written_but_not_started(rig, monkeypatch, "key")
    assert rig.submit(key="key") == job_id
    assert rig.ended(job_id).status is JobStatus.SUCCEEDED


def test_a_job_that_was_never_started_has_failed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = written_but_not_started(rig, monkeypatch, "key")
    state = rig.jobs.status(job_id)
    assert state.status is JobStatus.FAILED
    assert "never started" in state.reason
    assert rig.submit(key="key") == job_id
    assert rig.jobs.status(job_id) == state


def test_a_runner_that_cannot_be_started_is_told_and_can_be_tried_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trackbridge.errors import Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(rig.folder / "no such python"))
        with pytest.raises(Unavailable):
            rig.submit(key="key", command=("true",))
    assert rig.ended(rig.submit(key="key", command=("true",))).status is JobStatus.SUCCEEDED


def test_a_runner_that_crashes_leaves_its_traceback(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        jobs_module,
        "_BOOTSTRAP",
        "import sys; {path!r}; open(sys.argv[1] + '/jobs/' "
        "+ sys.argv[2] + '/wake', 'w'); raise ValueError('a defect')",
    )
    job_id = rig.submit()
    state = rig.ended(job_id)
    assert state.status is JobStatus.FAILED
    assert state.reason.endswith("ValueError: a defect")


def test_many_who_notice_at_once_agree(rig: Rig) -> None:
    job_id = rig.submit(FOREVER)
    rig.becomes(job_id, JobStatus.RUNNING)
    rig.kill_runner(job_id)
    found = []
    threads = [threading.Thread(target=lambda: found.append(rig.ended(job_id))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(map(repr, found))) == 1
    assert found[0].status is JobStatus.FAILED


def test_a_job_whose_folder_was_deleted_has_failed(rig: Rig) -> None:
    job_id = rig.submit(FOREVER)
    rig.becomes(job_id, JobStatus.RUNNING)
    runner = rig.runner(job_id)
    shutil.rmtree(rig.files(job_id).folder)
    assert rig.jobs.status(job_id).status is JobStatus.FAILED
    until(lambda: not is_alive(runner))
    assert rig.processes(job_id) == []
    assert rig.jobs.status(job_id).status is JobStatus.FAILED


def test_a_forked_child_does_not_keep_the_lock_of_a_job(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork at the very moment of a submission inherits the lock of the job."""
    start, children = LocalJobs._start_runner, []

    def fork_meanwhile(self: LocalJobs, *arguments: object, **options: object) -> None:
        child = os.fork()
        if child == 0:
            try:
                threading.Event().wait(60)
            finally:
                os._exit(0)
        children.append(child)
        start(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalJobs, "_start_runner", fork_meanwhile)
    job_id = rig.submit(FOREVER)
    rig.becomes(job_id, JobStatus.RUNNING)
    rig.kill_runner(job_id)
    rig.becomes(job_id, JobStatus.FAILED)  # once the child has had its turn, and given the lock up
    os.kill(children[0], 0)  # it lives, with what it inherited
    os.kill(children[0], 9)
    os.waitpid(children[0], 0)
