"""The contract suites on the adapter in memory, through the call pipeline."""

from __future__ import annotations

import pytest

from tests.contracts.test_memory import bare
from tests.support.memory_adapter import MemoryAdapter
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.ports.adapter import Adapter
from trackbridge.testing.contracts import ArtifactContract, CapabilitiesContract, TrackingContract


class TestCapabilities(CapabilitiesContract):
    @pytest.fixture
    def adapter(self) -> Adapter:
        return wrap_adapter(MemoryAdapter())


class TestTracking(TrackingContract):
    @pytest.fixture
    def adapter(self) -> Adapter:
        return wrap_adapter(MemoryAdapter())


class TestTrackingBare(TrackingContract):
    @pytest.fixture
    def adapter(self) -> Adapter:
        return wrap_adapter(bare())


class TestArtifacts(ArtifactContract):
    @pytest.fixture
    def adapter(self) -> Adapter:
        return wrap_adapter(MemoryAdapter())
