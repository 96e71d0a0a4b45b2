"""A scene for each test; whatever it does, the endpoint's lock is released."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rollout_scenes import RolloutScene, new_rollout_scene


@pytest.fixture
def wine(tmp_path: Path) -> Iterator[RolloutScene]:
    made = new_rollout_scene(tmp_path)
    yield made
    assert not made.world.locks
