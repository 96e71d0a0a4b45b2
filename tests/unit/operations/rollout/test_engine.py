"""Rolling out: promoted, rolled back by a guard, waiting for a person, touched by somebody else."""

from __future__ import annotations

import dataclasses
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tests.support.rollout_scenes import Behaviour, RolloutScene
from trackbridge.domain.baselines import FORMAT
from trackbridge.domain.deployments import DeploymentSpec
from trackbridge.domain.models import Approval
from trackbridge.domain.rollouts import Rollout, RolloutState
from trackbridge.errors import (
    ConfigError,
    Conflict,
    InvalidInput,
    Locked,
    MissingExtra,
    PlanStale,
    Rejected,
    Unavailable,
    Unsupported,
)
from trackbridge.operations.deploy import list_revisions, plan_removal, plan_rollback, plan_traffic
from trackbridge.operations.endpoint_goals import OnFailure
from trackbridge.operations.model_source import ModelSource
from trackbridge.operations.opening import Opened
from trackbridge.operations.preflight.trials import Trials
from trackbridge.operations.rollout import ended_rollout, run_plan, spec_of_plan
from trackbridge.ports.capabilities import Feature

V1 = ("models:/wine/1", 100, 0)
BASELINE = {"format": FORMAT, "rows": 0, "columns": []}
BAD = {
    "errors": (Behaviour(errors_percent=10), "error_rate<1%", "error_rate is 10.00%"),
    "slow": (Behaviour(latency_ms=900), "p95_ms<200", "p95_ms is 900.0 ms"),
    "refusing": (Behaviour(refused_percent=50), "refused_rate<=5%", "refused_rate is 50.00%"),
    "slower than before": (
        Behaviour(latency_ms=30),
        "p95_ms<1.5x",
        "the guard is p95_ms<1.5x, which is 15.0 ms",
    ),
}


def seen(rollout: Rollout) -> tuple[str, int]:
    return rollout.status, rollout.percent


# It goes well.


def test_a_good_version_is_promoted(wine: RolloutScene) -> None:
    shares: list[dict[str, int]] = []
    wine.on_pause = lambda: shares.append(wine.traffic)
    rollout = wine.run(rollout=wine.rollout("error_rate<1%", "p95_ms<200", "p95_ms<1.5x"))
    assert seen(rollout) == ("promoted", 100)
    assert rollout.name == "wine.1"
    assert wine.scene.shape == {"v1": ("models:/wine/1", 0, 0), "v2": ("models:/wine/2", 100, 0)}
    distinct = [share for number, share in enumerate(shares) if share not in shares[:number]]
    assert distinct == [{"v1": 95, "v2": 5}, {"v1": 75, "v2": 25}, {"v2": 100}]
    assert len(shares) == 9, "each step was held for its bake"
    assert wine.tag() == "promoted at 100 % (wine.1)"
    told = [item.told for item in wine.ledger().history("wine.1")]
    assert told == [
        "begun: 5,25,100 %, 1m each, error_rate<1%, p95_ms<200, p95_ms<1.5x",
        "v2 is deployed",
        "step 1 of 3: v1 95 %, v2 5 %",
        "step 1 passed",
        "step 2 of 3: v1 75 %, v2 25 %",
        "step 2 passed",
        "step 3 of 3: v2 100 %",
        "promoted",
    ]
    assert wine.told == told[1:]


def test_a_rollout_is_one_operation_to_roll_back(wine: RolloutScene) -> None:
    wine.run()
    assert [len(item.deployments) for item in list_revisions(wine.place(), "wine")] == [1, 0]
    wine.scene.apply(plan_rollback(wine.place(), "wine"))
    assert wine.scene.shape == {"v1": V1}


def test_a_rollout_of_what_stands_is_one_operation_too(wine: RolloutScene) -> None:
    wine.scene.deploy(2, traffic_percent=0)
    assert wine.run().state is RolloutState.PROMOTED
    wine.scene.apply(plan_rollback(wine.place(), "wine"))
    assert wine.scene.shape == {"v1": V1, "v2": ("models:/wine/2", 0, 0)}


def test_the_first_deployment_is_watched_with_all_requests(wine: RolloutScene) -> None:
    plan = wine.plan(3, wine.rollout("p95_ms<1.5x", "error_rate<1%"), endpoint="beer")
    assert [change.subject for change in plan.changes] == [
        "endpoint beer",
        "deployment beer/v3",
        "traffic beer",
    ]
    assert "nobody serves yet" in plan.notes[2]
    assert [guard.text for guard in spec_of_plan(plan)[0].guards] == ["error_rate<1%"]
    alone = wine.plan(3, wine.rollout("p95_ms<1.5x"), endpoint="beer")
    assert [guard.text for guard in spec_of_plan(alone)[0].guards] == ["error_rate<1%"], "it is watched"


def test_nothing_to_roll_out(wine: RolloutScene) -> None:
    assert not wine.plan(1).changes_something


def test_others_keep_their_proportion(wine: RolloutScene) -> None:
    wine.scene.deploy(3, traffic_percent=20)
    plan = wine.plan(2)
    assert plan.changes[1].after == {"traffic": {"v1": 76, "v2": 5, "v3": 19}, "mirror": {}}
    wine.behaviours["v2"] = Behaviour(errors_percent=50)
    wine.run_plan(plan)
    assert wine.traffic == {"v1": 80, "v3": 20}


# A guard is broken.


@pytest.mark.parametrize("case", BAD)
def test_a_bad_version_goes_back(wine: RolloutScene, case: str) -> None:
    behaviour, guard, told = BAD[case]
    wine.behaviours["v2"] = behaviour
    rollout = wine.run(rollout=wine.rollout(guard), on_failure=OnFailure.DELETE)
    assert seen(rollout) == ("rolled_back", 5)
    assert told in rollout.reason
    assert wine.scene.shape == {"v1": V1}
    assert wine.tag().startswith("rolled_back at 5 % (wine.1): ")
    assert told in wine.tag()
    assert wine.failed["v1"] == 0, "users of the old version saw nothing of it"
    change = wine.scene.place().registry.list_changes("wine", "2").items[0]
    assert (change.what, change.user) == ("tag:bridge.rollout", "anna")
    assert told in change.why


def test_what_shows_only_later_goes_back_later(wine: RolloutScene) -> None:
    def worsen() -> None:
        if wine.traffic.get("v2") == 25:
            wine.behaviours["v2"] = Behaviour(errors_percent=30)

    wine.on_pause = worsen
    rollout = wine.run()
    assert seen(rollout) == ("rolled_back", 25)
    assert wine.traffic == {"v1": 100}


def test_a_guard_that_breaks_with_all_requests_goes_back_too(wine: RolloutScene) -> None:
    def worsen() -> None:
        if wine.traffic.get("v2") == 100:
            wine.behaviours["v2"] = Behaviour(latency_ms=50)

    wine.on_pause = worsen
    rollout = wine.run(rollout=wine.rollout("p95_ms<1.5x"))
    assert seen(rollout) == ("rolled_back", 100)
    assert "which is 15.0 ms" in rollout.reason, "it is compared with what the old one did at the last"
    assert wine.traffic == {"v1": 100}


def test_what_failed_is_kept_where_that_is_asked_for(wine: RolloutScene) -> None:
    wine.behaviours["v2"] = Behaviour(errors_percent=50)
    plan = wine.plan(on_failure=OnFailure.KEEP)
    assert "v2 is left there without traffic" in plan.notes[0]
    wine.run_plan(plan)
    assert wine.scene.shape == {"v1": V1, "v2": ("models:/wine/2", 0, 0)}


def test_drift_goes_back(wine: RolloutScene, monkeypatch: pytest.MonkeyPatch) -> None:
    class Report:
        worst, rows = 0.31, 400
        columns: Any = (SimpleNamespace(psi=0.31),)

    asked: list[dict[str, Any]] = []
    monkeypatch.setattr("trackbridge.operations.drift.baseline_of", lambda spec, models: BASELINE)

    def drift_of(*names: object, **options: Any) -> Report:
        asked.append(options)
        return Report()

    monkeypatch.setattr("trackbridge.operations.drift.drift_of", drift_of)
    rollout = wine.run(rollout=wine.rollout("drift<0.2"), capture_percent=100)
    assert rollout.reason == "drift is 0.310, the guard is drift<0.2"
    assert rollout.drift == 0.31
    assert asked[0]["since"] == rollout.creation_time
    Report.rows = 10
    again = wine.run(3, wine.rollout("drift<0.2"), capture_percent=100)
    assert "10 of 50 captured rows" in again.waits_for, "few rows prove nothing"
    Report.worst, Report.rows, Report.columns = 0.0, 400, ()
    assert "0 of 50 captured rows" in wine.resume().waits_for, "columns that nobody knows prove nothing"


def test_what_is_broken_needs_no_captured_payloads(
    wine: RolloutScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*names: object, **options: Any) -> None:
        raise Unavailable("no payloads now")

    monkeypatch.setattr("trackbridge.operations.drift.baseline_of", lambda spec, models: BASELINE)
    monkeypatch.setattr("trackbridge.operations.drift.drift_of", fail)
    wine.behaviours["v2"] = Behaviour(errors_percent=10)
    asked_for = wine.rollout("drift<0.2", "error_rate<1%")
    assert "error_rate is 10.00%" in wine.run(rollout=asked_for, capture_percent=100).reason
    assert wine.told[-1].startswith("rolled back")


@pytest.mark.parametrize("fault", ["scipy", "baseline"])
def test_a_drift_that_cannot_be_measured_is_refused(
    wine: RolloutScene, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr("trackbridge.operations.drift.baseline_of", lambda spec, models: {"format": "x"})
    if fault == "scipy":
        monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(MissingExtra if fault == "scipy" else Rejected, match=fault):
        wine.plan(rollout=wine.rollout("drift<0.2"), capture_percent=100)


def test_a_deployment_that_cannot_be_made_goes_back(wine: RolloutScene) -> None:
    plan = wine.plan(on_failure=OnFailure.DELETE)
    wine.world.fail_next = "no quota"
    rollout = wine.run_plan(plan)
    assert seen(rollout) == ("rolled_back", 5)
    assert "no quota" in rollout.reason
    assert wine.scene.shape == {"v1": V1}


def test_a_deployment_that_fails_meanwhile_goes_back_at_once(wine: RolloutScene) -> None:
    def crash() -> None:
        wine.world.broken["wine", "v2"] = "out of memory"

    wine.on_pause = crash
    rollout = wine.run()
    assert rollout.reason == "v2 has failed: out of memory"
    assert wine.traffic == {"v1": 100}


@pytest.mark.parametrize("keeps", [True, False])
def test_a_first_deployment_that_is_bad_leaves_nothing_unless_kept(wine: RolloutScene, keeps: bool) -> None:
    def record() -> None:
        wine.world.record("beer", "v2", requests=100, errors=50)

    wine.on_pause = record
    rollout = wine.run(endpoint="beer", on_failure=OnFailure.KEEP if keeps else OnFailure.DELETE)
    assert rollout.state is RolloutState.ROLLED_BACK
    assert (wine.place().target.observe("beer") is not None) == keeps


def test_a_bad_one_that_nobody_can_take_the_requests_from_is_told(wine: RolloutScene) -> None:
    wine.world.endpoints["wine"].traffic = {}
    wine.behaviours["v2"] = Behaviour(errors_percent=50)
    plan = wine.plan(on_failure=OnFailure.DELETE)
    assert "nobody else serves, and v2 stays" in plan.notes[0]
    rollout = wine.run_plan(plan)
    assert rollout.problems == ("v2 still has all requests: nobody else could take them",)
    assert wine.traffic == {"v2": 100}


def test_what_stood_before_stays(wine: RolloutScene) -> None:
    wine.scene.deploy(2, traffic_percent=0)
    wine.behaviours["v2"] = Behaviour(errors_percent=50)
    plan = wine.plan(on_failure=OnFailure.DELETE)
    assert "v2 is left there without traffic" in plan.notes[0]
    assert wine.run_plan(plan).problems == ()
    assert wine.scene.shape == {"v1": V1, "v2": ("models:/wine/2", 0, 0)}


# A person has to decide.


def test_too_few_requests_extend_the_bake_and_then_ask(wine: RolloutScene) -> None:
    wine.requests_per_look = 100  # five of them for v2
    started = wine.now_ms
    rollout = wine.run()
    assert seen(rollout) == ("waiting", 5)
    assert wine.now_ms - started == pytest.approx(3 * 60_000, abs=30_000)
    assert "40 of 50 requests" in rollout.waits_for
    for command in ("resume wine.1", "resume wine.1 --accept-few", "abort wine.1"):
        assert f"bridge rollouts {command}" in rollout.waits_for
    assert wine.traffic == {"v1": 95, "v2": 5}
    wine.requests_per_look = 1000
    assert seen(wine.resume()) == ("promoted", 100)


def test_no_requests_at_all_are_no_success(wine: RolloutScene) -> None:
    wine.requests_per_look = 0
    rollout = wine.run()
    assert "0 of 50 requests" in rollout.waits_for
    again = wine.resume(accepts_few=True)
    assert seen(again) == ("waiting", 25)
    assert wine.abort().state is RolloutState.ROLLED_BACK
    assert wine.traffic == {"v1": 100}
    assert "aborted by bert" in wine.tag()


def test_few_requests_are_not_accepted_once_there_are_enough_that_fail(wine: RolloutScene) -> None:
    wine.requests_per_look = 0
    wine.run()
    wine.behaviours["v2"] = Behaviour(errors_percent=50)
    wine.ask(2000)
    assert seen(wine.resume(accepts_few=True)) == ("rolled_back", 5)


def test_traffic_that_somebody_else_has_changed_is_not_touched(wine: RolloutScene) -> None:
    def interfere() -> None:
        wine.on_pause = lambda: None
        wine.scene.apply(plan_traffic(wine.scene.place(), "wine", {"v1": 50, "v2": 50}))

    wine.on_pause = interfere
    rollout = wine.run()
    assert seen(rollout) == ("waiting", 5)
    assert "somebody else has shared the traffic otherwise (v1 50 %, v2 50 %)" in rollout.waits_for
    calls = list(wine.world.calls)
    assert seen(wine.resume()) == ("waiting", 5), "it still stands otherwise"
    ended = wine.abort()
    assert ended.state is RolloutState.ENDED
    assert "left as it stands" in ended.reason
    assert wine.world.calls == calls, "nothing was touched"
    assert wine.traffic == {"v1": 50, "v2": 50}


def test_it_goes_on_once_the_traffic_stands_as_before(wine: RolloutScene) -> None:
    def interfere() -> None:
        wine.on_pause = lambda: None
        wine.scene.apply(plan_traffic(wine.scene.place(), "wine", {"v1": 50, "v2": 50}))

    wine.on_pause = interfere
    wine.run()
    wine.scene.apply(plan_traffic(wine.place(), "wine", {"v1": 95, "v2": 5}))
    assert seen(wine.resume()) == ("promoted", 100)


def test_a_deployment_that_somebody_else_took_away_is_told(wine: RolloutScene) -> None:
    def interfere() -> None:
        wine.on_pause = lambda: None
        wine.scene.apply(plan_traffic(wine.scene.place(), "wine", {"v1": 100}))
        wine.scene.apply(plan_removal(wine.scene.place(), "wine", "v2"))

    wine.on_pause = interfere
    assert "somebody else has shared the traffic otherwise" in wine.run().waits_for
    assert wine.abort().state is RolloutState.ROLLED_BACK, "it stands as it would have led to"


def test_a_change_between_plan_and_begin_is_refused(wine: RolloutScene) -> None:
    plan = wine.plan()
    wine.scene.deploy(3, traffic_percent=10)
    with pytest.raises(PlanStale):
        wine.run_plan(plan)
    assert wine.ledger().rollouts() == []


# Two at once, and ending from outside.


def test_two_at_once_on_one_endpoint(wine: RolloutScene) -> None:
    refused: list[Exception] = []

    def second() -> None:
        wine.on_pause = lambda: None
        with pytest.raises(Locked, match="another process rolls out") as raised:
            wine.run(3)
        refused.append(raised.value)

    wine.on_pause = second
    assert seen(wine.run()) == ("promoted", 100)
    assert len(refused) == 1


def test_one_that_is_not_over_keeps_others_off(wine: RolloutScene) -> None:
    wine.requests_per_look = 0
    wine.run()
    with pytest.raises(Conflict, match=r"the rollout wine\.1 of the endpoint 'wine' is not over") as raised:
        wine.run(3)
    assert "bridge rollouts resume wine.1" in (raised.value.hint or "")
    assert "v3" not in (wine.scene.shape or {})


def test_aborting_what_another_process_goes_on_with(wine: RolloutScene) -> None:
    aborted: list[Rollout] = []
    other = threading.Thread(target=lambda: aborted.append(wine.abort(why="too risky")))

    def begin() -> None:
        wine.on_pause = lambda: None
        other.start()
        while not wine.ledger().get("wine.1").reason:
            threading.Event().wait(0.01)

    wine.on_pause = begin
    with pytest.raises(Conflict, match="taken over by another process"):
        wine.run()
    other.join(60)
    assert aborted[0].state is RolloutState.ROLLED_BACK
    assert aborted[0].reason == "aborted by bert: too risky"
    assert wine.traffic == {"v1": 100}


@pytest.mark.parametrize("waits", [True, False])
def test_what_was_ended_while_its_model_was_tried_begins_nothing(
    wine: RolloutScene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, waits: bool
) -> None:
    plan = wine.plan()
    trials = Trials(tmp_path)
    recheck = ModelSource.recheck

    def checked(self: ModelSource, spec: DeploymentSpec) -> None:
        recheck(self, spec)
        ledger = wine.ledger()
        ended = msgspec.structs.replace(ledger.get("wine.1"), state=RolloutState.ENDED)
        ledger.write(ended, "ended")
        if waits:
            trials.on_wait()

    monkeypatch.setattr(ModelSource, "recheck", checked)
    calls, revisions = list(wine.world.calls), len(wine.world.revisions["wine"])
    with pytest.raises(Conflict, match="taken over"):
        run_plan(plan, wine.place(), ledger=wine.ledger(), models=wine.models(), trials=trials)
    assert wine.world.calls == calls
    assert len(wine.world.revisions["wine"]) == revisions + (not waits)


def test_a_rollback_of_the_endpoint_ends_the_rollout(wine: RolloutScene) -> None:
    rolled_back: list[Any] = []

    def roll_back() -> None:
        with ended_rollout(
            wine.ledger(),
            wine.scene.place(),
            "wine",
            models=wine.models(),
            reason="bridge endpoints rollback",
        ) as rollout:
            rolled_back.append(rollout)
            wine.scene.apply(plan_rollback(wine.scene.place(), "wine"))

    other = threading.Thread(target=roll_back)

    def begin() -> None:
        wine.on_pause = lambda: None
        other.start()
        while not wine.ledger().get("wine.1").state.is_final:
            threading.Event().wait(0.01)

    wine.on_pause = begin
    with pytest.raises(Conflict, match="taken over"):
        wine.run()
    other.join(60)
    assert wine.scene.shape == {"v1": V1}
    assert wine.ledger().get("wine.1").state is RolloutState.ENDED
    assert wine.tag() == "ended at 5 % (wine.1): bridge endpoints rollback"


def test_what_is_over_stays_over(wine: RolloutScene) -> None:
    first = wine.run()
    calls = list(wine.world.calls)
    assert (seen(wine.resume()), wine.resume().sequence) == (seen(first), first.sequence)
    with pytest.raises(Conflict, match="is over: promoted"):
        wine.abort()
    assert wine.world.calls == calls


def test_an_interruption_by_hand_leaves_it_resumable(wine: RolloutScene) -> None:
    def press() -> None:
        wine.on_pause = lambda: None
        raise KeyboardInterrupt

    wine.on_pause = press
    with pytest.raises(KeyboardInterrupt):
        wine.run()
    assert wine.traffic == {"v1": 95, "v2": 5}
    assert seen(wine.resume()) == ("promoted", 100)


# Refused before anything.


@pytest.mark.parametrize("feature", [Feature.DEPLOYMENTS_TRAFFIC, Feature.DEPLOYMENTS_METRICS])
def test_a_target_that_cannot_is_refused_with_its_reason(wine: RolloutScene, feature: Feature) -> None:
    wine.scene.missing[feature] = "it has none of that"
    with pytest.raises(Unsupported, match="it has none of that"):
        wine.plan()


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"mirror_percent": 10}, "copies of live requests"),
        ({"rollout": "drift<0.2"}, "a guard on drift needs payloads"),
        ({"rollout": "drift<0.2", "capture_percent": 100}, "no baseline"),
    ],
)
def test_what_does_not_go_together_is_refused(
    wine: RolloutScene, wanted: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackbridge.operations.drift.baseline_of", lambda spec, models: None)
    guard = wanted.pop("rollout", "error_rate<1%")
    with pytest.raises(InvalidInput, match=told):
        wine.plan(rollout=wine.rollout(guard), **wanted)


def test_a_deployment_with_traffic_is_not_replaced(wine: RolloutScene) -> None:
    with pytest.raises(Rejected, match="wine/v1 has 100 % of the traffic already"):
        wine.plan(2, deployment="v1")
    with pytest.raises(Rejected, match="wine/v1 has 100 % of the traffic already"):
        wine.plan(1, environment={"MODE": "x"})


def test_a_version_that_is_rejected_meanwhile_is_not_rolled_out(wine: RolloutScene) -> None:
    plan = wine.plan()
    wine.scene.place().registry.set_approval("wine", "2", approval=Approval.REJECTED)
    with pytest.raises(Rejected):
        wine.run_plan(plan)
    assert wine.ledger().get("wine.1").state is RolloutState.ENDED
    assert wine.scene.shape == {"v1": V1}


def test_while_somebody_else_changes_the_endpoint_it_is_refused(wine: RolloutScene) -> None:
    plan = wine.plan()
    with wine.place().target.lock("wine"), pytest.raises(Locked):
        wine.run_plan(plan)
    assert wine.ledger().get("wine.1").state is RolloutState.ENDED
    assert seen(wine.run()) == ("promoted", 100)


# Backends that fail.


def test_telemetry_that_cannot_be_read_for_a_while_is_borne(
    wine: RolloutScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([True, True])
    outages = iter([True])
    real = wine.place().target

    def read(endpoint: str, *, window_s: int) -> Any:
        if 1 < window_s < 60 and next(failures, False):
            raise Unavailable("no telemetry now")
        return real.read_metrics(endpoint, window_s=window_s)

    def observe(endpoint: str) -> Any:
        if any(told.startswith("step 1 of") for told in wine.told) and next(outages, False):
            raise Unavailable("no endpoints now")
        return real.observe(endpoint)

    _read_by(wine, monkeypatch, read_metrics=read, observe=observe)
    assert seen(wine.run(rollout=wine.rollout(steps="100"))) == ("promoted", 100)
    assert any("no endpoints now" in told for told in wine.told)
    assert next(failures, None) is None
    assert next(outages, None) is None


def test_a_ledger_that_cannot_be_read_any_more_says_so(wine: RolloutScene) -> None:
    ledger = wine.ledger()
    ledger.close()
    for use in (ledger.rollouts, lambda: ledger.history("wine.1")):
        with pytest.raises(ConfigError, match="the ledger of rollouts cannot be used"):
            use()


@pytest.mark.parametrize(("bake_s", "waits"), [(60, True), (59, False)])
def test_where_figures_are_by_minutes_a_step_is_measured_from_the_next_one_on(
    wine: RolloutScene, monkeypatch: pytest.MonkeyPatch, bake_s: int, waits: bool
) -> None:
    real = wine.place().target
    began: dict[int, int] = {}

    def read(endpoint: str, *, window_s: int) -> Any:
        found = real.read_metrics(endpoint, window_s=window_s)
        return tuple(msgspec.structs.replace(item, window_s=max(window_s, 60)) for item in found)

    def note() -> None:
        rollout = wine.ledger().get("wine.1")
        began[rollout.step] = rollout.step_time

    _read_by(wine, monkeypatch, read_metrics=read)
    wine.on_pause = note
    spec = msgspec.structs.replace(wine.rollout(steps="50,100"), bake_s=float(bake_s))
    assert seen(wine.run(rollout=spec)) == ("promoted", 100)
    assert [began[step] % 60_000 == 0 for step in (0, 1)] == [False, waits]


def _read_by(wine: RolloutScene, monkeypatch: pytest.MonkeyPatch, **reads: Any) -> None:
    """Let the rollout, not the scene, read its target by functions."""

    class Read(Opened):
        target: Any = _Reading(wine.place().target, **reads)

    place = Read("memory:here", wine.place().adapter)
    monkeypatch.setattr(wine, "place", lambda deaths=None: place)


class _Reading:
    """A target that is read by functions."""

    def __init__(self, target: Any, **reads: Any) -> None:
        self._target, self._reads = target, reads

    def __get__(self, instance: object, owner: type) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return self._reads.get(name) or getattr(self._target, name)


def test_what_cannot_be_noted_on_the_version_is_told(
    wine: RolloutScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mute:
        def set_tags(self, *names: object, **options: object) -> None:
            raise Rejected("read only")

        def get_version(self, *names: str) -> Any:
            return wine.scene.place().registry.get_version(*names)

    muted = dataclasses.replace(wine.models(), registry=Mute())  # type: ignore[arg-type]
    monkeypatch.setattr(wine, "models", lambda deaths=None: muted)
    rollout = wine.run()
    assert rollout.state is RolloutState.PROMOTED
    assert "read only" in rollout.problems[0]


def test_a_plan_of_something_else_is_none(wine: RolloutScene) -> None:
    with pytest.raises(ConfigError, match="none of a rollout"):
        spec_of_plan(wine.scene.plan(3))
