"""What is kept for later: bounded, private, tried again by one process at a time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from trackbridge.domain.events import RUN_CLOSED, Event
from trackbridge.errors import JournalError
from trackbridge.events import store as store_module
from trackbridge.events.messages import new_event
from trackbridge.events.store import BUS, EventStore, Tally, find_events_folder
from trackbridge.resolve.home import Surroundings


def event(subject: str = "r", **data: object) -> Event:
    return new_event(RUN_CLOSED, subject=subject, source="", data=data, time_ms=5)


def keep(store: EventStore, subject: str, *, name: str = "webhook:a", next_ms: int | None = 0) -> int:
    return store.add(name, event(subject), attempts=1, next_ms=next_ms, problem="down")


def test_reading_makes_nothing(store: EventStore) -> None:
    assert store.take("webhook:a") is None
    assert store.next_ms("webhook:a") is None
    assert (store.undelivered(), store.tallies(), store.read("webhook:a")) == ({}, {}, [])
    assert not store.path.parent.exists()


def test_the_file_is_private(store: EventStore) -> None:
    keep(store, "r")
    assert store.path.stat().st_mode & 0o077 == 0
    assert store.path.parent.stat().st_mode & 0o077 == 0


def test_an_event_is_taken_by_one(store: EventStore) -> None:
    keep(store, "first")
    keep(store, "second")
    keep(store, "later", next_ms=2**60)
    keep(store, "never", next_ms=None)
    first, second = store.take("webhook:a"), EventStore(store.path.parent).take("webhook:a")
    assert first is not None
    assert second is not None
    assert [first.event.subject, second.event.subject] == ["first", "second"]
    assert store.take("webhook:a") is None
    store.remove(first.number)
    store.postpone(second.number, attempts=2, next_ms=0, problem="still down")
    again = store.take("webhook:a")
    assert again is not None
    assert (again.event, again.attempts, again.problem) == (second.event, 2, "still down")
    assert store.undelivered() == {"webhook:a": 3}


def test_by_hand_all_are_taken_once(store: EventStore) -> None:
    keep(store, "later", next_ms=2**60)
    keep(store, "never", next_ms=None)
    taken: list[int] = []
    while (item := store.take("webhook:a", is_due=False, but=frozenset(taken))) is not None:
        taken.append(item.number)
    assert len(taken) == 2


def test_many_threads_take_each_event_once(store: EventStore) -> None:
    for number in range(20):
        keep(store, str(number))
    taken: list[str] = []

    def take() -> None:
        while (item := store.take("webhook:a")) is not None:
            taken.append(item.event.subject)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(taken, key=int) == [str(number) for number in range(20)]


def test_the_same_event_is_kept_once(store: EventStore) -> None:
    same = event()
    for attempts in (1, 2):
        store.add("webhook:a", same, attempts=attempts, next_ms=0, problem="down")
    (kept,) = store.read("webhook:a")
    assert kept.attempts == 2


def test_the_oldest_give_way(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "UNDELIVERED_MAX", 3)
    keep(store, "another's", name="webhook:b")
    assert [keep(store, str(number)) for number in range(5)] == [0, 0, 0, 1, 1]
    assert [item.event.subject for item in store.read("webhook:a")] == ["2", "3", "4"]
    assert store.undelivered() == {"webhook:a": 3, "webhook:b": 1}


def test_bytes_are_bounded_too(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "UNDELIVERED_BYTES_MAX", 5_000)
    for number in range(10):
        store.add("webhook:a", event(str(number), text="x" * 1000), attempts=0, next_ms=0, problem="")
    assert [item.event.subject for item in store.read("webhook:a")] == ["6", "7", "8", "9"]


def test_counts_add_up(store: EventStore) -> None:
    store.count({"webhook:a": Tally(failed=1, problem="down", problem_ms=5), BUS: Tally(lost=2)})
    store.count({"webhook:a": Tally(dropped=3)})
    assert store.tallies()["webhook:a"] == Tally(failed=1, dropped=3, problem="down", problem_ms=5)
    store.count({"webhook:a": Tally(delivered=1), BUS: Tally(lost=1, dropped=1)})
    assert store.tallies() == {
        "webhook:a": Tally(delivered=1, failed=1, dropped=3),
        BUS: Tally(lost=3, dropped=1),
    }


def test_a_file_that_is_none(store: EventStore) -> None:
    store.path.parent.mkdir()
    store.path.write_bytes(b"no database" * 100)
    with pytest.raises(JournalError) as caught:
        keep(store, "r")
    assert caught.value.hint


def test_where_it_lies(tmp_path: Path) -> None:
    around = Surroundings(tmp_path, {"HOME": str(tmp_path)})
    assert find_events_folder(around) == tmp_path / ".local/state/trackbridge/events"
    (tmp_path / ".bridge").mkdir()
    assert find_events_folder(around) == tmp_path / ".bridge/events"
