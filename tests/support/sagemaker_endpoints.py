"""Endpoints on an emulated SageMaker: an account with a role and an image that serves, and its places."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.deployments import DeploymentSpec, EndpointState, Operation
from trackbridge.domain.plans import Change
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.deployments import DeploymentTarget
from trackbridge.testing.contracts import deployment_models
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator

WAIT_S = 60.0
LIGHT = (
    "env",
    "BRIDGE_MODEL_PATH=/opt/ml/model",
    sys.executable,
    str(Path(__file__).with_name("scoring_container.py")),
    "{port}",
)
"""A server that starts at once, for tests in which the model is nothing but a number."""


@contextmanager
def endpoints_emulator(*, serve: tuple[str, ...] = LIGHT) -> Iterator[SageMakerEmulator]:
    """Run one whose variables are this process's; deployments find a role and an image there.

    Args:
        serve: The image's program; none is our own server.
    """
    with sagemaker_emulator() as emulator, pytest.MonkeyPatch.context() as patch:
        for name, value in emulator.environment().items():
            patch.setenv(name, value)
        patch.setenv("BRIDGE_SAGEMAKER_ROLE", emulator.make_role("serving"))
        patch.setenv("BRIDGE_SAGEMAKER_SERVING_IMAGE", emulator.push_image("trackbridge-serving:1"))
        if serve:
            emulator.declare_image("*trackbridge-serving*", serve=serve)
        yield emulator


def open_place(uri: str, home: Path, **options: str) -> Adapter:
    """Open a place as a user's program does."""
    from trackbridge_adapters.sagemaker import open_adapter

    context = AdapterContext(home=home, options=options, clock_ms=lambda: time.time_ns() // 1_000_000)
    return wrap_adapter(open_adapter(uri, context=context))


class Deployer:
    """Deploys models of the contract suite to an emulated SageMaker, and looks what that leads to.

    Args:
        emulator: The cloud.
        folder: For the models.
        uri: The place; the emulator's region without a prefix.
        options: Of the place.
    """

    def __init__(self, emulator: SageMakerEmulator, folder: Path, *, uri: str = "", **options: str) -> None:
        self.emulator = emulator
        self.folder = folder
        self.adapter = open_place(uri or emulator.uri, folder, **options)
        target = self.adapter.deployments
        assert target is not None
        self.target: DeploymentTarget = target

    def payload(self, name: str = "one") -> Path:
        """Return the folder of a model; ``one`` answers 1.0, ``two`` 2.0, ``broken`` cannot be loaded."""
        folder = self.folder / name
        if folder.is_dir():
            return folder
        if name == "broken":
            return deployment_models.broken(self.folder)
        if name == "fails":
            return deployment_models.failing(self.folder)
        return deployment_models.answering(self.folder, name, {"one": 1.0, "two": 2.0}[name])

    def spec(
        self, endpoint: str, deployment: str = "v1", model: str = "one", **fields: Any
    ) -> DeploymentSpec:
        """Return a spec."""
        return deployment_models.spec_for(self.payload(model), endpoint, deployment, **fields)

    def plan(self, spec: DeploymentSpec) -> tuple[Change, ...]:
        """Plan from what stands now."""
        return self.target.plan(spec, self.target.observe(spec.endpoint))

    def start(self, change: Change, spec: DeploymentSpec | None = None) -> Operation:
        """Start a change."""
        model = spec.model.removeprefix("models:/").partition("/")[0] if spec is not None else ""
        brings = spec is not None and not self.target.can_read(spec.model_source)
        return self.target.apply(change, payload=self.payload(model) if brings else None)

    def deploy(
        self, endpoint: str, deployment: str = "v1", model: str = "one", **fields: Any
    ) -> EndpointState:
        """Deploy, and return the endpoint."""
        spec = self.spec(endpoint, deployment, model, **fields)
        for change in self.plan(spec):
            assert self.finished(self.start(change, spec)).error is None
        state = self.target.observe(endpoint)
        assert state is not None
        return state

    def finished(self, operation: Operation) -> Operation:
        """Poll until an operation is done."""
        deadline = time.monotonic() + WAIT_S
        while not operation.done:
            assert time.monotonic() < deadline, operation
            time.sleep(0.02)
            operation = self.target.poll(operation)
        return operation

    def delete(self, endpoint: str) -> None:
        """Delete an endpoint."""
        assert self.finished(self.target.delete(endpoint)).error is None

    def ask(self, endpoint: str, deployment: str | None = None) -> float:
        """Send one row, and return the number that is answered."""
        body = self.target.invoke(
            endpoint, b'{"inputs": [[1.0]]}', content_type="application/json", deployment=deployment
        )
        (answer,) = json.loads(body)["predictions"]
        return float(answer)

    @property
    def sagemaker(self) -> Any:
        """boto3's client, as anybody has it."""
        return self.emulator.client("sagemaker")

    def native(self, endpoint: str) -> dict[str, Any]:
        """Return what SageMaker tells of an endpoint."""
        told: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=endpoint)
        return told

    def config(self, endpoint: str) -> dict[str, Any]:
        """Return the config that an endpoint has."""
        name = self.native(endpoint)["EndpointConfigName"]
        told: dict[str, Any] = self.sagemaker.describe_endpoint_config(EndpointConfigName=name)
        return told

    def left_of(self, endpoint: str) -> list[str]:
        """Return the names of endpoints, configs and models of SageMaker's that are of an endpoint."""
        asked = {"NameContains": endpoint, "MaxResults": 100}
        client = self.sagemaker
        return [
            *(row["EndpointName"] for row in client.list_endpoints(**asked)["Endpoints"]),
            *(row["EndpointConfigName"] for row in client.list_endpoint_configs(**asked)["EndpointConfigs"]),
            *(row["ModelName"] for row in client.list_models(**asked)["Models"]),
        ]
