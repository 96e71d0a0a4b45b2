"""Works in the background: told, one at a time for one thing, remembered."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.page_sites import Site
from trackbridge.errors import LimitReached, Locked, NotFound, Unavailable
from trackbridge.gateway.pages import works
from trackbridge.gateway.pages.works import Outcome, Shown, Work, Works, WorkState


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def over(store: Works, work: Shown) -> Shown:
    deadline = time.monotonic() + 60.0
    while not (found := store.get(work.work_id)).is_over:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


def begin(store: Works, do: object, *subjects: str) -> Shown:
    return store.start("any", "Any", frozenset(subjects), do, back="/", user="anna")  # type: ignore[arg-type]


def test_what_it_tells_is_there_while_it_goes_on_and_afterwards(gate: threading.Event) -> None:
    store, begun = Works(), threading.Event()

    def do(work: Work) -> Outcome:
        work.tell("first")
        work.reach(1, 2)
        begun.set()
        gate.wait(60.0)
        return Outcome(text="all is done", result={"a": 1})

    work = begin(store, do)
    assert begun.wait(60.0)
    now = store.get(work.work_id)
    assert (now.state, now.reached, now.total) == (WorkState.RUNNING, 1, 2)
    assert [line.text for line in now.lines] == ["first"]
    gate.set()
    ended = over(store, work)
    assert (ended.state, ended.text, ended.result, ended.user) == (
        WorkState.DONE,
        "all is done",
        {"a": 1},
        "anna",
    )
    assert ended.ended_ms is not None
    assert ended.ended_ms >= ended.begun_ms
    assert [item.work_id for item in store.list()] == [work.work_id]


def test_two_at_once_on_the_same_are_refused(gate: threading.Event) -> None:
    store = Works()

    def wait(work: Work) -> Outcome:
        gate.wait(60.0)
        return Outcome(text="")

    work = begin(store, wait, "a", "b")
    with pytest.raises(Locked, match="b is being changed"):
        begin(store, wait, "b", "c")
    with pytest.raises(Locked), store.holding("a"):
        raise AssertionError("never")
    other = begin(store, wait, "c")
    gate.set()
    over(store, work)
    over(store, other)
    with store.holding("a", "c"), pytest.raises(Locked):
        begin(store, wait, "a")
    over(store, begin(store, wait, "a"))


def test_failures_are_told_but_not_what_a_fault_of_ours_holds() -> None:
    store = Works()

    def unavailable(work: Work) -> Outcome:
        raise Unavailable("nobody answers", hint="look")

    def fault(work: Work) -> Outcome:
        raise RuntimeError("password=hunter2")

    failed = over(store, begin(store, unavailable, "a"))
    assert (failed.state, failed.text, failed.hint) == (WorkState.FAILED, "nobody answers", "look")
    failed = over(store, begin(store, fault, "a"))
    assert (failed.state, failed.text) == (WorkState.FAILED, "the gateway failed; its log says why")
    partly = over(store, begin(store, lambda work: Outcome(text="some", problems=("one",)), "a"))
    assert (partly.state, partly.problems) == (WorkState.PARTLY, ("one",))


def test_bounds(gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(works, "KEPT_MAX", 3)
    monkeypatch.setattr(works, "RUNNING_MAX", 2)
    store = Works()
    done = [over(store, begin(store, lambda work: Outcome(text=""))) for _ in range(5)]
    assert [item.work_id for item in store.list()] == [item.work_id for item in reversed(done[2:])]
    with pytest.raises(NotFound):
        store.get(done[0].work_id)

    def wait(work: Work) -> Outcome:
        gate.wait(60.0)
        return Outcome(text="")

    running = [begin(store, wait) for _ in range(2)]
    with pytest.raises(LimitReached):
        begin(store, wait)
    gate.set()
    for work in running:
        over(store, work)


def test_a_work_that_is_not_known_any_more_is_told_where_its_progress_stood(site: Site) -> None:
    told = json.loads(re.findall(r"name=\"htmx-config\" content='([^']*)'", site.get("/works"))[0])
    rules = [rule for rule in told["responseHandling"] if re.search(rule["code"], "404")]
    assert rules[0]["swap"] is True
    assert "the gateway was started again" in site.get("/works/gone", status=404, fragment=True)
