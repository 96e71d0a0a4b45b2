"""Delivering the journals of a project: whose turn it is, who may, and when it is over.

One service delivers the journal that it was made for, and adopts those whose writer is dead and which
nobody else delivers. Each journal has one thread for each destination, so that a destination that is down
delays only itself.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from trackbridge.delivery.backend import Backend
from trackbridge.delivery.dead_letters import DeadLetters
from trackbridge.delivery.lane import Lane, Progress
from trackbridge.errors import BridgeError, JournalCorrupt, JournalError
from trackbridge.journal.cursors import key_of
from trackbridge.journal.folder import JournalFolder, Lock, journals, sweep
from trackbridge.journal.reader import Damage
from trackbridge.journal.staging import staged_path

POLL_S = 0.05
"""How often a journal is looked at while its program lives."""
GATHER_S = 0.5
"""How long records gather into a batch, unless somebody waits for them."""
ASKED_S = 1.0
"""How long a destination that takes nothing is left alone, whoever waits for it."""
ADOPT_S = 2.0
"""How often a service looks for journals that were left behind."""
LINGER_S = 600.0
"""How long a service goes on trying after its program ended and the destination takes nothing.

Journals left behind that it gave up are tried again after as long, while its own program lives."""
ADOPTED_MAX = 8
"""How many journals left behind are delivered at a time: each takes a thread and some descriptors."""


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
            folder.staged.mkdir(exist_ok=True)  # copies of a journal lack empty folders
            return cls(folder, lock, open_backend=open_backend, dead_letters=dead_letters)
        except BaseException:
            lock.release()
            raise

    @property
    def finished(self) -> bool:
        """True once everything is delivered everywhere and the writer is dead."""
        return all(lane.finished for lane in self.lanes)

    def close(self) -> None:
        """Let go of the journal and its destinations; a journal that is finished is deleted.

        Raises:
            OSError: It is finished and cannot be deleted.
        """
        with contextlib.ExitStack() as last:
            last.callback(self._lock.release)
            for lane in self.lanes:
                last.callback(lane.close)
            if self.finished:
                self.folder.note_delivered()
                self.folder.remove()

    def _committed(self, lane: Lane, staged: list[str]) -> None:
        """Delete what no lane needs any more: segments, and staged files."""
        with self._state:
            for name in staged:
                self._let_go(lane, staged_path(self.folder.staged, name))
            needed = min(lane.cursor.position.segment for lane in self.lanes)
            for number in self.folder.segment_numbers():
                if number < needed:
                    self.folder.segment(number).unlink(missing_ok=True)

    def _let_go(self, lane: Lane, file: Path) -> None:
        """Delete a staged file when this lane was the last to need it, else note that it does not.

        The notes are empty files beside it, so that they hold when another process delivers the rest.
        """
        if not file.exists():
            return
        others = [_note(file, other) for other in self.lanes if other is not lane]
        if not all(note.exists() for note in others):
            _note(file, lane).touch()
            return
        for path in (file, *others):
            path.unlink(missing_ok=True)


def _note(file: Path, lane: Lane) -> Path:
    return file.with_name(f"{file.name}.{key_of(lane.cursor.destination)}")


class DeliveryService:
    """Delivers until stopped, or until there is nothing left to deliver.

    Args:
        root: The folder of journals.
        own: The journal that it was made for; the service ends once that is finished.
        open_backend: Opens a tracking URI for writing.
        adopt: Whether to deliver journals that were left behind, too.
        linger_s: See LINGER_S.
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
        self._is_hurried = False
        self._given_up: dict[str, float] = {}  # journal id -> when to try again (time.monotonic)
        self._deliveries: dict[str, tuple[JournalDelivery, list[threading.Thread]]] = {}

    def stop(self) -> None:
        """Stop soon, after the writes that are under way."""
        self._stop.set()
        for delivery, _ in list(self._deliveries.values()):
            for lane in delivery.lanes:
                lane.deadline = 0.0  # begins no further call of its window

    def hurry(self) -> None:
        """Deliver what is there, and end at the first obstacle."""
        self._is_hurried = True  # no event: a signal's handler calls this

    def run(self) -> None:
        """Deliver; return when stopped, or when nothing is left that can be delivered."""
        try:
            if self._adopt:
                sweep(self._root)
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
            if folder.journal_id in self._deliveries or self._is_given_up(folder):
                continue
            if sum(taken != self._own_id for taken in self._deliveries) >= ADOPTED_MAX:
                return
            try:
                self._take(folder)
            except (JournalError, OSError):  # it may be better the next time: a full disk, no descriptor left
                continue

    def _candidates(self) -> list[JournalFolder]:
        own = [self._own] if self._own is not None and self._own.is_described() else []
        others: list[JournalFolder] = []
        if self._adopt and not self._is_hurried:
            with contextlib.suppress(OSError):  # looked at again in ADOPT_S
                others = [folder for folder in journals(self._root) if folder.journal_id != self._own_id]
        return own + others

    @property
    def _own_id(self) -> str:
        return self._own.journal_id if self._own is not None else ""

    def _take(self, folder: JournalFolder) -> None:
        """Begin to deliver a journal, if it is ours to deliver; one with a damaged description never is."""
        if folder.journal_id != self._own_id and not is_left_behind(folder):
            return
        try:
            delivery = _open(folder, self._open_backend, self._dead_letters)
        except JournalCorrupt:
            if not folder.writer_lives():
                self._give_up(folder)
            return
        if delivery is not None:
            self._start(delivery)

    def _give_up(self, folder: JournalFolder) -> None:
        self._given_up[folder.journal_id] = time.monotonic() + self._linger_s

    def _is_given_up(self, folder: JournalFolder) -> bool:
        again_at = self._given_up.get(folder.journal_id)
        return again_at is not None and (self._own_is_over() or time.monotonic() < again_at)

    def _own_is_over(self) -> bool:
        own = self._own
        if own is None or self._is_hurried:
            return True
        return own.journal_id in self._given_up or not own.is_described()

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
        while time.monotonic() < deadline and not self._stop.is_set():
            if any(_is_done(threads) for _, threads in self._deliveries.values()):
                break
            self._stop.wait(POLL_S)
        self._collect(wait=False)

    def _collect(self, *, wait: bool) -> None:
        for journal_id, (delivery, threads) in list(self._deliveries.items()):
            for thread in threads if wait else ():
                thread.join()
            if _is_done(threads):
                del self._deliveries[journal_id]
                try:
                    delivery.close()
                except (BridgeError, OSError):  # everything is delivered, but the folder cannot be deleted
                    self._give_up(delivery.folder)

    def _is_over(self) -> bool:
        return not self._deliveries and self._own_is_over()

    # One lane's thread.

    def _run_lane(self, delivery: JournalDelivery, lane: Lane) -> None:
        try:
            while not self._stop.is_set():
                try:
                    self._follow(delivery, lane)
                    return
                except (JournalError, OSError):  # a look at the folder failed; it may be better in a while
                    self._stop.wait(ADOPT_S)
        except BaseException:  # a bug: it is not tried again and again, and its traceback is in the log
            self._give_up(delivery.folder)
            raise

    def _follow(self, delivery: JournalDelivery, lane: Lane) -> None:
        blocked_since: float | None = None
        while not self._stop.is_set():
            position = lane.cursor.position
            progress = lane.advance()
            if lane.cursor.position != position:
                blocked_since = None
            if progress is Progress.FINISHED:
                return
            if progress is Progress.BLOCKED:
                blocked_since = blocked_since or time.monotonic()
                if self._gives_up(delivery.folder, blocked_since):
                    self._give_up(delivery.folder)
                    return
                was_asked = self._pause(delivery.folder, lane)
                if was_asked and lane.is_refused and not delivery.folder.writer_lives():
                    self._give_up(delivery.folder)  # whoever asks may have better credentials
                    return
                continue
            blocked_since = None
            if progress is Progress.IDLE and self._is_hurried:
                self._give_up(delivery.folder)
                return
            self._gather(delivery.folder, lane)

    def _pause(self, folder: JournalFolder, lane: Lane) -> bool:
        """Wait until another try is worth it; True when somebody who waits ended it."""
        asked_at = max(lane.not_before, time.monotonic() + ASKED_S)
        while not self._stop.is_set() and not self._is_hurried:
            now = time.monotonic()
            if now >= lane.retry_at:
                return False
            if now >= asked_at and folder.flush_requested():
                return True
            self._stop.wait(min(POLL_S, lane.retry_at - now))
        return False

    def _gives_up(self, folder: JournalFolder, blocked_since: float) -> bool:
        if self._is_hurried:
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
    return folder.is_described() and not folder.writer_lives()


def _is_done(threads: list[threading.Thread]) -> bool:
    return not any(thread.is_alive() for thread in threads)


def deliver_now(
    root: Path,
    *,
    open_backend: Callable[[str], Backend],
    own: JournalFolder | None = None,
    deadline_s: float,
    destinations: frozenset[str] | None = None,
) -> None:
    """Deliver what is there in this thread: this process's own journal and those left behind.

    Journals that somebody else is delivering are left to them. Returns when nothing more can be delivered
    now, or at the deadline; what is left stays in the journals. No call of a backend begins after the
    deadline; how long one lasts is up to ``open_backend``.

    Args:
        root: The folder of journals.
        open_backend: Opens a tracking URI for writing.
        own: This process's own journal; others are delivered only once their writers are dead.
        deadline_s: Seconds from now.
        destinations: Deliver only to these; None for all.
    """
    dead_letters = DeadLetters(root)
    deadline = time.monotonic() + deadline_s
    for folder in list(journals(root)):
        if time.monotonic() >= deadline:
            return
        is_own = own is not None and folder.path == own.path
        if not is_own and not is_left_behind(folder):
            continue
        with contextlib.suppress(JournalError, OSError):  # one that cannot be had now is left where it is
            delivery = _open(folder, open_backend, dead_letters)
            if delivery is not None:
                _deliver_all(delivery, deadline, destinations)


def _open(
    folder: JournalFolder, open_backend: Callable[[str], Backend], dead_letters: DeadLetters
) -> JournalDelivery | None:
    """Lock a journal; None when somebody else delivers it, or it is gone.

    Raises:
        JournalCorrupt: Its description is damaged, which is now reported.
    """
    try:
        return JournalDelivery.open(folder, open_backend=open_backend, dead_letters=dead_letters)
    except JournalCorrupt as error:
        dead_letters.add_damages(folder.journal_id, [Damage(0, 0, 0, 0, error.message)])
        raise


def _deliver_all(delivery: JournalDelivery, deadline: float, destinations: frozenset[str] | None) -> None:
    try:
        for lane in sorted(delivery.lanes, key=_has_problem):  # a dead destination takes the time of the rest
            if destinations is None or lane.cursor.destination in destinations:
                lane.deadline = deadline
                while time.monotonic() < deadline and lane.advance() is Progress.DELIVERED:
                    pass
    finally:
        delivery.close()


def _has_problem(lane: Lane) -> bool:
    return lane.cursor.problem is not None
