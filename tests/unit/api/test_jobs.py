"""``tb.submit`` and ``tb.run_project``: what they take, and how steps stand below their pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

import trackbridge as tb
from trackbridge.domain.jobs import JobSpec, JobStatus
from trackbridge.errors import BridgeError, Conflict, InvalidInput

MLPROJECT = """
name: wine
entry_points:
  main: {parameters: {alpha: float}, command: "test {alpha} = 0.5"}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in the current directory, and a fresh place for runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRIDGE_TRACKING_URI", str(tmp_path / "runs"))
    monkeypatch.setattr("trackbridge.api.fluent._client", None)
    monkeypatch.setattr("trackbridge.api.fluent._experiment", None)
    (tmp_path / "wine").mkdir()
    (tmp_path / "wine/MLproject").write_text(MLPROJECT)
    return tmp_path


def test_a_project(folder: Path) -> None:
    job = tb.submit("wine", {"alpha": 0.5}, experiment_name="wines", tags={"team": "blue"})
    assert job.wait_for_success().status is JobStatus.SUCCEEDED
    run = tb.get_run(job.run_id)
    assert run.data.params == {"alpha": "0.5"}
    assert run.data.tags["team"] == "blue"
    assert tb.Client().get_experiment(run.info.experiment_id).name == "wines"


def test_a_step_that_fails_ends_the_pipeline() -> None:
    with pytest.raises(BridgeError, match="the job 'wine' is FAILED: the command ended with exit code 1"):
        tb.run_project("wine", parameters={"alpha": 0.6})
    with pytest.raises(InvalidInput, match="which is not a number"):
        tb.run_project("wine", parameters={"alpha": "half"})


def test_steps_are_nested_in_the_active_run() -> None:
    tb.set_experiment("pipelines")
    with tb.start_run() as parent:
        step = tb.run_project("wine", "main", {"alpha": 0.5})
    run = tb.get_run(step.run_id)
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run.info.experiment_id == parent.info.experiment_id
    alone = tb.run_project("wine", "main", {"alpha": 0.5})
    assert "mlflow.parentRunId" not in tb.get_run(alone.run_id).data.tags


def test_a_spec(folder: Path) -> None:
    spec = JobSpec(name="made", command=("test", "-d", "wine"), code_dir=".", parameters={"a": "1"})
    job = tb.submit(spec, key="once")
    job.wait_for_success()
    assert tb.get_run(job.run_id).data.params == {"a": "1"}
    assert tb.submit(spec, key="once").id == job.id
    with pytest.raises(Conflict):
        tb.submit(spec.__class__(name="made", command=("true",), code_dir="."), key="once")
    with pytest.raises(InvalidInput, match="a JobSpec was given, and besides it: compute"):
        tb.submit(spec, compute="cpu")
    with pytest.raises(InvalidInput, match="besides it: parameters"):
        tb.submit(spec, {"a": 2})


def test_a_job_file(folder: Path) -> None:
    (folder / "job.yaml").write_text("source: wine\nparameters: {alpha: 0.5}\nname: filed\n")
    job = tb.submit("job.yaml", wait=True)
    assert (job.state().status, job.state().name) == (JobStatus.SUCCEEDED, "filed")


def test_a_launcher_that_there_is_not() -> None:
    with pytest.raises(InvalidInput, match="'slurm' is no launcher"):
        tb.submit("wine", {"alpha": 1}, launcher="slurm")


def test_an_option_that_there_is_not() -> None:
    with pytest.raises(TypeError, match="a job has no option 'computer'; did you mean 'compute'"):
        tb.submit("wine", computer="cpu")  # type: ignore[call-arg]
