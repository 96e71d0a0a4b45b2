"""A pace that is learnt from refusals and forgotten again."""

import threading
from itertools import pairwise

import pytest

from trackbridge.calls import World
from trackbridge.calls.throttle import OFF_AGAIN_FACTOR, Throttle
from trackbridge.errors import NotFound, RateLimited, TimedOut, Unavailable


@pytest.fixture
def throttle(world):
    return Throttle(world)


def make_calls(throttle, clock, count, *, each_s):
    for _ in range(count):
        throttle.take_turn(clock() + 1e9)
        clock.now_s += each_s


def limited(throttle, clock, **options):
    make_calls(throttle, clock, 100, each_s=0.1)
    throttle.learn(RateLimited("x", **options))


def test_it_is_off_until_the_first_refusal(throttle, clock):
    for error in (Unavailable("x"), TimedOut("x", ambiguous=True), NotFound("x")):
        throttle.learn(error)
    make_calls(throttle, clock, 1000, each_s=0.0)
    assert clock.waits == []
    assert throttle.rate_per_s is None


def test_the_first_refusal_halves_the_rate_that_was_seen(throttle, clock):
    limited(throttle, clock)
    assert throttle.rate_per_s == pytest.approx(5.0, rel=0.05)
    clock.waits.clear()
    make_calls(throttle, clock, 5, each_s=0.0)
    assert sum(clock.waits) == pytest.approx(0.8, rel=0.1)


def test_refusals_at_the_same_time_count_once_later_ones_again(throttle, clock):
    limited(throttle, clock)
    rate = throttle.rate_per_s
    for _ in range(20):
        throttle.learn(RateLimited("x"))
    assert throttle.rate_per_s == rate
    clock.now_s += 1.5
    throttle.learn(Unavailable("503"))
    assert throttle.rate_per_s == rate / 2


def test_the_rate_has_a_floor(world, clock):
    throttle = Throttle(world, rate_per_s_min=0.25)
    for _ in range(50):
        throttle.learn(RateLimited("x"))
        clock.now_s += 2
    assert throttle.rate_per_s == 0.25


def test_it_grows_steadily_and_is_off_again(throttle, clock):
    limited(throttle, clock)
    rates = []
    while throttle.rate_per_s is not None:
        rates.append(throttle.rate_per_s)
        clock.now_s += 1.0
        throttle.take_turn(clock() + 1e9)
    steps = [after - before for before, after in pairwise(rates[1:])]
    assert max(steps) == pytest.approx(min(steps))
    assert rates[-1] <= rates[0] * 2 * OFF_AGAIN_FACTOR
    waits = len(clock.waits)
    make_calls(throttle, clock, 100, each_s=0.0)
    assert len(clock.waits) == waits


def test_everybody_waits_for_what_the_backend_asked(throttle, clock):
    limited(throttle, clock, retry_after_s=30.0)
    clock.waits.clear()
    throttle.take_turn(clock() + 1e9)
    assert clock.waits == [pytest.approx(30.0)]


def test_a_turn_after_the_deadline_is_refused_and_not_reserved(throttle, clock):
    limited(throttle, clock, retry_after_s=30.0)
    for _ in range(3):
        with pytest.raises(RateLimited) as caught:
            throttle.take_turn(clock() + 10.0)
        assert caught.value.retry_after_s == pytest.approx(30.0)
    clock.waits.clear()
    throttle.take_turn(clock() + 1e9)
    assert clock.waits == [pytest.approx(30.0)]


def test_threads_get_turns_one_after_another(clock):
    waits = []
    throttle = Throttle(World(clock_s=clock, wait=waits.append))  # the clock stands still while they wait
    limited(throttle, clock, retry_after_s=1.0)
    threads = [threading.Thread(target=throttle.take_turn, args=(clock() + 1e9,)) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    gaps = [after - before for before, after in pairwise(sorted(waits))]
    assert len(waits) == 50
    assert gaps == pytest.approx([1 / throttle.rate_per_s] * 49)
