"""Which logged models a search of mlflow's finds, and in what order.

A model that a run's tags tell of is read whole only where the filter or the order asks for what they lack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from trackbridge.domain.search import And, Comparison, Entity, Expression, Not, Or, matches_values
from trackbridge.gateway.errors import invalid

Value = str | int | float

_FIELDS = {
    "name": "name",
    "model_id": "model_id",
    "model_type": "model_type",
    "status": "status",
    "source_run_id": "source_run_id",
    "creation_timestamp": "creation_time",
    "creation_time": "creation_time",
    "last_updated_timestamp": "last_update_time",
    "last_updated_time": "last_update_time",
}
_METRICS = "metrics."


class MetricOfModel(Struct, frozen=True):
    """A point that belongs to a model."""

    key: str
    value: float
    timestamp: int
    step: int
    run_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class Details(Struct, frozen=True):
    """What is known of a model when it was read whole."""

    tags: dict[str, str]
    params: dict[str, str]
    metrics: tuple[MetricOfModel, ...]
    status_message: str | None = None


class FoundModel(Struct, kw_only=True):
    """A logged model. Times are milliseconds since 1970; ``experiment_id`` is ours."""

    model_id: str
    experiment_id: str
    name: str
    status: str
    model_type: str
    source_run_id: str
    creation_time: int
    last_update_time: int
    read: Callable[[], Details]
    known: Details | UnsetType = UNSET

    @property
    def details(self) -> Details:
        """The model as it was read whole, at the first use."""
        if isinstance(self.known, UnsetType):
            self.known = self.read()
        return self.known


class DatasetFilter(Struct):
    """A data set on which a metric is to be measured."""

    dataset_name: str | None = None
    dataset_digest: str | None = None


class Order(Struct):
    """A column that models are ordered by; a metric may be that on one data set."""

    field_name: str | None = None
    ascending: bool = True
    dataset_name: str | None = None
    dataset_digest: str | None = None


def fulfilling(
    models: Iterable[FoundModel], expression: Expression | None, datasets: Sequence[DatasetFilter]
) -> list[FoundModel]:
    """Return the models that fulfil a filter; where data sets are named, only metrics on those count."""
    if any(not dataset.dataset_name for dataset in datasets):
        raise invalid("`dataset_name` in the `datasets` clause must be specified.")
    asks_for_data = bool(datasets) and not _asks_for_metrics(expression)
    return [
        model
        for model in models
        if matches_values(expression, lambda entity, key, of=model: _values(of, entity, key, datasets))  # type: ignore[misc]
        and (not asks_for_data or any(_is_on(metric, datasets) for metric in model.details.metrics))
    ]


def in_order(models: Iterable[FoundModel], order_by: Sequence[Order]) -> list[FoundModel]:
    """Sort models by columns, absent values last, then newest first, then by id.

    Raises:
        Refused: There is no such column.
    """
    found = sorted(models, key=lambda model: (-model.creation_time, model.model_id))
    for order in reversed(order_by):
        read = _column(order)
        present = [model for model in found if read(model) is not None]
        absent = [model for model in found if read(model) is None]
        found = [*sorted(present, key=read, reverse=not order.ascending), *absent]
    return found


def _asks_for_metrics(expression: Expression | None) -> bool:
    if isinstance(expression, And | Or):
        return any(_asks_for_metrics(term) for term in expression.terms)
    if isinstance(expression, Not):
        return _asks_for_metrics(expression.term)
    return isinstance(expression, Comparison) and expression.entity is Entity.METRIC


def _values(
    model: FoundModel, entity: Entity, key: str, datasets: Sequence[DatasetFilter]
) -> Sequence[Value]:
    if entity is Entity.ATTRIBUTE:
        return (getattr(model, key),)
    if entity is Entity.METRIC:
        metrics = model.details.metrics
        return [metric.value for metric in metrics if metric.key == key and _is_on(metric, datasets)]
    texts = model.details.tags if entity is Entity.TAG else model.details.params
    return (texts[key],) if key in texts else ()


def _is_on(metric: MetricOfModel, datasets: Sequence[DatasetFilter]) -> bool:
    return not datasets or any(
        metric.dataset_name == dataset.dataset_name
        and dataset.dataset_digest in (None, "", metric.dataset_digest)
        for dataset in datasets
    )


def _column(order: Order) -> Callable[[FoundModel], Any]:
    name = (order.field_name or "").strip()
    if not name:
        raise invalid("`field_name` in the `order_by` clause must be specified.")
    if order.dataset_digest and not order.dataset_name:
        raise invalid("`dataset_digest` can only be specified if `dataset_name` is also specified.")
    if name.startswith(_METRICS):
        key = name.removeprefix(_METRICS).strip("`")
        datasets = [DatasetFilter(order.dataset_name, order.dataset_digest)] if order.dataset_name else []
        return lambda model: _latest(model, key, datasets)
    if "." in name:
        raise invalid(
            f"Invalid order by field name: {name.partition('.')[0]}, only `metrics.<name>` is allowed."
        )
    if name not in _FIELDS:
        raise invalid(f"Invalid order by field name: {name}.")
    field = _FIELDS[name]
    return lambda model: getattr(model, field)


def _latest(model: FoundModel, key: str, datasets: Sequence[DatasetFilter]) -> float | None:
    """Return the value of a metric that was measured last; None for none, and for one that is no number."""
    found = [metric for metric in model.details.metrics if metric.key == key and _is_on(metric, datasets)]
    value = max(found, key=lambda metric: (metric.timestamp, metric.step)).value if found else None
    return None if value is None or value != value else value
