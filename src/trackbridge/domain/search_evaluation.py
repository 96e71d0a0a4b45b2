"""The meaning of a query, over runs and experiments in memory. Adapters that push down must agree."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from trackbridge.domain.models import ModelVersion, RegisteredModel
from trackbridge.domain.runs import Experiment, Run
from trackbridge.domain.search_tree import (
    And,
    Comparison,
    Entity,
    Expression,
    Not,
    Operator,
    Or,
    OrderBy,
)
from trackbridge.errors import InvalidInput

TAG_DATASET_CONTEXT = "mlflow.data.context"

Value = str | int | float
Subject = TypeVar("Subject")
Model = TypeVar("Model", RegisteredModel, ModelVersion)
Reader = Callable[[Subject, Entity, str], Sequence[Value]]

_NUMBER, _NOT_A_NUMBER, _ABSENT = 0, 1, 2


class Like:
    """A pattern of ``LIKE``: ``%`` stands for any text, ``_`` for one character, nothing escapes them.

    The parts between the ``%`` are sought from left to right, each at its first place: enough for a
    pattern without alternatives, and never exponential.
    """

    def __init__(self, pattern: str, *, ignore_case: bool = False) -> None:
        flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
        parts = pattern.split("%")
        self._first = _part(parts[0], flags)
        self._last = _part(parts[-1], flags) if len(parts) > 1 else None
        self._last_chars = len(parts[-1])
        self._between = [_part(part, flags) for part in parts[1:-1] if part]

    def matches(self, value: str) -> bool:
        """Tell whether the whole value fits the pattern."""
        if self._last is None:
            return self._first.fullmatch(value) is not None
        found = self._first.match(value)
        end = len(value) - self._last_chars
        for part in self._between:
            if not found:
                return False
            found = part.search(value, found.end())
        return found is not None and found.end() <= end and self._last.match(value, end) is not None


def _part(text: str, flags: int) -> re.Pattern[str]:
    return re.compile("".join("." if char == "_" else re.escape(char) for char in text), flags)


@lru_cache(maxsize=256)
def like(pattern: str, *, ignore_case: bool = False) -> Like:
    """Return the compiled pattern."""
    return Like(pattern, ignore_case=ignore_case)


_COMPARE: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQ: operator.eq,
    Operator.NE: operator.ne,
    Operator.LT: operator.lt,
    Operator.LE: operator.le,
    Operator.GT: operator.gt,
    Operator.GE: operator.ge,
    Operator.LIKE: lambda value, pattern: like(pattern).matches(value),
    Operator.ILIKE: lambda value, pattern: like(pattern, ignore_case=True).matches(value),
    Operator.IN: lambda value, choices: value in choices,
    Operator.NOT_IN: lambda value, choices: value not in choices,
}


def matches(expression: Expression | None, run: Run) -> bool:
    """Tell whether a run fulfils a filter, as ``TrackingStore.search_runs`` states it."""
    return _matches(expression, run, _run_values)


def matches_experiment(expression: Expression | None, experiment: Experiment) -> bool:
    """Tell whether an experiment fulfils a filter made by ``parse_experiment_query``."""
    return _matches(expression, experiment, _experiment_values)


def matches_model(expression: Expression | None, model: RegisteredModel | ModelVersion) -> bool:
    """Tell whether a model fulfils a filter of ``parse_model_query``, or a version one of versions."""
    return _matches(expression, model, _model_values)


def matches_values(expression: Expression | None, read: Callable[[Entity, str], Sequence[Value]]) -> bool:
    """Tell whether a filter is fulfilled by the values that something has of a column."""
    return _matches(expression, None, lambda _, entity, key: read(entity, key))


def ordered_by_values(
    items: Iterable[Subject], order_by: Sequence[OrderBy], read: Reader[Subject]
) -> list[Subject]:
    """Sort by the values that items have of columns, absent ones last; ties stay as they were."""

    def key(item: Subject) -> tuple[Any, ...]:
        return tuple(_column_key(read(item, by.entity, by.key), by.descending) for by in order_by)

    return sorted(items, key=key)


def ordered_models(models: Iterable[Model], order_by: Sequence[OrderBy] = ()) -> list[Model]:
    """Sort models or versions: by the columns (absent ones last), then name, then newest version."""

    def key(model: Model) -> tuple[Any, ...]:
        columns: list[Any] = [
            _column_key(_model_values(model, by.entity, by.key), by.descending) for by in order_by
        ]
        number = _model_values(model, Entity.ATTRIBUTE, "version")
        return (*columns, model.name, _column_key(number, True))

    return sorted(models, key=key)


def sort_key(order_by: Sequence[OrderBy]) -> Callable[[Run], tuple[Any, ...]]:
    """Return the key that sorts runs: by the columns, then newest start, then run id.

    Raises:
        InvalidInput: The order names a data set, of which a run may have many.
    """
    if any(by.entity is Entity.DATASET for by in order_by):
        raise InvalidInput(
            "runs cannot be ordered by a data set",
            operation="search",
            hint="order by an attribute, a metric, a param or a tag",
        )

    def key(run: Run) -> tuple[Any, ...]:
        columns = [_column_key(_run_values(run, by.entity, by.key), by.descending) for by in order_by]
        return (*columns, -run.info.start_time, run.info.run_id)

    return key


def ordered(runs: Iterable[Run], order_by: Sequence[OrderBy] = ()) -> list[Run]:
    """Sort runs as ``TrackingStore.search_runs`` states it.

    Raises:
        InvalidInput: The order names a data set, of which a run may have many.
    """
    return sorted(runs, key=sort_key(order_by))


def ordered_experiments(
    experiments: Iterable[Experiment], order_by: Sequence[OrderBy] = ()
) -> list[Experiment]:
    """Sort experiments: by the columns (absent ones last), then newest, then id."""

    def key(experiment: Experiment) -> tuple[Any, ...]:
        columns = [
            _column_key(_experiment_values(experiment, by.entity, by.key), by.descending) for by in order_by
        ]
        newest = _column_key(_experiment_values(experiment, Entity.ATTRIBUTE, "creation_time"), True)
        return (*columns, newest, experiment.experiment_id)

    return sorted(experiments, key=key)


def _matches(expression: Expression | None, subject: Subject, read: Reader[Subject]) -> bool:
    if expression is None:
        return True
    if isinstance(expression, And):
        return all(_matches(term, subject, read) for term in expression.terms)
    if isinstance(expression, Or):
        return any(_matches(term, subject, read) for term in expression.terms)
    if isinstance(expression, Not):
        return not _matches(expression.term, subject, read)
    return _compare(expression, read(subject, expression.entity, expression.key))


def _compare(comparison: Comparison, values: Sequence[Value]) -> bool:
    if comparison.operator is Operator.IS_NULL:
        return not values
    if comparison.operator is Operator.IS_NOT_NULL:
        return bool(values)
    compare = _COMPARE[comparison.operator]
    return any(compare(value, comparison.value) for value in values if not _is_nan(value))


def _is_nan(value: Value) -> bool:
    return value != value


def _run_values(run: Run, entity: Entity, key: str) -> Sequence[Value]:
    if entity is Entity.METRIC:
        return _one(run.data.metrics.get(key))
    if entity is Entity.PARAM:
        return _one(run.data.params.get(key))
    if entity is Entity.TAG:
        return _one(run.data.tags.get(key))
    if entity is Entity.DATASET:
        return _dataset_values(run, key)
    return _one(getattr(run.info, key))


def _experiment_values(experiment: Experiment, entity: Entity, key: str) -> Sequence[Value]:
    if entity is Entity.TAG:
        return _one(experiment.tags.get(key))
    return _one(getattr(experiment, key))


def _model_values(model: RegisteredModel | ModelVersion, entity: Entity, key: str) -> Sequence[Value]:
    if entity is Entity.TAG:
        return _one(model.tags.get(key))
    if key == "alias":
        return tuple(model.aliases)
    if key == "version":  # a number here, a text with a registry that numbers otherwise
        number = getattr(model, "version", "")
        return (int(number),) if number.isdecimal() else ()
    return _one(getattr(model, key))


def _dataset_values(run: Run, key: str) -> Sequence[Value]:
    datasets = run.inputs.dataset_inputs
    if key == "context":
        contexts = [dataset.tags.get(TAG_DATASET_CONTEXT) for dataset in datasets]
        return [context for context in contexts if context is not None]
    return [getattr(dataset, key) for dataset in datasets]


def _one(value: Any) -> Sequence[Value]:
    if value is None:
        return ()
    # A status is an Enum that is also a str; ordering and LIKE want the plain text.
    return (value.value,) if hasattr(value, "value") else (value,)


class _Descending:
    """Turns the order of a value around."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Descending) -> bool:
        return bool(other.value < self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]


def _column_key(values: Sequence[Value], descending: bool) -> tuple[Any, ...]:
    if not values:
        return (_ABSENT,)
    value = values[0]
    if _is_nan(value):
        return (_NOT_A_NUMBER,)
    return (_NUMBER, _Descending(value) if descending else value)
