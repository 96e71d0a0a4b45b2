"""A project of its own for each test, and pages over it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoint_scenes import Scene, new_scene
from tests.support.memory_adapter import MemoryAdapter
from tests.support.page_sites import WAIT_S, Site
from trackbridge.gateway.pages import asking

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
def one_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for all places but one: as if the time were over when the others have answered."""

    def wait_for_others(futures: Iterable[Future[Any]], timeout: float) -> None:
        futures = set(futures)
        deadline = time.monotonic() + WAIT_S
        while sum(not future.done() for future in futures) > 1:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    monkeypatch.setattr(asking, "wait", wait_for_others)


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
