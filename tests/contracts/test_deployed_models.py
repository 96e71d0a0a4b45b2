"""The same models by the same command on every target: the same rows have the models' own predictions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.cli.conftest import clean_environment
from tests.support.azureml_emulators import azureml_emulator
from tests.support.endpoints import no_process_left
from tests.support.image_contexts import install, serving
from tests.support.sagemaker_endpoints import endpoints_emulator
from tests.support.served_models import JSON, ROWS, ServedModel, answered, register, save_models
from trackbridge.cli.main import bridge
from trackbridge.operations.opening import open_place


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(clean_environment()):
            patch.delenv(name)
        patch.chdir(folder)
        patch.setenv("XDG_CONFIG_HOME", str(folder))  # not HOME, below which Azurite is installed
        patch.setenv("BRIDGE_DELIVERY", "off")
        yield folder
    no_process_left(folder)


@pytest.fixture(scope="module")
def models(project: Path) -> list[ServedModel]:
    saved = project / "saved"
    saved.mkdir()
    found = save_models(saved)
    register(found, open_place().registry)
    return found


def deploy(model: ServedModel, target: str, *arguments: str) -> None:
    """Deploy a model by the one command that is the same everywhere."""
    command = ["deploy", f"models:/{model.name}/1", "--target", target, "--endpoint", model.name, "--yes"]
    done = CliRunner().invoke(bridge, [*command, *arguments])
    assert done.exit_code == 0, (done.stdout, done.stderr, done.exc_info)


def check(model: ServedModel, body: bytes) -> None:
    predictions = answered(body)
    assert len(predictions) == len(model.predictions) >= ROWS
    assert predictions == model.predictions


def check_target(models: list[ServedModel], target: str, *arguments: str) -> None:
    """Deploy the models to a target that can be asked, ask each, and take all away."""
    place = open_place(target)
    try:
        for model in models:
            deploy(model, target, *arguments)
            check(model, place.target.invoke(model.name, model.body, content_type=JSON))
    finally:
        for model in models:
            CliRunner().invoke(bridge, ["endpoints", "delete", model.name, "--target", target, "--yes"])
        place.close()


def test_on_this_machine(models: list[ServedModel]) -> None:
    check_target(models, "local")


def test_in_images(models: list[ServedModel], project: Path, tmp_path: Path) -> None:
    python = None
    for model in models:
        deploy(model, "docker:images", "-C", "trial=none")
        context = project / "images" / model.name / "current"
        python = python or install(context, tmp_path / "environment")
        log: list[str] = []
        with serving(context, python, log) as server:
            answer = server.ask("/invocations", model.body, {"Content-Type": JSON}, 60.0)
            assert answer.status == 200, log
            check(model, answer.body)


def test_on_azure_ml(models: list[ServedModel]) -> None:
    with azureml_emulator(mlflow="") as emulator, pytest.MonkeyPatch.context() as patch:
        for name, value in emulator.environment().items():
            patch.setenv(name, value)
        check_target(models, emulator.uri, "--no-preflight", "--instance-type", "Standard_DS2_v2")
        emulator.raise_failures()


def test_on_sagemaker(models: list[ServedModel]) -> None:
    with endpoints_emulator(serve=()) as emulator:
        check_target(models, emulator.uri, "--no-preflight", "--instance-type", "ml.m5.large")
