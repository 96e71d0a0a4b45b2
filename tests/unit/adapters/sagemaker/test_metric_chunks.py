"""Chunks of points: kept by their bits, named by their content."""

from __future__ import annotations

import random
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackbridge.domain.batches import MetricColumns
from trackbridge.errors import Rejected
from trackbridge.testing.contracts.samples import FINITE_VALUES, INT64_MAX, INT64_MIN, NON_FINITE_VALUES
from trackbridge_adapters.sagemaker.metric_chunks import (
    Point,
    bits_of,
    history,
    pack,
    points_of,
    unpack,
    value_of,
)

INT64 = st.integers(INT64_MIN, INT64_MAX)
POINTS = st.lists(st.tuples(INT64, INT64, INT64), max_size=30)
VALUES = {**FINITE_VALUES, **NON_FINITE_VALUES}


def columns_of(rows: list[tuple[int, int, float]]) -> MetricColumns:
    columns = MetricColumns()
    for step, timestamp, value in rows:
        columns.append(step=step, timestamp=timestamp, value=value, sequence=1)
    return columns


@pytest.mark.parametrize("name", VALUES)
def test_a_value_keeps_its_bits(name: str) -> None:
    value = VALUES[name]
    (point,) = points_of(columns_of([(0, 0, value)]))
    assert bits_of(value_of(point[2])) == bits_of(value) == point[2]
    assert bits_of(history([point]).values[0]) == bits_of(value)


@given(st.dictionaries(st.text(max_size=5), POINTS.filter(bool), min_size=1, max_size=4))
def test_what_is_packed_is_unpacked(metrics: dict[str, list[Point]]) -> None:
    held = {key: sorted(set(points)) for key, points in metrics.items()}
    _, data = pack(held)
    assert {key: unpack(data, key, resource="chunk") for key in held} == held
    assert unpack(data, "absent key", resource="chunk") == []


def test_the_name_tells_the_content_in_whatever_order_it_was_written() -> None:
    rows = [(step % 7, 100 + step, step / 3) for step in range(50)]
    turned = random.Random(0).sample(rows, len(rows))
    one, _ = pack({"a": points_of(columns_of(rows)), "b": [(0, 0, 0)]})
    other, _ = pack({"b": [(0, 0, 0)], "a": points_of(columns_of(turned + turned[:9]))})
    assert one == other
    assert one != pack({"a": points_of(columns_of(rows[1:])), "b": [(0, 0, 0)]})[0]
    assert one != pack({"a": points_of(columns_of(rows)), "c": [(0, 0, 0)]})[0]


@given(POINTS)
def test_a_history_is_in_order_and_has_each_point_once(points: list[Point]) -> None:
    columns = history([*points, *points])
    found = list(zip(columns.steps, columns.timestamps, map(bits_of, columns.values), strict=True))
    assert found == sorted(set(points))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no chunk",
        zlib.compress(b""),
        zlib.compress(msgspec.msgpack.encode({"v": 1})),
        zlib.compress(msgspec.msgpack.encode({"v": 2, "metrics": {}})),
        zlib.compress(msgspec.msgpack.encode({"v": 1, "metrics": {"m": [b"123", b"", b""]}})),
        zlib.compress(msgspec.msgpack.encode({"v": 1, "metrics": {"m": [b"12345678", b"", b""]}})),
        pack({"m": [(1, 2, 3)]})[1][:-4],
    ],
)
def test_a_damaged_chunk_is_said_to_be_one(data: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        unpack(data, "m", resource="s3://bucket/chunk")
    assert "s3://bucket/chunk" in str(caught.value)
    assert caught.value.hint
