"""A rollout whose process dies at any call that changes something, and is resumed, ends the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.endpoint_scenes import Killed
from tests.support.rollout_scenes import Behaviour, Deaths, RolloutScene, new_rollout_scene
from trackbridge.domain.models import Approval
from trackbridge.errors import NotFound
from trackbridge.operations.endpoint_goals import OnFailure

V1 = ("models:/wine/1", 100, 0)
Ending = tuple[str, object, str, list[list[tuple[str, str, int]]]]

BEHAVIOURS = {"good": Behaviour(), "bad": Behaviour(errors_percent=20)}


def worsen_at(wine: RolloutScene, percent: int, behaviour: Behaviour) -> Callable[[], None]:
    def worsen() -> None:
        if wine.traffic.get("v2") == percent:
            wine.behaviours["v2"] = behaviour

    return worsen


def scene_of(folder: Path, behaviour: str) -> RolloutScene:
    folder.mkdir(parents=True)
    wine = new_rollout_scene(folder)
    wine.on_pause = worsen_at(wine, 25, BEHAVIOURS[behaviour])
    wine.look_s, wine.requests_per_look = 60.0, 200
    return wine


def made(wine: RolloutScene) -> RolloutScene:
    """Let the process die while it makes the deployment."""
    with pytest.raises(Killed):
        wine.run(deaths=Deaths(dies_at=4), on_failure=OnFailure.DELETE)
    assert wine.scene.shape == {"v1": V1, "v2": ("models:/wine/2", 0, 0)}
    return wine


def roll_out(wine: RolloutScene, deaths: Deaths | None = None) -> None:
    """Roll out, and when the process dies, resume until it is over."""
    plan = wine.plan(rollout=wine.rollout("error_rate<1%", steps="25,100"), on_failure=OnFailure.DELETE)
    try:
        wine.run_plan(plan, deaths=deaths)
    except Killed:
        try:
            wine.resume("wine.1")
        except NotFound:  # it died before anything was written: nothing was begun
            wine.run_plan(plan)


def ending(wine: RolloutScene) -> Ending:
    rollout = wine.ledger().get("wine.1")
    revisions = [
        [(spec.deployment, spec.model, spec.traffic_percent) for spec in item.deployments]
        for item in wine.world.revisions["wine"]
    ]
    return rollout.status, wine.scene.shape, wine.tag(), revisions


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_killed_anywhere_it_ends_the_same(tmp_path: Path, behaviour: str) -> None:
    counting = Deaths()
    whole = scene_of(tmp_path / "whole", behaviour)
    roll_out(whole, counting)
    expected = ending(whole)
    assert expected[0] == ("promoted" if behaviour == "good" else "rolled_back")
    assert {"add", "write", "apply", "poll", "save_revision", "set_tags"} <= set(counting.calls)
    for dies_at in range(1, len(counting.calls) + 1):
        deaths = Deaths(dies_at=dies_at)
        wine = scene_of(tmp_path / str(dies_at), behaviour)
        roll_out(wine, deaths)
        where = f"before call {dies_at}, {deaths.calls[-1]}"
        assert len(deaths.calls) == dies_at, where
        assert ending(wine) == expected, where


def test_killed_again_and_again_it_ends_the_same(tmp_path: Path) -> None:
    whole = scene_of(tmp_path / "whole", "good")
    roll_out(whole)
    wine = scene_of(tmp_path / "torn", "good")
    plan = wine.plan(rollout=wine.rollout("error_rate<1%", steps="25,100"))
    for number in range(2, 60):
        deaths = Deaths(dies_at=4 + number % 2)
        try:
            if number == 2:
                wine.run_plan(plan, deaths=deaths)
            else:
                wine.resume("wine.1", deaths=deaths)
            break
        except Killed:
            continue
    assert ending(wine) == ending(whole)


def test_what_fails_after_the_death_of_its_process_is_taken_away(wine: RolloutScene) -> None:
    made(wine).world.finish()
    wine.world.broken["wine", "v2"] = "no quota"
    rollout = wine.resume()
    assert (rollout.status, rollout.reason) == ("rolled_back", "v2 has failed: no quota")
    assert wine.scene.shape == {"v1": V1}


def test_a_version_that_is_rejected_after_a_death_goes_back(wine: RolloutScene) -> None:
    made(wine).scene.place().registry.set_approval("wine", "2", approval=Approval.REJECTED)
    assert wine.resume().status == "rolled_back"
    assert wine.scene.shape == {"v1": V1}
