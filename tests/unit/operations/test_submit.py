"""Submitting: the run is opened first, the same key is the same job, and nothing is left running."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.memory_adapter import MemoryAdapter
from trackbridge._version import __version__
from trackbridge.domain.jobs import Compute, Environment, JobSpec, JobStatus
from trackbridge.domain.runs import RunStatus
from trackbridge.errors import (
    ConfigError,
    Conflict,
    InvalidInput,
    NotFound,
    Rejected,
    TimedOut,
    Unavailable,
)
from trackbridge.operations.following import follow_log, wait_for_job
from trackbridge.operations.submit import (
    TAG_JOB,
    RunWanted,
    Submitted,
    command_line,
    requirement_lines,
    submit,
    with_run,
)
from trackbridge.operations.waiting import Pace
from trackbridge.ports.findings import Finding, Severity

SHOW = "import os; print(*(os.environ[f'BRIDGE_{n}'] for n in ('TRACKING_URI', 'RUN_ID', 'EXPERIMENT_NAME')))"


class Backend:
    def __init__(self) -> None:
        self.adapter = MemoryAdapter()
        assert self.adapter.tracking is not None
        assert self.adapter.jobs is not None
        self.tracking = self.adapter.tracking
        self.jobs: Any = self.adapter.jobs
        self.run = RunWanted(
            tracking=self.tracking,
            tracking_uri="file:/store",
            experiment="wine",
            name="train",
            user="anna",
            params={"lr": "0.1"},
            tags={"mlflow.source.name": "train.py"},
        )

    def submit(self, *command: str, key: str | None = None, **fields: Any) -> Submitted:
        words = command or (sys.executable, "-c", SHOW)
        return submit(JobSpec(name="train", command=words, **fields), self.jobs, self.run, key=key)


@pytest.fixture
def backend() -> Backend:
    return Backend()


def test_a_job_knows_its_run_and_the_run_its_job(backend: Backend) -> None:
    submitted = backend.submit()
    state = wait_for_job(submitted.state.job_id, backend.jobs)
    assert state.status is JobStatus.SUCCEEDED
    log = "".join(follow_log(lambda cursor: backend.jobs.read_logs(state.job_id, cursor=cursor)))
    assert log == f"file:/store {submitted.run_id} wine\n"
    run = backend.tracking.get_run(submitted.run_id)
    assert run.info.status is RunStatus.RUNNING
    assert run.info.user_id == "anna"
    assert run.data.params == {"lr": "0.1"}
    assert run.data.tags[TAG_JOB] == state.job_id
    assert run.data.tags["mlflow.source.type"] == "JOB"
    assert run.data.tags["mlflow.user"] == "anna"
    assert run.data.tags["mlflow.source.name"] == "train.py"


def test_the_same_key_is_the_same_job(backend: Backend) -> None:
    first = backend.submit(key="nightly 2026-01-01")
    again = backend.submit(key="nightly 2026-01-01")
    other = backend.submit(key="nightly 2026-01-02")
    assert again.state.job_id == first.state.job_id
    assert again.run_id == first.run_id
    assert other.run_id != first.run_id
    assert len(backend.adapter.state.runs) == 2


def test_the_same_key_finds_its_job_in_a_shell_without_its_secrets(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_OF_MINE", "x")
    first = backend.submit(key="k", secrets={"TOKEN": "env:TOKEN_OF_MINE"})
    missing = Finding(severity=Severity.ERROR, subject="secrets", message="TOKEN_OF_MINE is not set")
    monkeypatch.setattr(backend.jobs, "check", lambda spec: (missing,))
    again = backend.submit(key="k", secrets={"TOKEN": "env:TOKEN_OF_MINE"})
    assert (again.state.job_id, again.run_id) == (first.state.job_id, first.run_id)
    with pytest.raises(Rejected, match="TOKEN_OF_MINE is not set"):
        backend.submit(key="k2", secrets={"TOKEN": "env:TOKEN_OF_MINE"})
    assert len(backend.adapter.state.runs) == 1


def test_the_same_key_for_another_job_is_refused_and_harms_nobody(backend: Backend) -> None:
    first = backend.submit(key="k")
    with pytest.raises(Conflict):
        backend.submit("true", key="k")
    assert backend.tracking.get_run(first.run_id).info.status is RunStatus.RUNNING


def test_the_same_key_with_other_params_is_refused(backend: Backend) -> None:
    backend.submit(key="k")
    backend.run = replace(backend.run, params={"lr": "0.2"})
    with pytest.raises(Rejected, match="does not take what is known of the job"):
        backend.submit(key="k")


@pytest.mark.parametrize("key", ["", " ", "a\nb", "x" * 201])
def test_keys_that_are_none(backend: Backend, key: str) -> None:
    with pytest.raises(ConfigError):
        backend.submit(key=key)
    assert backend.adapter.state.runs == {}


def test_what_cannot_run_opens_no_run(backend: Backend) -> None:
    with pytest.raises(Rejected, match="the job cannot run: attempts_max"):
        backend.submit("true", attempts_max=0)
    assert backend.adapter.state.runs == {}


def test_a_job_that_is_not_taken_leaves_no_run_open(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend.jobs, "check", lambda spec: ())
    with pytest.raises(Rejected):
        backend.submit("true", attempts_max=0)
    (run,) = backend.adapter.state.runs.values()
    assert run.status is RunStatus.FAILED
    assert run.end_time is not None


def test_when_it_is_not_known_whether_it_was_taken_the_key_is_told(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = backend.jobs.submit

    def lose_the_answer(spec: JobSpec, *, key: str) -> Any:
        real(spec, key=key)
        raise TimedOut("no answer", ambiguous=True)

    with monkeypatch.context() as patch:
        patch.setattr(backend.jobs, "submit", lose_the_answer)
        with pytest.raises(TimedOut) as raised:
            backend.submit("true")
    assert raised.value.hint is not None
    key = raised.value.hint.partition("--key ")[2].partition(":")[0]
    submitted = backend.submit("true", key=key)
    assert len(backend.jobs.list_jobs()) == 1
    assert list(backend.adapter.state.runs) == [submitted.run_id]


def test_ctrl_c_while_submitting_leaves_no_run_open(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(spec: JobSpec, *, key: str) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(backend.jobs, "submit", press)
    with pytest.raises(KeyboardInterrupt):
        backend.submit("true")
    (run,) = backend.adapter.state.runs.values()
    assert run.status is RunStatus.KILLED


def press(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def test_ctrl_c_after_the_job_was_taken_cancels_it(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    real = backend.jobs.submit

    def press_too_late(spec: JobSpec, *, key: str) -> Any:
        real(spec, key=key)
        press()

    monkeypatch.setattr(backend.jobs, "submit", press_too_late)
    with pytest.raises(KeyboardInterrupt):
        backend.submit("sleep", "60")
    (state,) = backend.jobs.list_jobs()
    assert wait_for_job(state.job_id, backend.jobs).status is JobStatus.CANCELLED


def test_ctrl_c_before_the_run_knows_its_job_cancels_the_job(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackbridge.operations.submit._note_job", press)
    with pytest.raises(KeyboardInterrupt):
        backend.submit("sleep", "60")
    (state,) = backend.jobs.list_jobs()
    assert wait_for_job(state.job_id, backend.jobs).status is JobStatus.CANCELLED


def test_ctrl_c_with_a_key_that_was_used_before_leaves_the_job_alone(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = backend.submit("sleep", "60", key="nightly")
    monkeypatch.setattr("trackbridge.operations.submit._note_job", press)
    with pytest.raises(KeyboardInterrupt):
        backend.submit("sleep", "60", key="nightly")
    assert not backend.jobs.status(first.state.job_id).status.is_final
    backend.jobs.cancel(first.state.job_id)
    wait_for_job(first.state.job_id, backend.jobs)


def test_params_that_the_run_does_not_take_leave_no_run_open(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise Rejected("a value is too long")

    monkeypatch.setattr("trackbridge.operations.submit._write", refuse)
    with pytest.raises(Rejected, match="too long"):
        backend.submit("true")
    (run,) = backend.adapter.state.runs.values()
    assert run.status is RunStatus.FAILED
    assert len(backend.jobs.list_jobs()) == 0


def test_a_job_that_its_run_cannot_note_is_named(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise Unavailable("down")

    monkeypatch.setattr("trackbridge.operations.submit._note_job", fail)
    with pytest.raises(Unavailable) as raised:
        backend.submit("true")
    (state,) = backend.jobs.list_jobs()
    assert raised.value.hint == f"the job goes on all the same: bridge jobs show {state.job_id}"


@pytest.mark.parametrize(
    "fields",
    [
        {"variables": {"API_TOKEN": "hunter2"}},
        {"parameters": {"password": "hunter2"}},
        {"secrets": {"API_TOKEN": "hunter2"}},
    ],
)
def test_values_of_secrets_are_refused(backend: Backend, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as raised:
        backend.submit("true", **fields)
    assert "hunter2" not in str(raised.value)
    assert backend.adapter.state.runs == {}


@pytest.mark.parametrize(
    "command",
    [
        ("curl", "--token", "hunter2"),
        ("curl", "--password=hunter2", "--password=x"),
        ("env", "API_TOKEN=hunter2", "true"),
        ("echo", "ghp_hunter2hunter2hunter2hunter2"),
        ("sh", "-c", "curl -H 'Authorization: Bearer ghp_hunter2hunter2hunter2hunter2'"),
    ],
)
def test_secrets_in_a_command_are_refused(backend: Backend, command: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput, match="looks like a secret") as raised:
        backend.submit(*command)
    assert "hunter2" not in f"{raised.value} {raised.value.hint}"
    assert backend.adapter.state.runs == {}


@pytest.mark.parametrize(
    "command",
    [
        ("true", "--no-token", "--tokenizer", "bert", "--max-tokens=5", "--token-file", "x"),
        ("sh", "-c", 'TOKEN=$(cat file) && test "$TOKEN"; true'),
        ("true", "a=b", "--token"),
    ],
)
def test_commands_that_only_speak_of_secrets(backend: Backend, command: tuple[str, ...]) -> None:
    assert wait_for_job(backend.submit(*command).state.job_id, backend.jobs).status.is_final


def test_spot_is_asked_for_where_it_is_declared(backend: Backend) -> None:
    submitted = backend.submit("true", compute=Compute(spot=True))
    assert wait_for_job(submitted.state.job_id, backend.jobs).status.is_final


# Waiting and following.


class Clock:
    """Time that passes by waiting alone."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits: list[float] = []

    def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds

    @property
    def pace(self) -> Pace:
        return Pace(wait_s_min=0.01, wait_s_max=1.0, clock=lambda: self.now_s, pause=self.pause)


def test_waiting_gets_slower_within_bounds(backend: Backend) -> None:
    clock = Clock()
    submitted = backend.submit("sleep", "60")
    with pytest.raises(TimedOut, match="not ended within 120 s"):
        wait_for_job(submitted.state.job_id, backend.jobs, timeout_s=120, pace=clock.pace)
    assert clock.waits[0] == 0.01
    assert clock.waits == sorted(clock.waits)
    assert clock.waits[-1] == 1.0
    assert len(clock.waits) < 200
    backend.jobs.cancel(submitted.state.job_id)
    assert wait_for_job(submitted.state.job_id, backend.jobs).status is JobStatus.CANCELLED
    with pytest.raises(NotFound):
        wait_for_job("nobody", backend.jobs)


def test_a_log_that_cannot_be_read_now_is_read_later(backend: Backend) -> None:
    submitted = backend.submit("sh", "-c", "echo one; echo two")
    wait_for_job(submitted.state.job_id, backend.jobs)
    troubles, failures = [], iter([True, False, True, True, False])

    def read(cursor: str) -> Any:
        if next(failures, False):
            raise Unavailable("down")
        return backend.jobs.read_logs(submitted.state.job_id, cursor=cursor)

    pieces = follow_log(read, pace=Clock().pace, on_trouble=troubles.append)
    assert "".join(pieces) == "one\ntwo\n"
    assert troubles
    assert "trying again" in troubles[0]


def test_a_log_that_cannot_be_read_at_all_is_an_error() -> None:
    def read(cursor: str) -> Any:
        raise Unavailable("down")

    with pytest.raises(Unavailable):
        list(follow_log(read, pace=Clock().pace))


# What is run.


def test_command_lines() -> None:
    parameters = {"lr": "0.1", "name": "a b"}
    assert command_line(("train.py", "x"), parameters) == (
        *("python", "train.py", "x"),
        *("--lr", "0.1", "--name", "a b"),
    )
    assert command_line(("./train", "--fast"), parameters) == ("./train", "--fast")
    assert command_line(("-train.py",), {}) == ("python", "./-train.py")


def test_requirements_without_comments(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("# models\nscikit-learn==1.5  # pinned\n\n  numpy\npkg @ git+https://host/x#egg=pkg\n")
    expected = ("scikit-learn==1.5", "numpy", "pkg @ git+https://host/x#egg=pkg")
    assert requirement_lines(file) == expected
    assert requirement_lines(["numpy", "# nothing"]) == ("numpy",)
    assert requirement_lines(()) == ()
    with pytest.raises(ConfigError):
        requirement_lines(tmp_path / "none.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError):
        requirement_lines(tmp_path / "binary.txt")


@pytest.mark.parametrize(
    ("requirements", "added"),
    [
        (("mlflow==3.1", "numpy"), (f"trackbridge[mlflow]=={__version__}",)),
        (("MLflow-skinny>=3",), (f"trackbridge=={__version__}",)),
        (("mlflow", "trackbridge[mlflow]"), ()),
        (("mlflow", "/wheels/trackbridge-1.whl"), ()),
        (("mlflow-extension",), ()),
        ((), ()),
    ],
)
def test_an_environment_with_mlflow_gets_our_plugin(
    requirements: tuple[str, ...], added: tuple[str, ...]
) -> None:
    run = Backend().run
    spec = JobSpec(name="j", command=("true",), environment=Environment(requirements=requirements))
    assert with_run(spec, run, "a" * 32).environment.requirements == (*requirements, *added)
    own = msgspec.structs.replace(spec, variables={"MLFLOW_TRACKING_URI": "https://mlflow.example"})
    assert with_run(own, run, "a" * 32).environment.requirements == requirements


def test_mlflow_finds_the_run_by_its_own_variables_unless_they_are_given() -> None:
    run = Backend().run
    spec = JobSpec(name="j", command=("true",))
    variables = with_run(spec, run, "a" * 32).variables
    assert (variables["MLFLOW_TRACKING_URI"], variables["MLFLOW_RUN_ID"]) == ("bridge:", "a" * 32)
    own = msgspec.structs.replace(spec, variables={"MLFLOW_TRACKING_URI": "https://mlflow.example"})
    variables = with_run(own, run, "a" * 32).variables
    assert variables["MLFLOW_TRACKING_URI"] == "https://mlflow.example"
    assert "MLFLOW_RUN_ID" not in variables
