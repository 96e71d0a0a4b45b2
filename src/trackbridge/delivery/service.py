"""Delivering the journals of a project: whose turn it is, who may, and when it is over.

One service delivers the journal that it was made for, and adopts those whose writer is dead and which
nobody else delivers. Each journal has one thread for each destination, so that a destination that is down
delays only itself.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from trackbridge.delivery.backend import Backend
from trackbridge.delivery.dead_letters import DeadLetters
from trackbridge.delivery.lane import Lane, Progress
from trackbridge.errors import JournalCorrupt
from trackbridge.journal.folder import JournalFolder, Lock, journals
from trackbridge.journal.reader import Damage

POLL_S = 0.05
"""How often a journal is looked at while its program lives."""
GATHER_S = 0.5
"""How long records gather into a batch, unless somebody waits for them."""
ADOPT_S = 2.0
"""How often a service looks for journals that were left behind."""
LINGER_S = 600.0
"""How long a service goes on trying after its program ended and the destination takes nothing."""


class JournalDelivery:
    """One journal, locked for delivery, and a lane for each of its destinations."""

    def __init__(
        self,
        folder: JournalFolder,
        lock: Lock,
        *,
        open_backend: Callable[[str], Backend],
        dead_letters: DeadLetters,
    ) -> None:
        self.folder = folder
        self._lock = lock
        self._state = threading.Lock()
        self._staged: deque[tuple[str, set[str]]] = deque()
        destinations = folder.describe().destinations
        self.lanes = [
            Lane(
                folder,
                uri,
                open_backend=open_backend,
                dead_letters=dead_letters,
                on_commit=self._committed,
            )
            for uri in destinations
        ]
        self._waiting: dict[str, int] = {}

    @classmethod
    def open(
        cls,
        folder: JournalFolder,
        *,
        open_backend: Callable[[str], Backend],
        dead_letters: DeadLetters,
    ) -> JournalDelivery | None:
        """Lock a journal for delivery; None when somebody else delivers it, or it is gone.

        Raises:
            JournalCorrupt: Its description cannot be read.
        """
        lock = folder.lock_delivery()
        if lock is None:
            return None
        try:
            return cls(folder, lock, open_backend=open_backend, dead_letters=dead_letters)
        except BaseException:
            lock.release()
            raise

    @property
    def finished(self) -> bool:
        """True once everything is delivered everywhere and the writer is dead."""
        return all(lane.finished for lane in self.lanes)

    def close(self) -> None:
        """Let go of the journal; one that is finished is deleted."""
        if self.finished:
            self.folder.remove()
        self._lock.release()

    def _committed(self, lane: Lane, staged: list[str]) -> None:
        """Delete what no lane needs any more: segments, and staged files."""
        with self._state:
            for name in staged:
                self._waiting[name] = self._waiting.get(name, 0) + 1
                if self._waiting[name] == len(self.lanes):
                    del self._waiting[name]
                    (self.folder.staged / name).unlink(missing_ok=True)
            needed = min(lane.cursor.position.segment for lane in self.lanes)
            for number in self.folder.segment_numbers():
                if number < needed:
                    self.folder.segment(number).unlink(missing_ok=True)


class DeliveryService:
    """Delivers until stopped, or until there is nothing left to deliver.

    Args:
        root: The folder of journals.
        own: The journal that it was made for; the service ends once that is finished.
        open_backend: Opens a tracking URI for writing.
        adopt: Whether to deliver journals that were left behind, too.
    """

    def __init__(
        self,
        root: Path,
        *,
        open_backend: Callable[[str], Backend],
        own: JournalFolder | None = None,
        adopt: bool = True,
        linger_s: float = LINGER_S,
    ) -> None:
        self._root = root
        self._own = own
        self._adopt = adopt
        self._linger_s = linger_s
        self._open_backend = open_backend
        self._dead_letters = DeadLetters(root)
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self._given_up: set[str] = set()
        self._deliveries: dict[str, tuple[JournalDelivery, list[threading.Thread]]] = {}

    def stop(self) -> None:
        """Stop soon, after the writes that are under way."""
        self._stop.set()

    def hurry(self) -> None:
        """Deliver what is there, and end at the first obstacle."""
        self._hurry.set()

    def run(self) -> None:
        """Deliver; return when stopped, or when nothing is left that can be delivered."""
        try:
            while not self._stop.is_set():
                self._take_journals()
                if self._is_over():
                    return
                self._wait_for_threads(ADOPT_S)
        finally:
            self._stop.set()
            self._collect(wait=True)

    def _take_journals(self) -> None:
        for folder in self._candidates():
            if folder.journal_id in self._deliveries or folder.journal_id in self._given_up:
                continue
            delivery = _open(folder, self._open_backend, self._dead_letters)
            if delivery is not None:
                self._start(delivery)

    def _candidates(self) -> list[JournalFolder]:
        own = [self._own] if self._own is not None and self._own.path.exists() else []
        if not self._adopt or self._hurry.is_set():
            return own
        others = (folder for folder in journals(self._root) if not own or folder.path != own[0].path)
        return own + [folder for folder in others if is_left_behind(folder)]

    def _start(self, delivery: JournalDelivery) -> None:
        threads = [
            threading.Thread(
                target=self._run_lane,
                args=(delivery, lane),
                name=f"trackbridge-delivery-{number}",
                daemon=True,
            )
            for number, lane in enumerate(delivery.lanes)
        ]
        self._deliveries[delivery.folder.journal_id] = (delivery, threads)
        for thread in threads:
            thread.start()

    def _wait_for_threads(self, timeout_s: float) -> None:
        """Wait until a journal is done, or for so long, then let go of those that are."""
        deadline = time.monotonic() + timeout_s
        running = [thread for _, threads in self._deliveries.values() for thread in threads]
        while time.monotonic() < deadline and not self._stop.is_set():
            if not all(thread.is_alive() for thread in running):
                break
            self._stop.wait(POLL_S)
        self._collect(wait=False)

    def _collect(self, *, wait: bool) -> None:
        for journal_id, (delivery, threads) in list(self._deliveries.items()):
            for thread in threads if wait else ():
                thread.join()
            if not any(thread.is_alive() for thread in threads):
                delivery.close()
                del self._deliveries[journal_id]

    def _is_over(self) -> bool:
        if self._deliveries:
            return False
        own = self._own
        return own is None or not own.path.exists() or own.journal_id in self._given_up

    # One lane's thread.

    def _run_lane(self, delivery: JournalDelivery, lane: Lane) -> None:
        try:
            self._follow(delivery, lane)
        except BaseException:  # a bug: it is not tried again and again, and its traceback is in the log
            self._given_up.add(delivery.folder.journal_id)
            raise

    def _follow(self, delivery: JournalDelivery, lane: Lane) -> None:
        blocked_since: float | None = None
        while not self._stop.is_set():
            progress = lane.advance()
            if progress is Progress.FINISHED:
                return
            if progress is Progress.BLOCKED:
                blocked_since = blocked_since or time.monotonic()
                if self._gives_up(delivery.folder, blocked_since):
                    self._given_up.add(delivery.folder.journal_id)
                    return
                self._stop.wait(max(0.0, lane.retry_at - time.monotonic()))
                continue
            blocked_since = None
            if progress is Progress.IDLE and self._hurry.is_set():
                self._given_up.add(delivery.folder.journal_id)
                return
            self._gather(delivery.folder, lane)

    def _gives_up(self, folder: JournalFolder, blocked_since: float) -> bool:
        if self._hurry.is_set():
            return True
        return not folder.writer_lives() and time.monotonic() - blocked_since > self._linger_s

    def _gather(self, folder: JournalFolder, lane: Lane) -> None:
        """Wait until a batch is worth sending: much to read, time passed, somebody waits, or the end."""
        deadline = time.monotonic() + GATHER_S
        while not self._stop.is_set() and time.monotonic() < deadline:
            if lane.has_much_to_read() or folder.flush_requested() or not folder.writer_lives():
                return
            self._stop.wait(POLL_S)


def is_left_behind(folder: JournalFolder) -> bool:
    """Tell whether the writer of a journal is dead."""
    return folder.path.exists() and not folder.writer_lives()


def deliver_now(
    root: Path,
    *,
    open_backend: Callable[[str], Backend],
    own: JournalFolder | None = None,
    deadline_s: float,
) -> None:
    """Deliver what is there in this thread: this process's own journal and those left behind.

    Journals that somebody else is delivering are left to them. Returns when nothing more can be delivered
    now, or at the deadline; what is left stays in the journals.
    """
    dead_letters = DeadLetters(root)
    deadline = time.monotonic() + deadline_s
    for folder in list(journals(root)):
        is_own = own is not None and folder.path == own.path
        if not is_own and not is_left_behind(folder):
            continue
        delivery = _open(folder, open_backend, dead_letters)
        if delivery is not None:
            _deliver_all(delivery, deadline)


def _open(
    folder: JournalFolder, open_backend: Callable[[str], Backend], dead_letters: DeadLetters
) -> JournalDelivery | None:
    """Lock a journal; one whose description is damaged stays where it is, and is reported."""
    try:
        return JournalDelivery.open(folder, open_backend=open_backend, dead_letters=dead_letters)
    except JournalCorrupt as error:
        dead_letters.add_damages(folder.journal_id, [Damage(0, 0, 0, 0, error.message)])
        return None


def _deliver_all(delivery: JournalDelivery, deadline: float) -> None:
    try:
        for lane in delivery.lanes:
            while time.monotonic() < deadline and lane.advance() is Progress.DELIVERED:
                pass
    finally:
        delivery.close()
