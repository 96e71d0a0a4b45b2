"""What SageMaker Experiments keeps: experiments, trials, components, and what is in what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from trackbridge.testing.emulators.sagemaker.core import Cloud, Refused

TRIALS_PER_EXPERIMENT = 300
COMPONENTS_PER_TRIAL = 50


@dataclass(kw_only=True)
class Record:
    """What experiments, trials and components have in common."""

    name: str
    arn: str
    asked: dict[str, Any]
    """The members that were given, as they are told back."""
    made_s: float
    made_by: dict[str, Any]
    changed_s: float
    changed_by: dict[str, Any]
    source: dict[str, str] | None = None

    @property
    def display_name(self) -> str:
        """What it is shown as."""
        return str(self.asked.get("DisplayName", self.name))

    def times(self) -> dict[str, Any]:
        """Return who made and changed it, and when."""
        return {
            "CreationTime": self.made_s,
            "CreatedBy": self.made_by,
            "LastModifiedTime": self.changed_s,
            "LastModifiedBy": self.changed_by,
        }


@dataclass(kw_only=True)
class Trial(Record):
    """A trial. ``experiment`` is the key of its experiment."""

    experiment: str


@dataclass(kw_only=True)
class Component(Record):
    """A trial component."""

    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    run_name: str | None = None


Kind = TypeVar("Kind", bound=Record)


class Experiments:
    """All of them in a cloud, by names in small letters: AWS does not tell names apart by their case."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.experiments: dict[str, Record] = {}
        self.trials: dict[str, Trial] = {}
        self.components: dict[str, Component] = {}
        self.members: dict[str, dict[str, None]] = {}
        """The components of each trial, in the order in which they came."""
        self.merges = True
        """Whether UpdateTrialComponent adds parameters and artifacts to what is there; else it replaces all.
        AWS's manual can be read both ways."""
        self.trials_per_experiment = TRIALS_PER_EXPERIMENT
        self.components_per_trial = COMPONENTS_PER_TRIAL

    def experiment(self, name: str) -> Record:
        """Return an experiment, or refuse."""
        return _found(self.experiments, name, "Experiment")

    def trial(self, name: str) -> Trial:
        """Return a trial, or refuse."""
        return _found(self.trials, name, "Trial")

    def component(self, name_or_arn: str) -> Component:
        """Return a component, or refuse."""
        name = name_or_arn.rpartition("/")[2] if name_or_arn.startswith("arn:") else name_or_arn
        return _found(self.components, name, "Trial component")

    def trials_of(self, experiment: str) -> list[Trial]:
        """Return the trials of an experiment."""
        return [trial for trial in self.trials.values() if trial.experiment == experiment.lower()]

    def trials_with(self, component: str) -> list[Trial]:
        """Return the trials that a component is in."""
        return [self.trials[trial] for trial, held in self.members.items() if component.lower() in held]

    def components_of(self, trials: Iterable[Trial]) -> list[Component]:
        """Return the components of some trials, each once."""
        keys = dict.fromkeys(key for trial in trials for key in self.members[trial.name.lower()])
        return [self.components[key] for key in keys]

    def check_room_for_trial(self, experiment: Record) -> None:
        """Refuse a trial beyond the quota."""
        held = sum(trial.source is None for trial in self.trials_of(experiment.name))
        if held >= self.trials_per_experiment:
            raise _quota("trials", "experiment", self.trials_per_experiment, held)

    def check_room_for_component(self, trial: Trial) -> None:
        """Refuse a component beyond the quota. Those that SageMaker made itself do not count."""
        held = sum(component.source is None for component in self.components_of([trial]))
        if held >= self.components_per_trial:
            raise _quota("trial components", "trial", self.components_per_trial, held)


def _found(records: dict[str, Kind], name: str, kind: str) -> Kind:
    record = records.get(name.lower())
    if record is None:
        raise Refused("ResourceNotFound", f"{kind} '{name}' does not exist.")
    return record


def _quota(what: str, where: str, most: int, held: int) -> Refused:
    title = what.title()
    excluded = "excluding those automatically created by SageMaker"
    limit = f"'Total number of {what} allowed in a single {where}, {excluded}'"
    held_now = f"with current utilization of {held} {title} and a request delta of 1 {title}"
    return Refused(
        "ResourceLimitExceeded",
        f"The account-level service limit {limit} is {most} {title}, {held_now}. "
        "Please contact AWS support to request an increase for this limit.",
    )
