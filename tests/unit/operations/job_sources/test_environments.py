"""What a project's environment becomes, held against mlflow where mlflow has a word on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.operations.job_sources.conftest import Read, Spec, Write
from trackbridge.domain.jobs import Environment, JobSpec
from trackbridge.errors import BridgeError, ConfigError, InvalidInput, NotFound
from trackbridge.operations.job_sources.sources import refuse_elsewhere

RUNS = "entry_points: {main: {command: 'true'}}\n"


@pytest.fixture
def environment(write: Write, spec: Spec) -> object:
    def of(mlproject: str = "", **said: object) -> Environment:
        write("MLproject", RUNS + mlproject)
        return spec(".", **said).environment

    return of


def test_python_env(write: Write, environment, read: Read) -> None:  # type: ignore[no-untyped-def]
    write(
        "env/python_env.yaml",
        'python: "3.10"\nbuild_dependencies: [pip, wheel==0.40]\ndependencies:\n- -r more.txt\n- b\n',
    )
    write("env/more.txt", "a>=1  # why\n\n-r nested/again.txt\n")
    write("env/nested/again.txt", "c\n")
    wanted = Environment(python="3.10", requirements=("pip", "wheel==0.40", "a>=1", "c", "b"))
    assert environment("python_env: env/python_env.yaml") == wanted
    assert read(".").tags["mlflow.project.env"] == "virtualenv"
    assert environment("python_env: env/python_env.yaml", environment_manager="local") == Environment()
    assert "mlflow.project.env" not in read(".", environment_manager="local").tags


def test_files_are_found_by_their_names(write: Write, environment) -> None:  # type: ignore[no-untyped-def]
    assert environment() == Environment()
    write("conda.yaml", "dependencies: [python=3.9, {pip: [x]}]\n")
    assert environment() == Environment(python="3.9", requirements=("x",))
    write("python_env.yaml", "dependencies: [y]\n")
    assert environment() == Environment(requirements=("y",))


def test_flags_go_before_what_is_declared(write: Write, environment, folder: Path) -> None:  # type: ignore[no-untyped-def]
    write("python_env.yaml", 'python: "3.10"\ndependencies: [y]\n')
    write("c.yaml", "dependencies: [numpy]\n")
    assert environment(requirements=("z",)) == Environment(requirements=("z",))
    assert environment(python="3.12") == Environment(python="3.12", requirements=("y",))
    assert environment(image="ubuntu").image == "ubuntu"
    assert environment(conda_file=str(folder / "c.yaml")) == Environment(conda_file=str(folder / "c.yaml"))
    with pytest.raises(InvalidInput, match="the environment that is there is to be used"):
        environment(requirements=("z",), environment_manager="local")


@pytest.mark.parametrize(
    "dependencies",
    [
        "[python=3.8.13, pip<=22, {pip: [scikit-learn==1.2, mlflow]}]",
        "[python==3.10, setuptools=65.5, {pip: [a]}]",
        "[python>=3.9, wheel, {pip: [a]}]",
    ],
)
def test_conda_files_of_pips_packages_are_read_as_mlflow_reads_them(
    write: Write,
    environment,
    dependencies: str,  # type: ignore[no-untyped-def]
) -> None:
    from mlflow.utils.environment import _PythonEnv

    path = write("conda.yaml", f"name: x\nchannels: [conda-forge]\ndependencies: {dependencies}\n")
    theirs = _PythonEnv.from_conda_yaml(str(path))
    ours = environment("conda_env: conda.yaml")
    assert ours.python == theirs.python
    assert list(ours.requirements) == [*theirs.build_dependencies, *theirs.dependencies]


def test_conda_packages_need_conda(write: Write, environment, spec: Spec) -> None:  # type: ignore[no-untyped-def]
    path = write("conda.yaml", "dependencies: [python=3.9, numpy=1.2, conda-forge::pandas, {pip: [x]}]\n")
    assert environment("conda_env: conda.yaml") == Environment(conda_file=str(path))
    job = spec(".")
    with pytest.raises(InvalidInput, match=r"asks it for: numpy=1.2, conda-forge::pandas") as caught:
        refuse_elsewhere(job, is_local=True)
    assert "--env-manager local" in str(caught.value.hint)
    refuse_elsewhere(job, is_local=False)


def test_docker_env(write: Write, spec: Spec, read: Read, environ: dict[str, str]) -> None:
    environ.update(MODE="fast", API_TOKEN="hunter2")
    write("MLproject", RUNS + "docker_env: {image: 'me/it:1', environment: [[A, b], MODE, API_TOKEN]}\n")
    job = spec(".")
    assert job.environment == Environment(image="me/it:1")
    assert job.variables == {"A": "b", "MODE": "fast"}
    assert job.secrets == {"API_TOKEN": "env:API_TOKEN"}
    assert read(".").tags["mlflow.project.env"] == "docker"


@pytest.mark.parametrize(
    ("mlproject", "told"),
    [
        ("docker_env: {}\n", "no entry"),
        ("docker_env: {name: x}\n", "names no image"),
        ("docker_env: {image: x, volumes: ['/a:/b']}\n", "volumes, which are folders of one machine"),
        ("docker_env: {image: x, environment: [NONE]}\n", "the variable NONE of docker_env is not set"),
        ("docker_env: {image: x, environment: [[a]]}\n", "holds something else"),
        ("python_env: none.yaml\n", "there is no file 'none.yaml'"),
        ("conda_env: none.yaml\n", "there is no file 'none.yaml'"),
    ],
)
def test_declarations_that_are_wrong(write: Write, read: Read, mlproject: str, told: str) -> None:
    if "{}" in mlproject:  # an empty one declares nothing, as with mlflow
        write("MLproject", RUNS + mlproject)
        assert read(".").base.environment == Environment()
        return
    write("MLproject", RUNS + mlproject)
    with pytest.raises(BridgeError, match=told) as caught:
        read(".")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "told", "line"),
    [
        ("python: 3.10\n", "python is 3.1, which is no text", 1),
        ("\ndependencies: a\n", "dependencies is no list of texts", 2),
        ("packages: [a]\n", "'packages' is no field", 1),
        ("dependency: [a]\n", "did you mean 'dependencies'", 1),
    ],
)
def test_a_python_env_that_is_wrong(write: Write, read: Read, text: str, told: str, line: int) -> None:
    write("MLproject", RUNS)
    path = write("python_env.yaml", text)
    with pytest.raises(ConfigError, match=told) as caught:
        read(".")
    assert caught.value.resource == f"{path}:{line}"


@pytest.mark.parametrize("dependencies", ["{a: b}", "[{conda: [a]}, {pip: [b]}]", "[{pip: a}]"])
def test_a_conda_file_that_is_wrong(write: Write, read: Read, dependencies: str) -> None:
    write("MLproject", RUNS)
    write("conda.yaml", f"dependencies: {dependencies}\n")
    with pytest.raises(ConfigError, match="dependenc"):
        read(".")


def test_files_of_requirements_that_name_each_other(write: Write, read: Read) -> None:
    write("MLproject", RUNS)
    write("python_env.yaml", "dependencies: [-r a.txt]\n")
    write("a.txt", "-r b.txt\n")
    write("b.txt", "--requirement=a.txt\n")
    with pytest.raises(ConfigError, match="name each other"):
        read(".")
    write("b.txt", "-r none.txt\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        read(".")


def test_a_conda_file_that_is_not_there(write: Write, spec: Spec) -> None:
    write("MLproject", RUNS)
    with pytest.raises(NotFound, match=r"there is no file 'none.yaml'"):
        spec(".", conda_file="none.yaml")


def test_a_script_outside_of_what_is_sent() -> None:
    job = JobSpec(name="x", command=("python", "/elsewhere/train.py"), code_dir="/project")
    with pytest.raises(InvalidInput, match="is not in the folder that is sent"):
        refuse_elsewhere(job, is_local=False)
    refuse_elsewhere(job, is_local=True)
