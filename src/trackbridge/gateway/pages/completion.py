"""What may stand next in a filter: columns, then operators, then values, then ``and``."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from trackbridge.domain.runs import RunStatus
from trackbridge.gateway.pages.keys import Seen
from trackbridge.gateway.pages.run_table import quoted_column

ITEMS_MAX = 12
_TOKEN = re.compile(
    r"""(?P<string>'(?:[^']|'')*'?)
    | (?P<operator>[<>=!]+)
    | (?P<mark>[(),])
    | (?P<word>[^\s<>=!(),'"`]+(?:"[^"]*"?|`[^`]*`?)? | "[^"]*"? | `[^`]*`?)""",
    re.VERBOSE,
)
_NUMBER_OPERATORS = (">", ">=", "<", "<=", "=", "!=", "IS NULL", "IS NOT NULL")
_TEXT_OPERATORS = ("=", "!=", "LIKE", "ILIKE", "IN (", "NOT IN (", "IS NULL", "IS NOT NULL")
_ATTRIBUTES = ("run_name", "status", "start_time", "end_time", "user_id", "run_id")
_TIMES = ("start_time", "end_time")
_WITHOUT_QUOTES = str.maketrans("", "", "'\"`")
_PREFIXES = {"metric": "metrics", "param": "params", "parameter": "params", "tag": "tags"}


class Completion(msgspec.Struct, frozen=True):
    """What replaces the text from ``start`` to ``end`` (indices of characters)."""

    start: int
    end: int
    items: list[str]


@dataclass
class _Place:
    """Where in the grammar one is: what is expected, of which column, and whether inside ``IN (…)``."""

    expects: str = "column"
    column: str = ""
    is_list: bool = False

    def take(self, kind: str, text: str) -> None:
        """Step over a token."""
        upper = text.upper()
        if self.expects == "column":
            if kind == "word" and upper != "NOT":
                self.column, self.expects = text, "operator"
        elif self.expects == "operator":
            self._take_operator(kind, upper)
        elif self.expects == "value":
            self._take_value(kind, upper)
        elif upper in ("AND", "OR"):
            self.expects, self.is_list = "column", False

    def _take_operator(self, kind: str, upper: str) -> None:
        if kind == "operator" or upper in ("LIKE", "ILIKE"):
            self.expects = "value"
        elif upper == "IN":
            self.expects, self.is_list = "value", True
        elif upper == "NULL":
            self.expects = "joint"

    def _take_value(self, kind: str, upper: str) -> None:
        if not self.is_list:
            self.expects = "joint"
        elif upper == ")":
            self.expects, self.is_list = "joint", False


def complete(text: str, at: int, seen: Seen) -> Completion:
    """Return what may stand at a place of a filter.

    Args:
        text: The filter as it is.
        at: The index of the cursor in it.
        seen: Keys and values to offer.
    """
    at = max(0, min(at, len(text)))
    place, current, start = _Place(), "", at
    for match in _TOKEN.finditer(text[:at]):
        if match.end() == at and match.lastgroup in ("word", "string"):
            current, start = match.group(), match.start()
            break
        place.take(match.lastgroup or "", match.group())
    items = _fitting(_offers(place, seen), current)
    return Completion(start, at, items[:ITEMS_MAX])


def _offers(place: _Place, seen: Seen) -> list[str]:
    if place.expects == "column":
        columns = [quoted_column(kind, key) for kind, keys in seen.keys.items() for key in keys]
        return [*columns, *_ATTRIBUTES, "NOT"]
    if place.expects == "operator":
        return list(_NUMBER_OPERATORS if _is_number(place.column) else _TEXT_OPERATORS)
    if place.expects == "value":
        return _values(place, seen)
    return ["AND", "OR"]


def _values(place: _Place, seen: Seen) -> list[str]:
    if _is_number(place.column):
        return []
    name = _plain(place.column)
    values = [status.value for status in RunStatus] if name == "status" else seen.values.get(name, [])
    return ["'{}'".format(value.replace("'", "''")) for value in values]


def _is_number(column: str) -> bool:
    return _plain(column).startswith("metrics.") or column.lower() in _TIMES


def _plain(column: str) -> str:
    """Return the name of a column as it is typed: ``param."a b"`` is ``params.a b``."""
    entity, dot, key = column.partition(".")
    if not dot:
        return column.lower()
    return f"{_PREFIXES.get(entity.lower(), entity.lower())}.{key.strip(chr(34) + '`')}"


def _fitting(offers: list[str], current: str) -> list[str]:
    """Return the offers that begin with what stands there, then those that hold it; not itself alone."""
    wanted = _bare(current)
    begin = [offer for offer in offers if _bare(offer).startswith(wanted)]
    hold = [offer for offer in offers if wanted in _bare(offer) and offer not in begin]
    found = begin + hold
    return [] if found == [current] else found


def _bare(text: str) -> str:
    """Return a text without its quotes, in small letters: people begin to type a key before its quote."""
    return text.lower().translate(_WITHOUT_QUOTES)
