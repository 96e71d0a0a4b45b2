"""An emulator for the tests of model packages, and clients of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.sagemaker_packages.rig import (
    OTHER_ACCOUNT,
    Opening,
)
from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.ports.adapter import AdapterContext
from trackbridge.ports.registry import ModelRegistry
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge_adapters.sagemaker import open_adapter
from trackbridge_adapters.sagemaker.adapter import SageMakerAdapter


@pytest.fixture(scope="module")
def running() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as emulator, pytest.MonkeyPatch.context() as patch:
        for name, value in emulator.environment().items():
            patch.setenv(name, value)
        yield emulator


@pytest.fixture
def emulator(running: SageMakerEmulator) -> Iterator[SageMakerEmulator]:
    running.reset()
    yield running
    running.raise_failures()


@pytest.fixture
def opened(emulator: SageMakerEmulator, tmp_path: Path) -> Iterator[Opening]:
    made: list[SageMakerAdapter] = []

    def open_place(uri: str = "", **options: str) -> SageMakerAdapter:
        context = AdapterContext(
            home=tmp_path / "home", options=options, clock_ms=lambda: time.time_ns() // 1_000_000
        )
        adapter = open_adapter(uri or emulator.uri, context=context)
        assert isinstance(adapter, SageMakerAdapter)
        made.append(adapter)
        return adapter

    yield open_place
    for adapter in made:
        adapter.close()


@pytest.fixture
def registry(opened: Opening) -> ModelRegistry:
    return opened().registry


@pytest.fixture(scope="module")
def aws(running: SageMakerEmulator) -> Any:
    """boto3's client; making one takes longer than a test."""
    return running.client("sagemaker")


@pytest.fixture(scope="module")
def s3(running: SageMakerEmulator) -> Any:
    return running.client("s3")


@pytest.fixture(scope="module")
def theirs(running: SageMakerEmulator) -> Any:
    """boto3's client of another account."""
    key = running.keys.issue(principal=f"arn:aws:iam::{OTHER_ACCOUNT}:user/them")
    return running.client("sagemaker", key)
