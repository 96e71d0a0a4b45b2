"""A project of its own for each test, and pages over it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoint_scenes import Scene, new_scene
from tests.support.hanging import one_hangs  # noqa: F401  for the tests beside
from tests.support.memory_adapter import MemoryAdapter
from tests.support.page_sites import WAIT_S, Site
from trackbridge.operations import asking

UNWANTED = ("BRIDGE_", "MLFLOW_", "XDG_")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as current directory; what is logged is delivered by whoever reads."""
    for name in [name for name in os.environ if name.startswith(UNWANTED)]:
        monkeypatch.delenv(name)
    folder = tmp_path / "project"
    (folder / ".bridge").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BRIDGE_DELIVERY", "off")
    return folder


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for every place: this machine may be slow."""

    def patient(futures: Iterable[Future[Any]], timeout: float) -> None:
        futures = set(futures)
        wait(futures, timeout=WAIT_S)

    monkeypatch.setattr(asking, "wait", patient)


@pytest.fixture
def site(project: Path) -> Iterator[Site]:
    """The pages over the project's store."""
    made = Site()
    yield made
    made.gateway.client.session.close(10.0)


@pytest.fixture
def scene(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Every place with endpoints is one in memory, with the model wine in three versions."""
    folder = tmp_path / "models"
    folder.mkdir()
    made = new_scene(folder)

    def open_in_memory(uri: object, *, settings: object = None) -> MemoryAdapter:
        return MemoryAdapter(made.state, missing=made.missing)

    monkeypatch.setattr("trackbridge.operations.opening.open_uri", open_in_memory)
    return made
