"""One subscriber's queue: bounded, patient, and over in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.unit.events.conftest import eventually
from trackbridge.domain.events import RUN_CLOSED
from trackbridge.events import couriers
from trackbridge.events.couriers import Courier, Parcel
from trackbridge.events.messages import Message, Reply, new_event
from trackbridge.events.store import EventStore, Tally
from trackbridge.events.subscribers import Subscriber, SubscriberKind

DOWN = Reply(delivered=False, problem="down", is_transient=True)
REFUSED = Reply(delivered=False, problem="refused")
DONE = Reply(delivered=True)


class FakeWorker:
    """Answers as a test says, and remembers what it was handed."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.default = DONE
        self.handled: list[str] = []
        self.is_running = True
        self.gate = threading.Event()
        self.gate.set()

    def handle(self, message: Message) -> Reply:
        assert message.event is not None
        self.handled.append(message.event.subject)
        self.gate.wait(60)
        return self.replies.pop(0) if self.replies else self.default

    def kill(self) -> None:
        self.gate.set()

    def close(self) -> None:
        self.is_running = False


class Bench:
    def __init__(self, store: EventStore, kind: SubscriberKind = SubscriberKind.WEBHOOK) -> None:
        self.worker = FakeWorker()
        self.store = store
        self.settled: list[str] = []
        self.courier = Courier(Subscriber(name="a", kind=kind), store, worker=self.worker)  # type: ignore[arg-type]
        self.name = self.courier.subscriber.identifier

    def offer(self, *subjects: str) -> None:
        for subject in subjects:
            event = new_event(RUN_CLOSED, subject=subject, source="", data=None, time_ms=5)
            on_settled = self._settled_as(subject)
            self.courier.offer(Parcel(Message(event=event), 1, on_settled))

    def _settled_as(self, subject: str) -> Callable[[], None]:
        return lambda: self.settled.append(subject)

    def kept(self) -> list[str]:
        return [item.event.subject for item in self.store.read(self.name)]

    def finish(self, seconds: float = 60.0) -> Tally:
        self.courier.finish(time.monotonic() + seconds)
        assert self.courier.join(60)
        return self.courier.take_tally() or Tally()


@pytest.fixture
def bench(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(couriers, "BACKOFF_S_MIN", 0.05)
    monkeypatch.setattr(couriers, "POLL_S", 0.01)
    made = Bench(store)
    yield made
    made.courier.cut_off()


def test_in_order(bench: Bench) -> None:
    bench.courier.start()
    bench.offer("a", "b", "c")
    assert bench.finish() == Tally(delivered=3)
    assert bench.worker.handled == bench.settled == ["a", "b", "c"]
    assert bench.kept() == []


def test_a_full_queue_drops_and_counts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.worker.gate.clear()
    bench.courier.start()
    bench.offer("taken")
    eventually(lambda: bench.worker.handled)
    bench.offer(*map(str, range(couriers.QUEUE_EVENTS_MAX + 5)))
    tally = bench.courier.take_tally()
    assert tally is not None
    assert tally.dropped == 5
    assert len(bench.settled) == 5
    bench.worker.gate.set()
    assert bench.finish().delivered == couriers.QUEUE_EVENTS_MAX + 1


def test_what_fails_is_kept_and_tried_again(bench: Bench) -> None:
    bench.worker.replies = [DOWN, DOWN, DOWN]
    bench.courier.start()
    bench.offer("a", "b", "c")
    tally = bench.finish()
    assert (tally.delivered, tally.failed, tally.problem) == (3, 3, "")
    assert sorted(bench.settled) == sorted(set(bench.worker.handled)) == ["a", "b", "c"]
    assert len(bench.worker.handled) == 6
    assert bench.kept() == []


def test_while_it_is_down_what_follows_is_kept_without_attempts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(couriers, "BACKOFF_S_MIN", 1000.0)
    bench.worker.default = DOWN
    bench.courier.start()
    bench.offer("a", "b", "c")
    assert bench.finish().failed == 1
    assert bench.worker.handled == ["a"]
    assert bench.kept() == ["a", "b", "c"]
    assert len(bench.settled) == 3


def test_it_asks_to_wait(bench: Bench) -> None:
    bench.worker.replies = [Reply(delivered=False, problem="slow", is_transient=True, retry_after_s=900.0)]
    bench.courier.start()
    before_ms = time.time_ns() // 1_000_000
    bench.offer("a")
    bench.finish()
    (kept,) = bench.store.read(bench.name)
    assert kept.next_ms is not None
    assert before_ms + 890_000 < kept.next_ms <= before_ms + 960_000


def test_what_a_webhook_refuses_is_kept_for_a_hand(bench: Bench) -> None:
    bench.worker.replies = [REFUSED]
    bench.courier.start()
    bench.offer("a", "b")
    assert bench.finish().failed == 1
    (kept,) = bench.store.read(bench.name)
    assert (kept.event.subject, kept.next_ms, kept.problem) == ("a", None, "refused")
    assert bench.worker.handled == ["a", "b"]


def test_what_an_entry_point_fails_at_is_over(store: EventStore) -> None:
    bench = Bench(store, SubscriberKind.ENTRY_POINT)
    bench.worker.replies = [REFUSED]
    bench.courier.start()
    bench.offer("a", "b")
    assert bench.finish() == Tally(delivered=1, failed=1)
    assert bench.kept() == []


def test_a_subscriber_that_cannot_be_had_is_not_asked_again_and_again(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(couriers, "BACKOFF_S_MIN", 1000.0)
    bench = Bench(store, SubscriberKind.ENTRY_POINT)
    bench.worker.is_running = False
    bench.worker.default = Reply(delivered=False, problem="ImportError", is_loaded=False)
    bench.courier.start()
    bench.offer("a", "b", "c")
    assert bench.finish().failed == 3
    assert bench.worker.handled == ["a"]
    assert bench.kept() == []


def test_what_others_left_is_sent(bench: Bench) -> None:
    event = new_event(RUN_CLOSED, subject="left", source="", data=None, time_ms=5)
    bench.store.add(bench.name, event, attempts=1, next_ms=0, problem="down")
    bench.courier.start()
    bench.finish()
    assert bench.worker.handled == ["left"]
    assert bench.kept() == []


def test_after_a_day_only_a_hand_tries_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couriers, "RETRY_MS_MAX", -1)
    bench.worker.default = DOWN
    bench.courier.start()
    bench.offer("a")
    bench.finish()
    (kept,) = bench.store.read(bench.name)
    assert (kept.attempts, kept.next_ms) == (2, None)


def test_cut_off_keeps_the_rest(bench: Bench) -> None:
    bench.worker.gate.clear()
    bench.worker.default = DOWN
    bench.courier.start()
    bench.offer("a", "b", "c")
    eventually(lambda: bench.worker.handled)
    bench.courier.cut_off()
    assert bench.courier.join(60)
    assert sorted(bench.kept()) == ["a", "b", "c"]
    assert len(bench.settled) == 3


def test_a_store_that_fails_drops_and_counts(bench: Bench) -> None:
    bench.store.path.parent.mkdir()
    bench.store.path.write_bytes(b"no database" * 100)
    bench.worker.default = REFUSED
    bench.courier.start()
    bench.offer("a")
    tally = bench.finish()
    assert tally.dropped == 1
    assert bench.settled == ["a"]


def test_an_idle_worker_is_let_go(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couriers, "IDLE_S", 0.0)
    bench.courier.start()
    bench.offer("a")
    eventually(lambda: bench.worker.handled and not bench.worker.is_running)
    bench.offer("b")
    assert bench.finish().delivered == 2
