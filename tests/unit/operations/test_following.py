"""Waiting for jobs and following their logs while the network comes and goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trackbridge.domain.jobs import JobState, JobStatus, LogChunk
from trackbridge.errors import AuthError, BridgeError, Exhausted, NotFound, TimedOut, Unavailable
from trackbridge.operations.following import FAILED_MAX, QUICK, UNHURRIED, follow_log, pace_of, wait_for_job
from trackbridge.operations.waiting import Pace

AWAY = Unavailable("nobody answers")


class Clock:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits: list[float] = []

    def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds

    def pace(self, like: Pace = QUICK) -> Pace:
        return Pace(like.wait_s_min, like.wait_s_max, clock=lambda: self.now_s, pause=self.pause)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def answers(*given: Any) -> Callable[..., Any]:
    """Return, or raise, one thing after the other."""
    left: Iterator[Any] = iter(given)

    def answer(*_: object, **__: object) -> Any:
        item = next(left)
        if isinstance(item, BridgeError):
            raise item
        return item

    return answer


class Jobs:
    """A backend that only tells how a job stands."""

    def __init__(self, *states: Any) -> None:
        self.status = answers(*states)


def state(status: str) -> JobState:
    return JobState(job_id="j", status=JobStatus(status))


def chunk(text: str, done: bool = False) -> LogChunk:
    return LogChunk(text=text, cursor=f"after {text}", done=done)


def waited(jobs: Jobs, clock: Clock, **options: Any) -> JobState:
    return wait_for_job("j", jobs, pace=clock.pace(), **options)  # type: ignore[arg-type]


def test_a_network_that_is_away_for_a_while_ends_nothing(clock: Clock) -> None:
    told: list[str] = []
    many = [AWAY] * (FAILED_MAX - 1)
    jobs = Jobs(state("RUNNING"), *many, state("RUNNING"), *many, state("SUCCEEDED"))
    assert waited(jobs, clock, on_trouble=told.append).status is JobStatus.SUCCEEDED
    assert told == ["nobody answers; trying again"] * 2


def test_a_log_goes_on_from_where_it_was(clock: Clock) -> None:
    asked: list[str] = []
    told: list[str] = []
    answer = answers(
        chunk("a"),
        AWAY,
        Exhausted("tried", attempts=3, elapsed_s=1.0),
        AWAY,
        chunk("b"),
        chunk("", done=True),
    )

    def read(cursor: str) -> LogChunk:
        asked.append(cursor)
        found: LogChunk = answer()
        return found

    assert list(follow_log(read, pace=clock.pace(), on_trouble=told.append)) == ["a", "b"]
    assert asked == ["", "after a", "after a", "after a", "after a", "after b"]
    assert told == ["nobody answers; trying again"]


@pytest.mark.parametrize("error", [AuthError("who are you"), NotFound("no job")])
def test_what_does_not_pass_is_told_at_once(clock: Clock, error: BridgeError) -> None:
    with pytest.raises(type(error)):
        waited(Jobs(error), clock)
    with pytest.raises(type(error)):
        list(follow_log(answers(error), pace=clock.pace()))
    assert clock.waits == []


def test_a_network_that_stays_away_is_an_error(clock: Clock) -> None:
    with pytest.raises(Unavailable):
        waited(Jobs(*[AWAY] * FAILED_MAX), clock)
    with pytest.raises(Unavailable):
        list(follow_log(answers(*[AWAY] * FAILED_MAX), pace=clock.pace()))


def test_a_timeout_counts_while_nobody_answers(clock: Clock) -> None:
    with pytest.raises(TimedOut, match=r"the job has not ended within 0.01 s"):
        waited(Jobs(*[AWAY] * 5), clock, timeout_s=0.01)
    with pytest.raises(TimedOut, match="it is RUNNING"):
        waited(Jobs(state("RUNNING"), *[AWAY] * 5), clock, timeout_s=0.01)


def test_clouds_are_asked_seldom(clock: Clock) -> None:
    """A job of an hour: a few hundred questions, and its end is seen half a minute late at most."""
    pace = clock.pace(pace_of(is_local=False))
    asked = 0

    def status(job_id: str) -> JobState:
        nonlocal asked
        asked += 1
        return state("SUCCEEDED" if clock.now_s > 3600 else "RUNNING")

    jobs = Jobs()
    jobs.status = status
    wait_for_job("j", jobs, pace=pace)  # type: ignore[arg-type]
    assert asked < 200
    assert min(clock.waits) == UNHURRIED.wait_s_min == 2.0
    assert max(clock.waits) == UNHURRIED.wait_s_max == 30.0
    assert pace_of(is_local=True) is QUICK
