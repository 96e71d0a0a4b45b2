"""The registry's contract on ``sagemaker:``, against the emulator, through the call pipeline."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts import RegistryContract, RegistryStateMachine
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge_adapters.sagemaker import open_adapter


def open_place(emulator: SageMakerEmulator, home: Path) -> Adapter:
    context = AdapterContext(home=home, options={}, clock_ms=lambda: time.time_ns() // 1_000_000)
    return wrap_adapter(open_adapter(emulator.uri, context=context))


@pytest.fixture(scope="module", autouse=True)
def emulator() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as emulator, pytest.MonkeyPatch.context() as patch:
        for name, value in emulator.environment().items():
            patch.setenv(name, value)
        SageMakerMachine.emulator = emulator
        yield emulator


class TestRegistry(RegistryContract):
    @pytest.fixture
    def adapter(self, emulator: SageMakerEmulator, tmp_path: Path) -> Iterator[Adapter]:
        emulator.reset()
        adapter = open_place(emulator, tmp_path)
        yield adapter
        adapter.close()
        emulator.raise_failures()


class SageMakerMachine(RegistryStateMachine):
    emulator: SageMakerEmulator

    def new_store(self) -> Callable[[], Adapter]:
        self.emulator.reset()
        self.home = Path(tempfile.mkdtemp())
        return lambda: open_place(self.emulator, self.home)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "home"):
            shutil.rmtree(self.home)
        self.emulator.raise_failures()


TestMachine = SageMakerMachine.TestCase
TestMachine.settings = settings(max_examples=5, stateful_step_count=20, deadline=None)
