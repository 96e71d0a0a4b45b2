"""What is wrong with a job before any backend has seen it."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from trackbridge.domain.job_checks import WORD_BYTES_MAX, job_problems, shown_spec
from trackbridge.domain.jobs import Compute, Environment, JobSpec

GOOD = JobSpec(
    name="a\nname",
    command=("python", "-c", "", "ü 漢"),
    code_dir=".",
    compute=Compute(instance_count=3, spot=True),
    environment=Environment(image="c", requirements=("a", "b"), python="3.11.7"),
    inputs={"my-data.csv": "s3://bucket/data", "same": "/data"},
    outputs={"same": "runs:/0/model"},
    checkpoints="kept",
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
        ({"environment": Environment(conda_file="a", requirements=("b",))}, "environment"),
        ({"environment": Environment(python="3")}, "environment"),
        ({"environment": Environment(python="python3.11")}, "environment"),
        ({"inputs": {"": "/data"}}, "inputs"),
        ({"inputs": {"a b": "/data"}}, "inputs"),
        ({"inputs": {"a" * 65: "/data"}}, "inputs"),
        ({"inputs": {"a": "/data", "A": "/data"}}, "inputs"),
        ({"inputs": {"a": ""}}, "inputs"),
        ({"outputs": {"a": "\0"}}, "outputs"),
        ({"outputs": {"a/b": "/data"}}, "outputs"),
        ({"checkpoints": ""}, "checkpoints"),
        ({"checkpoints": "a\0"}, "checkpoints"),
    ],
    ids=str,
)
def test_a_problem_is_named_with_a_fix(fields: dict[str, object], subject: str) -> None:
    (problem,) = job_problems(msgspec.structs.replace(GOOD, **fields))
    assert problem.subject == subject
    assert problem.message
    assert problem.fix


class TestLongWords:
    LONG = "x" * WORD_BYTES_MAX

    @pytest.mark.parametrize(
        "fields",
        [
            {"command": ("a", LONG)},
            {"command": ("a", "--text", LONG), "parameters": {"text": LONG}},
            {"command": ("a",), "variables": {"A": LONG[2:]}},
        ],
        ids=["argument", "parameter", "variable"],
    )
    def test_the_longest_that_a_system_takes_is_taken(self, fields: dict[str, object]) -> None:
        assert job_problems(msgspec.structs.replace(GOOD, **fields)) == ()

    @pytest.mark.parametrize(
        ("fields", "subject", "what"),
        [
            ({"command": ("a", LONG + "x")}, "command", "argument 1 of the command has 131,072 bytes"),
            ({"command": ("a", "ü" * 65_536)}, "command", "131,072 bytes"),
            (
                {
                    "command": ("bash", "-c", f"python a.py --lr 1 --text '{LONG}'"),
                    "parameters": {"lr": "1", "text": LONG},
                },
                "parameters",
                "'text', in argument 2 of the command, has",
            ),
            ({"variables": {"A": LONG[1:]}}, "variables", "'A' has 131,072 bytes"),
        ],
        ids=["argument", "bytes_not_characters", "parameter", "variable"],
    )
    def test_a_longer_one_is_named_with_a_fix(
        self, fields: dict[str, object], subject: str, what: str
    ) -> None:
        (problem,) = job_problems(msgspec.structs.replace(GOOD, **fields))
        assert (problem.subject, what in problem.message) == (subject, True), problem.message
        assert len(problem.message) < 200
        assert "131,071" in problem.message
        assert "--input" in problem.fix

    def test_a_system_takes_no_longer_one(self) -> None:
        """Only Linux has a limit of a word; elsewhere there is one of all words together."""
        words = [sys.executable, "-c", "", self.LONG]
        assert subprocess.run(words, check=False).returncode == 0
        if sys.platform == "linux":
            with pytest.raises(OSError, match="too long"):
                subprocess.run([*words[:-1], self.LONG + "x"], check=False)


def test_all_problems_are_told_at_once() -> None:
    spec = JobSpec(name="x", command=(), attempts_max=0, variables={"": ""})
    assert [problem.subject for problem in job_problems(spec)] == ["command", "variables", "attempts_max"]


def test_the_value_of_a_variable_is_not_told() -> None:
    spec = JobSpec(name="x", command=("a",), variables={"A": "pa55word\0"})
    assert "pa55word" not in repr(job_problems(spec))


class TestShown:
    def test_it_is_the_whole_spec_in_plain_values(self) -> None:
        shown = shown_spec(GOOD)
        assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(shown)), JobSpec) == GOOD

    @pytest.mark.parametrize(
        "fields",
        [
            {"variables": {"MY_TOKEN": "Pa55word"}},
            {"parameters": {"password": "Pa55word"}},
            {"command": ("a", "--token=Pa55word")},
            {"command": ("a", "--token", "Pa55word")},
            {"inputs": {"a": "https://me:Pa55word@a.example/x"}},
            {"environment": Environment(requirements=("a @ https://me:Pa55word@a.example/a.whl",))},
        ],
        ids=str,
    )
    def test_what_looks_like_a_secret_is_hidden(self, fields: dict[str, object]) -> None:
        shown = shown_spec(msgspec.structs.replace(GOOD, **fields))
        assert "Pa55word" not in repr(shown)
        assert "***" in repr(shown)
