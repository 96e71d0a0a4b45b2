"""A plan of a migration applied exactly, in an order in which an interruption at any point does no harm.

::

    is everything as planned? -> experiments -> runs, parents first, several at once -> models, versions
        -> deletions that were asked for -> links to renumbered versions -> experiments that end deleted
        -> the target is listed again and compared: what is as it should be goes into the ledger

One item that fails does not keep the others from being copied. When a backend does not answer any more, or
does not know us, no more is begun. What was copied and could not be compared is no success: it remains.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import msgspec

from trackbridge.domain.batches import Batch, Setting
from trackbridge.domain.migration import TAG_SOURCE_CREATED, Counts, Kind, Loss, Outcome, State
from trackbridge.domain.plans import Action, Change, Plan
from trackbridge.domain.runs import Experiment, LifecycleStage, Run
from trackbridge.domain.secrets import redact
from trackbridge.errors import AuthError, BridgeError, Exhausted, Rejected, Transient
from trackbridge.operations.migrate.bounds import Bounds, Spending
from trackbridge.operations.migrate.files import FileCopier
from trackbridge.operations.migrate.grouping import RunGroup, groups_of
from trackbridge.operations.migrate.ledger import Entry
from trackbridge.operations.migrate.logged_models import ModelCopier, refused, unmade_model
from trackbridge.operations.migrate.outcomes import done, gone
from trackbridge.operations.migrate.pair import Pair
from trackbridge.operations.migrate.partitions import (
    PART_RUNS_MAX,
    Applied,
    Common,
    Copied,
    Engine,
    Part,
    common_of,
    experiments_of,
    part_of,
    partitioned,
    plan_of,
)
from trackbridge.operations.migrate.planning import (
    asked_of,
    kind_of_change,
    losses_of,
    wanted_experiment,
)
from trackbridge.operations.migrate.preflight import Preflight, Report
from trackbridge.operations.migrate.prints import (
    differences,
    experiment_fields,
    own_tags,
    run_fields,
    run_print,
)
from trackbridge.operations.migrate.registries import RegistryCopier, refuse_other_print
from trackbridge.operations.migrate.report import Account
from trackbridge.operations.migrate.rewriting import names_model
from trackbridge.operations.migrate.runs import CopiedRun, RunCopier
from trackbridge.operations.migrate.staleness import held_changes
from trackbridge.operations.migrate.traces import TraceCopier
from trackbridge.operations.migrate.writing import RunWriter
from trackbridge.ports.capabilities import Feature

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
RETRYABLE_EXIT_CODE = 5
LIMIT_EXIT_CODE = 8
INTERRUPTED_EXIT_CODE = 130
FAILURES_MAX = 3
"""Items after another that a backend may leave without an answer before no more is begun."""

OnOutcome = Callable[[Outcome], None]
Item = TypeVar("Item")


@dataclass(slots=True, kw_only=True)
class Applying:
    """How a plan is applied.

    Args:
        bounds: What the user allows.
        strict: Whether anything that would be lost refuses the whole plan.
        user: Who does it.
        check_first: Whether both sides are compared with the plan before the first write.
        on_outcome: Told of every item; on the thread that did it.
        on_point: Told of every step.
        on_bytes: Told of bytes of files that were moved.
        merges: Whether somebody else sets what both sides have: aliases, and models that are there already.
        preflight: Looks at versions before they are promoted; None promotes them without a look.
        on_preflight: Told of what was found, where a pre-flight is made for this.
        account: What was done so far, also when the application is interrupted.
        engine: What copies the runs; None are threads of this process.
    """

    bounds: Bounds = field(default_factory=Bounds)
    strict: bool = False
    user: str = ""
    check_first: bool = True
    on_outcome: OnOutcome = lambda outcome: None
    on_point: Callable[[str], None] = lambda name: None
    on_bytes: Callable[[int], None] = lambda count: None
    merges: bool = False
    preflight: Preflight | None = None
    on_preflight: Callable[[Report], None] = lambda report: None
    account: Account = field(default_factory=Account)
    engine: Engine | None = None


class _Interrupted(Exception):
    """The user wants no more: what is under way ends at its next step."""


def apply_migration(plan: Plan, pair: Pair, how: Applying | None = None) -> Account:
    """Apply a plan and return the account.

    Raises:
        PlanStale: Something is not as it was when the plan was made; nothing was changed.
        Rejected: Something would be lost, and the plan is applied strictly; nothing was changed.
        Locked: Another process migrates between the two.
        KeyboardInterrupt: The user wanted no more; ``how.account`` says what was done and what remains.
    """
    how = how or Applying()
    if how.strict:
        refuse_losses(plan)
    with pair.ledger.applying():
        return _Application(plan, pair, how).run()


def apply_part(part: Part, common: Common, pair: Pair, how: Applying) -> Applied:
    """Apply a part of a plan's runs as ``apply_migration`` applies all of them; the ledger is left alone."""
    return _Application(plan_of(part, common), pair, how).run_part(part, common)


def refuse_losses(plan: Plan) -> None:
    """Refuse a plan by which anything would be lost.

    Raises:
        Rejected: Something would.
    """
    lost = [loss for change in plan.changes for loss in losses_of(change) if not loss.treatment.is_lossless]
    if lost:
        more = f", and {len(lost) - 1:,} more" if len(lost) > 1 else ""
        raise Rejected(
            f"the target cannot hold everything: {lost[0]}{more}",
            operation="migrate",
            hint="see all of it with --plan --json; leave it out, or go ahead without --strict",
        )


class _Application:
    def __init__(self, plan: Plan, pair: Pair, how: Applying) -> None:
        self.plan = plan
        self.pair = pair
        self.how = how
        self.asked = asked_of(plan)
        self.account = how.account = Account()
        self.interrupted = threading.Event()
        self.told: set[str] = set()
        self.spending = Spending(how.bounds, pair.target.world, self._count_bytes)
        self.held: frozenset[str] = frozenset()
        self.absent: frozenset[str] = frozenset()
        self.experiments: dict[str, Experiment] = {}
        self.originals: dict[str, Experiment] | None = None
        self.copied: dict[str, tuple[Change, CopiedRun]] = {}
        self.lock = threading.Lock()
        self.failures = 0
        self.copier: RunCopier | None = None
        self.registries = RegistryCopier(
            pair=pair, user=how.user, scratch=pair.ledger.scratch, on_point=self._point, merges=how.merges
        )
        self.registries.preflight = how.preflight
        if how.preflight is not None:
            how.preflight.on_wait = lambda: self._point("preflight")

    def run(self) -> Account:
        """Apply the plan; when the user interrupts it, the account says what remains."""
        try:
            self._run_all()
        except KeyboardInterrupt:
            self._leave_the_rest()
            raise
        return self.account

    def _run_all(self) -> None:
        if self.how.check_first:
            self.held, self.absent = held_changes(self.plan, self.pair)
        self._learn_ways_back()
        self._each(self._changes(Kind.EXPERIMENT), self._experiment, at_once=1)
        self._note_kept_experiments()
        self.copier = self._copier()
        if self.how.engine is not None:
            self.how.engine.begin(common_of(self.plan, self.pair, self.experiments))
        for generation in generations(self._changes(Kind.RUN)):
            self._copy_runs(generation)
        self._copy_entities()
        self._each(self._changes(Kind.MODEL), self.registries.copy_model, at_once=1)
        self._each(self._changes(Kind.VERSION), self.registries.copy_version, at_once=1)
        self._each(self._deletions(), self._delete, at_once=1)
        if not self._is_cut_off():
            self._relink()
            self._close_experiments()
        self._read_back()

    def run_part(self, part: Part, common: Common) -> Applied:
        """Copy the runs of a part, whose experiments are there."""
        outcomes: list[Outcome] = []
        self.how.on_outcome = outcomes.append
        self.absent = frozenset(part.absent)
        self.experiments = experiments_of(common)
        self.copier = self._copier()
        self._copy_runs(list(part.changes))
        prints = {change.subject: copied.print for change, copied in self.copied.values()}
        return Applied(
            copied=tuple(Copied(outcome=told, print=prints.get(told.subject, "")) for told in outcomes),
            bytes=self.spending.bytes_done,
            stopped=self.account.stopped,
            stopped_code=self.account.stopped_code,
        )

    def _point(self, name: str) -> None:
        """Tell of a step, at which an interruption takes effect."""
        if self.interrupted.is_set():
            raise _Interrupted
        self.how.on_point(name)

    def _count_bytes(self, count: int) -> None:
        if self.interrupted.is_set():
            raise _Interrupted
        self.how.on_bytes(count)

    def _interrupt(self) -> None:
        """End what is under way at its next step, and all waits between attempts."""
        self.interrupted.set()
        for side in (self.pair.source, self.pair.target):
            side.world.closing.set()
        still_writing = self.how.engine.cancel() if self.how.engine is not None else ""
        if still_writing:
            reason = f"interrupted; {still_writing}: let them end before it is gone on with"
            self.account.stop(reason, INTERRUPTED_EXIT_CODE)

    def _is_cut_off(self) -> bool:
        """Tell whether a backend does not answer any more, so that asking it once more only takes time."""
        return self.account.stopped_code not in (0, LIMIT_EXIT_CODE)

    def _leave_the_rest(self) -> None:
        """Count everything that was not done as left."""
        self.account.stop("interrupted", INTERRUPTED_EXIT_CODE)
        for change in self.plan.changes:
            if change.action is not Action.KEEP and change.subject not in self.told:
                left = Outcome(
                    subject=change.subject,
                    action=change.action.value,
                    state=State.LEFT,
                    error="interrupted",
                    exit_code=INTERRUPTED_EXIT_CODE,
                )
                self.account.add(left)

    # What is to be done.

    def _changes(self, kind: Kind) -> list[Change]:
        return [
            change
            for change in self.plan.changes
            if kind_of_change(change) is kind and change.action in (Action.CREATE, Action.UPDATE)
        ]

    def _deletions(self) -> list[Change]:
        return [change for change in self.plan.changes if change.action is Action.DELETE]

    def _learn_ways_back(self) -> None:
        for change in self._changes(Kind.RUN):
            source_id, target_id = (change.after or {})["run"], change.subject.partition(" ")[2]
            if self.pair.rewriter.run_id(source_id) != target_id:
                self.pair.rewriter.runs[source_id] = target_id

    def _each(self, changes: Iterable[Change], do: Callable[[Change], Outcome], *, at_once: int) -> None:
        """Do every change, several at once; count and tell what became of each."""
        self._at_once(changes, lambda change: self._tell(self._outcome(change, do)), at_once)

    def _at_once(self, items: Iterable[Item], do: Callable[[Item], None], at_once: int) -> None:
        with ThreadPoolExecutor(max(at_once, 1)) as pool:
            try:
                under_way: list[Future[None]] = [pool.submit(do, item) for item in items]
                for future in under_way:
                    future.result()
            except BaseException:
                self._interrupt()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _tell(self, outcome: Outcome) -> None:
        with self.lock:
            self.account.add(outcome)
            self.told.add(outcome.subject)
        self.how.on_outcome(outcome)

    def _outcome(self, change: Change, do: Callable[[Change], Outcome]) -> Outcome:
        subject, action = change.subject, change.action.value
        if subject in self.held:
            return Outcome(subject=subject, action=action, state=State.HELD)
        reason = self._reason_to_stop()
        if reason:
            return _left(change, reason)
        try:
            outcome = do(change)
        except Exception as error:  # of one item, such as a full disk: the others are copied all the same
            return self._failure(change, error)
        self.failures = 0
        return outcome

    def _reason_to_stop(self) -> str:
        """Return why no more is begun; "" when it is."""
        with self.lock:
            bound = self.spending.reached()
            if bound is not None:
                self.account.stop(bound, LIMIT_EXIT_CODE)
            return self.account.stopped

    def _failure(self, change: Change, error: Exception) -> Outcome:
        """Count something that went wrong with an item, and return what became of it."""
        failed = Outcome(subject=change.subject, action=change.action.value, state=State.FAILED)
        is_known = isinstance(error, BridgeError)
        if isinstance(error, _Interrupted) or (is_known and self.interrupted.is_set()):
            return msgspec.structs.replace(failed, state=State.LEFT, error="interrupted")
        if isinstance(error, BridgeError):
            self._count_failure(error)
            return msgspec.structs.replace(failed, error=_told(error), exit_code=error.exit_code)
        self._count_unexpected(error)
        return msgspec.structs.replace(failed, error=_unexpected(error), exit_code=1)

    def _count_failure(self, error: BridgeError) -> None:
        with self.lock:
            if isinstance(error, AuthError):
                self.account.stop(_told(error), error.exit_code)
            elif isinstance(error, (Exhausted, Transient)):
                self.failures += 1
                if self.failures >= FAILURES_MAX:
                    self.account.stop(_told(error), error.exit_code)

    def _count_unexpected(self, error: Exception) -> None:
        with self.lock:
            self.failures += 1
            is_full = isinstance(error, OSError) and error.errno in FULL_DISK
            if is_full or self.failures >= FAILURES_MAX:
                self.account.stop(_unexpected(error), RETRYABLE_EXIT_CODE if is_full else 1)

    # Experiments.

    def _experiment(self, change: Change) -> Outcome:
        after = change.after or {}
        target, original = self.pair.target.tracking, self._originals().get(after["name"])
        if original is None:
            return gone(change)
        wanted = wanted_experiment(self.pair, original)
        refuse_other_print(change, experiment_fields(original))
        if (change.before or {}).get("stage") == LifecycleStage.DELETED.value:
            target.restore_experiment(after["id"])
        created = original.tags.get(TAG_SOURCE_CREATED) or str(original.creation_time or "")
        tags = {**wanted["tags"], **({TAG_SOURCE_CREATED: created} if created else {})}
        self.experiments[after["name"]] = target.ensure_experiment(
            after["name"], experiment_id=after["id"], tags=tags
        )
        self._point("experiment")
        return done(change, Counts(experiments=1), losses=losses_of(change))

    def _originals(self) -> dict[str, Experiment]:
        if self.originals is None:
            self.originals = {item.name: item for item in self.pair.source.experiments()}
        return self.originals

    def _close_experiments(self) -> None:
        """Delete at the end those that are deleted at the source: what is deleted takes no runs."""
        if not self.pair.target.supports(Feature.TRACKING_DELETE):
            return
        for change in self._all(Kind.EXPERIMENT):
            after = change.after or {}
            found = self.experiments.get(after["name"])
            if found is not None and after["stage"] == LifecycleStage.DELETED.value:
                try:
                    self.pair.target.tracking.delete_experiment(found.experiment_id)
                except BridgeError as error:
                    outcome = done(change, Counts(experiments=1))
                    self.account.retract(outcome, error)
                self._point("closed")

    def _all(self, kind: Kind) -> Iterator[Change]:
        return (change for change in self.plan.changes if kind_of_change(change) is kind)

    # Runs.

    def _copy_runs(self, changes: list[Change]) -> None:
        """Copy runs, several at once; in groups to a target that waits for its disk."""
        transfers = self.how.bounds.transfers
        if self.how.engine is not None:
            self._copy_elsewhere(changes, self.how.engine)
        elif self.pair.target.gather is None:
            self._each(changes, self._run, at_once=transfers)
        else:
            self._at_once(groups_of(changes, transfers=transfers), self._run_group, transfers)

    def _run(self, change: Change) -> Outcome:
        copier = self._copier_of(change)
        copied = copier.copy(change, is_new=change.subject in self.absent)
        return self._noted(change, copied)

    def _run_group(self, changes: Sequence[Change]) -> None:
        assert self.copier is not None
        assert self.pair.target.gather is not None
        gathered = self.pair.target.gather()
        group = RunGroup(self.copier.towards(gathered.side), gathered)
        for change in changes:
            if self.interrupted.is_set():  # the rest is counted as left
                break
            outcome = self._outcome(change, partial(self._begin, group))
            if outcome.state is not State.DONE:
                self._tell(outcome)
            if group.is_full:
                self._end(group)
        self._end(group)

    def _begin(self, group: RunGroup, change: Change) -> Outcome:
        self._copier_of(change)
        return group.begin(change, is_new=change.subject in self.absent).outcome

    def _end(self, group: RunGroup) -> None:
        for change, copied, error in group.end():
            self._tell(self._noted(change, copied) if error is None else self._failure(change, error))

    def _noted(self, change: Change, copied: CopiedRun) -> Outcome:
        with self.lock:
            self.copied[change.subject.partition(" ")[2]] = (change, copied)
        return copied.outcome

    def _copy_elsewhere(self, changes: list[Change], engine: Engine) -> None:
        """Have runs copied by others, part by part; what was made already is not sent there."""
        self.pair.listed.clear()  # who copies them lists them
        ready: list[Change] = []
        for change in changes:
            if change.subject in self.held or (change.after or {})["experiment"] not in self.experiments:
                self._tell(self._outcome(change, self._run))
            else:
                ready.append(change)
        runs_max = PART_RUNS_MAX if self.how.bounds.bytes_max is None else 1
        parts = partitioned(ready, workers=engine.width, runs_max=runs_max)
        self._at_once(parts, lambda part: self._copy_part(part, engine), engine.width)

    def _copy_part(self, changes: list[Change], engine: Engine) -> None:
        reason = self._reason_to_stop()
        if reason:
            for change in changes:
                self._tell(_left(change, reason))
            return
        part = part_of(changes, absent=self.absent, bounds=self.spending.share(engine.width))
        try:
            applied = engine.apply(part)
        except Exception as error:  # of one part: the others are copied all the same
            failed = self._failure(changes[0], error)
            for change in changes:
                subject, action = change.subject, change.action.value
                self._tell(msgspec.structs.replace(failed, subject=subject, action=action))
            return
        self._take(applied, {change.subject: change for change in changes})
        self._point("part")

    def _take(self, applied: Applied, changes: dict[str, Change]) -> None:
        """Take over what became of a part."""
        self.failures = 0
        for copied in applied.copied:
            self._noted(changes[copied.outcome.subject], CopiedRun(copied.outcome, copied.print))
            self._tell(copied.outcome)
        self.spending.note(applied.bytes)
        if applied.stopped:
            with self.lock:
                self.account.stop(applied.stopped, applied.stopped_code)

    def _copier_of(self, change: Change) -> RunCopier:
        """Return what copies a run, once its experiment is there."""
        assert self.copier is not None
        if (change.after or {})["experiment"] not in self.experiments:
            raise Rejected(
                "its experiment is not at the target", operation="migrate", resource=change.subject
            )
        return self.copier

    def _copier(self) -> RunCopier:
        files = FileCopier(
            source=self.pair.source,
            target=self.pair.target,
            rewriter=self.pair.rewriter,
            spending=self.spending,
            scratch=self.pair.ledger.scratch,
            on_file=lambda: self._point("file"),
        )
        return RunCopier(
            pair=self.pair,
            files=files,
            experiments=self.experiments,
            deleted=self._deleted_experiments(),
            delete=self.asked.delete,
            on_point=self._point,
        )

    def _note_kept_experiments(self) -> None:
        """Note the target's experiments that runs go to and that were not touched."""
        for change in self._all(Kind.EXPERIMENT):
            after = change.after or {}
            is_there = change.action is Action.KEEP or change.subject in self.held
            if after["name"] not in self.experiments and is_there:
                self.experiments[after["name"]] = Experiment(experiment_id=after["id"], name=after["name"])

    def _deleted_experiments(self) -> frozenset[str]:
        return frozenset(
            (change.after or {})["name"]
            for change in self._all(Kind.EXPERIMENT)
            if (change.after or {})["stage"] == LifecycleStage.DELETED.value
        )

    def _delete(self, change: Change) -> Outcome:
        if kind_of_change(change) is Kind.VERSION:
            return self.registries.delete_version(change)
        run_id = change.subject.partition(" ")[2]
        self.pair.target.tracking.delete_run(run_id)
        self.pair.ledger.forget(Kind.RUN, run_id)
        self._point("deleted")
        return done(change, Counts())

    def _relink(self) -> None:
        """Write links to versions that have another number at the target, in tags of what was copied."""
        if not self.pair.rewriter.renames_models:
            return
        self._relink_experiments()
        for run_id, (change, copied) in list(self.copied.items()):
            is_named = bool(self.registries.renumbered) or bool((change.after or {}).get("links"))
            if copied.outcome.state is not State.DONE or not is_named:
                continue
            try:
                listed = self.pair.source.tracking.get_run((change.after or {})["run"])
                self._relink_run(run_id, listed, change, copied)
            except BridgeError as error:
                with self.lock:
                    self.account.retract(copied.outcome, error)
        self._relink_kept()

    def _relink_kept(self) -> None:
        """Do the same for runs that were copied before and name a version that has come only now."""
        for change in self._all(Kind.RUN):
            after = change.after or {}
            if change.action is not Action.KEEP or not after.get("links"):
                continue
            kept = done(change, Counts())
            try:
                listed = self.pair.source.tracking.get_run(after["run"])
                self._relink_run(change.subject.partition(" ")[2], listed, change, CopiedRun(kept))
            except BridgeError as error:
                self.account.add(
                    msgspec.structs.replace(
                        kept, state=State.FAILED, error=_told(error), exit_code=error.exit_code
                    )
                )

    def _relink_experiments(self) -> None:
        for change in self._all(Kind.EXPERIMENT):
            original = self._originals().get((change.after or {})["name"])
            found = self.experiments.get((change.after or {})["name"])
            if original is None or found is None or change.subject in self.held:
                continue
            tags = wanted_experiment(self.pair, original)["tags"]
            lacking = {key: value for key, value in tags.items() if found.tags.get(key) != value}
            if lacking and change.action is not Action.KEEP:
                self.pair.target.tracking.ensure_experiment(
                    found.name, experiment_id=found.experiment_id, tags=lacking
                )

    def _relink_run(self, run_id: str, listed: Run, change: Change, copied: CopiedRun) -> None:
        logged = self.pair.source.stored.unspilled(listed)
        wanted = self.pair.rewriter.run(logged)
        found = own_tags(self.pair.target.stored.run(run_id).data.tags)
        tags = own_tags(wanted.data.tags)
        settings = [
            Setting(key, value, number)
            for number, (key, value) in enumerate(sorted(tags.items()), 1)
            if found.get(key) != value and names_model(value)
        ]
        if not settings:
            return
        experiment = (change.after or {})["experiment"]
        goes_along = experiment in self._deleted_experiments()
        deletes = self.pair.target.supports(Feature.TRACKING_DELETE)
        if deletes and goes_along and change.action is Action.KEEP:  # it was deleted; in the end it is again
            self.pair.target.tracking.restore_experiment(self.experiments[experiment].experiment_id)
        is_deleted = deletes and wanted.info.lifecycle_stage is LifecycleStage.DELETED and not goes_along
        if is_deleted:
            self.pair.target.tracking.restore_run(run_id)
        writer = RunWriter(
            target=self.pair.target, run_id=run_id, subject=change.subject, now_ms=self.pair.clock_ms()
        )
        writer.write(Batch(run_id=run_id, tags=settings))
        if is_deleted:
            self.pair.target.tracking.delete_run(run_id)
        if copied.print:
            self.copied[run_id] = (change, CopiedRun(copied.outcome, run_print(wanted)))

    # Logged models and traces.

    def _copy_entities(self) -> None:
        """Copy logged models, end the runs that wait for them, copy traces; count what is not held."""
        assert self.copier is not None
        files, experiments, transfers = self.copier.files, self.experiments, self.how.bounds.transfers
        models = ModelCopier(pair=self.pair, files=files, experiments=experiments, on_point=self._point)
        traces = TraceCopier(pair=self.pair, files=files, experiments=experiments, on_point=self._point)
        self._each(self._changes(Kind.LOGGED_MODEL), models.copy, at_once=transfers)
        undone = frozenset(outcome.subject for outcome in self.account.remaining)
        waiting = [item for item in self.copied.values() if item[1].outcome.links]
        self._at_once(waiting, lambda item: self._end_linked(*item, undone), transfers)
        self._each(self._changes(Kind.TRACE), traces.copy, at_once=transfers)
        for change in self.plan.changes:
            if kind_of_change(change) in (Kind.LOGGED_MODEL, Kind.TRACE) and losses_of(change):
                self._tell(refused(change))

    def _end_linked(self, change: Change, copied: CopiedRun, undone: frozenset[str]) -> None:
        """End a run whose logged models are there now; another one remains, and is gone on with."""
        assert self.copier is not None
        error: BridgeError | str = self.account.stopped if self._is_cut_off() else ""
        error = error or unmade_model(copied.outcome, undone)
        losses: list[Loss] = []
        if not error:
            try:
                losses = self.copier.end_linked(change, copied.outcome.links)
            except BridgeError as refusal:
                error = refusal
        with self.lock:
            self.account.losses += losses
            if error:
                self.copied.pop(change.subject.partition(" ")[2])
                self.account.retract(copied.outcome, error)

    # Afterwards.

    def _read_back(self) -> None:
        """List the target again: what is as it should be goes into the ledger, the rest is no success."""
        names = {(change.after or {})["experiment"] for change, _ in self.copied.values()}
        unread: BridgeError | None = None
        for name in sorted(names):
            experiment = self.experiments.get(name)
            if experiment is None:
                continue
            try:
                self._read_back_runs(experiment)
            except BridgeError as error:  # what was done is not compared, so nothing can be said of it
                unread = error
                self.account.stop(_told(error), error.exit_code)
                break
            self._point("ledger")
        for run_id, (_, copied) in self.copied.items():
            if copied.outcome.state is State.DONE:
                self.account.retract(copied.outcome, unread or f"the copy {run_id} is not there any more")

    def _read_back_runs(self, experiment: Experiment) -> None:
        entries = [self._entry(run) for run in self.pair.target.runs(experiment.experiment_id)]
        self.pair.ledger.put([entry for entry in entries if entry is not None])

    def _entry(self, run: Run) -> Entry | None:
        change, copied = self.copied.pop(run.info.run_id, (None, None))
        if change is None or copied is None or copied.outcome.state is not State.DONE:
            return None
        target_print = run_print(run)
        if copied.print and copied.print != target_print:
            differing = self._differences(change, run)
            if differing:
                self.account.retract(copied.outcome, f"the copy differs: {'; '.join(differing[:3])}")
                return None
        after = change.after or {}
        return Entry(
            kind=Kind.RUN,
            source_id=after["run"],
            target_id=run.info.run_id,
            source_print=after["print"],
            target_print=target_print,
            losses=copied.outcome.losses,
            time=self.pair.clock_ms(),
        )

    def _differences(self, change: Change, run: Run) -> tuple[str, ...]:
        """Return how a copy differs, once what lies in side-cars is merged in."""
        source = self.pair.source
        try:
            listed = source.tracking.get_run((change.after or {})["run"])
            wanted = run_fields(self.pair.rewriter.run(source.stored.unspilled(listed)))
            found = run_fields(self.pair.target.stored.unspilled(run))
        except BridgeError as error:
            return (str(error),)
        if not self.asked.delete:
            found["tags"] = {key: value for key, value in found["tags"].items() if key in wanted["tags"]}
        return differences(wanted, found)


def generations(changes: Iterable[Change]) -> Iterator[list[Change]]:
    """Yield runs so that each comes after its parent; those of a circle come together at the end."""
    left = {change.subject.partition(" ")[2]: change for change in changes}
    while left:
        ready = [
            run_id
            for run_id, change in left.items()
            if (parent := (change.after or {}).get("parent", "")) not in left or parent == run_id
        ]
        chosen = ready or list(left)
        yield [left.pop(run_id) for run_id in chosen]


def _unexpected(error: Exception) -> str:
    return redact(f"unexpected {type(error).__name__}: {error}")


def _left(change: Change, reason: str) -> Outcome:
    return Outcome(subject=change.subject, action=change.action.value, state=State.LEFT, error=reason)


def _told(error: BridgeError) -> str:
    return f"{error}; {error.hint}" if error.hint else str(error)
