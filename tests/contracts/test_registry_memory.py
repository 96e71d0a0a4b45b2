"""The registry's contract on the adapter in memory: whole, bare, without each option, and in small pages."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings

from tests.contracts.test_memory import bare
from tests.support.memory_adapter import MemoryAdapter, MemoryState
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts import RegistryContract, RegistryStateMachine

OPTIONS = [feature for feature in Feature if feature.port == "registry"]


class TestRegistry(RegistryContract):
    @pytest.fixture
    def adapter(self) -> Adapter:
        return MemoryAdapter()


class TestRegistryBare(RegistryContract):
    @pytest.fixture
    def adapter(self) -> Adapter:
        return bare()


class TestRegistryWithoutOneOption(RegistryContract):
    @pytest.fixture(params=OPTIONS, ids=lambda option: option.value)
    def adapter(self, request: pytest.FixtureRequest) -> Adapter:
        return MemoryAdapter(missing={request.param: f"{request.param.value} is switched off"})


class TestRegistryThroughThePipeline(RegistryContract):
    @pytest.fixture
    def adapter(self) -> Adapter:
        return wrap_adapter(MemoryAdapter())


class MemoryMachine(RegistryStateMachine):
    def new_store(self) -> Callable[[], Adapter]:
        state = MemoryState()
        return lambda: MemoryAdapter(state)


class BareMachine(RegistryStateMachine):
    def new_store(self) -> Callable[[], Adapter]:
        state, reasons = MemoryState(), {option: f"{option.value} is switched off" for option in OPTIONS}
        return lambda: MemoryAdapter(state, missing=reasons)


TestMachine = MemoryMachine.TestCase
TestMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestBareMachine = BareMachine.TestCase
TestBareMachine.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
