"""Delivery by hand (``bridge sync run``): what no program's own delivery is seeing to.

A journal that nobody else delivers is taken, whether its writer lives (with ``BRIDGE_DELIVERY=off``) or is
dead. What another process delivers is asked to hurry, and waited for.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from trackbridge.delivery.backend import Backend
from trackbridge.delivery.dead_letters import DeadLetters
from trackbridge.delivery.lane import Lane, Progress
from trackbridge.delivery.service import JournalDelivery
from trackbridge.delivery.status import last_sequence
from trackbridge.errors import JournalCorrupt, JournalError
from trackbridge.journal.cursors import load_cursor
from trackbridge.journal.folder import JournalFolder, journals
from trackbridge.journal.format import FORMAT
from trackbridge.journal.reader import Damage

_POLL_S = 0.05
_ASK_S = 1.0
"""How often other processes are asked: one of several destinations may take a request for itself."""
OTHERS_WAIT_S = 10.0
"""How long to wait for what other processes are delivering."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """Records of a journal that a destination still gets, and why it has not got them."""

    journal: str
    destination: str
    pending: int
    why: str


class _Goal:
    """A journal, and the sequence that counts as everything: the last one when this was made.

    Raises:
        JournalError: The journal cannot be read.
    """

    def __init__(self, folder: JournalFolder) -> None:
        self.folder = folder
        self.destinations = folder.describe().destinations
        self.sequence = last_sequence(folder)
        self.begun = {uri: self.pending(uri) for uri in self.destinations}

    def pending(self, uri: str) -> int:
        """Return how many records the destination still gets."""
        if not self.folder.path.exists():  # delivered everywhere and deleted
            return 0
        cursor = load_cursor(self.folder, uri)
        return 0 if cursor.finished else max(0, self.sequence - cursor.position.sequence)

    def is_reached(self, uri: str) -> bool:
        """Tell whether nothing is left to do; with a dead writer its open runs are closed, too."""
        if not self.folder.path.exists() or load_cursor(self.folder, uri).finished:
            return True
        return self.pending(uri) == 0 and self.folder.writer_lives()


class HandDelivery:
    """Delivers the journals below a folder, as far as they were written when this was made.

    Args:
        root: The folder of journals.
        open_backend: Opens a tracking URI for writing; each is opened once.
        destinations: Where journals go whose description is damaged. None leaves them alone.
    """

    def __init__(
        self,
        root: Path,
        *,
        open_backend: Callable[[str], Backend],
        destinations: tuple[str, ...] | None = None,
    ) -> None:
        self._open_backend = open_backend
        self._backends: dict[str, Backend] = {}
        self._dead_letters = DeadLetters(root)
        self._unreadable: dict[str, str] = {}
        self._goals: list[_Goal] = []
        for folder in journals(root):
            self._add_goal(folder, destinations)

    @property
    def total(self) -> int:
        """Records that destinations were to get at the start, together."""
        return sum(pending for goal in self._goals for pending in goal.begun.values())

    def delivered(self) -> int:
        """Return how many of these are delivered or rejected by now."""
        return self.total - sum(goal.pending(uri) for goal in self._goals for uri in goal.destinations)

    def run(
        self,
        on_progress: Callable[[int], None] = lambda delivered: None,
        *,
        others_wait_s: float = OTHERS_WAIT_S,
    ) -> list[Left]:
        """Deliver until everything is, or nothing more can be; return what is left.

        A destination that takes nothing now is tried once, with the retries of its calls.

        Args:
            on_progress: Called with ``delivered()`` now and then.
            others_wait_s: How long to wait for what other processes are delivering.
        """
        try:
            others = [goal for goal in self._goals if not self._deliver(goal, on_progress)]
            self._wait_for(others, time.monotonic() + others_wait_s, on_progress)
            return self._left()
        finally:
            for backend in self._backends.values():
                backend.close()
            self._backends.clear()

    def _wait_for(self, others: list[_Goal], deadline: float, on_progress: Callable[[int], None]) -> None:
        """Ask other processes to deliver, and take what one of them lets go of because it may not."""
        pause, asked_at = threading.Event(), 0.0
        while any(_is_open(goal) for goal in others) and (now := time.monotonic()) < deadline:
            if now >= asked_at:
                asked_at = now + _ASK_S
                others = [goal for goal in others if not self._deliver(goal, on_progress)]
                for goal in others:
                    goal.folder.request_flush()
            pause.wait(_POLL_S)
            on_progress(self.delivered())

    def _add_goal(self, folder: JournalFolder, destinations: tuple[str, ...] | None) -> None:
        try:
            self._goals.append(_Goal(folder))
        except JournalCorrupt as error:
            if not folder.is_described():  # delivered meanwhile, and on its way out
                return
            if destinations and not folder.writer_lives():
                _describe_anew(folder, destinations)
                self._goals.append(_Goal(folder))
                return
            self._dead_letters.add_damages(folder.journal_id, [Damage(0, 0, 0, 0, error.message)])
            self._unreadable[folder.journal_id] = f"{error.message}; {error.hint}"
        except JournalError as error:
            self._unreadable[folder.journal_id] = error.message

    def _deliver(self, goal: _Goal, on_progress: Callable[[int], None]) -> bool:
        """Deliver one journal; False when another process has it."""
        delivery = JournalDelivery.open(
            goal.folder, open_backend=self._backend, dead_letters=self._dead_letters
        )
        if delivery is None:
            return not _is_open(goal)
        try:
            for lane in delivery.lanes:

                def goes_on(lane: Lane = lane) -> bool:
                    on_progress(self.delivered())
                    return not _is_enough(lane, goal)

                while goes_on() and lane.advance(goes_on) is Progress.DELIVERED:
                    pass
                on_progress(self.delivered())
        finally:
            delivery.close()
        return True

    def _backend(self, uri: str) -> Backend:
        if uri not in self._backends:
            self._backends[uri] = self._open_backend(uri)
        return replace(self._backends[uri], close=lambda: None)  # other journals go there, too

    def _left(self) -> list[Left]:
        found = [
            Left(journal=journal, destination="", pending=0, why=why)
            for journal, why in self._unreadable.items()
        ]
        for goal in self._goals:
            for uri in goal.destinations:
                if not goal.is_reached(uri):
                    why = load_cursor(goal.folder, uri).problem or "another process is delivering it"
                    pending = goal.pending(uri)
                    found.append(
                        Left(journal=goal.folder.journal_id, destination=uri, pending=pending, why=why)
                    )
        return found


def _is_open(goal: _Goal) -> bool:
    return not all(goal.is_reached(uri) for uri in goal.destinations)


def _is_enough(lane: Lane, goal: _Goal) -> bool:
    """Tell whether to stop: a living writer is not run after."""
    return lane.cursor.position.sequence >= goal.sequence and goal.folder.writer_lives()


def _describe_anew(folder: JournalFolder, destinations: tuple[str, ...]) -> None:
    """Replace a damaged description by what somebody says of the journal."""
    content = {
        "format": FORMAT,
        "destinations": destinations,
        "pid": 0,
        "host": "",
        "created_ms": folder.last_written_ms(),
    }
    draft = folder.path / "journal.draft"
    draft.write_text(json.dumps(content), encoding="utf-8")
    draft.replace(folder.path / "journal.json")
