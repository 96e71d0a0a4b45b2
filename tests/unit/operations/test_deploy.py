"""Planning and applying deployments: pinned, stale, locked, failed, killed at each step."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoint_scenes import Dying, Killed, Scene
from tests.support.memory_adapter import MemoryAdapter
from tests.support.memory_deployments import DeploymentWorld, MemoryDeployments
from trackbridge.calls import CallPolicy, World, wrap_adapter
from trackbridge.domain.deployments import EndpointStatus, Operation
from trackbridge.domain.models import Approval
from trackbridge.domain.plans import Plan
from trackbridge.errors import AuthError, InvalidInput, Locked, NotFound, PlanStale, Rejected, TimedOut
from trackbridge.operations.applying import apply_plan
from trackbridge.operations.deploy import (
    list_revisions,
    pinned_spec,
    plan_deletion,
    plan_deploy,
    plan_removal,
    plan_rollback,
    plan_traffic,
)
from trackbridge.operations.endpoint_goals import OnFailure
from trackbridge.operations.opening import Opened
from trackbridge.operations.plans import load_plan, save_plan
from trackbridge.operations.waiting import Pace
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.findings import Finding, Severity
from trackbridge.testing.faults import Faults, faulty_adapter

V1 = ("models:/wine/1", 100, 0)


def subjects(plan: Plan) -> list[str]:
    return [f"{change.action.value} {change.subject}" for change in plan.changes]


# What is planned.


def test_an_alias_is_pinned_to_a_version(scene: Scene) -> None:
    spec = pinned_spec("models:/wine@champion", scene.place().registry, endpoint="wine")
    assert (spec.model, spec.deployment, spec.traffic_percent) == ("models:/wine/2", "v2", 100)
    assert spec.model_digest.startswith("sha256:")
    scene.place().registry.set_alias("wine", "champion", version="1")
    scene.apply(scene.plan(2))
    assert scene.shape == {"v2": ("models:/wine/2", 100, 0)}


def test_a_mirror_gets_no_traffic(scene: Scene) -> None:
    scene.deploy(1)
    assert scene.spec(2, mirror_percent=30).traffic_percent == 0
    scene.deploy(2, mirror_percent=30)
    assert scene.shape == {"v1": V1, "v2": ("models:/wine/2", 0, 30)}


def test_a_rejected_version_is_refused(scene: Scene) -> None:
    scene.place().registry.set_approval("wine", "1", approval=Approval.REJECTED)
    with pytest.raises(Rejected, match="models:/wine/1 was rejected for deployment"):
        scene.plan(1)


def test_a_version_that_is_rejected_after_planning_is_refused(scene: Scene) -> None:
    plan = scene.plan(1)
    scene.place().registry.set_approval("wine", "1", approval=Approval.REJECTED)
    with pytest.raises(Rejected):
        scene.apply(plan)
    assert scene.shape is None


def test_what_is_not_registered_is_not_deployed(scene: Scene) -> None:
    with pytest.raises(InvalidInput, match="no registered model"):
        pinned_spec(str(scene.folder / "model-1"), scene.place().registry, endpoint="wine")
    with pytest.raises(NotFound):
        scene.plan(99)


def test_secrets_do_not_reach_a_plan(scene: Scene) -> None:
    for wanted in ({"variables": {"DB_PASSWORD": "hunter2"}}, {"options": {"x": "AKIAABCDEFGHIJKLMNOP"}}):
        with pytest.raises(InvalidInput, match="looks like a secret") as raised:
            scene.spec(1, **wanted)
        assert "hunter2" not in str(raised.value)
        assert "AKIA" not in str(raised.value)


def test_planning_changes_nothing(scene: Scene) -> None:
    plan = scene.plan(1)
    assert subjects(plan) == ["create endpoint wine", "create deployment wine/v1", "update traffic wine"]
    assert scene.shape is None
    assert list_revisions(scene.place(), "wine") == []


# What is applied.


def test_deploying_twice_is_deploying_once(scene: Scene) -> None:
    applied = scene.deploy(1)
    assert [change.subject for change in applied.done] == [
        "endpoint wine",
        "deployment wine/v1",
        "traffic wine",
    ]
    again = scene.plan(1)
    assert not again.changes_something
    assert scene.apply(again).is_complete
    assert len(list_revisions(scene.place(), "wine")) == 1


def test_the_others_share_the_rest(scene: Scene) -> None:
    scene.deploy(1)
    scene.deploy(2, traffic_percent=10)
    assert scene.shape == {"v1": ("models:/wine/1", 90, 0), "v2": ("models:/wine/2", 10, 0)}
    applied = scene.apply(plan_traffic(scene.place(), "wine", {"v1": 50, "v2": 50}))
    assert applied.state is not None
    assert applied.state.traffic == {"v1": 50, "v2": 50}


def test_progress_is_told(scene: Scene) -> None:
    told: list[tuple[int, int, str]] = []
    scene.apply(
        scene.plan(1), on_progress=lambda number, total, change, event: told.append((number, total, event))
    )
    assert [item for item in told if item[2] != "waiting"] == [
        (number, 3, event) for number in (1, 2, 3) for event in ("started", "done")
    ]


def test_what_happens_is_published(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[tuple[str, str]] = []
    monkeypatch.setattr(
        "trackbridge.events.publish", lambda kind, *, subject, **rest: events.append((kind, subject))
    )
    scene.deploy(1)
    scene.apply(plan_rollback(scene.place(), "wine"))
    scene.deploy(1)
    scene.apply(plan_deletion(scene.place(), "wine"))
    scene.state.deployments.fail_next = "no quota"
    scene.apply(scene.plan(1))
    kinds = ("deploy.applied", "deploy.rolled_back", "deploy.applied", "endpoint.deleted", "deploy.failed")
    assert events == [(kind, "wine") for kind in kinds]


def test_what_has_failed_gets_no_traffic_that_it_did_not_have(scene: Scene) -> None:
    scene.deploy(1)
    scene.deploy(2)
    scene.state.deployments.broken["wine", "v1"] = "crashed"
    for wanted in ({"traffic_percent": 10}, {"mirror_percent": 50}):
        with pytest.raises(InvalidInput, match="only deployment that serves"):
            scene.plan(2, **wanted)
    scene.deploy(3, traffic_percent=10)
    assert scene.shape == {
        "v1": ("models:/wine/1", 0, 0),
        "v2": ("models:/wine/2", 90, 0),
        "v3": ("models:/wine/3", 10, 0),
    }


def test_a_saved_plan_is_applied_by_another_process(scene: Scene, tmp_path: Path) -> None:
    save_plan(scene.plan(1), tmp_path / "plan")
    scene.apply(load_plan(tmp_path / "plan")).raise_if_incomplete()
    assert scene.shape == {"v1": V1}


# What is refused.


def test_a_stale_plan_changes_nothing(scene: Scene) -> None:
    scene.deploy(1)
    plan = scene.plan(2, traffic_percent=10)
    scene.deploy(3, traffic_percent=50)
    before = scene.shape
    with pytest.raises(PlanStale, match="has changed since the plan was made"):
        scene.apply(plan)
    assert scene.shape == before


def test_a_plan_that_somebody_else_has_done_otherwise_is_stale_not_interrupted(scene: Scene) -> None:
    """The same deployment is there, with other traffic: nothing of this plan was begun."""
    scene.deploy(1)
    plan = scene.plan(2, traffic_percent=10)
    scene.deploy(2, traffic_percent=20)
    before = scene.shape
    with pytest.raises(PlanStale, match="has changed since the plan was made"):
        scene.apply(plan)
    assert scene.shape == before


def test_what_an_interrupted_command_has_under_way_is_waited_for(scene: Scene) -> None:
    """The plan made after it has the traffic alone to change, and for that the server must be up."""
    scene.deploy(1)
    world = scene.state.deployments
    world.held = True
    first = next(change for change in scene.plan(2).changes if change.subject == "deployment wine/v2")
    scene.place().target.apply(first, payload=scene.models.folder_of(scene.spec(2)))
    plan = scene.plan(2)
    assert [change.subject for change in plan.changes] == ["traffic wine"]
    waits: list[float] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            world.finish()
            world.held = False

    scene.apply(plan, pace=Pace(pause=pause)).raise_if_incomplete()
    assert len(waits) > 3
    assert scene.shape is not None
    assert scene.shape["v2"][1] == 100


def test_a_plan_for_an_endpoint_that_is_gone_is_stale(scene: Scene) -> None:
    scene.deploy(1)
    scene.deploy(2, traffic_percent=10)
    plan = plan_traffic(scene.place(), "wine", {"v1": 50, "v2": 50})
    scene.apply(plan_deletion(scene.place(), "wine"))
    with pytest.raises(PlanStale):
        scene.apply(plan)


def test_of_two_at_once_one_wins(scene: Scene) -> None:
    plan = scene.plan(1)
    with scene.place().target.lock("wine"), pytest.raises(Locked):
        scene.apply(plan)
    assert scene.shape is None
    scene.apply(plan).raise_if_incomplete()


def test_of_two_plans_from_one_state_the_second_is_stale(scene: Scene) -> None:
    scene.deploy(1)
    plans = [scene.plan(2), scene.plan(3)]
    scene.apply(plans[0]).raise_if_incomplete()
    with pytest.raises(PlanStale):
        scene.apply(plans[1])
    assert scene.apply(plans[0]).resumed == 2


def test_traffic_that_nobody_can_hold_is_refused(scene: Scene) -> None:
    scene.deploy(1)
    with pytest.raises(Rejected):
        plan_traffic(scene.place(), "wine", {"v1": 90})
    with pytest.raises(Rejected):
        plan_traffic(scene.place(), "wine", {"v1": 90, "v9": 10})
    with pytest.raises(NotFound):
        plan_traffic(scene.place(), "beer", {"v1": 100})


def test_a_deployment_with_traffic_stays(scene: Scene) -> None:
    scene.deploy(1)
    with pytest.raises(Rejected, match="100 % of the traffic"):
        plan_removal(scene.place(), "wine", "v1")
    with pytest.raises(NotFound, match="has no deployment 'v7'"):
        plan_removal(scene.place(), "wine", "v7")


# What fails.


def fail_at_traffic(scene: Scene) -> Callable[[int, int, Any, str], None]:
    def fail(number: int, total: int, change: Any, event: str) -> None:
        if change.subject.startswith("traffic") and event == "started":
            scene.state.deployments.fail_next = "no quota"

    return fail


def test_a_failure_stops_and_says_what_stands(scene: Scene) -> None:
    scene.deploy(1)
    plan = plan_deploy(scene.place(), scene.spec(2), on_failure=OnFailure.KEEP)
    applied = scene.apply(plan, on_progress=fail_at_traffic(scene))
    assert not applied.is_complete
    assert [change.subject for change in applied.done] == ["deployment wine/v2"]
    assert applied.failed is not None
    assert applied.failed.subject == "traffic wine"
    assert applied.left == ()
    with pytest.raises(Exception, match="no quota"):
        applied.raise_if_incomplete()
    assert scene.shape == {"v1": V1, "v2": ("models:/wine/2", 0, 0)}
    scene.apply(plan_rollback(scene.place(), "wine")).raise_if_incomplete()
    assert scene.shape == {"v1": V1}


def test_a_deployment_that_does_not_come_up_is_a_failure(scene: Scene) -> None:
    scene.deploy(1)

    def crash_at_the_end(number: int, total: int, change: Any, event: str) -> None:
        if number == total and event == "done":
            scene.state.deployments.broken["wine", "v2"] = "out of memory"

    applied = scene.apply(scene.plan(2, traffic_percent=10), on_progress=crash_at_the_end)
    assert applied.error is None
    assert applied.problems == ("deployment v2 has failed: out of memory",)
    with pytest.raises(Exception, match="out of memory"):
        applied.raise_if_incomplete()


def test_an_endless_change_times_out_and_goes_on_later(scene: Scene) -> None:
    plan = scene.plan(1)
    scene.state.deployments.held = True
    applied = scene.apply(plan, change_s_max=0.01)
    assert isinstance(applied.error, TimedOut)
    scene.state.deployments.held = False
    scene.state.deployments.finish()
    scene.apply(plan).raise_if_incomplete()
    assert scene.shape == {"v1": V1}


def test_what_was_changed_behind_our_back_is_told(scene: Scene) -> None:
    plan = scene.plan(1)

    def meddle(number: int, total: int, change: Any, event: str) -> None:
        if number == total and event == "done":
            found = scene.state.deployments.endpoints["wine"]
            found.traffic = {}

    applied = scene.apply(plan, on_progress=meddle)
    assert [change.subject for change in applied.differences] == ["traffic wine"]
    with pytest.raises(Exception, match="does not stand as planned: update traffic wine"):
        applied.raise_if_incomplete()


def test_a_payload_that_is_gone_is_a_failure_before_anything_serves(scene: Scene) -> None:
    plan = scene.plan(1)
    (scene.folder / "model-1/weights.txt").write_text("other weights")
    applied = scene.apply(plan)
    assert isinstance(applied.error, Rejected)
    assert applied.removed == ["endpoint wine"]
    assert applied.is_untouched
    assert scene.shape is None


# What a failure leaves.


def test_a_failed_deployment_is_taken_away_where_it_would_be_paid_for(scene: Scene) -> None:
    scene.deploy(1)
    plan = scene.plan(2, traffic_percent=10)
    (scene.folder / "model-2/weights.txt").write_text("other weights")
    applied = scene.apply(plan)
    assert isinstance(applied.error, Rejected)
    assert applied.is_untouched
    assert scene.shape == {"v1": V1}


def test_a_failed_deployment_says_what_it_logged_and_goes(scene: Scene) -> None:
    scene.deploy(1)
    plan = scene.plan(2, traffic_percent=10)
    scene.state.deployments.fail_next = "no quota"
    applied = scene.apply(plan)
    assert "no quota" in str(applied.error)
    assert applied.removed == ["deployment wine/v2"]
    assert applied.is_untouched
    assert scene.shape == {"v1": V1}


@pytest.mark.parametrize("stands", [{}, {"v1": V1}])
def test_what_gets_no_traffic_is_taken_away_again(scene: Scene, stands: dict[str, Any]) -> None:
    if stands:
        scene.deploy(1)
    applied = scene.apply(scene.plan(2), on_progress=fail_at_traffic(scene))
    assert "no quota" in str(applied.error)
    assert applied.removed == ["deployment wine/v2" if stands else "endpoint wine"]
    assert (scene.shape or {}) == stands


def test_what_somebody_else_has_given_traffic_meanwhile_stays(scene: Scene) -> None:
    def meddle(number: int, total: int, change: Any, event: str) -> None:
        if change.subject.startswith("traffic") and event == "started":
            scene.state.deployments.endpoints["wine"].traffic = {"v2": 100}
            scene.state.deployments.endpoints["wine"].mirror = {"v2": 1}

    applied = scene.apply(scene.plan(2), on_progress=meddle)
    assert isinstance(applied.error, PlanStale)
    assert "could not be taken away" in applied.problems[0]
    assert set(scene.shape or {}) == {"v2"}


def test_what_is_still_being_made_is_taken_away_when_that_is_over(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that is denied ends the command, not what it began."""
    plan = scene.plan(1)
    world = scene.state.deployments
    poll, delete = MemoryDeployments.poll, MemoryDeployments.delete
    denials: list[Operation] = []
    waits: list[float] = []
    stood: list[EndpointStatus] = []

    def denied(self: MemoryDeployments, operation: Operation) -> Operation:
        if denials or not world.endpoints["wine"].deployments:
            return poll(self, operation)
        denials.append(operation)
        raise AuthError("the credentials have expired")

    def noted(self: MemoryDeployments, endpoint: str) -> Operation:
        state = self.observe(endpoint)
        stood.extend(found.status for found in (state.deployments if state is not None else ()))
        return delete(self, endpoint)

    def pause(seconds: float) -> None:
        if denials:
            waits.append(seconds)
            if len(waits) == 3:
                world.finish()

    monkeypatch.setattr(MemoryDeployments, "poll", denied)
    monkeypatch.setattr(MemoryDeployments, "delete", noted)
    applied = scene.apply(plan, pace=Pace(pause=pause))
    assert isinstance(applied.error, AuthError)
    assert applied.removed == ["endpoint wine"]
    assert stood == [EndpointStatus.READY]


def test_a_failed_deployment_is_kept_where_that_is_asked_for(scene: Scene) -> None:
    scene.deploy(1)
    spec = scene.spec(2, traffic_percent=10)
    plan = plan_deploy(scene.place(), spec, on_failure=OnFailure.KEEP)
    scene.state.deployments.fail_next = "no quota"
    applied = scene.apply(plan)
    assert (applied.removed, applied.is_untouched) == ([], False)
    assert applied.state is not None
    failed = applied.state.find("v2")
    assert failed is not None
    assert failed.status is EndpointStatus.FAILED


def test_what_stood_before_is_never_taken_away(scene: Scene) -> None:
    """A replacement that fails is not what this plan has made."""
    scene.deploy(1, deployment="blue")
    plan = scene.plan(2, deployment="blue")
    scene.state.deployments.fail_next = "no quota"
    applied = scene.apply(plan)
    assert applied.error is not None
    assert applied.removed == []
    assert scene.shape == {"blue": V1}


def test_what_cannot_be_taken_away_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = scene.plan(1)
    (scene.folder / "model-1/weights.txt").write_text("other weights")

    def refuse(self: MemoryDeployments, endpoint: str) -> Operation:
        raise Rejected("deleting is not allowed")

    monkeypatch.setattr(MemoryDeployments, "delete", refuse)
    applied = scene.apply(plan)
    assert "could not be taken away: deleting is not allowed" in applied.problems[0]
    assert scene.shape == {}


# Looking before.


def test_what_the_target_would_not_take_changes_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = scene.plan(1)
    finding = Finding(severity=Severity.ERROR, subject="role", message="may not read", fix="let it read")
    monkeypatch.setattr(MemoryDeployments, "check", lambda self, spec, observed: (finding,))
    with pytest.raises(Rejected, match="role: may not read") as caught:
        scene.apply(plan)
    assert caught.value.hint == "let it read"
    assert scene.shape is None
    assert list_revisions(scene.place(), "wine") == []


# Without revisions and without a lock.


def test_a_target_without_revisions_and_lock_says_so(scene: Scene) -> None:
    scene.missing = {
        Feature.DEPLOYMENTS_REVISIONS: "not offered",
        Feature.DEPLOYMENTS_LOCK: "not offered",
    }
    plan = scene.plan(1)
    assert len(plan.notes) == 2
    scene.apply(plan).raise_if_incomplete()
    assert scene.shape == {"v1": V1}


# Rolling back, from each state.


def test_rollback_and_forward_again(scene: Scene) -> None:
    scene.deploy(1)
    one = scene.shape
    scene.deploy(2, traffic_percent=10)
    two = scene.shape
    for wanted in (one, two, one, two):
        scene.apply(plan_rollback(scene.place(), "wine")).raise_if_incomplete()
        assert scene.shape == wanted


def test_rollback_of_the_first_deploy_takes_the_endpoint_away(scene: Scene) -> None:
    scene.deploy(1)
    plan = plan_rollback(scene.place(), "wine")
    assert subjects(plan) == ["delete endpoint wine"]
    scene.apply(plan).raise_if_incomplete()
    assert scene.shape is None


def test_rollback_gives_mirrors_back_that_the_deploy_had_taken(scene: Scene) -> None:
    """What was live becomes a mirror, and what was a mirror goes live: none can be both on the way back."""
    scene.deploy(1)
    scene.deploy(2, mirror_percent=50)
    one = scene.shape
    scene.deploy(1, mirror_percent=1)
    two = scene.shape
    assert two == {"v1": ("models:/wine/1", 0, 1), "v2": ("models:/wine/2", 100, 0)}
    for wanted in (one, two, one):
        scene.apply(plan_rollback(scene.place(), "wine")).raise_if_incomplete()
        assert scene.shape == wanted


OPERATIONS = ("deploy", "mirror", "traffic", "remove", "delete", "rollback", "to")


@pytest.mark.parametrize("seed", range(40))
def test_rollback_after_anything_returns_to_before(scene: Scene, seed: int) -> None:
    """Operations by chance; after each that changes something the way back and forward again is exact."""
    chance = random.Random(seed)
    for _ in range(12):
        before = scene.shape
        try:
            plan = _by_chance(scene, chance)
        except (Rejected, NotFound, InvalidInput):
            assert scene.shape == before
            continue
        scene.apply(plan).raise_if_incomplete()
        after = scene.shape
        scene.apply(plan).raise_if_incomplete()
        assert scene.shape == after
        if plan.changes_something and (before is None or any(share for _, share, _ in before.values())):
            for wanted in (before, after):
                scene.apply(plan_rollback(scene.place(), "wine")).raise_if_incomplete()
                assert scene.shape == wanted


def _by_chance(scene: Scene, chance: random.Random) -> Plan:
    names = list(scene.shape or {})
    chance.shuffle(names)
    operation = chance.choice(OPERATIONS)
    place = scene.place()
    if operation == "delete":
        return plan_deletion(place, "wine")
    if operation == "rollback":
        return plan_rollback(place, "wine")
    if operation == "to":
        numbers = [revision.number for revision in list_revisions(place, "wine")]
        return plan_rollback(place, "wine", to=chance.choice(numbers or [1]))
    if operation == "remove":
        return plan_removal(place, "wine", (names or ["none"])[0])
    if operation == "traffic":
        shares = dict(zip(names, (70, 30) if len(names) > 1 else (100,), strict=False))
        mirrors = {name: chance.choice((0, 20)) for name in names if name not in shares}
        return plan_traffic(place, "wine", shares, mirrors or None)
    wanted: dict[str, Any] = {"deployment": chance.choice((None, "a", "b"))}
    share = chance.choice((0, 1, 10, 33, 99, 100))
    wanted["mirror_percent" if operation == "mirror" else "traffic_percent"] = share or None
    return scene.plan(chance.choice((1, 2, 3)), **wanted)


def test_rollback_of_a_deletion_brings_everything_back(scene: Scene) -> None:
    scene.deploy(1)
    scene.deploy(2, traffic_percent=40)
    scene.deploy(3, mirror_percent=20)
    before = scene.shape
    scene.apply(plan_deletion(scene.place(), "wine")).raise_if_incomplete()
    assert scene.shape is None
    scene.apply(plan_rollback(scene.place(), "wine")).raise_if_incomplete()
    assert scene.shape == before


def test_rollback_brings_the_old_model_back_under_the_same_name(scene: Scene) -> None:
    scene.deploy(1, deployment="main")
    scene.deploy(2, deployment="main")
    scene.apply(plan_rollback(scene.place(), "wine")).raise_if_incomplete()
    assert scene.shape == {"main": V1}


def test_rollback_shifts_the_traffic_before_it_removes(scene: Scene) -> None:
    scene.deploy(1)
    scene.deploy(2)
    scene.apply(plan_removal(scene.place(), "wine", "v1")).raise_if_incomplete()
    plan = plan_rollback(scene.place(), "wine", to=2)
    assert subjects(plan) == [
        "create deployment wine/v1",
        "update traffic wine",
        "delete deployment wine/v2",
    ]
    scene.apply(plan).raise_if_incomplete()
    assert scene.shape == {"v1": V1}


def test_rollback_to_a_number(scene: Scene) -> None:
    scene.deploy(1)
    scene.deploy(2)
    scene.deploy(3)
    scene.apply(plan_rollback(scene.place(), "wine", to=2), why="v1 was better").raise_if_incomplete()
    assert scene.shape == {"v1": V1}
    newest = list_revisions(scene.place(), "wine")[0]
    assert (newest.operation, newest.user, newest.why) == (
        "rollback",
        "anna",
        "to revision 2: v1 was better",
    )
    with pytest.raises(NotFound, match="no revision 99"):
        plan_rollback(scene.place(), "wine", to=99)
    with pytest.raises(NotFound, match="nothing was done"):
        plan_rollback(scene.place(), "beer")


def test_a_rollback_that_failed_at_once_does_not_mislead_the_next(scene: Scene) -> None:
    scene.deploy(1)
    scene.deploy(2)
    scene.state.deployments.fail_next = "no quota"
    assert not scene.apply(plan_rollback(scene.place(), "wine")).is_complete
    scene.deploy(3)
    scene.apply(plan_rollback(scene.place(), "wine")).raise_if_incomplete()
    found = scene.endpoint
    assert found is not None
    assert {name: share for name, share in found.traffic.items() if share} == {"v2": 100}


def test_rollback_replaces_what_has_failed(scene: Scene) -> None:
    scene.deploy(1)
    scene.deploy(2)
    scene.state.deployments.broken["wine", "v1"] = "crashed"
    plan = plan_rollback(scene.place(), "wine")
    assert subjects(plan)[0] == "replace deployment wine/v1"
    scene.apply(plan).raise_if_incomplete()
    found = scene.endpoint
    assert found is not None
    assert found.status is EndpointStatus.READY
    assert found.traffic == {"v1": 100}


# Killed at each step.

Prepare = Callable[[Scene], Plan]


def _first(scene: Scene) -> Plan:
    return scene.plan(1)


def _second(scene: Scene) -> Plan:
    scene.deploy(1)
    return scene.plan(2, traffic_percent=10)


def _mirrored(scene: Scene) -> Plan:
    scene.deploy(1)
    return scene.plan(2, mirror_percent=50)


def _replaced(scene: Scene) -> Plan:
    scene.deploy(1, deployment="main")
    return scene.plan(2, deployment="main")


def _removed(scene: Scene) -> Plan:
    scene.deploy(1)
    scene.deploy(2, mirror_percent=50)
    return plan_removal(scene.place(), "wine", "v2")


def _deleted(scene: Scene) -> Plan:
    scene.deploy(1)
    scene.deploy(2, traffic_percent=10)
    return plan_deletion(scene.place(), "wine")


def _rolled_back(scene: Scene) -> Plan:
    scene.deploy(1)
    scene.deploy(2, traffic_percent=60)
    scene.deploy(3)
    for name in ("v1", "v2"):
        scene.apply(plan_removal(scene.place(), "wine", name)).raise_if_incomplete()
    return plan_rollback(scene.place(), "wine", to=3)


def _brought_back(scene: Scene) -> Plan:
    scene.deploy(1)
    scene.deploy(2, traffic_percent=40)
    scene.apply(plan_deletion(scene.place(), "wine")).raise_if_incomplete()
    return plan_rollback(scene.place(), "wine")


SCENARIOS = [_first, _second, _mirrored, _replaced, _removed, _deleted, _rolled_back, _brought_back]


@pytest.mark.parametrize("prepare", SCENARIOS)
@pytest.mark.parametrize("takes_effect_later", [False, True])
def test_killed_anywhere_and_applied_again(
    scene: Scene, tmp_path: Path, prepare: Prepare, takes_effect_later: bool
) -> None:
    scene.apply(prepare(scene)).raise_if_incomplete()
    expected = scene.shape
    for number, is_after in _deaths(scene, prepare):
        _forget_endpoints(scene)
        plan = prepare(scene)
        save_plan(plan, tmp_path / "plan")
        _die(scene, plan, number, is_after=is_after)
        if takes_effect_later:
            scene.state.deployments.finish()
        applied = scene.apply(load_plan(tmp_path / "plan"))
        applied.raise_if_incomplete()
        assert scene.shape == expected, (number, is_after)
        assert applied.done == list(plan.changes)


@pytest.mark.parametrize("prepare", SCENARIOS)
def test_killed_anywhere_and_rolled_back(scene: Scene, prepare: Prepare) -> None:
    for number, is_after in _deaths(scene, prepare):
        _forget_endpoints(scene)
        plan = prepare(scene)
        before, saved = scene.shape, len(list_revisions(scene.place(), "wine"))
        _die(scene, plan, number, is_after=is_after)
        scene.state.deployments.finish()
        if len(list_revisions(scene.place(), "wine")) == saved:  # it has changed nothing so far
            assert scene.shape == before
            continue
        expected = before
        if plan.operation == "rollback":  # is gone on with, and taken back once it is complete
            end = _shape_of_goal(plan)
            expected = before if scene.shape == end else end
        scene.apply(plan_rollback(scene.place(), "wine")).raise_if_incomplete()
        assert scene.shape == expected, (number, is_after)


def _deaths(scene: Scene, prepare: Prepare) -> list[tuple[int, bool]]:
    """Return each call at which to die, and whether before or after it."""
    _forget_endpoints(scene)
    dying = Dying(None)
    scene.apply(prepare(scene), dying).raise_if_incomplete()
    assert len(dying.calls) >= 3
    return [(number, is_after) for number in range(1, len(dying.calls) + 1) for is_after in (False, True)]


def _die(scene: Scene, plan: Plan, number: int, *, is_after: bool) -> None:
    with pytest.raises(Killed):
        scene.apply(plan, Dying(None, dies_at=number, is_after=is_after))


def _forget_endpoints(scene: Scene) -> None:
    scene.state.deployments.__dict__.update(DeploymentWorld().__dict__)


def _shape_of_goal(plan: Plan) -> dict[str, tuple[str, int, int]]:
    return {
        item["deployment"]: (item["model"], item["traffic_percent"], item["mirror_percent"])
        for item in plan.parameters["goal"]["deployments"]
    }


@pytest.mark.parametrize("prepare", SCENARIOS)
@pytest.mark.parametrize("seed", range(5))
def test_a_target_that_often_fails_gets_there_all_the_same(scene: Scene, prepare: Prepare, seed: int) -> None:
    scene.apply(prepare(scene)).raise_if_incomplete()
    expected = scene.shape
    _forget_endpoints(scene)
    plan = prepare(scene)
    faults = Faults(
        transient=0.3,
        ambiguous=0.3,
        rng=random.Random(seed),
        methods=frozenset({"observe", "save_revision", "apply", "poll", "delete"}),
    )
    adapter = faulty_adapter(MemoryAdapter(scene.state), faults)
    patient = CallPolicy(attempts_max=100, elapsed_s_max=1e9)
    place = Opened("memory:here", wrap_adapter(adapter, patient, world=World(wait=lambda seconds: None)))
    applied = apply_plan(plan, place, models=scene.models, pace=Pace(pause=lambda seconds: None))
    applied.raise_if_incomplete()
    assert scene.shape == expected
    assert faults.counts["transient"] + faults.counts["ambiguous_done"] > 0
