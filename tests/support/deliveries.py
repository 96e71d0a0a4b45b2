"""Several backends, journals of programs that live or die, and services that deliver between them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.journals import Bench
from tests.support.memory_adapter import MemoryAdapter, MemoryState
from trackbridge.delivery import lane as lane_module
from trackbridge.delivery.backend import Backend
from trackbridge.delivery.connect import Registries
from trackbridge.delivery.service import DeliveryService
from trackbridge.errors import Unavailable

Run = Callable[[DeliveryService], threading.Thread]


class World:
    """Backends in memory by URI, some of which may be down; what is opened and closed is counted."""

    def __init__(self) -> None:
        self.states: dict[str, MemoryState] = {}
        self.down: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.opened: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()

    def open(self, uri: str) -> Backend:
        self.asked[uri] += 1
        if uri in self.down:
            raise Unavailable(f"{uri} is down")
        self.opened[uri] += 1
        adapter = MemoryAdapter(self.states.setdefault(uri, MemoryState()))
        return Backend(
            uri=uri,
            tracking=adapter.tracking,
            artifacts=adapter.artifacts,
            capabilities=adapter.capabilities(),
            registry=Registries(uri, adapter).open,
            close=lambda: self.closed.update([uri]),
        )

    def has(self, uri: str, run_id: str) -> bool:
        return uri in self.states and run_id in self.states[uri].runs

    def steps(self, uri: str, run_id: str) -> list[int]:
        return list(self.open(uri).tracking.metric_history(run_id, "loss").steps)


def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def logged(root: Path, *uris: str, steps: int = 5) -> tuple[Bench, str]:
    """Log a run of so many points; return its journal and id."""
    bench = Bench(root, uris=uris)
    recorder = bench.run()
    for step in range(steps):
        recorder.metric("loss", 1.0, step)
    return bench, recorder.run_id


def die(bench: Bench) -> None:
    """Do to a writer what the death of its process does."""
    bench.writer._stop_keeper.set()
    bench.writer._writer_lock.release()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again after milliseconds rather than seconds."""
    monkeypatch.setattr(lane_module, "RETRY_S_MIN", 0.005)
    monkeypatch.setattr(lane_module, "RETRY_S_MAX", 0.01)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def running() -> Iterator[Run]:
    """Run services in threads, and stop them at the end."""
    services: list[tuple[DeliveryService, threading.Thread]] = []

    def run(service: DeliveryService) -> threading.Thread:
        thread = threading.Thread(target=service.run)
        services.append((service, thread))
        thread.start()
        return thread

    yield run
    for service, thread in services:
        service.stop()
        thread.join(20)
