"""How often and how long a transient error is repeated."""

import logging
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackbridge.calls import CallPolicy, World
from trackbridge.calls.call import Operation
from trackbridge.calls.retry import retry_transient
from trackbridge.errors import Exhausted, NotRunning, RateLimited, TimedOut, Unavailable

OPERATION = Operation("fake", "tracking.write", None)


@pytest.fixture
def run(world, clock):
    def run(attempt, **options):
        policy = CallPolicy(**options)
        return retry_transient(attempt, OPERATION, policy, world, clock() + policy.elapsed_s_max)

    return run


def failing(error):
    def attempt():
        raise error

    return attempt


def test_attempts_are_bounded_and_the_last_error_is_told(run, clock):
    last = Unavailable("down", resource="run r", hint="look at the status page")
    with pytest.raises(Exhausted, match=r"down \(4 attempts in") as caught:
        run(failing(last), attempts_max=4)
    error = caught.value
    assert (error.attempts, error.resource, error.hint) == (4, "run r", "look at the status page")
    assert (error.adapter, error.operation) == ("fake", "tracking.write")
    assert error.__cause__ is last
    assert error.elapsed_s == pytest.approx(sum(clock.waits))
    assert len(clock.waits) == 3


def test_a_single_attempt_is_not_repeated(run, clock):
    with pytest.raises(Exhausted, match="1 attempt in"):
        run(failing(Unavailable("down")), attempts_max=1)
    assert clock.waits == []


def test_a_server_of_this_machine_that_does_not_run_is_given_up_soon_for_who_waits(run, world, clock):
    policy = CallPolicy.for_waiting_people(30.0)
    with pytest.raises(Exhausted, match="2 attempts"):
        retry_transient(failing(NotRunning("x")), OPERATION, policy, world, clock() + 30.0)
    assert sum(clock.waits) <= 0.5
    with pytest.raises(Exhausted, match="6 attempts"):
        retry_transient(failing(Unavailable("x")), OPERATION, policy, world, clock() + 30.0)
    with pytest.raises(Exhausted, match="6 attempts"):
        run(failing(NotRunning("x")))  # as delivery does, which outlives a restart


def test_only_a_long_wait_is_told_and_without_secrets(run, clock, caplog):
    caplog.set_level(logging.INFO, logger="trackbridge.calls")
    with pytest.raises(Exhausted):
        run(failing(Unavailable("x")), attempts_max=2)
    assert caplog.messages == []
    with pytest.raises(Exhausted):
        run(failing(Unavailable("no password=hunter2Xy")), attempts_max=3, backoff_s=4.0)
    first, second = (round(wait_s) for wait_s in clock.waits[1:])
    assert caplog.messages == [
        f"no password=***; trying again in {first} s (2 of 3) ...",
        f"no password=***; trying again in {second} s (3 of 3) ...",
    ]


def test_the_backoff_doubles_jittered_up_to_its_bound(run, clock):
    with pytest.raises(Exhausted):
        run(failing(Unavailable("x")), attempts_max=8, backoff_s=1.0, backoff_s_max=10.0, elapsed_s_max=1000)
    bounds = [1, 2, 4, 8, 10, 10, 10]
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(clock.waits, bounds, strict=True))
    assert len(set(clock.waits)) == len(clock.waits)


def test_what_the_backend_asks_for_is_the_least_wait(run, clock):
    with pytest.raises(Exhausted):
        run(failing(RateLimited("x", retry_after_s=17.0)), attempts_max=3, backoff_s=0.1, elapsed_s_max=1000)
    assert clock.waits == [17.0, 17.0]


def test_the_backoff_wins_over_a_shorter_demand(run, clock):
    with pytest.raises(Exhausted):
        run(failing(RateLimited("x", retry_after_s=0.001)), attempts_max=2, backoff_s=4.0)
    assert clock.waits[0] >= 2.0


@pytest.mark.parametrize("asked_s", [math.nan, math.inf, -math.inf, -5.0, None])
def test_senseless_demands_are_ignored(asked_s, run, clock):
    with pytest.raises(Exhausted):
        run(failing(RateLimited("x", retry_after_s=asked_s)), attempts_max=2, backoff_s=1.0)
    assert 0.5 <= clock.waits[0] <= 1.0


def test_no_wait_is_begun_that_ends_after_the_deadline(run, clock):
    with pytest.raises(Exhausted, match="asks to wait 3600 s") as caught:
        run(failing(RateLimited("x", retry_after_s=3600.0)), elapsed_s_max=60.0)
    assert clock.waits == []
    assert caught.value.attempts == 1


def test_the_time_of_attempts_counts(run, clock):
    def slow():
        clock.now_s += 50.0
        raise TimedOut("x", ambiguous=True)

    with pytest.raises(Exhausted) as caught:
        run(slow, elapsed_s_max=120.0, attempts_max=100)
    assert caught.value.attempts == 3


def test_the_result_after_failures(run):
    answers = iter([Unavailable("x"), TimedOut("x", ambiguous=True), None])

    def attempt():
        error = next(answers)
        if error:
            raise error
        return "done"

    assert run(attempt) == "done"


def test_calls_inside_of_calls_do_not_disturb_each_other(run):
    def outer():
        with pytest.raises(Exhausted):
            run(failing(Unavailable("inner")), attempts_max=2)
        return "outer"

    assert run(outer) == "outer"


@given(
    attempts_max=st.integers(1, 80),
    backoff_s=st.floats(0, 1e6),
    backoff_s_max=st.floats(0, 1e6),
    elapsed_s_max=st.floats(0, 1e6),
    asked_s=st.none() | st.floats(allow_nan=True),
    seed=st.integers(0, 100),
)
def test_any_policy_ends_within_its_bounds(
    attempts_max, backoff_s, backoff_s_max, elapsed_s_max, asked_s, seed
):
    now_s = [0.0]

    def wait(seconds):
        now_s[0] += seconds

    world = World(clock_s=lambda: now_s[0], rng=random.Random(seed), wait=wait)
    policy = CallPolicy(
        attempts_max=attempts_max,
        backoff_s=backoff_s,
        backoff_s_max=backoff_s_max,
        elapsed_s_max=elapsed_s_max,
    )
    with pytest.raises(Exhausted) as caught:
        retry_transient(
            failing(RateLimited("x", retry_after_s=asked_s)), OPERATION, policy, world, elapsed_s_max
        )
    assert 1 <= caught.value.attempts <= attempts_max
    assert now_s[0] <= elapsed_s_max
