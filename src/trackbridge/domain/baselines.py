"""The baseline of training data: what each column looked like, so that drift can be told from it later.

``bridge-baseline.json`` lies inside the model and is part of it::

    {"format": 1, "rows": 178, "columns": [
      {"name": "alcohol", "kind": "number", "count": 178, "missing": 0, "infinite": 0,
       "distinct": 126, "mean": 13.0, "std": 0.81, "min": 11.03, "max": 14.83,
       "deciles": [11.03, 11.93, ..., 14.83],              11 values: the minimum, 10 % ... 90 %, the maximum
       "edges": [11.03, 11.22, ..., 14.83],                21 values: 20 bins of equal width
       "counts": [1, 0, ..., 2],                           20 values; the last bin holds its right edge
       "cumulative": [[11.03, 1], ..., [14.83, 178]]},     values, and how many are at most as large
      {"name": "region", "kind": "text", "count": 178, "missing": 2, "distinct": 3,
       "top": [["north", 90], ["south", 60], ["west", 28]],
       "other": 0}],
     "inputs": ["alcohol", "region"],
     "predictions": [{"name": "prediction", "kind": "number", ...}]}

==========  ====================================================================================
kind        what it is
==========  ====================================================================================
number      integers, floats and decimals; NaN counts as missing, infinities are counted apart
boolean     summed up as texts: ``"true"`` and ``"false"``
time        dates and times as numbers: milliseconds since 1970 in UTC
text        everything else by its text, cut at 100 characters
==========  ====================================================================================

``count`` is how many values there are besides the missing and the infinite ones. ``std`` is that of the
sample (n - 1), 0 for one value. A column without such values has no statistics. A constant column has one
bin. ``cumulative`` has every value where there are at most 100 different ones, else 100 at even ranks.
``top`` holds the 50 most frequent values, ``other`` the count of all others. ``inputs`` names
what the model takes, in order, where its signature says so; ``predictions`` are the columns of what it
answered to this data, where that was given.

**Bounds**: the first 1,000 columns (``columns_left_out`` counts the others), and of more than 100,000 rows as
many evenly spaced ones (``rows_sampled`` says so; ``rows`` is how many there were).
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timezone
from decimal import Decimal
from itertools import pairwise
from numbers import Real
from typing import Any

BASELINE_FILE = "bridge-baseline.json"
FORMAT = 1
COLUMNS_MAX = 1000
ROWS_MAX = 100_000
BINS = 20
POINTS_MAX = 100
TOP_MAX = 50
TEXT_CHARS_MAX = 100
PREDICTION = "prediction"
"""Name of the column of what a model answers, where that has no names of its own."""


def described_column(name: object, values: Sequence[Any]) -> dict[str, Any]:
    """Return the summary of one column."""
    present = [value for value in values if not is_missing(value)]
    missing = len(values) - len(present)
    kind = _kind(present or [value for value in values if isinstance(value, float)])  # NaN is a number's gap
    column: dict[str, Any] = {"name": text_of(name), "kind": kind}
    if kind in ("number", "time"):
        numbers = [number_of(value) for value in present]
        finite = sorted(number for number in numbers if math.isfinite(number))
        infinite = len(numbers) - len(finite)
        return {**column, "count": len(finite), "missing": missing, "infinite": infinite, **_numbers(finite)}
    return {**column, "count": len(present), "missing": missing, **_texts(present)}


def is_missing(value: Any) -> bool:
    """Tell whether a value stands for none."""
    if value is None or type(value).__name__ in ("NaTType", "NAType"):
        return True
    if isinstance(value, Decimal):
        return value.is_nan()  # a signalling one cannot be compared
    return isinstance(value, Real) and value != value


def _kind(present: Sequence[Any]) -> str:
    kinds = {_kind_of(kind) for kind in {type(value) for value in present}}
    return kinds.pop() if len(kinds) == 1 else "text"


def _kind_of(kind: type) -> str:
    if issubclass(kind, bool) or kind.__name__ == "bool_":
        return "boolean"
    if issubclass(kind, Real | Decimal):
        return "number"
    return "time" if issubclass(kind, date) else "text"


def number_of(value: Any) -> float:
    """Return a number or a time as a float; infinity for what is beyond."""
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return moment.timestamp() * 1000
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=timezone.utc).timestamp() * 1000
    try:
        return float(value)
    except OverflowError:  # a whole number beyond what a float holds
        return math.inf if value > 0 else -math.inf


def _numbers(values: list[float]) -> dict[str, Any]:
    """Describe sorted finite numbers."""
    if not values:
        return {}
    count, low, high = len(values), values[0], values[-1]
    scale = max(abs(low), abs(high)) or 1.0  # sums and squares of large numbers stay within a float
    scaled = [value / scale for value in values]
    mean = math.fsum(scaled) / count
    variance = math.fsum((value - mean) ** 2 for value in scaled) / max(1, count - 1)
    edges = _edges(low, high)
    return {
        "distinct": len(set(values)),
        "mean": scale * mean,
        "std": min(scale * math.sqrt(variance), sys.float_info.max),
        "min": low,
        "max": high,
        "deciles": [_quantile(values, tenth / 10) for tenth in range(11)],
        "edges": edges,
        "counts": _counts(values, edges),
        "cumulative": _cumulative(values),
    }


def _edges(low: float, high: float) -> list[float]:
    edges = [low + (high / BINS - low / BINS) * index for index in range(BINS)]
    is_increasing = all(left < right for left, right in pairwise([*edges, high]))
    return [*edges, high] if is_increasing else [low, high]  # a constant, or neighbours among the floats


def _counts(values: list[float], edges: list[float]) -> list[int]:
    places = [0, *(bisect_left(values, edge) for edge in edges[1:-1]), len(values)]
    return [right - left for left, right in pairwise(places)]


def _cumulative(values: list[float]) -> list[list[float]]:
    """Return values with how many are at most as large: all of few, else those at even ranks."""
    points = sorted(set(values))
    if len(points) > POINTS_MAX:
        last = len(values) - 1
        points = sorted({values[place * last // (POINTS_MAX - 1)] for place in range(POINTS_MAX)})
    return [[point, bisect_right(values, point)] for point in points]


def _quantile(values: list[float], share: float) -> float:
    """Return a quantile of sorted values, linear between two of them."""
    place = share * (len(values) - 1)
    index = int(place)
    if index + 1 >= len(values):
        return values[-1]
    low, high, part = values[index], values[index + 1], place - index
    if math.isinf(high - low):
        return 2 * (low / 2 + (high / 2 - low / 2) * part)
    return min(low + (high - low) * part, high)


def _texts(values: Sequence[Any]) -> dict[str, Any]:
    counts = Counter(text_of(value) for value in values)
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP_MAX]
    other = len(values) - sum(count for _, count in top)
    return {"distinct": len(counts), "top": [list(item) for item in top], "other": other}


def text_of(value: Any) -> str:
    """Return the text that a value is counted by."""
    if _kind_of(type(value)) == "boolean":
        return "true" if value else "false"
    return str(value)[:TEXT_CHARS_MAX].encode("utf-8", "replace").decode()
