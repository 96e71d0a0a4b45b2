"""Experiments, runs and points as mlflow's REST API writes them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from trackbridge.api import model_tags
from trackbridge.api.mlflow_ids import told_experiment_id
from trackbridge.domain import runs as domain
from trackbridge.gateway.addresses import SCHEME, artifact_uri_of
from trackbridge.gateway.wire import Answer, number


class Setting(Answer):
    """A param or a tag; in requests the key is checked by who takes it."""

    key: str | None = None
    value: str | None = None


class Point(Answer, gc=False):
    """A value of a metric in an answer."""

    key: str
    value: float | str
    timestamp: int
    step: int


class InfoBody(Answer, kw_only=True):
    """What identifies a run."""

    run_uuid: str
    run_id: str
    run_name: str | None = None
    experiment_id: str
    user_id: str
    status: str
    start_time: int
    end_time: int | None = None
    artifact_uri: str
    lifecycle_stage: str


class DataBody(Answer):
    """What was logged to a run."""

    metrics: list[Point] = msgspec.field(default_factory=list)
    params: list[Setting] = msgspec.field(default_factory=list)
    tags: list[Setting] = msgspec.field(default_factory=list)


class DatasetBody(Answer):
    """A data set."""

    name: str | None = None
    digest: str | None = None
    source_type: str | None = None
    source: str | None = None
    schema: str | None = None
    profile: str | None = None


class DatasetInputBody(Answer):
    """A data set that a run read, and in what role."""

    tags: list[Setting] = msgspec.field(default_factory=list)
    dataset: DatasetBody | None = None


class ModelInputBody(Answer):
    """A logged model that a run read."""

    model_id: str | None = None


class ModelOutputBody(Answer):
    """A logged model that a run made."""

    model_id: str | None = None
    step: int | None = None


class InputsBody(Answer):
    """What a run read."""

    dataset_inputs: list[DatasetInputBody] = msgspec.field(default_factory=list)
    model_inputs: list[ModelInputBody] = msgspec.field(default_factory=list)


class OutputsBody(Answer):
    """What a run made."""

    model_outputs: list[ModelOutputBody] = msgspec.field(default_factory=list)


class RunBody(Answer):
    """A run."""

    info: InfoBody
    data: DataBody
    inputs: InputsBody
    outputs: OutputsBody | None = None


class ExperimentBody(Answer, kw_only=True):
    """An experiment."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    last_update_time: int | None = None
    creation_time: int | None = None
    workspace: str
    tags: list[Setting] = msgspec.field(default_factory=list)


def settings(values: Mapping[str, str]) -> list[Setting]:
    """Return params or tags."""
    return [Setting(key, value) for key, value in values.items()]


def info_body(info: domain.RunInfo) -> InfoBody:
    """Return what identifies a run."""
    return InfoBody(
        run_uuid=info.run_id,
        run_id=info.run_id,
        run_name=info.run_name,
        experiment_id=told_experiment_id(info.experiment_id),
        user_id=info.user_id,
        status=info.status.value,
        start_time=info.start_time,
        end_time=info.end_time,
        artifact_uri=artifact_uri_of(info),
        lifecycle_stage=info.lifecycle_stage.value,
    )


def run_body(run: domain.Run) -> RunBody:
    """Return a run; what we keep of its models in tags stands where mlflow has it."""
    tags = run.data.tags
    models = [ModelInputBody(model_id) for model_id in model_tags.inputs(tags)]
    models += [ModelInputBody(link.model_id) for link in run.models if link.step is None]
    outputs = [ModelOutputBody(model_id, step) for model_id, step in model_tags.outputs(tags)]
    outputs += [ModelOutputBody(link.model_id, link.step) for link in run.models if link.step is not None]
    last = sorted(run.data.last_points(), key=lambda point: point.key)  # as mlflow's database gives them
    points = [Point(point.key, number(point.value), point.timestamp, point.step) for point in last]
    return RunBody(
        info_body(run.info),
        DataBody(points, settings(run.data.params), settings(model_tags.without(tags))),
        InputsBody([dataset_body(dataset) for dataset in run.inputs.dataset_inputs], models),
        OutputsBody(outputs),
    )


def dataset_body(dataset: domain.DatasetInput) -> DatasetInputBody:
    """Return a data set that a run read."""
    body = DatasetBody(
        name=dataset.name,
        digest=dataset.digest,
        source_type=dataset.source_type,
        source=dataset.source,
        schema=dataset.schema or None,
        profile=dataset.profile or None,
    )
    return DatasetInputBody(settings(dataset.tags), body)


def experiment_body(experiment: domain.Experiment) -> ExperimentBody:
    """Return an experiment."""
    told_id = told_experiment_id(experiment.experiment_id)
    return ExperimentBody(
        experiment_id=told_id,
        name=experiment.name,
        artifact_location=f"{SCHEME}:/{told_id}",
        lifecycle_stage=experiment.lifecycle_stage.value,
        last_update_time=experiment.last_update_time or None,
        creation_time=experiment.creation_time or None,
        workspace="default",  # mlflow's own, of which there is one here
        tags=settings(experiment.tags),
    )


class RunAnswer(Answer):
    """An answer that holds a run."""

    run: RunBody


class InfoAnswer(Answer):
    """An answer that holds what identifies a run."""

    run_info: InfoBody


class ExperimentAnswer(Answer):
    """An answer that holds an experiment."""

    experiment: ExperimentBody


class ExperimentIdAnswer(Answer):
    """An answer that holds the id of an experiment."""

    experiment_id: str


class Experiments(Answer):
    """A page of experiments."""

    experiments: list[ExperimentBody] = msgspec.field(default_factory=list)
    next_page_token: str | None = None


class RunsPage(Answer):
    """A page of runs."""

    runs: list[RunBody] = msgspec.field(default_factory=list)
    next_page_token: str | None = None
