"""Values of our domain as mlflow's entities, in the versions 2 and 3 of mlflow."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mlflow import entities
from mlflow.entities import model_registry

from trackbridge.api import model_tags
from trackbridge.api.mlflow_ids import told_experiment_id
from trackbridge.api.model_results import ModelVersion, RegisteredModel
from trackbridge.domain import runs as domain
from trackbridge.domain.artifacts import artifact_uri
from trackbridge.domain.runs import RESERVED_TAG_PREFIX

NO_USER = "unknown"

_HAS_OUTPUTS = "run_outputs" in inspect.signature(entities.Run).parameters
_OLD_INFO = "run_uuid" in inspect.signature(entities.RunInfo).parameters
_HAS_MODEL_ID = "model_id" in inspect.signature(model_registry.ModelVersion).parameters


def experiment(found: domain.Experiment) -> Any:
    """Return an experiment as mlflow's."""
    return entities.Experiment(
        experiment_id=told_experiment_id(found.experiment_id),
        name=found.name,
        artifact_location=found.artifact_location,
        lifecycle_stage=str(found.lifecycle_stage),
        tags=[entities.ExperimentTag(key, value) for key, value in found.tags.items()],
        creation_time=found.creation_time,
        last_update_time=found.last_update_time,
    )


def run_info(info: domain.RunInfo) -> Any:
    """Return what identifies a run as mlflow's."""
    more = {"run_uuid": info.run_id} if _OLD_INFO else {}
    return entities.RunInfo(
        run_id=info.run_id,
        experiment_id=told_experiment_id(info.experiment_id),
        user_id=info.user_id or NO_USER,
        status=str(info.status),
        start_time=info.start_time,
        end_time=info.end_time,
        lifecycle_stage=str(info.lifecycle_stage),
        artifact_uri=artifact_uri(info.run_id),
        run_name=info.run_name,
        **more,
    )


def run(found: domain.Run) -> Any:
    """Return a run as mlflow's; what we keep of its models in tags is not among its tags."""
    tags = model_tags.without(found.data.tags)
    data = entities.RunData(
        metrics=[_metric(point) for point in found.data.last_points()],
        params=[entities.Param(key, value) for key, value in found.data.params.items()],
        tags=[entities.RunTag(key, value) for key, value in tags.items()],
    )
    datasets = [dataset_input(dataset) for dataset in found.inputs.dataset_inputs]
    if not _HAS_OUTPUTS:
        return entities.Run(run_info(found.info), data, entities.RunInputs(dataset_inputs=datasets))
    read = model_tags.inputs(found.data.tags)
    inputs = entities.RunInputs(
        dataset_inputs=datasets,
        model_inputs=[entities.LoggedModelInput(model_id=model_id) for model_id in read],
    )
    outputs = entities.RunOutputs(
        model_outputs=[
            entities.LoggedModelOutput(model_id=name, step=step)
            for name, step in model_tags.outputs(found.data.tags)
        ]
    )
    return entities.Run(run_info(found.info), data, inputs, outputs)


def dataset_input(dataset: domain.DatasetInput) -> Any:
    """Return a data set as mlflow's."""
    return entities.DatasetInput(
        dataset=entities.Dataset(
            name=dataset.name,
            digest=dataset.digest,
            source_type=dataset.source_type,
            source=dataset.source,
            schema=dataset.schema or None,
            profile=dataset.profile or None,
        ),
        tags=[entities.InputTag(key, value) for key, value in dataset.tags.items()],
    )


def our_dataset(given: Any) -> domain.DatasetInput:
    """Return a data set of mlflow's as ours."""
    dataset = given.dataset
    return domain.DatasetInput(
        name=dataset.name,
        digest=dataset.digest,
        source_type=dataset.source_type,
        source=dataset.source,
        schema=dataset.schema or "",
        profile=dataset.profile or "",
        tags={tag.key: tag.value for tag in given.tags or ()},
    )


def metrics(points: Sequence[domain.Metric]) -> list[Any]:
    """Return points as mlflow's."""
    with _without_garbage_collection():
        return [_metric(point) for point in points]


def _metric(point: domain.Metric) -> Any:
    return entities.Metric(point.key, point.value, point.timestamp, point.step)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Make many objects that are no garbage: looking through them again and again takes most of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def model_version(found: ModelVersion) -> Any:
    """Return a version as mlflow's."""
    more: dict[str, Any] = {"model_id": found.tags.get(model_tags.TAG_MODEL_ID)} if _HAS_MODEL_ID else {}
    return model_registry.ModelVersion(
        name=found.name,
        version=found.version,
        creation_timestamp=found.creation_time or 0,
        last_updated_timestamp=found.last_update_time,
        description=found.description,
        user_id=found.user,
        current_stage=found.stage,
        source=found.source,
        run_id=found.run_id,
        tags=_tags(found.tags, model_registry.ModelVersionTag),
        aliases=list(found.aliases),
        **more,
    )


def registered_model(found: RegisteredModel, latest: Iterable[ModelVersion]) -> Any:
    """Return a registered model as mlflow's, with the newest version of each stage."""
    return model_registry.RegisteredModel(
        name=found.name,
        creation_timestamp=found.creation_time,
        last_updated_timestamp=found.last_update_time,
        description=found.description,
        latest_versions=[model_version(version) for version in latest],
        tags=_tags(found.tags, model_registry.RegisteredModelTag),
        aliases=[model_registry.RegisteredModelAlias(alias, to) for alias, to in found.aliases.items()],
    )


def _tags(tags: Mapping[str, str], kind: Any) -> list[Any]:
    return [kind(key, value) for key, value in tags.items() if not key.startswith(RESERVED_TAG_PREFIX)]
