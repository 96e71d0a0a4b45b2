"""The search language as SQL: conditions and columns over ``run r``.

Every condition is 0 or 1, never NULL, so that NOT and OR mean what ``domain.search.matches`` means. A key is
looked up first; one that was never used becomes a number that no row has.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from trackbridge.domain.artifacts import artifact_uri
from trackbridge.domain.search import (
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
from trackbridge_adapters.local.capabilities import ADAPTER
from trackbridge_adapters.local.names import find_name

CHAR_MAX = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)

TABLES = {
    Entity.METRIC: ("metric_latest", "metric_by_value"),
    Entity.PARAM: ("param", "param_by_value"),
    Entity.TAG: ("tag", "tag_by_value"),
}
"""Table, and its index by (key, value, run)."""

_ATTRIBUTES = {
    "run_id": "r.run_id",
    "run_name": "r.name",
    "status": "r.status",
    "user_id": "r.user",
    "start_time": "r.start_time",
    "end_time": "r.end_time",
    "artifact_uri": f"('{artifact_uri('')}' || r.run_id)",
    "experiment_id": "(SELECT e.experiment_id FROM experiment e WHERE e.row = r.experiment)",
    "lifecycle_stage": "(CASE r.stage WHEN 0 THEN 'active' ELSE 'deleted' END)",
}
_DATASET_COLUMNS = frozenset({"name", "digest", "context"})


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of SQL and the values of its question marks."""

    sql: str
    values: tuple[Any, ...] = ()


def joined(word: str, fragments: Iterable[Fragment], *, empty: str) -> Fragment:
    """Join conditions with AND or OR; ``empty`` is the condition when there are none."""
    parts = list(fragments)
    if not parts:
        return Fragment(empty)
    sql = f" {word} ".join(part.sql for part in parts)
    return Fragment(f"({sql})", tuple(value for part in parts for value in part.values))


class Conditions:
    """Writes the conditions of one search, with the keys as this store numbers them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._names: dict[str, int] = {}

    def name(self, key: str) -> int:
        """Return the number of a key."""
        if key not in self._names:
            self._names[key] = find_name(self._connection, key)
        return self._names[key]

    def condition(self, expression: Expression) -> Fragment:
        """Return the condition that an expression is."""
        if isinstance(expression, And):
            return joined("AND", map(self.condition, expression.terms), empty="1")
        if isinstance(expression, Or):
            return joined("OR", map(self.condition, expression.terms), empty="0")
        if isinstance(expression, Not):
            term = self.condition(expression.term)
            return Fragment(f"(NOT {term.sql})", term.values)
        return self._comparison(expression)

    def _comparison(self, comparison: Comparison) -> Fragment:
        if comparison.entity is Entity.ATTRIBUTE:
            return _attribute_test(comparison)
        is_null = comparison.operator is Operator.IS_NULL
        quantifier = "NOT EXISTS" if is_null else "EXISTS"
        if comparison.entity is Entity.DATASET:
            column = f"x.{comparison.key}"
            if comparison.key not in _DATASET_COLUMNS:
                raise _unknown(f"a data set has no {comparison.key!r}")
            found = value_test(column, comparison)
            # SQLite takes NULL for outside of an empty list.
            source = f"dataset_input x WHERE x.run = r.row AND {column} IS NOT NULL"
        else:
            # A stored metric whose value is NULL is a NaN: present, and equal to nothing.
            found = Fragment("1") if _asks_presence(comparison) else value_test("x.value", comparison)
            table, _ = TABLES[comparison.entity]
            source = f"{table} x WHERE x.run = r.row AND x.key = {self.name(comparison.key)}"
        return Fragment(f"{quantifier} (SELECT 1 FROM {source} AND {found.sql})", found.values)


def _asks_presence(comparison: Comparison) -> bool:
    return comparison.operator in (Operator.IS_NULL, Operator.IS_NOT_NULL)


def _attribute_test(comparison: Comparison) -> Fragment:
    column = attribute_column(comparison.key)
    if comparison.operator is Operator.IS_NULL:
        return Fragment(f"({column} IS NULL)")
    if comparison.operator is Operator.IS_NOT_NULL:
        return Fragment(f"({column} IS NOT NULL)")
    test = value_test(column, comparison)
    return Fragment(f"coalesce({test.sql}, 0)", test.values) if comparison.key == "end_time" else test


def value_test(column: str, comparison: Comparison) -> Fragment:
    """Return the condition on a column's value; it is NULL where the column is."""
    operator, value = comparison.operator, comparison.value
    if _asks_presence(comparison):
        return Fragment(f"({column} IS NOT NULL)")
    if operator in (Operator.IN, Operator.NOT_IN) and isinstance(value, tuple):
        marks = ",".join("?" * len(value))
        return Fragment(f"({column} {operator.value} ({marks}))", value)
    if operator is Operator.LIKE and isinstance(value, str):
        return _like_test(column, value)
    if operator is Operator.ILIKE:
        return Fragment(f"bridge_like({column}, ?, 1)", (value,))
    return Fragment(f"({column} {operator.value} ?)", (value,))


def _like_test(column: str, pattern: str) -> Fragment:
    """Test a case-sensitive pattern, by a range of the index as far as the pattern begins with plain text."""
    prefix = literal_prefix(pattern)
    if prefix == pattern:
        return Fragment(f"({column} = ?)", (pattern,))
    tests = list(_prefix_tests(column, prefix))
    if pattern != f"{prefix}%":
        tests.append(Fragment(f"bridge_like({column}, ?, 0)", (pattern,)))
    return joined("AND", tests, empty=f"({column} IS NOT NULL)")


def literal_prefix(pattern: str) -> str:
    """Return the text before the first wildcard."""
    return pattern.partition("%")[0].partition("_")[0]


def _prefix_tests(column: str, prefix: str) -> Iterator[Fragment]:
    if not prefix:
        return
    yield Fragment(f"({column} >= ?)", (prefix,))
    end = _after_prefix(prefix)
    if end is not None:
        yield Fragment(f"({column} < ?)", (end,))


def _after_prefix(prefix: str) -> str | None:
    """Return the least text greater than every text with the prefix, None when there is none."""
    kept = prefix.rstrip(chr(CHAR_MAX))
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)


def attribute_column(key: str) -> str:
    """Return the expression of an attribute.

    Raises:
        InvalidInput: A run has no such attribute.
    """
    if key not in _ATTRIBUTES:
        raise _unknown(f"a run has no attribute {key!r}")
    return _ATTRIBUTES[key]


def _unknown(message: str) -> InvalidInput:
    return InvalidInput(
        message,
        adapter=ADAPTER,
        operation="tracking.search_runs",
        hint="build queries with trackbridge.domain.search.parse_query",
    )


@dataclass(frozen=True, slots=True)
class OrderColumn:
    """A column of an order: 0, 1 (NaN) or 2 (absent), then the value in its direction."""

    rank: str
    value: str
    descending: bool
    join: str = ""


def order_column(conditions: Conditions, by: OrderBy, index: int) -> OrderColumn:
    """Return the column that an entry of the order is, joined as ``o<index>``.

    Raises:
        InvalidInput: It names a data set.
    """
    if by.entity is Entity.DATASET:
        raise _unknown("runs cannot be ordered by a data set")
    if by.entity is Entity.ATTRIBUTE:
        value = attribute_column(by.key)
        rank = f"(({value} IS NULL) * 2)" if by.key == "end_time" else "0"
        return OrderColumn(rank, value, by.descending)
    table, _ = TABLES[by.entity]
    alias = f"o{index}"
    return OrderColumn(
        rank=f"(CASE WHEN {alias}.run IS NULL THEN 2 ELSE {alias}.value IS NULL END)",
        value=f"{alias}.value",
        descending=by.descending,
        join=f"LEFT JOIN {table} {alias} ON {alias}.run = r.row AND {alias}.key = {conditions.name(by.key)}",
    )
