"""``bridge deploy`` and ``bridge apply``: shown, agreed to, applied, checked."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Bridge
from tests.support.endpoint_scenes import Scene
from tests.support.memory_deployments import MemoryDeployments
from tests.support.preflights import lend_small, with_example
from trackbridge.domain.models import Approval
from trackbridge.operations import opening
from trackbridge.operations.model_source import ModelSource
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.findings import Finding, Severity
from trackbridge.testing.contracts.deployment_models import failing

WINE = ("deploy", "models:/wine/1", "--endpoint", "wine")
SECOND = ("deploy", "models:/wine@champion", "--endpoint", "wine")


def test_deploy_shows_its_plan_and_how_to_ask(bridge: Bridge, scene: Scene) -> None:
    result = bridge(*WINE, "--yes")
    lines = result.out.splitlines()
    assert lines[0] == "Plan: 2 to create, 1 to update"
    assert "  + deployment wine/v1" in lines
    assert "      model: models:/wine/1" in lines
    assert "      because there is no deployment of this name" in lines
    assert "      traffic.v1: (none) -> 100" in lines
    assert "wine is READY: v1 100 %" in lines
    assert "  address  memory://wine" in lines
    assert "[3/3] update traffic wine ..." in result.err
    assert scene.shape == {"v1": ("models:/wine/1", 100, 0)}


def test_as_json(bridge: Bridge, scene: Scene) -> None:
    objects = bridge(*WINE, "--yes", "--json").objects
    planned = [item for item in objects if item["type"] == "planned"]
    assert [item["action"] for item in planned] == ["create", "create", "update"]
    assert planned[1]["after"]["model"] == "models:/wine/1"
    changes = [(item["number"], item["state"]) for item in objects if item["type"] == "change"]
    assert changes == [(number, state) for number in (1, 2, 3) for state in ("started", "done")]
    summary = objects[-1]
    assert (summary["operation"], summary["changes"], summary["applied"]) == ("deploy", 3, True)
    assert summary["endpoint"]["deployments"][0]["traffic_percent"] == 100


def test_deploying_what_is_there_does_nothing(bridge: Bridge, scene: Scene) -> None:
    bridge(*WINE, "--yes")
    result = bridge(*WINE)
    assert "Plan: nothing to do\neverything is as wanted\n" in result.out


def test_nothing_that_changes_is_left_out_of_the_plan(bridge: Bridge, scene: Scene) -> None:
    """Also what is called as the endpoint or the deployment is, and what only differs far behind."""
    long = "x" * 300
    bridge(*WINE, "--env", "MODE=wine", "--env", f"LONG={long}a", "--yes")
    shown = bridge(*WINE, "--env", "MODE=v1", "--env", f"LONG={long}b", "--plan").out
    assert "      variables.MODE: wine -> v1" in shown.splitlines()
    (line,) = [line for line in shown.splitlines() if "variables.LONG" in line]
    before, after = line.split(" -> ")
    assert before.partition(": ")[2] != after
    first = bridge("deploy", "models:/wine/2", "--endpoint", "beer", "--env", "MODE=beer", "--plan").out
    assert "      variables.MODE: beer" in first.splitlines()
    assert "endpoint: beer" not in first


def test_a_plan_is_applied_with_the_registry_that_it_was_made_with(
    bridge: Bridge, scene: Scene, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_REGISTRY_URI", f"file:{project}/shared")
    bridge(*WINE, "--out", "wine.plan")
    opened: list[str] = []
    real = opening.open_place

    def noting(uri: Any = None, **options: Any) -> opening.Opened:
        place = real(uri, **options)
        opened.append(place.uri)
        return place

    monkeypatch.delenv("BRIDGE_REGISTRY_URI")
    monkeypatch.setattr("trackbridge.operations.model_source.open_place", noting)
    bridge("apply", "wine.plan", "--yes")
    assert opened[-1] == f"file:{project}/shared"


def test_nobody_to_ask_changes_nothing(bridge: Bridge, scene: Scene) -> None:
    assert "add --yes" in bridge(*WINE, code=2).err
    assert scene.shape is None


def test_only_the_plan(bridge: Bridge, scene: Scene) -> None:
    assert bridge(*WINE, "--plan", "--json").summary["applied"] is False
    bridge(*WINE, "--plan", "--detailed-exitcode", code=4)
    assert scene.shape is None
    bridge(*WINE, "--yes")
    bridge(*WINE, "--plan", "--detailed-exitcode")


def test_every_option_reaches_the_spec(bridge: Bridge, scene: Scene) -> None:
    bridge(*WINE, "--yes")
    plan = bridge(
        *SECOND,
        *("--deployment", "shadow", "--mirror", "50", "--capture", "5", "--instances", "3"),
        *("--env", "MODE=fast", "--timeout", "1m", "--plan", "--json"),
    )
    after = next(item["after"] for item in plan.objects if item.get("subject") == "deployment wine/shadow")
    expected = {
        "model": "models:/wine/2",
        "capture_percent": 5,
        "instance_count": 3,
        "variables": {"MODE": "fast"},
        "request_timeout_s": 60.0,
    }
    assert {name: after[name] for name in expected} == expected
    mirror = next(item for item in plan.objects if item.get("subject") == "traffic wine")
    assert mirror["after"] == {"traffic": {"v1": 100}, "mirror": {"shadow": 50}}


def test_the_targets_own_options_are_for_the_target_to_judge(bridge: Bridge, scene: Scene) -> None:
    assert "memory has neither" in bridge(*WINE, "-C", "workers=2", code=1).err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--traffic", "101"),
        ("--timeout", "soon"),
        ("--timeout", "0s"),
        ("--instances", "0"),
        ("--env", "MODE"),
        ("--env", "MODE=a", "--env", "MODE=b"),
        ("--env", "=a"),
    ],
)
def test_wrong_options_are_usage_errors(bridge: Bridge, scene: Scene, arguments: tuple[str, ...]) -> None:
    bridge(*WINE, *arguments, code=2)
    assert scene.shape is None


def test_secrets_are_refused_and_not_repeated(bridge: Bridge, scene: Scene) -> None:
    result = bridge(*WINE, "--env", "API_TOKEN=hunter2", "--yes", code=1)
    assert "looks like a secret" in result.err
    assert "hunter2" not in result.out + result.err


def test_what_is_not_there_or_not_allowed(bridge: Bridge, scene: Scene) -> None:
    assert "no alias 'nobody'" in bridge("deploy", "models:/wine@nobody", "--endpoint", "w", code=1).err
    bridge("deploy", "models:/beer/1", "--endpoint", "w", code=1)
    bridge("deploy", "./folder", "--endpoint", "w", code=1)
    scene.place().registry.set_approval("wine", "1", approval=Approval.REJECTED)
    assert "was rejected for deployment" in bridge(*WINE, code=1).err


def test_a_saved_plan_is_applied(bridge: Bridge, scene: Scene, project: Path) -> None:
    bridge(*SECOND, "--out", "wine.plan")
    file = project / "wine.plan"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert scene.shape is None
    scene.place().registry.set_alias("wine", "champion", version="1")  # the plan has pinned it
    assert "add --yes" in bridge("apply", "wine.plan", code=2).err
    result = bridge("apply", "wine.plan", "--yes", "--json")
    assert result.summary["applied"] is True
    assert scene.shape == {"v2": ("models:/wine/2", 100, 0)}
    bridge("apply", "wine.plan", "--yes")  # again: everything holds


def test_a_plan_that_is_stale_or_no_plan_is_refused(bridge: Bridge, scene: Scene, project: Path) -> None:
    bridge(*WINE, "--yes")
    bridge(*SECOND, "--traffic", "10", "--out", "wine.plan")
    bridge("deploy", "models:/wine/3", "--endpoint", "wine", "--yes")
    result = bridge("apply", "wine.plan", "--yes", "--json", code=1)
    assert result.objects[-1]["error"] == "PlanStale"
    file = project / "wine.plan"
    file.write_text(file.read_text().replace("models:/wine/2", "models:/wine/3"))
    assert "was changed after it was made" in bridge("apply", "wine.plan", "--yes", code=1).err
    assert "there is no plan" in bridge("apply", "other.plan", "--yes", code=1).err
    file.write_text(json.dumps({"resource_changes": []}))
    assert "no plan of trackbridge" in bridge("apply", "wine.plan", "--yes", code=1).err


def test_a_part_that_was_not_applied_ends_with_three(bridge: Bridge, scene: Scene) -> None:
    bridge(*WINE, "--yes")
    world = scene.state.deployments
    _fail_at_traffic(world)
    result = bridge(*SECOND, "--on-failure", "keep", "--yes", code=3)
    assert "  done     create deployment wine/v2" in result.out
    assert "  FAILED   update traffic wine" in result.out
    assert "no quota" in result.err
    assert "go back with: bridge endpoints rollback wine" in result.err
    world.calls = []
    bridge("endpoints", "rollback", "wine", "--yes")
    assert scene.shape == {"v1": ("models:/wine/1", 100, 0)}
    _fail_at_traffic(world)
    summary = bridge(*SECOND, "--on-failure", "keep", "--yes", "--json", code=3).summary
    assert (summary["done"], summary["left"], summary["error"]["exit_code"]) == (1, 1, 1)


def _fail_at_traffic(world: Any) -> None:
    """Let the next change of the traffic fail."""

    class Calls(list[str]):
        def append(self, subject: str) -> None:
            super().append(subject)
            if subject.startswith("traffic"):
                world.fail_next = "no quota"

    world.calls = Calls()


def test_nothing_applied_is_the_error_itself(bridge: Bridge, scene: Scene) -> None:
    scene.deploy(1)
    scene.deploy(2, traffic_percent=10)
    scene.state.deployments.fail_next = "no quota"
    assert "no quota" in bridge("endpoints", "traffic", "wine", "v1=100", "--yes", code=1).err


def test_a_half_made_endpoint_is_a_part(bridge: Bridge, scene: Scene) -> None:
    scene.state.deployments.fail_next = "no quota"
    result = bridge(*WINE, "--yes", code=3)
    assert "  FAILED   create endpoint wine\n  not done create deployment wine/v1\n" in result.out
    bridge("endpoints", "rollback", "wine", "--yes")
    assert scene.shape is None


def test_somebody_else_has_the_lock(bridge: Bridge, scene: Scene) -> None:
    with scene.place().target.lock("wine"):
        assert "is being changed by" in bridge(*WINE, "--yes", code=11).err
    assert scene.shape is None


def test_interrupted_and_gone_on_with(bridge: Bridge, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    bridge(*WINE, "--out", "wine.plan")
    with monkeypatch.context() as patch:
        patch.setattr(scene.state.deployments, "held", True)
        patch.setattr("trackbridge.operations.waiting.threading.Event.wait", _press_ctrl_c)
        result = bridge("apply", "wine.plan", "--yes", "--json", code=130)
    assert (result.objects[-1]["type"], result.objects[-1]["exit_code"]) == ("error", 130)
    begun = "interrupted with 0 of 3 changes done, in the middle of: create endpoint wine\nwhat began goes on"
    assert begun in result.err
    assert "see: bridge endpoints show wine\n" in result.err
    assert "bridge endpoints rollback wine goes back" in result.err
    bridge("apply", "wine.plan", "--yes")
    assert scene.shape == {"v1": ("models:/wine/1", 100, 0)}


def test_interrupted_before_anything_is_changed(
    bridge: Bridge, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("api.deploying.prepare_deployment", "cli.output.Output.confirm"):
        with monkeypatch.context() as patch:
            patch.setattr(f"trackbridge.{place}", lambda *_, **__: _press_ctrl_c())
            result = bridge(*WINE, "--yes", code=130)
        assert result.err.split("\n") == ["", "stopped before anything was changed", "", "interrupted", ""]
    with monkeypatch.context() as patch:
        patch.setattr("trackbridge.operations.model_source.open_models", lambda *_, **__: _press_ctrl_c())
        told = bridge(*WINE, "--yes", code=130).err
    assert told.split("\n") == ["stopped before anything was changed", "", "interrupted", ""]
    assert scene.shape is None


@pytest.mark.parametrize(
    "change",
    [("traffic", "wine", "v1=100"), ("rollback", "wine"), ("remove", "wine", "v1"), ("delete", "wine")],
)
def test_a_change_interrupted_while_it_is_planned(
    bridge: Bridge, scene: Scene, monkeypatch: pytest.MonkeyPatch, change: tuple[str, ...]
) -> None:
    monkeypatch.setattr("trackbridge.operations.opening.open_place", lambda *_, **__: _press_ctrl_c())
    told = bridge("endpoints", *change, "--yes", code=130).err
    assert told.split("\n") == ["", "stopped before anything was changed", "", "interrupted", ""]


def _press_ctrl_c(*_: object) -> bool:
    raise KeyboardInterrupt


def test_what_the_target_lacks_is_noted(bridge: Bridge, scene: Scene) -> None:
    scene.missing = {
        Feature.DEPLOYMENTS_REVISIONS: "not offered",
        Feature.DEPLOYMENTS_LOCK: "not offered",
        Feature.DEPLOYMENTS_METRICS: "not offered",
    }
    result = bridge(*WINE, "--yes")
    assert "keeps no revisions" in result.err
    assert "has no lock" in result.err
    assert "is not supported by memory" in bridge("endpoints", "rollback", "wine", "--yes", code=1).err
    bridge("endpoints", "show", "wine")


# From a file, and looked at before.


def test_a_file_says_what_flags_do_not(bridge: Bridge, scene: Scene, project: Path) -> None:
    (project / "wine.yaml").write_text(
        "model: models:/wine/1\nendpoint: wine\nenv: {MODE: fast}\ntargets: {memory: {instances: 2}}\n",
        "utf-8",
    )
    objects = bridge("deploy", "-f", "wine.yaml", "--deployment", "blue", "--yes", "--json").objects
    (created,) = [
        item for item in objects if item.get("subject") == "deployment wine/blue" and "after" in item
    ]
    assert created["after"]["variables"] == {"MODE": "fast"}
    assert created["after"]["instance_count"] == 2
    assert scene.shape == {"blue": ("models:/wine/1", 100, 0)}


def test_what_is_not_said_is_asked_for(bridge: Bridge, scene: Scene) -> None:
    assert "--endpoint is missing" in bridge("deploy", "models:/wine/1", code=1).err
    assert "MODEL is missing" in bridge("deploy", "--endpoint", "wine", code=1).err
    assert scene.shape is None


def test_what_a_model_lacks_is_told_with_the_plan(bridge: Bridge, scene: Scene) -> None:
    result = bridge(*WINE, "--plan")
    assert "WARNING   models:/wine/1: it has no MLmodel" in result.out
    assert "          fix: log it with one of mlflow's flavors" in result.out.splitlines()
    assert scene.shape is None


def test_what_the_target_would_not_take_is_refused_after_the_plan(
    bridge: Bridge, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = Finding(severity=Severity.ERROR, subject="role", message="may not read", fix="let it read")
    monkeypatch.setattr(MemoryDeployments, "check", lambda self, spec, observed: (finding,))
    for option in ("--plan", "--yes"):
        result = bridge(*WINE, option, code=1)
        assert result.err.startswith("error: role: may not read ")
        assert "hint: let it read" in result.err
        assert "may not read" not in result.out, "once is enough"
    assert scene.shape is None


def test_a_model_that_fails_is_not_deployed(
    bridge: Bridge, scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("models")
    lend_small(folder / "index", monkeypatch)
    monkeypatch.setattr(ModelSource, "folder_of", lambda self, spec: with_example(failing(folder)))
    monkeypatch.setattr(
        ModelSource, "mlmodel_of", lambda self, spec: "flavors:\n  python_function:\n    env: x\n"
    )
    result = bridge(*WINE, "--yes", code=1)
    assert "the pre-flight of models:/wine/1 failed: it fails on its own input example" in result.err
    assert scene.shape is None
