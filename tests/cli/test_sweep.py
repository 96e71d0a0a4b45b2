"""``bridge sweep`` and ``tb.sweep`` against the local backend."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import trackbridge as tb
from tests.cli.conftest import Bridge, bridge_process, rest_of
from trackbridge.errors import Conflict, InvalidInput
from trackbridge.operations.following import wait_for_job
from trackbridge.operations.opening import open_place
from trackbridge.operations.sweeps.records import SweepFolder

TRAIN = """
import argparse
from pathlib import Path
import trackbridge as tb

parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float)
parser.add_argument("--model", default="")
given = parser.parse_args()
if given.x == 13:
    raise SystemExit(4)
with tb.start_run():
    tb.log_metric("loss", (given.x - 3) ** 2)
    if given.model:
        folder = Path(f"model-{given.x}")
        folder.mkdir()
        (folder / "MLmodel").write_text("flavors: {}\\n")
        (folder / "weights").write_text(str(given.x))
        tb.log_artifacts(str(folder), "deep/model")
"""
FILE = """
source: train.py
name: from-file
parameters: {model: ""}
sweep:
  space: {x: [2, 3]}
  metric: loss
  key: written
"""


@pytest.fixture
def train(project: Path) -> str:
    (project / "train.py").write_text(TRAIN)
    return "train.py"


def test_from_start_to_show(bridge: Bridge, train: str) -> None:
    command = ("sweep", train, "-P", "x=1,3,5", "--metric", "loss", "--parallel", "3", "--key", "night")
    result = bridge(*command, "--experiment", "wine", "--json")
    best = result.summary["best"]
    assert (best["params"], best["value"], result.summary["complete"]) == ({"x": "3"}, 0.0, 3)
    states = [item["state"] for item in result.objects if item["type"] == "trial"]
    assert sorted(states) == ["COMPLETE"] * 3 + ["PROPOSED"] * 3 + ["SUBMITTED"] * 3
    client = tb.Client()
    run, parent = client.get_run(best["run_id"]), client.get_run(result.summary["run_id"])
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (run.info.status, parent.info.status) == ("FINISHED", "FINISHED")
    assert run.data.params == {"x": "3"}
    assert run.info.run_name == "train.py-1"
    assert parent.data.tags["bridge.sweep.best.run_id"] == run.info.run_id
    assert client.get_experiment(parent.info.experiment_id).name == "wine"
    jobs = bridge("jobs", "list", "--json").summary["jobs"]
    again = bridge(*command, "--experiment", "wine", "--json")
    assert again.summary == result.summary
    assert bridge("jobs", "list", "--json").summary["jobs"] == jobs == 3, "the same key is the same sweep"
    shown = bridge("sweep", "show", "night")
    assert [line.split()[:4] for line in shown.out.splitlines()[:4]] == [
        ["TRIAL", "STATE", "loss", "x"],
        ["1", "COMPLETE", "0", "3"],
        ["0", "COMPLETE", "4", "1"],
        ["2", "COMPLETE", "4", "5"],
    ]
    assert "best: loss 0, trial 1: x=3" in shown.out
    listed = bridge("sweep", "list", "--json").objects
    assert [item.get("key") for item in listed] == ["night", None]
    changed = bridge(*command[:2], "-P", "x=1,3", *command[4:], "--json", code=1)
    assert changed.objects[-1]["error"] == "Conflict"
    assert "space" in changed.err


def test_a_sweep_without_a_best_trial_lists_none(bridge: Bridge, train: str) -> None:
    bridge("sweep", train, "-P", "x=3", "--metric", "nosuch", "--key", "none", code=1)
    assert "nosuch" not in bridge("sweep", "list").out


def test_trials_that_fail(bridge: Bridge, train: str) -> None:
    some = bridge("sweep", train, "-P", "x=3,13", "--metric", "loss", "--json", code=3)
    assert (some.summary["complete"], some.summary["failed"]) == (1, 1)
    failed = next(item for item in some.objects if item.get("state") == "FAILED")
    assert "exit code 4" in failed["reason"]
    assert tb.Client().get_run(failed["run_id"]).info.status == "FAILED"
    missing = bridge("sweep", train, "-P", "x=3", "--metric", "acc", "--sampler", "grid", "--json", code=1)
    assert missing.summary["best"] is None
    reasons = [item["reason"] for item in missing.objects if item.get("state") == "FAILED"]
    assert reasons == ["its run has no metric 'acc'; it has loss"]
    too_many = bridge("sweep", train, "-P", "x=13,3", "--metric", "loss", "--max-failures", "1", code=8)
    assert "1 trials have failed" in too_many.err
    assert "bridge sweep show" in too_many.err


def test_the_best_model_is_registered_once(bridge: Bridge, train: str) -> None:
    command = ("sweep", train, "-P", "x=2,3", "-P", "model=yes", "--metric", "loss", "--key", "k")
    result = bridge(*command, "--register", "wine", "--json")
    version = result.summary["version"]
    assert (version["name"], str(version["version"])) == ("wine", "1")
    again = bridge("sweep", "resume", "k", "--json")
    assert str(again.summary["version"]["version"]) == "1"
    found = tb.Client().get_model_version("wine", "1")
    assert found.run_id == result.summary["best"]["run_id"]
    assert found.tags["sweep"] == "k"
    refused = bridge("sweep", train, "-P", "x=2", "--metric", "loss", "--register", "wine", code=1)
    assert "has logged no model" in refused.err


def test_a_sweep_file_and_a_command(bridge: Bridge, project: Path, train: str) -> None:
    (project / "sweep.yaml").write_text(FILE)
    result = bridge("sweep", "start", "sweep.yaml", "--trials", "2", "--json")
    assert (result.summary["key"], result.summary["best"]["params"]) == ("written", {"x": "3"})
    run = tb.Client().get_run(result.summary["best"]["run_id"])
    assert run.info.run_name == "from-file-1"
    (project / "sweep.yaml").write_text(FILE.replace("metric: loss", "metrik: loss"))
    wrong = bridge("sweep", "sweep.yaml", code=1)
    assert "'metrik' is no field of a sweep" in wrong.err
    assert "sweep.yaml:5" in wrong.err
    words = ("--", "python", "train.py", "--x", "{x}")
    called = bridge("sweep", "-P", "x=2,3", "--metric", "loss", "--json", *words)
    assert called.summary["best"]["params"] == {"x": "3"}
    nowhere = bridge("sweep", "-P", "x=2,3", "--metric", "loss", "--", "python", "train.py", code=1)
    assert "no place for the parameters" in nowhere.err


def test_a_plan_begins_nothing(bridge: Bridge, project: Path, train: str) -> None:
    command = (
        "sweep",
        train,
        "-P",
        "x=uniform(0,1)",
        "--trials",
        "50",
        "--sampler",
        "random",
        "--metric",
        "loss",
    )
    planned = bridge(*command, "--plan")
    assert "50 trials, 1 at a time" in planned.out
    assert "x: uniform(0, 1)" in planned.out
    assert "train.py --x 0.5" in planned.out
    assert bridge("sweep", "list", "--json").summary["sweeps"] == 0
    assert bridge("runs", "list", "--json").summary["runs"] == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("-P", "x=1,2"), "goes by a metric"),
        (("-P", "x=gauss(0,1)", "--metric", "loss"), "none of the ways to search"),
        (("-P", "x=uniform(0,1)", "--metric", "loss", "--sampler", "grid"), "a grid needs values"),
        (("-P", "x=uniform(0,1)", "--metric", "loss", "--sampler", "random"), "goes on for ever"),
        (("-P", "x=1,2", "--metric", "loss", "--parallel", "0"), "at once cannot be"),
    ],
)
def test_what_is_wrong_is_told_before_anything_begins(
    bridge: Bridge, train: str, arguments: tuple[str, ...], told: str
) -> None:
    assert told in bridge("sweep", train, *arguments, code=1).err
    assert bridge("sweep", "list", "--json").summary["sweeps"] == 0
    assert bridge("runs", "list", "--json").summary["runs"] == 0


def test_unknown_and_busy_sweeps(bridge: Bridge, project: Path, train: str) -> None:
    for verb in ("show", "resume", "cancel"):
        assert bridge("sweep", verb, "nobody", "--json", code=1).objects[-1]["error"] == "NotFound"
    assert "there are no sweeps" in bridge("sweep", "list").err
    command = ("sweep", train, "-P", "x=3", "--metric", "loss", "--key", "night", "--json")
    with SweepFolder(project / ".bridge", "night").held():
        busy = bridge(*command, code=11)
    assert busy.objects[-1]["error"] == "Locked"
    assert bridge(*command).summary["complete"] == 1


def test_ctrl_c_leaves_jobs_alone_until_they_are_taken_up_or_cancelled(bridge: Bridge, project: Path) -> None:
    (project / "slow.py").write_text("import sys, time\nopen('up', 'a').write('x')\ntime.sleep(600)\n")
    process = bridge_process(
        "sweep", "slow.py", "-P", "x=1,2", "--metric", "loss", "--key", "night", "--json"
    )
    assert process.stdout is not None
    while "SUBMITTED" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    code, out, errors = rest_of(process)
    assert code == 130, errors
    assert "1 job left to end" in errors
    assert '"is_interrupted": true' in out
    client = tb.Client()
    place = open_place()
    (job,) = place.jobs.list_jobs().items
    assert not job.status.is_final
    run = client.get_run(str(job.run_id))
    assert client.get_run(run.data.tags["mlflow.parentRunId"]).info.status == "KILLED"
    assert bridge("sweep", "cancel", "night", "--json").summary["jobs"] == [job.job_id]
    wait_for_job(job.job_id, place.jobs)
    (project / "slow.py").write_text("")
    resumed = bridge("sweep", "resume", "night", "--json", code=1)
    reasons = [item["reason"] for item in resumed.objects if item.get("state") == "FAILED"]
    assert reasons == ["it was cancelled", "its run has no metric 'loss'; it has none at all"]
    assert bridge("jobs", "list", "--json").summary["jobs"] == 2


def test_from_a_program(project: Path, train: str) -> None:
    seen = []
    space = {"x": "int(1, 5, step=2)", "model": ""}
    result = tb.sweep(train, space, metric="loss", sampler="grid", key="k", on_trial=seen.append)
    assert result.best is not None
    assert result.best.params == {"x": "3", "model": ""}
    assert [trial.number for trial in result.trials] == [0, 1, 2]
    assert len(seen) == 9
    assert tb.sweep(train, space, metric="loss", sampler="grid", key="k") == result
    with pytest.raises(Conflict):
        tb.sweep(train, {"x": [1, 2]}, metric="loss", key="k")
    named = tb.sweep([train], {"x": [3]}, metric="loss", name="named", env_manager="local")
    assert tb.Client().get_run(named.trials[0].run_id).info.run_name == "named-0"
    for wrong in ({"colour": "red"}, {"time_limit_s": "long"}):
        with pytest.raises(InvalidInput):
            tb.sweep(train, space, metric="loss", **wrong)
    with pytest.raises(InvalidInput, match="no sampler 'tpa'"):
        tb.sweep(train, space, metric="loss", sampler="tpa")
