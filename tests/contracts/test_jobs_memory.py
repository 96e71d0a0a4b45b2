"""The job contract on the backend in memory: whole, without its options, and through the call pipeline."""

from __future__ import annotations

import pytest

from tests.contracts.test_memory import bare
from tests.support.memory_adapter import MemoryAdapter, MemoryState
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts import JobContract


class TestJobs(JobContract):
    machines_max = 1

    @pytest.fixture
    def adapter(self) -> Adapter:
        self.state = MemoryState()
        return MemoryAdapter(self.state)

    def reopened(self) -> Adapter:
        return MemoryAdapter(self.state)


class TestJobsThroughThePipeline(JobContract):
    machines_max = 1

    @pytest.fixture
    def adapter(self) -> Adapter:
        self.state = MemoryState()
        return wrap_adapter(MemoryAdapter(self.state))

    def reopened(self) -> Adapter:
        return wrap_adapter(MemoryAdapter(self.state))


class TestJobsBare(JobContract):
    machines_max = 1

    @pytest.fixture
    def adapter(self) -> Adapter:
        adapter = bare()
        self.state = adapter.state
        return adapter

    def reopened(self) -> Adapter:
        off = [feature for feature in Feature if not self.capabilities.supports(feature)]
        reasons = {feature: self.declared_reason(feature) for feature in off if feature.port == "jobs"}
        return MemoryAdapter(self.state, missing=reasons)
