"""A project with models, an endpoint, a rollout and dead letters, and its pages served by this process.

The models lie in local stores; endpoints are in memory, which only this process can show.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import expect

import trackbridge as tb
from tests.pages.browsing import DEADLINE_MS, SHOTS_VARIABLE
from tests.support.endpoint_scenes import Scene, new_scene
from tests.support.memory_adapter import MemoryAdapter
from trackbridge.delivery.dead_letters import DeadLetters
from trackbridge.domain.rollouts import rollout_spec
from trackbridge.gateway.application import Application
from trackbridge.gateway.authentication import Access, AccessOptions
from trackbridge.gateway.gateway import Gateway, GatewayOptions
from trackbridge.gateway.limits import Limits
from trackbridge.gateway.pages import page_routes
from trackbridge.operations import asking
from trackbridge.operations.deploy import plan_rollback
from trackbridge.operations.opening import open_place
from trackbridge.operations.rollout import open_ledger, plan_rollout, run_plan
from trackbridge.operations.waiting import Pace
from trackbridge.resolve.config import Settings
from trackbridge.resolve.remotes import add_remote

START_S = 60.0
UNWANTED = ("BRIDGE_", "MLFLOW_", "XDG_")

expect.set_options(timeout=DEADLINE_MS)


@dataclass(frozen=True)
class World:
    """What a test may look at, or change behind the pages' back."""

    url: str
    gateway: Gateway
    project: Path
    scene: Scene | None = None

    @property
    def client(self) -> tb.Client:
        return self.gateway.client


@contextmanager
def project(folder: Path) -> Iterator[Path]:
    """Make an empty project the current directory; what is logged is delivered by whoever reads."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(UNWANTED) and name != SHOTS_VARIABLE]:
            patch.delenv(name)
        (folder / "project" / ".bridge").mkdir(parents=True)
        (folder / "home").mkdir()
        patch.chdir(folder / "project")
        patch.setenv("HOME", str(folder / "home"))
        patch.setenv("BRIDGE_DELIVERY", "off")
        patch.setattr(asking, "wait", _wait_patiently)
        yield folder / "project"


def _wait_patiently(futures: Iterable[Future[Any]], timeout: float) -> None:
    """Wait for every place: this machine may be slow."""
    wait(futures, timeout=START_S)


@contextmanager
def served(gateway: Gateway) -> Iterator[str]:
    """Serve the pages of a gateway from this process; the address of it is yielded."""
    application = Application(
        gateway, access=Access(AccessOptions()), limits=Limits(), raw_routes=page_routes(gateway)
    )
    config = uvicorn.Config(application, port=0, log_level="warning", lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + START_S
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(START_S)


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Serve a project: the model wine in three versions, the endpoint wine, a rollout that waits, letters."""
    with project(folder) as here, pytest.MonkeyPatch.context() as patch:
        gateway = Gateway(GatewayOptions())
        register(gateway.client, folder)
        add_remote("lab", str(here / "lab"))
        scene = _endpoints(folder, patch)
        letters(here)
        with served(gateway) as url:
            yield World(url, gateway, here, scene)
        gateway.client.session.close(10.0)


def register(client: tb.Client, folder: Path, versions: int = 3) -> None:
    """Register the model wine, the second version as the champion."""
    for number in range(1, versions + 1):
        payload = folder / f"payload-{number}"
        payload.mkdir()
        (payload / "weights").write_text(str(number))
        client.register_model(payload, "wine", tags={"quality": number}, description=f"the {number}. try")
    client.set_registered_model_alias("wine", "champion", "2", why="the best so far")


def letters(project: Path) -> DeadLetters:
    """Add three dead letters."""
    store = DeadLetters(project / ".bridge" / "journal")
    rows = [(number, f"run{number}", "MetricLogged", f"reason {number}", b"") for number in (1, 2, 3)]
    store.add("https://tracking.example.org", "a" * 32, rows)
    return store


def _endpoints(folder: Path, patch: pytest.MonkeyPatch) -> Scene:
    """Deploy v1 and v2 of wine and go back to v1; begin to roll out v3, which waits for requests."""
    models = folder / "models"
    models.mkdir()
    scene = new_scene(models)

    def open_in_memory(uri: Any, *, settings: object = None) -> MemoryAdapter:
        return MemoryAdapter(scene.state, missing=scene.missing)

    patch.setattr("trackbridge.operations.opening.open_uri", open_in_memory)
    scene.deploy(1)
    scene.deploy(2, traffic_percent=10)
    scene.apply(plan_rollback(scene.place(), "wine"))
    place, ledger = open_place("local", settings=Settings()), open_ledger(Settings())
    guards = ["error_rate<1%", "p95_ms<200"]
    plan = plan_rollout(
        place, scene.spec(3), rollout_spec("5,25,100", bake="10ms", guards=guards), models=scene.models
    )
    run_plan(plan, place, ledger=ledger, models=scene.models, user="anna", pace=Pace(pause=lambda _: None))
    ledger.close()
    scene.state.deployments.clock_ms = lambda: 10**13  # what is recorded is within every window
    scene.state.deployments.record("wine", "v1", requests=100, errors=7, latency_ms=12.5)
    return scene
