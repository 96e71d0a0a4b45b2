"""``bridge demo`` for real, in a small size, and its proof against accounts that do not fit."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import trackbridge as tb
from trackbridge.cli.demo_proof import (
    Account,
    Comparison,
    LoggedPoint,
    Witness,
    bits_of,
    compare,
    read_account,
    stored_points,
)
from trackbridge.cli.demo_report import bridge_command
from trackbridge.cli.demo_results import Result, check, failures
from trackbridge.cli.demo_sweep import CONFIGURATIONS, VICTIM, Training, training_environment
from trackbridge.domain.runs import RunData, RunInfo, RunStatus
from trackbridge.errors import BridgeError
from trackbridge.operations.opening import open_place

BRIDGE = "import sys; from trackbridge.cli.main import run; sys.exit(run(sys.argv[1:]))"
SMALL = ["--runs", "3", "--epochs", "4"]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BRIDGE_", "MLFLOW_"))}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def start_demo(folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BRIDGE, "demo", *SMALL, *arguments],
        cwd=folder,
        env={**environment(), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_demo(folder: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    process = start_demo(folder, *arguments, **variables)
    output, errors = process.communicate(timeout=240)
    return process.returncode, output, errors


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def text(demo_folder: Path) -> str:
    code, output, errors = run_demo(demo_folder)
    assert code == 0, errors
    return output


@pytest.fixture(scope="module")
def records(demo_folder: Path, text: str) -> list[dict[str, Any]]:
    """The second demo in the folder of the first."""
    code, output, errors = run_demo(demo_folder, "--json")
    assert code == 0, errors
    return [json.loads(line) for line in output.splitlines()]


def test_the_proof_is_told(text: str) -> None:
    found = re.search(r"sgd-0\.1-64 was killed after ([\d,]+) calls of log_metric\.", text)
    assert found is not None
    assert 0 < int(found[1].replace(",", "")) < 4 * 71
    assert re.search(r"in the store: [\d,]+ points( \(.*\))?, none missing, none twice", text)
    assert re.search(r"closed as:    KILLED at \d\d:\d\d:\d\d\.\d\d\d UTC, .*its last point", text)
    assert re.search(r"All 3 runs, point by point: [\d,]+ calls returned, none missing, none twice\.", text)


def test_the_runs_are_compared(text: str) -> None:
    assert re.search(
        r"^adam-0\.01-64 +FINISHED +[\d,]+ +0\.\d+ +0\.\d+ +0\.\d+ +<- best$", text, re.MULTILINE
    )
    assert re.search(r"^sgd-0\.1-64 +KILLED +[\d,]+ +\d\.\d+ +0\.\d+ +-$", text, re.MULTILINE)
    assert "validation_loss (log scale)" in text
    assert re.search(r"[\d.]+ µs for a call of log_metric", text)
    assert "\x1b" not in text


def test_the_readme_shows_what_it_prints(text: str) -> None:
    page = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"<!-- demo:begin -->.*?^```\n(.*?)^```", page, re.DOTALL | re.MULTILINE)

    def shape(line: str) -> str:
        named = re.sub(r"(?:sgd|adam)-[\d.]+-\d+", "<training>", line)
        plain = re.sub(r" \([^)]*\)|UTC, .*", "", named)  # what a run may say besides
        return " ".join(re.sub(r"\d[\d,.:]*", "<number>", plain).split())

    printed = {shape(line) for line in text.splitlines()}
    assert [line for line in shown.splitlines() if shape(line) not in printed] == []


def test_what_to_type_next_leads_to_the_runs(demo_folder: Path, text: str) -> None:
    commands = text.split("Next:\n")[1].split("\n")
    assert commands[0].strip() == "cd bridge-demo"
    listing = subprocess.run(
        f"{commands[0]} && {commands[1]}",
        shell=True,
        cwd=demo_folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "adam-0.01-64" in listing.stdout
    found = re.search(r"bridge runs compare (\w+) (\w+)", text)
    assert found is not None
    client = tb.Client(demo_folder / "bridge-demo" / ".bridge")
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    ids = [run.info.run_id for run in client.search_runs([experiment.experiment_id])]
    for beginning in found.groups():
        assert sum(run_id.startswith(beginning) for run_id in ids) == 1


def test_bridge_is_named_so_that_a_shell_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one beside the interpreter: by its name alone only where that is what the name means."""
    ours, theirs = tmp_path / "work/bin", tmp_path / "sbin"
    for folder in (ours, theirs):
        folder.mkdir(parents=True)
        (folder / "bridge").write_text("#!/bin/sh\n")
        (folder / "bridge").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(ours / "python"))
    monkeypatch.setenv("PATH", str(theirs))
    assert bridge_command(tmp_path / "work/demo") == "../bin/bridge"
    assert bridge_command(ours) == "./bridge"
    assert bridge_command(Path("/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t")) == str(ours / "bridge")
    monkeypatch.setenv("PATH", f"{ours}:{theirs}")
    assert bridge_command(tmp_path) == "bridge"
    (ours / "bridge").unlink()
    assert bridge_command(tmp_path) == f"{ours}/python -m trackbridge"


def test_the_models_are_served_shared_and_rolled_back(text: str) -> None:
    assert re.search(r"models:/digits@champion is version 1, adam-0\.01-64", text)
    assert text.count("300 images of the test set asked one by one: ") == 3
    rows = re.findall(r"^(v\d) +(\d+) % +(\d+) +(\d+) +[\d.]+ +[\d.]+ +[\d.]+$", text, re.MULTILINE)
    assert rows == [
        ("v1", "100", "300", "0"),
        ("v1", "90", "270", "0"),
        ("v2", "10", "30", "0"),
        ("v1", "100", "300", "0"),
    ]
    assert "- deployment digits/v2" in text.split("Rolled back:")[1]


def test_the_demo_leaves_no_endpoint_and_no_process(demo_folder: Path, text: str) -> None:
    import psutil

    store = demo_folder / "bridge-demo" / ".bridge"
    assert open_place(str(store)).target.observe("digits") is None
    left = [
        command
        for process in psutil.process_iter(["cmdline"])
        if str(store) in (command := " ".join(process.info["cmdline"] or ()))
    ]
    assert left == []


def test_a_second_demo_adds_its_runs(demo_folder: Path, records: list[dict[str, Any]]) -> None:
    client = tb.Client(demo_folder / "bridge-demo" / ".bridge")
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    sweeps = [run.info.run_id for run in runs if run.info.run_name == "sweep"]
    parents = [run.data.tags["mlflow.parentRunId"] for run in runs if run.info.run_name != "sweep"]
    assert len(sweeps) == 2
    assert sorted(parents) == sorted(sweeps * 3)


def test_json_events_and_summary(demo_folder: Path, records: list[dict[str, Any]]) -> None:
    kinds = [record["type"] for record in records]
    assert kinds[0] == "began"
    told = [kind for kind in kinds[1:-1] if kind not in ("planned", "change", "served")]
    assert sorted(told) == ["finished", "finished", "killed", "started", "started", "started"]
    assert kinds.count("served") == 3
    summary = records[-1]
    assert summary["type"] == "summary"
    assert summary["proof_holds"] is True
    assert summary["points"] == sum(run["points_stored"] for run in summary["runs"])
    killed = next(run for run in summary["runs"] if run["run_id"] == summary["killed_run_id"])
    assert killed["newest_point_ms"] <= killed["end_time_ms"] <= killed["killed_ms"]
    assert summary["log_metric_us"] > 0
    assert [sum(served["traffic"].values()) for served in summary["serving"]["rounds"]] == [100, 100, 100]


def test_the_runs_hold_what_a_training_should(
    demo_folder: Path, records: list[dict[str, Any]], tmp_path: Path
) -> None:
    client = tb.Client(demo_folder / "bridge-demo" / ".bridge")
    run = client.get_run(records[-1]["best_run_id"])
    assert run.info.status is RunStatus.FINISHED
    assert run.data.params["solver"] == "adam"
    assert {item.tags["mlflow.data.context"] for item in run.inputs.dataset_inputs} == {
        "training",
        "validation",
        "test",
    }
    assert "test set" in run.data.tags["mlflow.note.content"]
    figure = client.download_artifacts(run.info.run_id, "confusion.png", tmp_path)
    assert Path(figure).read_bytes().startswith(b"\x89PNG")


def test_ctrl_c_stops_the_trainings_and_closes_their_runs(tmp_path: Path) -> None:
    process = start_demo(tmp_path, "--json", "--epochs", "1000")
    assert process.stdout is not None
    events = [json.loads(process.stdout.readline()) for _ in range(3)]
    trainings = [event["process_id"] for event in events if event["type"] == "started"]
    assert len(trainings) == 2
    client = tb.Client(tmp_path / "bridge-demo" / ".bridge")
    while not (experiment := client.get_experiment_by_name("digits")):
        time.sleep(0.05)
    while len(client.search_runs([experiment.experiment_id])) < 3:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    for training in trainings:
        with pytest.raises(ProcessLookupError):
            os.kill(training, 0)
    statuses = {run.info.run_name: run.info.status for run in client.search_runs([experiment.experiment_id])}
    assert statuses == dict.fromkeys(("sweep", "adam-0.01-64", "sgd-0.1-64"), RunStatus.KILLED)


def test_missing_packages_are_named_with_the_command(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sklearn.py").write_text("raise ImportError('not here')")
    code, _, errors = run_demo(tmp_path, PYTHONPATH=str(blocked))
    assert code == 1
    assert "sklearn" in errors
    assert "pip install 'trackbridge[demo]'" in errors
    assert not (tmp_path / "bridge-demo").exists()


def test_a_training_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if any('demo_training' in word for word in sys.orig_argv):\n"
        "    os.write(2, b'no more memory')\n"
        "    os._exit(1)"
    )
    code, _, errors = run_demo(tmp_path, PYTHONPATH=str(blocked))
    assert code == 1
    assert "ended with exit code 1: no more memory" in errors


# The comparison itself.


POINTS = tuple(LoggedPoint("loss", step, bits_of(step / 7)) for step in range(5))
ACCOUNT = Account("run", POINTS, (1,) * 5, None)


def test_the_same_points_hold() -> None:
    assert compare(ACCOUNT, POINTS) == Comparison(5, 5, (), (), (), kept_under_way=False)
    assert compare(ACCOUNT, POINTS).holds


def test_a_missing_point_is_found() -> None:
    comparison = compare(ACCOUNT, POINTS[:2] + POINTS[3:])
    assert comparison.missing == (POINTS[2],)
    assert not comparison.holds


def test_a_doubled_point_is_found() -> None:
    comparison = compare(ACCOUNT, (*POINTS, POINTS[1]))
    assert comparison.doubled == (POINTS[1],)
    assert not comparison.holds


def test_a_changed_value_is_a_missing_and_an_unknown_point() -> None:
    changed = LoggedPoint("loss", 2, bits_of(2.0))
    comparison = compare(ACCOUNT, (*POINTS[:2], changed, *POINTS[3:]))
    assert (comparison.missing, comparison.unknown) == ((POINTS[2],), (changed,))
    assert not comparison.holds


@pytest.mark.parametrize("is_kept", [True, False])
def test_the_call_under_way_may_be_kept_or_not(is_kept: bool) -> None:
    account = Account("run", POINTS[:4], (1,) * 4, POINTS[4])
    comparison = compare(account, POINTS if is_kept else POINTS[:4])
    assert comparison.holds
    assert comparison.kept_under_way is is_kept


def test_the_call_under_way_must_not_be_kept_twice() -> None:
    account = Account("run", POINTS[:4], (1,) * 4, POINTS[4])
    assert compare(account, (*POINTS, POINTS[4])).doubled == (POINTS[4],)


def a_result(comparison: Comparison, *, status: RunStatus = RunStatus.KILLED, end_time: int = 20) -> Result:
    info = RunInfo(
        run_id="run",
        experiment_id="1",
        run_name="sgd",
        user_id="",
        status=status,
        start_time=1,
        end_time=end_time,
    )
    training = Training(VICTIM, None, Path(), Path(), killed_ms=30, account=ACCOUNT)  # type: ignore[arg-type]
    return Result(training, tb.Run(info=info, data=RunData()), comparison, newest_ms=20)


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (a_result(compare(ACCOUNT, POINTS[1:])), "1 points are missing, first loss at step 0"),
        (a_result(compare(ACCOUNT, (*POINTS, POINTS[3]))), "1 points are doubled, first loss at step 3"),
        (a_result(compare(ACCOUNT, POINTS), status=RunStatus.FAILED), "the run is FAILED, not KILLED"),
        (a_result(compare(ACCOUNT, POINTS), end_time=19), "ended at 19 ms"),
        (a_result(compare(ACCOUNT, POINTS), end_time=31), "ended at 31 ms"),
    ],
)
def test_a_proof_that_fails_ends_the_demo_with_an_error(result: Result, told: str) -> None:
    with pytest.raises(BridgeError, match=told):
        check([result])


def test_a_proof_that_holds_has_no_failures() -> None:
    assert list(failures(a_result(compare(ACCOUNT, POINTS)))) == []


# The witness.


def test_an_account_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[str, float, int]] = []
    monkeypatch.setattr(tb, "log_metric", lambda *point: logged.append(point))
    with Witness(tmp_path / "account", "0193") as witness:
        witness.log_metric("loss", 0.5, 1)
        witness.log_metric("loss", -0.0, 2)
    account = read_account(tmp_path / "account")
    assert account is not None
    assert account.run_id == "0193"
    assert account.returned == (
        LoggedPoint("loss", 1, "3fe0000000000000"),
        LoggedPoint("loss", 2, "8000000000000000"),
    )
    assert len(account.elapsed_ns) == 2
    assert account.under_way is None
    assert logged == [("loss", 0.5, 1), ("loss", -0.0, 2)]


def test_a_call_that_did_not_return_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*point: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tb, "log_metric", killed)
    with Witness(tmp_path / "account", "0193") as witness, pytest.raises(KeyboardInterrupt):
        witness.log_metric("loss", 0.5, 7)
    account = read_account(tmp_path / "account")
    assert account is not None
    assert account.returned == ()
    assert account.under_way == LoggedPoint("loss", 7, "3fe0000000000000")


def test_there_is_no_account_before_the_run(tmp_path: Path) -> None:
    assert read_account(tmp_path / "account") is None
    (tmp_path / "account").touch()
    assert read_account(tmp_path / "account") is None


def test_stored_points_are_those_of_all_metrics(tmp_path: Path) -> None:
    client = tb.Client(tmp_path)
    experiment = client.open_experiment("e")
    run_id = client.create_run(experiment.experiment_id).info.run_id
    client.log_metric(run_id, "loss", 0.5, step=1)
    client.log_metric(run_id, "accuracy", 1.0, step=2)
    client.set_terminated(run_id)
    assert sorted(stored_points(client, run_id)) == [
        LoggedPoint("accuracy", 2, bits_of(1.0)),
        LoggedPoint("loss", 1, bits_of(0.5)),
    ]


def test_settings_that_lead_runs_elsewhere_do_not_reach_the_trainings() -> None:
    given = {
        "BRIDGE_HOME": "/elsewhere",
        "BRIDGE_RUN_ID": "x",
        "BRIDGE_TRACKING_URI": "azureml:",
        "LANG": "C",
    }
    found = training_environment(given, "file:/demo")
    assert found["BRIDGE_TRACKING_URI"] == "file:/demo"
    assert found["LANG"] == "C"
    assert found["OMP_NUM_THREADS"] == "1"
    assert not {"BRIDGE_HOME", "BRIDGE_RUN_ID"} & set(found)


def test_the_names_of_the_configurations_differ() -> None:
    names = [configuration.name for configuration in CONFIGURATIONS]
    assert len(set(names)) == len(names)
