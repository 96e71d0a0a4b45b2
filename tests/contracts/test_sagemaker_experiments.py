"""The tracking contract on SageMaker Experiments with records in S3, through the call pipeline."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts import CapabilitiesContract, TrackingContract, TrackingStateMachine
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge_adapters.sagemaker import open_adapter
from trackbridge_adapters.sagemaker.clients import Clients


def open_place(uri: str, home: Path) -> Adapter:
    context = AdapterContext(home=home, options={}, clock_ms=lambda: time.time_ns() // 1_000_000)
    return wrap_adapter(open_adapter(uri, context=context))


@pytest.fixture(scope="module")
def aws() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module", autouse=True)
def clients_of_all_tests() -> Iterator[None]:
    """Make botocore's clients once: each takes as long as a test does without them."""
    made: dict[str, Any] = {}
    create = Clients._create

    def shared(clients: Clients, service: str) -> Any:
        if service not in made:
            made[service] = create(clients, service)
        return made[service]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Clients, "_create", shared)
        patch.setattr(Clients, "close", lambda clients: None)
        yield
    for client in made.values():
        client.close()


@pytest.fixture
def empty(aws: SageMakerEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Adapter]:
    aws.reset()
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)
    adapter = open_place(aws.uri, tmp_path / "home")
    yield adapter
    adapter.close()
    aws.raise_failures()


class TestCapabilities(CapabilitiesContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


class TestTracking(TrackingContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


class Machine(TrackingStateMachine):
    """Each example has a prefix of its own, so that nothing has to be emptied."""

    numbers = itertools.count()
    home: Path
    uri: str

    def new_store(self) -> Callable[[], Adapter]:
        uri = f"{self.uri}/p{next(self.numbers)}"
        return lambda: open_place(uri, self.home)


def test_any_sequence_of_calls_leaves_what_it_says(
    empty: Adapter, aws: SageMakerEmulator, tmp_path: Path
) -> None:
    Machine.home, Machine.uri = tmp_path / "home", aws.uri
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=5, stateful_step_count=12, deadline=None)
    )
