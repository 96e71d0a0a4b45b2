"""The registry contract on real MLflow servers, the newest and the oldest supported, through the pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.contracts.test_mlflow_tracking import open_server
from tests.support.mlflow_servers import FLOOR, NEWEST, MlflowServer, mlflow_server
from trackbridge.ports.adapter import Adapter
from trackbridge.testing.contracts import RegistryContract
from trackbridge.testing.contracts.registry_base import put_payload


@pytest.fixture(scope="module", params=[NEWEST, FLOOR])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow"), version=request.param) as server:
        yield server


@pytest.fixture(scope="module")
def payload(server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a run's files, which lie there during all tests."""
    with closing(open_server(server, tmp_path_factory.mktemp("home"))) as adapter:
        return put_payload(adapter, tmp_path_factory.mktemp("payload"))


class TestRegistry(RegistryContract):
    @pytest.fixture
    def kept_source(self, payload: str) -> str:
        return payload

    @pytest.fixture
    def adapter(self, server: MlflowServer, tmp_path: Path) -> Adapter:
        server.reset(keeps_runs=True)
        return open_server(server, tmp_path / "home")
