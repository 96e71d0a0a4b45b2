"""The emulators' clock: what is due runs once, under the lock, before anybody hears that time has passed."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.support.processes import eventually
from trackbridge.testing.emulators.clock import Clock

WAIT_S = 60


@pytest.fixture
def lock() -> threading.RLock:
    return threading.RLock()


@pytest.fixture
def clock(lock: threading.RLock) -> Iterator[Clock]:
    clock = Clock(lock)
    yield clock
    clock.close()
    clock.raise_errors()


def test_what_is_due_runs_by_itself_and_by_advance(clock: Clock) -> None:
    ran: list[str] = []
    clock.later(0.01, lambda: ran.append("soon"))
    eventually(lambda: ran == ["soon"], "the first")
    clock.later(1000, lambda: ran.append("third"))
    clock.later(500, lambda: ran.append("second"))
    clock.advance(2000)
    assert ran == ["soon", "second", "third"]


def test_what_was_forgotten_while_the_lock_was_held_does_not_run(clock: Clock, lock: threading.RLock) -> None:
    ran: list[str] = []
    with lock:
        clock.later(0.0, lambda: ran.append("before"))
        _wait_until_due(clock)
        clock.reset()
        clock.later(0.0, lambda: ran.append("after"))
    eventually(lambda: bool(ran), "what came after the reset")
    assert ran == ["after"]


def test_what_was_due_has_run_when_time_was_moved_on(clock: Clock, lock: threading.RLock) -> None:
    for _ in range(50):
        ran: list[int] = []
        with lock:
            clock.later(0.0, lambda ran=ran: ran.append(1))  # type: ignore[misc]
            _wait_until_due(clock)
            clock.advance(1.0)
            assert ran == [1]


def _wait_until_due(clock: Clock) -> None:
    """Let the clock's thread come to where it wants the lock, or has taken what is due."""
    passed = threading.Event()
    threading.Thread(target=lambda: (clock.now_s(), passed.set()), daemon=True).start()
    assert passed.wait(WAIT_S)
    threading.Event().wait(0.01)
