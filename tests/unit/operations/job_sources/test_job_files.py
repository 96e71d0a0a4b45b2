"""Job files: every field, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.unit.operations.job_sources.conftest import Read, Spec, Write
from trackbridge.domain.jobs import Compute, Environment, JobSpec, Launcher
from trackbridge.errors import BridgeError, NotFound
from trackbridge.operations.job_sources.job_files import FIELDS, read_job_file
from trackbridge.operations.job_sources.requests import JobRequest

WHOLE = """
source: src/train.py
parameters: {lr: 0.1, epochs: 3, fast: true, note: "${env:HOME}"}
name: wine
experiment: wines
on: azureml:prod
code: src
ignore_file: src/.ignored
compute: 2xml.m5.large
spot: true
requirements: more.txt
python: "3.11"
inputs: {data: s3://bucket/data, table: table.csv}
outputs: {model: models}
checkpoints: s3://bucket/kept
env: {MODE: fast, LEVEL: 3}
secrets: {TOKEN: "env:TOKEN"}
tags: {team: blue}
launcher: torchrun
processes: 4
all_ranks: true
time_limit: 2h
retries: 2
"""


NOTE = ("--note", "${env:HOME}")


@pytest.fixture
def file(write: Write) -> Path:
    write("job/src/train.py", "")
    write("job/more.txt", "a\n")
    write("job/table.csv", "")
    return write("job/job.yaml", WHOLE)


def test_every_field(file: Path, read: Read, spec: Spec) -> None:
    there = file.parent
    assert spec("job/job.yaml") == JobSpec(
        name="wine",
        command=(
            *("python", "train.py", "--lr", "0.1", "--epochs"),
            *("3", "--fast", "True", "--note", "${env:HOME}"),
        ),
        code_dir=str(there / "src"),
        ignore_file=str(there / "src/.ignored"),
        compute=Compute(instance_type="ml.m5.large", instance_count=2, spot=True),
        environment=Environment(requirements=("a",), python="3.11"),
        parameters={"lr": "0.1", "epochs": "3", "fast": "True", "note": "${env:HOME}"},
        variables={"MODE": "fast", "LEVEL": "3"},
        secrets={"TOKEN": "env:TOKEN"},
        inputs={"data": "s3://bucket/data", "table": str(there / "table.csv")},
        outputs={"model": str(there / "models")},
        checkpoints="s3://bucket/kept",
        tags={"team": "blue"},
        launcher=Launcher.TORCHRUN,
        processes_per_node=4,
        all_ranks_track=True,
        time_limit_s=7200,
        attempts_max=3,
    )
    source = read("job/job.yaml")
    assert (source.experiment, source.place) == ("wines", "azureml:prod")
    assert source.tags == {"mlflow.source.name": "train.py", "team": "blue"}


def test_flags_go_over_it(file: Path, spec: Spec) -> None:
    job = spec(
        "job/job.yaml", parameters={"lr": "0.2", "extra": "1"}, compute="cpu", name="mine", attempts_max=1
    )
    assert job.parameters["lr"] == "0.2"
    assert job.parameters["extra"] == "1"
    assert (job.compute.cluster, job.compute.spot, job.name, job.attempts_max) == ("cpu", True, "mine", 1)


def test_a_script_runs_in_the_folder_of_the_file(write: Write, spec: Spec, folder: Path) -> None:
    write("job/train.py", "")
    write("job/job.yml", "source: train.py\n")
    job = spec("job/job.yml")
    assert (job.command, job.code_dir) == (("python", "train.py"), str(folder / "job"))


def test_a_command_and_a_project(write: Write, spec: Spec, folder: Path) -> None:
    write("job/job.yaml", "command: [make, train]\n")
    assert spec("job/job.yaml").command == ("make", "train")
    assert spec("job/job.yaml").code_dir == str(folder / "job")
    write("job/job.yaml", "source: ../other\nentry_point: go.sh\ninstances: 3\n")
    write("other/go.sh", "")
    job = spec("job/job.yaml")
    assert (job.command, job.code_dir) == (("bash", "go.sh"), str(folder / "other"))
    assert job.compute.instance_count == 3


def test_paths_of_its_parameters_start_at_its_folder(write: Write, spec: Spec) -> None:
    write("p/MLproject", "entry_points: {main: {parameters: {data: path}, command: 'cat {data}'}}\n")
    data = write("job/data.csv", "")
    write("job/job.yaml", "source: ../p\nparameters: {data: data.csv}\n")
    assert spec("job/job.yaml").inputs == {"data": str(data)}


def test_it_is_no_command_when_words_follow(write: Write, spec: Spec) -> None:
    assert spec("job.yaml", "--x").command == ("job.yaml", "--x")


def test_every_field_of_a_request_can_be_said() -> None:
    """But what a file names only as a whole: its words."""
    said = {field for field in JobRequest.__struct_fields__ if field != "words"}
    renamed = {"place": "on", "code_dir": "code", "conda_file": "conda", "variables": "env"}
    renamed |= {
        "instance_count": "instances",
        "environment_manager": "env_manager",
        "time_limit_s": "time_limit",
    }
    renamed |= {"processes_per_node": "processes", "all_ranks_track": "all_ranks", "attempts_max": "retries"}
    assert {renamed.get(field, field) for field in said} | {"source", "command"} == set(FIELDS)


def test_it_can_be_read_alone(file: Path) -> None:
    request = read_job_file(file)
    assert msgspec.json.decode(msgspec.json.encode(request), type=JobRequest) == request


@pytest.mark.parametrize(
    ("text", "told", "line"),
    [
        ("source: a.py\ncomputer: x\n", "'computer' is no field; did you mean 'compute'", 2),
        ("source: a.py\n\nparameters: [a]\n", "parameters is no mapping", 3),
        ("source: a.py\nparameters:\n  lr: 1\n lr2: 2\n", "no valid YAML", 4),
        ("source: a.py\nname: 'x\n", "no valid YAML", 3),
        ("source: a.py\nname: [x]\n", "which is no text", 2),
        ("source: a.py\ninstances: two\n", "instances is 'two'", 2),
        ("source: a.py\nretries: -1\n", "retries is -1", 2),
        ("source: a.py\nspot: maybe\n", "spot is 'maybe'", 2),
        ("source: a.py\nlauncher: slurm\n", "'slurm' is no launcher", 2),
        ("source: a.py\nenv_manager: conda\n", "env_manager is 'conda'", 2),
        ("source: a.py\nenv: {A: [1]}\n", "'A' of env is no text or number", 2),
        ("source: a.py\ninputs: {a: }\n", "'a' of inputs is no text or number", 2),
        ("source: a.py\ncommand: [b]\n", "either as source or as command", 2),
        ("command: make train\n", "has to be a list of words", 1),
        ("source: a.py\nsource: b.py\n", "stands there twice", 2),
        ("source: a.py\nparameters:\n  lr: 1\n  lr: 2\n", "'lr' stands there twice, first in line 3", 4),
        ("source: a.py\nenv: {A: x, A: y}\n", "'A' stands there twice", 2),
    ],
)
def test_a_file_that_is_wrong(write: Write, read: Read, text: str, told: str, line: int) -> None:
    path = write("job.yaml", text)
    with pytest.raises(BridgeError, match=told) as caught:
        read("job.yaml")
    assert caught.value.resource == f"{path}:{line}"
    assert caught.value.hint


def test_other_things_that_are_wrong(write: Write, read: Read) -> None:
    for text, told in (
        ("name: x\n", "either as source or as command"),
        ("", "either as source or as command"),
        ("source: none.py\n", "there is no script 'none.py'"),
        ("source: a.py\ntime_limit: soon\n", "time_limit of .*job.yaml:2 is no length of time"),
        ("source: a.py\ninputs: {data: none.csv}\n", "there is no such file or folder"),
    ):
        write("a.py", "")
        write("job.yaml", text)
        with pytest.raises(BridgeError, match=told):
            read("job.yaml")
    with pytest.raises(NotFound, match=r"there is no file 'none.yaml'"):
        read("none.yaml")
