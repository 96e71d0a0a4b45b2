"""Logged models from the source to the target: made, filled with files, then given their state.

One that is being copied is PENDING and has no mark. The target's server may give it another id of its own,
which links to it get: in tags, in ``MLmodel``, in versions that were registered from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from trackbridge.domain.metric_values import kind_of
from trackbridge.domain.migration import (
    TAG_SOURCE_CREATED,
    TAG_SOURCE_PRINT,
    TAG_SOURCE_URI,
    Counts,
    Kind,
    Loss,
    Outcome,
    State,
    Treatment,
)
from trackbridge.domain.plans import Change
from trackbridge.domain.runs import Experiment, LifecycleStage, Run
from trackbridge.domain.traces import LoggedModel, ModelLink, ModelMetric
from trackbridge.errors import Conflict, NotFound, Rejected, Unsupported
from trackbridge.operations.migrate.entities import EntityPlanner, Found, marks_of
from trackbridge.operations.migrate.files import FileCopier
from trackbridge.operations.migrate.ledger import Entry
from trackbridge.operations.migrate.outcomes import done, gone
from trackbridge.operations.migrate.pair import Pair
from trackbridge.operations.migrate.prints import bits_of, differences, own_tags, print_of
from trackbridge.operations.migrate.registries import refuse_other_print
from trackbridge.operations.migrate.side import Side
from trackbridge.ports.capabilities import Feature

PENDING = "PENDING"
TAG_VERSIONS = "mlflow.modelVersions"
"""A server's own list of the versions that were registered from a logged model."""


def model_planner(pair: Pair) -> EntityPlanner:
    """Return what plans logged models."""
    feature = Feature.TRACKING_LOGGED_MODELS
    return EntityPlanner(pair, Kind.LOGGED_MODEL, feature, _listed, differences_of_models)


def learn_model_ids(pair: Pair, planner: EntityPlanner) -> None:
    """Note the ids that logged models have at the target already, so that links to them are right."""
    for item, there in planner.pairs():
        if there is not None and item.native != there.native:
            pair.rewriter.models[item.native] = there.native


def _listed(side: Side, experiment_ids: tuple[str, ...]) -> Iterator[Found]:
    for model in side.logged_models(experiment_ids):
        mark, is_copy = marks_of(model.tags)
        yield Found(
            identifier=model.model_id,
            experiment_id=model.experiment_id,
            name=model.name,
            run_id=model.source_run_id,
            print=print_of(fields_of_model(model)),
            mark=mark,
            is_copy=is_copy,
            native=native_id(model),
        )


def _own(tags: dict[str, str]) -> dict[str, str]:
    """Return the tags that are a logged model's own, wherever it is."""
    return {key: value for key, value in own_tags(tags).items() if key != TAG_VERSIONS}


def native_id(model: LoggedModel) -> str:
    """Return the id that mlflow's own clients know a logged model by."""
    return model.native_id or model.model_id


def fields_of_model(model: LoggedModel) -> dict[str, Any]:
    """Return what makes two logged models equal, but for ids and files."""
    metrics = Counter(
        f"{item.key}@{item.step}, {item.timestamp}: {bits_of(item.value)}, {item.run_id}, "
        f"{item.dataset_name} {item.dataset_digest}"
        for item in model.metrics
    )
    return {
        "name": model.name,
        "type": model.model_type,
        "status": model.status,
        "source_run": model.source_run_id,
        "params": model.params,
        "tags": _own(model.tags),
        "metrics": dict(metrics),
    }


def wanted_model(pair: Pair, model: LoggedModel) -> LoggedModel:
    """Return a logged model of the source with its links as they are at the target."""
    rewriter = pair.rewriter
    source_run = model.source_run_id and rewriter.run_id(model.source_run_id)
    metrics = tuple(
        msgspec.structs.replace(item, run_id=rewriter.run_id(item.run_id)) for item in model.metrics
    )
    return msgspec.structs.replace(
        model,
        source_run_id=source_run,
        tags=rewriter.tags(_own(model.tags)),
        metrics=tuple(sorted(metrics)),
        native_id=None,
    )


@dataclass(slots=True, kw_only=True)
class ModelCopier:
    """Copies logged models. Any thread may use it.

    Args:
        pair: Source and target.
        files: Copies their files.
        experiments: The target's experiments by name.
        on_point: Told of every step.
    """

    pair: Pair
    files: FileCopier
    experiments: dict[str, Experiment]
    on_point: Callable[[str], None]

    def copy(self, change: Change) -> Outcome:
        """Copy one logged model as its planned change says.

        Raises:
            PlanStale: It has changed at the source since the plan was made.
            Conflict: The target has another one of this id, or what was written is not there.
        """
        after = change.after or {}
        try:
            original = self.pair.source.tracking.get_logged_model(after["id"])
        except NotFound:
            return gone(change)
        refuse_other_print(change, fields_of_model(original))
        made = self._made(original, home_of(self.experiments, change))
        self.on_point("logged model")
        infos = self.pair.source.files(original.model_id)
        copied = self.files.copy(
            infos, original.model_id, made.model_id, is_new=False, subject=change.subject
        )
        losses = [*copied.losses, *self._finish(original, made, change)]
        self.pair.ledger.put(
            [entry_of(Kind.LOGGED_MODEL, original.model_id, native_id(made), after, self.pair)]
        )
        return done(change, Counts(logged_models=1), tuple(losses))

    def _made(self, original: LoggedModel, experiment_id: str) -> LoggedModel:
        """Return the copy, made where it is not there, and without the mark of one that is whole."""
        wanted = wanted_model(self.pair, original)
        tracking = self.pair.target.tracking
        try:
            there = own_tags(tracking.get_logged_model(original.model_id).tags)
        except NotFound:
            there = {}
        made = tracking.put_logged_model(
            msgspec.structs.replace(
                wanted,
                experiment_id=experiment_id,
                status=PENDING,
                metrics=(),
                tags={**there, TAG_SOURCE_URI: self.pair.source.uri},
            )
        )
        if native_id(made) != native_id(original):
            self.pair.rewriter.models[native_id(original)] = native_id(made)
        return made

    def _finish(self, original: LoggedModel, made: LoggedModel, change: Change) -> list[Loss]:
        """Write the rest and the mark; return what the target does not hold."""
        wanted = wanted_model(self.pair, original)  # once more: links to itself are known only now
        losses = list(self._unheld(wanted, change.subject))
        held = {loss.field for loss in losses}
        metrics = tuple(item for item in wanted.metrics if _field_of(item) not in held)
        created = original.tags.get(TAG_SOURCE_CREATED) or str(original.creation_time or "")
        marks = {TAG_SOURCE_URI: self.pair.source.uri, TAG_SOURCE_PRINT: (change.after or {})["print"]}
        if created:
            marks[TAG_SOURCE_CREATED] = created
        wanted = msgspec.structs.replace(
            wanted,
            experiment_id=made.experiment_id,
            metrics=metrics,
            tags={**own_tags(made.tags), **wanted.tags, **marks},
        )
        found = self.pair.target.tracking.put_logged_model(wanted)
        differing = differences(_without_more(fields_of_model(wanted)), _without_more(fields_of_model(found)))
        if differing:
            raise Conflict(f"the copy differs: {differing[0]}", operation="migrate", resource=change.subject)
        self.on_point("logged model ended")
        return losses

    def _unheld(self, wanted: LoggedModel, subject: str) -> Iterator[Loss]:
        """Yield the metrics that have no place at the target: of runs that are not there, or of a value."""
        homeless = {
            run_id for run_id in {item.run_id for item in wanted.metrics} if not self._takes_metrics(run_id)
        }
        kinds = self.pair.target.capabilities.limits.metric_values_unheld
        details: dict[str, list[str]] = {}
        for item in wanted.metrics:
            if item.run_id in homeless:
                details.setdefault(_field_of(item), []).append(f"its run {item.run_id} is not at the target")
            elif kind_of(item.value) in kinds:
                details.setdefault(_field_of(item), []).append(f"the target does not hold {item.value}")
        for field, reasons in details.items():
            yield Loss(
                item=subject,
                field=field,
                treatment=Treatment.REFUSED,
                detail=f"{reasons[0]}; the run has its own points",
                count=len(reasons),
            )

    def _takes_metrics(self, run_id: str) -> bool:
        try:
            run = self.pair.target.tracking.get_run(run_id)
        except NotFound:
            return False
        return run.info.lifecycle_stage is LifecycleStage.ACTIVE


def link_run(pair: Pair, run_id: str, links: tuple[ModelLink, ...], subject: str) -> list[Loss]:
    """Link a run of the target with the copies of logged models that its original made or read.

    Returns:
        Links to logged models that are not at the target.
    """
    held: list[ModelLink] = []
    losses: list[Loss] = []
    for link in links:
        try:
            pair.target.tracking.get_logged_model(link.model_id)
        except (NotFound, Unsupported):
            detail = "this logged model is not at the target"
            field = f"models.{link.model_id}"
            losses.append(Loss(item=subject, field=field, treatment=Treatment.REFUSED, detail=detail))
        else:
            held.append(link)
    if held:
        pair.target.tracking.link_models(run_id, tuple(held))
    return losses


def differences_of_links(pair: Pair, run_id: str, found: Run) -> tuple[str, ...]:
    """Return which logged models a run made or read that its copy does not name."""
    missing = set(pair.source.tracking.get_run(run_id).models) - set(found.models)
    return tuple(f"models: {link.model_id} is missing" for link in sorted(missing, key=_order))


def _order(link: ModelLink) -> tuple[str, int]:
    return link.model_id, -1 if link.step is None else link.step


def unmade_model(run: Outcome, undone: frozenset[str]) -> str:
    """Return why a copied run cannot end yet; "" when it can.

    Args:
        run: What became of it.
        undone: Subjects of what was planned and is not done.
    """
    for link in run.links:
        if f"{Kind.LOGGED_MODEL.value} {link.model_id}" in undone:
            return f"its logged model {link.model_id} is not at the target yet"
    return ""


def differences_of_models(pair: Pair, model_id: str) -> tuple[str, ...] | None:
    """Return how a logged model and its copy differ, but for files; None where there is no copy."""
    original = pair.source.tracking.get_logged_model(model_id)
    try:
        found = pair.target.tracking.get_logged_model(model_id)
    except NotFound:
        return None
    return differences(fields_of_model(wanted_model(pair, original)), fields_of_model(found))


def home_of(experiments: dict[str, Experiment], change: Change) -> str:
    """Return the experiment of the target that an item goes to.

    Raises:
        Rejected: It is not there.
    """
    found = experiments.get((change.after or {})["experiment"])
    if found is None:
        raise Rejected("its experiment is not at the target", operation="migrate", resource=change.subject)
    return found.experiment_id


def refused(change: Change) -> Outcome:
    """Return that the target does not hold an item."""
    losses = msgspec.convert((change.after or {})["losses"], tuple[Loss, ...])
    source = Counts(**{f"{kind_of_subject(change)}s": 1})
    return Outcome(
        subject=change.subject, action=change.action.value, state=State.DONE, source=source, losses=losses
    )


def kind_of_subject(change: Change) -> str:
    """Return of which kind a change's subject is."""
    return change.subject.partition(" ")[0]


def entry_of(kind: Kind, source_id: str, target_id: str, after: dict[str, Any], pair: Pair) -> Entry:
    """Return what the ledger notes of a copy."""
    mark = after["print"]
    return Entry(kind=kind, source_id=source_id, target_id=target_id, source_print=mark, time=pair.clock_ms())


def _field_of(metric: ModelMetric) -> str:
    return f"metrics.{metric.key[:80]}@{metric.step}"


def _without_more(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields without metrics, which the copy may have more of, as it may have tags."""
    return {key: value for key, value in fields.items() if key != "metrics"}
