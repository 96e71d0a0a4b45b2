"""Expressions of Kusto's query language: what of a row they are, and over many rows."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

Row = dict[str, Any]
_TOKEN = re.compile(
    r"""\s+|//[^\n]*
    |(?P<text>@?"(?:[^"\\]|\\.)*"|@?'(?:[^'\\]|\\.)*')
    |(?P<span>\d+(?:\.\d+)?(?:ms|d|h|m|s)\b)
    |(?P<number>\d+(?:\.\d+)?)
    |(?P<name>[A-Za-z_][\w]*)
    |(?P<sign>==|!=|=~|!~|<=|>=|\.\.|!(?=contains|has|startswith|endswith|in\b)|[<>()\[\],|=+\-*/%:])""",
    re.VERBOSE,
)
_SPANS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_WORDS = ("contains", "has", "startswith", "endswith", "in", "matches", "between")
AGGREGATES = ("count", "countif", "sum", "avg", "min", "max", "dcount", "percentile", "stdev")
NUMBERS = ("int", "long", "real")


class QueryError(Exception):
    """A query that cannot be answered; ``code`` is Kusto's name of the error."""

    def __init__(self, message: str, code: str = "SyntaxError") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Token:
    """A word of a query; ``value`` is what a number, a text or a span of time stands for."""

    kind: str
    text: str
    value: Any = None


@dataclass(frozen=True, slots=True)
class Expression:
    """What it is of a row, its type, and what it is over many rows when it is an aggregate."""

    of: Callable[[Row], Any]
    type: str
    aggregate: Callable[[Sequence[Row]], Any] | None = None

    def over(self, rows: Sequence[Row]) -> Any:
        """Return its value over rows.

        Raises:
            QueryError: It is no aggregate.
        """
        if self.aggregate is None:
            raise QueryError("summarize needs aggregates, such as count() or avg(x)", "SemanticError")
        return self.aggregate(rows)


def tokens_of(query: str) -> list[Token]:
    """Return the words of a query.

    Raises:
        QueryError: Something in it is none.
    """
    found, place = [], 0
    while place < len(query):
        match = _TOKEN.match(query, place)
        if match is None:
            raise QueryError(f"unexpected {query[place : place + 20]!r} at {place}")
        place = match.end()
        kind = match.lastgroup
        if kind is not None:
            found.append(_token(kind, match[kind]))
    return found


def _token(kind: str, text: str) -> Token:
    if kind == "text":
        inner = text.lstrip("@")[1:-1]
        return Token(kind, text, inner if text.startswith("@") else re.sub(r"\\(.)", r"\1", inner))
    if kind == "number":
        return Token(kind, text, float(text) if "." in text else int(text))
    if kind == "span":
        unit = re.sub(r"[\d.]", "", text)
        return Token(kind, text, timedelta(seconds=float(text[: -len(unit)]) * _SPANS[unit]))
    return Token(kind, text)


class Parser:
    """Reads an expression.

    Args:
        tokens: All of it.
        types: Of the columns that are there.
        now: What ``now()`` stands for.
    """

    def __init__(self, tokens: list[Token], types: Mapping[str, str], now: datetime) -> None:
        self._tokens, self._types, self._now, self._place = tokens, types, now, 0

    def end(self) -> None:
        """Insist that all was read.

        Raises:
            QueryError: Something follows.
        """
        if self._place < len(self._tokens):
            raise QueryError(f"unexpected '{self._tokens[self._place].text}'")

    def expression(self) -> Expression:
        """Read ``a or b``."""
        left = self._both()
        while self._take("or"):
            left = _of_two(left, self._both(), lambda a, b: bool(a) or bool(b), "bool")
        return left

    def _both(self) -> Expression:
        left = self._compared()
        while self._take("and"):
            left = _of_two(left, self._compared(), lambda a, b: bool(a) and bool(b), "bool")
        return left

    def _compared(self) -> Expression:
        left = self._sum()
        token = self._peek()
        if token is None:
            return left
        if token.text in _COMPARISONS and token.kind == "sign":
            self._place += 1
            return _of_two(left, self._sum(), _COMPARISONS[token.text], "bool")
        is_not = token.text == "!"
        self._place += is_not
        word = self._peek()
        if word is None or word.text.removesuffix("_cs") not in _WORDS:
            if is_not:
                raise QueryError("unexpected '!'")
            return left
        self._place += 1
        found = self._by_word(left, word.text)
        return Expression(lambda row: not found.of(row), "bool") if is_not else found

    def _by_word(self, left: Expression, word: str) -> Expression:
        if word == "in":
            values = self._list()
            return Expression(lambda row: left.of(row) in [value.of(row) for value in values], "bool")
        if word == "between":
            self._need("(")
            low = self._sum()
            self._need("..")
            high = self._sum()
            self._need(")")
            return Expression(lambda row: _between(low.of(row), left.of(row), high.of(row)), "bool")
        if word == "matches":
            self._need("regex")
        return _of_two(left, self._sum(), _TEXTS[word.removesuffix("_cs")], "bool")

    def _sum(self) -> Expression:
        left = self._product()
        while (sign := self._take("+", "-")) is not None:
            right = self._product()
            left = _of_two(left, right, _added if sign == "+" else _taken, _wider(left, right))
        return left

    def _product(self) -> Expression:
        left = self._one()
        while (sign := self._take("*", "/", "%")) is not None:
            right = self._one()
            left = _of_two(left, right, _PRODUCTS[sign], _wider(left, right))
        return left

    def _one(self) -> Expression:
        token = self._next()
        if token.text == "(" and token.kind == "sign":
            found = self.expression()
            self._need(")")
            return found
        if token.text == "-" and token.kind == "sign":
            inner = self._one()
            return Expression(lambda row: None if inner.of(row) is None else -inner.of(row), inner.type)
        if token.kind in ("text", "number", "span"):
            kinds = {"text": "string", "span": "timespan"}
            kind = kinds.get(token.kind, "long" if isinstance(token.value, int) else "real")
            return Expression(lambda row: token.value, kind)
        if token.kind != "name":
            raise QueryError(f"unexpected '{token.text}'")
        if self._take("("):
            return self._call(token.text)
        if token.text in ("true", "false"):
            return Expression(lambda row: token.text == "true", "bool")
        if token.text not in self._types:
            message = f"Failed to resolve scalar expression named '{token.text}'"
            raise QueryError(message, "SemanticError")
        return Expression(lambda row: row[token.text], self._types[token.text])

    def _call(self, name: str) -> Expression:
        if name == "datetime":
            return self._moment()
        given = [] if self._take(")") else self._arguments()
        if name in AGGREGATES and (name not in ("min", "max") or len(given) == 1):
            return _aggregate(name, given)
        if name == "now":
            return Expression(lambda row: self._now, "datetime")
        if name == "ago" and len(given) == 1:
            return Expression(lambda row: self._now - given[0].of(row), "datetime")
        if name == "not" and len(given) == 1:
            return Expression(lambda row: not given[0].of(row), "bool")
        if name == "bin" and len(given) == 2:
            return _of_two(given[0], given[1], _binned, given[0].type)
        if name in _FUNCTIONS:
            function, kind = _FUNCTIONS[name]
            return Expression(lambda row: function(*(each.of(row) for each in given)), kind)
        raise QueryError(f"the emulator has no function '{name}'", "SemanticError")

    def _moment(self) -> Expression:
        parts = []
        while (token := self._next()).text != ")":
            parts.append(str(token.value) if token.kind == "text" else token.text)
        text = "".join(parts)
        # The time follows its date by a T or a space, which is none of the words.
        text = re.sub(r"^(\d{4})-?(\d{2})-?(\d{2})[T ]?(?=\d)", r"\1-\2-\3T", text)
        try:
            value = datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError:
            raise QueryError(f"'{text}' is no datetime") from None
        value = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return Expression(lambda row: value, "datetime")

    def _arguments(self) -> list[Expression]:
        found = [self.expression()]
        while self._take(","):
            found.append(self.expression())
        self._need(")")
        return found

    def _list(self) -> list[Expression]:
        self._need("(")
        return self._arguments()

    def _peek(self) -> Token | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def _next(self) -> Token:
        token = self._peek()
        if token is None:
            raise QueryError("the query ends too early")
        self._place += 1
        return token

    def _take(self, *texts: str) -> str | None:
        token = self._peek()
        if token is None or token.kind == "text" or token.text not in texts:
            return None
        self._place += 1
        return token.text

    def _need(self, text: str) -> None:
        if self._take(text) is None:
            token = self._peek()
            raise QueryError(f"'{text}' is expected, and not '{token.text if token else 'the end'}'")


def _of_two(
    left: Expression, right: Expression, function: Callable[[Any, Any], Any], kind: str
) -> Expression:
    over = None
    if left.aggregate is not None or right.aggregate is not None:

        def over(rows: Sequence[Row]) -> Any:
            sides = [
                each.aggregate(rows) if each.aggregate is not None else each.of({}) for each in (left, right)
            ]
            return function(*sides)

    return Expression(lambda row: function(left.of(row), right.of(row)), kind, over)


def _aggregate(name: str, given: list[Expression]) -> Expression:
    if name == "count":
        return Expression(_none, "long", len)
    if not given or (name == "percentile") != (len(given) == 2):
        raise QueryError(f"{name}() has other arguments", "SemanticError")
    inner = given[0]

    def values(rows: Sequence[Row]) -> list[Any]:
        return [value for value in (inner.of(row) for row in rows) if value is not None]

    if name == "countif":
        return Expression(_none, "long", lambda rows: sum(bool(inner.of(row)) for row in rows))
    if name == "dcount":
        return Expression(_none, "long", lambda rows: len(set(values(rows))))
    if name == "percentile":
        share = float(given[1].of({}))
        return Expression(_none, inner.type, lambda rows: percentile(values(rows), share))
    kind = "real" if name in ("avg", "stdev") else inner.type
    return Expression(_none, kind, lambda rows: _STATISTICS[name](values(rows)))


def percentile(values: Sequence[Any], share: float) -> Any:
    """Return the nearest-rank percentile; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share / 100.0 * len(ordered)) - 1)]


def _deviation(values: list[Any]) -> float:
    if len(values) < 2:
        return 0.0
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _none(row: Row) -> Any:
    raise QueryError("aggregates stand in summarize only", "SemanticError")


def _binned(value: Any, size: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, datetime):
        seconds = size.total_seconds()
        return datetime.fromtimestamp(value.timestamp() // seconds * seconds, timezone.utc)
    return value // size * size


def _between(low: Any, value: Any, high: Any) -> bool:
    return value is not None and low <= value <= high


def _ordered(function: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: left is not None and right is not None and function(left, right)


def _lower(value: Any) -> str:
    return str("" if value is None else value).lower()


def _has(text: Any, term: Any) -> bool:
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(_lower(term))}(?![A-Za-z0-9])", _lower(text)) is not None


def _added(left: Any, right: Any) -> Any:
    return None if left is None or right is None else left + right


def _taken(left: Any, right: Any) -> Any:
    return None if left is None or right is None else left - right


def _divided(left: Any, right: Any) -> Any:
    if left is None or not right:
        return None
    return left // right if isinstance(left, int) and isinstance(right, int) else left / right


def _wider(left: Expression, right: Expression) -> str:
    kinds = {left.type, right.type}
    if "datetime" in kinds:
        return "timespan" if kinds == {"datetime"} else "datetime"
    return "real" if "real" in kinds else left.type


_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "=~": lambda left, right: _lower(left) == _lower(right),
    "!~": lambda left, right: _lower(left) != _lower(right),
    "<": _ordered(lambda left, right: left < right),
    ">": _ordered(lambda left, right: left > right),
    "<=": _ordered(lambda left, right: left <= right),
    ">=": _ordered(lambda left, right: left >= right),
}
_TEXTS: Mapping[str, Callable[[Any, Any], bool]] = {
    "contains": lambda text, part: _lower(part) in _lower(text),
    "has": _has,
    "startswith": lambda text, part: _lower(text).startswith(_lower(part)),
    "endswith": lambda text, part: _lower(text).endswith(_lower(part)),
    "matches": lambda text, pattern: re.search(pattern, str(text or "")) is not None,
}
_PRODUCTS: Mapping[str, Callable[[Any, Any], Any]] = {
    "*": lambda left, right: None if left is None or right is None else left * right,
    "/": _divided,
    "%": lambda left, right: None if left is None or not right else left % right,
}
_STATISTICS: Mapping[str, Callable[[list[Any]], Any]] = {
    "sum": sum,
    "avg": lambda values: sum(values) / len(values) if values else None,
    "min": lambda values: min(values, default=None),
    "max": lambda values: max(values, default=None),
    "stdev": _deviation,
}
_FUNCTIONS: Mapping[str, tuple[Callable[..., Any], str]] = {
    "tostring": (lambda value: "" if value is None else str(value), "string"),
    "toint": (lambda value: None if value in (None, "") else int(value), "int"),
    "tolong": (lambda value: None if value in (None, "") else int(value), "long"),
    "todouble": (lambda value: None if value in (None, "") else float(value), "real"),
    "toreal": (lambda value: None if value in (None, "") else float(value), "real"),
    "tolower": (lambda value: _lower(value), "string"),
    "toupper": (lambda value: _lower(value).upper(), "string"),
    "strcat": (lambda *values: "".join(str(value) for value in values), "string"),
    "isempty": (lambda value: value in (None, ""), "bool"),
    "isnotempty": (lambda value: value not in (None, ""), "bool"),
    "isnull": (lambda value: value is None, "bool"),
    "isnotnull": (lambda value: value is not None, "bool"),
    "iff": (lambda test, one, other: one if test else other, "dynamic"),
}
