"""What becomes of a job's run when machines, programs and submitters die: the truth, and no point missing."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.warm_python import warm_python
from trackbridge.domain.ids import experiment_id_of, mint_id
from trackbridge.domain.job_tags import LOG_TAIL_PATH, TAG_JOB_JOURNAL, TAG_JOB_STATUS
from trackbridge.domain.jobs import JobFacts, JobState, JobStatus
from trackbridge.domain.runs import Run, RunSpec, RunStatus
from trackbridge.journal.format import FRAME, FRAME_BYTES, HEADER_BYTES
from trackbridge.operations.following import wait_for_job
from trackbridge.operations.job_homecoming import bring_home
from trackbridge.operations.opening import open_place
from trackbridge.operations.settle import settle_where_it_is
from trackbridge.operations.uri_files import open_files

END_MS = 1_900_000_000_000
PATIENCE_S = 120

ATTEMPT = """
import os, signal, sys
import trackbridge as tb

first, last, end = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
tb.start_run()
for step in range(first, last):
    tb.log_metric("loss", 1 / (step + 1), step=step)
tb.log_text(f"steps {first} to {last}", f"notes/{first}.txt")
if end == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if end == "term":
    os.kill(os.getpid(), signal.SIGTERM)
if end == "fail":
    raise RuntimeError("no luck")
"""


class Job:
    """A job whose attempts run on several machines: each has a folder that its platform keeps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "home" / "store"
        self.uri = open_place(str(self.store)).uri
        self.run_id = mint_id()
        open_place(self.uri).tracking.open_run(
            RunSpec(
                run_id=self.run_id,
                experiment_id=experiment_id_of("wine"),
                experiment_name="wine",
                name="job",
                user="anna",
                start_time=1_700_000_000_000,
            )
        )

    def attempt(
        self,
        machine: str,
        first: int,
        last: int,
        end: str = "",
        *,
        code: str = ATTEMPT,
        python: str = sys.executable,
        **more: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run the program on a machine that does not reach the store."""
        variables = {
            **_environment(),
            "BRIDGE_TRACKING_URI": self.uri,
            "BRIDGE_RUN_ID": self.run_id,
            "BRIDGE_EXPERIMENT_NAME": "wine",
            "BRIDGE_JOB_ID": "job-1",
            "BRIDGE_HOME": str(self.folder / machine),
            "BRIDGE_DELIVERY": "later",
            **more,
        }
        cwd = self.folder / f"cwd-{machine}"
        cwd.mkdir(exist_ok=True)
        return subprocess.run(
            [python, "-c", code, str(first), str(last), end],
            env=variables,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    def sync(self, address: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Deliver what lies at an address, as a user does by hand."""
        command = [sys.executable, "-m", "trackbridge.cli", "sync", "run", address, *more]
        return subprocess.run(
            command, env=_environment(), cwd=self.folder, capture_output=True, text=True, timeout=PATIENCE_S
        )

    def state(self, machine: str, status: JobStatus = JobStatus.SUCCEEDED) -> JobState:
        """Return how the job ended, as the backend would tell it."""
        return JobState(
            job_id="job-1",
            status=status,
            reason="" if status is JobStatus.SUCCEEDED else "the machine is gone",
            run_id=self.run_id,
            tracking_uri=self.uri,
            end_time=END_MS,
            facts=JobFacts(instance_type="ml.m5.large", is_spot=True, billed_s=61, interruptions=1),
            kept_uri=(self.folder / machine).as_uri(),
        )

    @property
    def run(self) -> Run:
        return open_place(self.uri).tracking.get_run(self.run_id)

    @property
    def status(self) -> RunStatus:
        return self.run.info.status

    def steps(self) -> list[int]:
        return list(open_place(self.uri).tracking.metric_history(self.run_id, "loss").steps)

    def read_only(self, machine: str) -> str:
        """Return a copy of a machine's folder that can only be read, as a mounted bucket."""
        copy = self.folder / f"mounted-{machine}"
        shutil.copytree(self.folder / machine, copy)
        return str(copy)


def old_copy(machine: Path, copy: Path) -> None:
    """Copy what a machine keeps as it was when only the first record of its journal was written."""
    shutil.copytree(machine, copy)
    (segment,) = copy.glob("journal/*/00000001.log")
    (copy / "journal" / segment.parent.name / "closed").unlink(missing_ok=True)
    with segment.open("r+b") as file:
        length, *_ = FRAME.unpack_from(file.read(HEADER_BYTES + FRAME_BYTES), HEADER_BYTES)
        file.truncate(HEADER_BYTES + FRAME_BYTES + length)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("BRIDGE_", "MLFLOW_"))}


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    for name in [name for name in os.environ if name.startswith(("BRIDGE_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Job(tmp_path)


# Attempts on the same machine, and on others.


@pytest.mark.parametrize("order", list(itertools.permutations(["first", "second"])))
def test_a_machine_that_vanished_does_not_undo_the_attempt_after_it(job: Job, order: tuple[str, str]) -> None:
    assert job.attempt("first", 0, 50, "kill").returncode == -signal.SIGKILL
    ended = job.attempt("second", 40, 100)
    assert ended.returncode == 0, ended.stderr
    for machine in order:  # each with a folder of its own, in whatever order they come home
        synced = job.sync((job.folder / machine).as_uri())
        assert synced.returncode == 0, synced.stderr
    assert sorted(set(job.steps())) == list(range(100))
    assert job.status is RunStatus.FINISHED
    assert settle_where_it_is(job.state("first"))
    assert job.status is RunStatus.FINISHED


@pytest.mark.parametrize(("end", "status"), [("", RunStatus.FINISHED), ("fail", RunStatus.FAILED)])
def test_an_old_copy_of_what_was_delivered_undoes_nothing(job: Job, end: str, status: RunStatus) -> None:
    job.attempt("first", 0, 50, end)
    old_copy(job.folder / "first", job.folder / "old")  # as a bucket keeps it
    assert job.sync((job.folder / "first").as_uri()).returncode == 0
    ended = job.run.info
    shutil.rmtree(job.store / "journal", ignore_errors=True)  # which another machine does not have
    outcome = JobStatus.SUCCEEDED if status is RunStatus.FINISHED else JobStatus.FAILED
    assert settle_where_it_is(job.state("old", outcome))
    assert (job.status, job.run.info.end_time) == (status, ended.end_time)
    assert sorted(set(job.steps())) == list(range(50))


def test_a_run_that_is_taken_up_twice_by_one_program(job: Job) -> None:
    again = """
import os, signal
import trackbridge as tb

run_id = os.environ["BRIDGE_RUN_ID"]
for step in range(2):
    with tb.start_run(run_id=run_id):
        tb.log_metric("loss", 0.5, step=step)
        if step:
            os.kill(os.getpid(), signal.SIGKILL)
"""
    assert job.attempt("first", 0, 2, code=again).returncode == -signal.SIGKILL
    assert settle_where_it_is(job.state("first", JobStatus.FAILED))
    assert (job.status, job.steps()) == (RunStatus.KILLED, [0, 1])


def test_an_attempt_that_goes_on_keeps_the_run_open(job: Job) -> None:
    job.attempt("first", 0, 50, "kill")
    living = "import sys, trackbridge as tb\ntb.start_run()\ntb.log_metric('loss', 0.5, step=50)\n"
    living += "print('up', flush=True)\nsys.stdin.read()\n"
    variables = {**_environment(), "BRIDGE_TRACKING_URI": job.uri, "BRIDGE_RUN_ID": job.run_id}
    variables |= {"BRIDGE_JOB_ID": "job-1"}
    command, pipe = [sys.executable, "-c", living], subprocess.PIPE
    with subprocess.Popen(command, env=variables, text=True, stdin=pipe, stdout=pipe) as second:
        assert second.stdout is not None
        assert second.stdout.readline() == "up\n"
        _wait_until(lambda: TAG_JOB_JOURNAL in job.run.data.tags)
        assert job.sync((job.folder / "first").as_uri()).returncode == 0
        assert not job.status.is_final
        second.communicate(timeout=PATIENCE_S)
    _wait_until(lambda: job.status.is_final)
    assert job.status is RunStatus.FINISHED
    assert sorted(set(job.steps())) == list(range(51))


def test_attempts_in_one_folder(job: Job) -> None:
    """The platform gives the second machine what the first one kept."""
    job.attempt("kept", 0, 50, "kill")
    job.attempt("kept", 50, 70, "kill")
    assert job.attempt("kept", 70, 100).returncode == 0
    assert settle_where_it_is(job.state("kept"))
    assert sorted(set(job.steps())) == list(range(100))
    assert job.status is RunStatus.FINISHED


def test_when_every_attempt_was_killed_the_run_says_so(job: Job) -> None:
    job.attempt("kept", 0, 50, "kill")
    job.attempt("kept", 50, 70, "kill")
    assert settle_where_it_is(job.state("kept", JobStatus.FAILED))
    assert job.status is RunStatus.KILLED
    tags = job.run.data.tags
    assert tags[TAG_JOB_STATUS] == "FAILED"
    assert tags["bridge.job.reason"] == "the machine is gone"
    assert tags["bridge.job.instance_type"] == "ml.m5.large"
    assert tags["bridge.job.billed_s"] == "61"
    assert tags["bridge.job.interruptions"] == "1"
    assert tags["bridge.job.spot"] == "true"
    assert "bridge.job.instance_count" not in tags
    assert sorted(set(job.steps())) == list(range(70))


def test_a_spot_interruption_with_notice(job: Job) -> None:
    interrupted = job.attempt("first", 0, 50, "term")
    assert interrupted.returncode == -signal.SIGTERM
    job.attempt("second", 50, 100)
    assert settle_where_it_is(job.state("second"))
    assert job.sync((job.folder / "first").as_uri()).returncode == 0  # its KILLED comes last
    assert job.status is RunStatus.FINISHED
    assert sorted(set(job.steps())) == list(range(100))


def test_a_journal_that_comes_after_settlement_changes_no_status(job: Job) -> None:
    job.attempt("lost", 0, 50, "kill")
    job.attempt("kept", 50, 60, "kill")
    assert settle_where_it_is(job.state("kept", JobStatus.FAILED))
    settled = job.run.info
    assert job.sync((job.folder / "lost").as_uri()).returncode == 0
    assert (job.run.info.status, job.run.info.end_time) == (settled.status, settled.end_time)
    assert sorted(set(job.steps())) == list(range(60))


def test_a_folder_that_can_only_be_read_is_copied_first(job: Job) -> None:
    job.attempt("kept", 0, 50, "kill")
    mounted = Path(job.read_only("kept"))
    for folder in (mounted, *mounted.rglob("*")):
        folder.chmod(0o500 if folder.is_dir() else 0o400)
    for _ in range(2):
        arrival = bring_home(open_files(str(mounted)), job.store / "journal", accepts=job.uri.__eq__)
        assert job.sync(job.uri).returncode == 0
        arrival.note_delivered()
    assert len(arrival.known) == 1
    assert job.steps() == list(range(50))
    assert job.status is RunStatus.KILLED


TERMINATED = """
import os, signal, sqlite3, sys, threading
import trackbridge as tb

tb.start_run()
tb.flush()
blocker = sqlite3.connect(sys.argv[1], check_same_thread=False, isolation_level=None)
blocker.execute("BEGIN IMMEDIATE")
release = threading.Timer(float(sys.argv[2]), lambda: blocker.execute("COMMIT"))
release.daemon = True
release.start()
tb.log_metric("loss", 1.0)
synced, fsync = [], os.fsync
os.fsync = lambda descriptor: (synced.append(os.readlink(f"/proc/self/fd/{descriptor}")), fsync(descriptor))
os.kill = lambda *words: (print(*synced, sep="\\n", flush=True), os._exit(7))
signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.parametrize(("notice_s", "blocked_s"), [("60", "2"), ("0", "600")])
def test_sigterm_waits_as_long_as_the_platform_gives(local: Local, notice_s: str, blocked_s: str) -> None:
    """The store is locked for a while; what was logged is on the disk before anybody is waited for."""
    spec = RunSpec(
        run_id=mint_id(),
        experiment_id="e" * 32,
        experiment_name="wine",
        name="job",
        user="anna",
        start_time=1_700_000_000_000,
    )
    place = open_place(local.uri)
    place.tracking.open_run(spec)
    variables = {
        **_environment(),
        "BRIDGE_TRACKING_URI": local.uri,
        "BRIDGE_RUN_ID": spec.run_id,
        "BRIDGE_JOB_ID": "job-1",
        "BRIDGE_DELIVERY_EXIT_WAIT_S": notice_s,
    }
    command = [sys.executable, "-c", TERMINATED, str(local.folder / "store" / "store.db"), blocked_s]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 7, done.stderr
    if notice_s == "60":
        assert place.tracking.get_run(spec.run_id).data.metrics == {"loss": 1.0}
    assert {"00000001.log", "staged"} <= {Path(line).name for line in done.stdout.splitlines()}
    _wait_until(lambda: place.tracking.get_run(spec.run_id).info.status is RunStatus.KILLED)
    assert place.tracking.get_run(spec.run_id).data.metrics == {"loss": 1.0}


# What the job's machine can reach: nothing.


@pytest.fixture(scope="module")
def mlflow_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An interpreter that has imported mlflow; its programs have to say ``ENDS``."""
    with warm_python(tmp_path_factory.mktemp("warm"), ("mlflow",)) as python:
        yield python


def test_a_program_that_only_uses_mlflow_where_no_store_is_to_be_reached(
    job: Job, mlflow_python: str
) -> None:
    more = {"MLFLOW_TRACKING_URI": "bridge:", "MLFLOW_RUN_ID": job.run_id}
    done = job.attempt("kept", 0, 20, code=MLFLOW_ONLY + ENDS, python=mlflow_python, **more)
    assert done.returncode == 0, done.stderr
    assert settle_where_it_is(job.state("kept"))
    assert job.steps() == list(range(20))
    assert job.run.data.params == {"lr": "0.1"}
    assert job.status is RunStatus.FINISHED


def test_reading_there_says_why_it_cannot(job: Job) -> None:
    code = "import trackbridge as tb\ntb.start_run()\ntb.flush()\ntb.search_runs(experiment_names=['wine'])"
    done = job.attempt("kept", 0, 0, code=code)
    assert "is not to be reached from this job: its records go home at its end" in done.stderr
    assert settle_where_it_is(job.state("kept", JobStatus.FAILED))
    assert job.status is RunStatus.FAILED


MLFLOW_ONLY = """
import sys
import mlflow

mlflow.set_experiment("what the script was written for")
with mlflow.start_run():
    mlflow.log_param("lr", 0.1)
    for step in range(int(sys.argv[1]), int(sys.argv[2])):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
"""


ENDS = "import atexit\natexit._run_exitfuncs()\n"
"""What an interpreter does at its end, and a fork does not."""


# Several processes.

RANK = """
import logging, os, sys
logging.basicConfig(level=logging.DEBUG)
import trackbridge as tb

rank = int(sys.argv[1])
tb.set_experiment("wine")
with tb.start_run() as run:
    tb.log_param("rank", rank)
    tb.log_metric("loss", float(rank), step=rank)
    tb.log_text("x", f"rank-{rank}.txt")
    tb.set_tag(f"rank-{rank}", "here")
    print(run.info.run_id, flush=True)
    if rank == 1 and sys.argv[3] == "fail":
        raise RuntimeError("this rank has no luck")
"""


@pytest.mark.parametrize("variable", ["RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK"])
def test_only_the_first_rank_tracks(job: Job, variable: str) -> None:
    for rank in range(3):
        done = job.attempt("kept", rank, 3, code=RANK, **{variable: str(rank)})
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == job.run_id
        told = "does not track: its calls are accepted and go nowhere" in done.stderr
        assert told == (rank > 0)
        assert len(list((job.folder / "kept" / "journal").glob("0*"))) == 1
    assert settle_where_it_is(job.state("kept"))
    assert job.run.data.params == {"rank": "0"}
    assert job.steps() == [0]


@pytest.mark.parametrize("all_track", [False, True])
def test_ranks_that_only_use_mlflow(job: Job, all_track: bool, mlflow_python: str) -> None:
    more = {"MLFLOW_TRACKING_URI": "bridge:", "MLFLOW_RUN_ID": job.run_id}
    more |= {"BRIDGE_TRACKING": "on"} if all_track else {}
    for rank in range(2):
        first = 10 * rank
        code = MLFLOW_ONLY + ENDS
        done = job.attempt("kept", first, first + 10, code=code, python=mlflow_python, RANK=str(rank), **more)
        assert done.returncode == 0, done.stderr
    assert settle_where_it_is(job.state("kept"))
    assert job.steps() == list(range(20 if all_track else 10))
    assert job.status is RunStatus.FINISHED


def test_a_process_that_is_told_so_does_not_track(job: Job) -> None:
    done = job.attempt("kept", 0, 3, code=RANK, BRIDGE_TRACKING="off")
    assert done.returncode == 0, done.stderr
    assert not (job.folder / "kept" / "journal").exists()


def test_where_all_ranks_track_the_first_says_how_it_ends(job: Job) -> None:
    code = RANK.replace('tb.log_param("rank", rank)', "")
    for rank in (0, 2, 1):
        done = job.attempt("kept", rank, 3, "fail", code=code, BRIDGE_TRACKING="on", RANK=str(rank))
        assert (done.returncode == 0) == (rank != 1), done.stderr
    assert settle_where_it_is(job.state("kept"))
    assert job.steps() == [0, 1, 2]
    assert {name for name in job.run.data.tags if name.startswith("rank-")} == {"rank-0", "rank-1", "rank-2"}
    assert job.status is RunStatus.FINISHED


def test_a_rank_outside_of_jobs_means_nothing(job: Job) -> None:
    variables = {**_environment(), "BRIDGE_TRACKING_URI": job.uri, "RANK": "3", "BRIDGE_RUN_ID": job.run_id}
    command = [sys.executable, "-c", RANK, "3", "3", ""]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert job.run.data.params == {"rank": "3"}


# Jobs of this machine, from one end to the other.


class Local:
    """Jobs on this machine, submitted by the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = open_place(str(folder / "store")).uri

    def submit(self, code: str, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "train.py").write_text(code)
        command = [sys.executable, "-m", "trackbridge.cli", "run", "train.py", "--uri", self.uri, *options]
        return subprocess.run(
            command,
            env={**_environment(), **more},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    @property
    def run(self) -> Run:
        (run,) = open_place(self.uri).tracking.list_runs(experiment_id_of("Default")).items
        return run

    def settled(self) -> Run:
        _wait_until(lambda: TAG_JOB_STATUS in self.run.data.tags)
        return self.run

    def log_tail(self) -> str:
        artifacts = open_place(self.uri).adapter.artifacts
        assert artifacts is not None
        with artifacts.open(self.run.info.run_id, LOG_TAIL_PATH) as file:
            return file.read().decode()


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Local:
    for name in [name for name in os.environ if name.startswith(("BRIDGE_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Local(tmp_path)


@pytest.mark.parametrize("how", ["--wait", "--detach"])
def test_a_job_of_this_machine_leaves_its_facts_and_its_log(local: Local, how: str) -> None:
    code = "import os, sys; print('key', os.environ['MODEL_STORE']); print('password=hunter22'); sys.exit(3)"
    done = local.submit(code, "--secret", "MODEL_STORE=env:PLACE", how, PLACE="open-sesame")
    assert done.returncode == (3 if how == "--wait" else 0), done.stderr
    run = local.settled()
    assert run.info.status is RunStatus.FAILED
    tags = run.data.tags
    assert (tags["bridge.job.status"], tags["bridge.job.exit_code"]) == ("FAILED", "3")
    assert "exit code 3" in tags["bridge.job.reason"]
    assert tags["bridge.job.url"].startswith("file:")
    assert tags["bridge.job"] in tags["bridge.job.url"]
    assert local.log_tail() == "key ***\npassword=***\n"


def test_only_the_end_of_a_long_log_is_kept(local: Local) -> None:
    local.submit("for number in range(40_000): print('line', number)")
    local.settled()
    tail = local.log_tail()
    assert tail.endswith("line 39998\nline 39999\n")
    assert tail.startswith("line ")
    assert 60 * 1024 < len(tail) <= 64 * 1024


def test_an_attempt_that_was_killed_and_the_one_after_it(local: Local) -> None:
    code = """
import os, signal
from pathlib import Path
import trackbridge as tb

tb.start_run()
first = not Path("been-here").exists()
Path("been-here").touch()
for step in range(0, 50) if first else range(50, 100):
    tb.log_metric("loss", 1 / (step + 1), step=step)
if first:
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = local.submit(code, "--retries", "1")
    assert done.returncode == 0, done.stderr
    run = local.settled()
    assert run.info.status is RunStatus.FINISHED
    steps = open_place(local.uri).tracking.metric_history(run.info.run_id, "loss").steps
    assert list(steps) == list(range(100))


def test_a_job_that_only_uses_mlflow_logs_to_its_run(local: Local) -> None:
    code = MLFLOW_ONLY.replace("int(sys.argv[1]), int(sys.argv[2])", "20")
    done = local.submit(code, "-P", "depth=3", MLFLOW_EXPERIMENT_ID="17", MLFLOW_RUN_ID="b" * 32)
    assert done.returncode == 0, done.stderr
    run = local.settled()
    assert run.info.status is RunStatus.FINISHED
    assert run.data.params == {"depth": "3", "lr": "0.1"}
    assert run.data.metrics == {"loss": 1 / 20}


# Submitters that die.

SUBMIT = """
import os, signal, sys
from trackbridge.domain.jobs import JobSpec
from trackbridge.operations import submit as submitting
from trackbridge.operations.opening import open_place

step = sys.argv[1]
place = open_place(sys.argv[2])

def die(*words, **more):
    os.kill(os.getpid(), signal.SIGKILL)

def dying_after(function):
    def run(*words, **more):
        function(*words, **more)
        die()
    return run

jobs = place.jobs
if step == "before the run":
    submitting._open_run = die
elif step == "run opened":
    submitting._open_run = dying_after(submitting._open_run)
elif step == "job submitted":
    submitting._note_job = die
elif step == "job noted":
    submitting._note_job = dying_after(submitting._note_job)
wanted = {"tracking": place.tracking, "tracking_uri": place.uri, "experiment": "Default", "name": "job"}
spec = JobSpec(name="job", command=("python", "-c", "import trackbridge as tb; tb.log_metric('loss', 1.0)"))
run = submitting.RunWanted(**wanted)
print(submitting.submit(spec, jobs, run, key="nightly", place=place.uri).state.job_id)
"""


@pytest.mark.parametrize("step", ["before the run", "run opened", "job submitted", "job noted"])
@pytest.mark.parametrize("is_repeated", [True, False])
def test_a_submitter_that_is_killed(local: Local, step: str, is_repeated: bool) -> None:
    def submit(when: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", SUBMIT, when, local.uri]
        return subprocess.run(
            command, env=_environment(), cwd=local.folder, capture_output=True, text=True, timeout=PATIENCE_S
        )

    assert submit(step).returncode == -signal.SIGKILL
    if is_repeated:
        repeated = submit("never")
        assert repeated.returncode == 0, repeated.stderr
    place = open_place(local.uri)
    listed = place.jobs.list_jobs().items
    if not is_repeated and step in ("before the run", "run opened"):
        assert listed == ()
        return
    (state,) = listed
    ended = wait_for_job(state.job_id, place.jobs)
    assert settle_where_it_is(ended, place.jobs, place.uri)
    run = local.settled()
    assert run.info.status is RunStatus.FINISHED
    assert run.data.tags["bridge.job"] == state.job_id
    assert run.data.tags["bridge.job.place"] == place.uri
    assert run.data.metrics == {"loss": 1.0}


def test_a_running_job_is_named_on_its_run_when_it_is_looked_at(local: Local) -> None:
    command = [
        sys.executable,
        "-c",
        SUBMIT.replace("tb.log_metric", "open('up', 'w'); input"),
        "job submitted",
    ]
    subprocess.run([*command, local.uri], env=_environment(), cwd=local.folder, timeout=PATIENCE_S)
    place = open_place(local.uri)
    (state,) = place.jobs.list_jobs().items
    assert "bridge.job" not in local.run.data.tags
    running = msgspec.structs.replace(state, status=JobStatus.RUNNING)
    assert settle_where_it_is(running, place.jobs, place.uri) is None
    assert local.run.data.tags["bridge.job"] == state.job_id
    wait_for_job(state.job_id, place.jobs)
