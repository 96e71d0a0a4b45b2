"""The processes of a job: all are ended with it, and no others."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.adapters.local.job_rig import BEATING, FOREVER, Rig, is_alive, is_still, touches, until
from trackbridge.domain.jobs import JobStatus
from trackbridge_adapters.local import job_processes
from trackbridge_adapters.local.job_processes import Process, below, birth_of, remaining

only_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux finds them")

# The grandchild leaves its session, and with it the process group; its parent ends; its environment is empty.
DAEMONIZE = """
import os, subprocess, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve(sys.executable, [sys.executable, "-c", {code!r}, {beats!r}], {{}})
    os._exit(0)
while not os.path.exists({beats!r}):
    time.sleep(0.01)
{then}
"""


def daemonize(beats: Path, then: str) -> str:
    return DAEMONIZE.format(code=BEATING, beats=str(beats), then=then)


@only_linux
def test_a_daemon_is_ended_with_the_program(rig: Rig, tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    assert rig.run(daemonize(beats, "")).status is JobStatus.SUCCEEDED
    assert is_still(beats)


@only_linux
def test_a_daemon_is_ended_by_cancel(rig: Rig, tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    job_id = rig.submit(daemonize(beats, FOREVER))
    until(beats.exists)
    rig.jobs.cancel(job_id)
    assert rig.ended(job_id).status is JobStatus.CANCELLED
    assert is_still(beats)


@only_linux
def test_a_deaf_daemon_is_killed(rig: Rig, tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    assert rig.run(deaf + daemonize(beats, "")).status is JobStatus.SUCCEEDED
    assert is_still(beats)


def test_a_program_that_ignores_sigterm_is_killed_after_the_notice(rig: Rig, tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    job_id = rig.submit(deaf + touches(tmp_path / "armed") + FOREVER)
    until((tmp_path / "armed").exists)
    rig.jobs.cancel(job_id)
    state = rig.ended(job_id)
    assert (state.status, state.exit_code) == (JobStatus.CANCELLED, -signal.SIGKILL)


def test_a_stopped_program_is_killed(rig: Rig) -> None:
    job_id = rig.submit("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")
    rig.becomes(job_id, JobStatus.RUNNING)
    rig.jobs.cancel(job_id)
    assert rig.ended(job_id).status is JobStatus.CANCELLED


def test_a_terminated_runner_ends_its_job(rig: Rig) -> None:
    job_id = rig.submit(FOREVER, attempts_max=3)
    rig.becomes(job_id, JobStatus.RUNNING)
    rig.runner(job_id).terminate()
    state = rig.ended(job_id)
    assert (state.status, state.attempt) == (JobStatus.FAILED, 1)
    assert "terminated" in state.reason


def test_a_job_ends_when_its_store_is_deleted(rig: Rig) -> None:
    job_id = rig.submit(FOREVER)
    rig.becomes(job_id, JobStatus.RUNNING)
    runner = rig.runner(job_id)
    shutil.rmtree(rig.store)
    runner.send_signal(signal.SIGCHLD)  # what it would do by itself within half a minute
    until(lambda: not is_alive(runner))
    assert rig.processes(job_id) == []


SUBMIT_ANOTHER = """
import sys, time
from pathlib import Path
from trackbridge.domain.jobs import JobSpec
from trackbridge_adapters.local.adapter import LocalAdapter
from trackbridge_adapters.local.config import Settings
settings = Settings(folder=Path({store!r}), jobs_parallel_max=2)
adapter = LocalAdapter(settings, lambda: time.time_ns() // 1_000_000)
command = (sys.executable, "-c", {code!r})
print(adapter.jobs.submit(JobSpec(name="inner", command=command), key="inner").job_id)
"""


def test_a_job_that_a_job_submitted_goes_on(rig: Rig, tmp_path: Path) -> None:
    inner_code = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)"
    outer = rig.submit(SUBMIT_ANOTHER.format(store=str(rig.store), code=inner_code))
    assert rig.ended(outer).status is JobStatus.SUCCEEDED
    inner = rig.log(outer).strip()
    rig.submitted.append(inner)
    rig.becomes(inner, JobStatus.RUNNING)
    (tmp_path / "go").touch()
    assert rig.ended(inner).status is JobStatus.SUCCEEDED


def test_processes_are_known_by_their_birth() -> None:
    child = subprocess.Popen([sys.executable, "-c", FOREVER])
    try:
        birth = birth_of(child.pid)
        assert birth is not None
        assert birth == birth_of(child.pid)
        Process(child.pid, 0, 0, "another birth").send(signal.SIGKILL)
        time.sleep(0.05)
        assert child.poll() is None
        Process(child.pid, 0, 0, birth).send(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert birth_of(child.pid) is None
    finally:
        child.kill()
        child.wait()


@only_linux
@pytest.mark.parametrize(("job", "is_found"), [("mine", True), ("other", False), ("", False), (None, True)])
def test_what_belongs_to_another_job_is_not_found(job: str | None, is_found: bool) -> None:
    variables = {} if job is None else {"BRIDGE_JOB_ID": job}
    child = subprocess.Popen(
        [sys.executable, "-c", f"print(flush=True)\n{FOREVER}"], env=variables, stdout=-1
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        found = [process.process_id for process in below(os.getpid(), "mine")]
        assert (child.pid in found) is is_found
    finally:
        child.kill()
        child.communicate()


def test_where_processes_cannot_be_listed_the_leader_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What macOS does, with its ``ps``."""
    if shutil.which("ps") is None:
        pytest.xfail("there is no ps here")
    monkeypatch.setattr(job_processes, "IS_LINUX", False)
    child = subprocess.Popen([sys.executable, "-c", FOREVER], start_new_session=True)
    try:
        birth = birth_of(child.pid)
        assert birth
        assert [process.process_id for process in remaining("job", child.pid, birth)] == [child.pid]
        assert remaining("job", child.pid, "another birth") == []
        assert remaining("job", None, None) == []
    finally:
        child.kill()
        child.wait()
