"""Machines that go, submitters that die, networks that fail: each ends with the truth, and with one job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.support.sagemaker_jobs import BUCKET, files_at
from tests.unit.adapters.sagemaker.jobs.conftest import Place
from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import Compute, JobState, JobStatus
from trackbridge.errors import Unavailable
from trackbridge.operations.following import follow_log

COUNTS = """
import os, pathlib, signal, sys, time
kept = pathlib.Path(os.environ["BRIDGE_CHECKPOINTS"])
seen = len(list(kept.glob("start-*")))
(kept / f"start-{seen}").write_text("x")
journal = pathlib.Path(os.environ["BRIDGE_HOME"], "journal")
journal.mkdir(exist_ok=True)
(journal / f"records-{seen}").write_text("accepted")
def leave(*_):
    (kept / f"asked-{seen}").write_text("x")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("start", seen, flush=True)
while seen == 0:
    time.sleep(0.02)
"""
"""Ends by itself when it is started for the second time."""


def kept(place: Place, address: str) -> list[str]:
    return sorted(files_at(place.emulator, address))


def until_kept(place: Place, job_id: str, name: str) -> None:
    """Wait until a file of the running job is in S3."""
    address = place.jobs.status(job_id).kept_uri
    place.until(job_id, lambda _: name in files_at(place.emulator, address))


def test_a_spot_job_goes_on_after_an_interruption(place: Place) -> None:
    address = f"s3://{BUCKET}/{mint_id()}"
    job_id = place.submit(COUNTS, compute=Compute(spot=True), checkpoints=address).job_id
    place.log(job_id, until="start 0")
    place.platform.interrupt(job_id)
    state = place.ended(job_id)
    assert (state.status, state.exit_code, state.reason) == (JobStatus.SUCCEEDED, 0, "")
    assert (state.facts.interruptions, state.facts.is_spot) == (1, True)
    assert state.facts.billed_s is not None
    assert state.attempt == 2
    files = kept(place, address)
    assert [name for name in files if "/" not in name] == ["asked-0", "start-0", "start-1"]
    assert {"journal/records-0", "journal/records-1"} <= set(kept(place, state.kept_uri))
    assert place.log(job_id) == "start 0\nstart 1\n"


def test_an_interrupted_job_only_runs(place: Place) -> None:
    job_id = place.submit(COUNTS, compute=Compute(spot=True), checkpoints=f"s3://{BUCKET}/{mint_id()}").job_id
    place.log(job_id, until="start 0")
    place.platform.interrupt(job_id)
    seen: list[JobStatus] = []

    def look(state: JobState) -> bool:
        seen.append(state.status)
        return state.status.is_final

    place.until(job_id, look)
    assert set(seen) <= {JobStatus.RUNNING, JobStatus.SUCCEEDED}


def test_a_machine_that_is_lost_fails_its_job_and_keeps_the_journal(place: Place) -> None:
    job_id = place.submit(COUNTS, checkpoints=f"s3://{BUCKET}/{mint_id()}").job_id
    until_kept(place, job_id, "journal/records-0")
    place.platform.lose_instances(job_id)
    state = place.ended(job_id)
    assert (state.status, state.exit_code, state.attempt) == (JobStatus.FAILED, None, 1)
    assert "InternalServerError" in state.reason
    assert "journal/records-0" in kept(place, state.kept_uri)


def test_another_machine_takes_the_place_of_a_lost_one(place: Place) -> None:
    address = f"s3://{BUCKET}/{mint_id()}"
    job_id = place.submit(COUNTS, checkpoints=address, attempts_max=2).job_id
    until_kept(place, job_id, "journal/records-0")
    place.platform.lose_instances(job_id)
    state = place.ended(job_id)
    assert (state.status, state.exit_code, state.attempt) == (JobStatus.SUCCEEDED, 0, 2)
    assert not [name for name in kept(place, address) if name.startswith("asked")], "nobody was told"


SUBMITS = """
import os, sys
from pathlib import Path
import msgspec
from tests.support.sagemaker_jobs import open_place
from trackbridge.domain.jobs import JobSpec
uri, home, key, spec = sys.argv[1:]
state = open_place(uri, Path(home)).jobs.submit(msgspec.json.decode(spec, type=JobSpec), key=key)
print(state.job_id, flush=True)
os.kill(os.getpid(), 9)
"""


def test_the_job_of_a_submitter_that_died_goes_on_and_is_found(place: Place) -> None:
    key, spec = mint_id(), place.spec("import time; time.sleep(0.5); print('lived')", name="orphan")
    words = [place.uri, str(place.home), key, msgspec.json.encode(spec).decode()]
    done = subprocess.run(
        [sys.executable, "-c", SUBMITS, *words],
        cwd=Path(__file__).parents[5],
        env={**os.environ, **place.emulator.environment()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    again = place.jobs.submit(spec, key=key)
    assert again.job_id == done.stdout.strip()
    assert place.ended(again.job_id).status is JobStatus.SUCCEEDED
    assert [state.job_id for state in place.jobs.list_jobs()] == [again.job_id]


def test_a_lost_answer_starts_no_second_job(place: Place) -> None:
    place.emulator.faults.fail("CreateTrainingJob", after=True)
    state = place.submit("print('once')")
    assert place.ended(state.job_id).status is JobStatus.SUCCEEDED
    assert len(list(place.jobs.list_jobs())) == 1
    assert place.log(state.job_id) == "once\n"


def test_the_network_may_fail_while_a_log_is_followed(place: Place) -> None:
    code = "import time\nfor number in range(20): print(number, flush=True); time.sleep(0.05)\n"
    job_id = place.submit(code).job_id
    place.emulator.faults.fail("GetLogEvents", times=12, code="ServiceUnavailable", status=503)
    told: list[str] = []
    jobs = place.trying_once()
    pieces = follow_log(lambda cursor: jobs.read_logs(job_id, cursor=cursor), on_trouble=told.append)
    assert "".join(pieces) == "".join(f"{number}\n" for number in range(20))
    assert place.ended(job_id).status is JobStatus.SUCCEEDED


def test_a_log_is_not_done_while_lines_may_still_come(place: Place) -> None:
    place.platform.logs_late_s = 100.0  # of the emulator's own, which are short
    try:
        job_id = place.submit("print('late')").job_id
        place.ended(job_id)
        place.adapter.close()
        place.adapter = place.opened(job_logs_late_s="30")
        assert place.jobs.read_logs(job_id).done is False
        assert place.log(job_id, until="late") == "late\n"
    finally:
        place.platform.logs_late_s = 0.0


def test_what_is_there_is_not_uploaded_again(place: Place, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "data.txt").write_text("here")
    code = "print(open('data.txt').read())"
    first = place.submit(code, code_dir=str(tmp_path / "code"))
    place.adapter = place.opened()  # another program
    begun = len(place.emulator.calls)
    second = place.submit(code, code_dir=str(tmp_path / "code"))
    puts = [call for call in place.emulator.calls[begun:] if call.operation == "PutObject"]
    assert len(puts) == 3, "the plan, what SageMaker is, and the hooks"
    for state in (first, second):
        assert place.ended(state.job_id).status is JobStatus.SUCCEEDED
        assert place.log(state.job_id) == "here\n"


def test_a_submission_that_broke_off_is_taken_up(place: Place) -> None:
    place.emulator.faults.fail("CreateTrainingJob", times=None, code="ServiceUnavailable", status=503)
    key, spec = mint_id(), place.spec("print('done')")
    with pytest.raises(Unavailable):
        place.trying_once().submit(spec, key=key)
    place.emulator.faults.clear()
    state = place.jobs.submit(spec, key=key)
    assert place.ended(state.job_id).status is JobStatus.SUCCEEDED
