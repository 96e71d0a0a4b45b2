"""Records of runs: found, made, changed by compare-and-swap, and shown to SageMaker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from trackbridge.domain.batches import Batch
from trackbridge.domain.ids import is_minted
from trackbridge.domain.runs import TAG_NAME, RunSpec
from trackbridge.errors import Conflict, NotFound, Rejected, Unavailable
from trackbridge_adapters.sagemaker import foreign_runs, run_records
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.errors_services import QuotaReached
from trackbridge_adapters.sagemaker.experiments import Experiments
from trackbridge_adapters.sagemaker.metric_chunks import pack
from trackbridge_adapters.sagemaker.names import RUN_TAG, component_name, key_part
from trackbridge_adapters.sagemaker.native_runs import NameTaken, Native, NativeRuns, tags_of
from trackbridge_adapters.sagemaker.run_points import Points, RunPoints
from trackbridge_adapters.sagemaker.run_records import ExperimentRecord, RunRecord

Result = TypeVar("Result")

RECENT_CHUNKS_MAX = 128
MERGED_CHUNKS = 64
SHOWS_MAX = 5
UNSHOWN = "component"
"""Under which key ``RunRecord.untold`` counts updates of the component that SageMaker refused for good."""
UNSHOWN_POINTS = "points"
"""Under which key it counts points of calls that SageMaker refused as a whole."""


@dataclass(frozen=True, slots=True)
class Held:
    """The record of a run, and its version in the bucket."""

    record: RunRecord
    version: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """A run without a record: what SageMaker has of it."""

    component: Native
    tags: dict[str, str]

    @property
    def name(self) -> str:
        """The name of the component."""
        return str(self.component["TrialComponentName"])


class RunStore:
    """The records of the runs of one place."""

    def __init__(self, backend: Backend, experiments: Experiments) -> None:
        self._bucket = backend.bucket
        self._experiments = experiments
        self.components = NativeRuns(backend.clients)
        self.points = RunPoints(backend, lambda name: self.components.find(name) is not None)

    # Finding a run.

    def read(self, part: str) -> Held | None:
        """Return the record of the run for whose id ``part`` stands in keys; None where there is none."""
        key = run_records.record_key(part)
        held = self._bucket.get(key)
        return None if held is None else Held(self._decoded(held[0], key), held[1])

    def find(self, run_id: str) -> Held | Foreign:
        """Find a run by our id, or by the name of its component.

        Raises:
            NotFound: There is no such run.
        """
        held = self.read(key_part(run_id))
        if held is not None:
            return held
        component = self.components.find(run_id)
        if component is None:
            raise NotFound(f"there is no run {run_id!r}", adapter=ADAPTER, hint="see: bridge runs list")
        foreign = Foreign(component, self.components.tags(str(component["TrialComponentArn"])))
        part = foreign.tags.get(RUN_TAG)
        named = self.read(part) if part else None
        is_same = named is not None and named.record.component.lower() == foreign.name.lower()
        return named if named is not None and is_same else foreign  # another place may have a run of the id

    def writable(self, run_id: str) -> Held:
        """Return the record of a run that may be written to; one that others made is taken over.

        Raises:
            NotFound: There is no such run.
            Rejected: It was deleted.
        """
        held = self.owned(run_id)
        self.active(held.record)
        return held

    def owned(self, run_id: str) -> Held:
        """Return the record of a run, deleted or not; one that others made is taken over.

        Raises:
            NotFound: There is no such run.
        """
        found = self.find(run_id)
        return self._taken_over(found) if isinstance(found, Foreign) else found

    def experiment(self, record: RunRecord) -> ExperimentRecord:
        """Return the experiment of a run; one that is gone from SageMaker was not deleted by us."""
        try:
            return self._experiments.resolve(record.experiment_id)
        except NotFound:
            return ExperimentRecord(experiment_id=record.experiment_id, name="", native="")

    def experiment_of(self, foreign: Foreign) -> ExperimentRecord:
        """Return the experiment of a component; it need not be in any."""
        native = self.components.experiment_of(foreign.name)
        known = self._experiments.of_native(native) if native is not None else None
        return known or ExperimentRecord(experiment_id="", name="", native="")

    def active(self, record: RunRecord) -> ExperimentRecord:
        """Return the experiment of a run.

        Raises:
            Rejected: The run or its experiment was deleted.
        """
        refuse_deleted(record)
        experiment = self.experiment(record)
        if experiment.deleted:
            raise _deleted(record.run_id)
        return experiment

    # Making a run.

    def create(self, spec: RunSpec) -> tuple[RunRecord, ExperimentRecord]:
        """Make a run, and its experiment where there is none.

        Raises:
            NotFound: No experiment is named.
            Rejected: Something stands in the place of the run or its experiment.
        """
        if not spec.experiment_name:
            raise NotFound(
                f"there is no run {spec.run_id!r}", adapter=ADAPTER, hint="name an experiment to open it in"
            )
        experiment = self._experiments.ensure(spec.experiment_name, spec.experiment_id, {})
        tags = {**({TAG_NAME: spec.name} if spec.name else {}), **spec.tags}
        record = RunRecord(
            run_id=spec.run_id,
            experiment_id=experiment.experiment_id,
            component=component_name(experiment.native, spec.run_id),
            name=tags.get(TAG_NAME, ""),
            user=spec.user,
            start_time=spec.start_time,
            tags=tags,
            trial=self._experiments.current_trial(experiment),
        )
        try:
            record = self._made(record, experiment)
        except NameTaken:
            raise
        except QuotaReached:  # the account may have no more of them: the record holds it all
            record = run_records.replaced(record, trial=0)
        except Rejected:  # for good, by a rule that nobody has written down: it holds it all as well
            record = with_untold(run_records.replaced(record, trial=0), {UNSHOWN: 1})
        held = self._kept(run_records.replaced(record, native_tags=sorted(tags_of(record))))
        return held.record, experiment

    def _made(self, record: RunRecord, experiment: ExperimentRecord) -> RunRecord:
        """Make the component of a run, and put it into a trial."""
        try:
            arn = self.components.create(record)
            if not experiment.native:  # others made it, outside of any experiment
                return run_records.replaced(record, arn=arn, trial=0)
            trial = self._experiments.associate(experiment, record.component)
            if trial != 1 and record.trial == 1:
                self.components.unmark(arn)
            return run_records.replaced(record, arn=arn, trial=trial)
        except NotFound as error:  # made a moment ago: SageMaker does not know it everywhere yet
            raise Unavailable(error.message, adapter=ADAPTER, resource=f"run {record.run_id}") from None

    def take_up(self, run_id: str) -> Held | None:
        """Return the run of an id that is not ours, where others have made it."""
        if is_minted(run_id):
            return None
        try:
            return self.owned(run_id)
        except NotFound:
            return None

    def _taken_over(self, foreign: Foreign) -> Held:
        """Give a run that others made a record, with all that SageMaker has of it."""
        experiment = self.experiment_of(foreign)
        if experiment.experiment_id:
            experiment = self._experiments.adopt(experiment)
        component = foreign.component
        record = foreign_runs.record_of(component, foreign.tags, experiment_id=experiment.experiment_id)
        points = {
            key: self.points.of_component(component, key) for key in foreign_runs.summaries_of(component)
        }
        if points:
            name, data = pack(points)
            self.points.keep(record, name, data)
        taken, _ = run_records.with_batch(record, Batch(run_id=record.run_id), points)
        return self._kept(taken)

    def _kept(self, record: RunRecord) -> Held:
        """Write a new record; return the one that somebody else was quicker to write."""
        listed = run_records.listing_key(record.experiment_id, record.start_time, record.run_id)
        self._bucket.put(listed, b"")
        try:
            version = self._bucket.put(
                run_records.run_key(record.run_id), run_records.encode(record), absent=True
            )
        except Conflict:
            held = self.read(key_part(record.run_id))
            if held is None:
                raise Unavailable(
                    "the run was there, and is gone", adapter=ADAPTER, resource=f"run {record.run_id}"
                ) from None
            return held
        return Held(record, version)

    # Changing a run.

    def change(self, before: Held, change: Callable[[RunRecord], RunRecord]) -> RunRecord:
        """Change a record: the one that was read, or what others have made of it meanwhile."""
        result = change(before.record)
        if result == before.record:
            return result
        key = run_records.run_key(result.run_id)
        try:
            self._bucket.put(key, run_records.encode(result), match=before.version)
        except Conflict:
            pass
        else:
            return result

        def changed(data: bytes | None) -> bytes | None:
            nonlocal result
            if data is None:
                raise NotFound("the record of the run is gone", adapter=ADAPTER, resource=key)
            held = self._decoded(data, key)
            result = change(held)
            return None if result == held else run_records.encode(result)

        self._bucket.swap(key, changed)
        return result

    def mark(self, run_id: str, *, deleted: bool) -> None:
        """Mark a run as deleted, or as not.

        Raises:
            NotFound: There is no such run.
        """

        def change(held: RunRecord) -> RunRecord:
            return held if held.deleted == deleted else run_records.revised(held, deleted=deleted)

        self.show(self.change(self.owned(run_id), change))

    def show(self, record: RunRecord) -> RunRecord:
        """Bring the component up to the record, where it is behind.

        Again where others have changed it meanwhile: their update may have come before this older one.
        """
        for _ in range(SHOWS_MAX):
            shown = self._shown(record)
            if shown.revision <= record.revision:
                return shown
            record = run_records.replaced(shown, shown=record.revision)
        return shown

    def _shown(self, record: RunRecord) -> RunRecord:
        if not record.is_owed:
            return record
        address = self._bucket.address(run_records.run_key(record.run_id))
        refused: dict[str, int] = {}
        tags = record.native_tags
        try:
            tags = self._with_component(record, lambda held: self.components.show(held, address))
        except Rejected:  # for good, by a rule that nobody has written down: the record holds it all
            refused = {UNSHOWN: 1}

        def change(held: RunRecord) -> RunRecord:
            noted = run_records.replaced(held, shown=max(held.shown, record.revision), native_tags=tags)
            return with_untold(noted, refused)

        held = self.read(key_part(record.run_id))
        return record if held is None else self.change(held, change)

    def _with_component(self, record: RunRecord, call: Callable[[RunRecord], Result]) -> Result:
        """Make a call that needs the component; make that anew where somebody has deleted it."""
        try:
            return call(record)
        except NotFound:
            made = self._made(record, self.experiment(record))
        held = self.read(key_part(record.run_id))
        if held is not None:
            # Revised: what is made anew has neither params nor inputs yet.
            self.change(held, lambda held: run_records.revised(held, arn=made.arn, trial=made.trial))
        try:
            return call(made)
        except NotFound as error:
            raise Unavailable(error.message, adapter=ADAPTER, resource=f"run {record.run_id}") from None

    # Points.

    def put_points(self, record: RunRecord, points: Points) -> tuple[str, dict[str, int]]:
        """Send points to SageMaker, and keep them; those that were kept before are not sent again.

        Returns:
            The name of their chunk, and how many SageMaker refused for good, by its code.
        """
        name, data = pack(points)
        if self.points.is_kept(record, name):
            return name, {}
        try:
            untold = self._with_component(record, lambda held: self.points.send(held, points))
        except Rejected:  # for good, by a rule that nobody has written down: the record holds them all
            untold = {UNSHOWN_POINTS: sum(map(len, points.values()))}
        self.points.keep(record, name, data)
        return name, untold

    def tidy(self, record: RunRecord) -> None:
        """Merge the oldest of many small chunks into one, so that a long history is not a million objects.

        The newest stay, because they may be written again: by their names it is known that they were.
        """
        if len(record.recent) < RECENT_CHUNKS_MAX:
            return
        oldest = record.recent[:MERGED_CHUNKS]
        try:
            gone = self.points.merge(record, oldest)
        except Rejected:  # one is damaged: whoever reads the metric is told, and writing goes on
            gone = []
        before = self.read(key_part(record.run_id))
        if before is not None:
            self.change(before, lambda held: run_records.without_chunks(held, oldest))
        self._bucket.delete(*gone)

    def _decoded(self, data: bytes, key: str) -> RunRecord:
        return run_records.decode(data, RunRecord, resource=self._bucket.address(key))


def with_untold(record: RunRecord, counts: Mapping[str, int]) -> RunRecord:
    """Return the record with more refusals counted."""
    if not counts:
        return record
    return run_records.replaced(record, untold=dict(Counter(record.untold) + Counter(counts)))


def refuse_deleted(record: RunRecord) -> None:
    """Return if a run may be written to.

    Raises:
        Rejected: It was deleted.
    """
    if record.deleted:
        raise _deleted(record.run_id)


def _deleted(run_id: str) -> Rejected:
    return Rejected(
        "the run was deleted",
        adapter=ADAPTER,
        resource=f"run {run_id}",
        hint=f"restore it: bridge runs restore {run_id}",
    )
