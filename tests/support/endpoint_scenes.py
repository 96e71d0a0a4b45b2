"""An adapter in memory with a model in three versions, behind the call pipeline as operations see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.memory_adapter import MemoryAdapter, MemoryState
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.deployments import DeploymentSpec, EndpointState
from trackbridge.domain.model_digest import digest_of_path
from trackbridge.domain.models import ModelVersionSpec
from trackbridge.domain.plans import Plan
from trackbridge.operations.applying import Applied, apply_plan
from trackbridge.operations.deploy import pinned_spec, plan_deploy
from trackbridge.operations.model_source import ModelSource
from trackbridge.operations.opening import Opened
from trackbridge.operations.waiting import Pace

VERSIONS = 3


class Killed(BaseException):
    """Stands for SIGKILL: no handler of errors sees it."""


@dataclass
class Dying:
    """A port that dies before or after one of the calls that change something, counted from 1."""

    target: Any
    dies_at: int = 0
    is_after: bool = False
    calls: list[str] = field(default_factory=list)

    CHANGING = ("save_revision", "apply", "poll", "delete")

    def __getattr__(self, name: str) -> Any:
        member = getattr(self.target, name)
        if name not in self.CHANGING:
            return member

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append(name)
            is_last = len(self.calls) == self.dies_at
            if is_last and not self.is_after:
                raise Killed
            result = member(*arguments, **options)
            if is_last:
                raise Killed
            return result

        return call


@dataclass
class Scene:
    """What a test works with: each of its calls opens the backend anew, as another process would."""

    state: MemoryState
    folder: Path
    missing: dict[Any, str] = field(default_factory=dict)

    def place(self, dying: Dying | None = None) -> Opened:
        adapter = MemoryAdapter(self.state, missing=self.missing)
        if dying is not None:
            dying.target = adapter.deployments
            adapter.deployments = dying  # type: ignore[assignment]
        return Opened("memory:here", wrap_adapter(adapter))

    @property
    def models(self) -> ModelSource:
        adapter = MemoryAdapter(self.state)
        return ModelSource(artifacts=None, cache=self.folder / "cache", registry=adapter.registry)

    def spec(self, version: int = 1, **wanted: Any) -> DeploymentSpec:
        return pinned_spec(f"models:/wine/{version}", self.place().registry, endpoint="wine", **wanted)

    def plan(self, version: int = 1, **wanted: Any) -> Plan:
        return plan_deploy(self.place(), self.spec(version, **wanted))

    def apply(self, plan: Plan, dying: Dying | None = None, **options: Any) -> Applied:
        options.setdefault("pace", Pace(pause=lambda seconds: None))
        return apply_plan(plan, self.place(dying), models=self.models, user="anna", **options)

    def deploy(self, version: int = 1, **wanted: Any) -> Applied:
        applied = self.apply(self.plan(version, **wanted))
        applied.raise_if_incomplete()
        return applied

    @property
    def endpoint(self) -> EndpointState | None:
        return self.place().target.observe("wine")

    @property
    def shape(self) -> dict[str, tuple[str, int, int]] | None:
        """Model, traffic and mirror of each deployment; None without an endpoint."""
        found = self.endpoint
        if found is None:
            return None
        return {
            item.deployment: (item.model, item.traffic_percent, item.mirror_percent)
            for item in found.deployments
        }


def new_scene(folder: Path) -> Scene:
    """Return a scene whose files lie in a folder: ``wine`` in three versions, the second the champion."""
    made = Scene(MemoryState(), folder)
    registry = made.place().registry
    registry.ensure_model("wine")
    for number in range(1, VERSIONS + 1):
        payload = folder / f"model-{number}"
        payload.mkdir()
        (payload / "weights.txt").write_text(f"weights {number}")
        spec = ModelVersionSpec(name="wine", source=payload.as_uri(), digest=digest_of_path(payload))
        registry.create_version(spec, key=f"key-{number}")
    registry.set_alias("wine", "champion", version="2")
    return made
