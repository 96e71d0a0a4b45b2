"""Metric history as columns: sorted, deduplicated chunks of packed 64-bit numbers.

The common write (in order, after all that is stored) checks the order in C and appends. Anything else is
cut at the borders of the stored chunks, and merged chunk by chunk, so that memory stays bounded.
"""

from __future__ import annotations

import math
import sqlite3
import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from operator import itemgetter, lt

from trackbridge.domain.batches import MetricColumns
from trackbridge.errors import InvalidInput
from trackbridge_adapters.local.capabilities import ADAPTER

CHUNK_POINTS_MAX = 8192
CHUNK_POINTS_SMALL = 512

Place = tuple[int, int]
Triple = tuple[int, int, int]
_STEP_AND_TIME = itemgetter(0, 1)

_HEADER = "row, first_step, first_time, last_step, last_time, points"
_OF_METRIC = (
    f"SELECT {_HEADER} FROM metric_chunk INDEXED BY metric_chunk_by_start WHERE run = ? AND key = ? AND"
)
_BEFORE = f"{_OF_METRIC} (first_step, first_time) <= (?, ?) ORDER BY first_step DESC, first_time DESC LIMIT 1"
_AFTER = f"{_OF_METRIC} (first_step, first_time) > (?, ?) ORDER BY first_step, first_time LIMIT 1"
_OVERLAPPING = (
    f"{_OF_METRIC} (first_step, first_time) <= (?, ?) AND (last_step, last_time) >= (?, ?) "
    "ORDER BY first_step, first_time"
)
_INSERT = (
    "INSERT INTO metric_chunk "
    "(first_step, first_time, last_step, last_time, points, steps, timestamps, vals, run, key) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_UPDATE = (
    "UPDATE metric_chunk SET first_step = ?, first_time = ?, last_step = ?, last_time = ?, points = ?, "
    "steps = ?, timestamps = ?, vals = ? WHERE row = ?"
)
_LATEST = (
    "INSERT INTO metric_latest (run, key, step, timestamp, value, bits) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (run, key) DO UPDATE SET step = excluded.step, timestamp = excluded.timestamp, "
    "value = excluded.value, bits = excluded.bits"
)


@dataclass(slots=True)
class _Points:
    """Points of one metric, sorted and each once. ``bits`` are the values' bits as signed integers."""

    steps: array[int]
    times: array[int]
    bits: array[int]

    def __len__(self) -> int:
        return len(self.steps)

    def place(self, index: int) -> Place:
        """Return the (step, timestamp) of a point."""
        return self.steps[index], self.times[index]

    def slice(self, start: int, end: int) -> _Points:
        """Return a copy of some neighbouring points."""
        return _Points(self.steps[start:end], self.times[start:end], self.bits[start:end])

    def joined(self, other: _Points) -> _Points:
        """Return these points and then the other ones."""
        return _Points(self.steps + other.steps, self.times + other.times, self.bits + other.bits)

    def triples(self) -> Iterator[Triple]:
        """Yield (step, timestamp, bits)."""
        return zip(self.steps, self.times, self.bits, strict=True)

    def lower(self, place: Place) -> int:
        """Return the index of the first point at or after a place."""
        start = bisect_left(self.steps, place[0])
        end = bisect_right(self.steps, place[0], start)
        return bisect_left(self.times, place[1], start, end)


@dataclass(frozen=True, slots=True)
class _Header:
    """A stored chunk without its points."""

    row: int
    first: Place
    last: Place
    points: int


def write_points(connection: sqlite3.Connection, run: int, key: int, columns: MetricColumns) -> None:
    """Add the points that are not there yet, and keep ``metric_latest`` right."""
    if not len(columns):
        return
    points = _sorted_points(columns)
    _store(connection, (run, key), points)
    _store_latest(connection, (run, key), points)


def read_points(connection: sqlite3.Connection, run: int, key: int) -> MetricColumns:
    """Return the whole history of a metric, in order."""
    history = MetricColumns()
    rows = connection.execute(
        "SELECT steps, timestamps, vals FROM metric_chunk INDEXED BY metric_chunk_by_start "
        "WHERE run = ? AND key = ? ORDER BY first_step, first_time",
        (run, key),
    )
    for steps, times, values in rows:
        history.steps.frombytes(steps)
        history.timestamps.frombytes(times)
        history.values.frombytes(values)
    for column in (history.steps, history.timestamps, history.values):
        _swap_if_big_endian(column)
    return history


def values_of(bits: Iterable[int]) -> array[float]:
    """Return the floats that have these bits."""
    values = array("d")
    values.frombytes(array("q", bits).tobytes())
    return values


def _sorted_points(columns: MetricColumns) -> _Points:
    if not len(columns.steps) == len(columns.timestamps) == len(columns.values):
        raise InvalidInput(
            "the columns of a metric differ in length", adapter=ADAPTER, operation="tracking.write"
        )
    bits = array("q")
    bits.frombytes(columns.values.tobytes())
    points = _Points(columns.steps, columns.timestamps, bits)
    in_order = all(map(lt, points.steps, islice(points.steps, 1, None)))
    return points if in_order else _unique(points.triples())


def _unique(triples: Iterable[Triple]) -> _Points:
    """Sort by step and timestamp; equal points once; others of one place stay as written."""
    steps, times, bits = zip(*sorted(dict.fromkeys(triples), key=_STEP_AND_TIME), strict=True)
    return _Points(array("q", steps), array("q", times), array("q", bits))


def _store(connection: sqlite3.Connection, metric: tuple[int, int], points: _Points) -> None:
    first, last = points.place(0), points.place(-1)
    before = _header(connection, _BEFORE, metric, first)
    after = _header(connection, _AFTER, metric, first)
    overlaps = (before is not None and before.last >= first) or (after is not None and after.first <= last)
    if overlaps:
        _merge(connection, metric, points)
    elif before is not None and before.points < CHUNK_POINTS_SMALL:
        _write(connection, metric, _load(connection, before).joined(points), replaced=before)
    elif after is not None and after.points < CHUNK_POINTS_SMALL:
        _write(connection, metric, points.joined(_load(connection, after)), replaced=after)
    else:
        _write(connection, metric, points)


def _header(
    connection: sqlite3.Connection, statement: str, metric: tuple[int, int], place: Place
) -> _Header | None:
    row = connection.execute(statement, (*metric, *place)).fetchone()
    return _header_of(row) if row else None


def _header_of(row: tuple[int, int, int, int, int, int]) -> _Header:
    return _Header(row[0], (row[1], row[2]), (row[3], row[4]), row[5])


def _merge(connection: sqlite3.Connection, metric: tuple[int, int], points: _Points) -> None:
    """Give each overlapping chunk the new points from its start to the next one's start."""
    first, last = points.place(0), points.place(-1)
    rows = connection.execute(_OVERLAPPING, (*metric, *last, *first)).fetchall()
    headers = [_header_of(row) for row in rows]
    starts = [0, *(points.lower(header.first) for header in headers[1:]), len(points)]
    for header, (start, end) in zip(headers, pairwise(starts), strict=True):
        if start == end:
            continue
        stored, new = _load(connection, header), points.slice(start, end)
        if _holds(stored, new):
            continue
        merged = _unique([*stored.triples(), *new.triples()])
        if len(merged) > len(stored):
            _write(connection, metric, merged, replaced=header)


def _holds(stored: _Points, new: _Points) -> bool:
    """Tell quickly whether the new points stand in the stored ones as one piece, as when sent again."""
    start = stored.lower(new.place(0))
    return stored.slice(start, start + len(new)) == new


def _load(connection: sqlite3.Connection, header: _Header) -> _Points:
    columns = array("q"), array("q"), array("q")
    row = connection.execute(
        "SELECT steps, timestamps, vals FROM metric_chunk WHERE row = ?", (header.row,)
    ).fetchone()
    for column, packed in zip(columns, row, strict=True):
        column.frombytes(packed)
        _swap_if_big_endian(column)
    return _Points(*columns)


def _write(
    connection: sqlite3.Connection,
    metric: tuple[int, int],
    points: _Points,
    *,
    replaced: _Header | None = None,
) -> None:
    """Store points as chunks, the first one in place of a stored chunk."""
    cuts = list(_cuts(points))
    for index, (start, end) in enumerate(pairwise(cuts)):
        piece = points.slice(start, end)
        columns = [_packed(column) for column in (piece.steps, piece.times, piece.bits)]
        values = (*piece.place(0), *piece.place(-1), len(piece), *columns)
        if index == 0 and replaced is not None:
            connection.execute(_UPDATE, (*values, replaced.row))
        else:
            connection.execute(_INSERT, (*values, *metric))


def _cuts(points: _Points) -> Iterator[int]:
    """Yield where chunks begin, and the end. Points of one step and timestamp stay in one chunk."""
    cut, count = 0, len(points)
    while cut < count:
        yield cut
        cut += CHUNK_POINTS_MAX
        while cut < count and points.place(cut) == points.place(cut - 1):
            cut += 1
    yield count


def _packed(column: array[int]) -> bytes:
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column.tobytes()


def _swap_if_big_endian(column: array[int] | array[float]) -> None:
    if sys.byteorder == "big":
        column.byteswap()


def _store_latest(connection: sqlite3.Connection, metric: tuple[int, int], points: _Points) -> None:
    start = points.lower(points.place(-1))
    bits = max(points.bits[start:], key=_rank)
    step, time = points.place(-1)
    stored = connection.execute(
        "SELECT step, timestamp, bits FROM metric_latest WHERE run = ? AND key = ?", metric
    ).fetchone()
    if stored and (stored[0], stored[1], _rank(stored[2])) >= (step, time, _rank(bits)):
        return
    connection.execute(_LATEST, (*metric, step, time, _value(bits), bits))


def _value(bits: int) -> float:
    return float(struct.unpack("=d", struct.pack("=q", bits))[0])


def _rank(bits: int) -> tuple[bool, float, float, int]:
    """Order values: NaN below all numbers, -0.0 below 0.0, and NaNs among themselves by their bits."""
    value = _value(bits)
    if math.isnan(value):
        return False, 0.0, 0.0, bits
    return True, value, math.copysign(1.0, value), 0
