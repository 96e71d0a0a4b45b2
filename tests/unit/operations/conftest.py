"""A scene for each test; whatever it does, the lock is released."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.endpoint_scenes import Scene, new_scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = new_scene(tmp_path)
    yield made
    assert not made.state.deployments.locks
