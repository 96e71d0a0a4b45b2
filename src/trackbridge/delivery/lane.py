"""One journal on its way to one destination.

::

    read_window -> plan_steps -> Agenda -> as many at once as may be: Sender.run -> next
         ^                          |
         |                          +-- refused records: dead letters
         |                          +-- Transient: keep the rest, try again later
         +-- the next window, while this one is under way
    all steps of the first window done -> move the cursor

To a local store the steps go one after the other (``Sender.send``): it has one writer anyhow. After a failure
one call goes ahead alone; the others follow once it succeeds. When nothing has succeeded for CIRCUIT_S, that
is told once, kept with the cursor, and told again when it is over.

The cursor moves only when every record of a window is durable at the destination or lies in its dead
letters. What was under way when a process died is delivered again, which changes nothing; for a store that
would take points twice, the cursor says before how far records may have been sent, and these are read back.

The end of a journal: a run that its program left open is closed as KILLED, by one of the journals that have
it open. Each first stores ``drained`` in its cursor and looks at the others after that, so that of two that
end at once at least one sees that nobody else is left.

==========================  ========================================================================
this journal                what it does with a run that it left open
==========================  ========================================================================
created or resumed the run  ended in good order: leaves it open, on purpose. Killed: closes it, or leaves
                            it to those who live and have joined it, who inherit it
resumed the run, and a      leaves it to that one, which is a later attempt of the same job, wherever it runs:
later journal did, too      the run's tag ``bridge.job.journal`` names the newest
opened it for a client      leaves it to the client, who may be using another process by now
elsewhere (a gateway)
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
from enum import Enum

import msgspec

from trackbridge.delivery.agenda import Agenda
from trackbridge.delivery.announcements import Announcements
from trackbridge.delivery.attempts import is_overtaken
from trackbridge.delivery.backend import Backend
from trackbridge.delivery.circuit import Circuit
from trackbridge.delivery.crew import Crew, Outcome
from trackbridge.delivery.dead_letters import DeadLetters
from trackbridge.delivery.sending import PERMANENT, Errand, Refused, Sender, is_visit
from trackbridge.delivery.steps import BatchStep, ControlStep, Step
from trackbridge.delivery.windows import Work, has_much_after, read_work
from trackbridge.domain.records import ArtifactLogged, OpenMode, RunClosed, RunOpened
from trackbridge.domain.runs import RunStatus
from trackbridge.errors import AuthError, BridgeError, JournalCorrupt, JournalError, RateLimited
from trackbridge.journal.cursors import Cursor, load_cursor, store_cursor
from trackbridge.journal.folder import JournalFolder
from trackbridge.journal.reader import Position, is_before
from trackbridge.journal.staging import staged_path
from trackbridge.ports.capabilities import Feature

RETRY_S_MIN = 0.5
RETRY_S_MAX = 60.0
CALLS_AT_ONCE = 8
"""Calls under way to a destination that is not local, unless it declares fewer."""
WINDOWS_MAX = 2
"""Windows in memory for such a destination: the second is there when the first has no more to begin."""


class Progress(Enum):
    """What a call of ``Lane.advance`` came to."""

    DELIVERED = "delivered"
    IDLE = "idle"
    BLOCKED = "blocked"
    FINISHED = "finished"


class _OutOfTime(Exception):
    """The lane's deadline has passed; the rest is left for another time."""


_Taken = tuple[Work, Step, list[Refused]]


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
        self._was_begun = self.cursor.begun  # how far another lane may have sent records before
        # The cursor as it will be once all is committed that is done at the destination.
        self._draft = msgspec.structs.replace(self.cursor, open_runs=dict(self.cursor.open_runs))
        self._works: deque[Work] = deque()  # in the order of the journal
        self._agenda: Agenda[Work] = Agenda()  # what of them is sent at the same time
        self._taken: deque[_Taken] = deque()  # steps to be accounted for
        self._crew: Crew[Errand | Position, list[Errand] | Work] = Crew(self._do)
        self._circuit = Circuit(uri)
        self._is_reading = False  # one of the crew reads the next window
        self._reads_ahead = True
        self._is_probing = False  # after a failure, until something succeeds
        self._retry_s = RETRY_S_MIN
        self.retry_at = 0.0
        self.not_before = 0.0
        """Until when the destination asked to be left alone (``time.monotonic``), whoever waits."""
        self.is_refused = False
        """Whether the destination takes nothing because of who this process is."""
        self.deadline = math.inf
        """When to begin no further call (``time.monotonic``); ``advance`` then returns BLOCKED."""

    @property
    def finished(self) -> bool:
        """True once the writer is dead and everything is delivered."""
        return self.cursor.finished

    def has_much_to_read(self) -> bool:
        """Tell whether a whole window is waiting, so that nothing is gained by gathering more."""
        return has_much_after(self.folder, self.cursor.position)

    def advance(self, goes_on: Callable[[], bool] = lambda: True) -> Progress:
        """Deliver the next window and those that are read meanwhile, or finish what the last call left.

        Args:
            goes_on: Asked, while windows are under way, whether to read another one.

        Returns:
            BLOCKED means that the destination does not take anything now; ``cursor.problem`` says why and
            ``retry_at`` (``time.monotonic``) when to try again.
        """
        if self.cursor.finished:
            return Progress.FINISHED
        try:
            return self._advance(goes_on)
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

    def _advance(self, goes_on: Callable[[], bool]) -> Progress:
        if not self._works:
            self._take_up(read_work(self.folder, self.cursor.position))
        first = self._works[0]
        was_empty = first.is_empty and first.position == self.cursor.position
        if was_empty and not first.is_last and self.cursor.problem is None:
            self._works.clear()
            return Progress.IDLE
        if any(work.left for work in self._works):
            self._deliver(goes_on)
        for work in list(self._works):
            if work.is_last:
                self._finish(work)
            self._commit(work)
        if self.cursor.finished:
            return Progress.FINISHED
        return Progress.IDLE if was_empty else Progress.DELIVERED

    def _take_up(self, work: Work) -> None:
        """Take a window that was read; what cannot be read of it is reported."""
        journal = self.folder.journal_id
        if work.damages:
            self._dead_letters.add_damages(journal, work.damages)
        if work.undecodable:
            reason = "this version of trackbridge cannot read the record"
            self._keep([(sequence, "", "unknown", reason, body) for sequence, body in work.undecodable])
        before = self._works[-1].delivered if self._works else self.cursor.delivered
        work.delivered = before + work.records
        self._works.append(work)

    def _store(self, cursor: Cursor) -> None:
        store_cursor(self.folder, cursor)
        self.cursor = cursor

    def _cursor_after(self, work: Work) -> Cursor:
        return msgspec.structs.replace(
            self._draft,
            position=work.position,
            begun=self.cursor.begun,
            open_runs=dict(self._draft.open_runs),
            delivered=work.delivered,
            problem=None,
            failing_since_ms=None,
        )

    def _commit(self, work: Work) -> None:
        """Move the cursor behind the first window."""
        self._store(self._cursor_after(work))
        self._works.popleft()
        self._news.tell(work.records)
        self._on_commit(self, work.staged)

    def _succeed(self) -> None:
        """Take account of a call that the destination has answered."""
        self._is_probing = self.is_refused = False
        self._retry_s = RETRY_S_MIN
        self._circuit.succeed()

    def _block(self, error: BridgeError) -> None:
        asked_s = _asked_s(error)
        wait_s = max(self._retry_s, asked_s)
        self._retry_s = min(self._retry_s * 2, RETRY_S_MAX)
        self._is_probing = True
        self.is_refused = isinstance(error, AuthError) or isinstance(error.__cause__, AuthError)
        now = time.monotonic()
        self.retry_at, self.not_before = now + wait_s, now + asked_s
        problem = self._circuit.fail(f"{type(error).__name__}: {error}")
        if problem != self.cursor.problem:
            cursor = msgspec.structs.replace(
                self.cursor, problem=problem, failing_since_ms=self._circuit.failing_since_ms
            )
            with contextlib.suppress(OSError):  # a full disk: it is told when there is room
                self._store(cursor)

    # Steps.

    def _begin(self, work: Work) -> bool:
        """Note that a window is about to be sent; return whether it may have been sent before."""
        begun = self.cursor.begun
        dedups = self._backend().capabilities.supports(Feature.TRACKING_METRIC_DEDUP)
        if not dedups and (begun is None or is_before(begun, work.position)):
            self._store(msgspec.structs.replace(self.cursor, begun=work.position))
        return self._was_begun is not None and is_before(work.start, self._was_begun)

    def _deliver(self, goes_on: Callable[[], bool]) -> None:
        """Send the steps of the windows."""
        capabilities = self._backend().capabilities
        if capabilities.is_local:
            self._deliver_in_order(self._works[0])
            return
        calls_max = min(CALLS_AT_ONCE, capabilities.limits.calls_at_once_max or CALLS_AT_ONCE)
        self._deliver_together(calls_max, goes_on)

    def _deliver_in_order(self, work: Work) -> None:
        self._sender.is_repeating = self._begin(work)
        while work.steps:
            self._account(work, work.steps[0], self._sender.send(work.steps[0]))
            work.steps.popleft()
            self._succeed()

    def _deliver_together(self, calls_max: int, goes_on: Callable[[], bool]) -> None:
        """Send steps at the same time. When one fails, those under way are waited for, and no more begun.

        Windows are committed as they are done, and others read, while steps are under way.
        """
        self._reads_ahead = True
        failure = self._settle()
        while True:
            if failure is None:
                self._set_to_work(calls_max, goes_on)
            if not self._crew.busy:
                break
            failure = _graver(failure, self._take_in(self._crew.wait()))
        if failure is not None:
            raise failure

    def _set_to_work(self, calls_max: int, goes_on: Callable[[], bool]) -> None:
        """Begin as many calls as may be under way, and to read the next window."""
        crew, most = self._crew, 1 if self._is_probing else calls_max
        while self._agenda and crew.busy - self._is_reading < most:
            crew.begin(self._agenda.take())
        if self._may_read_ahead() and goes_on():
            self._is_reading = True
            crew.begin(self._works[-1].position if self._works else self.cursor.position)

    def _may_read_ahead(self) -> bool:
        if self._is_reading or not self._reads_ahead or len(self._works) >= WINDOWS_MAX or self._is_probing:
            return False
        position = self.cursor.position
        if self._works:
            if self._works[-1].is_last:
                return False
            position = self._works[-1].position
        return has_much_after(self.folder, position) or not self.folder.writer_lives()

    def _do(self, job: Errand | Position) -> list[Errand] | Work:
        """Do one job of the crew's, on any thread."""
        return read_work(self.folder, job) if isinstance(job, Position) else self._sender.run(job)

    def _take_in(self, ended: Outcome[Errand | Position, list[Errand] | Work]) -> BaseException | None:
        """Take account of a job that has ended; return what it, or accounting for it, failed with."""
        if isinstance(ended.job, Position):
            self._is_reading = False
            return ended.error or self._settle(ended.result if isinstance(ended.result, Work) else None)
        if ended.error is not None:
            self._agenda.put_back(ended.job)
            return ended.error
        self._succeed()
        done = self._agenda.finish(ended.job, ended.result if isinstance(ended.result, list) else ())
        self._taken.extend([done] if done else [])
        return self._settle()

    def _settle(self, read: Work | None = None) -> BaseException | None:
        """Account for steps and windows that are done, and plan others; return why that cannot be now."""
        try:
            while self._taken:
                self._account(*self._taken[0])
                self._taken.popleft()
            while self._works and not self._works[0].left and not self._works[0].is_last:
                self._commit(self._works[0])
            if read is not None and read.is_empty and not read.is_last:
                self._reads_ahead = False  # a record is being written: it is read once there is more
            elif read is not None:
                self._take_up(read)
            for work in self._works:
                if work.steps:
                    self._agenda.add(work.steps, work, is_repeating=self._begin(work))
                    work.steps = deque()
        except (BridgeError, OSError, _OutOfTime) as error:
            return error
        return None

    def _account(self, work: Work, step: Step, refused: list[Refused]) -> None:
        self._bury(refused)
        self._note(step)
        if isinstance(step, ControlStep) and isinstance(step.record, ArtifactLogged):
            work.staged.append(step.record.staged)
        work.left -= 1
        if not self._is_unsaid(step):
            self._news.note(step, refused)

    def _is_unsaid(self, step: Step) -> bool:
        """Tell whether a step said of a run's end what is a later attempt's to say."""
        is_end = isinstance(step, ControlStep) and isinstance(step.record, RunClosed)
        return is_end and step.record.run_id in self._sender.overtaken  # type: ignore[union-attr]

    def _note(self, step: Step) -> None:
        """Keep account of open runs. Steps of one run come in the order of the journal."""
        open_runs = self._draft.open_runs
        if isinstance(step, BatchStep):
            run_id = step.batch.run_id
            if run_id in open_runs:
                open_runs[run_id] = max(open_runs[run_id], step.last_ms)
        elif isinstance(step.record, RunOpened):
            self._note_opened(step.record)
        elif isinstance(step.record, RunClosed):
            open_runs.pop(step.record.run_id, None)

    def _note_opened(self, record: RunOpened) -> None:
        if is_visit(record) or record.is_of_client:
            return
        joined = self._draft.joined_runs
        if record.how is not OpenMode.JOIN:
            joined -= {record.run_id}
        elif record.run_id not in self._draft.open_runs:
            joined |= {record.run_id}
        self._draft.open_runs[record.run_id] = record.start_time
        self._draft = msgspec.structs.replace(self._draft, joined_runs=joined)

    def _backend(self) -> Backend:
        """Return the opened destination; the sender asks before each of its calls."""
        if time.monotonic() > self.deadline:
            raise _OutOfTime
        if self._opened is None:
            self._opened = self._open_backend(self.cursor.destination)
        return self._opened

    def _bury(self, refused: list[Refused]) -> None:
        """Keep records, and the files that belong to them, as dead letters."""
        if not refused:
            return
        for item in refused:
            if isinstance(item.record, ArtifactLogged):
                staged = staged_path(self.folder.staged, item.record.staged)
                self._dead_letters.keep_file(self.folder.journal_id, staged)
        self._keep(
            [
                (
                    item.sequence,
                    getattr(item.record, "run_id", ""),
                    type(item.record).__name__,
                    item.reason,
                    msgspec.msgpack.encode(item.record),
                )
                for item in refused
            ]
        )

    def _keep(self, letters: list[tuple[int, str, str, str, bytes]]) -> None:
        added = self._dead_letters.add(self.cursor.destination, self.folder.journal_id, letters)
        self._draft = msgspec.structs.replace(self._draft, rejected=self._draft.rejected + added)

    # The end of a journal.

    def _finish(self, work: Work) -> None:
        """See to the runs that are left open, after telling the other journals that this one is drained."""
        self._draft = msgspec.structs.replace(self._draft, drained=True)
        self._store(self._cursor_after(work))
        for run_id, last_ms in self.cursor.open_runs.items():
            if self._is_to_be_closed(run_id, is_joined=run_id in self.cursor.joined_runs):
                self._close_as_killed(run_id, last_ms)
        self._draft = msgspec.structs.replace(self._draft, finished=True)

    def _is_to_be_closed(self, run_id: str, *, is_joined: bool) -> bool:
        """Tell whether nobody is left who answers for the run, and its end is not known."""
        if not is_joined and self.folder.was_closed():
            return False
        others = self._sender.other_journals()
        if not is_joined and any(self._takes_over(other, run_id) for other in others):
            return False
        others = [other for other in others if self._has(other, run_id)]
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
        return (other.has_open(run_id) or other.creates(run_id)) and self._is_coming(other)

    def _takes_over(self, other: JournalFolder, run_id: str) -> bool:
        """Tell whether a later journal, still to be delivered, has taken the run up and says how it ends."""
        is_later = other.journal_id > self.folder.journal_id
        return is_later and other.resumes(run_id) and self._is_coming(other)

    def _is_coming(self, other: JournalFolder) -> bool:
        """Tell whether another journal is still to be delivered to this destination."""
        try:
            is_for_here = self.cursor.destination in other.describe().destinations
        except JournalCorrupt:
            return False
        return is_for_here and not load_cursor(other, self.cursor.destination).drained

    def _close_as_killed(self, run_id: str, last_ms: int) -> None:
        tracking = self._backend().tracking
        # Its opening was rejected, or somebody deleted it: then there is nothing to close.
        with contextlib.suppress(*PERMANENT):
            run = tracking.get_run(run_id)
            if not run.info.status.is_final and not is_overtaken(run, self.folder.journal_id):
                tracking.close_run(run_id, status=RunStatus.KILLED, end_time=last_ms)
                self._news.note_closed(run_id, RunStatus.KILLED, last_ms)


def _graver(first: BaseException | None, second: BaseException | None) -> BaseException | None:
    """Return which of two failures to raise: a bug before what goes away by itself, else the first."""
    is_expected = second is None or isinstance(second, (BridgeError, OSError, _OutOfTime))
    return second if first is None or not is_expected else first


def _asked_s(error: BridgeError) -> float:
    """Return how long the destination asks us to wait, 0 when it does not."""
    limited = error if isinstance(error, RateLimited) else error.__cause__
    asked_s = limited.retry_after_s if isinstance(limited, RateLimited) else None
    return asked_s if asked_s is not None and math.isfinite(asked_s) else 0.0
