"""The whole record of a run, and of an experiment, as JSON in S3; and what a write changes in it.

Everything here is a pure function of a record and what is to be written, so that a change may be tried again
on what somebody else has written meanwhile (``Bucket.swap``).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

import msgspec

from trackbridge.domain.batches import Batch, Rejection, Setting
from trackbridge.domain.runs import TAG_NAME, DatasetInput, RunStatus
from trackbridge.errors import Rejected
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.metric_chunks import Point, value_of
from trackbridge_adapters.sagemaker.names import key_part

FORMAT = 1
SHOWN_CHARS_MAX = 80
RUNS, LISTINGS, EXPERIMENTS, NAMES = "runs", "experiment-runs", "experiments", "experiment-names"
_NEWEST = 2**63 - 1
_START_DIGITS = 20
Record = TypeVar("Record", bound=msgspec.Struct)


class ExperimentRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An experiment. ``native`` is SageMaker's name, ``trial`` the number of the trial being filled."""

    format: int = FORMAT
    experiment_id: str
    name: str
    native: str
    arn: str = ""
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    native_tags: list[str] = msgspec.field(default_factory=list)
    deleted: bool = False
    creation_time: int = 0
    last_update_time: int = 0
    trial: int = 1


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run.

    ``latest`` is the last point of each metric. ``revision`` counts the changes that SageMaker is to show,
    ``shown`` those that it does. ``untold`` counts points that SageMaker refused for good, by its code; they
    are in the chunks. ``adopted`` tells that somebody else made the component. ``trial`` is the number of the
    trial that it is in, 0 where there was no room in any. ``recent`` names the newest chunks, oldest first:
    the oldest of them are merged into one when there are many.
    """

    format: int = FORMAT
    run_id: str
    experiment_id: str
    component: str
    arn: str = ""
    name: str = ""
    user: str = ""
    status: RunStatus = RunStatus.RUNNING
    start_time: int = 0
    end_time: int | None = None
    deleted: bool = False
    adopted: bool = False
    trial: int = 1
    params: dict[str, str] = msgspec.field(default_factory=dict)
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    inputs: list[DatasetInput] = msgspec.field(default_factory=list)
    latest: dict[str, Point] = msgspec.field(default_factory=dict)
    recent: list[str] = msgspec.field(default_factory=list)
    native_tags: list[str] = msgspec.field(default_factory=list)
    untold: dict[str, int] = msgspec.field(default_factory=dict)
    revision: int = 0
    shown: int = 0

    @property
    def is_owed(self) -> bool:
        """True while SageMaker does not show the newest revision."""
        return self.shown < self.revision


class NameRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Which experiment has a name of SageMaker's."""

    experiment_id: str
    name: str


def encode(record: msgspec.Struct) -> bytes:
    """Return a record as JSON."""
    return msgspec.json.encode(record)


def decode(data: bytes, kind: type[Record], *, resource: str) -> Record:
    """Return a record.

    Raises:
        Rejected: The bytes are damaged, or a newer version wrote them.
    """
    try:
        record = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable(str(error), resource) from None
    written = getattr(record, "format", FORMAT)
    if written > FORMAT:
        raise _unreadable(f"its format is {written}, this version reads {FORMAT}", resource)
    return record


def _unreadable(why: str, resource: str) -> Rejected:
    return Rejected(
        f"a record cannot be read: {why}",
        adapter=ADAPTER,
        resource=resource,
        hint="update trackbridge, or restore an earlier version of the object",
    )


# Keys below the folder of a place.


def run_key(run_id: str) -> str:
    """Return the key of a run's record."""
    return record_key(key_part(run_id))


def record_key(part: str) -> str:
    """Return the key of the record of the run for whose id ``part`` stands in keys."""
    return f"{RUNS}/{part}/run.json"


def metrics_prefix(run_id: str) -> str:
    """Return below which prefix the chunks of a run lie."""
    return f"{RUNS}/{key_part(run_id)}/metrics"


def chunk_key(run_id: str, name: str) -> str:
    """Return the key of a chunk of a run."""
    return f"{metrics_prefix(run_id)}/{name}"


def artifacts_prefix(run_id: str) -> str:
    """Return below which prefix the files of a run lie."""
    return f"{RUNS}/{key_part(run_id)}/artifacts"


def experiment_key(experiment_id: str) -> str:
    """Return the key of an experiment's record."""
    return f"{EXPERIMENTS}/{key_part(experiment_id)}.json"


def name_key(native: str) -> str:
    """Return the key of the object that tells which experiment has a name of SageMaker's."""
    return f"{NAMES}/{native.lower()}"


def listing_prefix(experiment_id: str) -> str:
    """Return below which prefix the runs of an experiment are listed."""
    return f"{LISTINGS}/{key_part(experiment_id)}"


def listing_key(experiment_id: str, start_time: int, run_id: str) -> str:
    """Return the key that lists a run: keys are in order of the newest start, then of ``key_part``."""
    return f"{listing_prefix(experiment_id)}/{_NEWEST - start_time:0{_START_DIGITS}d}-{key_part(run_id)}"


def run_start(key: str) -> int:
    """Return the start of a run that a key of the listing tells, in milliseconds since 1970."""
    return _NEWEST - int(key.rpartition("/")[2][:_START_DIGITS])


def run_part(key: str) -> str:
    """Return what stands for a run's id in a key of the listing."""
    return key.rpartition("/")[2][_START_DIGITS + 1 :]


# Changes.


def with_tags(record: RunRecord, tags: Iterable[tuple[str, str | None]]) -> RunRecord:
    """Return the record with tags set, and those of value None deleted; the tag of the name is the name."""
    changed, name = dict(record.tags), record.name
    for key, value in tags:
        if value is None:
            changed.pop(key, None)
        else:
            changed[key] = value
        if key == TAG_NAME:
            name = value or ""
    if changed == record.tags and name == record.name:
        return record
    return revised(record, tags=changed, name=name)


def with_batch(
    record: RunRecord, batch: Batch, points: Mapping[str, list[Point]]
) -> tuple[RunRecord, list[Rejection]]:
    """Return the record after a write, and what of the write is refused.

    Args:
        record: As it is.
        batch: Without records that no record could hold; its metrics are not looked at.
        points: Of each metric, in order.
    """
    params, rejected = _params(record.params, batch.params)
    inputs = _inputs(record.inputs, [added.dataset for added in batch.inputs])
    if params != record.params or inputs != record.inputs:
        record = revised(record, params=params, inputs=inputs)
    record = with_tags(record, ((tag.key, tag.value) for tag in batch.tags))
    latest = dict(record.latest)
    for key, added in points.items():
        held = latest.get(key)
        last = max(added, key=_rank)
        if held is None or _rank(last) > _rank(held):
            latest[key] = last
    return (record if latest == record.latest else replaced(record, latest=latest)), rejected


def with_chunk(record: RunRecord, name: str | None) -> RunRecord:
    """Return the record with a chunk that was written just now."""
    if name is None or name in record.recent:
        return record
    return replaced(record, recent=[*record.recent, name])


def without_chunks(record: RunRecord, names: Collection[str]) -> RunRecord:
    """Return the record without chunks that were merged."""
    return replaced(record, recent=[name for name in record.recent if name not in names])


def revised(record: RunRecord, **fields: object) -> RunRecord:
    """Return the record with other fields, which SageMaker is to show."""
    return replaced(record, revision=record.revision + 1, **fields)


def replaced(record: Record, **fields: object) -> Record:
    """Return the record with other fields."""
    return msgspec.structs.replace(record, **fields)


def _params(stored: Mapping[str, str], written: Iterable[Setting]) -> tuple[dict[str, str], list[Rejection]]:
    params, rejected = dict(stored), []
    for param in written:
        held = params.setdefault(param.key, param.value or "")
        if held != (param.value or ""):
            reason = (
                f"param {_shown(param.key)} is {_shown(held)} and cannot become {_shown(param.value or '')}"
            )
            rejected.append(Rejection(param.sequence, reason))
    return params, rejected


def _inputs(stored: list[DatasetInput], added: list[DatasetInput]) -> list[DatasetInput]:
    known = {(dataset.name, dataset.digest): dataset for dataset in stored}
    for dataset in added:
        known.setdefault((dataset.name, dataset.digest), dataset)
    return list(known.values())


def _rank(point: Point) -> tuple[int, int, bool, float, float, int]:
    """Order points: by step, time, value; NaN below all numbers, -0.0 below 0.0, NaNs by their bits."""
    step, timestamp, bits = point
    value = value_of(bits)
    if math.isnan(value):
        return step, timestamp, False, 0.0, 0.0, bits
    return step, timestamp, True, value, math.copysign(1.0, value), 0


def _shown(text: str) -> str:
    return ascii(text[:SHOWN_CHARS_MAX])


# What no record can hold.


def held(batch: Batch) -> tuple[Batch, list[Rejection]]:
    """Return what of a batch JSON in UTF-8 can hold, and a refusal of everything else."""
    rejected: list[Rejection] = []

    def takes(sequence: int, kind: str, *texts: str | None) -> bool:
        if all(map(is_text, texts)):
            return True
        rejected.append(Rejection(sequence, f"{kind} is not valid Unicode"))
        return False

    metrics = {key: columns for key, columns in batch.metrics.items() if is_text(key)}
    for key in batch.metrics.keys() - metrics.keys():
        reason = f"metric {_shown(key)} is not valid Unicode"
        rejected += [Rejection(sequence, reason) for sequence in batch.metrics[key].sequences]
    params: list[Setting] = []
    for param in batch.params:
        if param.value is None:
            rejected.append(Rejection(param.sequence, f"param {_shown(param.key)} has no value"))
        elif takes(param.sequence, f"param {_shown(param.key)}", param.key, param.value):
            params.append(param)
    # A tag that cannot be there need not be deleted.
    settable = [tag for tag in batch.tags if tag.value is not None or is_text(tag.key)]
    tags = [tag for tag in settable if takes(tag.sequence, f"tag {_shown(tag.key)}", tag.key, tag.value)]
    inputs = [
        added for added in batch.inputs if takes(added.sequence, "the data set", *_texts_of(added.dataset))
    ]
    return Batch(run_id=batch.run_id, metrics=metrics, params=params, tags=tags, inputs=inputs), rejected


def is_text(text: str | None) -> bool:
    """Tell whether UTF-8 has the text: no half of a surrogate pair."""
    return text is None or text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _texts_of(dataset: DatasetInput) -> list[str]:
    texts = [
        dataset.name,
        dataset.digest,
        dataset.source_type,
        dataset.source,
        dataset.schema,
        dataset.profile,
    ]
    return [*texts, *dataset.tags, *dataset.tags.values()]
