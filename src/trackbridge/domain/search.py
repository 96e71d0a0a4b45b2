"""The search language: text to a tree, and a tree to true or false."""

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

    terms: tuple["Expression", ...]


class Or(msgspec.Struct, frozen=True, tag="or"):
    """At least one of the terms."""

    terms: tuple["Expression", ...]


class Not(msgspec.Struct, frozen=True, tag="not"):
    """Not the term."""

    term: "Expression"


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


def parse_query(filter_string: str = "", order_by: tuple[str, ...] = ()) -> Query:
    """Parse the text of a filter and of an order.

    Raises:
        InvalidQuery: With the position of the first character that is wrong.
    """
    raise NotImplementedError
