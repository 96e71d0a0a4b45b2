"""``bridge deploy --canary`` and ``bridge rollouts``."""

from __future__ import annotations

from pathlib import Path

import pytest

import trackbridge as tb
from tests.cli.conftest import Bridge
from tests.support.endpoint_scenes import Scene
from trackbridge.errors import LimitReached, Rejected
from trackbridge.ports.capabilities import Feature

CANARY = ("deploy", "models:/wine/2", "--endpoint", "wine", "--canary", "5,100", "--bake", "10ms")


@pytest.fixture
def wine(scene: Scene, project: Path) -> Scene:
    """The endpoint wine with v1; v2 will have answered a hundred requests well."""
    (project / ".bridge").mkdir()
    scene.deploy(1)
    answered(scene, requests=100)
    return scene


def answered(scene: Scene, *, requests: int, errors: int = 0) -> None:
    """Let telemetry say so of v2, in whatever window it is asked for."""
    world = scene.state.deployments
    world.served.clear()
    world.clock_ms = lambda: 10**13
    world.record("wine", "v2", requests=requests, errors=errors)


def test_a_plan_shows_steps_guards_and_what_happens_at_failure(bridge: Bridge, wine: Scene) -> None:
    result = bridge(*CANARY, "--guard", "p95_ms<200", "--plan")
    lines = [line.strip() for line in result.out.splitlines()]
    assert lines[0] == "Plan: 1 to create, 2 to update"
    assert "because step 1 of 2, held for 10ms while p95_ms<200" in lines
    assert "traffic.v1: 100 -> 95" in lines
    assert "a guard that is broken (p95_ms<200), or a failure: the traffic goes back" in result.err
    assert wine.shape == {"v1": ("models:/wine/1", 100, 0)}


def test_promoted(bridge: Bridge, wine: Scene) -> None:
    result = bridge(*CANARY, "--yes")
    assert "wine.1 is promoted: v2 has all requests of wine" in result.out
    assert "bridge endpoints remove wine v1" in result.out
    assert "wine.1  step 1 of 2: v1 95 %, v2 5 %" in result.err
    assert wine.shape == {"v1": ("models:/wine/1", 0, 0), "v2": ("models:/wine/2", 100, 0)}
    assert "nothing to do" in bridge(*CANARY, "--yes").out
    bridge("endpoints", "rollback", "wine", "--yes")
    assert wine.shape == {"v1": ("models:/wine/1", 100, 0)}


def test_as_json(bridge: Bridge, wine: Scene) -> None:
    objects = bridge(*CANARY, "--yes", "--json").objects
    kinds = [item["type"] for item in objects]
    assert kinds[-2:] == ["rollout_ended", "summary"]
    looks = [item for item in objects if item["type"] == "look"]
    assert looks[0]["figures"]["requests"] == 100
    assert (objects[-1]["operation"], objects[-1]["applied"]) == ("rollout", True)


def test_rolled_back_by_a_guard(bridge: Bridge, wine: Scene) -> None:
    answered(wine, requests=100, errors=20)
    result = bridge(*CANARY, "--yes", "--on-failure", "delete", code=1)
    assert "the rollout wine.1 was rolled back at 5 %: error_rate is 20.00%" in result.err
    assert wine.shape == {"v1": ("models:/wine/1", 100, 0)}
    listed = bridge("rollouts", "list").out.splitlines()
    assert listed[1].split()[:5] == ["wine.1", "models:/wine/2", "rolled_back", "5", "%"]
    shown = bridge("rollouts", "show", "wine")
    assert "error_rate is 20.00%" in shown.out
    assert "100 requests, 20.00% errors" in shown.out
    history = bridge("rollouts", "show", "wine.1", "--json").summary["history"]
    assert [item["told"].partition(":")[0] for item in history] == [
        "begun",
        "v2 is deployed",
        "step 1 of 2",
        "going back",
        "rolled back",
    ]


def test_one_that_waits_is_resumed_or_aborted(bridge: Bridge, wine: Scene) -> None:
    answered(wine, requests=3)
    result = bridge(*CANARY, "--yes", code=8)
    assert "3 of 50 requests" in result.err
    assert "bridge rollouts resume wine.1 --accept-few" in result.err
    assert "is not over" in bridge(*CANARY, "--yes", code=1).err
    assert "at 100 %" in bridge("rollouts", "resume", "wine.1", "--accept-few", code=8).err
    aborted = bridge("rollouts", "abort", "wine", "--yes", "--why", "too few")
    assert "aborted by" in aborted.out
    assert wine.endpoint is not None
    assert wine.endpoint.traffic["v1"] == 100
    assert "is over" in bridge("rollouts", "abort", "wine", "--yes", code=1).err


def test_ctrl_c_says_how_it_is_gone_on_with(
    bridge: Bridge, wine: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trackbridge.operations.rollout.engine.Engine._shift", press)
    result = bridge(*CANARY, "--yes", code=130)
    assert "interrupted; what began goes on. Go on: bridge rollouts resume wine.1" in result.err


def test_endpoints_rollback_ends_it(bridge: Bridge, wine: Scene) -> None:
    answered(wine, requests=3)
    bridge(*CANARY, "--yes", code=8)
    result = bridge("endpoints", "rollback", "wine", "--yes")
    assert "this ends the rollout wine.1, which is waiting at 5 %" in result.err
    assert wine.shape == {"v1": ("models:/wine/1", 100, 0)}
    assert bridge("rollouts", "show", "wine.1", "--json").summary["status"] == "ended"


def test_a_saved_plan_is_applied(bridge: Bridge, wine: Scene, project: Path) -> None:
    bridge(*CANARY, "--out", "wine.plan")
    result = bridge("apply", "wine.plan", "--yes", "--json")
    assert result.summary["applied"] is True
    assert wine.endpoint is not None
    assert wine.endpoint.traffic["v2"] == 100
    assert "has changed since the plan was made" in bridge("apply", "wine.plan", "--yes", code=1).err


def test_from_a_file(bridge: Bridge, wine: Scene, project: Path) -> None:
    (project / "wine.yaml").write_text(
        "model: models:/wine/2\nendpoint: wine\ncanary: [20, 100]\nbake: 10ms\nguards: ['error_rate<=50%']\n"
    )
    result = bridge("deploy", "-f", "wine.yaml", "--guard", "requests>=10", "--plan")
    assert "held for 10ms while error_rate<1%" in result.out, "flags go before the file"
    assert "traffic.v2: (none) -> 20" in result.out


def test_from_python(bridge: Bridge, wine: Scene) -> None:
    told: list[str] = []
    tb.deploy(
        "models:/wine/2",
        endpoint="wine",
        canary=[5, 100],
        bake="10ms",
        guards=["p95_ms<200"],
        on_note=told.append,
    )
    assert told[-1] == "promoted"
    answered(wine, requests=3)
    with pytest.raises(LimitReached, match="waits at 5 %"):
        tb.deploy("models:/wine/1", endpoint="wine", deployment="v2b", canary=[5, 100], bake=0.01)
    bridge("endpoints", "rollback", "wine", "--yes")
    wine.state.deployments.record("wine", "bad", requests=100, errors=50)
    with pytest.raises(Rejected, match="was rolled back at 5 %"):
        tb.deploy("models:/wine/3", endpoint="wine", deployment="bad", canary=[5, 100], bake="10ms")


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        (("--guard", "error_rate<1%"), 1, "add --canary"),
        (("--bake", "10m"), 1, "add --canary"),
        (("--canary", "50,25,100"), 1, "ascend to 100"),
        (("--canary", "5,25"), 1, "ascend to 100"),
        (("--canary", "5,100", "--traffic", "10"), 1, "leave out --traffic"),
        (("--canary", "5,100", "--guard", "wine>3"), 1, "is no guard"),
        (("--canary", "5,100", "--bake", "10m", "--bake-max", "1m"), 1, "cannot end after 1m"),
        (("--canary", "5,100", "--bake", "soon"), 2, "no length of time"),
    ],
)
def test_what_cannot_be_is_refused(
    bridge: Bridge, wine: Scene, said: tuple[str, ...], code: int, told: str
) -> None:
    result = bridge("deploy", "models:/wine/2", "--endpoint", "wine", *said, "--yes", code=code)
    assert told in result.err
    assert wine.shape == {"v1": ("models:/wine/1", 100, 0)}


def test_a_target_without_telemetry_is_refused(bridge: Bridge, wine: Scene) -> None:
    wine.missing[Feature.DEPLOYMENTS_METRICS] = "it counts nothing"
    assert "it counts nothing" in bridge(*CANARY, "--yes", code=1).err


def test_nothing_there_yet(bridge: Bridge, scene: Scene) -> None:
    assert "there are no rollouts" in bridge("rollouts", "list").err
    for verb in ("show", "resume"):
        assert "there is no rollout 'wine'" in bridge("rollouts", verb, "wine", code=1).err
