"""SageMaker Experiments: experiments, trials, trial components, and what belongs to what."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation, Refused
from trackbridge.testing.emulators.sagemaker.experiment_records import (
    Component,
    Experiments,
    Record,
    Trial,
)
from trackbridge.testing.emulators.sagemaker.listing import page
from trackbridge.testing.emulators.sagemaker.metrics import Metrics

PARAMETERS_MAX = 300
ARTIFACTS_MAX = 60
Asked = dict[str, Any]
Told = dict[str, Any]


def set_source(
    cloud: Cloud, component: str, source_arn: str, source_type: str, *, run_name: str | None = None
) -> None:
    """Say which job a component is of: it does not count for quotas from then on."""
    record = cloud.part(Experiments).component(component)
    record.source = {"SourceArn": source_arn, "SourceType": source_type}
    record.run_name = run_name


def _create_experiment(cloud: Cloud, asked: Asked) -> Told:
    state, name = cloud.part(Experiments), asked["ExperimentName"]
    _check_free(state.experiments, name, "Experiment")
    arn = cloud.arn("experiment", name.lower())
    cloud.tags.start(arn, asked.get("Tags"))
    state.experiments[name.lower()] = Record(**_made(cloud, name, arn, asked))
    return {"ExperimentArn": arn}


def _describe_experiment(cloud: Cloud, asked: Asked) -> Told:
    return _experiment(cloud.part(Experiments).experiment(asked["ExperimentName"]))


def _update_experiment(cloud: Cloud, asked: Asked) -> Told:
    record = cloud.part(Experiments).experiment(asked["ExperimentName"])
    _change(cloud, record, asked, ("DisplayName", "Description"))
    return {"ExperimentArn": record.arn}


def _delete_experiment(cloud: Cloud, asked: Asked) -> Told:
    state = cloud.part(Experiments)
    record = state.experiment(asked["ExperimentName"])
    held = len(state.trials_of(record.name))
    if held:
        message = f"Experiment '{record.name}' has {held} associated trials. Delete all of them first."
        raise Refused("ValidationException", message)
    del state.experiments[record.name.lower()]
    cloud.tags.end(record.arn)
    return {"ExperimentArn": record.arn}


def _list_experiments(cloud: Cloud, asked: Asked) -> Told:
    rows, more = _page(cloud.part(Experiments).experiments.values(), asked)
    return {"ExperimentSummaries": [_summary(row, "Experiment") for row in rows], **more}


def _create_trial(cloud: Cloud, asked: Asked) -> Told:
    state, name = cloud.part(Experiments), asked["TrialName"]
    experiment = state.experiment(asked["ExperimentName"])
    _check_free(state.trials, name, "Trial")
    state.check_room_for_trial(experiment)
    arn = cloud.arn("experiment-trial", name.lower())
    cloud.tags.start(arn, asked.get("Tags"))
    made = _made(cloud, name, arn, asked)
    state.trials[name.lower()] = Trial(**made, experiment=experiment.name.lower())
    state.members[name.lower()] = {}
    return {"TrialArn": arn}


def _describe_trial(cloud: Cloud, asked: Asked) -> Told:
    state = cloud.part(Experiments)
    return _trial(state, state.trial(asked["TrialName"]))


def _update_trial(cloud: Cloud, asked: Asked) -> Told:
    record = cloud.part(Experiments).trial(asked["TrialName"])
    _change(cloud, record, asked, ("DisplayName",))
    return {"TrialArn": record.arn}


def _delete_trial(cloud: Cloud, asked: Asked) -> Told:
    state = cloud.part(Experiments)
    record = state.trial(asked["TrialName"])
    held = len(state.members[record.name.lower()])
    if held:
        message = (
            f"Trial '{record.name}' has {held} associated trial components. Disassociate all of them first."
        )
        raise Refused("ValidationException", message)
    del state.trials[record.name.lower()], state.members[record.name.lower()]
    cloud.tags.end(record.arn)
    return {"TrialArn": record.arn}


def _list_trials(cloud: Cloud, asked: Asked) -> Told:
    state = cloud.part(Experiments)
    found: Iterable[Trial] = list(state.trials.values())
    if "ExperimentName" in asked:
        found = state.trials_of(state.experiment(asked["ExperimentName"]).name)
    if "TrialComponentName" in asked:
        kept = {trial.name for trial in state.trials_with(state.component(asked["TrialComponentName"]).name)}
        found = [trial for trial in found if trial.name in kept]
    rows, more = _page(found, asked)
    return {"TrialSummaries": [_summary(row, "Trial") for row in rows], **more}


def _create_component(cloud: Cloud, asked: Asked) -> Told:
    state, name = cloud.part(Experiments), asked["TrialComponentName"]
    _check_free(state.components, name, "Trial component")
    _check_parameters(asked.get("Parameters", {}))
    arn = cloud.arn("experiment-trial-component", name.lower())
    cloud.tags.start(arn, asked.get("Tags"))
    state.components[name.lower()] = Component(
        **_made(cloud, name, arn, asked),
        parameters=asked.get("Parameters", {}),
        inputs=asked.get("InputArtifacts", {}),
        outputs=asked.get("OutputArtifacts", {}),
    )
    return {"TrialComponentArn": arn}


def _describe_component(cloud: Cloud, asked: Asked) -> Told:
    return _component(cloud, cloud.part(Experiments).component(asked["TrialComponentName"]))


def _update_component(cloud: Cloud, asked: Asked) -> Told:
    state = cloud.part(Experiments)
    record = state.component(asked["TrialComponentName"])
    _check_parameters(asked.get("Parameters", {}))
    parameters = _merged(state, record.parameters, asked, "Parameters", PARAMETERS_MAX)
    inputs = _merged(state, record.inputs, asked, "InputArtifacts", ARTIFACTS_MAX)
    outputs = _merged(state, record.outputs, asked, "OutputArtifacts", ARTIFACTS_MAX)
    record.parameters, record.inputs, record.outputs = parameters, inputs, outputs
    _change(cloud, record, asked, ("DisplayName", "Status", "StartTime", "EndTime"))
    return {"TrialComponentArn": record.arn}


def _delete_component(cloud: Cloud, asked: Asked) -> Told:
    state = cloud.part(Experiments)
    record = state.component(asked["TrialComponentName"])
    held = len(state.trials_with(record.name))
    if held:
        message = f"Trial component '{record.name}' is associated with {held} trials. Disassociate it first."
        raise Refused("ValidationException", message)
    del state.components[record.name.lower()]
    cloud.tags.end(record.arn)
    cloud.part(Metrics).forget(record.arn)
    return {"TrialComponentArn": record.arn}


def _list_components(cloud: Cloud, asked: Asked) -> Told:
    filters = [name for name in ("ExperimentName", "SourceArn", "TrialName") if name in asked]
    if len(filters) > 1:
        message = f"Only one of ExperimentName, SourceArn and TrialName may be given, not {filters}."
        raise Refused("ValidationException", message)
    rows, more = _page(_components_asked_for(cloud.part(Experiments), asked), asked)
    return {"TrialComponentSummaries": [_component_summary(row) for row in rows], **more}


def _components_asked_for(state: Experiments, asked: Asked) -> list[Component]:
    if "ExperimentName" in asked:
        return state.components_of(state.trials_of(state.experiment(asked["ExperimentName"]).name))
    if "TrialName" in asked:
        return state.components_of([state.trial(asked["TrialName"])])
    found = list(state.components.values())
    if "SourceArn" in asked:
        return [row for row in found if row.source and row.source["SourceArn"] == asked["SourceArn"]]
    return found


def _associate(cloud: Cloud, asked: Asked) -> Told:
    state = cloud.part(Experiments)
    component, trial = state.component(asked["TrialComponentName"]), state.trial(asked["TrialName"])
    members = state.members[trial.name.lower()]
    if component.name.lower() not in members:
        if component.source is None:
            state.check_room_for_component(trial)
        members[component.name.lower()] = None
    return {"TrialComponentArn": component.arn, "TrialArn": trial.arn}


def _disassociate(cloud: Cloud, asked: Asked) -> Told:
    state = cloud.part(Experiments)
    component, trial = state.component(asked["TrialComponentName"]), state.trial(asked["TrialName"])
    members = state.members[trial.name.lower()]
    if component.name.lower() not in members:
        message = f"Trial component '{component.name}' is not associated with trial '{trial.name}'."
        raise Refused("ResourceNotFound", message)
    del members[component.name.lower()]
    return {"TrialComponentArn": component.arn, "TrialArn": trial.arn}


def _made(cloud: Cloud, name: str, arn: str, asked: Asked) -> dict[str, Any]:
    now_s, caller = cloud.now_s(), cloud.user_context()
    told = {
        key: value
        for key, value in asked.items()
        if key in ("DisplayName", "Description", "MetadataProperties", "Status", "StartTime", "EndTime")
    }
    times = {"made_s": now_s, "made_by": caller, "changed_s": now_s, "changed_by": caller}
    return {"name": name, "arn": arn, "asked": told, **times}


def _change(cloud: Cloud, record: Record, asked: Asked, names: Iterable[str]) -> None:
    record.asked.update((name, asked[name]) for name in names if name in asked)
    record.changed_s, record.changed_by = cloud.now_s(), cloud.user_context()


def _merged(
    state: Experiments, held: Mapping[str, Any], asked: Asked, name: str, most: int
) -> dict[str, Any]:
    given = asked.get(name)
    base = held if state.merges or given is None else {}
    merged = {**base, **(given or {})}
    for key in asked.get(f"{name}ToRemove", ()):
        merged.pop(key, None)
    if len(merged) > most:
        message = f"A trial component can have at most {most} {name}; this one would have {len(merged)}."
        raise Refused("ValidationException", message)
    return merged


def _check_free(records: Mapping[str, Any], name: str, kind: str) -> None:
    if name.lower() in records:
        raise Refused(
            "ValidationException",
            f"{kind} names must be unique within an AWS account and region. "
            f"{kind} with name ({name}) already exists.",
        )


def _check_parameters(parameters: Mapping[str, Mapping[str, Any]]) -> None:
    for name, value in parameters.items():
        if len(value) != 1:
            message = f"Parameter '{name}' must have exactly one of StringValue and NumberValue."
            raise Refused("ValidationException", message)
        if not math.isfinite(value.get("NumberValue", 0.0)):
            raise Refused(
                "ValidationException", f"NumberValue of parameter '{name}' must be a finite number."
            )


def _page(records: Iterable[Any], asked: Asked) -> tuple[list[Any], dict[str, str]]:
    renamed = {"CreatedAfter": "CreationTimeAfter", "CreatedBefore": "CreationTimeBefore"}
    wanted = {renamed.get(name, name): value for name, value in asked.items()}
    return page(
        records, wanted, lambda row: {"Name": row.name, "CreationTime": row.made_s}, is_descending=True
    )


def _summary(record: Record, kind: str) -> Told:
    return {
        f"{kind}Arn": record.arn,
        f"{kind}Name": record.name,
        "DisplayName": record.display_name,
        f"{kind}Source": record.source,
        "CreationTime": record.made_s,
        "LastModifiedTime": record.changed_s,
    }


def _component_summary(record: Component) -> Told:
    fields = {name: record.asked.get(name) for name in ("Status", "StartTime", "EndTime")}
    return _summary(record, "TrialComponent") | fields | record.times()


def _experiment(record: Record) -> Told:
    return {
        "ExperimentName": record.name,
        "ExperimentArn": record.arn,
        **record.asked,
        "DisplayName": record.display_name,
        "Source": record.source,
        **record.times(),
    }


def _trial(state: Experiments, record: Trial) -> Told:
    return {
        "TrialName": record.name,
        "TrialArn": record.arn,
        **record.asked,
        "DisplayName": record.display_name,
        "ExperimentName": state.experiments[record.experiment].name,
        "Source": record.source,
        **record.times(),
    }


def _component(cloud: Cloud, record: Component) -> Told:
    return {
        "TrialComponentName": record.name,
        "TrialComponentArn": record.arn,
        **record.asked,
        "DisplayName": record.display_name,
        "Source": record.source,
        **record.times(),
        "Parameters": record.parameters or None,
        "InputArtifacts": record.inputs or None,
        "OutputArtifacts": record.outputs or None,
        "Metrics": cloud.part(Metrics).summaries(record.arn) or None,
        "LineageGroupArn": cloud.arn("lineage-group", "sagemaker-default-lineage-group"),
    }


def _present(record: Mapping[str, Any]) -> Told:
    return {name: value for name, value in record.items() if value is not None}


def _all_experiments(cloud: Cloud) -> Iterator[Told]:
    for record in cloud.part(Experiments).experiments.values():
        yield _present({**_experiment(record), "Tags": cloud.tags.list(record.arn)})


def _all_trials(cloud: Cloud) -> Iterator[Told]:
    state = cloud.part(Experiments)
    for record in state.trials.values():
        members = [_simple(component) for component in state.components_of([record])]
        told = {**_trial(state, record), "Tags": cloud.tags.list(record.arn)}
        yield _present({**told, "TrialComponentSummaries": members})


def _simple(component: Component) -> Told:
    return _present(
        {
            "TrialComponentName": component.name,
            "TrialComponentArn": component.arn,
            "TrialComponentSource": component.source,
            "CreationTime": component.made_s,
            "CreatedBy": component.made_by,
        }
    )


def _all_components(cloud: Cloud) -> Iterator[Told]:
    state = cloud.part(Experiments)
    parents: dict[str, list[dict[str, str]]] = {}
    for trial in state.trials.values():
        told = {"TrialName": trial.name, "ExperimentName": state.experiments[trial.experiment].name}
        for key in state.members[trial.name.lower()]:
            parents.setdefault(key, []).append(told)
    for key, record in state.components.items():
        more = {
            "Tags": cloud.tags.list(record.arn),
            "Parents": parents.get(key, []),
            "RunName": record.run_name,
            "SourceDetail": record.source and {"SourceArn": record.source["SourceArn"]},
        }
        yield _present({**_component(cloud, record), **more})


SEARCHABLE: Mapping[str, Callable[[Cloud], Iterable[Told]]] = {
    "Experiment": _all_experiments,
    "ExperimentTrial": _all_trials,
    "ExperimentTrialComponent": _all_components,
}
"""What Search looks through, in the shape of its records."""

OPERATIONS: Mapping[str, Operation] = {
    "CreateExperiment": _create_experiment,
    "DescribeExperiment": _describe_experiment,
    "UpdateExperiment": _update_experiment,
    "DeleteExperiment": _delete_experiment,
    "ListExperiments": _list_experiments,
    "CreateTrial": _create_trial,
    "DescribeTrial": _describe_trial,
    "UpdateTrial": _update_trial,
    "DeleteTrial": _delete_trial,
    "ListTrials": _list_trials,
    "CreateTrialComponent": _create_component,
    "DescribeTrialComponent": _describe_component,
    "UpdateTrialComponent": _update_component,
    "DeleteTrialComponent": _delete_component,
    "ListTrialComponents": _list_components,
    "AssociateTrialComponent": _associate,
    "DisassociateTrialComponent": _disassociate,
}
