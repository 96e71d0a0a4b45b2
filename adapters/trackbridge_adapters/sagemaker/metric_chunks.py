"""Points of one write as one object in S3, named by its content: the same points twice are one object.

::

    zlib( msgpack { "v": 1, "metrics": { key: [steps, timestamps, bits] } } )

Each column is packed 64-bit integers, least byte first; ``bits`` are those of the values. Points are in order
of step, then timestamp, then bits, and each is there once. The name is the SHA-256 of what is compressed.
"""

from __future__ import annotations

import hashlib
import struct
import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import msgspec

from trackbridge.domain.batches import MetricColumns
from trackbridge.errors import Rejected
from trackbridge_adapters.sagemaker.arn import ADAPTER

FORMAT = 1
COMPRESSION = 1  # steps and times differ in their low bytes only: more effort gains little

Point = tuple[int, int, int]
"""Step, timestamp, and the bits of the value as a signed integer."""
_Columns = tuple[bytes, bytes, bytes]
_PAIR = struct.Struct("<q")
_VALUE = struct.Struct("<d")


class _Chunk(msgspec.Struct, kw_only=True):
    v: int
    metrics: dict[str, _Columns]


_DECODER = msgspec.msgpack.Decoder(_Chunk)
_ENCODER = msgspec.msgpack.Encoder(order="sorted")


def bits_of(value: float) -> int:
    """Return the bits of a value, as a signed integer."""
    bits: int = _PAIR.unpack(_VALUE.pack(value))[0]
    return bits


def value_of(bits: int) -> float:
    """Return the value that has these bits."""
    value: float = _VALUE.unpack(_PAIR.pack(bits))[0]
    return value


def points_of(columns: MetricColumns) -> list[Point]:
    """Return the points of some columns in order, each once."""
    bits = array("q")
    bits.frombytes(columns.values.tobytes())
    return sorted(set(zip(columns.steps, columns.timestamps, bits, strict=True)))


def pack(metrics: Mapping[str, list[Point]]) -> tuple[str, bytes]:
    """Return the name and the bytes of the chunk that holds these points, which are in order."""
    columns = {key: _packed(points) for key, points in metrics.items()}
    plain = _ENCODER.encode(_Chunk(v=FORMAT, metrics=columns))
    return hashlib.sha256(plain).hexdigest(), zlib.compress(plain, COMPRESSION)


def unpack(data: bytes, key: str, *, resource: str) -> list[Point]:
    """Return the points of one metric of a chunk.

    Args:
        data: The object.
        key: The metric; a chunk without it has no points.
        resource: Where the chunk lies, for the error.

    Raises:
        Rejected: The bytes are damaged, or a newer version wrote them.
    """
    with _readable(resource):
        columns = _metrics(data).get(key)
        return [] if columns is None else _points(columns)


def merged(chunks: Iterable[tuple[str, bytes]]) -> tuple[str, bytes]:
    """Return the name and the bytes of the chunk that holds what several do, given with where they lie.

    Raises:
        Rejected: One of them is damaged, or a newer version wrote it.
    """
    found: dict[str, set[Point]] = {}
    for resource, data in chunks:
        with _readable(resource):
            for key, columns in _metrics(data).items():
                found.setdefault(key, set()).update(_points(columns))
    return pack({key: sorted(points) for key, points in found.items()})


def history(points: Iterable[Point]) -> MetricColumns:
    """Return points as columns in order of step, then timestamp, each once."""
    columns = MetricColumns()
    bits = array("q")
    for step, timestamp, value in sorted(set(points)):
        columns.steps.append(step)
        columns.timestamps.append(timestamp)
        bits.append(value)
    columns.values.frombytes(bits.tobytes())
    return columns


@contextmanager
def _readable(resource: str) -> Iterator[None]:
    try:
        yield
    except (zlib.error, msgspec.DecodeError, ValueError) as error:
        raise Rejected(
            f"a chunk of metrics cannot be read: {error}",
            adapter=ADAPTER,
            resource=resource,
            hint="restore an earlier version of the object, or update trackbridge",
        ) from None


def _metrics(data: bytes) -> dict[str, _Columns]:
    chunk = _DECODER.decode(zlib.decompress(data))
    if chunk.v != FORMAT:
        raise ValueError(f"its format is {chunk.v}, this version reads {FORMAT}")
    return chunk.metrics


def _points(columns: _Columns) -> list[Point]:
    return list(zip(*map(_unpacked, columns), strict=True))


def _packed(points: list[Point]) -> _Columns:
    steps, times, bits = (_little_endian(array("q", column)) for column in zip(*points, strict=True))
    return steps.tobytes(), times.tobytes(), bits.tobytes()


def _unpacked(data: bytes) -> array[int]:
    column = array("q")
    column.frombytes(data)
    return _little_endian(column)


def _little_endian(column: array[int]) -> array[int]:
    if sys.byteorder == "big":
        column.byteswap()
    return column
