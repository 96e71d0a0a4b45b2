"""One step at a destination: it takes the records, or says which of them it never will.

::

    step -> fit -> spills to a side-car artifact -> write -> receipt
                                                      |
                                                      +-- refused: halve until the record is found

Used by a ``Lane`` for what comes out of a journal, and by ``replay`` for dead letters.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from trackbridge.delivery.attempts import comes_too_late, is_overtaken
from trackbridge.delivery.backend import Backend
from trackbridge.delivery.fitting import FittedBatch, fit, split
from trackbridge.delivery.readback import without_present
from trackbridge.delivery.registrations import register
from trackbridge.delivery.spills import Spill, encode_spills, sequences_of
from trackbridge.delivery.steps import BatchStep, ControlRecord, ControlStep, Step, halves, records_of
from trackbridge.domain.artifacts import checked_path
from trackbridge.domain.batches import Batch, Rejection, Setting
from trackbridge.domain.records import (
    ArtifactLogged,
    ExperimentOpened,
    ModelRegistered,
    OpenMode,
    Record,
    RunClosed,
    RunOpened,
    TagsSet,
)
from trackbridge.domain.runs import LifecycleStage, Run, RunSpec
from trackbridge.errors import (
    BridgeError,
    Conflict,
    JournalCorrupt,
    NotFound,
    Rejected,
    Unavailable,
    Unsupported,
)
from trackbridge.journal.folder import JournalFolder, journals
from trackbridge.journal.natives import Native, note_native
from trackbridge.journal.staging import staged_path
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import Feature, Limits

PERMANENT = (Rejected, NotFound, Conflict, Unsupported)
"""Errors that no repetition would change: the record goes to the dead letters."""

REPEATED_RECORDS_MAX = 100
"""In a write that is repeated. MLflow on SQLite compares what it may have with every point of the run: with a
thousand points of a long run that takes longer than an answer is waited for, time and again."""
_REPEATED_LIMITS = Limits(
    metrics_per_write_max=REPEATED_RECORDS_MAX,
    params_per_write_max=REPEATED_RECORDS_MAX,
    tags_per_write_max=REPEATED_RECORDS_MAX,
)
RESUMABLE = Feature.ARTIFACTS_RESUMABLE_UPLOAD
RESUMABLE_BYTES_MIN = 16 * 1024 * 1024
"""A file of this size goes in parts, where the destination keeps those for a later call."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that the destination will never take as things stand, and why."""

    sequence: int
    record: Record
    reason: str


@dataclass(slots=True, eq=False)
class Errand:
    """A step on its way, or a part of one that may be sent beside the others.

    ``left`` is what is still to be written of a batch, None before it was made to fit; ``refused`` what was
    refused so far. ``is_repeating`` says that it may have been sent before, ``is_of_a_run`` that the run was
    looked at after a refusal and was there, which is not asked again for each smaller part.
    """

    step: Step
    is_repeating: bool
    left: deque[Batch] | None = None
    refused: list[Refused] = field(default_factory=list)
    is_of_a_run: bool = False


class Sender:
    """Sends the steps of one journal to one destination.

    Args:
        backend: Returns the opened destination; called for every use, so it is to remember it.
        root: The folder of journals.
        journal_id: The journal that the records come from, which may be gone.
        staged: The folder of its staged files.
        scratch: An existing folder for temporary files.
        registers: Whether models are registered from here; of several destinations only one does.
    """

    def __init__(
        self,
        backend: Callable[[], Backend],
        *,
        root: Path,
        journal_id: str,
        staged: Path,
        scratch: Path,
        registers: bool = True,
    ) -> None:
        self._backend = backend
        self._root = root
        self._journal_id = journal_id
        self._staged = staged
        self._scratch = scratch
        self._registers = registers
        self._errand: Errand | None = None  # what ``send`` did not finish
        self._unopened: dict[str, BridgeError] = {}  # runs whose opening was refused
        self.is_repeating = True
        """Whether what ``send`` begins may have been sent before."""
        self.overtaken: set[str] = set()
        """Runs whose end is another journal's to say: a later attempt of their job has taken them up."""

    def send(self, step: Step) -> list[Refused]:
        """Send one step; return what was refused.

        Raises:
            BridgeError: The destination does not take anything now. The step is to be sent again; that goes
                on with what is left of it.
        """
        errand = self._errand
        if errand is None or errand.step is not step:
            errand = self._errand = Errand(step, is_repeating=self.is_repeating)
        self._finish(errand)
        self._errand = None
        return errand.refused

    def run(self, errand: Errand) -> list[Errand]:
        """Do an errand, and return those that it leads to, which may be done at the same time.

        Safe on several threads, each with an errand of its own. Params and tags of a batch stay together and
        in order; each part that holds nothing but metrics becomes an errand.

        Raises:
            BridgeError: As for ``send``; the same errand is to be done again.
        """
        if isinstance(errand.step, BatchStep) and errand.left is None:
            self._fit(errand, errand.step.batch)
            assert errand.left is not None
            if len(errand.left) > 1:
                return _parts(errand)
        self._finish(errand)
        return []

    def _finish(self, errand: Errand) -> None:
        try:
            if isinstance(errand.step, BatchStep):
                self._write(errand, errand.step.batch)
            else:
                errand.refused = self._send_control(errand.step)
        except BaseException:
            errand.is_repeating, errand.is_of_a_run = True, False  # it may be long until the next attempt
            raise

    def _send_control(self, step: ControlStep) -> list[Refused]:
        try:
            if isinstance(step.record, RunOpened):
                return self._open_run(step.record, step.sequence)
            self._control(step.record)
        except PERMANENT as error:
            if isinstance(step.record, RunOpened):
                self._unopened[step.record.run_id] = error
                if step.record.is_of_client and step.record.how is OpenMode.CREATE:
                    self._forget_creation(step.record.run_id)
            return [_refused(step.sequence, step.record, error)]
        return []

    def other_journals(self) -> list[JournalFolder]:
        """Return the other journals of the project."""
        return [other for other in journals(self._root) if other.journal_id != self._journal_id]

    # Control steps.

    def _control(self, record: ControlRecord) -> None:
        if isinstance(record, ModelRegistered):
            if self._registers:
                self._refuse_without_run(record.run_id)
                register(record, self._backend())
            return
        tracking = self._backend().tracking
        if isinstance(record, RunClosed):
            if self._is_overtaken(record.run_id):
                self.overtaken.add(record.run_id)
                return
            tracking.close_run(record.run_id, status=record.status, end_time=record.end_time)
        elif isinstance(record, ExperimentOpened):
            tracking.ensure_experiment(record.name, experiment_id=record.experiment_id, tags=record.tags)
        elif isinstance(record, ArtifactLogged):
            self._put(record)

    def _open_run(self, record: RunOpened, sequence: int) -> list[Refused]:
        """Open a run. Tags that the destination cannot hold as they are follow as data."""
        self._unopened.pop(record.run_id, None)
        if record.how is not OpenMode.CREATE:
            self._wait_for_creator(record.run_id)
        existing: Run | None = None
        if not record.experiment_name:
            existing = self._backend().tracking.get_run(record.run_id)  # it must exist
            self._note_native(record.run_id, existing)
        if is_visit(record):
            return []
        if existing is not None and comes_too_late(record, existing, self._journal_id):
            return []
        tags = Batch(
            run_id=record.run_id,
            tags=[Setting(key, value, sequence) for key, value in record.tags.items()],
        )
        fit_as_they_are = [part.batch for part in self._fitted(tags)] == [tags]
        spec = RunSpec(
            run_id=record.run_id,
            experiment_id=record.experiment_id,
            experiment_name=record.experiment_name,
            name=record.name,
            user=record.user,
            start_time=record.start_time,
            tags=record.tags if fit_as_they_are else {},
            resume=record.how is OpenMode.RESUME,
        )
        self._note_native(record.run_id, self._backend().tracking.open_run(spec))
        if record.is_of_client and record.how is OpenMode.CREATE:
            self._forget_creation(record.run_id)
        if fit_as_they_are:
            return []
        errand = Errand(BatchStep(tags, record.start_time), is_repeating=False)  # tags are no points
        self._write(errand, tags)
        return _as_one(errand.refused, sequence)

    def _forget_creation(self, run_id: str) -> None:
        """Let nobody wait any more for a run that is there, or never will be.

        With several destinations others of them may still be to come.
        """
        folder = JournalFolder(self._root / self._journal_id)
        with contextlib.suppress(JournalCorrupt):  # also: delivered and gone
            if len(folder.describe().destinations) == 1:
                folder.unmark_created(run_id)

    def _is_overtaken(self, run_id: str) -> bool:
        """Tell whether the end of a run, which this journal has taken up, is a later attempt's to say."""
        if not JournalFolder(self._root / self._journal_id).resumes(run_id):
            return False
        return is_overtaken(self._backend().tracking.get_run(run_id), self._journal_id)

    def _note_native(self, run_id: str, run: Run) -> None:
        native = Native(run.info.native_id, run.info.native_url)
        if native != Native():
            note_native(JournalFolder(self._root / self._journal_id), self._backend().uri, run_id, native)

    def _wait_for_creator(self, run_id: str) -> None:
        """Let the journal that created the run go first: it knows the run's name, tags and experiment.

        Raises:
            Unavailable: The creator's journal in this project still has to deliver the run.
        """
        if not any(other.creates(run_id) for other in self.other_journals()):
            return
        try:
            self._backend().tracking.get_run(run_id)
        except NotFound as error:
            raise Unavailable(
                f"run {run_id} is still to be delivered by the process that created it",
                hint="it delivers by itself; see: bridge sync status",
            ) from error

    def _put(self, record: ArtifactLogged) -> None:
        artifacts = self._backend().artifacts
        self._refuse_without_run(record.run_id)
        checked_path(record.path)  # a journal may come from anywhere
        staged = staged_path(self._staged, record.staged)
        if artifacts is None:
            raise Unsupported("the destination stores no artifacts", resource=record.path)
        if staged.exists():
            self._put_file(artifacts, record, staged)
        elif artifacts.stat(record.run_id, record.path).digest != record.digest:
            # A missing staged file is right only when an earlier delivery has stored it.
            raise Rejected(f"the staged copy of {record.path!r} is missing", resource=record.run_id)

    def _put_file(self, artifacts: ArtifactStore, record: ArtifactLogged, staged: Path) -> None:
        """Store a file; of a large one, what was sent before an interruption is not sent again."""
        backend, path = self._backend(), record.path
        if record.size < RESUMABLE_BYTES_MIN or not backend.capabilities.supports(RESUMABLE):
            artifacts.put(record.run_id, path, staged, digest=record.digest, size=record.size)
            return
        # The same staged file may go to several places.
        place = hashlib.sha256("\n".join((backend.uri, record.run_id, path)).encode()).hexdigest()
        state = staged.with_name(f"{staged.name}.{place[:16]}.parts")
        artifacts.put_resumable(
            record.run_id, path, staged, digest=record.digest, size=record.size, state=state
        )

    def _refuse_without_run(self, run_id: str) -> None:
        """Refuse what a store of files, or a registry, alone would take for a run that is not."""
        if run_id in self._unopened:
            raise self._unopened[run_id]

    # Batches.

    def _write(self, errand: Errand, batch: Batch) -> None:
        """Write a batch in parts. When the destination fails, the next call goes on with what is left."""
        if errand.left is None:
            self._fit(errand, batch)
        elif errand.is_repeating and self._compares_points():
            errand.left = deque(small for part in errand.left for small in split(part, _REPEATED_LIMITS))
        left = errand.left
        assert left is not None
        while left:
            smaller = self._write_or_halve(left[0], errand)
            left.popleft()
            left.extendleft(reversed(smaller))

    def _compares_points(self) -> bool:
        """Tell whether the destination is a server that takes a point once, however often it is sent."""
        capabilities = self._backend().capabilities
        return not capabilities.is_local and capabilities.supports(Feature.TRACKING_METRIC_DEDUP)

    def _fit(self, errand: Errand, batch: Batch) -> None:
        """Make a batch fit; what the destination cannot hold is in a side-car before the rest is written."""
        unopened = self._unopened.get(batch.run_id)
        if isinstance(unopened, Rejected):  # where it was not found, somebody may make it meanwhile
            errand.left, errand.refused = deque(), _all_refused(batch, unopened)
            return
        left: deque[Batch] = deque()
        refused: list[Refused] = []
        for part in self._fitted(batch):
            rejected = part.rejected
            try:
                self._put_spills(batch.run_id, part.spills)
                left.append(part.batch)
            except PERMANENT as error:  # placeholders without what they stand for would be a loss
                spilled = [sequence for spill in part.spills for sequence in sequences_of(spill)]
                at_fault = [*spilled, *(sequence for sequence, _ in records_of(part.batch))]
                rejected += tuple(Rejection(sequence, _reason(error)) for sequence in at_fault)
            refused += _refused_by_sequence(batch, rejected)
        errand.left, errand.refused = left, refused

    def _fitted(self, batch: Batch) -> list[FittedBatch]:
        capabilities = self._backend().capabilities
        return fit(
            batch,
            capabilities.limits,
            now_ms=time.time_ns() // 1_000_000,
            datasets=capabilities.supports(Feature.TRACKING_DATASETS),
        )

    def _put_spills(self, run_id: str, spills: tuple[Spill, ...]) -> None:
        """Store what the backend cannot hold in the side-car that reading merges back."""
        if not spills:
            return
        artifacts = self._backend().artifacts
        if artifacts is None:
            raise Unavailable(
                "values exceed the limits of the destination, and it stores no artifacts to hold them",
                hint="name an artifact store for this destination",
            )
        path, content = encode_spills(spills)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            file = Path(folder) / "spill"
            file.write_bytes(content)
            artifacts.put(run_id, path, file, digest=digest, size=len(content))

    def _write_or_halve(self, batch: Batch, errand: Errand) -> tuple[Batch, ...]:
        """Write a batch; return its halves when it was refused as a whole."""
        to = self._backend()
        if errand.is_repeating and not to.capabilities.supports(Feature.TRACKING_METRIC_DEDUP):
            batch = without_present(batch, to.tracking)
        if not len(batch):
            return ()
        try:
            receipt = to.tracking.write(batch)
        except PERMANENT as error:
            if len(batch) > 1 and not self._is_gone(batch.run_id, error, errand):
                return halves(batch)
            errand.refused += _all_refused(batch, error)
        else:
            errand.refused += _refused_by_sequence(batch, receipt.rejected)
        return ()

    def _is_gone(self, run_id: str, error: BridgeError, errand: Errand) -> bool:
        """Tell whether the run takes nothing at all, so that no record of a batch is at fault."""
        if isinstance(error, NotFound):
            return True
        if errand.is_of_a_run:
            return False
        with contextlib.suppress(*PERMANENT):
            run = self._backend().tracking.get_run(run_id)
            errand.is_of_a_run = run.info.lifecycle_stage is not LifecycleStage.DELETED
            return not errand.is_of_a_run
        return False


def is_visit(record: RunOpened) -> bool:
    """Tell whether the process only adds to a run, and does not answer for its end."""
    return record.how is OpenMode.JOIN and not record.experiment_name


def _parts(errand: Errand) -> list[Errand]:
    """Return an errand for each part that holds only metrics, and one for the rest, in its order."""
    together: deque[Batch] = deque()
    groups = [together]
    for batch in errand.left or ():
        if batch.params or batch.tags or batch.inputs:
            together.append(batch)
        else:
            groups.append(deque([batch]))
    return [Errand(errand.step, errand.is_repeating, group) for group in groups if group]


def _as_one(refused: list[Refused], sequence: int) -> list[Refused]:
    """Gather refused tags that share a sequence, because a dead letter is known by its sequence."""
    records = [item.record for item in refused if isinstance(item.record, TagsSet)]
    if not records:
        return []
    tags = {key: value for record in records for key, value in record.tags.items()}
    return [Refused(sequence, TagsSet(records[0].run_id, records[0].timestamp, tags), refused[0].reason)]


def _refused(sequence: int, record: Record, error: BridgeError) -> Refused:
    return Refused(sequence, record, _reason(error))


def _all_refused(batch: Batch, error: BridgeError) -> list[Refused]:
    return [_refused(sequence, record, error) for sequence, record in records_of(batch)]


def _reason(error: BridgeError) -> str:
    return error.message if error.hint is None else f"{error.message}; {error.hint}"


def _refused_by_sequence(batch: Batch, rejections: tuple[Rejection, ...]) -> list[Refused]:
    reasons = {rejection.sequence: rejection.reason for rejection in rejections}
    if not reasons:
        return []
    return [
        Refused(sequence, record, reasons[sequence])
        for sequence, record in records_of(batch, frozenset(reasons))
    ]
