"""What waits is ended by Ctrl-C at whatever moment it comes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any

import pytest

from trackbridge.cli.emulate import _stopping
from trackbridge.operations.sweeps.running import interrupts
from trackbridge.operations.waiting import Stop


@contextmanager
def sweeping() -> Iterator[Stop]:
    stop = Stop()
    with interrupts(stop):
        yield stop


def interrupted_at(step: int, wait: Callable[[], object]) -> bool:
    """Send SIGINT at one of the steps that ``wait`` takes; return whether it takes so many."""
    taken = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken == step:
            signal.raise_signal(signal.SIGINT)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        wait()
    finally:
        sys.settrace(before)
    return taken >= step


@pytest.mark.timeout(30)  # a handler that waits for the lock of what it interrupts waits for ever
@pytest.mark.parametrize("stopping", [_stopping, sweeping])
def test_ctrl_c_at_any_step_of_a_wait(stopping: Callable[[], AbstractContextManager[Stop]]) -> None:
    step, was_interrupted = 0, True
    while was_interrupted:
        step += 1
        with stopping() as stop:
            was_interrupted = interrupted_at(step, lambda: stop.wait(0.2))
            assert stop.is_set() == was_interrupted
    assert step > 3


def test_one_that_is_set_is_set_for_all_who_wait() -> None:
    stop = Stop()
    assert not stop.wait(0.001)
    stop.set()
    assert stop.wait()
    assert stop.wait(0.001)
    assert stop.is_set()
