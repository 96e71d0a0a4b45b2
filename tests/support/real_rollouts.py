"""Rollouts on endpoints that really serve: users that go on asking, and versions that are bad in some way."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.endpoint_scenes import Killed
from tests.support.memory_adapter import MemoryAdapter
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.baselines import BASELINE_FILE, FORMAT, described_column
from trackbridge.domain.deployments import DeploymentSpec
from trackbridge.domain.model_digest import digest_of_path
from trackbridge.domain.models import ModelVersionSpec
from trackbridge.domain.rollouts import Rollout, RolloutSpec, rollout_spec
from trackbridge.errors import BridgeError
from trackbridge.operations.applying import apply_plan
from trackbridge.operations.deploy import pinned_spec, plan_deploy
from trackbridge.operations.endpoint_goals import OnFailure
from trackbridge.operations.model_source import ModelSource
from trackbridge.operations.opening import Opened
from trackbridge.operations.rollout import RolloutLedger, Told, plan_rollout, resume_rollout, run_plan
from trackbridge.ports.adapter import Adapter
from trackbridge.testing.contracts import deployment_models

ENDPOINT = "rolled"
BODY = json.dumps({"inputs": [[1.0]]}).encode()
GOOD, BAD = 1.0, 2.0
"""What the old version answers, and what the new ones do that answer."""
SLEEP_S = 0.4
CASES = {
    "errors": ("error_rate<10%", "error_rate is"),
    "slow": ("p50_ms<300", "p50_ms is"),
    "drift": ("drift<0.2", "drift is"),
}
"""Each bad version with the guard that finds it, and what is told then."""
STEP = 25


@dataclass
class Users:
    """Threads that ask without a pause, and what they were answered: a number, or ``failed``."""

    place: Opened
    answers: Counter[object] = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def ask(self) -> None:
        while not self.stop.is_set():
            try:
                content = self.place.target.invoke(ENDPOINT, BODY, content_type="application/json")
                answer = json.loads(content)["predictions"][0]
            except BridgeError:
                answer = "failed"
            with self._mutex:
                self.answers[answer] += 1
            self.stop.wait(0.03)


@contextmanager
def users(place: Opened, count: int = 2) -> Iterator[Users]:
    """Let users ask meanwhile."""
    made = Users(place)
    threads = [threading.Thread(target=made.ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        made.stop.set()
        for thread in threads:
            thread.join(60)


class Ground:
    """An endpoint with a good version that has all requests, and a registry of good and bad ones.

    ``wanted`` are fields that each deployment needs at its target.
    """

    def __init__(self, adapter: Adapter, folder: Path, **wanted: Any) -> None:
        self.place = Opened("test:place", wrap_adapter(adapter))
        self.folder, self.wanted = folder, wanted
        registry = MemoryAdapter().registry
        assert registry is not None
        self.registry = registry
        self.models = ModelSource(artifacts=None, cache=folder / "cache", registry=self.registry)
        self.ledger = RolloutLedger(folder / "ledger")
        self.told: list[str] = []
        payloads = {
            "good": deployment_models.answering(folder, "good", GOOD),
            "better": deployment_models.answering(folder, "better", BAD),
            "errors": _failing(folder),
            "slow": deployment_models.sleeping(folder, "slow", seconds=SLEEP_S, answer=BAD),
            "drift": _trained_elsewhere(folder),
        }
        for name, payload in payloads.items():
            self.registry.ensure_model(name)
            spec = ModelVersionSpec(name=name, source=payload.as_uri(), digest=digest_of_path(payload))
            self.registry.create_version(spec, key=name)
        plan = plan_deploy(self.place, self.spec("good"), on_failure=OnFailure.DELETE, has_preflight=False)
        apply_plan(plan, self.place, models=self.models).raise_if_incomplete()

    def spec(self, name: str, **wanted: Any) -> DeploymentSpec:
        fields = {"endpoint": ENDPOINT, "deployment": name, **self.wanted, **wanted}
        return pinned_spec(f"models:/{name}/1", self.registry, **fields)

    def run(self, name: str, rollout: RolloutSpec, *, dies_after: str = "", **wanted: Any) -> Rollout:
        """Roll a version out; ``dies_after`` ends this process's part once that is told."""
        plan = plan_rollout(
            self.place,
            self.spec(name, **wanted),
            rollout,
            models=self.models,
            on_failure=OnFailure.DELETE,
            has_preflight=False,
        )

        def hear(state: Rollout, told: Told) -> None:
            self.told.append(told.text)
            if dies_after and told.text.startswith(dies_after):
                raise Killed

        return run_plan(
            plan, self.place, ledger=self.ledger, models=self.models, user="anna", on_progress=hear
        )

    def resume(self) -> Rollout:
        return resume_rollout(self.ledger.find(ENDPOINT), self.place, ledger=self.ledger, models=self.models)

    @property
    def shares(self) -> dict[str, int]:
        state = self.place.target.observe(ENDPOINT)
        return state.traffic if state is not None else {}

    def tag(self, name: str) -> str:
        return self.registry.get_version(name, "1").tags.get("bridge.rollout", "")

    def close(self) -> None:
        operation = self.place.target.delete(ENDPOINT)
        pause = threading.Event()
        while not operation.done:
            pause.wait(0.05)
            operation = self.place.target.poll(operation)
        self.ledger.close()
        self.place.close()


def guarded(*guards: str, bake_s: float = 3.0) -> RolloutSpec:
    """Return a rollout over a quarter of the requests; patient, for slow machines."""
    return rollout_spec(f"{STEP},100", bake=bake_s, bake_max=240.0, guards=[*guards, "requests>=10"])


def _failing(folder: Path) -> Path:
    """Write a model that fails on what its signature lets pass: a failure that is not the user's."""
    payload = deployment_models.failing(folder, "errors")
    tensor = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 1]}}]
    with open(payload / "MLmodel", "a", encoding="utf-8") as about:
        about.write(f"signature:\n  inputs: '{json.dumps(tensor)}'\n")
    return payload


def _trained_elsewhere(folder: Path) -> Path:
    """Write a model that answers well, and was trained on other data than what it is asked."""
    payload = deployment_models.answering(folder, "drift", BAD)
    column = described_column("x", [number / 10 + 100 for number in range(1000)])
    baseline = {"format": FORMAT, "rows": 1000, "columns": [column], "inputs": ["x"]}
    (payload / BASELINE_FILE).write_text(json.dumps(baseline), "utf-8")
    return payload


# What every target is to do.


def check_bad(ground: Ground, case: str) -> None:
    """A bad version goes back by its guard, and the old version's users see nothing of it."""
    guard, told = CASES[case]
    capture = 100 if case == "drift" else 0
    with users(ground.place) as asking:
        rollout = ground.run(case, guarded(guard), capture_percent=capture)
        after = Counter(asking.answers)
    assert rollout.status == "rolled_back", ground.told
    assert rollout.percent == STEP
    assert told in rollout.reason
    assert ground.shares == {"good": 100}, "the bad version is gone"
    assert ground.tag(case).startswith(f"rolled_back at {STEP} % ({rollout.name}): {told}")
    requests = sum(after.values())
    # Shares hold exactly over a hundred requests here, and by chance in a cloud: six deviations.
    allowed = requests * STEP / 100 + 6 * (requests * STEP / 100) ** 0.5 + 1
    assert after["failed"] <= (allowed if case == "errors" else 0), after
    assert after[GOOD] >= requests - allowed, after


def check_good_after_death(ground: Ground) -> None:
    """A good version gets all requests, also when the process that rolls it out dies on the way."""
    with users(ground.place) as asking:
        try:
            ground.run("better", guarded("error_rate<10%", bake_s=1.0), dies_after="step 1 of 2")
        except Killed:
            assert ground.shares == {"better": STEP, "good": 100 - STEP}
        else:
            raise AssertionError("it was to die")
        rollout = ground.resume()
        answers = Counter(asking.answers)
    assert rollout.status == "promoted", ground.told
    assert ground.shares == {"better": 100, "good": 0}
    assert ground.tag("better").startswith("promoted at 100 %")
    assert answers["failed"] == 0, answers
    assert answers[GOOD] > 0
    assert answers[BAD] > 0
