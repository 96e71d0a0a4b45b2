"""The emulator's clock: what happens later does, in order, by real time or at a test's word."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from trackbridge.testing.emulators.sagemaker.core import Cloud


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    made = Cloud(pace=1.0)
    yield made
    made.close()


def test_time_is_this_machine_s(cloud: Cloud) -> None:
    assert abs(cloud.now_s() - time.time()) < 5


def test_stopped_time_stands_still(cloud: Cloud) -> None:
    cloud.clock.stop()
    assert cloud.now_s() == cloud.now_s()


def test_advance_runs_what_falls_due_in_its_order(cloud: Cloud) -> None:
    cloud.clock.stop()
    start_s = cloud.now_s()
    seen: list[tuple[str, float]] = []
    cloud.later(20, lambda: seen.append(("late", cloud.now_s() - start_s)))
    cloud.later(10, lambda: seen.append(("early", cloud.now_s() - start_s)))
    cloud.clock.advance(5)
    assert seen == []
    cloud.clock.advance(15)
    assert [(name, round(at_s, 3)) for name, at_s in seen] == [("early", 10), ("late", 20)]


def test_what_is_due_may_make_more_due_in_the_same_advance(cloud: Cloud) -> None:
    cloud.clock.stop()
    seen: list[str] = []
    cloud.later(1, lambda: cloud.later(1, lambda: seen.append("second")))
    cloud.clock.advance(2)
    assert seen == ["second"]


def test_later_runs_by_itself_with_the_lock_held(cloud: Cloud) -> None:
    cloud.pace = 0.01
    done = threading.Event()
    free: list[bool] = []

    def ask() -> None:
        other = threading.Thread(target=lambda: free.append(cloud.lock.acquire(blocking=False)))
        other.start()
        other.join()
        done.set()

    cloud.later(1, ask)
    assert done.wait(60)
    assert free == [False]


def test_pace_scales_life_cycles(cloud: Cloud) -> None:
    cloud.clock.stop()
    cloud.pace = 0.5
    seen: list[int] = []
    cloud.later(10, lambda: seen.append(1))
    cloud.clock.advance(5)
    assert seen == [1]


def test_an_error_of_what_was_due_is_told_and_the_rest_goes_on(cloud: Cloud) -> None:
    cloud.clock.stop()
    seen: list[int] = []
    cloud.later(1, lambda: seen[0])  # type: ignore[arg-type,return-value]  # raises IndexError
    cloud.later(2, lambda: seen.append(2))
    cloud.clock.advance(3)
    assert seen == [2]
    with pytest.raises(IndexError):
        cloud.clock.raise_errors()
    cloud.clock.raise_errors()


def test_going_on_keeps_what_was_advanced(cloud: Cloud) -> None:
    cloud.clock.advance(3600)
    assert 3590 < cloud.now_s() - time.time() < 3700


def test_signatures_do_not_follow_a_clock_that_was_advanced(cloud: Cloud) -> None:
    cloud.clock.advance(86_400)
    assert abs(cloud.signing_now_s() - time.time()) < 5
    cloud.skew_s = 600
    assert abs(cloud.signing_now_s() - time.time() - 600) < 5


def test_reset_forgets_what_was_to_happen(cloud: Cloud) -> None:
    cloud.clock.stop()
    seen: list[int] = []
    cloud.later(1, lambda: seen.append(1))
    cloud.skew_s = 60
    cloud.reset()
    cloud.clock.stop()
    cloud.clock.advance(10)
    assert seen == []
    assert cloud.skew_s == 0


class Closing:
    """A part that can be closed."""

    def __init__(self, cloud: Cloud) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


def test_a_part_is_made_once_and_closed_by_reset_and_close(cloud: Cloud) -> None:
    first = cloud.part(Closing)
    assert cloud.part(Closing) is first
    cloud.reset()
    assert first.is_closed
    second = cloud.part(Closing)
    assert second is not first
    cloud.close()
    assert second.is_closed
