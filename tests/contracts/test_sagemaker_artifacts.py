"""The contract of files on the emulator of SageMaker, through the call pipeline."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts import ArtifactContract
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge_adapters.sagemaker import open_adapter


@pytest.fixture(scope="module")
def emulator() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as emulator:
        yield emulator


@pytest.fixture
def empty(emulator: SageMakerEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Adapter]:
    emulator.reset()
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    context = AdapterContext(home=tmp_path / "home", options={}, clock_ms=lambda: time.time_ns() // 1_000_000)
    adapter = wrap_adapter(open_adapter(emulator.uri, context=context))
    yield adapter
    adapter.close()


class TestArtifacts(ArtifactContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty
