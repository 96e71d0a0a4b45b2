"""One emulator for a module, emptied for each test, and places opened on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.sagemaker_emulators import sagemaker_emulator
from tests.unit.adapters.sagemaker.tracking.rig import (
    now_ms,
)
from trackbridge.ports.adapter import AdapterContext
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge_adapters.sagemaker.backend import Backend, backend_of
from trackbridge_adapters.sagemaker.tracking import SageMakerTracking


@pytest.fixture(scope="module")
def emulator() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as emulator:
        yield emulator


@pytest.fixture
def aws(emulator: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[SageMakerEmulator]:
    emulator.reset()
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    yield emulator
    emulator.raise_failures()


@pytest.fixture
def place(aws: SageMakerEmulator, tmp_path: Path) -> Iterator[Callable[..., Backend]]:
    made: list[Backend] = []

    def opened(uri: str = aws.uri, clock_ms: Callable[[], int] = now_ms, **options: str) -> Backend:
        made.append(backend_of(uri, AdapterContext(home=tmp_path, options=options, clock_ms=clock_ms)))
        return made[-1]

    yield opened
    for backend in made:
        backend.clients.close()


@pytest.fixture
def store(place: Callable[..., Backend]) -> SageMakerTracking:
    return SageMakerTracking(place())


@pytest.fixture
def sagemaker(aws: SageMakerEmulator) -> Any:
    return aws.client("sagemaker")


@pytest.fixture
def metrics(aws: SageMakerEmulator) -> Any:
    return aws.client("sagemaker-metrics")
