"""The side-car: what a backend cannot hold natively, and how it is merged back when it is read.

::

    fit -> Spill -> encode_spills -> artifact bridge/spill/<sequence>-<digest>.jsonl
    read: decode_spills -> unspill_data, unspill_history, unspill_inputs

A chunk is named by its content, and merging goes by identity and not by count: chunks may overlap, and a
second delivery may cut the batches elsewhere.

A param or tag that is too long stays in the store as a placeholder, its beginning and a digest. So the
store still decides which value of a tag is the last and which param conflicts; reading exchanges the
placeholder for the full value. A point that the store does not take is in the side-car alone.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Union

import msgspec

from trackbridge.domain.batches import MetricColumns
from trackbridge.domain.metric_values import last_point
from trackbridge.domain.runs import DatasetInput, Moment, RunData, RunInputs
from trackbridge.errors import JournalCorrupt

SPILL_FOLDER = "bridge/spill"
ESCAPED_PREFIX = "bridge.escaped."

_DIGEST_DIGITS = 16
LOOKS_ESCAPED = re.compile(r"(?s).*_[0-9a-f]{16}")
_LOOKS_SPILLED = re.compile(r"(?s).*\[bridge:[0-9a-f]{16}\]")
_FLOAT64 = struct.Struct("<d")
_INT64 = struct.Struct("<q")


class SpilledPoints(msgspec.Struct, frozen=True, kw_only=True, tag="points"):
    """Points of one metric that the store does not take; ``bits`` are the float64 values as int64."""

    key: str
    steps: tuple[int, ...]
    timestamps: tuple[int, ...]
    bits: tuple[int, ...]
    sequences: tuple[int, ...]


class SpilledParam(msgspec.Struct, frozen=True, kw_only=True, tag="param"):
    """A param whose value is too long; the store holds ``placeholder``.

    Without a placeholder it is one more than the store takes for a run, and not in the store at all.
    """

    key: str
    placeholder: str
    value: str
    sequence: int


class SpilledTag(msgspec.Struct, frozen=True, kw_only=True, tag="tag"):
    """A tag whose value is too long; the store holds ``placeholder``.

    Without a placeholder it is one more than the store takes for a run, and not in the store at all.
    """

    key: str
    placeholder: str
    value: str
    sequence: int


class SpilledInput(msgspec.Struct, frozen=True, kw_only=True, tag="input"):
    """A data set input of a store that has none."""

    dataset: DatasetInput
    sequence: int


class SpilledKey(msgspec.Struct, frozen=True, kw_only=True, tag="key"):
    """The original of an escaped key, where the tag that records it would not fit itself."""

    escaped: str
    key: str
    sequence: int


Spill = Union[SpilledPoints, SpilledParam, SpilledTag, SpilledInput, SpilledKey]


def digest_of(text: str) -> str:
    """Return the digest that placeholders and escaped keys end with."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_DIGITS]


def placeholder_of(value: str, chars_max: int) -> str | None:
    """Return what stands in the store for a value that is too long, or None when not even that fits."""
    mark = f"[bridge:{digest_of(value)}]"
    if len(mark) > chars_max:
        return None
    return value[: chars_max - len(mark)] + mark


def must_spill(value: str, chars_max: int) -> bool:
    """Tell whether a value is too long, or could be mistaken for a placeholder."""
    return len(value) > chars_max or _LOOKS_SPILLED.fullmatch(value) is not None


def shows_spills(data: RunData) -> bool:
    """Tell whether names or values in a store stand for others. Spilled points leave no trace there."""
    texts = (*data.params.values(), *data.tags.values())
    if any(key.startswith(ESCAPED_PREFIX) for key in data.tags) or any(map(_LOOKS_SPILLED.fullmatch, texts)):
        return True
    return any(map(LOOKS_ESCAPED.fullmatch, (*data.params, *data.tags, *data.metrics)))


def spill_points(key: str, columns: MetricColumns) -> SpilledPoints:
    """Take up points of a metric, values by their bits."""
    return SpilledPoints(
        key=key,
        steps=tuple(columns.steps),
        timestamps=tuple(columns.timestamps),
        bits=tuple(map(_bits, columns.values)),
        sequences=tuple(columns.sequences),
    )


def encode_spills(spills: Sequence[Spill]) -> tuple[str, bytes]:
    """Return the artifact path of a chunk and its bytes: a JSON object per line.

    The name begins with the first sequence, so that chunks sort in the order of delivery.
    """
    body = msgspec.json.Encoder().encode_lines(spills)
    first = min(min(sequences_of(spill)) for spill in spills)
    return f"{SPILL_FOLDER}/{first:020d}-{hashlib.sha256(body).hexdigest()[:_DIGEST_DIGITS]}.jsonl", body


def decode_spills(body: bytes) -> tuple[Spill, ...]:
    """Read a chunk.

    Raises:
        JournalCorrupt: It is not one.
    """
    try:
        return tuple(msgspec.json.Decoder(Spill).decode_lines(body))
    except msgspec.DecodeError as error:
        raise JournalCorrupt(
            f"a spill chunk cannot be read: {error}",
            hint=f"look at the run's artifacts under {SPILL_FOLDER}",
        ) from error


def unspill_data(
    data: RunData, spills: Iterable[Spill], *, histories: Mapping[str, MetricColumns]
) -> RunData:
    """Return the params, tags and last metrics of a run as they were logged.

    Args:
        data: What the backend returned.
        spills: Every chunk of the run.
        histories: The native points of each metric that has spilled ones (``spilled_metrics``), by
            original key: a last value can only be chosen knowing its step and time.
    """
    spills = tuple(spills)
    originals = _originals(data.tags, spills)
    metrics = {originals.get(key, key): value for key, value in data.metrics.items()}
    moments = {originals.get(key, key): moment for key, moment in data.moments.items()}
    for key in spilled_metrics(spills):
        columns = unspill_history(histories.get(key, MetricColumns()), spills, key=key)
        points = zip(columns.steps, columns.timestamps, columns.values, strict=True)
        step, timestamp, metrics[key] = last_point(points)
        moments[key] = Moment(step, timestamp)
    tags = {
        **extra_settings(spills, SpilledTag),
        **_full_values(data.tags, originals, _values_of(spills, SpilledTag)),
    }
    return RunData(
        metrics=metrics,
        moments=moments,
        params={
            **extra_settings(spills, SpilledParam),
            **_full_values(data.params, originals, _values_of(spills, SpilledParam)),
        },
        tags={key: value for key, value in tags.items() if not key.startswith(ESCAPED_PREFIX)},
    )


def extra_settings(spills: Iterable[Spill], kind: type[SpilledParam] | type[SpilledTag]) -> dict[str, str]:
    """Return the settings that are more than the store takes for a run."""
    return {spill.key: spill.value for spill in spills if isinstance(spill, kind) and not spill.placeholder}


def spilled_values(spill: SpilledPoints) -> tuple[float, ...]:
    """Return the values of spilled points."""
    return tuple(map(_value, spill.bits))


def spilled_metrics(spills: Iterable[Spill]) -> tuple[str, ...]:
    """Return the original keys of the metrics that have spilled points."""
    return tuple(dict.fromkeys(spill.key for spill in spills if isinstance(spill, SpilledPoints)))


def unspill_history(native: MetricColumns, spills: Sequence[Spill], *, key: str) -> MetricColumns:
    """Return native and spilled points of a metric in order of step, then timestamp, then as written.

    ``sequences`` is left empty, as in ``TrackingStore.metric_history``.
    """
    if not any(isinstance(spill, SpilledPoints) and spill.key == key for spill in spills):
        return native
    points = list(zip(native.steps, native.timestamps, map(_bits, native.values), strict=True))
    seen = set(points)
    for spill in spills:
        if not isinstance(spill, SpilledPoints) or spill.key != key:
            continue
        for point in zip(spill.steps, spill.timestamps, spill.bits, strict=True):
            if point not in seen:
                seen.add(point)
                points.append(point)
    points.sort(key=lambda point: point[:2])
    merged = MetricColumns()
    merged.steps.extend(point[0] for point in points)
    merged.timestamps.extend(point[1] for point in points)
    merged.values.extend(_value(point[2]) for point in points)
    return merged


def unspill_inputs(inputs: RunInputs, spills: Iterable[Spill]) -> RunInputs:
    """Return native and spilled data sets, one per name and digest."""
    by_identity = {(dataset.name, dataset.digest): dataset for dataset in inputs.dataset_inputs}
    for spill in spills:
        if isinstance(spill, SpilledInput):
            by_identity.setdefault((spill.dataset.name, spill.dataset.digest), spill.dataset)
    return RunInputs(dataset_inputs=tuple(by_identity.values()))


def _originals(tags: Mapping[str, str], spills: Iterable[Spill]) -> dict[str, str]:
    originals = {
        key[len(ESCAPED_PREFIX) :]: value for key, value in tags.items() if key.startswith(ESCAPED_PREFIX)
    }
    originals.update({spill.escaped: spill.key for spill in spills if isinstance(spill, SpilledKey)})
    return originals


def _values_of(
    spills: Iterable[Spill], kind: type[SpilledParam] | type[SpilledTag]
) -> dict[tuple[str, str], str]:
    return {
        (spill.key, spill.placeholder): spill.value
        for spill in spills
        if isinstance(spill, kind) and spill.placeholder
    }


def _full_values(
    native: Mapping[str, str], originals: Mapping[str, str], full: Mapping[tuple[str, str], str]
) -> dict[str, str]:
    renamed = {originals.get(key, key): value for key, value in native.items()}
    return {key: full.get((key, value), value) for key, value in renamed.items()}


def sequences_of(spill: Spill) -> tuple[int, ...]:
    """Return the sequences of the records that a spill stands for."""
    return spill.sequences if isinstance(spill, SpilledPoints) else (spill.sequence,)


def _bits(value: float) -> int:
    bits: int = _INT64.unpack(_FLOAT64.pack(value))[0]
    return bits


def _value(bits: int) -> float:
    value: float = _FLOAT64.unpack(_INT64.pack(bits))[0]
    return value
