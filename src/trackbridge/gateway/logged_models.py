"""The logged models of mlflow 3 in its REST API.

Those that are logged through the gateway are kept as ``api.logged_models`` says, so that every backend has
them. Those that an MLflow server has of its own are told beside them, under its ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
from msgspec import field

from trackbridge.api.logged_models import Document, no_model
from trackbridge.api.mlflow_ids import our_experiment_id, told_experiment_id
from trackbridge.api.model_tags import Summary
from trackbridge.delivery.unspilling import all_pages
from trackbridge.domain.page_tokens import listing_of, place_of, token_of
from trackbridge.domain.search import parse_logged_model_query
from trackbridge.domain.traces import LoggedModel, ModelMetric, is_model_id
from trackbridge.errors import Unsupported
from trackbridge.gateway.addresses import model_uri_of
from trackbridge.gateway.entities import Setting, settings
from trackbridge.gateway.errors import Refused, absent, invalid, missing
from trackbridge.gateway.logged_model_search import (
    DatasetFilter,
    Details,
    FoundModel,
    MetricOfModel,
    Order,
    fulfilling,
    in_order,
)
from trackbridge.gateway.names import checked_run_id
from trackbridge.gateway.routes import Route, Scope
from trackbridge.gateway.wire import EMPTY, Answer, Empty, Request, is_ordinal, number
from trackbridge.ports.capabilities import Feature

if TYPE_CHECKING:
    from trackbridge.gateway.gateway import Gateway

MODELS_PER_PAGE = 50
TAG_VERSIONS = "mlflow.modelVersions"
"""As which versions a model was registered."""
_STATUSES = ("UNSPECIFIED", "PENDING", "READY", "FAILED")
_TOLD_STATUSES = {
    "UNSPECIFIED": "LOGGED_MODEL_STATUS_UNSPECIFIED",
    "PENDING": "LOGGED_MODEL_PENDING",
    "READY": "LOGGED_MODEL_READY",
    "FAILED": "LOGGED_MODEL_UPLOAD_FAILED",
}
_NAME_FORBIDDEN = ("/", ":", ".", "%", '"', "'")


# What is asked.


class CreateModel(Request):
    """A logged model to be."""

    experiment_id: str | None = None
    name: str | None = None
    model_type: str | None = None
    source_run_id: str | None = None
    params: list[Setting] = field(default_factory=list)
    tags: list[Setting] = field(default_factory=list)
    required = ("experiment_id",)


class GetModel(Request):
    """A logged model."""

    model_id: str | None = None
    allow_deleted: str | bool | None = None


class FinishModel(Request):
    """How the logging of a model ended."""

    model_id: str | None = None
    status: int | str | None = None
    required = ("model_id", "status")


class ModelTags(Request):
    """Tags of a logged model."""

    model_id: str | None = None
    tags: list[Setting] = field(default_factory=list)


class ModelTagKey(Request):
    """A tag of a logged model by its key."""

    model_id: str | None = None
    tag_key: str | None = None


class ModelParams(Request):
    """Params of a logged model."""

    model_id: str | None = None
    params: list[Setting] = field(default_factory=list)


class SearchModels(Request):
    """A search of logged models."""

    experiment_ids: list[str] = field(default_factory=list)
    filter: str | None = None
    datasets: list[DatasetFilter] = field(default_factory=list)
    max_results: int | None = None
    order_by: list[Order] = field(default_factory=list)
    page_token: str | None = None
    required = ("experiment_ids",)


class Output(msgspec.Struct):
    """A logged model that a run made."""

    model_id: str = ""
    step: int = 0


class LogOutputs(Request):
    """The logged models that a run made."""

    run_id: str | None = None
    models: list[Output] = field(default_factory=list)
    required = ("run_id", "models")


# What is answered.


class MetricBody(Answer, kw_only=True):
    """A point that belongs to a model."""

    key: str
    value: float | str
    timestamp: int
    step: int
    dataset_name: str = ""
    dataset_digest: str = ""
    model_id: str = ""
    run_id: str = ""


class InfoBody(Answer, kw_only=True):
    """What identifies a logged model."""

    model_id: str
    experiment_id: str
    name: str
    creation_timestamp_ms: int
    last_updated_timestamp_ms: int
    artifact_uri: str
    status: str
    model_type: str
    source_run_id: str
    status_message: str | None = None
    tags: list[Setting] = field(default_factory=list)


class DataBody(Answer):
    """What was logged of a model."""

    params: list[Setting] = field(default_factory=list)
    metrics: list[MetricBody] = field(default_factory=list)


class ModelBody(Answer):
    """A logged model."""

    info: InfoBody
    data: DataBody


class ModelAnswer(Answer):
    """One logged model."""

    model: ModelBody


class ModelsAnswer(Answer):
    """A page of logged models."""

    models: list[ModelBody] = field(default_factory=list)
    next_page_token: str | None = None


def model_body(model: FoundModel) -> ModelBody:
    """Return a logged model as mlflow's clients read it."""
    details = model.details
    info = InfoBody(
        model_id=model.model_id,
        experiment_id=told_experiment_id(model.experiment_id),
        name=model.name,
        creation_timestamp_ms=model.creation_time,
        last_updated_timestamp_ms=model.last_update_time,
        artifact_uri=model_uri_of(model.experiment_id, model.model_id),
        status=_TOLD_STATUSES[model.status],
        model_type=model.model_type,
        source_run_id=model.source_run_id,
        status_message=details.status_message,
        tags=settings(details.tags),
    )
    metrics = [_metric_body(metric, model.model_id) for metric in details.metrics]
    return ModelBody(info, DataBody(settings(details.params), metrics))


def _metric_body(metric: MetricOfModel, model_id: str) -> MetricBody:
    return MetricBody(
        key=metric.key,
        value=number(metric.value),
        timestamp=metric.timestamp,
        step=metric.step,
        dataset_name=metric.dataset_name,
        dataset_digest=metric.dataset_digest,
        model_id=model_id,
        run_id=metric.run_id,
    )


# From where models are.


def _of_document(document: Document) -> FoundModel:
    details = _details(document)
    return _of_summary(
        document.experiment_id, document.run_id, document.model_id, document.summary, lambda: details
    )


def _of_summary(experiment_id: str, run_id: str, model_id: str, summary: Summary, read: object) -> FoundModel:
    return FoundModel(
        model_id=model_id,
        experiment_id=experiment_id,
        name=summary.name,
        status=summary.status,
        model_type=summary.type or "",
        source_run_id=run_id if summary.has_run else "",
        creation_time=summary.created,
        last_update_time=summary.updated,
        read=read,  # type: ignore[arg-type]
    )


def _details(document: Document) -> Details:
    metrics = tuple(
        MetricOfModel(
            key=point.key,
            value=float(point.value),
            timestamp=point.timestamp,
            step=point.step,
            run_id=document.run_id,
            dataset_name=point.dataset_name or "",
            dataset_digest=point.dataset_digest or "",
        )
        for point in document.points
    )
    return Details(dict(document.tags), dict(document.params), metrics, document.status_message)


def _of_native(model: LoggedModel) -> FoundModel:
    details = Details(model.tags, model.params, tuple(_metric_of(metric) for metric in model.metrics))
    return FoundModel(
        model_id=model.model_id,
        experiment_id=model.experiment_id,
        name=model.name,
        status=model.status,
        model_type=model.model_type,
        source_run_id=model.source_run_id,
        creation_time=model.creation_time or 0,
        last_update_time=model.creation_time or 0,
        read=lambda: details,
    )


def _metric_of(metric: ModelMetric) -> MetricOfModel:
    return MetricOfModel(
        key=metric.key,
        value=metric.value,
        timestamp=metric.timestamp,
        step=metric.step,
        run_id=metric.run_id,
        dataset_name=metric.dataset_name,
        dataset_digest=metric.dataset_digest,
    )


def _native(gateway: Gateway, model_id: str) -> LoggedModel:
    try:
        return gateway.client.reader.tracking.get_logged_model(model_id)
    except Unsupported as error:
        raise no_model(model_id) from error


def found_model(gateway: Gateway, model_id: str, *, allow_deleted: bool = False) -> FoundModel:
    """Return a logged model by its id.

    Raises:
        NotFound: There is none.
    """
    if is_model_id(model_id):
        return _of_native(_native(gateway, model_id))
    return _of_document(gateway.documents.get(model_id, allow_deleted=allow_deleted))


def _all_models(gateway: Gateway, experiment_ids: tuple[str, ...]) -> Iterator[FoundModel]:
    reader, documents = gateway.client.reader, gateway.documents
    for experiment_id, run_id, model_id, summary in documents.search(experiment_ids):
        yield _of_summary(
            experiment_id,
            run_id,
            model_id,
            summary,
            lambda model_id=model_id: _details(documents.get(model_id)),
        )
    if reader.capabilities.supports(Feature.TRACKING_LOGGED_MODELS):
        tracking = reader.tracking
        for model in all_pages(lambda token: tracking.list_logged_models(experiment_ids, token=token)):
            yield _of_native(model)


# Handlers.


def create_model(gateway: Gateway, request: CreateModel) -> ModelAnswer:
    """Make a model, PENDING."""
    name = request.name or None
    if name is not None and any(letter in name for letter in _NAME_FORBIDDEN):
        raise invalid(
            f"Invalid model name ({name!r}) provided. Model name must be a non-empty string "
            f"and cannot contain the following characters: {_NAME_FORBIDDEN}"
        )
    experiment = gateway.experiments.active(str(request.experiment_id))
    made = gateway.documents.create(
        name=name,
        experiment_id=experiment.experiment_id,
        experiment_name=lambda _: experiment.name,
        source_run_id=request.source_run_id or None,
        tags=_texts(request.tags),
        params=_texts(request.params),
        model_type=request.model_type or None,
    )
    return ModelAnswer(model_body(_of_document(made)))


def get_model(gateway: Gateway, request: GetModel) -> ModelAnswer:
    """Return a model."""
    allow_deleted = str(request.allow_deleted).lower() == "true"
    return ModelAnswer(model_body(found_model(gateway, str(request.model_id), allow_deleted=allow_deleted)))


def finish_model(gateway: Gateway, request: FinishModel) -> ModelAnswer:
    """Set the status of a model."""
    model_id, status = str(request.model_id), _status(request.status)
    if is_model_id(model_id):
        changed = msgspec.structs.replace(_native(gateway, model_id), status=status)
        return ModelAnswer(model_body(_of_native(gateway.client.reader.tracking.put_logged_model(changed))))
    return ModelAnswer(model_body(_of_document(gateway.documents.finish(model_id, status))))


def delete_model(gateway: Gateway, request: GetModel) -> Empty:
    """Delete a model; its files stay."""
    model_id = str(request.model_id)
    if is_model_id(model_id):
        found_model(gateway, model_id)  # one that is missing is told as missing
        raise Refused(
            "NOT_IMPLEMENTED",
            f"the logged model {model_id} is the backend's own, and is not deleted through the gateway",
        )
    with gateway.documents.changed(model_id) as document:
        document.summary.is_deleted = True
    return EMPTY


def set_tags(gateway: Gateway, request: ModelTags) -> Empty:
    """Set tags of a model."""
    model_id, tags = str(request.model_id), _texts(request.tags)
    if is_model_id(model_id):
        known = _native(gateway, model_id)
        _put(gateway, msgspec.structs.replace(known, tags={**known.tags, **tags}))
        return EMPTY
    with gateway.documents.changed(model_id) as document:
        document.tags.update(tags)
    return EMPTY


def delete_tag(gateway: Gateway, request: ModelTagKey) -> Empty:
    """Delete a tag of a model."""
    model_id, key = str(request.model_id), str(request.tag_key)
    model = found_model(gateway, model_id)
    if key not in model.details.tags:
        raise absent(f"No tag with key {key!r} found for model with ID {model_id!r}.")
    if is_model_id(model_id):
        known = _native(gateway, model_id)
        left = {name: value for name, value in known.tags.items() if name != key}
        _put(gateway, msgspec.structs.replace(known, tags=left))
        return EMPTY
    with gateway.documents.changed(model_id) as document:
        document.tags.pop(key, None)
    return EMPTY


def log_params(gateway: Gateway, request: ModelParams) -> Empty:
    """Add params to a model."""
    model_id, params = str(request.model_id), _texts(request.params)
    known = found_model(gateway, model_id).details.params
    for key, value in params.items():
        if known.get(key, value) != value:
            raise Refused(
                "BAD_REQUEST", f"The param {key!r} of the model {model_id} is {known[key]!r} already."
            )
    if is_model_id(model_id):
        _put(gateway, msgspec.structs.replace(_native(gateway, model_id), params={**known, **params}))
        return EMPTY
    with gateway.documents.changed(model_id) as document:
        document.params.update(params)
    return EMPTY


def _put(gateway: Gateway, model: LoggedModel) -> None:
    gateway.client.reader.tracking.put_logged_model(model)


def search_models(gateway: Gateway, request: SearchModels) -> ModelsAnswer:
    """Return the models that fulfil a filter, a page of them."""
    count = MODELS_PER_PAGE if request.max_results is None else request.max_results or 2 * MODELS_PER_PAGE
    if count < 1:
        raise invalid(f"Invalid value for max_results. It must be a positive integer, but got {count}")
    expression = parse_logged_model_query(request.filter or "").filter
    listing = listing_of(request.experiment_ids, request.filter, request.datasets, request.order_by)
    place = place_of(
        request.page_token or None,
        listing,
        adapter="gateway",
        operation="search_logged_models",
        types=(int,),
    )
    start = 0 if place is None else place[0]
    ids = tuple(our_experiment_id(told) for told in request.experiment_ids)
    models = fulfilling(_all_models(gateway, ids), expression, request.datasets)
    found = in_order(models, request.order_by)
    page = [model_body(model) for model in found[start : start + count]]
    return ModelsAnswer(page, token_of(listing, [start + count]) if start + count < len(found) else None)


def note_version(gateway: Gateway, model_id: str, name: str, version: str) -> None:
    """Note in a tag of a logged model, as mlflow's server does, that it was registered."""
    if is_model_id(model_id):  # whose server has done so
        return
    with gateway.documents.changed(model_id) as document:
        try:
            known = msgspec.json.decode(document.tags.get(TAG_VERSIONS, "[]"), type=list[object])
        except msgspec.DecodeError:  # a client may set any text there
            known = []
        new = {"name": name, "version": version}
        document.tags[TAG_VERSIONS] = json.dumps(known if new in known else [*known, new])


def log_outputs(gateway: Gateway, request: LogOutputs) -> Empty:
    """Say at which step a run made models."""
    run_id = checked_run_id(request.run_id)
    gateway.runs.recorder(run_id)  # says so when there is none
    for output in request.models:
        gateway.documents.put_out(run_id, output.model_id, output.step)
    return EMPTY


def _texts(given: list[Setting]) -> dict[str, str]:
    if any(not item.key for item in given):
        raise missing("key")
    return {str(item.key): item.value or "" for item in given}


def _status(given: int | str | None) -> str:
    text = str(given)
    if is_ordinal(text) and int(text) < len(_STATUSES):
        return _STATUSES[int(text)]
    for status, told in _TOLD_STATUSES.items():
        if text == told:
            return status
    raise invalid(f"Unknown model status: {text[:100]}")


_ROOT = "logged-models"
_ONE = f"{_ROOT}/{{model_id}}"

ROUTES = (
    Route("POST", _ROOT, create_model, CreateModel, Scope.WRITE),
    Route("POST", f"{_ROOT}/search", search_models, SearchModels, Scope.READ),
    Route("GET", _ONE, get_model, GetModel, Scope.READ),
    Route("PATCH", _ONE, finish_model, FinishModel, Scope.WRITE),
    Route("DELETE", _ONE, delete_model, GetModel, Scope.WRITE),
    Route("PATCH", f"{_ONE}/tags", set_tags, ModelTags, Scope.WRITE),
    Route("DELETE", f"{_ONE}/tags/{{tag_key}}", delete_tag, ModelTagKey, Scope.WRITE),
    Route("POST", f"{_ONE}/params", log_params, ModelParams, Scope.WRITE),
    Route("POST", "runs/outputs", log_outputs, LogOutputs, Scope.WRITE),
)
