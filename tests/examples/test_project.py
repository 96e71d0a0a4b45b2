"""examples/project: it runs as it is, and a job of it logs what its programs log by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

import trackbridge as tb
from tests.support.project_runs import (
    PROJECT,
    QUICK,
    expected,
    runs_in_its_own_environment,
    small_project,
    tracked,
)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tb.Client:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRIDGE_TRACKING_URI", str(tmp_path / "runs"))
    monkeypatch.setattr("trackbridge.api.fluent._client", None)
    return tb.Client()


@pytest.mark.parametrize("entry_point", QUICK)
def test_a_job_of_it_logs_what_the_program_logs(client: tb.Client, entry_point: str) -> None:
    job = tb.submit(PROJECT, QUICK[entry_point], entry_point=entry_point, env_manager="local")
    job.wait_for_success()
    found = tracked(client, job.run_id)
    assert found == expected(entry_point)
    assert found.points["loss"]
    assert found.digests
    assert client.get_run(job.run_id).data.tags["mlflow.project.entryPoint"] == entry_point


def test_its_steps_are_nested_in_the_run_of_the_pipeline(client: tb.Client) -> None:
    job = tb.submit(PROJECT, {"target": 0.3}, entry_point="pipeline", env_manager="local")
    job.wait_for_success()
    parent = client.get_run(job.run_id)
    steps = [run for run in client.search_runs([parent.info.experiment_id]) if run.info.run_id != job.run_id]
    assert {step.data.tags["mlflow.parentRunId"] for step in steps} == {job.run_id}
    assert parent.data.tags["best"] in {step.info.run_id for step in steps}
    assert {step.info.status for step in (parent, *steps)} == {"FINISHED"}


def test_a_project_runs_in_the_environment_that_it_declares(
    client: tb.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_project(tmp_path, monkeypatch)
    runs_in_its_own_environment(tmp_path, {})
