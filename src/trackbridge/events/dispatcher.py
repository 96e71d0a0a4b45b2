"""The process beside a program: reads its events, and lets each subscriber's courier have them.

It ends when the program has ended and everything is delivered or kept, at the latest LINGER_S later.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import msgspec

from trackbridge.errors import JournalError
from trackbridge.events.couriers import Courier, Parcel
from trackbridge.events.messages import Message, decode, without_secrets
from trackbridge.events.store import BUS, EventStore, Tally
from trackbridge.events.subscribers import Subscriber

LINGER_S = 60.0
HURRY_S = 3.0
CUT_OFF_S = 5.0
COUNTS_S = 1.0
"""How often counts are written."""
RECEIVED_BYTES = 262_144


class Dispatcher:
    """Serves one program.

    Args:
        connection: The socket that its events come from; it is answered with a byte for each line seen to.
        subscribers: Those that work.
        store: Shared with the other dispatchers of the project.
        linger_s: How long it goes on after the program's end.
    """

    def __init__(
        self,
        connection: socket.socket,
        subscribers: tuple[Subscriber, ...],
        store: EventStore,
        *,
        linger_s: float = LINGER_S,
        make_courier: Callable[[Subscriber, EventStore], Courier] = Courier,
    ) -> None:
        self._connection = connection
        self._answers = connection.dup()
        self._answers.setblocking(False)
        self._store = store
        self._linger_s = linger_s
        self._couriers = [make_courier(subscriber, store) for subscriber in subscribers]
        self._bus_tally = Tally()
        self._unwritten: dict[str, Tally] = {}
        self._settled = 0
        self._settled_lock = threading.Lock()
        self._is_hurried = False

    def hurry(self) -> None:
        """End soon: read no more, keep what cannot be delivered in a moment."""
        self._is_hurried = True  # no event: a signal's handler calls this

    def run(self) -> None:
        """Serve until the program's end, and for a while after it."""
        for courier in self._couriers:
            courier.start()
        for line in self._lines():
            self._take(line)
        deadline = time.monotonic() + (HURRY_S if self._is_hurried else self._linger_s)
        for courier in self._couriers:
            courier.finish(deadline)
        while time.monotonic() < deadline and not all(courier.join(0.1) for courier in self._couriers):
            if self._is_hurried:
                deadline = min(deadline, time.monotonic() + HURRY_S)
            self._write_counts()
        for courier in self._couriers:
            courier.cut_off()
        for courier in self._couriers:
            courier.join(CUT_OFF_S)
        self._answer()  # the program may still be there: what is kept is not lost
        self._write_counts()

    def _lines(self) -> Iterator[bytes]:
        """Yield each whole line until the program's end; write the counts between them."""
        self._connection.settimeout(COUNTS_S)
        rest, written_at = b"", time.monotonic()
        while not self._is_hurried:
            try:
                part = self._connection.recv(RECEIVED_BYTES)
            except TimeoutError:
                part = None
            except OSError:
                return
            if part == b"":
                return
            *lines, rest = (rest + (part or b"")).split(b"\n")
            yield from lines
            if time.monotonic() - written_at > COUNTS_S:
                self._answer()
                self._write_counts()
                written_at = time.monotonic()

    def _take(self, line: bytes) -> None:
        try:
            message = decode(line)
        except msgspec.DecodeError:  # of another version, which was installed meanwhile
            self._bus_tally.lost += 1
            self._settle()
            return
        self._bus_tally.dropped += message.dropped
        self._bus_tally.lost += message.lost
        if message.event is not None:
            message = Message(event=without_secrets(message.event))
        wanting = [courier for courier in self._couriers if _is_for(courier, message)]
        parcel = Parcel(message, len(wanting), self._settle)
        for courier in wanting:
            courier.offer(parcel)
        if not wanting:
            self._settle()

    def _settle(self) -> None:
        with self._settled_lock:
            self._settled += 1

    def _answer(self) -> None:
        """Tell the program how many more are seen to; what it has no room for is told later.

        Several at a time: it reads only when it publishes, and each answer takes room until then.
        """
        with self._settled_lock, contextlib.suppress(OSError):
            if self._settled:
                self._settled -= self._answers.send(b"." * self._settled)

    def _write_counts(self) -> None:
        """Add what was counted to the shared counts; where they cannot be written, the next time."""
        taken = {courier.subscriber.identifier: courier.take_tally() for courier in self._couriers}
        if self._bus_tally != Tally():
            taken[BUS], self._bus_tally = self._bus_tally, Tally()
        for name, tally in taken.items():
            if tally is not None:
                self._unwritten[name] = _sum(self._unwritten.get(name, Tally()), tally)
        if not self._unwritten:
            return
        with contextlib.suppress(JournalError):
            self._store.count(self._unwritten)
            self._unwritten = {}


def _is_for(courier: Courier, message: Message) -> bool:
    return (message.event is not None or message.call is not None) and courier.wants(message)


def _sum(first: Tally, second: Tally) -> Tally:
    is_newer = bool(second.delivered or second.problem)
    return Tally(
        delivered=first.delivered + second.delivered,
        failed=first.failed + second.failed,
        dropped=first.dropped + second.dropped,
        lost=first.lost + second.lost,
        problem=second.problem if is_newer else first.problem,
        problem_ms=second.problem_ms if is_newer else first.problem_ms,
    )
