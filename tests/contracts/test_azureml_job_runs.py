"""Jobs on the emulator of Azure ML and the runs that they log to: what a lost node takes along, what not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import trackbridge as tb
from tests.support.azureml_emulators import PACE
from tests.support.job_programs import GOES_ON
from tests.support.processes import eventually
from tests.support.project_runs import (
    PROJECT,
    QUICK,
    expected,
    runs_in_its_own_environment,
    small_project,
    tracked,
)
from trackbridge.cli.main import bridge as bridge_group
from trackbridge.domain.job_tags import TAG_JOB, TAG_JOB_PLACE
from trackbridge.domain.jobs import JobStatus, LogChunk
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.jobs_records import Job, Jobs
from trackbridge.testing.emulators.azureml.run_files import artifact_place

WAIT_S = 240.0
NOTICE_S = 30.0

LOGS = """
import pathlib, sys, time
import trackbridge as tb

with tb.start_run() as run:
    for step in range(50):
        tb.log_metric("loss", 1.0 / (step + 1), step=step)
    print("logged", run.info.run_id, flush=True)
    while not pathlib.Path(sys.argv[1]).exists():
        time.sleep(0.02)
"""
SUBMITS = """
import os, signal, sys
import trackbridge as tb

code = [sys.executable, "-c", "print('ran')"]
job = tb.submit(code, name="orphan", env_manager="local", key="k-1", on=os.environ["BRIDGE_TRACKING_URI"])
print(job.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def azure(azureml: AzureMlEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AzureMlEmulator:
    """The workspace as tracking home and as the place of jobs, found under Azure's own names."""
    for name, value in azureml.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "home"))
    (tmp_path / "code").mkdir()
    monkeypatch.chdir(tmp_path / "code")
    monkeypatch.setenv("BRIDGE_TRACKING_URI", azureml.uri)
    azureml.cloud.part(Jobs).grace_s = NOTICE_S / PACE
    return azureml


def submitted(code: str, *words: str, **settings: Any) -> tb.Job:
    """Submit some code, to be run with what this environment has."""
    command = [sys.executable, "-c", code, *words]
    return tb.submit(
        command, name="a job", env_manager="local", on=os.environ["BRIDGE_TRACKING_URI"], **settings
    )


def losses(run_id: str) -> list[tuple[int, float]]:
    history = tb.Client().get_metric_history(run_id, "loss")
    return sorted((point.step, point.value) for point in history)


def wanted(count: int) -> list[tuple[int, float]]:
    return [(step, 1.0 / (step + 1)) for step in range(count)]


def has_logged(azure: AzureMlEmulator, job: tb.Job, text: str) -> Callable[[], bool]:
    """Return what tells whether a text has come to the log of a job."""

    def looked() -> bool:
        state = job.state()
        assert not state.status.is_final, state
        return text in read_log(job)

    return looked


def read_log(job: tb.Job) -> str:
    text, cursor = "", ""
    while True:
        chunk: LogChunk = job._place.jobs.read_logs(job.id, cursor=cursor)
        text, cursor = text + chunk.text, chunk.cursor
        if chunk.done or not chunk.text:
            return text


def job_of(azure: AzureMlEmulator, name: str) -> Job:
    found = azure.cloud.part(Jobs).find(f"{azure.scope}/jobs/{name}")
    assert found is not None
    return found


def test_run_and_job_lead_to_each_other(azure: AzureMlEmulator, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    job = submitted(LOGS, str(tmp_path / "go"))

    state = job.wait(WAIT_S)

    assert (state.status, state.exit_code) == (JobStatus.SUCCEEDED, 0), read_log(job)
    run = tb.get_run(job.run_id)
    assert run.data.tags[TAG_JOB] == job.id
    assert run.data.tags[TAG_JOB_PLACE].startswith("azureml:")
    assert (run.info.status, losses(job.run_id)) == ("FINISHED", wanted(50))
    assert job_of(azure, job.id).asked["tags"] == {"bridge.job.run": job.run_id}
    assert f"logged {job.run_id}" in read_log(job)


def test_a_node_that_vanishes_loses_no_point_that_was_brought_away(
    azure: AzureMlEmulator, tmp_path: Path
) -> None:
    """Nothing is delivered from the machine: what comes home are the journals in its ``outputs``."""
    job = submitted(LOGS, str(tmp_path / "never"), variables={"BRIDGE_DELIVERY": "off"})
    eventually(has_logged(azure, job, "logged"))
    kept = artifact_place(azure.cloud, azure.scope).below(
        f"{job_of(azure, job.id).folder}/outputs/bridge/journal"
    )
    sizes: list[int] = []

    def is_brought_away() -> bool:
        sizes.append(
            sum(
                len(kept.read(azure.cloud, blob.path[len(kept.path) + 1 :]) or b"")
                for blob in kept.blobs(azure.cloud)
            )
        )
        return len(sizes) > 30 and sizes[-1] == sizes[-20] > 0

    eventually(is_brought_away)
    azure.cloud.part(Jobs).lose_nodes(job_of(azure, job.id))

    state = job.wait(WAIT_S)

    assert (state.status, state.exit_code) == (JobStatus.FAILED, None)
    assert "sent no heartbeat" in state.reason
    assert losses(job.run_id) == wanted(50)
    run = tb.get_run(job.run_id)
    assert run.info.status in ("FAILED", "KILLED")


def test_spot_capacity_that_is_taken_away_goes_on_elsewhere(azure: AzureMlEmulator) -> None:
    place = "azureml://datastores/workspaceblobstore/paths/checkpoints"
    job = submitted(GOES_ON, spot=True, checkpoints=place)
    eventually(has_logged(azure, job, "half"))
    azure.cloud.part(Jobs).take_away(job_of(azure, job.id), notice_s=NOTICE_S)

    state = job.wait(WAIT_S)

    assert (state.status, state.attempt) == (JobStatus.SUCCEEDED, 2), read_log(job)
    assert (state.facts.is_spot, state.facts.interruptions) == (True, 1)
    assert losses(job.run_id) == wanted(20)
    assert tb.get_run(job.run_id).info.status == "FINISHED"


def test_spot_capacity_that_does_not_come_back_fails_the_job(azure: AzureMlEmulator, tmp_path: Path) -> None:
    job = submitted(LOGS, str(tmp_path / "never"), spot=True)
    eventually(has_logged(azure, job, "logged"))
    azure.cloud.part(Jobs).take_away(job_of(azure, job.id), notice_s=NOTICE_S, restarts=False)

    state = job.wait(WAIT_S)

    assert state.status is JobStatus.FAILED
    assert "asked it to stop" in state.reason
    assert losses(job.run_id) == wanted(50)


def test_a_submitter_that_is_killed_leaves_a_job_that_is_found_again(azure: AzureMlEmulator) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", SUBMITS], env=dict(os.environ), capture_output=True, text=True, timeout=WAIT_S
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    code = [sys.executable, "-c", "print('ran')"]
    job = tb.submit(code, name="orphan", env_manager="local", key="k-1", on=os.environ["BRIDGE_TRACKING_URI"])
    eventually(lambda: job.state().status.is_final)

    assert job.id == killed.stdout.strip()
    assert job.state().status is JobStatus.SUCCEEDED
    assert [item.job_id for item in job._place.jobs.list_jobs()] == [job.id]
    assert tb.get_run(job.run_id).info.status == "RUNNING", "it does not track, and nobody has looked"
    listed = CliRunner().invoke(bridge_group, ["jobs", "list", "--all"], catch_exceptions=False)
    assert job.id in listed.output, "--all lists the jobs of the tracking URI, too"
    assert tb.get_run(job.run_id).info.status == "FINISHED"
    assert tb.get_run(job.run_id).data.tags["mlflow.user"]


@pytest.mark.parametrize("entry_point", QUICK)
def test_the_example_gives_the_same_as_without_a_job(azure: AzureMlEmulator, entry_point: str) -> None:
    job = tb.submit(
        PROJECT,
        entry_point=entry_point,
        env_manager="local",
        on=os.environ["BRIDGE_TRACKING_URI"],
        parameters=QUICK[entry_point],
    )

    state = job.wait(WAIT_S)

    assert state.status is JobStatus.SUCCEEDED, read_log(job)
    assert tracked(tb.Client(), job.run_id) == expected(entry_point)


def test_a_project_runs_in_the_environment_that_it_declares(
    azure: AzureMlEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_project(tmp_path, monkeypatch)
    runs_in_its_own_environment(tmp_path, {}, on=os.environ["BRIDGE_TRACKING_URI"])
