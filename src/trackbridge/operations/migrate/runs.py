"""One run from the source to the target: open, write, files, end, delete.

A copy says from the beginning in its tags what it is made of, and is ended last: one that is not ended was
interrupted, and is gone on with. Every step may be done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from trackbridge.delivery.fitting import fit
from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.batches import Batch, Setting
from trackbridge.domain.migration import (
    TAG_SOURCE_PRINT,
    TAG_SOURCE_RUN_ID,
    TAG_SOURCE_START,
    TAG_SOURCE_URI,
    Counts,
    Loss,
    Outcome,
    State,
)
from trackbridge.domain.plans import Change
from trackbridge.domain.runs import (
    TAG_NAME,
    TAG_PARENT,
    Experiment,
    LifecycleStage,
    Run,
    RunInfo,
    RunSpec,
    RunStatus,
)
from trackbridge.domain.traces import ModelLink
from trackbridge.errors import Conflict, Exhausted, NotFound, PlanStale, Rejected, Transient
from trackbridge.operations.migrate.files import FileCopier
from trackbridge.operations.migrate.logged_models import link_run
from trackbridge.operations.migrate.losses import losses_of_status, settings_of, stays_active
from trackbridge.operations.migrate.outcomes import gone
from trackbridge.operations.migrate.pair import Pair
from trackbridge.operations.migrate.prints import own_tags, run_print
from trackbridge.operations.migrate.report import refused_counts
from trackbridge.operations.migrate.side import Side
from trackbridge.operations.migrate.writing import RunWriter, batches_of
from trackbridge.ports.capabilities import Feature

OnPoint = Callable[[str], None]
"""Called at each point where a kill would leave another state behind."""


@dataclass(frozen=True, slots=True)
class CopiedRun:
    """What became of a run, and the print that its copy is to have; "" where that cannot be told."""

    outcome: Outcome
    print: str = ""


@dataclass(frozen=True, slots=True)
class BegunRun:
    """A run of which all is at the target but its end; ``end`` is None where nothing was begun."""

    copied: CopiedRun
    end: Callable[[], None] | None = None


@dataclass(slots=True, kw_only=True)
class RunCopier:
    """Copies runs. Any thread may use it.

    Args:
        pair: Source and target.
        files: Copies their files.
        experiments: The target's experiments by name.
        deleted: Names of experiments that are deleted with all their runs in the end.
        delete: Whether tags that only the copy has are taken away.
        on_point: Told of every step.
    """

    pair: Pair
    files: FileCopier
    experiments: dict[str, Experiment]
    deleted: frozenset[str]
    delete: bool
    on_point: OnPoint

    def copy(self, change: Change, *, is_new: bool) -> CopiedRun:
        """Copy one run as its planned change says. Arguments and errors as for ``begin``."""
        begun = self.begin(change, is_new=is_new)
        if begun.end is not None:
            begun.end()
        return begun.copied

    def begin(self, change: Change, *, is_new: bool) -> BegunRun:
        """Copy one run as its planned change says, but for its end.

        Args:
            change: What was planned.
            is_new: Whether the target was looked at just now, and has no such run.

        Raises:
            PlanStale: The run has changed since the plan was made.
            Conflict: The target has a run of this id in another experiment, or what was written is not there.
            BridgeError: A backend does not answer, or refuses.
        """
        run_id = (change.after or {})["run"]
        try:
            listed = self.pair.listed.take(run_id) or self.pair.source.tracking.get_run(run_id)
            return self._begun(change, listed, is_new=is_new)
        except NotFound:
            if self._is_at_source(run_id):
                raise
            return BegunRun(CopiedRun(gone(change)))

    def _is_at_source(self, run_id: str) -> bool:
        try:
            self.pair.source.tracking.get_run(run_id)
        except NotFound:
            return False
        return True

    def _begun(self, change: Change, listed: Run, *, is_new: bool) -> BegunRun:
        planned, source = change.after or {}, self.pair.source
        _refuse_changed(change, listed)
        files, has_spills = source.files_and_spills(listed.info.run_id)
        spills = source.stored.spills(listed.info.run_id) if has_spills else ()
        wanted = self.pair.rewriter.run(source.stored.unspilled(listed, spills))
        opened, tags_are_there = self._opened(change, wanted, run_print(listed), is_new=is_new)
        self.on_point("opened")
        writer = self._writer(change, opened)
        settings = settings_of(wanted)
        settings.tags = [] if tags_are_there else settings.tags
        settings.tags += self._extra_tags(opened, wanted)
        counts = _counts_of(wanted, files)
        for batch, points in batches_of(
            settings,
            sorted(wanted.data.metrics),
            lambda key: source.stored.history(listed.info.run_id, key, spills),
        ):
            writer.write(batch)
            counts.points += points
            self.on_point("written")
        copied = self.files.copy(
            files,
            listed.info.run_id,
            wanted.info.run_id,
            is_new=not opened.data.params and not opened.data.metrics and bool(wanted.data.params),
            subject=change.subject,
        )
        losses = (*writer.losses.values(), *copied.losses, *self._losses_of_life(wanted, change.subject))
        done = _done(change, wanted, counts, losses, sum(copied.refused.values()))
        if listed.models and self.pair.target.supports(Feature.TRACKING_LOGGED_MODELS):
            waits = msgspec.structs.replace(done.outcome, links=listed.models)
            return BegunRun(replace(done, outcome=waits), _left_open)
        goes_with_experiment = planned["experiment"] in self.deleted
        return BegunRun(done, partial(self._end, wanted.info, goes_with_experiment=goes_with_experiment))

    def end_linked(self, change: Change, links: tuple[ModelLink, ...]) -> list[Loss]:
        """End a run that was copied but for its links with logged models, once these are at the target.

        Returns:
            Links to logged models that are not.
        """
        planned = change.after or {}
        wanted = self.pair.rewriter.run(self.pair.source.tracking.get_run(planned["run"]))
        losses = link_run(self.pair, wanted.info.run_id, links, change.subject)
        self._end(wanted.info, goes_with_experiment=planned["experiment"] in self.deleted)
        return losses

    def towards(self, target: Side) -> RunCopier:
        """Return a copier to the same target by other ports of it."""
        pair = replace(self.pair, target=target)
        pair.rewriter = self.pair.rewriter
        return replace(self, pair=pair, files=replace(self.files, target=target))

    # Opening.

    def _opened(self, change: Change, wanted: Run, source_print: str, *, is_new: bool) -> tuple[Run, bool]:
        """Return the copy as it was found or made, and whether it has its tags already."""
        planned = change.after or {}
        experiment = self.experiments[planned["experiment"]]
        marks = self._marks(wanted, planned["run"], source_print)
        tags = own_tags(wanted.data.tags)
        has_room = self._has_room(len(tags) + len(marks), is_there=change.before is not None)
        fit_as_they_are = has_room and self._fits(wanted.info.run_id, tags)
        kept = tags if fit_as_they_are else {key: tags[key] for key in (TAG_NAME, TAG_PARENT) if key in tags}
        if not fit_as_they_are:
            kept = kept if self._fits(wanted.info.run_id, kept) else {}
        if (change.before or {}).get("stage") == LifecycleStage.DELETED.value:
            self.pair.target.tracking.restore_run(wanted.info.run_id)
        spec = RunSpec(
            run_id=wanted.info.run_id,
            experiment_id=experiment.experiment_id,
            experiment_name=experiment.name,
            name=wanted.info.run_name,
            user=wanted.info.user_id,
            start_time=wanted.info.start_time,
            tags={**kept, **marks},
            resume=change.before is not None,
        )
        opened = self._open(spec, is_new=is_new)
        _refuse_elsewhere(opened, experiment, change)
        if opened.data.tags.get(TAG_SOURCE_PRINT) != source_print:  # an earlier, interrupted plan's
            opened = self.pair.target.tracking.open_run(msgspec.structs.replace(spec, resume=True))
        return opened, fit_as_they_are

    def _open(self, spec: RunSpec, *, is_new: bool) -> Run:
        """Open a run; one that was not there a moment ago is not looked for, unless that goes wrong."""
        tracking, cautious = self.pair.target.tracking, self.pair.target.cautious.tracking
        if is_new and cautious is not None:
            with suppress(Exhausted, Transient, Rejected, NotFound):
                return cautious.open_run(msgspec.structs.replace(spec, is_new=True))
        return tracking.open_run(spec)

    def _marks(self, wanted: Run, source_id: str, source_print: str) -> dict[str, str]:
        return {
            TAG_SOURCE_URI: self.pair.source.uri,
            TAG_SOURCE_RUN_ID: source_id,
            TAG_SOURCE_START: str(wanted.info.start_time),
            TAG_SOURCE_PRINT: source_print,
        }

    def _has_room(self, count: int, *, is_there: bool) -> bool:
        """Tell whether a run takes so many tags; of one that is there the writer looks which it has."""
        most = self.pair.target.capabilities.limits.tags_per_run_max
        return most is None or (not is_there and count <= most)

    def _fits(self, run_id: str, tags: dict[str, str]) -> bool:
        batch = Batch(run_id=run_id, tags=[Setting(key, value, 1) for key, value in tags.items()])
        fitted = fit(batch, self.pair.target.capabilities.limits, now_ms=self.pair.clock_ms())
        return [part.batch for part in fitted] == [batch]

    def _writer(self, change: Change, opened: Run) -> RunWriter:
        return RunWriter(
            target=self.pair.target,
            run_id=opened.info.run_id,
            subject=change.subject,
            now_ms=self.pair.clock_ms(),
            present=frozenset(opened.data.params),
            tags=frozenset(opened.data.tags) if change.before is None else None,
            repeats=bool(opened.data.metrics) or change.before is not None,
        )

    def _extra_tags(self, opened: Run, wanted: Run) -> list[Setting]:
        """Return the deletion of tags that only the copy has, where that was asked for."""
        if not self.delete:
            return []
        extra = sorted(
            set(own_tags(self.pair.target.stored.unspilled(opened).data.tags)) - set(wanted.data.tags)
        )
        return [Setting(key, None, 0) for key in extra]

    # Ending.

    def _losses_of_life(self, wanted: Run, subject: str) -> Iterator[Loss]:
        is_deleted = wanted.info.lifecycle_stage is LifecycleStage.DELETED
        if is_deleted and not self.pair.target.supports(Feature.TRACKING_DELETE):
            yield stays_active(subject)
        yield from losses_of_status(wanted, subject)

    def _end(self, info: RunInfo, *, goes_with_experiment: bool) -> None:
        tracking = self.pair.target.tracking
        if info.status.is_final:
            end_time = info.start_time if info.end_time is None else info.end_time
            tracking.close_run(info.run_id, status=info.status, end_time=end_time)
            self.on_point("ended")
        is_deleted = info.lifecycle_stage is LifecycleStage.DELETED and not goes_with_experiment
        if is_deleted and self.pair.target.supports(Feature.TRACKING_DELETE):
            tracking.delete_run(info.run_id)
            self.on_point("deleted")


def _left_open() -> None:
    """Leave a run open that waits for logged models."""


def _refuse_changed(change: Change, listed: Run) -> None:
    """Refuse a run that is not as it was planned; one that was not ended then may go on."""
    planned = change.after or {}
    if run_print(listed) == planned["print"] or not RunStatus(planned["status"]).is_final:
        return
    raise PlanStale(
        "the run has changed at the source since the plan was made",
        operation="migrate",
        resource=change.subject,
        hint="make the plan anew",
    )


def _counts_of(wanted: Run, files: list[ArtifactInfo]) -> Counts:
    """Count what the source has of a run, but for its points."""
    return Counts(
        runs=1,
        params=len(wanted.data.params),
        tags=len(own_tags(wanted.data.tags)),
        inputs=len(wanted.inputs.dataset_inputs),
        files=len(files),
        bytes=sum(info.file_size or 0 for info in files),
    )


def _done(
    change: Change, wanted: Run, counts: Counts, losses: tuple[Loss, ...], refused_bytes: int
) -> CopiedRun:
    outcome = Outcome(
        subject=change.subject,
        action=change.action.value,
        state=State.DONE,
        source=counts,
        target=_taken(counts, losses, refused_bytes),
        losses=losses,
    )
    is_whole = all(loss.treatment.is_lossless for loss in losses)
    return CopiedRun(outcome, run_print(wanted) if is_whole else "")


def _taken(counts: Counts, losses: tuple[Loss, ...], refused_bytes: int) -> Counts:
    """Return what the target took: all but what was refused."""
    taken = Counts()
    taken.add(counts)
    for name, count in refused_counts(losses).items():
        setattr(taken, name, getattr(taken, name) - count)
    taken.bytes -= refused_bytes
    return taken


def _refuse_elsewhere(opened: Run, experiment: Experiment, change: Change) -> None:
    """Refuse a run of the target that is in another experiment than its original."""
    found = opened.info.experiment_id
    if found in (experiment.experiment_id, experiment.native_id):
        return
    raise Conflict(
        "the target has a run of this id in another experiment",
        operation="migrate",
        resource=change.subject,
        hint=f"it is in experiment {found}; delete it there, or leave it out",
    )
