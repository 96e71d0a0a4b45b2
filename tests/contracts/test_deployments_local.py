"""The deployment contract on the local target: real processes, shared by the tests of the class."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.test_local import open_local
from tests.support.endpoints import no_process_left
from trackbridge.domain.deployments import DeploymentSpec
from trackbridge.errors import RateLimited, Rejected
from trackbridge.ports.adapter import Adapter
from trackbridge.testing.contracts import DeploymentContract, deployment_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("local")
    yield folder
    no_process_left(folder)


class TestDeployments(DeploymentContract):
    place: Path
    python: str

    @pytest.fixture(scope="class")
    @classmethod
    def adapter(cls, folder: Path, quick_python: str) -> Adapter:
        cls.place, cls.python = folder, quick_python
        return open_local(folder)

    def spec(self, model: str, deployment: str = "v1", **fields: Any) -> DeploymentSpec:
        """Return the spec of a deployment, whose server is a fork of one that imported mlflow."""
        options = {"python": self.python, **fields.pop("options", {})}
        return super().spec(model, deployment, options=options, **fields)

    def open_again(self) -> Adapter:
        return open_local(self.place)

    def test_variables_reach_the_model_and_captures_outlive_the_endpoint(self, tmp_path: Path) -> None:
        body = "        return [float(os.environ['ANSWER'])] * len(model_input)"
        payload = deployment_models.write_model(tmp_path, "told", body=body)
        spec = deployment_models.spec_for(
            payload,
            "captured",
            "v1",
            variables={"ANSWER": "7"},
            capture_percent=100,
            instance_count=2,
            options={"python": sys.executable, "queue_max": "5", "body_bytes_max": "1000"},
        )
        for change in self.target.plan(spec, None):
            assert self.wait(self.target.apply(change, payload=payload)).error is None
        assert self.ask(endpoint="captured") == 7.0
        with pytest.raises(Rejected, match="413"):
            self.target.invoke("captured", b"1" * 1001, content_type="application/json")
        captures = self.place / "store" / "endpoints" / "captured" / "captures" / "v1"
        self.wait_until(lambda: b"7.0" in b"".join(map(Path.read_bytes, captures.glob("*"))), "the capture")
        self.delete("captured")
        assert list(captures.glob("*"))

    def test_a_busy_server_says_so(self, tmp_path: Path) -> None:
        payload = deployment_models.sleeping(tmp_path, "slow", seconds=0.3)
        spec = deployment_models.spec_for(
            payload, "busy", "v1", options={"python": self.python, "queue_max": "1"}
        )
        for change in self.target.plan(spec, None):
            assert self.wait(self.target.apply(change, payload=payload)).error is None

        def ask(_: int) -> str:
            try:
                self.ask(endpoint="busy")
            except RateLimited:
                return "refused"
            return "answered"

        with ThreadPoolExecutor(8) as pool:
            told = list(pool.map(ask, range(8)))
        assert {"answered", "refused"} == set(told)
        self.delete("busy")
