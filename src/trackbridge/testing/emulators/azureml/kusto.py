"""Queries of logs: the part of the Kusto query language (KQL) that questions about endpoints need.

A table, then ``where``, ``extend``, ``project``, ``summarize … by``, ``order by``, ``top``, ``take``,
``count`` and ``distinct``. Anything else is refused, with what there is: there are no statements before the
query (``let``), and no joins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cmp_to_key
from typing import Any

from trackbridge.testing.emulators.azureml.kusto_expressions import (
    AGGREGATES,
    Expression,
    Parser,
    QueryError,
    Row,
    Token,
    tokens_of,
)

Column = tuple[str, str]
OPERATORS = (
    *("where", "filter", "extend", "project", "summarize", "order", "sort", "top", "take", "limit"),
    *("count", "distinct"),
)
ROWS_MAX = 500_000


@dataclass(frozen=True, slots=True)
class Table:
    """Columns (name and Kusto's type) and rows."""

    columns: list[Column]
    rows: list[Row]


def run(query: str, tables: Mapping[str, Callable[[], Table]], now: datetime) -> Table:
    """Answer a query.

    Args:
        query: The text.
        tables: By their names.
        now: What ``now()`` and ``ago()`` stand for.

    Raises:
        QueryError: It is no query, or one of those that the emulator does not have.
    """
    parts = list(_split(tokens_of(query), "|"))
    first = parts[0] if parts else []
    if len(first) != 1 or first[0].kind != "name":
        raise QueryError("a query begins with the name of a table")
    name = first[0].text
    if name not in tables:
        raise QueryError(f"Failed to resolve table or column expression named '{name}'", "SemanticError")
    table = tables[name]()
    for part in parts[1:]:
        table = _applied(table, part, now)
    return Table(table.columns, table.rows[:ROWS_MAX])


def _split(tokens: Iterable[Token], separator: str) -> Iterator[list[Token]]:
    depth = 0
    part: list[Token] = []
    for token in tokens:
        depth += (token.text in "([") - (token.text in ")]") if token.kind == "sign" else 0
        if token.kind == "sign" and token.text == separator and depth == 0:
            yield part
            part = []
        else:
            part.append(token)
    yield part


def _applied(table: Table, part: list[Token], now: datetime) -> Table:
    if not part or part[0].text not in OPERATORS:
        found = part[0].text if part else ""
        raise QueryError(f"the emulator has no operator '{found}'; it has {', '.join(OPERATORS)}")
    name, rest = part[0].text, part[1:]
    types = dict(table.columns)
    if name in ("where", "filter"):
        wanted = _expression(rest, types, now)
        return Table(table.columns, [row for row in table.rows if wanted.of(row)])
    if name in ("project", "extend"):
        return _projected(table, rest, now, keeps=name == "extend")
    if name == "summarize":
        return _summarized(table, rest, now)
    if name == "distinct":
        return _distinct(table, rest, now)
    if name == "count":
        return Table([("Count", "long")], [{"Count": len(table.rows)}])
    if name in ("take", "limit"):
        return Table(table.columns, table.rows[: _number(rest)])
    if name == "top":
        count, by = _by(rest)
        return Table(table.columns, _ordered(table, by, now)[: _number(count)])
    if not rest or rest[0].text != "by":
        raise QueryError(f"'{name}' needs 'by'")
    return Table(table.columns, _ordered(table, rest[1:], now))


def _expression(tokens: list[Token], types: Mapping[str, str], now: datetime) -> Expression:
    parser = Parser(tokens, types, now)
    found = parser.expression()
    parser.end()
    return found


def _named(
    tokens: list[Token], types: Mapping[str, str], now: datetime, number: int
) -> tuple[str, Expression]:
    """Return a column of ``name = expression``, or of an expression that gives the name itself."""
    if len(tokens) > 2 and tokens[0].kind == "name" and tokens[1].text == "=":
        return tokens[0].text, _expression(tokens[2:], types, now)
    if len(tokens) == 1 and tokens[0].kind == "name":
        return tokens[0].text, _expression(tokens, types, now)
    names = [token.text for token in tokens if token.kind == "name"]
    default = f"Column{number}"
    if tokens and tokens[0].text in (*AGGREGATES, "bin"):
        # As Kusto names them: count_, avg_Latency; a bin has its column's name.
        column = names[1] if len(names) > 1 else ""
        default = column if tokens[0].text == "bin" else f"{tokens[0].text}_{column}"
    return default, _expression(tokens, types, now)


def _projected(table: Table, tokens: list[Token], now: datetime, *, keeps: bool) -> Table:
    types = dict(table.columns)
    made = [_named(part, types, now, number) for number, part in enumerate(_split(tokens, ","), 1)]
    columns = [(name, expression.type) for name, expression in made]
    new = {name for name, _ in columns}
    kept = [column for column in table.columns if column[0] not in new] if keeps else []
    rows = [
        {**{name: row[name] for name, _ in kept}, **{name: each.of(row) for name, each in made}}
        for row in table.rows
    ]
    return Table([*kept, *columns], rows)


def _summarized(table: Table, tokens: list[Token], now: datetime) -> Table:
    types = dict(table.columns)
    aggregates, by = _by(tokens, is_needed=False)
    keys = [_named(part, types, now, number) for number, part in enumerate(_split(by, ","), 1) if part]
    made = [
        _named(part, types, now, number) for number, part in enumerate(_split(aggregates, ","), 1) if part
    ]
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in table.rows:
        groups.setdefault(tuple(each.of(row) for _, each in keys), []).append(row)
    if not keys and not groups:
        groups[()] = []
    rows = []
    for key, members in groups.items():
        own = {name: value for (name, _), value in zip(keys, key, strict=True)}
        rows.append({**own, **{name: expression.over(members) for name, expression in made}})
    columns = [(name, each.type) for name, each in (*keys, *made)]
    return Table(columns, rows)


def _distinct(table: Table, tokens: list[Token], now: datetime) -> Table:
    if [token.text for token in tokens] == ["*"]:
        tokens = [Token("name", name) for name, _ in table.columns]
        narrowed = table
    else:
        narrowed = _projected(table, tokens, now, keeps=False)
    seen: dict[tuple[Any, ...], Row] = {}
    for row in narrowed.rows:
        seen.setdefault(tuple(row.values()), row)
    return Table(narrowed.columns, list(seen.values()))


def _by(tokens: list[Token], *, is_needed: bool = True) -> tuple[list[Token], list[Token]]:
    for place, token in enumerate(tokens):
        if token.kind == "name" and token.text == "by":
            return tokens[:place], tokens[place + 1 :]
    if is_needed:
        raise QueryError("'by' is missing")
    return tokens, []


def _number(tokens: list[Token]) -> int:
    if len(tokens) != 1 or tokens[0].kind != "number":
        raise QueryError("a whole number is expected")
    return int(tokens[0].value)


def _ordered(table: Table, tokens: list[Token], now: datetime) -> list[Row]:
    types, rows = dict(table.columns), list(table.rows)
    for part in reversed(list(_split(tokens, ","))):
        is_ascending = bool(part) and part[-1].text == "asc"
        named = part[:-1] if part and part[-1].text in ("asc", "desc") else part
        expression = _expression(named, types, now)

        def compared(one: Row, other: Row, by: Expression = expression) -> int:
            left, right = by.of(one), by.of(other)
            if left == right:
                return 0
            if left is None or right is None:
                return -1 if left is None else 1
            return -1 if left < right else 1

        rows.sort(key=cmp_to_key(compared), reverse=not is_ascending)
    return rows
