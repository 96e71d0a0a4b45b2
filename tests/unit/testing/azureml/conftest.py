"""A cloud for each test: the session's whole emulator with Azurite, or the services alone without ports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.azureml_calls import Rig
from tests.support.azureml_emulators import azureml_emulator
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator


@pytest.fixture(scope="session")
def _running() -> Iterator[AzureMlEmulator]:
    with azureml_emulator(mlflow="") as emulator:
        yield emulator


@pytest.fixture
def azure(_running: AzureMlEmulator) -> Iterator[AzureMlEmulator]:
    """A workspace with nothing in it; a fault of the emulator fails the test."""
    _running.reset()
    yield _running
    _running.raise_failures()
    _running.reset()


@pytest.fixture
def rig() -> Iterator[Rig]:
    """The services alone, with blobs in memory."""
    made = Rig()
    yield made
    made.cloud.close()
