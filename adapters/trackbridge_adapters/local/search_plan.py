"""Which rows a search returns: choosing the cheapest way without statistics.

Three ways lead to a page of rows:

- *walk* an index in the wanted order and stop when the page is full: best when many runs fulfil the filter;
- *drive* from the index of one selective condition, then sort what remains: best when few do;
- *scan* the experiment's runs and sort them: what is left.

How many rows each condition finds is counted in its index, up to a bound, which takes about a millisecond.
Pages continue by place (keyset), so that runs added meanwhile shift nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trackbridge.domain.runs import LifecycleStage
from trackbridge.domain.search import And, Comparison, Entity, Expression, Operator, OrderBy, Query
from trackbridge_adapters.local.search_sql import (
    TABLES,
    Conditions,
    Fragment,
    OrderColumn,
    joined,
    literal_prefix,
    order_column,
    value_test,
)

COUNTED_ROWS_MAX = 20_000

_STAGES = {
    None: Fragment("1"),
    LifecycleStage.ACTIVE: Fragment("r.stage = 0"),
    LifecycleStage.DELETED: Fragment("r.stage > 0"),
}
_DRIVING_NUMBER = frozenset(
    {Operator.EQ, Operator.LT, Operator.LE, Operator.GT, Operator.GE, Operator.IS_NOT_NULL}
)
_DRIVING_TEXT = frozenset({Operator.EQ, Operator.IN, Operator.LIKE, Operator.IS_NOT_NULL})


@dataclass(frozen=True, slots=True)
class FoundRow:
    """A run's row and its place in the order: rank and value by turns, then start time and run id."""

    row: int
    place: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Driver:
    """A source of rows: SQL that selects ``run``, and how many there are (at most the counted bound)."""

    source: Fragment
    term: Expression | None
    rows: int


class RunSearch:
    """One search over the runs of some experiments."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        experiments: Sequence[int],
        query: Query,
        stage: LifecycleStage | None,
    ) -> None:
        self._connection = connection
        self._experiments = tuple(experiments)
        self._stage = stage
        self._conditions = Conditions(connection)
        self._terms = _terms_of(query.filter)
        self._order_by = query.order_by
        self._order = [order_column(self._conditions, by, index) for index, by in enumerate(query.order_by)]

    def rows(self, limit: int, after: Sequence[Any] | None) -> list[FoundRow]:
        """Return at most ``limit`` rows in order, those behind the place ``after``."""
        driver = self._driver(limit)
        if driver is not None:
            return self._sorted(self._driven(driver), self._terms_without(driver.term), limit, after)
        if not self._walks_values():
            return self._sorted(self._all_runs(), self._terms, limit, after)
        found = self._walked(limit, after)
        if len(found) == limit or self._own_terms():
            return found
        # Those for which the first column is NaN or absent come last.
        rest = Fragment(f"{self._order[0].value} IS NULL")
        return found + self._sorted(self._all_runs(), self._terms, limit - len(found), after, rest)

    # Choosing.

    def _driver(self, limit: int) -> _Driver | None:
        """Return the source to drive from, None to walk or to scan."""
        drivers = [self._counted(term, source) for term in self._terms if (source := self._source(term))]
        experiment = self._counted(None, self._experiment_source())
        best = min([*drivers, experiment], key=lambda driver: driver.rows)
        if best.rows >= COUNTED_ROWS_MAX or (best is experiment and not self._walks_values()):
            return None
        return best if best.rows <= self._walk_steps(limit, drivers, experiment) else None

    def _walk_steps(self, limit: int, drivers: list[_Driver], experiment: _Driver) -> float:
        """Estimate how many index entries a walk reads, taking the conditions as independent."""
        total = int(self._connection.execute("SELECT coalesce(max(row), 0) FROM run").fetchone()[0])
        if not self._walks_values() and not self._walks_start():
            return total
        steps = float(limit)
        own = self._own_terms()
        counted = [driver for driver in drivers if driver.term not in own]
        if self._walks_values():
            counted.append(experiment)
        for driver in counted:
            steps *= max(1.0, total / max(1, driver.rows))
        return min(steps, total)

    def _walks_values(self) -> bool:
        return bool(self._order_by) and self._order_by[0].entity is not Entity.ATTRIBUTE

    def _walks_start(self) -> bool:
        return not self._order_by or self._order_by[0] == OrderBy(Entity.ATTRIBUTE, "start_time", True)

    def _own_terms(self) -> list[Comparison]:
        """Return the conditions on the first column of the order that a NaN or an absent value fails."""
        first = self._order_by[0] if self._order_by else None
        return [
            term
            for term in self._terms
            if first is not None
            and isinstance(term, Comparison)
            and (term.entity, term.key) == (first.entity, first.key)
            and term.operator not in (Operator.IS_NULL, Operator.IS_NOT_NULL)
        ]

    def _counted(self, term: Expression | None, source: Fragment) -> _Driver:
        count = f"SELECT count(*) FROM ({source.sql} LIMIT {COUNTED_ROWS_MAX})"
        return _Driver(source, term, int(self._connection.execute(count, source.values).fetchone()[0]))

    def _source(self, term: Expression) -> Fragment | None:
        """Return what selects the runs of a condition from an index, None when no index helps."""
        if not isinstance(term, Comparison):
            return None
        if term.entity is Entity.ATTRIBUTE and term.key == "run_id":
            return _run_id_source(term)
        if term.entity not in TABLES:
            return None
        if term.operator not in (_DRIVING_NUMBER if term.entity is Entity.METRIC else _DRIVING_TEXT):
            return None
        if term.operator is Operator.LIKE and not literal_prefix(str(term.value)):
            return None
        table, index = TABLES[term.entity]
        is_present = term.operator is Operator.IS_NOT_NULL
        test = Fragment("1") if is_present else value_test("value", term)
        number = self._conditions.name(term.key)
        return Fragment(
            f"SELECT run FROM {table} INDEXED BY {index} WHERE key = {number} AND {test.sql}", test.values
        )

    def _experiment_source(self) -> Fragment:
        marks = ",".join("?" * len(self._experiments))
        return Fragment(
            f"SELECT row AS run FROM run INDEXED BY run_by_experiment WHERE experiment IN ({marks})",
            self._experiments,
        )

    def _terms_without(self, used: Expression | None) -> list[Expression]:
        return [term for term in self._terms if term is not used]

    # Reading.

    def _all_runs(self) -> Fragment:
        index = "run_by_experiment" if len(self._experiments) == 1 else "run_by_start"
        return Fragment(f"run r INDEXED BY {index}")

    def _driven(self, driver: _Driver) -> Fragment:
        return Fragment(f"({driver.source.sql}) d CROSS JOIN run r ON r.row = d.run", driver.source.values)

    def _sorted(
        self,
        source: Fragment,
        terms: Sequence[Expression],
        limit: int,
        after: Sequence[Any] | None,
        *more: Fragment,
    ) -> list[FoundRow]:
        """Read from a source in the order, sorting unless the source has it."""
        columns = _order_terms(self._order)
        joins = " ".join(column.join for column in self._order)
        where = joined("AND", [*self._base(terms), *more, *self._behind(columns, after)], empty="1")
        return self._select(Fragment(f"{source.sql} {joins}", source.values), where, columns, limit)

    def _walked(self, limit: int, after: Sequence[Any] | None) -> list[FoundRow]:
        """Read the runs that have a number or text in the first column, along its index."""
        first, entity = self._order[0], self._order_by[0].entity
        if after is not None and after[0] != 0:
            return []
        table, index = TABLES[entity]
        number = self._conditions.name(self._order_by[0].key)
        joins = " ".join(column.join for column in self._order[1:])
        source = Fragment(f"{table} o0 INDEXED BY {index} CROSS JOIN run r ON r.row = o0.run {joins}")
        own = self._own_terms()
        others = [term for term in self._terms if term not in own]
        present = OrderColumn("0", first.value, first.descending)
        columns = _order_terms([present, *self._order[1:]])
        where = [
            Fragment(f"o0.key = {number} AND o0.value IS NOT NULL"),
            *(value_test("o0.value", term) for term in own),
            *self._base(others),
            *self._behind(columns, after),
        ]
        if after is not None:
            where.append(Fragment(f"o0.value {'<=' if first.descending else '>='} ?", (after[1],)))
        return self._select(source, joined("AND", where, empty="1"), columns, limit)

    def _base(self, terms: Sequence[Expression]) -> list[Fragment]:
        marks = ",".join("?" * len(self._experiments))
        inside = Fragment(f"r.experiment IN ({marks})", self._experiments)
        return [inside, _STAGES[self._stage], *map(self._conditions.condition, terms)]

    def _behind(self, columns: Sequence[tuple[str, bool]], after: Sequence[Any] | None) -> list[Fragment]:
        """Return the conditions that a row lies behind a place."""
        if after is None:
            return []
        behind = _keyset(columns, after)
        if self._order_by:
            return [behind]
        # The same again in a form that lets the index start at the place.
        return [behind, Fragment("r.start_time <= ?", (after[0],))]

    def _select(
        self, source: Fragment, where: Fragment, columns: Sequence[tuple[str, bool]], limit: int
    ) -> list[FoundRow]:
        selected = ", ".join(["r.row", *(column for column, _ in columns)])
        order = ", ".join(
            f"{column} {'DESC' if down else 'ASC'}" for column, down in columns if column != "0"
        )
        statement = f"SELECT {selected} FROM {source.sql} WHERE {where.sql} ORDER BY {order} LIMIT ?"
        values = (*source.values, *where.values, limit)
        return [FoundRow(row[0], row[1:]) for row in self._connection.execute(statement, values)]


def _terms_of(expression: Expression | None) -> list[Expression]:
    """Return the conditions that must all hold."""
    if expression is None:
        return []
    if isinstance(expression, And):
        return [inner for term in expression.terms for inner in _terms_of(term)]
    return [expression]


def _run_id_source(term: Comparison) -> Fragment | None:
    if term.operator not in (Operator.EQ, Operator.IN):
        return None
    test = value_test("run_id", term)
    return Fragment(f"SELECT row AS run FROM run WHERE {test.sql}", test.values)


def _order_terms(order: Sequence[OrderColumn]) -> list[tuple[str, bool]]:
    """Return each expression to sort by, and whether it descends."""
    columns: list[tuple[str, bool]] = []
    for column in order:
        columns += [(column.rank, False), (column.value, column.descending)]
    return [*columns, ("r.start_time", True), ("r.run_id", False)]


def _keyset(columns: Sequence[tuple[str, bool]], place: Sequence[Any]) -> Fragment:
    """Return the condition that a row lies behind a place, as a flat OR: SQLite's parser is not deep.

    Where the place has no value, all rows of the same rank have none, and the column decides nothing.
    """
    alternatives: list[Fragment] = []
    equal: list[Fragment] = []
    for (column, descending), value in zip(columns, place, strict=False):
        if value is None or column == "0":
            continue
        behind = Fragment(f"{column} {'<' if descending else '>'} ?", (value,))
        alternatives.append(joined("AND", [*equal, behind], empty="1"))
        equal.append(Fragment(f"{column} = ?", (value,)))
    return joined("OR", alternatives, empty="0")
