"""From two backends to a plan: what is missing or differs at the target, why, and what it will not hold.

::

    for each experiment:   the target's runs, as prints  <--compare--  pages of the source's runs
                                                              |
    target has none            -> create                      +-- what the target cannot hold: losses
    made of this very state    -> keep
    not ended                  -> update: an interrupted copy goes on
    made of an earlier state   -> update

Nothing is changed, but that the ledger learns what the target's tags say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from trackbridge.delivery.fitting import escaped_key
from trackbridge.delivery.spills import Spill, spilled_metrics
from trackbridge.domain.batches import MetricColumns
from trackbridge.domain.migration import (
    OPERATION,
    TAG_SOURCE_CREATED,
    TAG_SOURCE_PRINT,
    TAG_SOURCE_URI,
    Kind,
    Loss,
    Treatment,
)
from trackbridge.domain.plans import Action, Change, Plan
from trackbridge.domain.runs import TAG_PARENT, Experiment, LifecycleStage, Run
from trackbridge.errors import LimitReached, NotFound, Unsupported
from trackbridge.operations.migrate.bounds import TRANSFERS
from trackbridge.operations.migrate.entity_plans import EntityPlans
from trackbridge.operations.migrate.identity import original_at, target_experiment_id
from trackbridge.operations.migrate.ledger import Entry
from trackbridge.operations.migrate.losses import losses_of_run, needs_histories, stays_active
from trackbridge.operations.migrate.pair import Asked, Pair
from trackbridge.operations.migrate.prints import (
    differences,
    experiment_fields,
    own_tags,
    print_of,
    run_fields,
    run_print,
    shown_fields,
)
from trackbridge.operations.migrate.registry_plans import RegistryPlanner
from trackbridge.operations.migrate.rewriting import names_version
from trackbridge.operations.migrate.selecting import Selector
from trackbridge.operations.plans import basis_of
from trackbridge.ports.capabilities import Feature, Limits

RUNS_AT_ONCE = 500
"""Runs that are looked at together: their values are in memory, those of the others are not."""

INTERRUPTED = "an interrupted copy goes on"

OnFound = Callable[[int], None]
"""Called with how many runs were looked at so far."""


class TargetRun(NamedTuple):
    """What planning has to know of a run of the target; of a listing, that is all that stays in memory."""

    print: str
    marker: str
    status: str
    stage: str
    source_uri: str


def plan_migration(
    pair: Pair,
    asked: Asked,
    *,
    transfers: int = TRANSFERS,
    with_losses: bool = True,
    on_found: OnFound | None = None,
) -> Plan:
    """Compare the two sides and return what there is to do.

    Args:
        pair: Source and target.
        asked: What is to be moved, and how.
        transfers: Runs that are looked at at the same time.
        with_losses: Whether to find out what the target does not hold; costs reading.
        on_found: Told of the runs that were looked at.

    Raises:
        NotFound: Something that was named is not at the source.
        InvalidQuery: The filter is wrong.
        LimitReached: More would be deleted than is allowed.
        Exhausted: A backend does not answer.
    """
    planner = _Planner(pair, asked, transfers, with_losses, on_found or _silent)
    changes = tuple(planner.changes())
    deletions = sum(change.action is Action.DELETE for change in changes)
    if asked.delete_max is not None and deletions > asked.delete_max:
        raise LimitReached(
            f"{deletions:,} items would be deleted at the target, and {asked.delete_max:,} are allowed",
            operation=OPERATION,
            hint="see which with --plan and without --max-delete; then allow as many",
        )
    return Plan(
        operation=OPERATION,
        basis=basis_of([[change.subject, change.before, _print_of(change)] for change in changes]),
        changes=changes,
        created_time=pair.clock_ms(),
        parameters={
            "source": pair.source.uri,
            "target": pair.target.uri,
            "asked": msgspec.to_builtins(asked),
        },
        notes=tuple(planner.notes),
    )


def losses_of(change: Change) -> tuple[Loss, ...]:
    """Return what the target will not hold as it is of a planned change."""
    return msgspec.convert((change.after or {}).get("losses", []), tuple[Loss, ...])


def kind_of_change(change: Change) -> Kind:
    """Return what a change is of."""
    return Kind(change.subject.partition(" ")[0])


def asked_of(plan: Plan) -> Asked:
    """Return what the user asked for when a plan was made."""
    return msgspec.convert(plan.parameters.get("asked", {}), Asked)


class _Planner:
    def __init__(
        self, pair: Pair, asked: Asked, transfers: int, with_losses: bool, on_found: OnFound
    ) -> None:
        self.pair = pair
        self.asked = asked
        self.selector = Selector(asked.selection)
        self.transfers = transfers
        self.with_losses = with_losses
        self.on_found = on_found
        self.notes: list[str] = []
        self.found = 0
        self.seen: set[str] = set()
        self._experiments: dict[str, Experiment] | None = None
        self.entities = EntityPlans(pair, self.selector)

    def changes(self) -> Iterator[Change]:
        """Yield every change: experiments each before their runs, then models before their versions."""
        registries = RegistryPlanner(self.pair, self.selector, delete=self.asked.delete)
        self.pair.rewriter.versions.update(registries.known_numbers())
        self.selector.needed = self.entities.needed(registries.needed_runs())
        experiments = self.selector.experiments(self.pair.source)
        self.entities.read(experiments, self.target_experiments().values())
        for experiment in experiments:
            yield from self._experiment(experiment, self._planned_runs(experiment))
        planned = {key for experiment in experiments for key in _ids_of(experiment)}
        yield from self._needed(self.selector.needed - self.seen, self.entities.homes - planned)
        yield from registries.changes()
        self._note_what_goes_for_all(registries)

    # Experiments.

    def _planned_runs(self, experiment: Experiment) -> Callable[[Experiment | None], Iterator[Change]]:
        return lambda found: self._runs(experiment, found)

    def _experiment(
        self, experiment: Experiment, runs: Callable[[Experiment | None], Iterator[Change]]
    ) -> Iterator[Change]:
        found = self.target_experiments().get(experiment.name)
        planned = list(runs(found))
        if not planned and found is None and self.asked.selection.narrows_runs:
            return  # none of its runs is meant, so it is not meant itself
        planned += self.entities.changes(experiment, self.seen)
        opens = any(change.action is not Action.KEEP for change in planned)
        yield self._experiment_change(experiment, found, opens=opens)
        yield from planned

    def target_experiments(self) -> dict[str, Experiment]:
        """Return the experiments of the target by name."""
        if self._experiments is None:
            self._experiments = {item.name: item for item in self.pair.target.experiments()}
        return self._experiments

    def _experiment_change(self, experiment: Experiment, found: Experiment | None, *, opens: bool) -> Change:
        subject = f"experiment {experiment.name}"
        losses = self._losses_of_experiment(experiment, subject)
        wanted = wanted_experiment(self.pair, experiment)
        after = {
            **shown_fields(wanted),
            "name": experiment.name,
            "id": found.experiment_id if found else target_experiment_id(experiment),
            "print": print_of(experiment_fields(experiment)),
            "losses": msgspec.to_builtins(losses),
        }
        if found is None:
            return Change(action=Action.CREATE, subject=subject, after=after, why="the target has none")
        is_there = experiment_fields(found)
        before = shown_fields(is_there)
        lack = {key: value for key, value in wanted["tags"].items() if is_there["tags"].get(key) != value}
        can_delete = self.pair.target.supports(Feature.TRACKING_DELETE)
        if lack or (is_there["stage"] != wanted["stage"] and can_delete):
            why = "its tags differ" if lack else f"it is {wanted['stage']} at the source"
            return Change(action=Action.UPDATE, subject=subject, before=before, after=after, why=why)
        if opens and found.lifecycle_stage is LifecycleStage.DELETED:
            why = "it is restored while runs come in, and deleted again"
            return Change(action=Action.UPDATE, subject=subject, before=before, after=after, why=why)
        return Change(action=Action.KEEP, subject=subject, before=before, after=after)

    def _losses_of_experiment(self, experiment: Experiment, subject: str) -> list[Loss]:
        limits = self.pair.target.capabilities.limits
        losses = [
            Loss(item=subject, field=f"tags.{key[:80]}", treatment=Treatment.REFUSED, detail=problem)
            for key, value in own_tags(experiment.tags).items()
            if (problem := _tag_problem(key, value, limits)) is not None
        ]
        if _is_deleted(experiment) and not self.pair.target.supports(Feature.TRACKING_DELETE):
            losses.append(stays_active(subject))
        return losses

    # Runs.

    def _runs(self, experiment: Experiment, found: Experiment | None) -> Iterator[Change]:
        there = self._target_runs(found)
        runs = self.selector.runs(self.pair.source, experiment)
        with ThreadPoolExecutor(self.transfers) as pool:
            while some := list(islice(runs, RUNS_AT_ONCE)):
                self._learn_ways_back(some)

                def planned(run: Run) -> Change:
                    return self._run_change(
                        run, experiment, there.get(self.pair.rewriter.run_id(run.info.run_id))
                    )

                changes = list(pool.map(planned, some))
                self._rebuild(some, changes, there)
                for run in some:
                    there.pop(self.pair.rewriter.run_id(run.info.run_id), None)
                    self.seen.add(run.info.run_id)
                self.found += len(some)
                self.on_found(self.found)
                yield from changes
        if self.asked.delete and not self.asked.selection.narrows_runs:
            yield from self._deletions(there)

    def _target_runs(self, found: Experiment | None) -> dict[str, TargetRun]:
        if found is None:
            return {}
        return {run.info.run_id: target_run_of(run) for run in self.pair.target.runs(found.experiment_id)}

    def _learn_ways_back(self, runs: Iterable[Run]) -> None:
        """Note which runs are copies of runs of the target itself: these are meant, not new ones."""
        for run in runs:
            original = original_at(self.pair.target.uri, run.data.tags)
            if original is not None:
                self.pair.rewriter.runs[run.info.run_id] = original

    def _run_change(self, run: Run, experiment: Experiment, found: TargetRun | None) -> Change:
        target_id = self.pair.rewriter.run_id(run.info.run_id)
        subject = f"run {target_id}"
        action, why = self._decision(run, target_id, found, is_deleted=_is_deleted(experiment))
        parent = run.data.tags.get(TAG_PARENT, "")
        after: dict[str, Any] = {
            "run": run.info.run_id,
            "experiment": experiment.name,
            "name": run.info.run_name,
            "print": run_print(run),
            "status": run.info.status.value,
            "stage": run.info.lifecycle_stage.value,
            "parent": self.pair.rewriter.run_id(parent) if parent else "",
        }
        if names_version(run):
            after["links"] = True
        if action is not Action.KEEP and self.with_losses:
            after["losses"] = msgspec.to_builtins(self._losses(run, subject))
        elif action is not Action.KEEP and not self.pair.has_logged_models:  # it is about to be copied
            self.pair.listed.note(run)
        before = (
            None if found is None else {"print": found.print, "status": found.status, "stage": found.stage}
        )
        return Change(action=action, subject=subject, before=before, after=after, why=why)

    def _decision(
        self, run: Run, target_id: str, found: TargetRun | None, *, is_deleted: bool
    ) -> tuple[Action, str]:
        if found is None:
            return Action.CREATE, "the target has none"
        if not run.info.status.is_final:
            return Action.UPDATE, "it is not ended at the source"
        if not found.marker:
            return self._compared(run, target_id)
        if found.marker != run_print(run):
            return Action.UPDATE, "it has changed at the source"
        if found.status != run.info.status.value:
            return Action.UPDATE, INTERRUPTED
        can_delete = self.pair.target.supports(Feature.TRACKING_DELETE)
        if found.stage != run.info.lifecycle_stage.value and can_delete and not is_deleted:
            return Action.UPDATE, f"it is {run.info.lifecycle_stage.value} at the source"
        entry = self.pair.ledger.find(Kind.RUN, run.info.run_id)
        if entry is not None and entry.target_print not in ("", found.print):
            return self._compared(run, target_id)
        looks_closer = self.asked.deep or (names_version(run) and self.pair.rewriter.renames_models)
        return self._compared(run, target_id) if looks_closer else (Action.KEEP, "")

    def _compared(self, run: Run, target_id: str) -> tuple[Action, str]:
        """Compare two runs field by field; what only the target has counts where it would be deleted."""
        try:
            found = self.pair.target.stored.run(target_id)
        except NotFound:
            return Action.CREATE, "the target has none"
        wanted = run_fields(self.pair.rewriter.run(self.pair.source.stored.unspilled(run)))
        is_there = run_fields(found)
        if not self.pair.target.supports(Feature.TRACKING_DELETE):
            wanted["stage"] = is_there["stage"]
        if not self.asked.delete:
            is_there = _without_extra(is_there, wanted)
        differing = differences(wanted, is_there)
        if not differing and self.asked.deep:
            from trackbridge.operations.migrate.checking import deep_differences

            differing = deep_differences(self.pair, run, target_id)
        if not differing:
            return Action.KEEP, ""
        more = f" and {len(differing) - 1:,} more" if len(differing) > 1 else ""
        return Action.UPDATE, f"it differs: {differing[0]}{more}"

    def _losses(self, run: Run, subject: str) -> tuple[Loss, ...]:
        source, target = self.pair.source, self.pair.target
        losses: list[Loss] = []
        if run.info.lifecycle_stage is LifecycleStage.DELETED and not target.supports(
            Feature.TRACKING_DELETE
        ):
            losses.append(stays_active(subject))
        if not target.stored.holds_everything:
            # A run that is known by its native id was not written by us, and has no side-cars.
            is_ours = run.info.native_id is not None
            spills = source.stored.spills(run.info.run_id) if is_ours else ()
            logged = self.pair.rewriter.run(source.stored.unspilled(run, spills))
            losses += losses_of_run(
                logged,
                self._histories(run, logged, spills),
                target.capabilities,
                item=subject,
                now_ms=self.pair.clock_ms(),
            )
        most = target.capabilities.limits.artifact_bytes_max
        if most is not None or target.artifacts is None:
            losses += self._losses_of_files(run, subject, most)
        return tuple(losses)

    def _histories(self, run: Run, logged: Run, spills: tuple[Spill, ...]) -> Mapping[str, MetricColumns]:
        source, target = self.pair.source, self.pair.target
        needs_all = needs_histories(source.capabilities, target.capabilities)
        keys = tuple(logged.data.metrics) if needs_all else spilled_metrics(spills)
        return {key: source.stored.history(run.info.run_id, key, spills) for key in keys}

    def _losses_of_files(self, run: Run, subject: str, most: int | None) -> Iterator[Loss]:
        has_no_place = self.pair.target.artifacts is None
        for info in self.pair.source.files(run.info.run_id):
            size = info.file_size or 0
            if has_no_place or (most is not None and size > most):
                limit = "no files" if has_no_place else f"files of {most:,} bytes"
                yield Loss(
                    item=subject,
                    field=f"files.{info.path[:80]}",
                    treatment=Treatment.REFUSED,
                    detail=f"{size:,} bytes; the target takes {limit}",
                )

    def _rebuild(self, runs: list[Run], changes: list[Change], there: Mapping[str, TargetRun]) -> None:
        """Write down what the target's tags say and the ledger does not know."""
        missing = [
            Entry(
                kind=Kind.RUN,
                source_id=run.info.run_id,
                target_id=self.pair.rewriter.run_id(run.info.run_id),
                source_print=run_print(run),
                target_print=there[self.pair.rewriter.run_id(run.info.run_id)].print,
                time=self.pair.clock_ms(),
            )
            for run, change in zip(runs, changes, strict=True)
            if change.action is Action.KEEP and self.pair.ledger.find(Kind.RUN, run.info.run_id) is None
        ]
        if missing:
            self.pair.ledger.put(missing)

    def _deletions(self, there: Mapping[str, TargetRun]) -> Iterator[Change]:
        """Yield the deletion of every copy whose original is gone; what others made is never touched."""
        for run_id, found in there.items():
            is_copy = found.source_uri == self.pair.source.uri
            if is_copy and found.stage == LifecycleStage.ACTIVE.value:
                yield Change(
                    action=Action.DELETE,
                    subject=f"run {run_id}",
                    before={"print": found.print, "status": found.status, "stage": found.stage},
                    why="its original is gone from the source",
                )

    def _needed(self, run_ids: Iterable[str], homes: Iterable[str]) -> Iterator[Change]:
        """Yield the runs that selected models need and that are not selected themselves.

        Args:
            run_ids: The runs.
            homes: Experiments of logged models that they need.
        """
        experiments: dict[str, list[Run]] = {home: [] for home in sorted(homes)}
        for run_id in sorted(run_ids):
            try:
                run = self.pair.source.tracking.get_run(run_id)
            except NotFound:  # the version says so itself
                continue
            experiments.setdefault(run.info.experiment_id, []).append(run)
        if not experiments:
            return
        known = {key: item for item in self.pair.source.experiments() for key in _ids_of(item)}
        self.entities.read([known[key] for key in experiments], self.target_experiments().values())
        for experiment_id, runs in experiments.items():
            experiment = known[experiment_id]
            yield from self._experiment(experiment, self._planned_needed(experiment, runs))

    def _planned_needed(
        self, experiment: Experiment, runs: list[Run]
    ) -> Callable[[Experiment | None], Iterator[Change]]:
        def planned(_: Experiment | None) -> Iterator[Change]:
            self._learn_ways_back(runs)
            for run in runs:
                self.seen.add(run.info.run_id)
                yield self._run_change(run, experiment, self._target_run(run.info.run_id))

        return planned

    def _target_run(self, run_id: str) -> TargetRun | None:
        try:
            return target_run_of(self.pair.target.tracking.get_run(self.pair.rewriter.run_id(run_id)))
        except NotFound:
            return None

    def _note_what_goes_for_all(self, registries: RegistryPlanner) -> None:
        if self.found or registries.selected():
            self.notes.append(
                "times of creation of experiments, models and versions are those of the copies; the "
                f"originals' are in the tag {TAG_SOURCE_CREATED} and in the history of each version"
            )
        self.notes += registries.notes
        if self.found and not self.pair.source.supports(Feature.TRACKING_METRIC_HISTORY):
            raise Unsupported(
                "the source does not give out the history of its metrics",
                adapter=self.pair.source.capabilities.adapter,
                operation=OPERATION,
            )


def wanted_experiment(pair: Pair, experiment: Experiment) -> dict[str, Any]:
    """Return tags and stage that an experiment of the source is to have at the target."""
    limits = pair.target.capabilities.limits
    wanted = experiment_fields(experiment)
    tags = pair.rewriter.tags(wanted["tags"])
    wanted["tags"] = {key: value for key, value in tags.items() if _tag_problem(key, value, limits) is None}
    return wanted


def _tag_problem(key: str, value: str, limits: Limits) -> str | None:
    """Return why a tag of an experiment, which has no side-car, is not held as it is."""
    most = limits.tag_value_chars_max
    if most is not None and len(value) > most:
        return f"{len(value):,} characters; the target takes {most:,}"
    return None if escaped_key(key, limits) == key else "the target does not take its name"


def target_run_of(run: Run) -> TargetRun:
    """Return what planning has to know of a run of the target."""
    return TargetRun(
        run_print(run),
        run.data.tags.get(TAG_SOURCE_PRINT, ""),
        run.info.status.value,
        run.info.lifecycle_stage.value,
        run.data.tags.get(TAG_SOURCE_URI, ""),
    )


def _is_deleted(experiment: Experiment) -> bool:
    return experiment.lifecycle_stage is LifecycleStage.DELETED


def _without_extra(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields without those params, tags and data sets that only the target has."""
    return {
        name: {key: value[key] for key in value if key in wanted[name]}
        if isinstance(value, Mapping)
        else value
        for name, value in found.items()
    }


def _ids_of(experiment: Experiment) -> Iterator[str]:
    yield experiment.experiment_id
    if experiment.native_id is not None:
        yield experiment.native_id


def _print_of(change: Change) -> object:
    after = change.after or {}
    return after.get("print", after)


def _silent(count: int) -> None:
    pass
