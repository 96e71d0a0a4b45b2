"""What the parts of the deployment contract share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from trackbridge.domain.deployments import (
    DeploymentSpec,
    DeploymentState,
    EndpointMetrics,
    EndpointState,
    EndpointStatus,
    Operation,
)
from trackbridge.domain.plans import Change
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.deployments import DeploymentTarget
from trackbridge.testing.contracts import deployment_models
from trackbridge.testing.contracts.base import Contract

ENDPOINT = "contract"
JSON = "application/json"


class DeploymentTests(Contract):
    """Access to the target; endpoints that tests share; waiting.

    Tests deploy by plan, so that a deployment which is there already costs nothing. What they leave behind
    is deleted when the last test of the class has run.
    """

    patience_s: ClassVar[float] = 120.0
    poll_s: ClassVar[float] = 0.02
    mirror_percent_max: ClassVar[int] = 100
    _used: ClassVar[list[Adapter]]
    _models: ClassVar[Path]

    def open_again(self) -> Adapter:
        """Return another adapter on the same backend, as another process would open it."""
        raise TypeError(f"{type(self).__name__} needs a method 'open_again' that opens the backend once more")

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _leave_nothing(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        cls._used, cls._models = [], tmp_path_factory.mktemp("models")
        yield
        for adapter in cls._used:
            target = cls.target_of(adapter)
            for state in target.list_endpoints():
                cls.wait_for(target.delete(state.endpoint), target)
            adapter.close()

    @pytest.fixture(autouse=True)
    def _bind(self, adapter: Adapter) -> None:
        self.opened = adapter
        self.capabilities = adapter.capabilities()
        if not any(adapter is used for used in self._used):
            self._used.append(adapter)

    @property
    def target(self) -> DeploymentTarget:
        """The port under test."""
        return self.target_of(self.opened)

    @staticmethod
    def target_of(adapter: Adapter) -> DeploymentTarget:
        """Return the port of an adapter."""
        target = adapter.deployments
        assert target is not None, "the adapter has no deployment target"
        return target

    # Models.

    def payload(self, name: str) -> Path:
        """Return the folder of a model: ``one`` answers 1.0 to each row, ``two`` 2.0, and so on.

        ``broken`` cannot be loaded, ``fails`` fails at each request.
        """
        folder = self._models / name
        if folder.is_dir():
            return folder
        if name == "broken":
            return deployment_models.broken(self._models)
        if name == "fails":
            return deployment_models.failing(self._models)
        return deployment_models.answering(self._models, name, ANSWERS[name])

    def spec(
        self, model: str, deployment: str = "v1", *, endpoint: str = ENDPOINT, **fields: object
    ) -> DeploymentSpec:
        """Return the spec of a deployment of a model."""
        return deployment_models.spec_for(self.payload(model), endpoint, deployment, **fields)

    # Changes.

    def apply(self, changes: Sequence[Change], spec: DeploymentSpec | None = None) -> list[str]:
        """Apply changes one after the other; return the errors of the operations."""
        found = []
        for change in changes:
            operation = self.wait(self.target.apply(change, payload=self.payload_of(change, spec)))
            found += [operation.error] if operation.error else []
        return found

    def payload_of(self, change: Change, spec: DeploymentSpec | None) -> Path | None:
        """Return the payload that a change brings."""
        brings = spec is not None and change.subject.startswith("deployment ") and change.after is not None
        if spec is None or not brings or self.target.can_read(spec.model_source):
            return None
        return self.payload(spec.model.removeprefix("models:/").partition("/")[0])

    def plan(self, spec: DeploymentSpec) -> tuple[Change, ...]:
        """Plan from what stands now."""
        return self.target.plan(spec, self.target.observe(spec.endpoint))

    def deploy(self, model: str, deployment: str = "v1", **fields: Any) -> EndpointState:
        """Bring a deployment about, and return the endpoint."""
        spec = self.spec(model, deployment, **fields)
        assert self.apply(self.plan(spec), spec) == []
        return self.observed(spec.endpoint)

    def share(self, endpoint: str = ENDPOINT, mirror: dict[str, int] | None = None, **shares: int) -> None:
        """Share the traffic so, with no other mirrors."""
        state = self.observed(endpoint)
        mirrors = {found.deployment: 0 for found in state.deployments if found.mirror_percent}
        changes = self.target.plan_traffic(
            endpoint,
            state,
            percent_by_deployment=shares,
            mirror_percent_by_deployment={**mirrors, **(mirror or {})} or None,
        )
        assert self.apply(changes) == []

    def remove(self, deployment: str, endpoint: str = ENDPOINT) -> None:
        """Take a deployment away that has no traffic."""
        changes = self.target.plan_removal(endpoint, deployment, self.observed(endpoint))
        assert self.apply(changes) == []

    def delete(self, endpoint: str = ENDPOINT) -> None:
        """Delete an endpoint."""
        assert self.wait(self.target.delete(endpoint)).error is None

    def pair(self, **shares: int) -> None:
        """Have two deployments that answer 1.0 and 2.0, and share the traffic between them."""
        self.deploy("one", "v1") if self.target.observe(ENDPOINT) is None else None
        self.deploy("two", "v2", traffic_percent=0)
        self.share(ENDPOINT, None, **(shares or {"v1": 100}))

    # Looking.

    def observed(self, endpoint: str = ENDPOINT) -> EndpointState:
        """Return an endpoint that is there."""
        state = self.target.observe(endpoint)
        assert state is not None, f"there is no endpoint {endpoint}"
        return state

    def deployment(self, name: str, endpoint: str = ENDPOINT) -> DeploymentState:
        """Return a deployment that is there."""
        found = self.observed(endpoint).find(name)
        assert found is not None, f"there is no deployment {name}"
        return found

    def ask(self, deployment: str | None = None, endpoint: str = ENDPOINT) -> float:
        """Send one row, and return the number that is answered."""
        body = self.target.invoke(endpoint, b'{"inputs": [[1.0]]}', content_type=JSON, deployment=deployment)
        (answer,) = json.loads(body)["predictions"]
        return float(answer)

    def serves(self, endpoint: str = ENDPOINT, deployment: str | None = None) -> set[float]:
        """Return what is answered; nothing is asked of a target that cannot be asked."""
        if not self.capabilities.supports(Feature.DEPLOYMENTS_INVOKE):
            return set()
        return {self.ask(deployment, endpoint)}

    def metrics(self, deployment: str, *, window_s: int = 600) -> EndpointMetrics:
        """Return the telemetry of a deployment."""
        found = self.target.read_metrics(ENDPOINT, window_s=window_s)
        assert [item.deployment for item in found] == sorted(item.deployment for item in found)
        (metrics,) = [item for item in found if item.deployment == deployment]
        return metrics

    # Waiting.

    def wait(self, operation: Operation, target: DeploymentTarget | None = None) -> Operation:
        """Poll until the operation is done."""
        return self.wait_for(operation, target or self.target)

    @classmethod
    def wait_for(cls, operation: Operation, target: DeploymentTarget) -> Operation:
        """Poll a target until the operation is done."""
        deadline = time.monotonic() + cls.patience_s
        while not operation.done:
            assert time.monotonic() < deadline, f"{operation} was not done within {cls.patience_s} s"
            time.sleep(cls.poll_s)
            operation = target.poll(operation)
        return operation

    def wait_until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for something that comes by itself."""
        deadline = time.monotonic() + self.patience_s
        while not holds():
            assert time.monotonic() < deadline, f"{what} did not come within {self.patience_s} s"
            time.sleep(self.poll_s)


ANSWERS = {"one": 1.0, "two": 2.0, "three": 3.0}
READY, FAILED = EndpointStatus.READY, EndpointStatus.FAILED
