"""The baseline of training data: what each column looked like, so that drift can be told from it later.

``bridge-baseline.json`` lies inside the model and is part of it::

    {"format": 1, "rows": 178, "columns": [
      {"name": "alcohol", "kind": "number", "count": 178, "missing": 0, "infinite": 0,
       "mean": 13.0, "std": 0.81, "min": 11.03, "max": 14.83,
       "deciles": [11.03, 11.93, ..., 14.83],              11 values: the minimum, 10 % ... 90 %, the maximum
       "edges": [11.03, 11.22, ..., 14.83],                21 values: 20 bins of equal width
       "counts": [1, 0, ..., 2]},                          20 values; the last bin holds its right edge
      {"name": "region", "kind": "text", "count": 178, "missing": 2, "distinct": 3,
       "top": [["north", 90], ["south", 60], ["west", 28]],
       "other": 0}]}

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
bin. ``top`` holds the 50 most frequent values, ``other`` the count of all others.

**Bounds**: the first 1,000 columns (``columns_left_out`` counts the others), and of more than 100,000 rows as
many evenly spaced ones (``rows_sampled`` says so; ``rows`` is how many there were).
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timezone
from decimal import Decimal
from itertools import pairwise
from numbers import Real
from typing import Any

from trackbridge.api.tables import is_pandas, is_polars, to_columns
from trackbridge.errors import InvalidInput

BASELINE_FILE = "bridge-baseline.json"
FORMAT = 1
COLUMNS_MAX = 1000
ROWS_MAX = 100_000
BINS = 20
TOP_MAX = 50
TEXT_CHARS_MAX = 100


def baseline_of(data: Any) -> dict[str, Any]:
    """Return the baseline of a pandas or polars frame, a mapping of columns, or a numpy array.

    An array of two dimensions has columns named ``0``, ``1`` …; one of more is flattened to two.

    Raises:
        InvalidInput: It is none of these.
    """
    columns, rows, left_out = _columns_of(data)
    described: dict[str, Any] = {
        "format": FORMAT,
        "rows": rows,
        "columns": [_column(name, values) for name, values in columns.items()],
    }
    if left_out:
        described["columns_left_out"] = left_out
    if rows > ROWS_MAX:
        described["rows_sampled"] = ROWS_MAX
    return described


def _columns_of(data: Any) -> tuple[dict[str, list[Any]], int, int]:
    """Return the columns to describe, how many rows there are, and how many columns are left out."""
    if type(data).__module__.partition(".")[0] == "numpy" and hasattr(data, "reshape"):
        return _columns_of_array(data)
    if is_pandas(data) or is_polars(data):
        return _columns_of_frame(data)
    if not hasattr(data, "items"):
        raise InvalidInput(
            f"training data of type {type(data).__name__} cannot be described",
            operation="log_model",
            hint="pass a frame, a numpy array or a dictionary of columns",
        )
    columns = to_columns(data, operation="log_model")
    kept = list(columns)[:COLUMNS_MAX]
    rows = len(next(iter(columns.values()), []))
    picked = _spaced(rows)
    sample = {name: [columns[name][row] for row in picked] for name in kept}
    return sample, rows, len(columns) - len(kept)


def _columns_of_frame(frame: Any) -> tuple[dict[str, list[Any]], int, int]:
    rows, count = frame.shape
    kept, picked = min(count, COLUMNS_MAX), _spaced(rows)
    sample = frame.iloc[picked, :kept] if is_pandas(frame) else frame[picked, :kept]
    return to_columns(sample, operation="log_model"), rows, count - kept


def _columns_of_array(array: Any) -> tuple[dict[str, list[Any]], int, int]:
    table = array.reshape(array.shape[0] if array.ndim else 1, -1) if array.size else array.reshape(0, 0)
    rows, count = table.shape
    kept = min(count, COLUMNS_MAX)
    sample = table[_spaced(rows)]
    return {str(index): sample[:, index].tolist() for index in range(kept)}, rows, count - kept


def _spaced(count: int) -> list[int]:
    """Return the rows to look at, at most ROWS_MAX, evenly spaced from the first to the last."""
    if count <= ROWS_MAX:
        return list(range(count))
    return [index * (count - 1) // (ROWS_MAX - 1) for index in range(ROWS_MAX)]


def _column(name: object, values: Sequence[Any]) -> dict[str, Any]:
    present = [value for value in values if not _is_missing(value)]
    missing = len(values) - len(present)
    kind = _kind(present or [value for value in values if isinstance(value, float)])  # NaN is a number's gap
    column: dict[str, Any] = {"name": _text(name), "kind": kind}
    if kind in ("number", "time"):
        numbers = [_number(value) for value in present]
        finite = sorted(number for number in numbers if math.isfinite(number))
        infinite = len(numbers) - len(finite)
        return {**column, "count": len(finite), "missing": missing, "infinite": infinite, **_numbers(finite)}
    return {**column, "count": len(present), "missing": missing, **_texts(present)}


def _is_missing(value: Any) -> bool:
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


def _number(value: Any) -> float:
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
        "mean": scale * mean,
        "std": min(scale * math.sqrt(variance), sys.float_info.max),
        "min": low,
        "max": high,
        "deciles": [_quantile(values, tenth / 10) for tenth in range(11)],
        "edges": edges,
        "counts": _counts(values, edges),
    }


def _edges(low: float, high: float) -> list[float]:
    edges = [low + (high / BINS - low / BINS) * index for index in range(BINS)]
    is_increasing = all(left < right for left, right in pairwise([*edges, high]))
    return [*edges, high] if is_increasing else [low, high]  # a constant, or neighbours among the floats


def _counts(values: list[float], edges: list[float]) -> list[int]:
    places = [0, *(bisect_left(values, edge) for edge in edges[1:-1]), len(values)]
    return [right - left for left, right in pairwise(places)]


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
    counts = Counter(_text(value) for value in values)
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP_MAX]
    other = len(values) - sum(count for _, count in top)
    return {"distinct": len(counts), "top": [list(item) for item in top], "other": other}


def _text(value: Any) -> str:
    if _kind_of(type(value)) == "boolean":
        return "true" if value else "false"
    return str(value)[:TEXT_CHARS_MAX].encode("utf-8", "replace").decode()
