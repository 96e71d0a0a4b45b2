"""The deployment contract on an emulated SageMaker, whose endpoints really serve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sagemaker_endpoints import endpoints_emulator, open_place
from trackbridge.ports.adapter import Adapter
from trackbridge.testing.contracts import DeploymentContract
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator


@pytest.fixture(scope="module")
def emulator() -> Iterator[SageMakerEmulator]:
    with endpoints_emulator() as emulator:
        yield emulator


class TestDeployments(DeploymentContract):
    home: Path
    uri: str

    @pytest.fixture(scope="class")
    @classmethod
    def adapter(cls, emulator: SageMakerEmulator, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
        cls.home, cls.uri = tmp_path_factory.mktemp("home"), emulator.uri
        return open_place(cls.uri, cls.home)

    def open_again(self) -> Adapter:
        return open_place(self.uri, self.home)
