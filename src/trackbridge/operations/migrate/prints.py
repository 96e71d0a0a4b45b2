"""Digests that tell whether something changed, and the fields in which two differ.

A shallow print covers what a listing gives of a run. A run's histories and files are compared by
``differences_of_points`` and ``differences_of_files``, which read them.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.batches import MetricColumns
from trackbridge.domain.migration import BOOK_KEEPING_PREFIX, REGISTRY_FOLDER
from trackbridge.domain.runs import TAG_RUN_ID, DatasetInput, Experiment, Run
from trackbridge.domain.secrets import MASK, is_secret_name, redact

VALUE_CHARS_MAX = 60
PRINT_DIGITS = 32

_FLOAT64 = struct.Struct("<d")
_encoder = msgspec.json.Encoder(order="deterministic")


def own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags without those that only copies have."""
    return {
        key: value
        for key, value in tags.items()
        if not key.startswith(BOOK_KEEPING_PREFIX) and key != TAG_RUN_ID
    }


def run_fields(run: Run) -> dict[str, Any]:
    """Return what a listing gives of a run, but for ids and addresses; metrics by their bits."""
    info = run.info
    return {
        "name": info.run_name,
        "user": info.user_id,
        "status": info.status.value,
        "start_time": info.start_time,
        "end_time": info.end_time,
        "stage": info.lifecycle_stage.value,
        "metrics": {key: bits_of(value) for key, value in run.data.metrics.items()},
        "params": run.data.params,
        "tags": own_tags(run.data.tags),
        "inputs": {f"{item.name}@{item.digest}": _dataset(item) for item in run.inputs.dataset_inputs},
    }


def run_print(run: Run) -> str:
    """Return the shallow print of a run: 32 hexadecimal digits."""
    return print_of(run_fields(run))


def experiment_fields(experiment: Experiment) -> dict[str, Any]:
    """Return what makes two experiments of one name equal."""
    return {"tags": own_tags(experiment.tags), "stage": experiment.lifecycle_stage.value}


def print_of(fields: object) -> str:
    """Return the print of anything that JSON can hold, whatever the order of its keys."""
    text = _encoder.encode(_without_surrogates(fields))
    return hashlib.sha256(text).hexdigest()[:PRINT_DIGITS]


def differences(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> tuple[str, ...]:
    """Return each field that differs, with both values: ``params.lr: 0.1 != 0.2``."""
    found: list[str] = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if isinstance(old, Mapping) or isinstance(new, Mapping):
            found += differences(old or {}, new or {}, f"{prefix}{name}.")
        else:
            is_secret = is_secret_name(name)
            values = [MASK if is_secret else _short(value) for value in (old, new)]
            found.append(f"{prefix}{name}: {values[0]} != {values[1]}")
    return tuple(found)


def shown_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields as a plan may hold them: without what looks like a secret."""
    return {name: _shown(name, value) for name, value in fields.items()}


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return shown_fields(value)
    if not isinstance(value, str):
        return value
    return MASK if is_secret_name(name) else redact(value)


def differences_of_points(key: str, before: MetricColumns, after: MetricColumns) -> tuple[str, ...]:
    """Return how two histories of a metric differ: points compared by step, time and bits, in any order."""
    if _columns(before) == _columns(after):
        return ()
    old, new = set(_points(before)), set(_points(after))
    if old == new:
        return ()
    lack, more = len(old - new), len(new - old)
    return (f"history of {key}: {lack:,} points are missing, {more:,} are extra",)


def differences_of_files(
    before: Iterable[ArtifactInfo], after: Iterable[ArtifactInfo], rewritten: Mapping[str, int | None]
) -> tuple[str, ...]:
    """Return how two lists of files differ, by path, size, and digest where both sides know it.

    Args:
        before: The source's.
        after: The target's.
        rewritten: Files whose ids are those of the target, with their new size.
    """
    old = {info.path: info for info in before}
    new = {info.path: info for info in after}
    found = [f"file {path}: missing" for path in sorted({*old} - {*new})]
    found += [f"file {path}: extra" for path in sorted({*new} - {*old})]
    for path in sorted({*old} & {*new}):
        size = rewritten.get(path, old[path].file_size)
        if size != new[path].file_size:
            found.append(f"file {path}: {size} bytes != {new[path].file_size} bytes")
        elif path not in rewritten and _are_other_bytes(old[path].digest, new[path].digest):
            found.append(f"file {path}: {old[path].digest} != {new[path].digest}")
    return tuple(found)


def is_own_file(path: str) -> bool:
    """Tell whether a file is the run's own, not one that a copy has beside it."""
    return not path.startswith(f"{REGISTRY_FOLDER}/")


def bits_of(value: float) -> str:
    """Return the bits of a float64 as 16 hexadecimal digits."""
    return _FLOAT64.pack(value)[::-1].hex()


def _are_other_bytes(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other


def _columns(columns: MetricColumns) -> tuple[bytes, bytes, bytes]:
    return columns.steps.tobytes(), columns.timestamps.tobytes(), columns.values.tobytes()


def _points(columns: MetricColumns) -> Iterable[tuple[int, int, bytes]]:
    rows = zip(columns.steps, columns.timestamps, columns.values, strict=True)
    return ((step, timestamp, _FLOAT64.pack(value)) for step, timestamp, value in rows)


def _dataset(dataset: DatasetInput) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(dataset)
    return fields


def _short(value: object) -> str:
    text = "(none)" if value is None else redact(str(value))
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}... ({len(text):,} characters)"


def _without_surrogates(value: Any) -> Any:
    """Return the value with halves of characters, which JSON cannot encode, as texts that can."""
    try:
        _encoder.encode(value)
    except UnicodeEncodeError:
        return _escaped(value)
    return value


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list | tuple) else value
