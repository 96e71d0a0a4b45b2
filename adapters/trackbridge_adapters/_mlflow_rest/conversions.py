"""Between MLflow's JSON and our values."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from itertools import islice
from operator import le
from typing import Any

from trackbridge.domain.batches import MetricColumns
from trackbridge.domain.runs import (
    TAG_RUN_ID,
    DatasetInput,
    Experiment,
    LifecycleStage,
    RunInputs,
    RunStatus,
)
from trackbridge_adapters._mlflow_rest.wire import Json

TAG_EXPERIMENT_ID = "bridge.experiment_id"
TAG_PARENT_OURS = "bridge.parent_run_id"
BOOK_KEEPING_TAGS = frozenset({TAG_RUN_ID, TAG_PARENT_OURS, TAG_EXPERIMENT_ID})
"""Tags of ours on runs and experiments that nobody is shown."""

_STATUSES = {
    "SCHEDULED": RunStatus.SCHEDULED,
    "RUNNING": RunStatus.RUNNING,
    "FINISHED": RunStatus.FINISHED,
    "FAILED": RunStatus.FAILED,
    "KILLED": RunStatus.KILLED,
}
STAGE_VIEWS = {
    LifecycleStage.ACTIVE: "ACTIVE_ONLY",
    LifecycleStage.DELETED: "DELETED_ONLY",
    None: "ALL",
}


def key_values(items: Any) -> dict[str, str]:
    """Return a list of ``{"key": …, "value": …}`` as a mapping; an empty value may be left out."""
    return {str(item["key"]): str(item.get("value", "")) for item in items or ()}


def key_value_list(values: Mapping[str, str]) -> list[Json]:
    """Return a mapping as the protocol's list."""
    return [{"key": key, "value": value} for key, value in values.items()]


def number_of(value: Any) -> float:
    """Return a metric's value: a number, or "NaN", "Infinity", "-Infinity" as text."""
    return float(value) if value is not None else 0.0


def point_of(metric: Mapping[str, Any]) -> tuple[int, int, float]:
    """Return the step, timestamp and value of a metric in an answer."""
    return int(metric.get("step") or 0), int(metric.get("timestamp") or 0), number_of(metric.get("value"))


def in_order(columns: MetricColumns) -> MetricColumns:
    """Return the points by step, then time; those of one place stay as they came."""
    places = list(zip(columns.steps, columns.timestamps, strict=True))
    if all(map(le, places, islice(places, 1, None))):  # many times quicker than a sort, and the rule
        return columns
    order = sorted(range(len(places)), key=places.__getitem__)
    return MetricColumns(
        steps=array("q", [columns.steps[index] for index in order]),
        timestamps=array("q", [columns.timestamps[index] for index in order]),
        values=array("d", [columns.values[index] for index in order]),
    )


def value_text(value: float) -> str:
    """Return a metric's value as JSON; what JSON does not have is a text of the protocol's."""
    if value - value == 0:
        return repr(value)
    if math.isnan(value):
        return '"NaN"'
    return '"Infinity"' if value > 0 else '"-Infinity"'


def status_of(text: Any) -> RunStatus:
    """Return a run's status; one that MLflow does not have counts as scheduled."""
    return _STATUSES.get(str(text), RunStatus.SCHEDULED)


def stage_of(text: Any) -> LifecycleStage:
    """Return whether something was deleted."""
    return LifecycleStage.DELETED if text == "deleted" else LifecycleStage.ACTIVE


def milliseconds(value: Any) -> int | None:
    """Return a time; the protocol sends 64-bit integers as numbers or as texts, and 0 for none."""
    return int(value) if value not in (None, "", 0, "0") else None


def experiment_of(found: Json, *, name: str) -> Experiment:
    """Return an experiment under our id where it has one.

    Args:
        found: As the server answered.
        name: Its name as users know it.
    """
    tags = key_values(found.get("tags"))
    native = str(found["experiment_id"])
    ours = tags.get(TAG_EXPERIMENT_ID, native)
    return Experiment(
        experiment_id=ours,
        name=name,
        lifecycle_stage=stage_of(found.get("lifecycle_stage")),
        artifact_location=str(found.get("artifact_location", "")),
        tags={key: value for key, value in tags.items() if key not in BOOK_KEEPING_TAGS},
        creation_time=milliseconds(found.get("creation_time")),
        last_update_time=milliseconds(found.get("last_update_time")),
        native_id=native if native != ours else None,
    )


def inputs_of(found: Any) -> RunInputs:
    """Return the data sets that a run read, in order of name and digest."""
    items = (found or {}).get("dataset_inputs") or ()
    return RunInputs(dataset_inputs=tuple(_dataset(item) for item in items))


def _dataset(item: Json) -> DatasetInput:
    dataset = item.get("dataset") or {}
    return DatasetInput(
        name=str(dataset.get("name", "")),
        digest=str(dataset.get("digest", "")),
        source_type=str(dataset.get("source_type", "")),
        source=str(dataset.get("source", "")),
        schema=str(dataset.get("schema", "")),
        profile=str(dataset.get("profile", "")),
        tags=key_values(item.get("tags")),
    )


def dataset_json(dataset: DatasetInput) -> Json:
    """Return a data set as ``runs/log-inputs`` takes it."""
    fields = {
        "name": dataset.name,
        "digest": dataset.digest,
        "source_type": dataset.source_type,
        "source": dataset.source,
        "schema": dataset.schema,
        "profile": dataset.profile,
    }
    return {
        "tags": key_value_list(dataset.tags),
        "dataset": {key: value for key, value in fields.items() if value or key in ("name", "digest")},
    }
