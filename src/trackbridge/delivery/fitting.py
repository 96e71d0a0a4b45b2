"""Make a batch fit a backend, so that what it cannot hold natively still comes back as it was.

::

    Batch -> take out what is too long or not taken -> escape keys -> split -> [FittedBatch, ...]
                      |                                     |
                      +---------------> Spill <-------------+        (see spills.py)

Everything here is a pure function of its arguments: a batch that is delivered again is fitted in the same
way. A key that does not fit becomes ``<readable part>_<16 hexadecimal digits>``, and the tag
``bridge.escaped.<new key>`` holds the original. A key that looks like this already is escaped as well, so
that none can be mistaken for an escaped one.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

from trackbridge.delivery.spills import (
    ESCAPED_PREFIX,
    LOOKS_ESCAPED,
    Spill,
    SpilledInput,
    SpilledKey,
    SpilledParam,
    SpilledTag,
    digest_of,
    must_spill,
    placeholder_of,
    spill_points,
)
from trackbridge.domain.batches import Batch, InputAdded, MetricColumns, Rejection, Setting
from trackbridge.domain.metric_values import kind_of
from trackbridge.ports.capabilities import Limits

# Bytes of JSON beside the texts: names of the fields, and numbers at their longest.
POINT_BYTES = 112
SETTING_BYTES = 24
INPUT_BYTES = 160
ENVELOPE_BYTES = 128

_UNREADABLE = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedBatch:
    """One write that obeys the limits.

    ``spills`` must be durable in the side-car before ``batch`` is written, because the batch may hold
    placeholders for them. ``rejected`` are records that can be held in neither way.
    """

    batch: Batch
    spills: tuple[Spill, ...] = ()
    rejected: tuple[Rejection, ...] = ()


def fit(batch: Batch, limits: Limits, *, now_ms: int, datasets: bool = True) -> list[FittedBatch]:
    """Return the writes that hold the batch within the limits, in the order in which to send them.

    Args:
        batch: Records of one run; it is not changed.
        limits: What the backend declares.
        now_ms: The time from which the age of points is measured, in milliseconds since 1970.
        datasets: Whether the backend has data set inputs; if not they are spilled.

    Returns:
        At least one write. Spills and rejections of the whole batch are in the first.
    """
    spills: list[Spill] = []
    rejected: list[Rejection] = []
    if batch.inputs and not datasets:
        spills.extend(SpilledInput(dataset=added.dataset, sequence=added.sequence) for added in batch.inputs)
        batch = replace(batch, inputs=[])
    if limits.metric_age_ms_max is not None or limits.metric_values_unheld:
        batch = _without_untaken_points(batch, limits, now_ms, spills)
    if limits.key_chars_max is not None or limits.key_pattern is not None:
        names, problems = _escaped_keys(batch, limits)
        batch = _without_keys(batch, problems, rejected)
    if limits.param_value_chars_max is not None or limits.tag_value_chars_max is not None:
        batch = _with_placeholders(batch, limits, spills, rejected)
    if limits.key_chars_max is not None or limits.key_pattern is not None:
        batch = _with_escaped_keys(batch, limits, names, spills)
    parts = split(batch, limits)
    first = FittedBatch(batch=parts[0], spills=tuple(spills), rejected=tuple(rejected))
    return [first, *(FittedBatch(batch=part) for part in parts[1:])]


def escaped_key(key: str, limits: Limits) -> str | None:
    """Return the key under which the backend holds this one, or None when no name would do.

    It is the key itself, unless that is too long, does not match the pattern, or looks escaped.
    """
    if limits.key_chars_max is None and limits.key_pattern is None:
        return key
    if _key_fits(key, limits) and not LOOKS_ESCAPED.fullmatch(key):
        return key
    digest = digest_of(key)
    # The tag that records the original should fit as well, where the limit leaves room for it.
    room = (limits.key_chars_max or 128) - len(ESCAPED_PREFIX) - len(digest) - 1
    readable = _UNREADABLE.sub("_", key)[: max(room, 0)].strip("_")
    candidates = (f"{readable}_{digest}", f"key_{digest}", f"_{digest}")
    return next((name for name in candidates if _key_fits(name, limits)), None)


def split(batch: Batch, limits: Limits) -> list[Batch]:
    """Cut a batch into parts that obey the limits of a write; the batch itself when it does.

    Params and tags keep their order. ``metrics_per_write_max`` counts records of every kind, as MLflow does.
    The size is estimated as JSON; a record that is larger than the limit by itself stands alone.
    """
    if _is_small(batch, limits):
        return [batch]
    cutter = _Cutter(batch.run_id, limits)
    for param in batch.params:
        cutter.add_setting("params", param)
    for tag in batch.tags:
        cutter.add_setting("tags", tag)
    for added in batch.inputs:
        cutter.add_input(added)
    for key, columns in batch.metrics.items():
        cutter.add_points(key, columns)
    return cutter.parts


def _without_untaken_points(batch: Batch, limits: Limits, now_ms: int, spills: list[Spill]) -> Batch:
    oldest = -math.inf if limits.metric_age_ms_max is None else now_ms - limits.metric_age_ms_max
    unheld = limits.metric_values_unheld
    metrics: dict[str, MetricColumns] = {}
    for key, columns in batch.metrics.items():
        kept, taken = MetricColumns(), MetricColumns()
        for step, timestamp, value, sequence in zip(
            columns.steps, columns.timestamps, columns.values, columns.sequences, strict=True
        ):
            held = timestamp >= oldest and kind_of(value) not in unheld
            (kept if held else taken).append(step=step, timestamp=timestamp, value=value, sequence=sequence)
        if len(kept):
            metrics[key] = kept
        if len(taken):
            spills.append(spill_points(key, taken))
    return replace(batch, metrics=metrics)


def _with_placeholders(batch: Batch, limits: Limits, spills: list[Spill], rejected: list[Rejection]) -> Batch:
    def fitted(
        settings: list[Setting], chars_max: int | None, kind: type[SpilledParam] | type[SpilledTag]
    ) -> list[Setting]:
        if chars_max is None:
            return settings
        kept: list[Setting] = []
        for setting in settings:
            value = setting.value
            if value is None or not must_spill(value, chars_max):
                kept.append(setting)
                continue
            placeholder = placeholder_of(value, chars_max)
            if placeholder is None:
                reason = f"{setting.key!r} has {len(value)} characters; the backend takes {chars_max}"
                rejected.append(Rejection(setting.sequence, reason))
                continue
            spills.append(
                kind(key=setting.key, placeholder=placeholder, value=value, sequence=setting.sequence)
            )
            kept.append(Setting(setting.key, placeholder, setting.sequence))
        return kept

    return replace(
        batch,
        params=fitted(batch.params, limits.param_value_chars_max, SpilledParam),
        tags=fitted(batch.tags, limits.tag_value_chars_max, SpilledTag),
    )


def _escaped_keys(batch: Batch, limits: Limits) -> tuple[dict[str, str], dict[str, str]]:
    """Return the new name of each key, and why a key can have none."""
    names: dict[str, str] = {}
    problems: dict[str, str] = {}
    owners: dict[str, str] = {}
    for key in _keys(batch):
        name = escaped_key(key, limits)
        if name is None:
            problems[key] = f"key {key[:80]!r} cannot be escaped to what the backend takes"
        elif owners.setdefault(name, key) != key:
            problems[key] = f"key {key[:80]!r} escapes to {name!r}, as does {owners[name][:80]!r}"
        else:
            names[key] = name
    return names, problems


def _without_keys(batch: Batch, problems: Mapping[str, str], rejected: list[Rejection]) -> Batch:
    if not problems:
        return batch
    for key, columns in batch.metrics.items():
        if key in problems:
            rejected.extend(Rejection(sequence, problems[key]) for sequence in columns.sequences)
    rejected.extend(
        Rejection(setting.sequence, problems[setting.key])
        for setting in (*batch.params, *batch.tags)
        if setting.key in problems
    )
    return replace(
        batch,
        metrics={key: columns for key, columns in batch.metrics.items() if key not in problems},
        params=[param for param in batch.params if param.key not in problems],
        tags=[tag for tag in batch.tags if tag.key not in problems],
    )


def _with_escaped_keys(batch: Batch, limits: Limits, names: Mapping[str, str], spills: list[Spill]) -> Batch:
    if all(key == name for key, name in names.items()):
        return batch
    records: list[Setting] = []
    for key, sequence in _keys(batch).items():
        if names[key] == key:
            continue
        record = Setting(ESCAPED_PREFIX + names[key], key, sequence)
        if _tag_fits(record, limits):
            records.append(record)
        else:
            spills.append(SpilledKey(escaped=names[key], key=key, sequence=sequence))

    def renamed(settings: list[Setting]) -> list[Setting]:
        return [Setting(names[setting.key], setting.value, setting.sequence) for setting in settings]

    return replace(
        batch,
        metrics={names[key]: columns for key, columns in batch.metrics.items()},
        params=renamed(batch.params),
        tags=records + renamed(batch.tags),
    )


def _keys(batch: Batch) -> dict[str, int]:
    """Return each key of the batch with the sequence of its first use."""
    keys: dict[str, int] = {}
    for key, columns in batch.metrics.items():
        if len(columns):
            keys[key] = columns.sequences[0]
    for setting in (*batch.params, *batch.tags):
        keys.setdefault(setting.key, setting.sequence)
    return keys


def _key_fits(key: str, limits: Limits) -> bool:
    if limits.key_chars_max is not None and len(key) > limits.key_chars_max:
        return False
    return limits.key_pattern is None or re.fullmatch(limits.key_pattern, key) is not None


def _tag_fits(tag: Setting, limits: Limits) -> bool:
    value_max = limits.tag_value_chars_max
    return _key_fits(tag.key, limits) and (value_max is None or not must_spill(tag.value or "", value_max))


def _is_small(batch: Batch, limits: Limits) -> bool:
    counts = (
        (len(batch) if batch.metrics else 0, limits.metrics_per_write_max),
        (len(batch.params), limits.params_per_write_max),
        (len(batch.tags), limits.tags_per_write_max),
    )
    if any(most is not None and count > most for count, most in counts):
        return False
    return limits.write_bytes_max is None or estimated_bytes(batch) <= limits.write_bytes_max


def estimated_bytes(batch: Batch) -> int:
    """Return an upper bound of the size of the batch as JSON."""
    points = sum(len(columns) * _point_bytes(key) for key, columns in batch.metrics.items())
    settings = sum(_setting_bytes(setting) for setting in (*batch.params, *batch.tags))
    return ENVELOPE_BYTES + points + settings + sum(map(_input_bytes, batch.inputs))


def _text_bytes(text: str) -> int:
    """Return the size of a text as JSON in ASCII, the longest encoding that clients use."""
    return len(json.dumps(text))


def _point_bytes(key: str) -> int:
    return POINT_BYTES + _text_bytes(key)


def _setting_bytes(setting: Setting) -> int:
    return SETTING_BYTES + _text_bytes(setting.key) + _text_bytes(setting.value or "")


def _input_bytes(added: InputAdded) -> int:
    dataset = added.dataset
    texts = (
        dataset.name,
        dataset.digest,
        dataset.source_type,
        dataset.source,
        dataset.schema,
        dataset.profile,
    )
    tags = sum(SETTING_BYTES + _text_bytes(key) + _text_bytes(value) for key, value in dataset.tags.items())
    return INPUT_BYTES + sum(map(_text_bytes, texts)) + tags


class _Cutter:
    """Fills parts one after the other; a full one is never taken up again, which keeps the order."""

    def __init__(self, run_id: str, limits: Limits) -> None:
        self._run_id = run_id
        self._bytes_max = limits.write_bytes_max
        self._most = {
            "metrics": limits.metrics_per_write_max,
            "params": limits.params_per_write_max,
            "tags": limits.tags_per_write_max,
            "inputs": None,
        }
        self.parts: list[Batch] = []
        self._begin()

    def add_setting(self, kind: str, setting: Setting) -> None:
        self._make_room(kind, _setting_bytes(setting))
        settings = self._part.params if kind == "params" else self._part.tags
        settings.append(setting)

    def add_input(self, added: InputAdded) -> None:
        self._make_room("inputs", _input_bytes(added))
        self._part.inputs.append(added)

    def add_points(self, key: str, columns: MetricColumns) -> None:
        size = _point_bytes(key)
        start = 0
        while start < len(columns):
            self._make_room("metrics", size)
            count = min(self._room_for_points(size) + 1, len(columns) - start)
            _extend(self._part.metrics.setdefault(key, MetricColumns()), columns, start, start + count)
            self._counts["metrics"] += count - 1
            self._records += count - 1
            self._bytes += (count - 1) * size
            start += count

    def _room_for_points(self, size: int) -> int:
        rooms: list[int] = []
        most = self._most["metrics"]
        if most is not None:
            rooms.append(most - self._records)
        if self._bytes_max is not None:
            rooms.append((self._bytes_max - self._bytes) // size)
        return max(min(rooms), 0) if rooms else sys.maxsize

    def _make_room(self, kind: str, size: int) -> None:
        """Count one record into the part that is being filled, or into a new one."""
        most = self._most[kind]
        count = self._records if kind == "metrics" else self._counts[kind]
        is_full = most is not None and count >= most
        is_heavy = self._bytes_max is not None and self._bytes + size > self._bytes_max
        if is_full or (is_heavy and len(self._part)):
            self._begin()
        self._counts[kind] += 1
        self._records += 1
        self._bytes += size

    def _begin(self) -> None:
        self._part = Batch(run_id=self._run_id)
        self._counts = dict.fromkeys(self._most, 0)
        self._records = 0
        self._bytes = ENVELOPE_BYTES
        self.parts.append(self._part)


def _extend(target: MetricColumns, source: MetricColumns, start: int, stop: int) -> None:
    target.steps.extend(source.steps[start:stop])
    target.timestamps.extend(source.timestamps[start:stop])
    target.values.extend(source.values[start:stop])
    target.sequences.extend(source.sequences[start:stop])
