"""The contract suites on the adapter in memory: whole, without its options, and with narrow limits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings

from tests.support.memory_adapter import HERE, NEVER_HERE, MemoryAdapter, MemoryState
from trackbridge.domain.metric_values import NON_FINITE
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.capabilities import Limits
from trackbridge.testing.contracts import (
    ArtifactContract,
    CapabilitiesContract,
    TrackingContract,
    TrackingStateMachine,
)

NARROW = Limits(
    metrics_per_write_max=7,
    params_per_write_max=2,
    tags_per_write_max=3,
    write_bytes_max=20_000,
    key_chars_max=250,
    key_pattern=r"[/\w.\- :]*",
    param_value_chars_max=500,
    tag_value_chars_max=256,
    metric_age_ms_max=14 * 24 * 3600 * 1000,
    metric_values_unheld=NON_FINITE,
    artifact_bytes_max=9 * 1024 * 1024,
    page_items_max=1000,
)


def bare() -> MemoryAdapter:
    """Return an adapter with the required parts alone."""
    reasons = {feature: f"{feature.value} is switched off" for feature in HERE - NEVER_HERE.keys()}
    return MemoryAdapter(missing=reasons)


class TestCapabilities(CapabilitiesContract):
    @pytest.fixture
    def adapter(self) -> Adapter:
        return MemoryAdapter()


class TestCapabilitiesBare(CapabilitiesContract):
    @pytest.fixture
    def adapter(self) -> Adapter:
        return bare()


class TestTracking(TrackingContract):
    @pytest.fixture
    def adapter(self) -> Adapter:
        return MemoryAdapter()


class TestTrackingBare(TrackingContract):
    @pytest.fixture
    def adapter(self) -> Adapter:
        return bare()


class TestTrackingNarrow(TrackingContract):
    @pytest.fixture
    def adapter(self) -> Adapter:
        return MemoryAdapter(limits=NARROW)


class TestTrackingWithoutDedup(TrackingContract):
    @pytest.fixture
    def adapter(self) -> Adapter:
        return MemoryAdapter(dedup=False)


class TestArtifacts(ArtifactContract):
    @pytest.fixture
    def adapter(self) -> Adapter:
        return MemoryAdapter()


class TestArtifactsBare(ArtifactContract):
    @pytest.fixture
    def adapter(self) -> Adapter:
        return bare()


class MemoryMachine(TrackingStateMachine):
    def new_store(self) -> Callable[[], Adapter]:
        state = MemoryState()
        return lambda: MemoryAdapter(state)


class MachineWithoutDedup(TrackingStateMachine):
    def new_store(self) -> Callable[[], Adapter]:
        state = MemoryState()
        return lambda: MemoryAdapter(state, dedup=False, limits=Limits(metric_values_unheld=NON_FINITE))


TestMachine = MemoryMachine.TestCase
TestMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestMachineWithoutDedup = MachineWithoutDedup.TestCase
TestMachineWithoutDedup.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
