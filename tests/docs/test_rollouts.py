"""docs/rollouts.md: its commands, guards and states are those of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

import trackbridge as tb
from tests.cli.conftest import Bridge, bridge, project, scene  # noqa: F401  the commands are run in it
from tests.support.endpoint_scenes import Scene
from trackbridge.cli.main import bridge as bridge_group
from trackbridge.domain import events
from trackbridge.domain.rollouts import (
    BAKE_GROWTH_MAX,
    BAKE_S,
    GUARDS_DEFAULT,
    REQUESTS_MIN,
    GuardMetric,
    RolloutState,
    parse_guards,
)
from trackbridge.operations.rollout.ledger import FILE_NAME
from trackbridge.operations.rollout.notes import TAG

TEXT = (Path(__file__).resolve().parents[2] / "docs/rollouts.md").read_text(encoding="utf-8")


def lines_of(language: str) -> list[str]:
    blocks = re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def rows_of(heading: str) -> list[str]:
    return re.findall(r"^\| (`.*?`) \|", TEXT.split(heading)[1].split("\n\n")[0], re.MULTILINE)


@pytest.mark.parametrize("line", lines_of("bash"))
def test_commands_parse(line: str) -> None:
    words = shlex.split(line)
    assert words[0] == "bridge"
    command, rest = bridge_group.get_command(click.Context(bridge_group), words[1]), words[2:]
    assert command is not None
    if isinstance(command, click.Group):
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context("bridge", rest)


def test_the_first_command_and_the_first_program_do_what_is_told(
    bridge: Bridge,  # noqa: F811
    scene: Scene,  # noqa: F811
) -> None:
    scene.deploy(1)
    world = scene.state.deployments
    world.clock_ms = lambda: 10**13
    world.record("wine", "v2", requests=100)
    command = shlex.split(lines_of("bash")[0])[1:]
    command[command.index("10m")] = "10ms"
    assert "wine.1 is promoted" in bridge(*command, "--yes").out
    bridge("endpoints", "rollback", "wine", "--yes")
    exec("\n".join(lines_of("python")).replace('"10m"', '"10ms"'), {"tb": tb})
    assert scene.endpoint is not None
    assert scene.endpoint.traffic["v2"] == 100


def test_guards_are_those_of_the_code() -> None:
    named = [word for row in rows_of("| guard |") for word in re.findall(r"`([^`]+)`", row)]
    guards, requests_min = parse_guards([word for word in named if word != "error_rate<=2x"])
    assert {guard.metric for guard in guards} == set(GuardMetric)
    assert requests_min == REQUESTS_MIN
    assert parse_guards(["error_rate<=2x"])[0][0].is_relative
    assert f"Without `--guard` it is `{GUARDS_DEFAULT[0]}`" in TEXT
    assert (BAKE_S, BAKE_GROWTH_MAX) == (600.0, 3.0)


def test_states_events_and_places_are_those_of_the_code() -> None:
    states = [row.strip("`") for row in rows_of("| state |")]
    assert set(states) == {state.value for state in RolloutState} | {"waiting"}
    for kind in (
        "ROLLOUT_STEP",
        "ROLLOUT_PROMOTED",
        "ROLLOUT_ROLLED_BACK",
        "ENDPOINT_ALARM",
        "ENDPOINT_DRIFT",
    ):
        assert f"`{getattr(events, kind)}`" in TEXT
    assert f"`.bridge/{FILE_NAME}`" in TEXT
    assert f"`{TAG}`" in TEXT
