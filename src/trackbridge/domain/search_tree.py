"""The search language as a tree: what a filter and an order say."""

from __future__ import annotations

from enum import Enum

import msgspec


class Entity(str, Enum):
    """What a comparison looks at."""

    METRIC = "metrics"
    PARAM = "params"
    TAG = "tags"
    ATTRIBUTE = "attributes"
    DATASET = "datasets"


class Operator(str, Enum):
    """How it compares."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    LIKE = "LIKE"
    ILIKE = "ILIKE"
    IN = "IN"
    NOT_IN = "NOT IN"
    IS_NULL = "IS NULL"
    IS_NOT_NULL = "IS NOT NULL"


class Comparison(msgspec.Struct, frozen=True, tag="comparison"):
    """One condition. ``value`` is a float for metrics, an int for times, text or a tuple otherwise."""

    entity: Entity
    key: str
    operator: Operator
    value: str | float | int | tuple[str, ...] | None = None


class And(msgspec.Struct, frozen=True, tag="and"):
    """All of the terms."""

    terms: tuple[Expression, ...]


class Or(msgspec.Struct, frozen=True, tag="or"):
    """At least one of the terms."""

    terms: tuple[Expression, ...]


class Not(msgspec.Struct, frozen=True, tag="not"):
    """Not the term."""

    term: Expression


Expression = Comparison | And | Or | Not


class OrderBy(msgspec.Struct, frozen=True):
    """A column to sort by."""

    entity: Entity
    key: str
    descending: bool = False


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A filter (None: everything) and an order (empty: newest start first)."""

    filter: Expression | None = None
    order_by: tuple[OrderBy, ...] = ()


NUMBER_OPERATORS = frozenset(
    {
        Operator.EQ,
        Operator.NE,
        Operator.LT,
        Operator.LE,
        Operator.GT,
        Operator.GE,
        Operator.IS_NULL,
        Operator.IS_NOT_NULL,
    }
)
TEXT_OPERATORS = frozenset(
    {
        Operator.EQ,
        Operator.NE,
        Operator.LIKE,
        Operator.ILIKE,
        Operator.IN,
        Operator.NOT_IN,
        Operator.IS_NULL,
        Operator.IS_NOT_NULL,
    }
)
OPERATORS: dict[Entity, frozenset[Operator]] = {
    Entity.METRIC: NUMBER_OPERATORS,
    Entity.PARAM: TEXT_OPERATORS,
    Entity.TAG: TEXT_OPERATORS,
    Entity.ATTRIBUTE: NUMBER_OPERATORS | TEXT_OPERATORS,
    Entity.DATASET: TEXT_OPERATORS,
}
"""Which operators the language has for which entity (an attribute's depend on its type)."""

COMPARISONS: frozenset[tuple[str, str]] = frozenset(
    (entity.value, operator.value) for entity, operators in OPERATORS.items() for operator in operators
)
"""Every comparison of the language, in the form of ``Capabilities.search_comparisons``."""

RUN_TIMES = frozenset({"start_time", "end_time"})
RUN_TEXTS = frozenset(
    {
        "run_id",
        "run_name",
        "status",
        "user_id",
        "artifact_uri",
        "experiment_id",
        "lifecycle_stage",
    }
)
EXPERIMENT_TIMES = frozenset({"creation_time", "last_update_time"})
EXPERIMENT_TEXTS = frozenset({"experiment_id", "name"})
LOGGED_MODEL_TEXTS = frozenset({"name", "model_id", "model_type", "status", "source_run_id"})
TRACE_TEXTS = frozenset({"trace_id", "request_id", "status", "state", "name", "run_id", "client_request_id"})
TRACE_NUMBERS = frozenset(
    {"timestamp", "timestamp_ms", "request_time", "execution_time", "execution_time_ms", "execution_duration"}
)
MODEL_NUMBERS = frozenset({"creation_time", "last_update_time"})
MODEL_TEXTS = frozenset({"name", "description", "alias"})
VERSION_NUMBERS = MODEL_NUMBERS | {"version"}
VERSION_TEXTS = MODEL_TEXTS | {"run_id", "source", "stage", "approval", "digest", "user"}
DATASET_KEYS = frozenset({"name", "digest", "context"})


def comparisons(expression: Expression | None) -> frozenset[tuple[str, str]]:
    """Return the ``(entity, operator)`` pairs that occur, to hold against ``search_comparisons``."""
    if expression is None:
        return frozenset()
    if isinstance(expression, Comparison):
        return frozenset({(expression.entity.value, expression.operator.value)})
    if isinstance(expression, Not):
        return comparisons(expression.term)
    return frozenset().union(*map(comparisons, expression.terms))
