"""The deployment contract on folders of build contexts, as far as a machine without an engine allows."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.scoring_servers import wait_until
from trackbridge.domain.deployments import EndpointStatus
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts import DeploymentContract
from trackbridge_adapters.docker import open_adapter


def open_docker(folder: Path) -> Adapter:
    context = AdapterContext(home=folder, options={}, clock_ms=lambda: time.time_ns() // 1_000_000)
    return open_adapter(f"docker:{folder}/images", context=context)


class TestDeployments(DeploymentContract):
    place: Path

    @pytest.fixture(scope="class")
    @classmethod
    def adapter(cls, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
        cls.place = tmp_path_factory.mktemp("docker")
        return open_docker(cls.place)

    def open_again(self) -> Adapter:
        return open_docker(self.place)

    def test_the_current_one_is_found_by_a_link(self) -> None:
        folder = self.place / "images" / "linked"
        for model, deployment in (("one", "v1"), ("two", "v2")):
            self.deploy(model, deployment, endpoint="linked", options={"trial": "none"})
            assert (folder / "current").resolve() == (folder / deployment).resolve()
            assert (folder / "current" / "Dockerfile").is_file()
            assert self.deployment(deployment, "linked").native_id == str(folder / deployment)
        assert self.observed("linked").traffic == {"v1": 0, "v2": 100}
        self.remove("v1", "linked")
        assert sorted(path.name for path in folder.iterdir()) == [
            "contexts",
            "current",
            "endpoint.json",
            "v2",
        ]
        assert len(list((folder / "contexts").iterdir())) == 1
        self.delete("linked")

    def test_a_killed_builder_is_replaced(self, tmp_path: Path) -> None:
        spec = self.spec("one", endpoint="killed", variables={"UNIQUE": "1"})
        first, second, _ = self.plan(spec)
        self.apply([first])
        operation = self.target.apply(second, payload=self.payload("one"))
        wait_until(lambda: builders(self.place) or self.target.poll(operation).done)
        for process_id in builders(self.place):
            os.kill(process_id, signal.SIGKILL)
        assert self.wait(operation).error is None
        assert self.deployment("v1", "killed").status is EndpointStatus.READY
        self.delete("killed")


def builders(folder: Path) -> list[int]:
    """Return the processes that build a context in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:  # it has ended
            continue
        if b"docker.building" in command and os.fsencode(folder) in command:
            found.append(int(entry.name))
    return found
