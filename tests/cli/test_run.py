"""``bridge run`` and ``bridge jobs`` against the local backend."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

import trackbridge as tb
from tests.cli.conftest import Bridge, Result, bridge_process, rest_of
from trackbridge.errors import NotFound
from trackbridge.operations.following import wait_for_job
from trackbridge.operations.opening import open_place

TRAIN = """
import sys
import trackbridge as tb

with tb.start_run() as run:
    tb.log_metric("loss", 0.5)
    print(run.info.run_id, *sys.argv[1:])
"""


@pytest.fixture
def train(project: Path) -> str:
    (project / "train.py").write_text(TRAIN)
    return "train.py"


@pytest.fixture
def empty(project: Path) -> str:
    (project / "empty.py").write_text("")
    return "empty.py"


def run_of(result: Result) -> tb.Run:
    return tb.Client().get_run(result.summary["run_id"])


# Running.


def test_a_script_gets_its_parameters_and_logs_to_the_jobs_run(bridge: Bridge, train: str) -> None:
    result = bridge("run", train, "-P", "lr=0.1", "-P", "name=a b", "--experiment", "wine", "--json")
    run = run_of(result)
    assert {"type": "log", "text": f"{run.info.run_id} --lr 0.1 --name a b"} in result.objects
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "train.py"
    assert run.data.params == {"lr": "0.1", "name": "a b"}
    assert run.data.metrics == {"loss": 0.5}
    assert run.data.tags["bridge.job"] == result.summary["job_id"]
    assert run.data.tags["mlflow.source.name"] == "train.py"
    experiment = tb.Client().get_experiment(run.info.experiment_id)
    assert experiment.name == "wine"


def test_a_script_that_knows_nothing_of_trackbridge(bridge: Bridge, empty: str) -> None:
    result = bridge("run", empty, "--name", "nightly", "--json")
    run = run_of(result)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "nightly")
    assert run.info.end_time == result.summary["end_time"]
    assert (result.summary["status"], result.summary["exit_status"]) == ("SUCCEEDED", 0)


def test_for_people(bridge: Bridge, project: Path) -> None:
    result = bridge("run", "--", "sh", "-c", "echo one; echo two >&2; printf '\\033[31mthree'")
    assert result.out.splitlines()[:2] == ["one", "two"]
    assert "three" in result.out
    assert "\x1b" not in result.out
    assert result.err.startswith("job ")


def test_nothing_of_a_long_line_is_lost(bridge: Bridge, project: Path) -> None:
    script = "printf 'a\\tb\\n'; head -c 30000 /dev/zero | tr '\\0' x; echo y"
    lines = bridge("run", "--", "sh", "-c", script).out.splitlines()
    assert lines[0] == "a       b"
    assert "".join(lines[1:]) == "x" * 30_000 + "y"


def test_a_script_that_is_not_there(bridge: Bridge, project: Path) -> None:
    for result in (
        bridge("run", "none.py", "--json", code=1),
        bridge("run", "a b/none.py", "--json", code=1),
    ):
        assert result.objects[-1]["error"] == "NotFound"
    with pytest.raises(NotFound, match="no script"):
        tb.submit("none.py")
    assert bridge("jobs", "list", "--json").summary["jobs"] == 0
    assert bridge("runs", "list", "--json").summary["runs"] == 0


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -9 $$", 137)])
def test_the_exit_status_is_the_jobs(bridge: Bridge, script: str, code: int) -> None:
    result = bridge("run", "--json", "--", "sh", "-c", script, code=code)
    assert result.summary["exit_status"] == code
    assert run_of(result).info.status == "FAILED"
    assert "the job is FAILED with exit code" in result.err


def test_variables_and_secrets(bridge: Bridge, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINE_TOKEN", "hunter2")
    arguments = ("--env", "MODE=fast", "--secret", "TOKEN=env:WINE_TOKEN")
    script = 'test ${#TOKEN} = 7 && echo "$MODE"'
    result = bridge("run", *arguments, "--json", "--", "sh", "-c", script)
    assert {"type": "log", "text": "fast"} in result.objects
    stored = b"".join(path.read_bytes() for path in (project / ".bridge").rglob("*") if path.is_file())
    assert b"hunter2" not in stored
    for wrong in (("--env", "API_TOKEN=hunter2"), ("--secret", "TOKEN=hunter2"), ("-P", "password=hunter2")):
        refused = bridge("run", *wrong, "true", code=1)
        assert "hunter2" not in refused.out + refused.err


def test_retries_and_time_limit(bridge: Bridge, project: Path) -> None:
    script = "test -e tried || { touch tried; exit 1; }"
    assert bridge("run", "--retries", "1", "--json", "--", "sh", "-c", script).summary["attempt"] == 2
    result = bridge("run", "--time-limit", "1s", "--json", "--", "sleep", "60", code=143)
    assert result.summary["status"] == "FAILED"


def test_the_same_key_is_the_same_job(bridge: Bridge, project: Path) -> None:
    command = ("run", "--key", "nightly", "--json", "--", "sh", "-c", "echo once >> log.txt")
    first, again = bridge(*command), bridge(*command)
    assert first.summary["job_id"] == again.summary["job_id"]
    assert (project / "log.txt").read_text() == "once\n"
    refused = bridge("run", "--key", "nightly", "--json", "true", code=1)
    assert refused.objects[-1]["error"] == "Conflict"


def test_what_stands_behind_the_dashes_is_the_commands(bridge: Bridge, project: Path) -> None:
    assert bridge("run", "--key", " ", "--", "true", "--json", code=1).out == ""


def test_usage_errors(bridge: Bridge, empty: str) -> None:
    bridge("run", code=2)
    bridge("run", empty, "-P", "lr", code=2)
    bridge("run", empty, "--time-limit", "soon", code=2)
    assert "cannot be read" in bridge("run", empty, "-r", "none.txt", code=1).err
    bridge("run", empty, "--lr", "0.1", code=2)
    assert "is neither a remote nor a scheme" in bridge("run", empty, "--on", "moon", code=1).err
    assert "did you mean 'bridge runs list'?" in bridge("run", "list", code=2).err
    assert bridge("jobs", "list", "--json").summary["jobs"] == 0


# Jobs.


def test_detached_and_seen_with_jobs(bridge: Bridge, project: Path) -> None:
    started = bridge("run", "--detach", "--name", "slow", "--json", "--", "sh", "-c", "echo up; sleep 600")
    job = started.summary["job_id"]
    assert started.summary["exit_status"] is None
    listed = bridge("jobs", "list", "--json").objects
    assert [item.get("job_id") for item in listed] == [job, None]
    assert bridge("jobs", "show", job[:30], "--json").summary["name"] == "slow"
    assert bridge("jobs", "show", "slow", "--json").summary["job_id"] == job
    waited = bridge("jobs", "wait", job, "--timeout", "10ms", "--json", code=5)
    assert waited.objects[-1]["error"] == "TimedOut"
    bridge("jobs", "cancel", job)
    ended = bridge("jobs", "wait", job, "--json", code=143)
    assert ended.summary["status"] == "CANCELLED"
    assert bridge("jobs", "logs", job).out == "up\n"
    assert bridge("jobs", "logs", job, "--follow").out == "up\n"
    assert "has ended already" in bridge("jobs", "cancel", job).out
    assert run_of(ended).info.status == "KILLED"
    shown = bridge("jobs", "show", job).out
    assert "CANCELLED" in shown
    assert f"Run           {ended.summary['run_id']}\n" in shown


def test_nothing_there_yet(bridge: Bridge) -> None:
    assert "there are no jobs" in bridge("jobs", "list").err
    for verb in ("show", "logs", "cancel", "wait"):
        assert bridge("jobs", verb, "nobody", "--json", code=1).objects[-1]["error"] == "NotFound"


def test_an_unset_variable_of_a_shell_is_no_job(bridge: Bridge, project: Path) -> None:
    job = bridge("run", "--detach", "--json", "--", "sleep", "600").summary["job_id"]
    for verb in ("cancel", "show", "logs", "wait"):
        bridge("jobs", verb, "", code=2)
    assert not open_place().jobs.status(job).status.is_final
    bridge("jobs", "cancel", job)
    bridge("jobs", "wait", job, code=143)


def test_a_beginning_that_several_have(bridge: Bridge, empty: str) -> None:
    ids = [bridge("run", empty, "--json").summary["job_id"] for _ in range(2)]
    common = next(ids[0][:size] for size in range(31, 0, -1) if ids[1].startswith(ids[0][:size]))
    assert "means 2 jobs" in bridge("jobs", "show", common, code=2).err


# Ctrl-C.


def test_ctrl_c_cancels_what_runs_in_the_foreground(project: Path) -> None:
    process = bridge_process("run", "--", "sh", "-c", "echo up; sleep 600")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    code, _, errors = rest_of(process)
    assert code == 130, errors
    assert "cancelling the job" in errors
    (job,) = open_place().jobs.list_jobs().items
    assert job.status.value == "CANCELLED"
    assert job.run_id is not None
    assert open_place().tracking.get_run(job.run_id).info.status == "KILLED"


def test_ctrl_c_while_following_leaves_the_job_alone(bridge: Bridge, project: Path) -> None:
    job = bridge("run", "--detach", "--json", "--", "sh", "-c", "echo up; sleep 600").summary["job_id"]
    process = bridge_process("jobs", "logs", job, "--follow")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    code, _, errors = rest_of(process)
    assert code == 130, errors
    assert "the job goes on" in errors
    jobs = open_place().jobs
    assert not jobs.status(job).status.is_final
    jobs.cancel(job)
    assert wait_for_job(job, jobs).status.value == "CANCELLED"


def test_from_a_program(project: Path, train: str, monkeypatch: pytest.MonkeyPatch) -> None:
    job = tb.submit(train, {"lr": 0.1}, experiment_name="wine", wait=True)
    assert job.state().exit_code == 0
    run = tb.Client().get_run(job.run_id)
    assert (run.info.status, run.data.params) == ("FINISHED", {"lr": "0.1"})
    assert "".join(job.logs()) == f"{job.run_id} --lr 0.1\n"
    failing = tb.submit([sys.executable, "-c", "import time; time.sleep(600)"])
    failing.cancel()
    assert failing.wait().status.value == "CANCELLED"
    assert repr(failing).startswith("<Job ")
