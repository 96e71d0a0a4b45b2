"""The contract suites on the local backend, through the call pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts.test_local import open_local
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.ports.adapter import Adapter
from trackbridge.testing.contracts import ArtifactContract, CapabilitiesContract, TrackingContract


class TestCapabilities(CapabilitiesContract):
    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Adapter:
        return wrap_adapter(open_local(tmp_path))


class TestTracking(TrackingContract):
    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Adapter:
        return wrap_adapter(open_local(tmp_path))


class TestArtifacts(ArtifactContract):
    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Adapter:
        return wrap_adapter(open_local(tmp_path))
