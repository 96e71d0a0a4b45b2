"""One journal on its way to one destination.

::

    read_window -> plan_steps -> for each step: fit -> write -> receipt -> next
                                                 |        |
                                                 |        +-- Rejected: halve until the record is found
                                                 |        +-- Transient: keep the rest, try again later
                                                 +-- spills go to a side-car artifact first
    all steps done -> move the cursor

The cursor moves only when every record of a window is durable at the destination or lies in its dead
letters. What was under way when a process died is delivered again, which changes nothing.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import msgspec

from trackbridge.delivery.dead_letters import DeadLetters
from trackbridge.delivery.backend import Backend
from trackbridge.delivery.fitting import fit
from trackbridge.delivery.readback import without_present
from trackbridge.delivery.spills import Spill, encode_spills
from trackbridge.delivery.steps import BatchStep, ControlStep, Step, halves, plan_steps, records_of
from trackbridge.domain.batches import Batch, Rejection
from trackbridge.domain.records import (
    ArtifactLogged,
    ExperimentOpened,
    OpenMode,
    Record,
    RunClosed,
    RunOpened,
)
from trackbridge.domain.runs import RunSpec, RunStatus
from trackbridge.errors import (
    BridgeError,
    Conflict,
    NotFound,
    RateLimited,
    Rejected,
    Unavailable,
    Unsupported,
)
from trackbridge.journal.cursors import Cursor, load_cursor, store_cursor
from trackbridge.journal.folder import JournalFolder, journals
from trackbridge.journal.reader import WINDOW_BYTES, read_window
from trackbridge.ports.capabilities import Feature

RETRY_S_MIN = 0.5
RETRY_S_MAX = 60.0

PERMANENT = (Rejected, NotFound, Conflict, Unsupported)
"""Errors that no repetition would change: the record goes to the dead letters."""


class Progress(Enum):
    """What a call of ``Lane.advance`` came to."""

    DELIVERED = "delivered"
    IDLE = "idle"
    BLOCKED = "blocked"
    FINISHED = "finished"


@dataclass(slots=True)
class _Work:
    """Steps of one window that are not delivered yet, and the cursor once they are."""

    steps: deque[Step]
    cursor: Cursor
    is_last: bool  # the writer was dead before the window was read, and nothing follows it
    staged: list[str]


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
        self._backend: Backend | None = None
        self._work: _Work | None = None
        self._retry_s = RETRY_S_MIN
        self._is_repeating = True  # what follows the cursor may have been sent before a crash
        self.retry_at = 0.0

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
        except BridgeError as error:
            self._block(error)
            return Progress.BLOCKED

    def _advance(self) -> Progress:
        if self._work is None:
            self._work = self._read()
        work = self._work
        was_empty = not work.steps and work.cursor.position == self.cursor.position
        while work.steps:
            self._deliver(work.steps[0], work)
            work.steps.popleft()
        if work.is_last:
            self._close_dead_runs(work.cursor)
            work.cursor = msgspec.structs.replace(work.cursor, finished=True)
        elif was_empty and self.cursor.problem is None:
            self._work = None
            return Progress.IDLE
        self._commit(work)
        if self.cursor.finished:
            return Progress.FINISHED
        return Progress.IDLE if was_empty else Progress.DELIVERED

    def _read(self) -> _Work:
        writer_lives = self.folder.writer_lives()  # before reading: see read_window
        window = read_window(self.folder, self.cursor.position, writer_lives=writer_lives)
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
        )
        is_last = window.at_end and not writer_lives
        return _Work(deque(plan_steps(window.records)), cursor, is_last, [])

    def _commit(self, work: _Work) -> None:
        store_cursor(self.folder, work.cursor)
        self.cursor = work.cursor
        self._work = None
        self._retry_s = RETRY_S_MIN
        self._is_repeating = False
        self._on_commit(self, work.staged)

    def _block(self, error: BridgeError) -> None:
        wait_s = self._retry_s
        if isinstance(error, RateLimited) and error.retry_after_s is not None:
            wait_s = max(wait_s, error.retry_after_s)
        self._retry_s = min(self._retry_s * 2, RETRY_S_MAX)
        self._is_repeating = True
        self.retry_at = time.monotonic() + wait_s
        problem = f"{type(error).__name__}: {error}"
        if problem != self.cursor.problem:
            self.cursor = msgspec.structs.replace(self.cursor, problem=problem)
            store_cursor(self.folder, self.cursor)

    # Steps.

    def _deliver(self, step: Step, work: _Work) -> None:
        if isinstance(step, BatchStep):
            open_runs = work.cursor.open_runs
            if step.batch.run_id in open_runs:
                open_runs[step.batch.run_id] = max(open_runs[step.batch.run_id], step.last_ms)
            self._write(step.batch, work)
            return
        try:
            self._control(step.record, work)
        except PERMANENT as error:
            self._bury([(step.sequence, step.record)], error, work)

    def _control(
        self, record: RunOpened | RunClosed | ExperimentOpened | ArtifactLogged, work: _Work
    ) -> None:
        if isinstance(record, RunOpened):
            self._open_run(record, work.cursor)
        elif isinstance(record, RunClosed):
            work.cursor.open_runs.pop(record.run_id, None)
            self._to.tracking.close_run(record.run_id, status=record.status, end_time=record.end_time)
        elif isinstance(record, ExperimentOpened):
            self._to.tracking.ensure_experiment(
                record.name, experiment_id=record.experiment_id, tags=record.tags
            )
        else:
            self._put(record)
            work.staged.append(record.staged)

    @property
    def _to(self) -> Backend:
        if self._backend is None:
            self._backend = self._open_backend(self.cursor.destination)
        return self._backend

    def _open_run(self, record: RunOpened, cursor: Cursor) -> None:
        if record.how is not OpenMode.CREATE:
            self._wait_for_creator(record.run_id)
        if not record.experiment_name:
            self._to.tracking.get_run(record.run_id)  # it must exist
        if record.how is OpenMode.JOIN and not record.experiment_name:
            return
        cursor.open_runs[record.run_id] = record.start_time
        spec = RunSpec(
            run_id=record.run_id,
            experiment_id=record.experiment_id,
            experiment_name=record.experiment_name,
            name=record.name,
            user=record.user,
            start_time=record.start_time,
            tags=record.tags,
            resume=record.how is OpenMode.RESUME,
        )
        self._to.tracking.open_run(spec)

    def _wait_for_creator(self, run_id: str) -> None:
        """Let the journal that created the run go first: it knows the run's name, tags and experiment.

        Raises:
            Unavailable: The creator's journal in this project still has to deliver the run.
        """
        creators = [other for other in self._other_journals() if other.creates(run_id)]
        if not creators:
            return
        try:
            self._to.tracking.get_run(run_id)
        except NotFound as error:
            raise Unavailable(
                f"run {run_id} is still to be delivered by the process that created it",
                hint="it delivers by itself; see: bridge sync status",
            ) from error

    def _other_journals(self) -> list[JournalFolder]:
        return [other for other in journals(self.folder.path.parent) if other.path != self.folder.path]

    def _put(self, record: ArtifactLogged) -> None:
        staged = self.folder.staged / record.staged
        if self._to.artifacts is None:
            raise Unsupported("the destination stores no artifacts", resource=record.path)
        if not staged.exists():
            self._expect_stored(record)
            return
        self._to.artifacts.put(record.run_id, record.path, staged, digest=record.digest, size=record.size)

    def _expect_stored(self, record: ArtifactLogged) -> None:
        """Accept a missing staged file only when an earlier delivery has stored it."""
        assert self._to.artifacts is not None
        info = self._to.artifacts.stat(record.run_id, record.path)
        if info.digest != record.digest:
            raise Rejected(f"the staged copy of {record.path!r} is missing", resource=record.run_id)

    # Batches.

    def _write(self, batch: Batch, work: _Work) -> None:
        fitted = fit(
            batch,
            self._to.capabilities.limits,
            now_ms=time.time_ns() // 1_000_000,
            datasets=self._to.capabilities.supports(Feature.TRACKING_DATASETS),
        )
        for part in fitted:
            if part.spills:  # first: the batch may hold placeholders for them
                self._put_spills(batch.run_id, part.spills)
            self._write_or_halve(part.batch, work)
            self._bury_rejected(batch, part.rejected, work)

    def _put_spills(self, run_id: str, spills: tuple[Spill, ...]) -> None:
        """Store what the backend cannot hold in the side-car that reading merges back."""
        if self._to.artifacts is None:
            raise Unavailable(
                "values exceed the limits of the destination, and it stores no artifacts to hold them",
                hint="name an artifact store for this destination",
            )
        path, content = encode_spills(spills)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        with tempfile.TemporaryDirectory(dir=self.folder.staged) as folder:
            file = Path(folder) / "spill"
            file.write_bytes(content)
            self._to.artifacts.put(run_id, path, file, digest=digest, size=len(content))

    def _write_or_halve(self, batch: Batch, work: _Work) -> None:
        if self._is_repeating and not self._to.capabilities.supports(Feature.TRACKING_METRIC_DEDUP):
            batch = without_present(batch, self._to.tracking)
        if not len(batch):
            return
        try:
            receipt = self._to.tracking.write(batch)
        except NotFound as error:
            self._bury(records_of(batch), error, work)
        except PERMANENT as error:
            if len(batch) == 1:
                self._bury(records_of(batch), error, work)
                return
            for half in halves(batch):
                self._write_or_halve(half, work)
        else:
            self._bury_rejected(batch, receipt.rejected, work)

    def _bury_rejected(self, batch: Batch, rejections: tuple[Rejection, ...], work: _Work) -> None:
        reasons = {rejection.sequence: rejection.reason for rejection in rejections}
        if not reasons:
            return
        for sequence, record in records_of(batch, frozenset(reasons)):
            self._bury([(sequence, record)], Rejected(reasons[sequence]), work)

    def _bury(self, records: list[tuple[int, Record]], error: BridgeError, work: _Work) -> None:
        """Keep records as dead letters."""
        reason = error.message if error.hint is None else f"{error.message}; {error.hint}"
        items = [
            (
                sequence,
                getattr(record, "run_id", ""),
                type(record).__name__,
                reason,
                msgspec.msgpack.encode(record),
            )
            for sequence, record in records
        ]
        added = self._dead_letters.add(self.cursor.destination, self.folder.journal_id, items)
        work.cursor = msgspec.structs.replace(work.cursor, rejected=work.cursor.rejected + added)

    # The end of a journal.

    def _close_dead_runs(self, cursor: Cursor) -> None:
        """Close runs whose program died as KILLED, unless another living process has them open."""
        if self.folder.was_closed():
            return
        for run_id, last_ms in cursor.open_runs.items():
            if any(other.has_open(run_id) and other.writer_lives() for other in self._other_journals()):
                continue
            try:
                if not self._to.tracking.get_run(run_id).info.status.is_final:
                    self._to.tracking.close_run(run_id, status=RunStatus.KILLED, end_time=last_ms)
            except PERMANENT:
                continue  # its opening was rejected, or somebody deleted it: nothing to close
