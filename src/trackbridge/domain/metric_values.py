"""Kinds of 64-bit floats that stores treat differently."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import Enum

_FLOAT64 = struct.Struct("<d")
_NEGATIVE_ZERO = _FLOAT64.pack(-0.0)
_NAN = _FLOAT64.pack(float("nan"))


class ValueKind(str, Enum):
    """What a store may not hold by its bits. SQL columns make 0.0 of -0.0; JSON knows one NaN only."""

    NUMBER = "number"
    NEGATIVE_ZERO = "negative zero"
    INFINITY = "infinity"
    NAN = "nan"
    NAN_WITH_PAYLOAD = "nan with payload"


NON_FINITE = frozenset({ValueKind.INFINITY, ValueKind.NAN, ValueKind.NAN_WITH_PAYLOAD})


def last_point(points: Iterable[tuple[int, int, float]]) -> tuple[int, int, float]:
    """Return which of a metric's points (step, timestamp, value) is its last one.

    It is the one at the highest step, then the latest timestamp, then of the greatest value; a NaN is the
    least of all values.
    """
    return max(points, key=lambda point: (point[0], point[1], point[2] == point[2], point[2]))


def kind_of(value: float) -> ValueKind:
    """Return the kind of a value; a NaN of any other bits than the usual ones has a payload."""
    if value and value - value == 0:
        return ValueKind.NUMBER
    if value == 0:
        is_negative = _FLOAT64.pack(value) == _NEGATIVE_ZERO
        return ValueKind.NEGATIVE_ZERO if is_negative else ValueKind.NUMBER
    if value == value:
        return ValueKind.INFINITY
    return ValueKind.NAN if _FLOAT64.pack(value) == _NAN else ValueKind.NAN_WITH_PAYLOAD
