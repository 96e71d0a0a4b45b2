"""Who closes the run of a job: its program where it did, settle where it did not, and nobody too early."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trackbridge.domain.ids import experiment_id_of, mint_id
from trackbridge.domain.jobs import JobState, JobStatus
from trackbridge.domain.runs import RunSpec, RunStatus
from trackbridge.operations.opening import Opened, open_place
from trackbridge.operations.settle import main, settle, settle_job, settle_where_it_is

END_MS = 1_700_000_600_000


class Project:
    """A local store with one run that a job is to log to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = folder.as_uri()
        self.root = folder / "journal"
        self.run_id = mint_id()
        self.place.tracking.open_run(
            RunSpec(
                run_id=self.run_id,
                experiment_id=experiment_id_of("wine"),
                experiment_name="wine",
                name="job",
                user="anna",
                start_time=1_700_000_000_000,
            )
        )

    @property
    def place(self) -> Opened:
        return open_place(self.uri)

    @property
    def status(self) -> RunStatus:
        return self.place.tracking.get_run(self.run_id).info.status

    def program(self, *lines: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the job, which delivers nothing by itself."""
        code = "\n".join(("import os, signal, sys", "import trackbridge as tb", *lines))
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")},
            "BRIDGE_TRACKING_URI": self.uri,
            "BRIDGE_RUN_ID": self.run_id,
            "BRIDGE_EXPERIMENT_NAME": "wine",
            "BRIDGE_DELIVERY": "off",
        }
        return subprocess.run(
            [sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=60
        )

    def settle(self, status: RunStatus = RunStatus.FINISHED) -> bool:
        return settle(
            self.run_id,
            self.place.tracking,
            status=status,
            end_time=END_MS,
            journal_root=self.root,
            destination=self.place.uri,
        )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in [name for name in os.environ if name.startswith(("BRIDGE_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path / "store")


def test_a_program_that_knows_nothing_of_trackbridge(project: Project) -> None:
    assert project.settle(RunStatus.FAILED)
    info = project.place.tracking.get_run(project.run_id).info
    assert (info.status, info.end_time) == (RunStatus.FAILED, END_MS)
    assert project.settle(RunStatus.FINISHED)  # again: what stands, stands
    assert project.status is RunStatus.FAILED


def test_what_a_program_said_of_its_run_stands(project: Project) -> None:
    project.program("tb.start_run()", "tb.log_metric('loss', 1.0)", "tb.end_run('FAILED')", "os._exit(0)")
    assert project.status is RunStatus.RUNNING  # its journal is not delivered
    assert project.settle(RunStatus.FINISHED)
    run = project.place.tracking.get_run(project.run_id)
    assert run.info.status is RunStatus.FAILED
    assert run.data.metrics == {"loss": 1.0}


def test_a_program_that_fails_after_it_closed_its_run(project: Project) -> None:
    project.program("tb.start_run()", "tb.log_metric('loss', 1.0)", "tb.end_run()", "os._exit(3)")
    assert project.settle(RunStatus.FAILED)
    run = project.place.tracking.get_run(project.run_id)
    assert (run.info.status, run.info.end_time) == (RunStatus.FAILED, END_MS)
    assert run.data.metrics == {"loss": 1.0}


@pytest.mark.parametrize(
    ("ended", "settled", "stands"),
    [
        (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.FAILED),
        (RunStatus.FINISHED, RunStatus.KILLED, RunStatus.FINISHED),
        (RunStatus.KILLED, RunStatus.FAILED, RunStatus.KILLED),
        (RunStatus.FAILED, RunStatus.FINISHED, RunStatus.FAILED),
    ],
)
def test_only_what_ended_too_well_is_corrected(
    project: Project, ended: RunStatus, settled: RunStatus, stands: RunStatus
) -> None:
    project.place.tracking.close_run(project.run_id, status=ended, end_time=END_MS - 1)
    assert project.settle(settled)
    assert project.status is stands


def test_a_deleted_run_that_ended_too_well_stays_as_it_is(project: Project) -> None:
    project.place.tracking.close_run(project.run_id, status=RunStatus.FINISHED, end_time=END_MS)
    project.place.tracking.delete_run(project.run_id)
    assert project.settle(RunStatus.FAILED)
    assert project.status is RunStatus.FINISHED


def test_a_program_that_left_its_run_open(project: Project) -> None:
    project.program("tb.Client().log_metric(os.environ['BRIDGE_RUN_ID'], 'loss', 1.0)")
    assert project.settle(RunStatus.FINISHED)
    run = project.place.tracking.get_run(project.run_id)
    assert (run.info.status, run.info.end_time) == (RunStatus.FINISHED, END_MS)
    assert run.data.metrics == {"loss": 1.0}


def test_a_program_that_was_killed(project: Project) -> None:
    project.program("tb.start_run()", "tb.log_metric('loss', 1.0)", "os.kill(os.getpid(), signal.SIGKILL)")
    assert project.settle(RunStatus.FAILED)
    run = project.place.tracking.get_run(project.run_id)
    assert run.info.status is RunStatus.KILLED
    assert run.data.metrics == {"loss": 1.0}


def test_nothing_is_cut_off_while_records_are_on_their_way(project: Project) -> None:
    project.program("tb.start_run()", "tb.log_metric('loss', 1.0)", "tb.end_run('FAILED')", "os._exit(0)")
    asked: list[Path] = []
    is_closed = settle(
        project.run_id,
        project.place.tracking,
        status=RunStatus.FINISHED,
        end_time=END_MS,
        journal_root=project.root,
        destination=project.place.uri,
        deliver=asked.append,
    )
    assert not is_closed
    assert asked == [project.root]
    assert project.status is RunStatus.RUNNING
    assert project.settle()


def test_a_living_program_keeps_its_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, trackbridge as tb; tb.start_run(); print('up', flush=True); sys.stdin.read()"
    variables = {**os.environ, "BRIDGE_TRACKING_URI": project.uri, "BRIDGE_RUN_ID": project.run_id}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert not project.settle()
        assert project.status is RunStatus.RUNNING
        process.communicate(timeout=60)
    assert project.settle()
    assert project.status is RunStatus.FINISHED


def test_journals_for_other_places_do_not_matter(project: Project, tmp_path: Path) -> None:
    own = project.uri
    project.uri = (tmp_path / "other").as_uri()
    project.program("tb.log_metric('loss', 1.0)")
    project.uri = own
    assert project.settle()


def test_a_run_that_is_gone(project: Project) -> None:
    project.place.tracking.delete_run(project.run_id)
    assert not project.settle()
    project.run_id = mint_id()
    assert not project.settle()


@pytest.mark.parametrize(
    ("job_status", "run_status"),
    [
        (JobStatus.SUCCEEDED, RunStatus.FINISHED),
        (JobStatus.FAILED, RunStatus.FAILED),
        (JobStatus.CANCELLED, RunStatus.KILLED),
    ],
)
def test_the_status_of_a_job_becomes_that_of_its_run(
    project: Project, job_status: JobStatus, run_status: RunStatus
) -> None:
    state = JobState(
        job_id="j",
        status=job_status,
        run_id=project.run_id,
        tracking_uri=project.place.uri,
        end_time=END_MS,
    )
    assert settle_where_it_is(state)
    assert project.status is run_status


def test_jobs_without_anything_to_settle(project: Project) -> None:
    running = JobState(job_id="j", status=JobStatus.RUNNING, run_id=project.run_id, tracking_uri=project.uri)
    tracking = project.place.tracking
    for state in (
        running,
        JobState(job_id="j", status=JobStatus.FAILED),
        JobState(job_id="j", status=JobStatus.FAILED, run_id=project.run_id, tracking_uri="file:/other"),
    ):
        settled = settle_job(state, tracking, journal_root=project.root, destination=project.place.uri)
        assert settled is None
    assert settle_where_it_is(running) is None
    assert project.status is RunStatus.RUNNING


def test_from_the_command_line(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--tracking-uri", project.uri, "--run-id", project.run_id, "--status", "KILLED"]
    assert main([*arguments, "--end-time", str(END_MS)]) == 0
    assert project.status is RunStatus.KILLED
    assert main([*arguments, "--end-time", str(END_MS)]) == 0
    wrong = ["--tracking-uri", "nowhere", "--run-id", "x", "--status", "KILLED", "--end-time", "1"]
    assert main(wrong) == 1
    assert "is not settled" in capsys.readouterr().err


def test_as_a_program_of_its_own(project: Project) -> None:
    command = [sys.executable, "-m", "trackbridge.operations.settle", "--tracking-uri", project.uri]
    command += ["--run-id", project.run_id, "--status", "FINISHED", "--end-time", str(END_MS)]
    assert subprocess.run(command, timeout=60).returncode == 0
    assert project.status is RunStatus.FINISHED


def test_what_happens_is_published(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[tuple[str, str, str]] = []
    monkeypatch.setattr(
        "trackbridge.operations.settle.publish",
        lambda kind, *, subject, data, **rest: events.append((kind, subject, data["status"])),
    )
    arguments = ["--tracking-uri", project.uri, "--run-id", project.run_id, "--status", "FAILED"]
    assert main([*arguments, "--end-time", str(END_MS)]) == 0
    assert events == [
        ("run.closed", project.run_id, "FAILED"),
        ("job.ended", project.run_id, "FAILED"),
    ]
    assert project.settle()
    assert len(events) == 2
