"""Rollouts on the emulators of Azure ML and SageMaker, which really serve and count, under load."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.contracts.test_azureml_deployments import IMAGE, MACHINE, opened
from tests.support import scoring_container
from tests.support.azureml_emulators import azureml_emulator
from tests.support.real_rollouts import CASES, Ground, check_bad, check_good_after_death
from tests.support.sagemaker_endpoints import endpoints_emulator, open_place


@pytest.fixture(scope="module", params=["azureml", "sagemaker"])
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("rollouts")
    if request.param == "azureml":
        with azureml_emulator(mlflow="") as azureml:
            azureml.declare_image(IMAGE, serve=[sys.executable, str(scoring_container.__file__), "{port}"])
            made = Ground(opened(azureml, folder / "home"), folder, instance_type=MACHINE, image=IMAGE)
            yield made
            made.close()
        return
    with endpoints_emulator() as sagemaker:
        made = Ground(open_place(sagemaker.uri, folder / "home"), folder)
        yield made
        made.close()


@pytest.mark.parametrize("case", CASES)
def test_a_bad_version_goes_back_by_its_guard(ground: Ground, case: str) -> None:
    check_bad(ground, case)


def test_killed_on_the_way_and_resumed_a_good_version_is_promoted(ground: Ground) -> None:
    check_good_after_death(ground)
