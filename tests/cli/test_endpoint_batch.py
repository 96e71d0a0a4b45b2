"""``bridge endpoints batch``: begun once by its key, waited for, and what goes wrong."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Bridge
from tests.support.endpoint_scenes import Scene

ROWS = ("endpoints", "batch", "wine", "s3://b/rows/", "s3://b/answers/", "--key", "monday")


@pytest.fixture
def served(scene: Scene) -> Scene:
    scene.deploy(1)
    scene.state.deployments.calls.clear()
    return scene


def test_it_waits_until_the_files_are_scored(bridge: Bridge, served: Scene) -> None:
    result = bridge(*ROWS)
    assert "s3://b/rows/ is scored: s3://b/answers/" in result.out
    assert "bridge endpoints batch wine s3://b/rows/ s3://b/answers/ --key monday" in result.err


def test_the_same_key_finds_what_was_begun(bridge: Bridge, served: Scene) -> None:
    served.state.deployments.held = True
    summary = bridge(*ROWS, "--no-wait", "--json").objects[-1]
    assert (summary["done"], summary["key"]) == (False, "monday")
    served.state.deployments.held = False
    assert bridge(*ROWS, "--json").objects[-1]["done"] is True
    assert served.state.deployments.calls == ["batch wine s3://b/rows/ s3://b/answers/ monday"]


def test_a_failure_is_told(bridge: Bridge, served: Scene) -> None:
    served.state.deployments.fail_next = "no such bucket"
    assert "no such bucket" in bridge(*ROWS, code=1).err


def test_an_endpoint_that_is_not_there(bridge: Bridge, scene: Scene) -> None:
    assert "wine" in bridge(*ROWS, code=1).err
