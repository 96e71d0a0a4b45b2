"""A rollout on the endpoint in memory: a clock that runs while it waits, users that go on asking, deaths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tests.support.endpoint_scenes import Killed, Scene, new_scene
from tests.support.memory_adapter import MemoryAdapter
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.plans import Plan
from trackbridge.domain.rollouts import Rollout, RolloutSpec, rollout_spec
from trackbridge.operations.model_source import ModelSource
from trackbridge.operations.opening import Opened
from trackbridge.operations.rollout import (
    RolloutLedger,
    Told,
    abort_rollout,
    plan_rollout,
    resume_rollout,
    run_plan,
)
from trackbridge.operations.waiting import Pace

BAKE_S = 60.0


@dataclass
class Behaviour:
    """How a deployment answers: of a hundred requests so many fail or are refused, each takes so long."""

    errors_percent: int = 0
    refused_percent: int = 0
    latency_ms: float = 10.0


@dataclass
class Deaths:
    """The death of the process before one of the calls that change something, counted from 1.

    Between two of them nothing is changed: after one is before the next.
    """

    dies_at: int = 0
    calls: list[str] = field(default_factory=list)

    CHANGING = ("save_revision", "apply", "poll", "delete", "add", "write", "set_tags")

    def around(self, port: Any) -> Any:
        return _Mortal(port, self)


class _Mortal:
    def __init__(self, port: Any, deaths: Deaths) -> None:
        self._port, self._deaths = port, deaths

    def __getattr__(self, name: str) -> Any:
        member, deaths = getattr(self._port, name), self._deaths
        if name not in deaths.CHANGING:
            return member

        def call(*arguments: Any, **options: Any) -> Any:
            deaths.calls.append(name)
            if len(deaths.calls) == deaths.dies_at:
                raise Killed
            return member(*arguments, **options)

        return call


@dataclass
class RolloutScene:
    """What a test works with: each of its calls opens everything anew, as another process would."""

    scene: Scene
    home: Path
    now_ms: int = 1_700_000_000_000
    look_s: float = 25.0
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    requests_per_look: int = 1000
    told: list[str] = field(default_factory=list)
    on_pause: Callable[[], None] = lambda: None
    failed: dict[str, int] = field(default_factory=dict)

    @property
    def world(self) -> Any:
        return self.scene.state.deployments

    def place(self, deaths: Deaths | None = None) -> Opened:
        adapter = MemoryAdapter(self.scene.state, missing=self.scene.missing, clock_ms=lambda: self.now_ms)
        if deaths is not None:
            adapter.deployments = deaths.around(adapter.deployments)
        return Opened("memory:here", wrap_adapter(adapter))

    def models(self, deaths: Deaths | None = None) -> ModelSource:
        registry: Any = MemoryAdapter(self.scene.state, missing=self.scene.missing).registry
        return ModelSource(
            artifacts=None,
            cache=self.scene.folder / "cache",
            registry=deaths.around(registry) if deaths is not None else registry,
        )

    def ledger(self, deaths: Deaths | None = None) -> Any:
        ledger = RolloutLedger(self.home)
        return deaths.around(ledger) if deaths is not None else ledger

    def pace(self) -> Pace:
        return Pace(pause=self._pause)

    def _pause(self, seconds: float) -> None:
        """A bake's wait: users ask meanwhile, by the shares that they are given."""
        if seconds < 1:  # a change that is under way
            return
        self.now_ms += round(self.look_s * 1000)
        self.ask()
        self.on_pause()

    def ask(self, requests: int | None = None) -> None:
        """Let users ask, by the shares of the traffic."""
        state = self.scene.endpoint
        for name, share in (state.traffic if state else {}).items():
            count = (self.requests_per_look if requests is None else requests) * share // 100
            does = self.behaviours.get(name, Behaviour())
            errors = count * does.errors_percent // 100
            self.failed[name] = self.failed.get(name, 0) + errors
            self.world.record(
                "wine",
                name,
                requests=count,
                errors=errors,
                refused=count * does.refused_percent // 100,
                latency_ms=does.latency_ms,
            )

    # What is done.

    def rollout(self, *guards: str, steps: str = "5,25,100", **options: Any) -> RolloutSpec:
        return rollout_spec(steps, bake=BAKE_S, guards=guards, **options)

    def plan(self, version: int = 2, rollout: RolloutSpec | None = None, **wanted: Any) -> Plan:
        options = {name: wanted.pop(name) for name in ("on_failure",) if name in wanted}
        endpoint = wanted.pop("endpoint", "wine")
        spec = msgspec.structs.replace(self.scene.spec(version, **wanted), endpoint=endpoint)
        return plan_rollout(self.place(), spec, rollout or self.rollout(), models=self.models(), **options)

    def run(
        self,
        version: int = 2,
        rollout: RolloutSpec | None = None,
        *,
        deaths: Deaths | None = None,
        **wanted: Any,
    ) -> Rollout:
        return self.run_plan(self.plan(version, rollout, **wanted), deaths=deaths)

    def run_plan(self, plan: Plan, *, deaths: Deaths | None = None) -> Rollout:
        return run_plan(
            plan,
            self.place(deaths),
            ledger=self.ledger(deaths),
            models=self.models(deaths),
            user="anna",
            on_progress=self._hear,
            pace=self.pace(),
            clock_ms=lambda: self.now_ms,
        )

    def resume(self, name: str = "wine", *, deaths: Deaths | None = None, **options: Any) -> Rollout:
        ledger = self.ledger(deaths)
        return resume_rollout(
            ledger.find(name),
            self.place(deaths),
            ledger=ledger,
            models=self.models(deaths),
            on_progress=self._hear,
            pace=self.pace(),
            clock_ms=lambda: self.now_ms,
            **options,
        )

    def abort(self, name: str = "wine", **options: Any) -> Rollout:
        ledger = self.ledger()
        return abort_rollout(
            ledger.find(name),
            self.place(),
            ledger=ledger,
            models=self.models(),
            user="bert",
            on_progress=self._hear,
            pace=self.pace(),
            clock_ms=lambda: self.now_ms,
            **options,
        )

    def _hear(self, rollout: Rollout, told: Told) -> None:
        if told.kind == "transition":
            self.told.append(told.text)

    # What came of it.

    @property
    def traffic(self) -> dict[str, int]:
        state = self.scene.endpoint
        return {name: share for name, share in state.traffic.items() if share} if state else {}

    def tag(self, version: int = 2) -> str:
        found = self.scene.place().registry.get_version("wine", str(version))
        return found.tags.get("bridge.rollout", "")


def new_rollout_scene(folder: Path) -> RolloutScene:
    """Return a scene in which version 1 serves as ``v1``, and has for a while."""
    models = folder / "models"
    models.mkdir()
    made = RolloutScene(new_scene(models), folder / "home")
    made.scene.deploy(1)
    made.place()
    made.ask()
    return made
