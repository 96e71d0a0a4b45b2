"""Fixtures for Microsoft's own clients: an emulator that they and our adapter find by the environment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.azureml_emulators import azureml_emulator
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge_adapters.azureml import open_adapter

MLMODEL = "flavors:\n  sklearn:\n    pickled_model: model.pkl\n"


@pytest.fixture(scope="session")
def running() -> Iterator[AzureMlEmulator]:
    """The one emulator; its variables lead every client of this process to it, under Azure's own names."""
    with azureml_emulator() as emulator, pytest.MonkeyPatch.context() as patch:
        for name, value in emulator.environment().items():
            patch.setenv(name, value)
        emulator.cloud.mlflow()  # which starts beside it: no client has to wait for that
        yield emulator


@pytest.fixture
def azure(running: AzureMlEmulator) -> Iterator[AzureMlEmulator]:
    """The emulator as new."""
    running.reset()
    yield running
    running.raise_failures()


@pytest.fixture
def context(azure: AzureMlEmulator, tmp_path: Path) -> AdapterContext:
    """Without any option: our own adapters find the emulator as Microsoft's do, and sign in as they do."""
    return AdapterContext(home=tmp_path / "home", options={}, clock_ms=lambda: time.time_ns() // 1_000_000)


@pytest.fixture
def ours(azure: AzureMlEmulator, context: AdapterContext) -> Iterator[Adapter]:
    """Our own adapter of the workspace."""
    adapter = open_adapter(azure.uri, context=context)
    yield adapter
    adapter.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model in MLflow's format, with a file that only lies deeper."""
    made = tmp_path / "model"
    (made / "data").mkdir(parents=True)
    (made / "MLmodel").write_text(MLMODEL)
    (made / "model.pkl").write_bytes(b"weights" * 1000)
    (made / "data" / "deep file.bin").write_bytes(b"\x00\x01")
    return made
