"""Local jobs: secrets, logs, full disks, runs that are closed, and what a runner costs."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.adapters.local.job_rig import FOREVER, Rig, touches, until, waits_for
from trackbridge.domain.file_uris import file_uri
from trackbridge.domain.ids import experiment_id_of, mint_id
from trackbridge.domain.jobs import Compute, Environment, JobSpec, JobStatus
from trackbridge.domain.runs import RunSpec, RunStatus
from trackbridge.errors import InvalidInput, Rejected
from trackbridge.ports.findings import Severity
from trackbridge_adapters.local import job_records
from trackbridge_adapters.local.job_records import JobRecord

SECRET = "correct-horse-battery-staple-77"
HEAVY = {
    "click",
    "dataclasses",
    "inspect",
    "mlflow",
    "msgspec",
    "numpy",
    "pandas",
    "pathlib",
    "rich",
    "trackbridge",
    "typing",
}


def bytes_of_the_store(rig: Rig) -> bytes:
    files = (path for path in rig.store.rglob("*") if path.is_file())
    return b"".join(path.read_bytes() for path in files)


# Secrets.


@pytest.mark.parametrize("kind", ["env", "file"])
def test_the_value_of_a_secret_is_nowhere_in_the_store(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("PLACE_OF_IT", SECRET)
    (tmp_path / "secret").write_text(f"{SECRET}\n", encoding="utf-8")
    reference = "env:PLACE_OF_IT" if kind == "env" else f"file:{tmp_path / 'secret'}"
    code = f"import os, sys; sys.exit(0 if os.environ['TOKEN'] == {SECRET[::-1]!r}[::-1] else 9)"
    assert rig.run(code, secrets={"TOKEN": reference}).exit_code == 0
    assert SECRET.encode() not in bytes_of_the_store(rig)


def test_the_environment_of_the_submitter_is_inherited_but_not_stored(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_VARIABLE", SECRET)
    code = f"import os, sys; sys.exit(0 if os.environ['SOME_VARIABLE'] == {SECRET[::-1]!r}[::-1] else 9)"
    assert rig.run(code).exit_code == 0
    assert SECRET.encode() not in bytes_of_the_store(rig)


@pytest.mark.parametrize("reference", ["env:NOT_SET_ANYWHERE", "file:/no/such/file"])
def test_a_secret_that_is_not_there_is_refused(rig: Rig, reference: str) -> None:
    with pytest.raises(Rejected) as caught:
        rig.submit(secrets={"TOKEN": reference})
    assert "TOKEN" in str(caught.value)
    assert reference.partition(":")[2] in str(caught.value)
    assert list(rig.jobs.list_jobs()) == []


def test_the_same_key_finds_its_job_when_its_secret_is_gone(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE_OF_IT", SECRET)
    key, secrets = mint_id(), {"TOKEN": "env:PLACE_OF_IT"}
    job_id = rig.submit(key=key, secrets=secrets)
    monkeypatch.delenv("PLACE_OF_IT")
    assert rig.submit(key=key, secrets=secrets) == job_id
    with pytest.raises(Rejected, match="PLACE_OF_IT"):
        rig.submit(secrets=secrets)
    assert [state.job_id for state in rig.jobs.list_jobs()] == [job_id]


def test_a_secret_that_goes_before_the_job_has_its_turn_fails_it(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET, encoding="utf-8")
    running = rig.submit(FOREVER)
    job_id = rig.submit(touches(rig.folder / "ran"), secrets={"TOKEN": f"file:{tmp_path / 'secret'}"})
    (tmp_path / "secret").unlink()
    rig.jobs.cancel(running)
    state = rig.ended(job_id)
    assert (state.status, state.exit_code) == (JobStatus.FAILED, None)
    assert "TOKEN" in state.reason
    assert not (rig.folder / "ran").exists()


def test_a_secret_with_a_nul_fails_the_job_without_showing_it(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(SECRET.encode() + b"\0")
    state = rig.run(secrets={"TOKEN": f"file:{tmp_path / 'secret'}"})
    assert state.status is JobStatus.FAILED
    assert "cannot be started" in state.reason
    assert SECRET not in repr(state)


@pytest.mark.parametrize("reference", [SECRET, f"https://{SECRET}", "env:", "file:relative", ""])
def test_what_is_no_reference_is_refused_without_showing_it(rig: Rig, reference: str) -> None:
    with pytest.raises(Rejected) as caught:
        rig.submit(secrets={"TOKEN": reference})
    assert SECRET not in str(caught.value)


def test_a_variable_that_looks_like_a_secret_is_warned_of(rig: Rig) -> None:
    (finding,) = rig.jobs.check(rig.spec(variables={"API_TOKEN": "x"}))
    assert (finding.severity, finding.subject) == (Severity.WARNING, "variables")


# Specs.


@pytest.mark.parametrize(
    "fields",
    [
        {"environment": Environment(image="python:3.12")},
        {"environment": Environment(conda_file="conda.yaml")},
        {"compute": Compute(cluster="gpu")},
        {"compute": Compute(instance_type="big")},
        {"compute": Compute(instance_count=2)},
        {"inputs": {"data": "models:/wine/1"}},
        {"outputs": {"model": "s3://bucket/model"}},
    ],
    ids=["image", "conda", "cluster", "instance", "machines", "inputs", "outputs"],
)
def test_what_one_machine_does_not_have_is_refused_with_the_reason(
    rig: Rig, fields: dict[str, object]
) -> None:
    (finding,) = rig.jobs.check(rig.spec(**fields))
    with pytest.raises(Rejected, match=finding.message) as caught:
        rig.submit(**fields)
    assert caught.value.hint == finding.fix


@pytest.mark.parametrize("program", ["no-such-program", "./there.sh", "/no/such/program", "folder/"])
def test_a_program_that_is_not_there_is_refused(rig: Rig, tmp_path: Path, program: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "there.sh").write_text("#!/bin/sh\n")  # not executable
    (finding,) = rig.jobs.check(rig.spec(command=(program,), code_dir=str(tmp_path)))
    assert (finding.severity, finding.subject) == (Severity.ERROR, "command")
    assert program in finding.message


def test_programs_are_looked_for_where_the_job_will_find_them(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "there.sh").write_text("#!/bin/sh\n")
    (tmp_path / "there.sh").chmod(0o755)
    for command, variables in (
        ("./there.sh", {}),
        ("there.sh", {"PATH": str(tmp_path)}),
        (os.path.basename(sys.executable), {"PATH": os.path.dirname(sys.executable)}),
        ("{inputs.data}/program", {}),
    ):
        spec = rig.spec(command=(command,), code_dir=str(tmp_path), variables=variables)
        assert list(rig.jobs.check(spec)) == []
    brought = Environment(requirements=("pytest",))
    assert list(rig.jobs.check(rig.spec(command=("no-such-program",), environment=brought))) == []


def test_a_python_that_uv_cannot_bring_is_refused(rig: Rig) -> None:
    (finding,) = rig.jobs.check(rig.spec(environment=Environment(python="3.99")))
    assert (finding.severity, finding.subject) == (Severity.ERROR, "environment")
    assert "no Python 3.99" in finding.message
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert list(rig.jobs.check(rig.spec(environment=Environment(python=here)))) == []


def test_python_is_the_interpreter_of_the_submitter(rig: Rig) -> None:
    for name in ("python", "python3"):
        state = rig.run(command=(name, "-c", "import sys; print(sys.executable)"))
        assert rig.log(state.job_id) == f"{sys.executable}\n"


def test_a_job_knows_its_id(rig: Rig) -> None:
    state = rig.run("import os; print(os.environ['BRIDGE_JOB_ID'])", variables={"BRIDGE_JOB_ID": "x"})
    assert rig.log(state.job_id) == f"{state.job_id}\n"


def test_without_a_folder_the_command_runs_where_it_was_submitted(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = rig.run("import os; print(os.getcwd())")
    assert rig.log(state.job_id) == f"{tmp_path}\n"


def test_modules_of_the_user_are_not_taken_for_those_of_the_runner(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "sqlite3", "subprocess", "logging", "signal"):
        (tmp_path / f"{name}.py").write_text("raise ValueError('the user\\'s')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert rig.run(command=("true",), code_dir=str(tmp_path)).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("name", ["two\nlines", "\x1b]0;title\x07\x1b[2J", "", "a/../b", "x" * 10_000])
def test_a_hostile_name_does_no_harm(rig: Rig, name: str) -> None:
    state = rig.run(name=name)
    assert (state.name, state.status) == (name, JobStatus.SUCCEEDED)
    assert [listed.name for listed in rig.jobs.list_jobs()] == [name]


# Logs and disks.


def test_the_log_is_private_and_named_by_the_state(rig: Rig) -> None:
    state = rig.run("print('x')")
    log = Path(rig.files(state.job_id).log)
    assert state.native_url == file_uri(log)
    assert log.read_text() == "x\n"
    assert log.stat().st_mode & 0o077 == 0
    assert log.parent.stat().st_mode & 0o077 == 0


def test_what_was_written_is_in_the_log_when_the_runner_is_killed(rig: Rig, tmp_path: Path) -> None:
    job_id = rig.submit(f"print('first'); {touches(tmp_path / 'said')}{FOREVER}")
    until((tmp_path / "said").exists)
    rig.kill_runner(job_id)
    assert rig.jobs.status(job_id).status is JobStatus.FAILED
    assert rig.log(job_id) == "first\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has /dev/full")
def test_a_full_disk_for_the_log_fails_the_command_not_the_record(rig: Rig, tmp_path: Path) -> None:
    blocker = rig.submit(waits_for(tmp_path / "go"))
    rig.becomes(blocker, JobStatus.RUNNING)
    job_id = rig.submit("print('much')")
    os.symlink("/dev/full", rig.files(job_id).log)
    (tmp_path / "go").touch()
    state = rig.ended(job_id)
    assert state.status is JobStatus.FAILED
    assert state.exit_code not in (0, None)
    assert rig.ended(rig.submit()).status is JobStatus.SUCCEEDED


def test_a_log_that_cannot_be_made_fails_the_job(rig: Rig, tmp_path: Path) -> None:
    blocker = rig.submit(waits_for(tmp_path / "go"))
    rig.becomes(blocker, JobStatus.RUNNING)
    job_id = rig.submit()
    os.mkdir(rig.files(job_id).log)
    (tmp_path / "go").touch()
    state = rig.ended(job_id)
    assert state.status is JobStatus.FAILED
    assert "cannot be written" in state.reason
    os.rmdir(rig.files(job_id).log)


def test_a_cursor_behind_the_end_is_refused(rig: Rig) -> None:
    state = rig.run("print('x' * 1000)")
    cursor = rig.jobs.read_logs(state.job_id).cursor
    Path(rig.files(state.job_id).log).write_text("shorter")
    with pytest.raises(InvalidInput, match="behind the end"):
        rig.jobs.read_logs(state.job_id, cursor=cursor)


def test_what_cannot_be_recorded_now_is_recorded_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_records, "BUSY_TIMEOUT_S", 0.0)
    job_id = rig.submit(FOREVER)
    rig.becomes(job_id, JobStatus.RUNNING)
    record = JobRecord(str(rig.store / "store.db"), job_id)
    other = sqlite3.connect(rig.store / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert not record.save({"reason": "first"})
    assert record.has_unsaved
    assert not record.save({"attempt": 7})
    other.execute("ROLLBACK")
    other.close()
    assert record.flush()
    assert not record.has_unsaved
    state = rig.jobs.status(job_id)
    assert (state.reason, state.attempt) == ("first", 7)


def test_a_record_of_a_replaced_store_is_gone(rig: Rig) -> None:
    state = rig.run()
    database = rig.store / "store.db"
    record = JobRecord(str(database), state.job_id)
    rig.adapter.close()
    database.rename(database.with_name("old.db"))
    database.touch()
    assert not record.save({"reason": "lost"})
    assert record.is_gone
    assert (record.is_cancelled(), record.queued()) == (None, None)
    old = database.with_name("old.db")
    os.replace(old, database)


# Runs.


def open_run(rig: Rig) -> str:
    run_id = mint_id()
    rig.adapter.tracking.open_run(
        RunSpec(
            run_id=run_id,
            experiment_id=experiment_id_of("jobs"),
            experiment_name="jobs",
            name="run",
            user="me",
            start_time=1,
        )
    )
    return run_id


@pytest.mark.parametrize(("code", "status"), [(0, RunStatus.FINISHED), (3, RunStatus.FAILED)])
def test_the_run_of_a_job_is_closed_after_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, code: int, status: RunStatus
) -> None:
    monkeypatch.setenv("BRIDGE_HOME", str(rig.folder / "home"))
    run_id = open_run(rig)
    state = rig.run(f"import sys; sys.exit({code})", run_id=run_id, tracking_uri=file_uri(rig.store))
    until(lambda: rig.adapter.tracking.get_run(run_id).info.status is not RunStatus.RUNNING)
    info = rig.adapter.tracking.get_run(run_id).info
    assert (info.status, info.end_time) == (status, state.end_time)


def test_a_run_that_cannot_be_closed_changes_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_HOME", str(rig.folder / "home"))
    state = rig.run("print('x')", run_id=mint_id(), tracking_uri="nonsense://nowhere")
    told = Path(rig.files(state.job_id).runner_log)
    until(lambda: b"nonsense" in told.read_bytes())
    assert rig.jobs.status(state.job_id) == state
    assert state.status is JobStatus.SUCCEEDED
    assert rig.log(state.job_id) == "x\n"


# What a runner costs.


def test_a_runner_imports_little() -> None:
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\nimport trackbridge_adapters.local.job_runner\n"
        "import trackbridge_adapters.local.environments\nprint(*sys.modules)"
    )
    result = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY & set(result.stdout.split()) == set()


def test_an_ended_runner_is_no_zombie(rig: Rig) -> None:
    import psutil

    before = psutil.Process().children()
    ids = [rig.run().job_id for _ in range(3)]
    until(lambda: rig.processes() == [])
    rig.jobs.status(ids[0])
    children = [child for child in psutil.Process().children() if child not in before]
    zombies = [child for child in children if child.status() == psutil.STATUS_ZOMBIE]
    assert zombies == []


def test_a_spec_of_a_later_field_is_still_read(rig: Rig) -> None:
    """A store may have been used by a newer trackbridge of the same schema."""
    state = rig.run()
    with sqlite3.connect(rig.store / "store.db") as connection:
        connection.execute('UPDATE job SET spec = replace(spec, \'{"name"\', \'{"later": 1, "name"\')')
    assert rig.jobs.status(state.job_id) == state


def test_a_spec_is_compared_by_what_it_says(rig: Rig) -> None:
    spec = JobSpec(name="a", command=("true",), variables={"A": "1", "B": "2"})
    state = rig.jobs.submit(spec, key="key")
    rig.submitted.append(state.job_id)
    turned = JobSpec(name="a", command=("true",), variables={"B": "2", "A": "1"})
    assert rig.jobs.submit(turned, key="key").job_id == state.job_id
