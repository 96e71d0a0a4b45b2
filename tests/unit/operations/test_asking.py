"""Places are asked at once, and none longer than a page waits."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from functools import partial

import pytest

from tests.support.hanging import one_hangs  # noqa: F401
from trackbridge.errors import Unavailable
from trackbridge.operations import asking
from trackbridge.operations.asking import Asking


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_all_are_asked_at_once_and_answered_in_order() -> None:
    together = threading.Barrier(3)

    def answer(number: int) -> int:
        together.wait(30.0)
        return number

    found = Asking(60.0).ask("x", {f"p{number}": partial(answer, number) for number in range(3)})
    assert [(item.place, item.value, item.trouble) for item in found] == [
        ("p0", 0, ""),
        ("p1", 1, ""),
        ("p2", 2, ""),
    ]


@pytest.mark.usefixtures("one_hangs")
def test_a_place_that_hangs_is_told_and_delays_nobody_else(gate: threading.Event) -> None:
    quick, slow = Asking(0.05).ask("x", {"quick": lambda: True, "slow": lambda: gate.wait(60.0)})
    assert quick.value is True
    assert slow.value is None
    assert slow.trouble == "it did not answer within 0.05 s"


def test_the_time_limit(gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "wait", wait)
    assert Asking(0.05).ask_one("x", "slow", lambda: gate.wait(60.0)).value is None


def test_who_looks_again_waits_for_the_question_that_is_under_way(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "wait", wait)
    asked: list[int] = []
    impatient = Asking(0.05)

    def question() -> str:
        asked.append(1)
        gate.wait(60.0)
        return "late"

    for _ in range(3):
        assert impatient.ask_one("x", "slow", question).value is None
    assert len(asked) == 1

    def wait_patiently(futures: Iterable[Future[str]], timeout: float) -> None:
        gate.set()
        wait(futures, timeout=60.0)

    monkeypatch.setattr(asking, "wait", wait_patiently)
    assert impatient.ask_one("x", "slow", question).value == "late"
    assert len(asked) == 1


def test_an_error_of_ours_is_told_with_its_hint() -> None:
    def question() -> None:
        raise Unavailable("nobody answers", hint="look whether it runs")

    found = Asking().ask_one("x", "down", question)
    assert (found.trouble, found.hint) == ("nobody answers", "look whether it runs")


def test_a_fault_of_ours_is_none_of_the_place() -> None:
    with pytest.raises(ZeroDivisionError):
        Asking().ask_one("x", "any", lambda: 1 // 0)


def test_who_looks_again_gets_the_answer_that_came_too_late(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "wait", wait)
    asked: list[int] = []
    impatient = Asking(0.05)

    def question() -> int:
        asked.append(1)
        gate.wait(60.0)
        return len(asked)

    assert impatient.ask_one("x", "slow", question).value is None
    (under_way,) = impatient._under_way.values()
    gate.set()
    under_way.result(60.0)
    assert impatient.ask_one("x", "slow", question).value == 1
    monkeypatch.setattr(asking, "wait", lambda futures, timeout: wait(futures, timeout=60.0))
    assert impatient.ask_one("x", "slow", question).value == 2  # told once, then asked anew
