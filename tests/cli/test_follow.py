"""``bridge runs log``, with and without ``--follow``."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import trackbridge as tb
from tests.cli.conftest import Bridge, bridge_process, log_run, rest_of
from trackbridge.cli.follow import News, RunWatch
from trackbridge.errors import Unavailable

KILLED_LATER = """
import os, signal, sys, trackbridge as tb
run = tb.start_run(run_name="victim")
tb.log_metric("loss", 3.0, step=0)
tb.flush()
print(run.info.run_id, flush=True)
sys.stdin.readline()
for step in range(1, 100):
    tb.log_metric("loss", 3.0 / (step + 1), step=step)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_log_in_the_order_of_time(bridge: Bridge, client: tb.Client) -> None:
    run_id = log_run(client, "calm", params={"lr": 0.1}, metrics={"loss": [2.0, math.nan], "acc": [0.5]})
    assert bridge("runs", "log", "calm").out == (
        f"calm {run_id}, started 2023-11-14 22:13:20\n"
        "param                lr = 0.1\n"
        "tag                  mlflow.runName = calm\n"
        "2023-11-14 22:13:20  step 0        acc = 0.5\n"
        "2023-11-14 22:13:20  step 0        loss = 2\n"
        "2023-11-14 22:13:21  step 1        loss = nan\n"
        "2023-11-14 22:14:20  FINISHED\n"
    )


def test_log_as_json(bridge: Bridge, client: tb.Client) -> None:
    run_id = log_run(client, "calm", metrics={"loss": [2.0, -math.inf, 1.0], "acc": [0.5]})
    result = bridge("runs", "log", run_id, "--metric", "loss", "--tail", "2", "--json")
    points = [item for item in result.objects if item["type"] == "metric"]
    assert [(point["step"], point["value"]) for point in points] == [(1, "-Infinity"), (2, 1.0)]
    assert result.summary["points"] == {"loss": 3}
    assert result.summary["status"] == "FINISHED"


def test_metric_that_the_run_does_not_have(bridge: Bridge, client: tb.Client) -> None:
    run = log_run(client, "any", metrics={"loss": [1.0], "acc": [0.5]})
    client.flush()
    result = bridge("runs", "log", run, "--metric", "nope", "--metric", "loss")
    assert result.err == "the run has no metric 'nope'; it has acc, loss\n"
    assert "loss = 1" in result.out
    assert bridge("runs", "log", run, "--metric", "loss").err == ""


def test_follow_ends_with_a_run_that_has_ended(bridge: Bridge, client: tb.Client) -> None:
    log_run(client, "calm", metrics={"loss": [2.0]})
    assert bridge("runs", "log", "calm", "--follow").out.endswith("FINISHED\n")


def events(watch: RunWatch) -> list[dict[str, Any]]:
    news = watch.read()
    points = [{"type": "metric", **point._asdict()} for point in news.points]
    assert len(points) == news.point_count
    return [*news.changes, *points, *news.end]


def test_watch_returns_what_is_new(client: tb.Client) -> None:
    experiment_id = client.open_experiment("wine").experiment_id
    run_id = client.create_run(experiment_id).info.run_id
    watch = RunWatch(client, run_id)
    events(watch)
    client.log_metric(run_id, "loss", 1.0, 1000, 5)
    client.log_param(run_id, "lr", 1)
    client.set_tag(run_id, "kind", "big")
    kinds = [(item["type"], item.get("key"), item.get("value")) for item in events(watch)]
    assert kinds == [("param", "lr", "1"), ("tag", "kind", "big"), ("metric", "loss", 1.0)]
    assert events(watch) == []
    client.log_metric(run_id, "loss", math.nan, 3000, 4)  # at an earlier step: not at the end of the history
    client.log_metric(run_id, "loss", 2.0, 2000, 3)
    client.delete_tag(run_id, "kind")
    client.log_param(run_id, "depth", 3)
    new = events(watch)
    assert [(item["type"], item["key"]) for item in new] == [
        ("param", "depth"),
        ("tag", "kind"),
        ("metric", "loss"),
        ("metric", "loss"),
    ]
    assert new[1]["value"] is None
    assert [item["step"] for item in new[2:]] == [3, 4]
    assert events(watch) == []
    client.set_terminated(run_id, "FAILED")
    assert [item["status"] for item in events(watch)] == ["FAILED"]
    assert watch.has_ended


def test_follow_goes_on_after_a_time_without_the_backend(
    bridge: Bridge, client: tb.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_run(client, "calm", metrics={"loss": [2.0]})
    read = RunWatch.read
    calls = []

    def failing(watch: RunWatch) -> News:
        calls.append(watch)
        if len(calls) in (2, 3):
            raise Unavailable("away")
        return read(watch)

    monkeypatch.setattr(RunWatch, "read", failing)
    result = bridge("runs", "log", "calm", "--follow")
    assert result.err == "warning: away; trying again\n"
    assert result.out.count("loss = 2") == 1
    assert len(calls) == 4


def test_follow_until_a_killed_program_is_closed(project: Path, tmp_path: Path) -> None:
    """The program is killed while it is followed: every point comes, then KILLED, and the command ends."""
    script = tmp_path / "victim.py"
    script.write_text(KILLED_LATER)
    program = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdin is not None
    assert program.stdout is not None
    run_id = program.stdout.readline().strip()
    follower = bridge_process("runs", "log", run_id, "--follow", "--json")
    assert follower.stdout is not None
    first = [json.loads(follower.stdout.readline()) for _ in range(2)]
    assert first[0]["type"] == "run"
    program.stdin.write("go\n")
    program.stdin.flush()
    program.wait(timeout=60)
    code, output, errors = rest_of(follower)
    assert code == 0, errors
    objects = first + [json.loads(line) for line in output.splitlines()]
    steps = [item["step"] for item in objects if item["type"] == "metric"]
    assert steps == list(range(100))
    assert [item["status"] for item in objects if item["type"] == "status"] == ["RUNNING", "KILLED"]
    assert objects[-1]["points"] == {"loss": 100}


def test_ctrl_c_ends_following(client: tb.Client) -> None:
    experiment_id = client.open_experiment("wine").experiment_id
    run_id = client.create_run(experiment_id, run_name="endless").info.run_id
    client.flush()
    follower = bridge_process("runs", "log", run_id, "--follow", "--json")
    assert follower.stdout is not None
    lines = [follower.stdout.readline()]
    while json.loads(lines[-1])["type"] != "status":
        lines.append(follower.stdout.readline())
    follower.send_signal(signal.SIGINT)
    code, output, errors = rest_of(follower)
    assert code == 130
    assert json.loads(output)["type"] == "summary"
    assert errors.strip() == "interrupted"


@pytest.mark.parametrize("arguments", [["runs", "log", "nobody"], ["runs", "log", "nobody", "--follow"]])
def test_unknown_run(bridge: Bridge, arguments: list[str]) -> None:
    assert "there is no run 'nobody'" in bridge(*arguments, code=1).err
