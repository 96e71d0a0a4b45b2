"""Values that break stores, and builders of what the suites write."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from trackbridge.domain.batches import Batch, InputAdded, MetricColumns, Setting
from trackbridge.domain.ids import experiment_id_of, mint_id
from trackbridge.domain.runs import TAG_NAME, TAG_USER, DatasetInput, RunSpec

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

Point = tuple[str, float, int, int]
"""Key, value, step, timestamp."""


def float_of(bits: int) -> float:
    """Return the float64 with these bits."""
    value: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return value


def bits_of(value: float) -> int:
    """Return the bits of a float64."""
    bits: int = struct.unpack("<Q", struct.pack("<d", value))[0]
    return bits


FINITE_VALUES = {
    "zero": 0.0,
    "minus_zero": -0.0,
    "third": 1 / 3,
    "two_to_60": float(2**60),
    "above_two_to_53": float(2**53 + 2),
    "denormal_least": 5e-324,
    "denormal_most": float_of(0x000FFFFFFFFFFFFF),
    "denormal_minus": -5e-324,
    "greatest": float_of(0x7FEFFFFFFFFFFFFF),
    "least": -float_of(0x7FEFFFFFFFFFFFFF),
}
NON_FINITE_VALUES = {
    "infinity": float("inf"),
    "minus_infinity": float("-inf"),
    "nan": float_of(0x7FF8000000000000),
    "nan_minus": float_of(0xFFF8000000000000),
    "nan_with_payload": float_of(0x7FF8000000000123),
}

HOSTILE_TEXTS = {
    "spaces": "  around and  within ",
    "unicode": "Übung Δημοκρατία 漢字 עברית",
    "composed_and_decomposed": "\u00e9 e\u0301",
    "emoji": "🚀👩‍👩‍👧‍👦",
    "right_to_left": "\u202egnp.exe",
    "newlines": "first\r\nsecond\n\tthird",
    "controls": "\x01\x1b[31m\x7f",
    "quotes": 'it\'s "quoted" `so`',
    "sql": "'; DROP TABLE runs; --",
    "like": "100%_\\",
    "format": "{0} %s ${HOME}",
    "path": "../../etc/passwd",
    "markup": "<script>alert(1)</script>",
    "long": "0123456789" * 1024,
    "nul": "before\0after",
    "lone_surrogate": "\ud800",
    "null_word": "null",
    "number_word": "1e400",
}
"""Texts to be kept exactly or refused, never changed."""


def run_spec(
    name: str = "run",
    *,
    run_id: str | None = None,
    experiment: str = "contract",
    start_time: int = 1_700_000_000_000,
    tags: Mapping[str, str] | None = None,
    resume: bool = False,
) -> RunSpec:
    """Return what opens a run, with its name and user also as tags, as the API sends it."""
    return RunSpec(
        run_id=run_id or mint_id(),
        experiment_id=experiment_id_of(experiment),
        experiment_name=experiment,
        name=name,
        user="tester",
        start_time=start_time,
        tags={TAG_NAME: name, TAG_USER: "tester", **(tags or {})},
        resume=resume,
    )


def batch_of(
    run_id: str,
    *,
    metrics: Iterable[Point] = (),
    params: Iterable[tuple[str, str]] = (),
    tags: Iterable[tuple[str, str | None]] = (),
    inputs: Iterable[DatasetInput] = (),
    first_sequence: int = 1,
) -> Batch:
    """Return a batch whose records are numbered from ``first_sequence``: metrics, params, tags, inputs."""
    batch = Batch(run_id=run_id)
    sequence = first_sequence
    for key, value, step, timestamp in metrics:
        columns = batch.metrics.setdefault(key, MetricColumns())
        columns.append(step=step, timestamp=timestamp, value=value, sequence=sequence)
        sequence += 1
    for name, text in params:
        batch.params.append(Setting(name, text, sequence))
        sequence += 1
    for name, change in tags:
        batch.tags.append(Setting(name, change, sequence))
        sequence += 1
    for dataset in inputs:
        batch.inputs.append(InputAdded(dataset, sequence))
        sequence += 1
    return batch


def points_of(columns: MetricColumns) -> list[tuple[int, int, int]]:
    """Return step, timestamp and the bits of the value of each point."""
    return list(zip(columns.steps, columns.timestamps, map(bits_of, columns.values), strict=True))


def digest_of(content: bytes) -> str:
    """Return the digest that artifact stores want."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def file_of(folder: Path, content: bytes) -> Path:
    """Write the bytes to a new file of the folder."""
    file = folder / f"source-{mint_id()}"
    file.write_bytes(content)
    return file
