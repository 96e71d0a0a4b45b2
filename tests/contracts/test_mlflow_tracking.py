"""The tracking contract on real MLflow servers, the newest and the oldest supported, through the pipeline."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mlflow_servers import FLOOR, NEWEST, MlflowServer, mlflow_server
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.errors import Unsupported
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts import CapabilitiesContract, TrackingContract
from trackbridge_adapters.mlflow import open_adapter


def open_server(server: MlflowServer, home: Path) -> Adapter:
    context = AdapterContext(home=home, options={}, clock_ms=lambda: int(time.time() * 1000))
    if server.version == FLOOR:  # what it lacks is found at the first call, and declared from then on
        asked = open_adapter(server.url, context=context).tracking
        assert asked is not None
        for ask, identifier in ((asked.get_logged_model, "m-0"), (asked.get_trace, "tr-0")):
            with pytest.raises(Unsupported):
                ask(identifier)
    return wrap_adapter(open_adapter(server.url, context=context))


@pytest.fixture(scope="module", params=[NEWEST, FLOOR])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow"), version=request.param) as server:
        yield server


@pytest.fixture
def adapter(server: MlflowServer, tmp_path: Path) -> Adapter:
    server.reset()
    return open_server(server, tmp_path / "home")


class TestCapabilities(CapabilitiesContract):
    @pytest.fixture
    def adapter(self, server: MlflowServer, tmp_path: Path) -> Adapter:
        server.reset()
        return open_server(server, tmp_path / "home")


class TestTracking(TrackingContract):
    @pytest.fixture
    def adapter(self, server: MlflowServer, tmp_path: Path) -> Adapter:
        server.reset()
        return open_server(server, tmp_path / "home")
