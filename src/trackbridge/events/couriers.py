"""Bringing events to one subscriber: a bounded queue, a thread, and the worker process that it hands them to.

==================  ==================================================================================
what came of it     what the courier does
==================  ==================================================================================
delivered           counts it
refused for good    counts it; a webhook's event is kept for ``bridge events retry``
it cannot be had    counts that, and does not try again with each event, but after growing pauses
failed for now      keeps it, and tries it again with growing pauses for a day; meanwhile what follows is
                    kept as well, without an attempt each
no answer in time   ends the worker; a webhook's event counts as failed for now, another's for good
queue full          drops the event and counts it
==================  ==================================================================================
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable

from trackbridge.errors import JournalError
from trackbridge.events.messages import Message, Reply
from trackbridge.events.store import EventStore, Tally, Undelivered
from trackbridge.events.subscribers import Subscriber, SubscriberKind
from trackbridge.events.workers import Worker

QUEUE_EVENTS_MAX = 1_000
BACKOFF_S_MIN = 1.0
BACKOFF_S_MAX = 3_600.0
RETRY_MS_MAX = 24 * 3_600 * 1000
"""How long a failed event is tried again by itself."""
IDLE_S = 60.0
"""After how long without events a worker is let go."""
POLL_S = 0.2
LOOK_S = 30.0  # for what other dispatchers kept
STORE_PAUSE_S = 5.0


class Parcel:
    """One message on its way to several subscribers; ``on_settled`` is called once all have seen to it."""

    def __init__(self, message: Message, count: int, on_settled: Callable[[], None]) -> None:
        self.message = message
        self._left = count
        self._lock = threading.Lock()
        self._on_settled = on_settled

    def settle(self) -> None:
        """Say that one more subscriber is done with it."""
        with self._lock:
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            self._on_settled()


class Courier:
    """Serves one subscriber; ``offer`` never waits.

    Args:
        subscriber: Who.
        store: Where undelivered events are kept.
        worker: By default a new one.
    """

    def __init__(self, subscriber: Subscriber, store: EventStore, *, worker: Worker | None = None) -> None:
        self.subscriber = subscriber
        self._store = store
        self._worker = worker or Worker(subscriber)
        self._queue: queue.Queue[Parcel] = queue.Queue(QUEUE_EVENTS_MAX)
        self._tally, self._tally_lock = Tally(), threading.Lock()
        self._failures = 0  # in a row
        self._blocked_until = 0.0
        self._problem, self._is_loadable = "", True
        self._look_at = 0.0
        self._used_at = time.monotonic()
        self._ends_at: float | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"courier-{subscriber.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wants(self, message: Message) -> bool:
        """Tell whether the subscriber is to get a message."""
        if message.event is not None:
            return self.subscriber.wants(message.event.kind)
        return self.subscriber.kind is SubscriberKind.TELEMETRY

    def offer(self, parcel: Parcel) -> None:
        """Take a parcel into the queue, or drop it."""
        try:
            self._queue.put_nowait(parcel)
        except queue.Full:
            self._count(dropped=1, problem="its queue was full")
            parcel.settle()

    def finish(self, deadline: float) -> None:
        """End when all is done that can be done, at the latest then (``time.monotonic``)."""
        self._ends_at = deadline

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; return whether it has come."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def cut_off(self) -> None:
        """End now: the worker is killed, and what waits is kept."""
        self._is_over.set()
        self._worker.kill()

    def take_tally(self) -> Tally | None:
        """Return what was counted since the last time, None for nothing."""
        with self._tally_lock:
            tally, self._tally = self._tally, Tally()
        return tally if tally != Tally() else None

    # In its thread.

    def _run(self) -> None:
        while not self._is_over.is_set():
            parcel = self._next()
            if parcel is not None:
                self._deliver(parcel)
            elif self._may_try_again():
                self._try_again()
            elif self._is_done():
                break
            elif time.monotonic() - self._used_at > IDLE_S:
                self._worker.close()
        self._keep_the_rest()
        if self._is_over.is_set():
            self._worker.kill()
        self._worker.close()

    def _next(self) -> Parcel | None:
        with contextlib.suppress(queue.Empty):
            return self._queue.get(timeout=POLL_S)
        return None

    def _is_done(self) -> bool:
        """Tell whether, after the program's end, nothing of this subscriber's is due before the deadline."""
        if self._ends_at is None:
            return False
        next_s = self._seconds_to_next()
        return next_s is None or time.monotonic() + next_s > self._ends_at

    def _deliver(self, parcel: Parcel) -> None:
        event = parcel.message.event
        if time.monotonic() < self._blocked_until:
            if self._is_loadable and event is not None:
                self._keep(parcel.message, 0, self._blocked_until - time.monotonic(), self._problem)
            else:
                self._count(failed=1, problem=self._problem)
            parcel.settle()
            return
        reply = self._hand_over(parcel.message)
        if not reply.delivered and event is not None:
            if reply.is_transient:
                self._keep(parcel.message, 1, self._blocked_until - time.monotonic(), reply.problem)
            elif self.subscriber.kind is SubscriberKind.WEBHOOK:
                self._keep(parcel.message, 1, None, reply.problem)
        parcel.settle()

    def _hand_over(self, message: Message) -> Reply:
        reply = self._worker.handle(message)
        self._used_at = time.monotonic()
        if reply.delivered:
            self._failures, self._blocked_until = 0, 0.0
            self._count(delivered=int(message.event is not None))
            return reply
        self._problem, self._is_loadable = reply.problem, reply.is_loaded
        self._count(failed=1, problem=reply.problem)
        if reply.is_transient or not self._worker.is_running:
            self._block(reply.retry_after_s)
        return reply

    def _block(self, retry_after_s: float | None) -> None:
        backoff_s = min(BACKOFF_S_MIN * 2.0**self._failures, BACKOFF_S_MAX)
        pause_s = min(max(backoff_s, retry_after_s or 0.0), BACKOFF_S_MAX)
        self._failures = min(self._failures + 1, 30)
        self._blocked_until = time.monotonic() + pause_s
        self._look_at = self._blocked_until

    def _keep(self, message: Message, attempts: int, next_s: float | None, problem: str) -> None:
        """Keep an event; where that fails it is dropped, since nothing may wait here without bound."""
        assert message.event is not None
        next_ms = None if next_s is None else _now_ms() + int(max(0.0, next_s) * 1000)
        try:
            evicted = self._store.add(
                self.subscriber.identifier,
                message.event,
                attempts=attempts,
                next_ms=next_ms,
                problem=problem,
            )
        except JournalError as error:
            self._count(dropped=1, problem=error.message)
            return
        self._count(dropped=evicted)

    def _keep_the_rest(self) -> None:
        """Keep what is still in the queue at the end."""
        while True:
            try:
                parcel = self._queue.get_nowait()
            except queue.Empty:
                return
            if parcel.message.event is not None:
                self._keep(parcel.message, 0, 0.0, self._problem or "the dispatcher ended")
            parcel.settle()

    # What was kept.

    def _may_try_again(self) -> bool:
        return time.monotonic() >= max(self._look_at, self._blocked_until)

    def _try_again(self) -> None:
        try:
            kept = self._store.take(self.subscriber.identifier)
            if kept is not None:
                self._repeat(kept)
            next_s = self._seconds_to_next()
            self._look_at = time.monotonic() + min(LOOK_S, LOOK_S if next_s is None else next_s)
        except JournalError as error:
            self._count(problem=error.message)
            self._look_at = time.monotonic() + STORE_PAUSE_S

    def _repeat(self, kept: Undelivered) -> None:
        reply = self._hand_over(Message(event=kept.event))
        if reply.delivered:
            self._store.remove(kept.number)
            return
        if not reply.is_transient and self.subscriber.kind is not SubscriberKind.WEBHOOK:
            self._store.remove(kept.number)
            return
        is_hopeless = not reply.is_transient or _now_ms() - kept.since_ms > RETRY_MS_MAX
        next_ms = None if is_hopeless else _now_ms() + int(_backoff_s(kept, reply) * 1000)
        self._store.postpone(kept.number, attempts=kept.attempts + 1, next_ms=next_ms, problem=reply.problem)

    def _seconds_to_next(self) -> float | None:
        try:
            next_ms = self._store.next_ms(self.subscriber.identifier)
        except JournalError:
            return None
        return None if next_ms is None else max(0.0, (next_ms - _now_ms()) / 1000)

    def _count(self, *, delivered: int = 0, failed: int = 0, dropped: int = 0, problem: str = "") -> None:
        with self._tally_lock:
            tally = self._tally
            tally.delivered += delivered
            tally.failed += failed
            tally.dropped += dropped
            if delivered or problem:
                tally.problem, tally.problem_ms = problem, _now_ms() if problem else 0


def _backoff_s(kept: Undelivered, reply: Reply) -> float:
    backoff_s = min(BACKOFF_S_MIN * 2.0 ** min(kept.attempts, 30), BACKOFF_S_MAX)
    return min(max(backoff_s, reply.retry_after_s or 0.0), BACKOFF_S_MAX)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
