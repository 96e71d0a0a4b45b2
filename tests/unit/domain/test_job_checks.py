"""What is wrong with a job before any backend has seen it."""

from __future__ import annotations

import msgspec
import pytest

from trackbridge.domain.job_checks import job_problems
from trackbridge.domain.jobs import Compute, Environment, JobSpec

GOOD = JobSpec(
    name="a\nname",
    command=("python", "-c", "", "ü 漢"),
    code_dir=".",
    compute=Compute(instance_count=3, spot=True),
    environment=Environment(requirements=("a", "b")),
    variables={"A": "", "lower.case-name": "x"},
    secrets={"S": "env:S"},
    time_limit_s=1,
    attempts_max=5,
)


def test_a_good_job_has_no_problem() -> None:
    assert job_problems(GOOD) == ()


@pytest.mark.parametrize(
    ("fields", "subject"),
    [
        ({"command": ()}, "command"),
        ({"command": ("",)}, "command"),
        ({"command": ("a", "b\0")}, "command"),
        ({"code_dir": "a\0b"}, "command"),
        ({"name": "\ud800"}, "name"),
        ({"command": ("\ud800",)}, "command"),
        ({"variables": {"A": "\ud800"}}, "variables"),
        ({"tags": {"\ud800": "a"}}, "tags"),
        ({"environment": Environment(requirements=("\ud800",))}, "environment"),
        ({"compute": Compute(cluster="\ud800")}, "compute"),
        ({"variables": {"": "x"}}, "variables"),
        ({"variables": {"A=B": "x"}}, "variables"),
        ({"variables": {"A\0": "x"}}, "variables"),
        ({"variables": {"A": "\0"}}, "variables"),
        ({"secrets": {"A=B": "env:A"}}, "secrets"),
        ({"variables": {"S": "x"}}, "secrets"),
        ({"compute": Compute(instance_count=0)}, "instance_count"),
        ({"processes_per_node": 0}, "processes_per_node"),
        ({"attempts_max": 0}, "attempts_max"),
        ({"time_limit_s": 0}, "time_limit_s"),
        ({"environment": Environment(image="a", conda_file="b")}, "environment"),
        ({"environment": Environment(image="a", requirements=("b",))}, "environment"),
    ],
    ids=str,
)
def test_a_problem_is_named_with_a_fix(fields: dict[str, object], subject: str) -> None:
    (problem,) = job_problems(msgspec.structs.replace(GOOD, **fields))
    assert problem.subject == subject
    assert problem.message
    assert problem.fix


def test_all_problems_are_told_at_once() -> None:
    spec = JobSpec(name="x", command=(), attempts_max=0, variables={"": ""})
    assert [problem.subject for problem in job_problems(spec)] == ["command", "variables", "attempts_max"]


def test_the_value_of_a_variable_is_not_told() -> None:
    spec = JobSpec(name="x", command=("a",), variables={"A": "pa55word\0"})
    assert "pa55word" not in repr(job_problems(spec))
