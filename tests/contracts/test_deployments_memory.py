"""The deployment contract on the target in memory: whole, and without its options."""

from __future__ import annotations

import pytest

from tests.contracts.test_memory import bare
from tests.support.memory_adapter import MemoryAdapter, MemoryState
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.ports.adapter import Adapter
from trackbridge.testing.contracts import DeploymentContract


class TestDeployments(DeploymentContract):
    poll_s = 0.0

    @pytest.fixture
    def adapter(self) -> Adapter:
        return MemoryAdapter()

    def open_again(self) -> Adapter:
        assert isinstance(self.opened, MemoryAdapter)
        return MemoryAdapter(self.opened.state)


class TestDeploymentsThroughThePipeline(DeploymentContract):
    poll_s = 0.0

    @pytest.fixture
    def adapter(self) -> Adapter:
        self.kept = MemoryState()
        return wrap_adapter(MemoryAdapter(self.kept))

    def open_again(self) -> Adapter:
        return wrap_adapter(MemoryAdapter(self.kept))


class TestDeploymentsBare(DeploymentContract):
    poll_s = 0.0

    @pytest.fixture
    def adapter(self) -> Adapter:
        return bare()

    def open_again(self) -> Adapter:
        assert isinstance(self.opened, MemoryAdapter)
        found = self.opened.capabilities().features
        missing = {feature: about.reason for feature, about in found.items() if not about.supported}
        return MemoryAdapter(self.opened.state, missing=missing)
