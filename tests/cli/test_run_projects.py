"""``bridge run`` with projects, git addresses and job files; ``--plan``; jobs of several places."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import trackbridge as tb
from tests.cli.conftest import Bridge
from tests.support.memory_adapter import MemoryAdapter, MemoryState
from trackbridge.cli import job_logs
from trackbridge.errors import Unavailable
from trackbridge.operations import opening
from trackbridge.operations.following import QUICK

MLPROJECT = """
name: wine
entry_points:
  main:
    parameters:
      alpha: {type: float, default: 0.5}
      note: string
    command: "echo {alpha} {note}"
  train:
    command: "python train.py"
"""
TRAIN = """
import sys
import trackbridge as tb

with tb.start_run():
    tb.log_metric("loss", 0.5)
    print(*sys.argv[1:])
"""


@pytest.fixture
def wine(project: Path) -> str:
    (project / "wine").mkdir()
    (project / "wine/MLproject").write_text(MLPROJECT)
    (project / "wine/train.py").write_text(TRAIN)
    return "wine"


def logged(result: object) -> list[str]:
    return [item["text"] for item in result.objects if item["type"] == "log"]  # type: ignore[attr-defined]


def nothing_was_started(bridge: Bridge) -> None:
    assert bridge("jobs", "list", "--json").summary["jobs"] == 0
    assert bridge("runs", "list", "--json").summary["runs"] == 0


# Sources.


def test_an_entry_point(bridge: Bridge, wine: str) -> None:
    result = bridge("run", wine, "-P", "note=a b", "-P", "more=1", "--tag", "team=blue", "--json")
    assert logged(result) == ["0.5 a b --more 1"]
    run = tb.Client().get_run(result.summary["run_id"])
    assert run.info.run_name == "wine"
    assert run.data.params == {"alpha": "0.5", "note": "a b", "more": "1"}
    tags = run.data.tags
    assert tags["mlflow.source.type"] == "PROJECT"
    assert tags["mlflow.project.entryPoint"] == "main"
    assert tags["mlflow.project.backend"] == "local"
    assert tags["team"] == "blue"


def test_another_entry_point_that_tracks(bridge: Bridge, wine: str) -> None:
    result = bridge("run", wine, "-e", "train", "-P", "lr=0.1", "--json")
    assert logged(result) == ["--lr 0.1"]
    run = tb.Client().get_run(result.summary["run_id"])
    assert (run.info.status, run.info.run_name, run.data.metrics) == ("FINISHED", "wine train", {"loss": 0.5})


def test_a_git_address(bridge: Bridge, wine: str, project: Path) -> None:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    for words in (("init", "-q"), ("add", "wine"), (*identity, "commit", "-q", "-m", "x"), ("tag", "v1")):
        subprocess.run(["git", *words], cwd=project, check=True, timeout=60)
    address = f"{project.as_uri()}#wine"
    result = bridge("run", address, "-v", "v1", "-P", "note=x", "--json")
    assert logged(result) == ["0.5 x"]
    tags = tb.Client().get_run(result.summary["run_id"]).data.tags
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=project, text=True).strip()
    assert tags["mlflow.source.git.commit"] == head
    assert tags["mlflow.source.name"] == address


def test_a_job_file(bridge: Bridge, wine: str, project: Path) -> None:
    (project / "job.yaml").write_text(
        "source: wine\nparameters: {note: x, alpha: 1}\nexperiment: wines\nname: nightly\nenv: {A: b}\n"
    )
    result = bridge("run", "job.yaml", "-P", "alpha=2", "--json")
    assert logged(result) == ["2 x"]
    run = tb.Client().get_run(result.summary["run_id"])
    assert run.info.run_name == "nightly"
    assert tb.Client().get_experiment(run.info.experiment_id).name == "wines"


# What is wrong is told before anything is opened.


@pytest.mark.parametrize(
    ("arguments", "told", "fix"),
    [
        (
            ("wine", "-P", "note=x", "-P", "alpha=abc"),
            "'alpha' is 'abc', which is not",
            "-P alpha=1.0",
        ),
        (("wine",), "lacks values for: note", "-P note=VALUE"),
        (("wine", "-e", "tran"), "no entry point 'tran'; did you mean 'train'", "its entry points are: main"),
        (("wine", "-P", "note=x", "--input", "data=none.csv"), "the input 'data' is 'none.csv'", "name one"),
        (("wine", "-P", "note=x", "--compute", " "), "no compute is named", "cpu-cluster"),
        (("wine", "-P", "note=x", "--compute", "moon"), "the job cannot run: compute", "leave it out"),
        (("wine", "-P", "note=x", "--conda", "none.yaml"), "there is no file 'none.yaml'", "name it"),
        (("wine", "-v", "v1"), "in no git repository", "leave out"),
        (("none",), "there is no program 'none'", "install it"),
        (("none.yaml",), "there is no file 'none.yaml'", "name it"),
        (("wrong.yaml",), "'sauce' is no field; did you mean 'source'", "the fields are"),
        (("broken.yaml",), "no valid YAML", "indentation"),
    ],
)
def test_what_is_wrong_is_told_with_its_fix(
    bridge: Bridge, wine: str, project: Path, arguments: tuple[str, ...], told: str, fix: str
) -> None:
    (project / "wrong.yaml").write_text("name: x\nsauce: train.py\n")
    (project / "broken.yaml").write_text("name: x\nparameters: {a: 1\n")
    result = bridge("run", *arguments, code=1)
    assert told in result.err
    assert fix in result.err.partition("hint: ")[2]
    nothing_was_started(bridge)


def test_where_a_file_is_wrong(bridge: Bridge, project: Path) -> None:
    (project / "job.yaml").write_text("source: train.py\n\ncomputer: x\n")
    assert f"{project}/job.yaml:3" in bridge("run", "job.yaml", code=1).err


# Plans.


def test_a_plan_starts_nothing(bridge: Bridge, wine: str) -> None:
    shown = bridge("run", wine, "-P", "note=a b", "--plan")
    assert "Command       bash -c 'echo 0.5 '\"'\"'a b'\"'\"''" in shown.out
    assert "Billed        to nobody" in shown.out
    assert "OK " in shown.out
    assert "nothing was started" in shown.err
    summary = bridge("run", wine, "-P", "note=a b", "--plan", "--json").summary
    assert summary["can_run"] is True
    assert summary["preview"]["request"]["command"] == ["bash", "-c", "echo 0.5 'a b'"]
    nothing_was_started(bridge)


def test_a_plan_of_what_would_be_refused(bridge: Bridge, wine: str) -> None:
    command = ("run", wine, "-P", "note=x", "--compute", "moon", "--plan")
    shown = bridge(*command, "--env", "API_TOKEN=hunter2", code=1)
    assert "ERROR     compute: " in shown.out
    assert "ERROR     secrets: the variable 'API_TOKEN' looks like a secret" in shown.out
    assert "hunter2" not in shown.out + shown.err
    result = bridge(*command, "--json", code=1)
    assert result.summary["can_run"] is False
    assert result.summary["preview"] is None
    assert {item["severity"] for item in result.objects if item["type"] == "finding"} == {"error"}
    nothing_was_started(bridge)


def test_where_it_would_be_billed() -> None:
    from trackbridge.cli.job_plans import billing_of
    from trackbridge.domain.jobs import JobPreview

    spot = {"instance_type": "ml.m5.large", "instance_count": 2, "is_spot": True, "hours_max": 1.5}
    preview = JobPreview(request={}, billed_to="account 1", **spot)  # type: ignore[arg-type]
    assert billing_of(preview) == "2 x ml.m5.large (spot), at most 1.5 hours each, to account 1"
    endless = JobPreview(request={}, billed_to="a subscription")
    assert billing_of(endless) == "1 x what the place chooses, without a limit of time, to a subscription"


# Elsewhere.


@pytest.fixture
def cloud(project: Path, monkeypatch: pytest.MonkeyPatch, bridge: Bridge) -> MemoryState:
    """A remote that is not this machine, in the memory of this process."""
    state, open_uri = MemoryState(), opening.open_uri

    def opened(uri: object, *, settings: object = None) -> object:
        name = str(uri)
        if "down.example" in name:
            raise Unavailable("nobody answers")
        return MemoryAdapter(state) if "cloud.example" in name else open_uri(uri, settings=settings)  # type: ignore[arg-type]

    monkeypatch.setattr(opening, "open_uri", opened)
    monkeypatch.setattr("trackbridge.operations.following.UNHURRIED", QUICK)
    bridge("remotes", "add", "cloud", "https://cloud.example")
    return state


def test_ctrl_c_leaves_a_job_elsewhere_alone(
    bridge: Bridge, project: Path, cloud: MemoryState, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(job_logs, "print_log", interrupted)
    result = bridge("run", "--on", "cloud", "--", "sleep", "600", code=130)
    assert "goes on at https://cloud.example, and is paid for until it ends" in result.err
    command = result.err.partition("cancel it with: bridge ")[2].splitlines()[0]
    (job,) = cloud.jobs.jobs.values()
    assert not job.cancelled.is_set()
    bridge(*command.split())
    assert job.cancelled.is_set()
    waited = bridge("jobs", "wait", job.job_id, "--on", "cloud", "--json", code=143)
    assert waited.summary["status"] == "CANCELLED"


def test_jobs_of_every_place(bridge: Bridge, project: Path, cloud: MemoryState) -> None:
    bridge("run", "--name", "here", "--", "true")
    bridge("run", "--name", "there", "--on", "cloud", "--", "true")
    bridge("remotes", "add", "again", ".bridge")
    bridge("remotes", "add", "server", "http://127.0.0.1:9")
    result = bridge("jobs", "list", "--all", "--json")
    found = [(item["place"], item["name"]) for item in result.objects[:-1]]
    assert found == [("cloud", "there"), ("local", "here")]
    assert result.summary["failed"] == []
    bridge("remotes", "add", "down", "https://down.example")
    result = bridge("jobs", "list", "--all", "--json", code=3)
    assert result.summary["jobs"] == 2
    assert result.summary["failed"] == ["down"]
    assert "down: nobody answers" in result.err
    table = bridge("jobs", "list", "--all", "--limit", "1", code=3)
    assert table.out.splitlines()[0].startswith("PLACE")
    assert len(table.out.splitlines()) == 2
    assert "there are more" in table.err


def test_help_is_in_sections(bridge: Bridge) -> None:
    text = bridge("run", "--help").out
    headings = (
        "What to run",
        "Where to run it",
        "What it runs in",
        "What it reads and writes",
        "How it runs",
    )
    assert all(f"\n{heading}:\n" in text for heading in headings)
    assert "Options:\n  --plan" in text
