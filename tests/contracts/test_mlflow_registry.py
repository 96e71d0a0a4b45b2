"""The registry contract on real MLflow servers, the newest and the oldest supported, through the pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.test_mlflow_tracking import open_server
from tests.support.mlflow_servers import FLOOR, NEWEST, MlflowServer, mlflow_server
from trackbridge.ports.adapter import Adapter
from trackbridge.testing.contracts import RegistryContract


@pytest.fixture(scope="module", params=[NEWEST, FLOOR])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow"), version=request.param) as server:
        yield server


class TestRegistry(RegistryContract):
    @pytest.fixture
    def adapter(self, server: MlflowServer, tmp_path: Path) -> Adapter:
        server.reset()
        return open_server(server, tmp_path / "home")
