"""Requirements that cannot be read are told from all that pip takes."""

from __future__ import annotations

import pytest
from packaging.requirements import InvalidRequirement, Requirement

from trackbridge.domain.job_checks import job_problems
from trackbridge.domain.job_requirements import wrong_requirements
from trackbridge.domain.jobs import Environment, JobSpec

READ_BY_NAME = [
    "numpy",
    "numpy>=1.26,<3",
    "numpy ~= 1.26 , != 1.26.1",
    "numpy (>=1.0)",
    "ruamel.yaml==0.18.*",
    "torch==2.1.0+cpu",
    "mlflow[extras, genai] >= 2.16 ; python_version < '3.13'",
    "odd === 1.0-foo",
    "a @ https://files.example/a-1.0-py3-none-any.whl",
    "a[b] @ git+https://git.example/a.git@v1#subdirectory=x ; sys_platform == 'linux'",
]
LEFT_TO_BACKENDS = [
    "",
    "# nothing",
    "numpy==1.26  # for tests",
    "numpy==1.26 --hash=sha256:abc --hash=sha256:def",
    "numpy==${VERSION}",
    "-r more.txt",
    "--index-url https://index.example/simple",
    "-e .",
    "./package",
    "/tmp/a b/package",
    "wheels/a-1.0-py3-none-any.whl",
    "https://files.example/a.zip",
    "git+ssh://git@git.example/a.git",
    "two\nlines",
]
WRONG = [
    "numpy=1.26",
    "numpy 1.26",
    "numpy>=",
    "numpy>=1,,<3",
    "numpy[",
    "=1.0",
    "numpy;",
    "a b c",
    "numpy-",
    "名",
]


@pytest.mark.parametrize("line", [*READ_BY_NAME, *LEFT_TO_BACKENDS])
def test_what_pip_takes_is_not_wrong(line: str) -> None:
    assert list(wrong_requirements([line])) == []


@pytest.mark.parametrize("line", READ_BY_NAME)
def test_it_is_what_the_installers_read(line: str) -> None:
    assert Requirement(line)


@pytest.mark.parametrize("line", WRONG)
def test_what_cannot_be_read_is_told_with_the_line(line: str) -> None:
    with pytest.raises(InvalidRequirement):
        Requirement(line)
    ((subject, message, fix),) = wrong_requirements(["numpy", line])
    assert subject == "environment"
    assert repr(line) in message
    assert "numpy>=1.26" in fix


def test_it_keeps_a_job_from_any_backend() -> None:
    spec = JobSpec(name="n", command=("true",), environment=Environment(requirements=("numpy=1.26",)))
    (problem,) = job_problems(spec)
    assert "'numpy=1.26' is no requirement" in problem.message
