"""Jobs on the emulator of SageMaker and the runs that they log to: what comes home, and what a loss takes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import trackbridge as tb
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
from tests.support.sagemaker_jobs import BUCKET, files_at, jobs_emulator
from trackbridge.domain.ids import mint_id
from trackbridge.domain.job_tags import TAG_JOB
from trackbridge.domain.jobs import JobStatus
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge.testing.emulators.sagemaker.jobs_records import Jobs

WAIT_S = 240.0
LOGS = """
import pathlib, time
import trackbridge as tb

with tb.start_run() as run:
    for step in range(50):
        tb.log_metric("loss", 1.0 / (step + 1), step=step)
    print("logged", run.info.run_id, flush=True)
    while True:
        time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def account() -> Iterator[SageMakerEmulator]:
    with jobs_emulator() as emulator:
        yield emulator


@pytest.fixture
def aws(
    account: SageMakerEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SageMakerEmulator]:
    """A place of jobs, and a store of this machine as tracking home."""
    (tmp_path / "code").mkdir()
    monkeypatch.chdir(tmp_path / "code")
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BRIDGE_TRACKING_URI", f"file:{tmp_path / 'store'}")
    monkeypatch.setenv("BRIDGE_TEST_PLACE", f"{account.uri}/{mint_id()}?job_logs_late_s=0&job_notice_s=30")
    yield account
    account.raise_failures()


def submitted(code: str, **settings: Any) -> tb.Job:
    """Submit some code, to be run with what this environment has."""
    command = [sys.executable, "-c", code]
    return tb.submit(command, name="a job", env_manager="local", on=place(), **settings)


def place() -> str:
    return os.environ["BRIDGE_TEST_PLACE"]


def losses(run_id: str) -> list[tuple[int, float]]:
    history = tb.Client().get_metric_history(run_id, "loss")
    return sorted((point.step, point.value) for point in history)


def wanted(count: int) -> list[tuple[int, float]]:
    return [(step, 1.0 / (step + 1)) for step in range(count)]


def has_logged(job: tb.Job, text: str) -> Callable[[], bool]:
    """Return what tells whether a text has come to the log of a job."""

    def looked() -> bool:
        state = job.state()
        assert not state.status.is_final, state
        return text in job._place.jobs.read_logs(job.id).text

    return looked


def test_the_example_gives_the_same_as_without_a_job(aws: SageMakerEmulator) -> None:
    """The other entry point runs below, with its run at home in SageMaker itself."""
    job = tb.submit(PROJECT, QUICK["network"], entry_point="network", env_manager="local", on=place())
    job.wait_for_success()
    assert tracked(tb.Client(), job.run_id) == expected("network")
    run = tb.get_run(job.run_id)
    assert (run.info.status, run.data.tags[TAG_JOB]) == ("FINISHED", job.id)


def test_a_project_runs_in_the_environment_that_it_declares(
    aws: SageMakerEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = small_project(tmp_path, monkeypatch)
    runs_in_its_own_environment(tmp_path, variables, on=place())


def test_a_run_may_be_at_home_in_sagemaker_itself(
    aws: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job delivers by itself, with the keys of its role."""
    monkeypatch.setenv("BRIDGE_TRACKING_URI", place().partition("?")[0])
    job = tb.submit(PROJECT, QUICK["main"], entry_point="main", env_manager="local", on=place())
    job.wait_for_success()
    assert tracked(tb.Client(), job.run_id) == expected("main")
    asked: Any = aws.client("sagemaker").list_tags(ResourceArn=arn_of(aws, job.id))["Tags"]
    assert {"Key": "bridge:run-id", "Value": job.run_id} in asked


def arn_of(aws: SageMakerEmulator, job_id: str) -> str:
    told = aws.client("sagemaker").describe_training_job(TrainingJobName=job_id)
    return str(told["TrainingJobArn"])


def test_a_node_that_vanishes_loses_no_point_that_was_brought_away(aws: SageMakerEmulator) -> None:
    job = submitted(LOGS)
    eventually(has_logged(job, "logged"))
    kept, seen = job.state().kept_uri, []

    def is_brought_away() -> bool:
        seen.append({name: len(content) for name, content in files_at(aws, f"{kept}/journal").items()})
        return len(seen) > 30 and seen[-1] == seen[-20] and sum(seen[-1].values()) > 0

    eventually(is_brought_away)
    aws.cloud.part(Jobs).lose_instances(job.id)
    state = job.wait(WAIT_S)
    assert (state.status, state.exit_code) == (JobStatus.FAILED, None)
    assert "InternalServerError" in state.reason
    assert losses(job.run_id) == wanted(50)
    assert tb.get_run(job.run_id).info.status in ("FAILED", "KILLED")


def test_spot_capacity_that_is_taken_away_goes_on_elsewhere(aws: SageMakerEmulator) -> None:
    job = submitted(GOES_ON, spot=True, checkpoints=f"s3://{BUCKET}/{mint_id()}")
    eventually(has_logged(job, "half"))
    aws.cloud.part(Jobs).interrupt(job.id)
    state = job.wait(WAIT_S)
    assert (state.status, state.attempt) == (JobStatus.SUCCEEDED, 2)
    assert (state.facts.is_spot, state.facts.interruptions) == (True, 1)
    assert losses(job.run_id) == wanted(20)
    assert tb.get_run(job.run_id).info.status == "FINISHED"
