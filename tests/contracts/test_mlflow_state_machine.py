"""Random sequences of calls on a real MLflow server, against a model of the tracking contract."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.mlflow_servers import MlflowServer, mlflow_server
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts import TrackingStateMachine
from trackbridge_adapters.mlflow import open_adapter

SERVERS: list[MlflowServer] = []
"""The one server of this module; a state machine has no fixtures."""


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as server:
        SERVERS.append(server)
        yield
        SERVERS.remove(server)


class MlflowMachine(TrackingStateMachine):
    def new_store(self) -> Callable[[], Adapter]:
        (server,) = SERVERS
        server.reset()
        self.home = Path(tempfile.mkdtemp())
        context = AdapterContext(home=self.home, options={}, clock_ms=lambda: time.time_ns() // 1_000_000)
        return lambda: wrap_adapter(open_adapter(server.url, context=context))

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "home"):
            shutil.rmtree(self.home)


TestMachine = MlflowMachine.TestCase
TestMachine.settings = settings(max_examples=4, stateful_step_count=20, deadline=None)
