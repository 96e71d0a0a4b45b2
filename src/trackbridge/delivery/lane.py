"""One journal on its way to one destination.

::

    read_window -> plan_steps -> Agenda -> as many at once as may be: Sender.run -> next
                                                |
                                                +-- refused records: dead letters
                                                +-- Transient: keep the rest, try again later
    all steps done -> move the cursor

To a local store the steps go one after the other (``Sender.send``): it has one writer anyhow. After a failure
one call goes ahead alone; the others follow once it succeeds. When nothing has succeeded for CIRCUIT_S, that
is told once, kept with the cursor, and told again when it is over.

The cursor moves only when every record of a window is durable at the destination or lies in its dead
letters. What was under way when a process died is delivered again, which changes nothing.

The end of a journal: a run that its program left open is closed as KILLED, by one of the journals that have
it open. Each first stores ``drained`` in its cursor and looks at the others after that, so that of two that
end at once at least one sees that nobody else is left.

==========================  ========================================================================
this journal                what it does with a run that it left open
==========================  ========================================================================
created or resumed the run  ended in good order: leaves it open, on purpose. Killed: closes it, or leaves
                            it to those who live and have joined it, who inherit it
joined it (a fork)          leaves it to any other that has it; to nobody: closes it, unless it ended in
                            good order and has not inherited it
==========================  ========================================================================
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import msgspec

from trackbridge.delivery.agenda import Agenda
from trackbridge.delivery.announcements import Announcements
from trackbridge.delivery.backend import Backend
from trackbridge.delivery.circuit import Circuit
from trackbridge.delivery.crew import Crew
from trackbridge.delivery.dead_letters import DeadLetters
from trackbridge.delivery.sending import PERMANENT, Errand, Refused, Sender, is_visit
from trackbridge.delivery.steps import BatchStep, Step, plan_steps
from trackbridge.domain.records import ArtifactLogged, OpenMode, RunClosed, RunOpened
from trackbridge.domain.runs import RunStatus
from trackbridge.errors import BridgeError, JournalCorrupt, JournalError, RateLimited
from trackbridge.journal.cursors import Cursor, load_cursor, store_cursor
from trackbridge.journal.folder import JournalFolder
from trackbridge.journal.reader import WINDOW_BYTES, read_window

RETRY_S_MIN = 0.5
RETRY_S_MAX = 60.0
CALLS_AT_ONCE = 8
"""Calls under way to a destination that is not local, unless it declares fewer."""
REMOTE_WINDOW_BYTES = 2 * WINDOW_BYTES
"""Read at once for such a destination: between two windows nothing is under way for the time of a call."""


class Progress(Enum):
    """What a call of ``Lane.advance`` came to."""

    DELIVERED = "delivered"
    IDLE = "idle"
    BLOCKED = "blocked"
    FINISHED = "finished"


class _OutOfTime(Exception):
    """The lane's deadline has passed; the rest is left for another time."""


@dataclass(slots=True)
class _Work:
    """Steps of one window that are not delivered yet, and the cursor once they are."""

    steps: deque[Step]
    cursor: Cursor
    is_last: bool  # the writer was dead before the window was read, and nothing follows it
    records: int
    staged: list[str] = field(default_factory=list)
    agenda: Agenda | None = None  # takes the steps over when they are sent several at once
    taken: deque[tuple[Step, list[Refused]]] = field(default_factory=deque)  # steps to be accounted for


class Lane:
    """Delivers one journal to one destination; used by one thread at a time.

    Args:
        folder: The journal, whose delivery lock the caller holds.
        uri: The destination, as the journal names it.
        open_backend: Opens it; asked again after a failure.
        dead_letters: Where rejected records go.
        on_commit: Called with the names of staged files that this lane no longer needs.
    """

    def __init__(
        self,
        folder: JournalFolder,
        uri: str,
        *,
        open_backend: Callable[[str], Backend],
        dead_letters: DeadLetters,
        on_commit: Callable[[Lane, list[str]], None] = lambda lane, staged: None,
    ) -> None:
        self.folder = folder
        self.cursor = load_cursor(folder, uri)
        self._open_backend = open_backend
        self._dead_letters = dead_letters
        self._on_commit = on_commit
        self._opened: Backend | None = None
        self._sender = Sender(
            self._backend,
            root=folder.path.parent,
            journal_id=folder.journal_id,
            staged=folder.staged,
            scratch=folder.staged,
            registers=uri == folder.describe().destinations[0],
        )
        self._news = Announcements(uri, folder.journal_id)
        self._work: _Work | None = None
        self._crew: Crew[Errand, list[Errand]] = Crew(self._sender.run)
        self._circuit = Circuit(uri)
        self._is_probing = False  # after a failure, until something succeeds
        self._retry_s = RETRY_S_MIN
        self.retry_at = 0.0
        self.deadline = math.inf
        """When to begin no further call (``time.monotonic``); ``advance`` then returns BLOCKED."""

    @property
    def finished(self) -> bool:
        """True once the writer is dead and everything is delivered."""
        return self.cursor.finished

    def has_much_to_read(self) -> bool:
        """Tell whether a whole window is waiting, so that nothing is gained by gathering more."""
        position = self.cursor.position
        try:
            size = self.folder.segment(position.segment).stat().st_size
        except FileNotFoundError:  # before the first window, or after the end
            return position.segment == 0
        return size - position.offset >= WINDOW_BYTES or self.folder.segment(position.segment + 1).exists()

    def advance(self) -> Progress:
        """Deliver the next window, or finish what the last call left.

        Returns:
            BLOCKED means that the destination does not take anything now; ``cursor.problem`` says why and
            ``retry_at`` (``time.monotonic``) when to try again.
        """
        if self.cursor.finished:
            return Progress.FINISHED
        try:
            return self._advance()
        except _OutOfTime:
            pass
        except BridgeError as error:
            self._block(error)
        except OSError as error:
            hint = "free disk space, and see that the folder is writable; delivery tries again by itself"
            self._block(JournalError(f"the journal's folder fails: {error}", hint=hint))
        return Progress.BLOCKED

    def close(self) -> None:
        """Let go of the destination; ``advance`` would open it again."""
        self._crew.close()
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _advance(self) -> Progress:
        if self._work is None:
            self._work = self._read()
        work = self._work
        was_empty = not work.records and work.cursor.position == self.cursor.position
        if work.agenda is not None or (work.steps and self._calls_at_once() > 1):
            self._deliver_together(work)
        while work.steps:
            self._account(work.steps[0], self._sender.send(work.steps[0]), work)
            work.steps.popleft()
            self._succeed()
        if work.is_last:
            self._finish(work)
        elif was_empty and self.cursor.problem is None:
            self._work = None
            return Progress.IDLE
        self._commit(work)
        if self.cursor.finished:
            return Progress.FINISHED
        return Progress.IDLE if was_empty else Progress.DELIVERED

    def _read(self) -> _Work:
        writer_lives = self.folder.writer_lives()  # before reading: see read_window
        bytes_max = WINDOW_BYTES
        if self._opened is not None and not self._opened.capabilities.is_local:
            bytes_max = REMOTE_WINDOW_BYTES
        window = read_window(
            self.folder, self.cursor.position, writer_lives=writer_lives, bytes_max=bytes_max
        )
        journal = self.folder.journal_id
        if window.damages:
            self._dead_letters.add_damages(journal, window.damages)
        rejected = 0
        if window.undecodable:
            reason = "this version of trackbridge cannot read the record"
            items = [(sequence, "", "unknown", reason, body) for sequence, body in window.undecodable]
            rejected = self._dead_letters.add(self.cursor.destination, journal, items)
        cursor = msgspec.structs.replace(
            self.cursor,
            position=window.position,
            open_runs=dict(self.cursor.open_runs),
            delivered=self.cursor.delivered + len(window.records),
            rejected=self.cursor.rejected + rejected,
            problem=None,
            failing_since_ms=None,
        )
        is_last = window.at_end and not writer_lives
        return _Work(deque(plan_steps(window.records)), cursor, is_last, len(window.records))

    def _store(self, cursor: Cursor) -> None:
        store_cursor(self.folder, cursor)
        self.cursor = cursor

    def _commit(self, work: _Work) -> None:
        self._store(work.cursor)
        self._news.tell(work.records)
        self._work = None
        self._sender.is_repeating = False
        self._on_commit(self, work.staged)

    def _succeed(self) -> None:
        """Take account of a call that the destination has answered."""
        self._is_probing = False
        self._retry_s = RETRY_S_MIN
        self._circuit.succeed()

    def _block(self, error: BridgeError) -> None:
        wait_s = max(self._retry_s, _asked_s(error))
        self._retry_s = min(self._retry_s * 2, RETRY_S_MAX)
        self._is_probing = True
        self.retry_at = time.monotonic() + wait_s
        problem = self._circuit.fail(f"{type(error).__name__}: {error}")
        if problem != self.cursor.problem:
            cursor = msgspec.structs.replace(
                self.cursor, problem=problem, failing_since_ms=self._circuit.failing_since_ms
            )
            with contextlib.suppress(OSError):  # a full disk: it is told when there is room
                self._store(cursor)

    # Steps.

    def _calls_at_once(self) -> int:
        """Return how many calls may be under way; this opens the destination, in one thread."""
        capabilities = self._backend().capabilities
        if capabilities.is_local:
            return 1
        return min(CALLS_AT_ONCE, capabilities.limits.calls_at_once_max or CALLS_AT_ONCE)

    def _deliver_together(self, work: _Work) -> None:
        """Send steps at the same time. When one fails, those under way are waited for, and no more begun."""
        at_once = self._calls_at_once()
        if work.agenda is None:
            work.agenda = Agenda(work.steps, is_repeating=self._sender.is_repeating)
            work.steps = deque()
        agenda, crew = work.agenda, self._crew
        failure = self._account_for_taken(work)
        while True:
            while failure is None and agenda and crew.busy < (1 if self._is_probing else at_once):
                crew.begin(agenda.take())
            if not crew.busy:
                break
            ended = crew.wait()
            if ended.error is None:
                self._succeed()
                step = agenda.finish(ended.job, ended.result or ())
                work.taken.extend([step] if step else [])
                failure = failure or self._account_for_taken(work)
            else:
                agenda.put_back(ended.job)
                failure = _graver(failure, ended.error)
        if failure is not None:
            raise failure

    def _account_for_taken(self, work: _Work) -> BaseException | None:
        """Account for steps that are done; return why that cannot be stored now."""
        try:
            while work.taken:
                step, refused = work.taken[0]
                self._account(step, refused, work)
                work.taken.popleft()
        except (BridgeError, OSError) as error:
            return error
        return None

    def _account(self, step: Step, refused: list[Refused], work: _Work) -> None:
        self._bury(refused, work)
        self._note(step, work)
        self._news.note(step, refused)

    def _note(self, step: Step, work: _Work) -> None:
        """Keep account of open runs, and of staged files that are no longer needed."""
        open_runs = work.cursor.open_runs
        if isinstance(step, BatchStep):
            run_id = step.batch.run_id
            if run_id in open_runs:
                open_runs[run_id] = max(open_runs[run_id], step.last_ms)
        elif isinstance(step.record, RunOpened):
            self._note_opened(step.record, work)
        elif isinstance(step.record, RunClosed):
            open_runs.pop(step.record.run_id, None)
        elif isinstance(step.record, ArtifactLogged):
            work.staged.append(step.record.staged)

    def _note_opened(self, record: RunOpened, work: _Work) -> None:
        if is_visit(record):
            return
        joined = work.cursor.joined_runs
        if record.how is not OpenMode.JOIN:
            joined -= {record.run_id}
        elif record.run_id not in work.cursor.open_runs:
            joined |= {record.run_id}
        work.cursor.open_runs[record.run_id] = record.start_time
        work.cursor = msgspec.structs.replace(work.cursor, joined_runs=joined)

    def _backend(self) -> Backend:
        """Return the opened destination; the sender asks before each of its calls."""
        if time.monotonic() > self.deadline:
            raise _OutOfTime
        if self._opened is None:
            self._opened = self._open_backend(self.cursor.destination)
        return self._opened

    def _bury(self, refused: list[Refused], work: _Work) -> None:
        """Keep records, and the files that belong to them, as dead letters."""
        if not refused:
            return
        journal = self.folder.journal_id
        for item in refused:
            if isinstance(item.record, ArtifactLogged):
                self._dead_letters.keep_file(journal, self.folder.staged / item.record.staged)
        items = [
            (
                item.sequence,
                getattr(item.record, "run_id", ""),
                type(item.record).__name__,
                item.reason,
                msgspec.msgpack.encode(item.record),
            )
            for item in refused
        ]
        added = self._dead_letters.add(self.cursor.destination, journal, items)
        work.cursor = msgspec.structs.replace(work.cursor, rejected=work.cursor.rejected + added)

    # The end of a journal.

    def _finish(self, work: _Work) -> None:
        """See to the runs that are left open, after telling the other journals that this one is drained."""
        work.cursor = msgspec.structs.replace(work.cursor, drained=True)
        self._store(work.cursor)
        for run_id, last_ms in work.cursor.open_runs.items():
            if self._is_to_be_closed(run_id, is_joined=run_id in work.cursor.joined_runs):
                self._close_as_killed(run_id, last_ms)
        work.cursor = msgspec.structs.replace(work.cursor, finished=True)

    def _is_to_be_closed(self, run_id: str, *, is_joined: bool) -> bool:
        """Tell whether nobody is left who answers for the run, and its end is not known."""
        if not is_joined and self.folder.was_closed():
            return False
        others = [other for other in self._sender.other_journals() if self._has(other, run_id)]
        if not is_joined:
            others = [other for other in others if other.writer_lives()]
        if not is_joined or self.folder.inherits(run_id):
            for other in others:
                other.mark_inherited(run_id)
        if any(self._has(other, run_id) for other in others):  # after marking: one may have gone meanwhile
            return False
        return not self.folder.was_closed() or self.folder.inherits(run_id)

    def _has(self, other: JournalFolder, run_id: str) -> bool:
        """Tell whether another journal created the run or has it open, and is still to be delivered."""
        if not other.has_open(run_id) and not other.creates(run_id):
            return False
        try:
            is_for_here = self.cursor.destination in other.describe().destinations
        except JournalCorrupt:
            return False
        return is_for_here and not load_cursor(other, self.cursor.destination).drained

    def _close_as_killed(self, run_id: str, last_ms: int) -> None:
        tracking = self._backend().tracking
        # Its opening was rejected, or somebody deleted it: then there is nothing to close.
        with contextlib.suppress(*PERMANENT):
            if not tracking.get_run(run_id).info.status.is_final:
                tracking.close_run(run_id, status=RunStatus.KILLED, end_time=last_ms)
                self._news.note_closed(run_id, RunStatus.KILLED, last_ms)


def _graver(first: BaseException | None, second: BaseException) -> BaseException:
    """Return which of two failures to raise: a bug before what goes away by itself, else the first."""
    is_expected = isinstance(second, (BridgeError, _OutOfTime))
    return second if first is None or not is_expected else first


def _asked_s(error: BridgeError) -> float:
    """Return how long the destination asks us to wait, 0 when it does not."""
    limited = error if isinstance(error, RateLimited) else error.__cause__
    asked_s = limited.retry_after_s if isinstance(limited, RateLimited) else None
    return asked_s if asked_s is not None and math.isfinite(asked_s) else 0.0
