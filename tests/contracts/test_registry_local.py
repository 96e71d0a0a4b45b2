"""The registry's contract on the local backend: as it is, and through the call pipeline."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests.contracts.test_local import open_local
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.ports.adapter import Adapter
from trackbridge.testing.contracts import RegistryContract, RegistryStateMachine


class TestRegistry(RegistryContract):
    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Adapter:
        return open_local(tmp_path)


class TestRegistryThroughThePipeline(RegistryContract):
    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Adapter:
        return wrap_adapter(open_local(tmp_path))


class LocalMachine(RegistryStateMachine):
    def new_store(self) -> Callable[[], Adapter]:
        self.folder = Path(tempfile.mkdtemp())
        return lambda: open_local(self.folder)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


TestMachine = LocalMachine.TestCase
TestMachine.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
