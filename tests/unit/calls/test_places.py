"""How many calls may be under way is learnt from trouble, and forgotten again."""

import threading

import pytest

from trackbridge.calls.places import Places
from trackbridge.errors import NotFound, TimedOut, Unavailable


@pytest.fixture
def places(world):
    return Places(world)


def fail(places, clock, error, *, beside=0):
    """Let a call fail while others are under way; return how many places there were then."""
    held = [places.taken(clock() + 1e9) for _ in range(beside)]
    for place in held:
        place.__enter__()
    with pytest.raises(type(error)), places.taken(clock() + 1e9):
        raise error
    most = places.most
    for place in held:
        place.__exit__(None, None, None)
    return most


def succeed(places, clock, times=1):
    for _ in range(times):
        with places.taken(clock() + 1e9):
            pass


def test_there_is_no_bound_before_any_trouble(places, clock):
    succeed(places, clock, 100)
    fail(places, clock, NotFound("x"), beside=7)
    assert places.most is None


@pytest.mark.parametrize("error", [Unavailable("x"), TimedOut("x", ambiguous=True)])
def test_trouble_halves_those_under_way(places, clock, error):
    assert fail(places, clock, error, beside=7) == 4.0


def test_trouble_at_the_same_time_counts_once_later_again_and_one_is_left(places, clock):
    fail(places, clock, Unavailable("x"))
    assert places.most == 1.0
    places = Places(places._world)
    held = [places.taken(clock() + 1e9) for _ in range(8)]
    for place in held:
        place.__enter__()
    for place in held:
        assert place.__exit__(Unavailable, Unavailable("x"), None) is False
    assert places.most == 4.0
    clock.now_s += 2
    with pytest.raises(Unavailable), places.taken(clock() + 1e9):
        raise Unavailable("x")
    assert places.most == 2.0


def test_success_adds_places_until_there_is_no_bound(places, clock):
    fail(places, clock, Unavailable("x"), beside=7)
    before = places.most
    succeed(places, clock, 4)
    assert before < places.most <= before + 4
    succeed(places, clock, 1000)
    assert places.most is None


def test_who_finds_no_place_waits_for_one(places, clock):
    fail(places, clock, Unavailable("x"))
    entered = threading.Event()

    def enter():
        with places.taken(clock() + 1e9):
            entered.set()

    with places.taken(clock() + 1e9):
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.05)
    thread.join(20)
    assert entered.is_set()


def test_nobody_waits_longer_than_the_deadline_or_the_adapter_is_open(places, clock, world):
    fail(places, clock, Unavailable("x"))
    with places.taken(clock() + 1e9):
        with pytest.raises(Unavailable, match="no place"), places.taken(clock()):
            raise AssertionError("it was entered")
        world.closing.set()
        with pytest.raises(Unavailable, match="no place"), places.taken(clock() + 1e9):
            raise AssertionError("it was entered")
