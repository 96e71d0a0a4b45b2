"""What is installed works: the core alone, and each extra alone, in an environment of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from importlib.metadata import files
from pathlib import Path

import pytest

from tests.support.azureml_emulators import azureml_emulator
from tests.support.builds import Built
from tests.support.installed import (
    RUNNING,
    VERSIONS,
    Environment,
    install,
    installed_bytes,
    interpreters,
    objects,
)
from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator

PROGRAMS = Path(__file__).parent / "programs"
PYTHONS = interpreters()
ENDS = [version for version in PYTHONS if version in VERSIONS]
EACH_PYTHON = ENDS if len(ENDS) == len(VERSIONS) else list(PYTHONS)
"""Where the oldest and the newest are at hand, what works with both works with those between them."""
CORE_BYTES_MAX = 30_000_000
EACH = ("system", "frames", "images", "demo", "serve", "ui", "jobs", "sweeps", "drift", "otel", "databricks")
ALONE = (*EACH, "buckets", "spark", "emulators")
"""Extras beside those of ``test_*_alone``; ``sagemaker`` is AWS's SDK, tests of it are in tests/peers."""
NEEDED = (*ALONE, "mlflow", "aws", "azure")

Install = Callable[..., Environment]


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Make an environment for an extra and a version of Python, once."""
    made: dict[tuple[str, str], Environment] = {}

    def environment(extra: str = "", version: str = RUNNING) -> Environment:
        if (extra, version) not in made:
            folder = tmp_path_factory.mktemp(f"{extra or 'core'}-{version}")
            made[extra, version] = install(folder, built.wheel, extra, python=PYTHONS[version])
        return made[extra, version]

    return environment


@pytest.fixture(scope="module")
def amazon() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def microsoft() -> Iterator[AzureMlEmulator]:
    with azureml_emulator(leads_on=True) as emulator:
        yield emulator


def check_tracking(environment: Environment, uri: str, env: dict[str, str]) -> None:
    """Track, read back, and ask the command line."""
    environment.run("python", PROGRAMS / "track.py", uri, env=env)
    assert "Usage: bridge" in environment.run("bridge", "--help").stdout
    *findings, summary = objects(environment.run("bridge", "doctor", uri, "--json", env=env).stdout)
    assert summary["error"] == 0
    assert {"versions", "tracking URI", "adapters"} <= {item["subject"] for item in findings}


def test_the_running_python_is_there() -> None:
    assert RUNNING in PYTHONS


@pytest.mark.parametrize("version", PYTHONS)
def test_the_core_alone(installed: Install, version: str) -> None:
    environment = installed("", version)
    assert not environment.has("obstore")
    check_tracking(environment, "./store", {})


@pytest.mark.parametrize("version", EACH_PYTHON)
def test_aws_alone(installed: Install, amazon: SageMakerEmulator, version: str) -> None:
    environment = installed("aws", version)
    assert not environment.has("azure_identity")
    check_tracking(environment, amazon.uri, amazon.environment())


@pytest.mark.parametrize("version", EACH_PYTHON)
def test_azure_alone(installed: Install, microsoft: AzureMlEmulator, version: str) -> None:
    environment = installed("azure", version)
    assert not environment.has("boto3")
    check_tracking(environment, microsoft.uri, microsoft.environment())


@pytest.mark.parametrize("version", EACH_PYTHON)
def test_mlflow_alone(installed: Install, version: str) -> None:
    environment = installed("mlflow", version)
    assert not environment.has("boto3")
    environment.run("python", PROGRAMS / "models.py")
    check_tracking(environment, "./store", {})


@pytest.mark.parametrize("extra", ALONE)
def test_an_extra_alone(installed: Install, extra: str) -> None:
    environment = installed() if extra == "spark" else installed(extra)
    linked = link(environment, ("pyspark", "py4j")) if extra == "spark" else []
    try:
        environment.run("python", PROGRAMS / "extras.py", extra)
    finally:
        for path in linked:
            path.unlink()


@pytest.mark.parametrize("extra", NEEDED)
def test_the_core_alone_names_the_extra_that_is_missing(installed: Install, extra: str) -> None:
    told = installed().run("python", PROGRAMS / "extras.py", extra, code=1).stderr
    command = re.search(r"pip install ['\"\\]*trackbridge\[(\w+)\]", told)
    assert command, told
    assert command[1] == ("buckets" if extra == "databricks" else extra)
    assert "Traceback" not in told


def test_every_extra_is_looked_at(built: Built) -> None:
    extras = set(built.metadata()["Provides-Extra"])
    assert extras - {"all", "testing", "sagemaker"} == set(NEEDED)


@pytest.mark.parametrize("version", PYTHONS)
def test_the_core_is_small(installed: Install, version: str) -> None:
    environment = installed("", version)
    environment.run("python", "-m", "compileall", "-q", environment.site)
    sizes = installed_bytes(environment)
    assert sizes["trackbridge"] > 5_000_000, "byte code counts"
    assert sum(sizes.values()) < CORE_BYTES_MAX, sizes


def link(environment: Environment, distributions: tuple[str, ...]) -> list[Path]:
    """Link distributions of this environment into another: pyspark alone is 400 MB to fetch and to build."""
    made = []
    for name in distributions:
        for top in {file.parts[0] for file in files(name) or () if not file.parts[0].startswith("..")}:
            (file,) = [file for file in files(name) or () if file.parts[0] == top][:1]
            source = Path(str(file.locate())).parents[len(file.parts) - 2]
            os.symlink(source, environment.site / top)
            made.append(environment.site / top)
    return made
