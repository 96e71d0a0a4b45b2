"""The contract suites of trackbridge on the adapter: ``pip install -e '.[testing]'``, then ``pytest``."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from trackbridge_sqlite import open_adapter

from trackbridge.errors import ConfigError
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts import CapabilitiesContract, TrackingContract, TrackingStateMachine


def opened(folder: Path) -> Adapter:
    context = AdapterContext(home=folder, options={}, clock_ms=lambda: time.time_ns() // 1_000_000)
    return open_adapter(f"sqlite:{folder}/runs.db", context=context)


class TestCapabilities(CapabilitiesContract):
    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Adapter:
        return opened(tmp_path)


class TestTracking(TrackingContract):
    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Adapter:
        return opened(tmp_path)


class Machine(TrackingStateMachine):
    """Calls in any order, repeated, with crashes between them."""

    def new_store(self) -> Callable[[], Adapter]:
        self.folder = tempfile.TemporaryDirectory()
        return lambda: opened(Path(self.folder.name))

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)


def test_a_relative_path_is_refused() -> None:
    with pytest.raises(ConfigError, match="names no whole path"):
        open_adapter("sqlite:runs.db", context=AdapterContext(home=Path(), options={}, clock_ms=int))
