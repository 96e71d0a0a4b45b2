"""The contract suites on the local backend."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts import (
    ArtifactContract,
    CapabilitiesContract,
    TrackingContract,
    TrackingStateMachine,
)
from trackbridge_adapters.local import open_adapter


def open_local(folder: Path) -> Adapter:
    context = AdapterContext(home=folder / "home", options={}, clock_ms=lambda: int(time.time() * 1000))
    return open_adapter(f"file:{folder / 'store'}", context=context)


class TestCapabilities(CapabilitiesContract):
    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Adapter:
        return open_local(tmp_path)


class TestTracking(TrackingContract):
    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Adapter:
        return open_local(tmp_path)


class TestArtifacts(ArtifactContract):
    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Adapter:
        return open_local(tmp_path)


class LocalMachine(TrackingStateMachine):
    def new_store(self) -> Callable[[], Adapter]:
        self.folder = Path(tempfile.mkdtemp())
        return lambda: open_local(self.folder)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


TestMachine = LocalMachine.TestCase
TestMachine.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
