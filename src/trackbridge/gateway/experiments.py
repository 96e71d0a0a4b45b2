"""Experiments: making, looking up, tagging, deleting and restoring them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trackbridge.api.mlflow_ids import told_experiment_id
from trackbridge.domain.runs import Experiment, LifecycleStage
from trackbridge.gateway import names
from trackbridge.gateway.entities import (
    ExperimentAnswer,
    ExperimentIdAnswer,
    Setting,
    experiment_body,
)
from trackbridge.gateway.errors import Refused, absent, invalid, missing
from trackbridge.gateway.routes import Route, Scope
from trackbridge.gateway.wire import EMPTY, Empty, Request

if TYPE_CHECKING:
    from trackbridge.gateway.gateway import Gateway


class CreateExperiment(Request):
    """``experiments/create``."""

    name: str | None = None
    artifact_location: str | None = None
    tags: list[Setting] = msgspec.field(default_factory=list)
    required = ("name",)


class NamedExperiment(Request):
    """A request that names an experiment by its id."""

    experiment_id: str | None = None
    required = ("experiment_id",)


class GetExperimentByName(Request):
    """``experiments/get-by-name``."""

    experiment_name: str | None = None
    required = ("experiment_name",)


class UpdateExperiment(Request):
    """``experiments/update``."""

    experiment_id: str | None = None
    new_name: str | None = None
    required = ("experiment_id", "new_name")


class SetExperimentTag(Request):
    """``experiments/set-experiment-tag``."""

    experiment_id: str | None = None
    key: str | None = None
    value: str | None = None
    required = ("experiment_id", "key")


class DeleteExperimentTag(Request):
    """``experiments/delete-experiment-tag``."""

    experiment_id: str | None = None
    key: str | None = None
    required = ("experiment_id", "key")


def create_experiment(gateway: Gateway, request: CreateExperiment) -> ExperimentIdAnswer:
    """Make an experiment; it is in the journal when its id is told."""
    name = names.checked_experiment_name(request.name or "")
    tags = experiment_tags(request.tags)
    if request.artifact_location:
        raise Refused(
            "NOT_IMPLEMENTED",
            "an experiment has no artifact location of its own: the gateway's backend decides where files "
            "go; leave artifact_location out",
        )
    found = gateway.experiments.find(name)
    if found is not None:
        state = " in deleted state" if found.lifecycle_stage is LifecycleStage.DELETED else ""
        raise Refused("RESOURCE_ALREADY_EXISTS", f"Experiment(name={name}) already exists{state}.")
    made = gateway.experiments.create(name, tags)
    return ExperimentIdAnswer(told_experiment_id(made.experiment_id))


def get_experiment(gateway: Gateway, request: NamedExperiment) -> ExperimentAnswer:
    """Return an experiment by its id."""
    return ExperimentAnswer(experiment_body(gateway.experiments.get(request.experiment_id or "")))


def get_experiment_by_name(gateway: Gateway, request: GetExperimentByName) -> ExperimentAnswer:
    """Return an experiment by its name."""
    found = gateway.experiments.find(request.experiment_name or "")
    if found is None:
        raise absent(f"Could not find experiment with name '{request.experiment_name}'")
    return ExperimentAnswer(experiment_body(found))


def delete_experiment(gateway: Gateway, request: NamedExperiment) -> Empty:
    """Delete an active experiment with its runs."""
    found = _in_stage(gateway, request, LifecycleStage.ACTIVE)
    gateway.experiments.delete(found)
    gateway.runs.forget_all()
    return EMPTY


def restore_experiment(gateway: Gateway, request: NamedExperiment) -> Empty:
    """Restore a deleted experiment."""
    found = _in_stage(gateway, request, LifecycleStage.DELETED)
    gateway.experiments.restore(found)
    gateway.runs.forget_all()
    return EMPTY


def update_experiment(gateway: Gateway, request: UpdateExperiment) -> Empty:
    """Refuse to rename an experiment; to say its own name again changes nothing."""
    found = gateway.experiments.active(request.experiment_id or "")
    if found.name != request.new_name:
        raise Refused(
            "NOT_IMPLEMENTED",
            "an experiment cannot be renamed: its id is made from its name, so that every machine that says "
            "the name means the same experiment; make another one",
        )
    return EMPTY


def set_experiment_tag(gateway: Gateway, request: SetExperimentTag) -> Empty:
    """Set a tag of an experiment."""
    tags = experiment_tags([Setting(request.key, request.value or "")])
    found = gateway.experiments.active(request.experiment_id or "")
    for key, value in tags.items():
        gateway.experiments.set_tag(found, key, value)
    return EMPTY


def delete_experiment_tag(gateway: Gateway, request: DeleteExperimentTag) -> Empty:
    """Refuse to delete a tag that an experiment has: no backend of ours takes one away."""
    found = gateway.experiments.get(request.experiment_id or "")
    if request.key not in found.tags:
        raise absent(f"No tag with name: {request.key} in experiment with id {request.experiment_id}")
    raise Refused(
        "NOT_IMPLEMENTED", "a tag of an experiment cannot be deleted; set it to an empty text instead"
    )


def experiment_tags(given: list[Setting]) -> dict[str, str]:
    """Return the tags of an experiment.

    Raises:
        Refused: A key or value is none that mlflow takes.
    """
    found: dict[str, str] = {}
    for tag in given:
        if not tag.key:
            raise missing("key")
        value = tag.value or ""
        if len(value) > names.EXPERIMENT_TAG_VALUE_CHARS_MAX:
            raise names.too_long("value", names.EXPERIMENT_TAG_VALUE_CHARS_MAX)
        if "\0" in value:
            raise invalid(f"the value of tag {tag.key!r} holds a NUL character")
        found[names.checked_tag(tag.key, "name")] = value
    return found


def _in_stage(gateway: Gateway, request: NamedExperiment, stage: LifecycleStage) -> Experiment:
    found = gateway.experiments.get(request.experiment_id or "")
    if found.lifecycle_stage is not stage:
        raise absent(f"No Experiment with id={request.experiment_id} exists")
    return found


def _is_believed(gateway: Gateway, request: SetExperimentTag) -> bool:
    return gateway.experiments.is_believed(request.experiment_id or "")


ROUTES = (
    Route("POST", "experiments/create", create_experiment, CreateExperiment, Scope.WRITE),
    Route("GET", "experiments/get", get_experiment, NamedExperiment, Scope.READ),
    Route("GET", "experiments/get-by-name", get_experiment_by_name, GetExperimentByName, Scope.READ),
    Route("POST", "experiments/delete", delete_experiment, NamedExperiment, Scope.WRITE),
    Route("POST", "experiments/restore", restore_experiment, NamedExperiment, Scope.WRITE),
    Route("POST", "experiments/update", update_experiment, UpdateExperiment, Scope.WRITE),
    Route(
        "POST",
        "experiments/set-experiment-tag",
        set_experiment_tag,
        SetExperimentTag,
        Scope.WRITE,
        is_quick=_is_believed,
    ),
    Route(
        "POST", "experiments/delete-experiment-tag", delete_experiment_tag, DeleteExperimentTag, Scope.WRITE
    ),
)
