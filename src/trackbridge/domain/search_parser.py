"""From the text of a filter or an order to its tree: a lexer and a recursive-descent parser."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar

from trackbridge.domain.search_tree import (
    DATASET_KEYS,
    EXPERIMENT_TEXTS,
    EXPERIMENT_TIMES,
    LOGGED_MODEL_TEXTS,
    MODEL_NUMBERS,
    MODEL_TEXTS,
    NUMBER_OPERATORS,
    RUN_TEXTS,
    RUN_TIMES,
    TEXT_OPERATORS,
    TRACE_NUMBERS,
    TRACE_TEXTS,
    VERSION_NUMBERS,
    VERSION_TEXTS,
    And,
    Comparison,
    Entity,
    Expression,
    Not,
    Operator,
    Or,
    OrderBy,
    Query,
)
from trackbridge.errors import InvalidQuery

TEXT_CHARS_MAX = 100_000
NESTING_MAX = 20
COMPARISONS_MAX = 500

_KEYWORDS = frozenset({"AND", "OR", "NOT", "IN", "LIKE", "ILIKE", "IS", "NULL", "ASC", "DESC"})
_ENTITIES = {
    **dict.fromkeys(("metric", "metrics"), Entity.METRIC),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), Entity.PARAM),
    **dict.fromkeys(("tag", "tags"), Entity.TAG),
    **dict.fromkeys(("attr", "attribute", "attributes", "run"), Entity.ATTRIBUTE),
    **dict.fromkeys(("dataset", "datasets"), Entity.DATASET),
}
_ATTRIBUTE_ALIASES = {
    "run name": "run_name",
    "created": "start_time",
    "creation_timestamp": "creation_time",
    "last_updated_timestamp": "last_update_time",
    "version_number": "version",
    "current_stage": "stage",
    "source_path": "source",
}
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SYMBOL = re.compile(r"<=|>=|!=|<>|==|[=<>(),]")
_QUOTES = "'\"`"
_WORD_ENDS = frozenset("()=<>!,;'\"`")
_INT64 = range(-(2**63), 2**63)

Node = TypeVar("Node")


class _Kind(Enum):
    """Kind of a token."""

    WORD = auto()
    STRING = auto()
    NUMBER = auto()
    SYMBOL = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class _Token:
    """A piece of the text from ``position`` on. ``value`` is what a quoted string holds, else the text.

    A WORD may be a column: ``entity`` is then what stands before its first dot, and ``value`` its key.
    """

    kind: _Kind
    value: str
    position: int
    entity: str | None = None
    quoted: bool = False

    @property
    def keyword(self) -> str | None:
        """The keyword that the token is, in capitals."""
        plain = self.kind is _Kind.WORD and self.entity is None and not self.quoted
        return self.value.upper() if plain and self.value.upper() in _KEYWORDS else None


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is searched for: its entities, and its attributes by type (``times`` are whole numbers).

    ``name`` may stand before an attribute.
    """

    entities: frozenset[Entity]
    times: frozenset[str]
    texts: frozenset[str]
    name: str | None = None


_RUNS = _Subject(frozenset(Entity), RUN_TIMES, RUN_TEXTS)
_MODELS = _Subject(frozenset({Entity.TAG, Entity.ATTRIBUTE}), MODEL_NUMBERS, MODEL_TEXTS)
_VERSIONS = _Subject(frozenset({Entity.TAG, Entity.ATTRIBUTE}), VERSION_NUMBERS, VERSION_TEXTS)
_LOGGED_MODELS = _Subject(
    frozenset({Entity.METRIC, Entity.PARAM, Entity.TAG, Entity.ATTRIBUTE}), MODEL_NUMBERS, LOGGED_MODEL_TEXTS
)
_TRACES = _Subject(frozenset({Entity.TAG, Entity.ATTRIBUTE}), TRACE_NUMBERS, TRACE_TEXTS, "trace")
_EXPERIMENTS = _Subject(frozenset({Entity.TAG, Entity.ATTRIBUTE}), EXPERIMENT_TIMES, EXPERIMENT_TEXTS)


def parse_query(filter_string: str = "", order_by: tuple[str, ...] = ()) -> Query:
    """Parse the text of a filter and of an order of runs.

    Raises:
        InvalidQuery: With the position of the first character that is wrong.
    """
    return _parse(filter_string, order_by, _RUNS)


def parse_experiment_query(filter_string: str = "", order_by: tuple[str, ...] = ()) -> Query:
    """Parse the text of a filter and of an order of experiments: tags, names, ids and times.

    Raises:
        InvalidQuery: With the position of the first character that is wrong.
    """
    return _parse(filter_string, order_by, _EXPERIMENTS)


def parse_model_query(filter_string: str = "", order_by: tuple[str, ...] = ()) -> Query:
    """Parse the text of a filter and of an order of registered models: names, aliases, tags and times.

    Raises:
        InvalidQuery: With the position of the first character that is wrong.
    """
    return _parse(filter_string, order_by, _MODELS)


def parse_version_query(filter_string: str = "", order_by: tuple[str, ...] = ()) -> Query:
    """Parse the text of a filter and of an order of versions: as of models, and run, stage, approval ….

    Raises:
        InvalidQuery: With the position of the first character that is wrong.
    """
    return _parse(filter_string, order_by, _VERSIONS)


def parse_logged_model_query(filter_string: str = "") -> Query:
    """Parse the text of a filter of logged models: metrics, params, tags, names, types, states and times.

    Raises:
        InvalidQuery: With the position of the first character that is wrong.
    """
    return _parse(filter_string, (), _LOGGED_MODELS)


def parse_trace_query(filter_string: str = "", order_by: tuple[str, ...] = ()) -> Query:
    """Parse the text of a filter and of an order of traces: tags, states, names, ids and times.

    Raises:
        InvalidQuery: With the position of the first character that is wrong.
    """
    return _parse(filter_string, order_by, _TRACES)


def _parse(filter_string: str, order_by: tuple[str, ...], subject: _Subject) -> Query:
    columns = tuple(_Parser(text, subject).order() for text in order_by)
    return Query(filter=_Parser(filter_string, subject).filter(), order_by=columns)


class _Lexer:
    """Cuts a text into tokens."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def tokens(self) -> Iterator[_Token]:
        """Yield the tokens, the last of kind END."""
        self._check_text()
        while True:
            self._skip_spaces()
            if self._at == len(self._text):
                yield _Token(_Kind.END, "", self._at)
                return
            yield self._token()

    def _check_text(self) -> None:
        if len(self._text) > TEXT_CHARS_MAX:
            raise self._error(
                f"the text has more than {TEXT_CHARS_MAX:,} characters", TEXT_CHARS_MAX, hint="shorten it"
            )
        try:
            self._text.encode()
        except UnicodeEncodeError as error:
            raise self._error(
                "a character is not valid Unicode", error.start, hint="remove the lone surrogate"
            ) from None

    def _skip_spaces(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _token(self) -> _Token:
        start = self._at
        char = self._text[start]
        if char in _QUOTES:
            value = self._quoted()
            kind = _Kind.WORD if char == "`" else _Kind.STRING
            return _Token(kind, value, start, quoted=True)
        if match := _SYMBOL.match(self._text, start):
            self._at = match.end()
            return _Token(_Kind.SYMBOL, match.group(), start)
        if match := _NUMBER.match(self._text, start):
            self._at = match.end()
            if self._at < len(self._text) and self._is_word_char(self._at):
                raise self._error("a number runs into other text", self._at, hint="put quotes around text")
            return _Token(_Kind.NUMBER, match.group(), start)
        return self._word()

    def _word(self) -> _Token:
        start = self._at
        head = self._run(stop_at_dot=True)
        if not head:
            raise self._error(
                f"unexpected character {self._text[start]!r}",
                start,
                hint="compare a column with a value, as in metrics.acc > 0.9; quote text and odd keys",
            )
        if self._at == len(self._text) or self._text[self._at] != ".":
            return _Token(_Kind.WORD, head, start)
        self._at += 1
        return _Token(_Kind.WORD, self._key(head), start, entity=head)

    def _key(self, head: str) -> str:
        start = self._at
        quoted = start < len(self._text) and self._text[start] in '"`'
        key = self._quoted() if quoted else self._run(stop_at_dot=False)
        if not key:
            raise self._error(
                f"no key after '{head}.'", start, hint=f'name it, as in {head}.loss or {head}."my key"'
            )
        if self._at < len(self._text) and self._text[self._at] in '"`':
            raise self._error(
                "a quote in the middle of a key", self._at, hint="put quotes around the whole key"
            )
        return key

    def _run(self, *, stop_at_dot: bool) -> str:
        start = self._at
        while self._at < len(self._text) and self._is_word_char(self._at):
            if stop_at_dot and self._text[self._at] == ".":
                break
            self._at += 1
        return self._text[start : self._at]

    def _is_word_char(self, at: int) -> bool:
        char = self._text[at]
        return char.isprintable() and not char.isspace() and char not in _WORD_ENDS

    def _quoted(self) -> str:
        """Read up to the closing quote; a doubled quote stands for itself."""
        start = self._at
        quote = self._text[start]
        parts: list[str] = []
        at = start + 1
        while True:
            end = self._text.find(quote, at)
            if end < 0:
                raise self._error("a quote is not closed", start, hint=f"add the closing {quote}")
            parts.append(self._text[at:end])
            if not self._text.startswith(quote * 2, end):
                self._at = end + 1
                return quote.join(parts)
            at = end + 2

    def _error(self, message: str, position: int, *, hint: str) -> InvalidQuery:
        return InvalidQuery(message, text=self._text, position=position, hint=hint)


class _Parser:
    """Reads one text. Each method reads the rule of the grammar that it is named for."""

    def __init__(self, text: str, subject: _Subject) -> None:
        self._text = text
        self._subject = subject
        self._tokens = _Lexer(text).tokens()
        self._token = next(self._tokens)
        self._nesting = 0
        self._comparisons = 0

    def filter(self) -> Expression | None:
        """Read a whole filter; a blank text is None."""
        if self._at_end():
            return None
        expression = self._or()
        if not self._at_end():
            raise self._error(
                f"expected AND, OR or the end, not {self._shown()}", hint="join conditions with AND or OR"
            )
        return expression

    def order(self) -> OrderBy:
        """Read a whole entry of an order."""
        if self._at_end():
            raise self._error("an order is empty", hint="name a column, as in metrics.acc DESC")
        start = self._token
        entity, key = self._column()
        if entity is Entity.DATASET:
            raise self._error(
                "runs cannot be ordered by a data set", at=start, hint="order by a metric, param or tag"
            )
        direction = self._take_keyword("ASC", "DESC")
        if not self._at_end():
            raise self._error(
                f"expected ASC, DESC or the end, not {self._shown()}",
                hint="give each column of the order as an entry of its own",
            )
        return OrderBy(entity, key, direction == "DESC")

    def _or(self) -> Expression:
        return self._chain("OR", self._and, Or)

    def _and(self) -> Expression:
        return self._chain("AND", self._not, And)

    def _chain(
        self,
        keyword: str,
        read: Callable[[], Expression],
        build: Callable[[tuple[Expression, ...]], Expression],
    ) -> Expression:
        terms = [read()]
        while self._take_keyword(keyword):
            terms.append(read())
        return terms[0] if len(terms) == 1 else build(tuple(terms))

    def _not(self) -> Expression:
        if self._token.keyword == "NOT":
            return Not(self._deeper(self._not))
        if self._is_symbol("("):
            return self._deeper(self._group)
        return self._comparison()

    def _group(self) -> Expression:
        expression = self._or()
        self._take_symbol(")", hint="close the parenthesis")
        return expression

    def _deeper(self, read: Callable[[], Node]) -> Node:
        """Step over a NOT or a parenthesis and read what stands behind it."""
        if self._nesting == NESTING_MAX:
            raise self._error(
                f"more than {NESTING_MAX} levels of NOT and parentheses", hint="simplify the filter"
            )
        self._nesting += 1
        self._next()
        inner = read()
        self._nesting -= 1
        return inner

    def _comparison(self) -> Expression:
        if self._comparisons == COMPARISONS_MAX:
            raise self._error(f"more than {COMPARISONS_MAX} comparisons", hint="use IN, or several searches")
        self._comparisons += 1
        column = self._token
        entity, key = self._column()
        is_number = entity is Entity.METRIC or (entity is Entity.ATTRIBUTE and key in self._subject.times)
        at = self._token
        operator = self._operator()
        if operator not in (NUMBER_OPERATORS if is_number else TEXT_OPERATORS):
            raise self._operator_error(operator, column, at, is_number=is_number)
        if operator in (Operator.IS_NULL, Operator.IS_NOT_NULL):
            return Comparison(entity, key, operator)
        if operator in (Operator.IN, Operator.NOT_IN):
            return Comparison(entity, key, operator, self._strings())
        if not is_number:
            return Comparison(entity, key, operator, self._string())
        return Comparison(entity, key, operator, self._metric() if entity is Entity.METRIC else self._time())

    def _column(self) -> tuple[Entity, str]:
        token = self._token
        if token.kind is not _Kind.WORD or token.keyword:
            raise self._error(f"expected a column, not {self._shown()}", hint=self._columns_hint())
        self._next()
        if token.entity is None:
            return Entity.ATTRIBUTE, self._attribute(token)
        word = token.entity.lower()
        entity = Entity.ATTRIBUTE if word == self._subject.name else _ENTITIES.get(word)
        if entity is None or entity not in self._subject.entities:
            raise self._error(
                f"unknown entity {_short(token.entity)}", at=token, hint=self._entity_hint(token.entity)
            )
        if entity is Entity.ATTRIBUTE:
            return entity, self._attribute(token)
        if entity is Entity.DATASET and token.value not in DATASET_KEYS:
            names = _listed(DATASET_KEYS)
            raise self._error(
                f"a data set has no {_short(token.value)}", at=token, hint=f"its columns are {names}"
            )
        return entity, token.value

    def _attribute(self, token: _Token) -> str:
        name = _ATTRIBUTE_ALIASES.get(token.value.lower(), token.value.lower())
        names = self._subject.texts | self._subject.times
        if name in names:
            return name
        close = difflib.get_close_matches(name[:100], sorted(names), n=1)
        hint = f"did you mean {close[0]}?" if close else self._columns_hint()
        if not close and token.entity is None and Entity.METRIC in self._subject.entities:
            key = token.value[:40]
            hint = f"write metrics.{key}, params.{key} or tags.{key}; {hint}"
        raise self._error(f"unknown attribute {_short(token.value)}", at=token, hint=hint)

    def _operator(self) -> Operator:
        token = self._token
        self._next()
        if token.keyword == "IS":
            negated = self._take_keyword("NOT")
            if not self._take_keyword("NULL"):
                raise self._error(f"expected NULL, not {self._shown()}", hint="write IS NULL or IS NOT NULL")
            return Operator.IS_NOT_NULL if negated else Operator.IS_NULL
        if token.keyword == "NOT":
            if not self._take_keyword("IN"):
                raise self._error(
                    f"expected IN after NOT, not {self._shown()}",
                    hint="write NOT (params.x LIKE 'a%') instead",
                )
            return Operator.NOT_IN
        if token.keyword in ("LIKE", "ILIKE", "IN"):
            return Operator(token.keyword)
        if token.kind is _Kind.SYMBOL and token.value in ("=", "!=", "<", "<=", ">", ">="):
            return Operator(token.value)
        hints = {"==": "write =", "<>": "write !="}
        raise self._error(
            f"expected an operator, not {_token_shown(token)}",
            at=token,
            hint=hints.get(token.value, "use = != < <= > >= LIKE, ILIKE, IN, NOT IN, IS NULL or IS NOT NULL"),
        )

    def _operator_error(
        self, operator: Operator, column: _Token, at: _Token, *, is_number: bool
    ) -> InvalidQuery:
        allowed = NUMBER_OPERATORS if is_number else TEXT_OPERATORS
        name = _short(self._text[column.position : at.position].strip())
        kind = "number" if is_number else "text"
        names = ", ".join(entry.value for entry in Operator if entry in allowed)
        return self._error(
            f"{operator.value} does not apply to {name}, which is a {kind}", at=at, hint=f"use {names}"
        )

    def _string(self) -> str:
        token = self._token
        if token.kind is not _Kind.STRING:
            raise self._error(
                f"expected text in quotes, not {self._shown()}", hint="put quotes around it, as in 'abc'"
            )
        self._next()
        return token.value

    def _strings(self) -> tuple[str, ...]:
        self._take_symbol("(", hint="write IN ('a', 'b')")
        values = [self._string()]
        while self._is_symbol(","):
            self._next()
            values.append(self._string())
        self._take_symbol(")", hint="write IN ('a', 'b')")
        return tuple(values)

    def _number(self) -> _Token:
        token = self._token
        if token.kind is not _Kind.NUMBER:
            hint = (
                "write the number without quotes"
                if token.kind is _Kind.STRING
                else "write a number, as in 0.9"
            )
            raise self._error(f"expected a number, not {self._shown()}", hint=hint)
        self._next()
        return token

    def _metric(self) -> float:
        return float(self._number().value)

    def _time(self) -> int:
        token = self._number()
        # Through float where a point or exponent was written; digits alone stay exact.
        digits = token.value.lstrip("+-")
        exact = digits.isdigit() and len(digits) < 20
        number = float(token.value)
        time = int(token.value) if exact else int(number) if number.is_integer() else None
        if time is None or time not in _INT64:
            raise self._error(
                "a time is a whole number of 64 bits", at=token, hint="milliseconds since 1970 in UTC"
            )
        return time

    def _next(self) -> None:
        if self._token.kind is not _Kind.END:
            self._token = next(self._tokens)

    def _at_end(self) -> bool:
        return self._token.kind is _Kind.END

    def _is_symbol(self, symbol: str) -> bool:
        return self._token.kind is _Kind.SYMBOL and self._token.value == symbol

    def _take_symbol(self, symbol: str, *, hint: str) -> None:
        if not self._is_symbol(symbol):
            raise self._error(f"expected '{symbol}', not {self._shown()}", hint=hint)
        self._next()

    def _take_keyword(self, *keywords: str) -> str | None:
        keyword = self._token.keyword
        if keyword not in keywords:
            return None
        self._next()
        return keyword

    def _shown(self) -> str:
        return _token_shown(self._token)

    def _columns_hint(self) -> str:
        attributes = _listed(self._subject.texts | self._subject.times)
        if Entity.METRIC not in self._subject.entities:
            return f"columns are tags.KEY and {attributes}"
        return f"columns are metrics.KEY, params.KEY, tags.KEY, dataset.KEY and {attributes}"

    def _entity_hint(self, entity: str) -> str:
        known = sorted(name for name, of in _ENTITIES.items() if of in self._subject.entities)
        close = difflib.get_close_matches(entity[:100].lower(), known, n=1)
        return f"did you mean {close[0]}?" if close else self._columns_hint()

    def _error(self, message: str, *, hint: str, at: _Token | None = None) -> InvalidQuery:
        position = (at or self._token).position
        return InvalidQuery(message, text=self._text, position=position, hint=hint)


def _token_shown(token: _Token) -> str:
    return "the end" if token.kind is _Kind.END else _short(token.value)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
