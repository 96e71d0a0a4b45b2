"""One emulator for the tests of a module, empty for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.sagemaker_emulators import sagemaker_emulator
from tests.support.sagemaker_scenes import Scenes
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator


@pytest.fixture(scope="module")
def _running() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as emulator:
        yield emulator


@pytest.fixture
def aws(_running: SageMakerEmulator) -> Iterator[SageMakerEmulator]:
    """An empty account; a fault of the emulator fails the test."""
    _running.reset()
    yield _running
    _running.raise_failures()
    _running.reset()


@pytest.fixture
def sagemaker(aws: SageMakerEmulator) -> Any:
    return aws.client("sagemaker")


@pytest.fixture
def scenes(aws: SageMakerEmulator) -> Scenes:
    """A bucket, an image, and requests for jobs and endpoints."""
    return Scenes(aws)
