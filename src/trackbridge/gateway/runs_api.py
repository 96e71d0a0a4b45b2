"""The life of a run, and what is logged to it.

``log-metric`` and ``log-batch`` are the paths that training loops go through: decoded straight into Structs,
checked, encoded once into a record of the journal, answered.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from trackbridge.api.values import as_text
from trackbridge.domain.runs import TAG_NAME, TAG_USER, DatasetInput, RunStatus
from trackbridge.gateway import names
from trackbridge.gateway.entities import (
    DatasetInputBody,
    InfoAnswer,
    ModelInputBody,
    RunAnswer,
    Setting,
    info_body,
    run_body,
)
from trackbridge.gateway.errors import Refused, absent, invalid, missing
from trackbridge.gateway.routes import Route, Scope
from trackbridge.gateway.wire import EMPTY, Empty, Int64, Request, is_ordinal

if TYPE_CHECKING:
    from trackbridge.gateway.gateway import Gateway

METRICS_MAX = 1_000
PARAMS_MAX = 100
TAGS_MAX = 100
ITEMS_MAX = 1_000
"""Of one ``log-batch``, as mlflow/utils/validation.py has it."""
DATASETS_MAX = 1_000
_DATASET_CHARS_MAX = {
    "name": 500,
    "digest": 36,
    "source": 65_535,
    "schema": 1_048_575,
    "profile": 16_777_215,
    "key": 255,
    "value": 500,
}
"""Of the fields of a data set and of its tags; an MLflow server behind us would refuse more at delivery."""
TAG_HISTORY = "mlflow.log-model.history"
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_STATUSES = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")  # as numbered in service.proto
_adding_models = threading.Lock()
_MODEL_FIELDS = ("artifact_path", "flavors", "utc_time_created", "run_id")


class CreateRun(Request):
    """``runs/create``."""

    experiment_id: str | None = None
    user_id: str | None = None
    run_name: str | None = None
    start_time: Int64 | None = None
    tags: list[Setting] = msgspec.field(default_factory=list)


class NamedRun(Request):
    """A request that names a run."""

    run_id: str | None = None
    run_uuid: str | None = None
    required = ("run_id",)


class UpdateRun(Request):
    """``runs/update``."""

    run_id: str | None = None
    run_uuid: str | None = None
    status: str | int | None = None
    end_time: Int64 | None = None
    run_name: str | None = None
    required = ("run_id",)


class LogMetric(Request, gc=False):
    """``runs/log-metric``."""

    run_id: str | None = None
    run_uuid: str | None = None
    key: str | None = None
    value: float | None = None
    timestamp: int | None = None
    step: int | None = None
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None
    required = ("run_id", "key", "value", "timestamp")


class LoggedPoint(msgspec.Struct, gc=False):
    """A point of a batch."""

    key: str | None = None
    value: float | None = None
    timestamp: int | None = None
    step: int | None = None
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


class LogBatch(Request):
    """``runs/log-batch``."""

    run_id: str | None = None
    metrics: list[LoggedPoint] = msgspec.field(default_factory=list)
    params: list[Setting] = msgspec.field(default_factory=list)
    tags: list[Setting] = msgspec.field(default_factory=list)
    required = ("run_id",)


class LogSetting(Request):
    """``runs/log-parameter`` and ``runs/set-tag``."""

    run_id: str | None = None
    run_uuid: str | None = None
    key: str | None = None
    value: str | None = None
    required = ("run_id", "key")


class DeleteTag(Request):
    """``runs/delete-tag``."""

    run_id: str | None = None
    key: str | None = None
    required = ("run_id", "key")


class LogInputs(Request):
    """``runs/log-inputs``."""

    run_id: str | None = None
    datasets: list[DatasetInputBody] = msgspec.field(default_factory=list)
    models: list[ModelInputBody] = msgspec.field(default_factory=list)
    required = ("run_id",)


class LogModel(Request):
    """``runs/log-model``, with which mlflow 2 notes a model of a run."""

    run_id: str | None = None
    model_json: str | None = None
    required = ("run_id", "model_json")


# The life of a run.


def create_run(gateway: Gateway, request: CreateRun) -> RunAnswer:
    """Open a run; it is in the journal when it is told."""
    tags = _tags(request.tags)
    name = request.run_name or ""
    if name and tags.get(TAG_NAME, name) != name:
        raise invalid(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values "
            f"(run_name='{name}', mlflow.runName='{tags[TAG_NAME]}')."
        )
    if "\0" in name or "\0" in (request.user_id or ""):
        raise invalid("the name of a run and of its user hold no NUL character")
    recorder = gateway.runs.create(
        gateway.experiments.active(request.experiment_id or "0"),
        name=name,
        user=request.user_id or tags.get(TAG_USER, ""),
        start_time=request.start_time,
        tags=tags,
    )
    body = run_body(recorder.snapshot())
    body.outputs = None  # as with mlflow
    return RunAnswer(body)


def get_run(gateway: Gateway, request: NamedRun) -> RunAnswer:
    """Return a run, deleted or not."""
    return RunAnswer(run_body(gateway.runs.get(request.run_id or "")))


def update_run(gateway: Gateway, request: UpdateRun) -> InfoAnswer:
    """Set status, end time or name of a run."""
    recorder = gateway.runs.recorder(request.run_id or "")
    status = None if request.status is None else _status(request.status)
    if request.run_name:
        recorder.tags({TAG_NAME: request.run_name})
    if status is None and request.end_time is not None:
        status = recorder.status if recorder.status.is_final else None
        if status is None:
            raise Refused("NOT_IMPLEMENTED", "a run that has not ended has no end time; set its status, too")
    if status is not None and status.is_final:
        gateway.documents.settle(recorder.run_id)
        gateway.runs.end(recorder, status, request.end_time)
    elif status is not None:
        gateway.runs.reopen(recorder)
    return InfoAnswer(info_body(recorder.snapshot().info))


def delete_run(gateway: Gateway, request: NamedRun) -> Empty:
    """Delete a run; it can be restored."""
    gateway.runs.delete(request.run_id or "")
    return EMPTY


def restore_run(gateway: Gateway, request: NamedRun) -> Empty:
    """Restore a run."""
    gateway.runs.restore(request.run_id or "")
    return EMPTY


def _status(given: str | int) -> RunStatus:
    text = str(given)
    if is_ordinal(text) and 1 <= int(text) <= len(_STATUSES):
        return RunStatus(_STATUSES[int(text) - 1])
    if text in _STATUSES:
        return RunStatus(text)
    raise invalid(f"Invalid value {json.dumps(given)} for parameter 'status' supplied.")


# Logging.


def log_metric(gateway: Gateway, request: LogMetric) -> Empty:
    """Log a point."""
    columns = _columns([request], lambda place: "")
    gateway.runs.recorder(request.run_id or "").columns(*columns)
    if request.model_id:
        gateway.documents.note(request.model_id, [request])
    return EMPTY


def log_param(gateway: Gateway, request: LogSetting) -> Empty:
    """Log a param."""
    params = _params([Setting(request.key, request.value)])
    gateway.runs.recorder(request.run_id or "").params(params)
    return EMPTY


def set_tag(gateway: Gateway, request: LogSetting) -> Empty:
    """Set a tag."""
    tags = _tags([Setting(request.key, request.value)])
    gateway.runs.recorder(request.run_id or "").tags(tags)
    return EMPTY


def delete_tag(gateway: Gateway, request: DeleteTag) -> Empty:
    """Delete a tag that the run has."""
    key = names.checked_tag(request.key or "")
    run_id = request.run_id or ""
    recorder = gateway.runs.recorder(run_id)
    if not recorder.has_tag(key) and key not in gateway.runs.get(run_id).data.tags:
        raise absent(f"No tag with name: {key} in run with id {run_id}")
    recorder.tags({key: None})
    return EMPTY


def log_batch(gateway: Gateway, request: LogBatch) -> Empty:
    """Log points, params and tags; nothing of a batch that is refused."""
    _check_sizes(request)
    columns = _columns(request.metrics, lambda place: f"metrics[{place}].")
    params = _params(request.params, "params")
    tags = _tags(request.tags, "tags")
    recorder = gateway.runs.recorder(request.run_id or "")
    recorder.params(params)  # these may be refused yet, points are checked
    recorder.tags(tags)
    recorder.columns(*columns)
    _note_models(gateway, request)
    return EMPTY


def log_inputs(gateway: Gateway, request: LogInputs) -> Empty:
    """Log data sets and models that a run reads."""
    if len(request.datasets) > DATASETS_MAX:
        raise invalid(f"at most {DATASETS_MAX} datasets are logged at once, not {len(request.datasets)}")
    datasets = [_dataset(given, place) for place, given in enumerate(request.datasets)]
    models = [model.model_id or "" for model in request.models]
    recorder = gateway.runs.recorder(request.run_id or "")
    for dataset in datasets:
        recorder.input(dataset)
    if models:
        gateway.documents.read_by(recorder.run_id, models)
    return EMPTY


def log_model(gateway: Gateway, request: LogModel) -> Empty:
    """Add a model to the tag in which mlflow 2 keeps the models of a run."""
    text = request.model_json or ""
    try:
        model = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid(f"Malformed model info. \n {text[:1000]} \n is not a valid JSON.") from error
    lacking = [] if isinstance(model, dict) else list(_MODEL_FIELDS)
    lacking = lacking or [field for field in _MODEL_FIELDS if field not in model]
    if lacking:
        raise invalid(f"Model json is missing mandatory fields: {', '.join(lacking)}")
    recorder = gateway.runs.recorder(request.run_id or "")
    with _adding_models:  # what two add at the same time is there afterwards
        known = _models_of(gateway.runs.get(recorder.run_id).data.tags.get(TAG_HISTORY, "[]"))
        recorder.tags({TAG_HISTORY: json.dumps([*known, _without_config(model)])})
    return EMPTY


def _models_of(text: str) -> list[Any]:
    try:
        return msgspec.json.decode(text, type=list[Any])
    except msgspec.MsgspecError as error:
        raise invalid(f"the run's tag {TAG_HISTORY!r} holds no list of models") from error


def _without_config(model: dict[str, Any]) -> dict[str, Any]:
    """Return what mlflow keeps of a model in a tag: ``Model.get_tags_dict``."""
    kept = {
        key: value for key, value in model.items() if key not in ("metadata", "is_signature_from_type_hint")
    }
    flavors = kept.get("flavors", {})
    if isinstance(flavors, dict):
        kept["flavors"] = {
            name: {key: value for key, value in flavor.items() if key != "config"}
            if isinstance(flavor, dict)
            else flavor
            for name, flavor in flavors.items()
        }
    return kept


def _note_models(gateway: Gateway, request: LogBatch) -> None:
    by_model: dict[str, list[LoggedPoint]] = {}
    for given in request.metrics:
        if given.model_id:
            by_model.setdefault(given.model_id, []).append(given)
    for model_id, points in by_model.items():
        gateway.documents.note(model_id, points)


# Checks.


def _check_sizes(request: LogBatch) -> None:
    counts = {"metrics": len(request.metrics), "params": len(request.params), "tags": len(request.tags)}
    limits = {"metrics": METRICS_MAX, "params": PARAMS_MAX, "tags": TAGS_MAX}
    counts["metrics, params, and tags"] = sum(counts.values())
    limits["metrics, params, and tags"] = ITEMS_MAX
    for what, count in counts.items():
        if count > limits[what]:
            raise invalid(
                f"A batch logging request can contain at most {limits[what]} {what}. Got {count} {what}. "
                f"Please split up {what} across multiple requests and try again."
            )


def _columns(
    points: Sequence[LogMetric | LoggedPoint], path: Callable[[int], str]
) -> tuple[list[str], list[float], list[int], list[int]]:
    """Return points as columns, checked as a whole; ``path`` is where one stands, for an error.

    Raises:
        Refused: A point lacks something, or has a value that mlflow does not take.
    """
    keys = [point.key for point in points]
    values = [point.value for point in points]
    timestamps = [point.timestamp for point in points]
    steps = [point.step or 0 for point in points]
    if not points:
        return [], [], [], []
    if None in values or None in timestamps or not all(keys):
        _raise_missing(points, path)
    if min(timestamps) < 0 or max(timestamps) > _INT64_MAX:  # type: ignore[type-var, operator]
        _raise_out_of_range(points, path)
    if min(steps) < _INT64_MIN or max(steps) > _INT64_MAX:
        _raise_out_of_range(points, path)
    for key in set(keys):
        names.checked_key(key, f"{path(keys.index(key))}name")
    return keys, values, timestamps, steps  # type: ignore[return-value]


def _raise_missing(points: Sequence[LogMetric | LoggedPoint], path: Callable[[int], str]) -> None:
    for place, point in enumerate(points):
        for name in ("key", "value", "timestamp"):
            if getattr(point, name) in (None, ""):
                raise missing(f"{path(place)}{name}")


def _raise_out_of_range(points: Sequence[LogMetric | LoggedPoint], path: Callable[[int], str]) -> None:
    for place, point in enumerate(points):
        for name, least in (("timestamp", 0), ("step", _INT64_MIN)):
            given = getattr(point, name) or 0
            if not least <= given <= _INT64_MAX:
                raise invalid(
                    f"Invalid value {given} for parameter '{path(place)}{name}' supplied: metric "
                    f"'{point.key}'. It must be a whole number from {least} to 2^63 - 1."
                )


def _params(given: list[Setting], path: str = "") -> dict[str, str]:
    """Return params.

    Raises:
        Refused: A key is none that mlflow takes, or the same is given twice.
    """
    found: dict[str, str] = {}
    for place, param in enumerate(given):
        where = f"{path}[{place}].key" if path else "key"
        if not param.key:
            raise missing(where)
        key = names.checked_key(param.key, where)
        if key in found:
            raise invalid(
                f"Duplicate parameter keys have been submitted: {[key]}. Please ensure the request contains "
                "only one param value per param key."
            )
        found[key] = as_text(param.value or "", key=key, kind="param")
    return found


def _tags(given: list[Setting], path: str = "") -> dict[str, str]:
    """Return tags; of several of a key the last counts.

    Raises:
        Refused: A key is none that mlflow takes.
    """
    found: dict[str, str] = {}
    for place, tag in enumerate(given):
        where = f"{path}[{place}].key" if path else "key"
        if not tag.key:
            raise missing(where)
        key = names.checked_tag(tag.key, where)
        found[key] = as_text(tag.value or "", key=key, kind="tag")
    return found


def _dataset(given: DatasetInputBody, place: int) -> DatasetInput:
    dataset = given.dataset
    for name in ("name", "digest", "source_type", "source"):
        if not getattr(dataset, name, None):
            raise missing(f"datasets[{place}].dataset.{name}")
        _check_length(name, getattr(dataset, name))
    assert dataset is not None  # it has a name
    _check_length("schema", dataset.schema)
    _check_length("profile", dataset.profile)
    for tag in given.tags:
        _check_length("key", tag.key)
        _check_length("value", tag.value)
    return DatasetInput(
        name=dataset.name or "",
        digest=dataset.digest or "",
        source_type=dataset.source_type or "",
        source=dataset.source or "",
        schema=dataset.schema or "",
        profile=dataset.profile or "",
        tags={tag.key or "": tag.value or "" for tag in given.tags},
    )


def _check_length(field: str, text: str | None) -> None:
    chars_max = _DATASET_CHARS_MAX.get(field)
    if text and chars_max is not None and len(text) > chars_max:
        raise names.too_long(field, chars_max)


# Routes.


def _is_known(gateway: Gateway, request: Any) -> bool:
    return gateway.runs.knows(request.run_id)


def _is_known_without_models(gateway: Gateway, request: LogMetric | LogBatch) -> bool:
    points = request.metrics if isinstance(request, LogBatch) else (request,)
    return gateway.runs.knows(request.run_id) and not any(point.model_id for point in points)


def _is_known_and_noted(gateway: Gateway, request: UpdateRun) -> bool:
    run_id = request.run_id or ""
    return gateway.runs.knows(run_id) and not gateway.documents.has_unwritten(run_id)


def _is_known_without_inputs(gateway: Gateway, request: LogInputs) -> bool:
    return gateway.runs.knows(request.run_id) and not request.models


def _is_believed(gateway: Gateway, request: CreateRun) -> bool:
    return gateway.experiments.is_believed(request.experiment_id or "0")


ROUTES = (
    Route("POST", "runs/create", create_run, CreateRun, Scope.WRITE, is_quick=_is_believed),
    Route("GET", "runs/get", get_run, NamedRun, Scope.READ),
    Route("POST", "runs/update", update_run, UpdateRun, Scope.WRITE, is_quick=_is_known_and_noted),
    Route("POST", "runs/delete", delete_run, NamedRun, Scope.WRITE),
    Route("POST", "runs/restore", restore_run, NamedRun, Scope.WRITE),
    Route("POST", "runs/log-metric", log_metric, LogMetric, Scope.WRITE, is_quick=_is_known_without_models),
    Route("POST", "runs/log-batch", log_batch, LogBatch, Scope.WRITE, is_quick=_is_known_without_models),
    Route("POST", "runs/log-parameter", log_param, LogSetting, Scope.WRITE, is_quick=_is_known),
    Route("POST", "runs/set-tag", set_tag, LogSetting, Scope.WRITE, is_quick=_is_known),
    Route("POST", "runs/delete-tag", delete_tag, DeleteTag, Scope.WRITE),
    Route("POST", "runs/log-inputs", log_inputs, LogInputs, Scope.WRITE, is_quick=_is_known_without_inputs),
    Route("POST", "runs/log-model", log_model, LogModel, Scope.WRITE),
)
