"""One emulator of Azure ML for the session, before a scripted server, emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.azureml_emulators import azureml_emulator
from tests.support.scripted_servers import scripted_server
from tests.unit.adapters.azureml.rig import answer_of
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator

TOKEN_S = 3600.0


@pytest.fixture(scope="session")
def _running() -> Iterator[AzureMlEmulator]:
    with scripted_server() as server:
        server.answer = answer_of
        with azureml_emulator(mlflow=server.url) as emulator:
            yield emulator


@pytest.fixture
def azure(_running: AzureMlEmulator) -> Iterator[AzureMlEmulator]:
    """A workspace with nothing in it, and one run behind; a fault of the emulator fails the test."""
    _running.reset()
    yield _running
    _running.raise_failures()
    _running.cloud.issuer.seconds = TOKEN_S
    _running.cloud.addresses = _running.addresses
