"""What a target does not hold as it is, and what is done about it; told before anything is written.

The truth is ``delivery.fitting.fit``: what it takes out, renames or refuses of a run's records will be taken
out, renamed or refused when they are written.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from trackbridge.delivery.fitting import FittedBatch, escaped_key, fit
from trackbridge.delivery.spills import (
    ESCAPED_PREFIX,
    Spill,
    SpilledInput,
    SpilledKey,
    SpilledParam,
    SpilledPoints,
    SpilledTag,
    spilled_values,
)
from trackbridge.delivery.tag_room import TagRoom
from trackbridge.domain.batches import Batch, InputAdded, MetricColumns, Setting
from trackbridge.domain.metric_values import kind_of
from trackbridge.domain.migration import COPY_TAGS, Loss, Treatment
from trackbridge.domain.runs import Run, RunStatus
from trackbridge.operations.migrate.prints import own_tags
from trackbridge.ports.capabilities import Capabilities, Feature, Limits

FIELD_CHARS_MAX = 80


def needs_histories(source: Capabilities, target: Capabilities) -> bool:
    """Tell whether points of the source's metrics may be of a kind that the target does not hold.

    What the source's own store cannot hold either lies in its side-cars, which are read anyway.
    """
    more = target.limits.metric_values_unheld - source.limits.metric_values_unheld
    return bool(more) or target.limits.metric_age_ms_max is not None


def losses_of_run(
    run: Run, histories: Mapping[str, MetricColumns], target: Capabilities, *, item: str, now_ms: int
) -> tuple[Loss, ...]:
    """Return what the target does not hold of a run as it is.

    Args:
        run: As it was logged, under its id at the target.
        histories: Points of those metrics that have to be looked at; the others count as held.
        target: What the target declares.
        item: The run's subject.
        now_ms: The time from which the age of points is measured.
    """
    batch = settings_of(run)
    room = TagRoom(target.limits, set(COPY_TAGS))
    kept = room.without_extra(batch)
    extra_tags = losses_of_extra_tags(batch, kept, target.limits, item)
    params, extra_params = within_params(kept.params, target.limits)
    batch = replace(kept, params=params)
    sequence = sum(len(settings) for settings in (run.data.params, run.data.tags, run.inputs.dataset_inputs))
    for key in sorted(run.data.metrics):  # names are escaped whatever the points are
        columns = histories.get(key) or _one_point()
        batch.metrics[key] = numbered(columns, 0, len(columns), sequence)
        sequence += len(columns)
    fitted = fit(batch, target.limits, now_ms=now_ms, datasets=target.supports(Feature.TRACKING_DATASETS))
    return (
        *losses_of_status(run, item),
        *extra_tags,
        *losses_of_extra_params(len(params), len(extra_params), item),
        *losses_of_fitting(batch, fitted, item),
    )


def settings_of(run: Run) -> Batch:
    """Return params, tags and data sets of a run as a batch, numbered from 1 in order of their names."""
    batch = Batch(run_id=run.info.run_id)
    sequence = 0
    for settings, values in ((batch.params, run.data.params), (batch.tags, own_tags(run.data.tags))):
        for key in sorted(values):
            sequence += 1
            settings.append(Setting(key, values[key], sequence))
    for dataset in sorted(run.inputs.dataset_inputs, key=lambda found: (found.name, found.digest)):
        sequence += 1
        batch.inputs.append(InputAdded(dataset, sequence))
    return batch


def losses_of_fitting(batch: Batch, fitted: Iterable[FittedBatch], item: str) -> tuple[Loss, ...]:
    """Return what was changed of a batch so that it fits."""
    found: list[Loss] = []
    fields = _fields(batch)
    for part in fitted:
        found += [_of_spill(spill, item) for spill in part.spills]
        found += [
            _loss(
                item,
                ESCAPED_PREFIX,
                tag.value or "",
                Treatment.ESCAPED,
                f"named {tag.key[len(ESCAPED_PREFIX) :]}",
            )
            for tag in part.batch.tags
            if tag.key.startswith(ESCAPED_PREFIX)
        ]
        for reason, sequences in _by_reason(part).items():
            for field, count in Counter(fields.get(sequence, "records") for sequence in sequences).items():
                found.append(
                    Loss(item=item, field=field, treatment=Treatment.REFUSED, detail=reason, count=count)
                )
    return tuple(found)


def numbered(columns: MetricColumns, start: int, stop: int, sequence: int) -> MetricColumns:
    """Return a part of a history, its points numbered from ``sequence`` + 1."""
    return MetricColumns(
        steps=columns.steps[start:stop],
        timestamps=columns.timestamps[start:stop],
        values=columns.values[start:stop],
        sequences=array("Q", range(sequence + 1, sequence + 1 + stop - start)),
    )


def fields_of_records(batch: Batch, sequences: Iterable[int]) -> Counter[str]:
    """Return how many of the records with these numbers belong to each field."""
    fields = _fields(batch)
    return Counter(fields.get(sequence, "records") for sequence in sequences)


def field_name(group: str, key: str) -> str:
    """Return ``params.lr``, cut where the key is long."""
    return f"{group}.{key[:FIELD_CHARS_MAX]}"


def _fields(batch: Batch) -> dict[int, str]:
    fields = {param.sequence: field_name("params", param.key) for param in batch.params}
    fields.update({tag.sequence: field_name("tags", tag.key) for tag in batch.tags})
    fields.update({added.sequence: field_name("inputs", added.dataset.name) for added in batch.inputs})
    for key, columns in batch.metrics.items():
        fields.update(dict.fromkeys(columns.sequences, field_name("metrics", key)))
    return fields


def _of_spill(spill: Spill, item: str) -> Loss:
    if isinstance(spill, SpilledPoints):
        kinds = sorted({kind_of(value).value for value in spilled_values(spill)})
        return _loss(item, "metrics", spill.key, Treatment.SPILLED, ", ".join(kinds), count=len(spill.steps))
    if isinstance(spill, SpilledInput):
        return _loss(item, "inputs", spill.dataset.name, Treatment.SPILLED, "the target has no data sets")
    if isinstance(spill, SpilledKey):
        return _loss(item, "key", spill.key, Treatment.ESCAPED, f"named {spill.escaped}")
    group = {SpilledParam: "params", SpilledTag: "tags"}[type(spill)]
    return _loss(item, group, spill.key, Treatment.SPILLED, f"{len(spill.value):,} characters")


def _loss(item: str, group: str, key: str, treatment: Treatment, detail: str, *, count: int = 1) -> Loss:
    field = field_name("key" if group == ESCAPED_PREFIX else group, key)
    return Loss(item=item, field=field, treatment=treatment, detail=detail, count=count)


def _by_reason(part: FittedBatch) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for rejection in part.rejected:
        found.setdefault(rejection.reason, []).append(rejection.sequence)
    return found


def losses_of_status(run: Run, item: str) -> Iterator[Loss]:
    """Yield what no target can be told about the life of a run."""
    if run.info.status is RunStatus.SCHEDULED:
        yield Loss(
            item=item,
            field="status",
            treatment=Treatment.CLAMPED,
            detail="a run that waits to begin is RUNNING at the target, until it is copied again",
        )
    if run.info.status.is_final and run.info.end_time is None:
        yield Loss(
            item=item,
            field="end_time",
            treatment=Treatment.CLAMPED,
            detail="it has ended and does not say when: the copy ends when it starts",
        )


def losses_of_model_name(name: str, limits: Limits, item: str) -> tuple[Loss, ...]:
    """Return that a model has another name in the target itself."""
    if limits.model_name_pattern is None or re.fullmatch(limits.model_name_pattern, name):
        return ()
    detail = "the target does not take it, and has another for it; our API shows this one"
    return (Loss(item=item, field="name", treatment=Treatment.ESCAPED, detail=detail),)


def losses_of_model_tags(tags: Mapping[str, str], limits: Limits, item: str) -> tuple[Loss, ...]:
    """Return which tags of a model or of a version the target does not take."""
    return tuple(
        Loss(item=item, field=field_name("tags", key), treatment=Treatment.REFUSED, detail=problem)
        for key, value in tags.items()
        if (problem := model_tag_problem(key, value, limits)) is not None
    )


def model_tag_problem(key: str, value: str, limits: Limits) -> str | None:
    """Return why a tag of a model or of a version, which has no side-car, is not held as it is."""
    key_max, value_max = limits.model_tag_key_chars_max, limits.model_tag_value_chars_max
    if key_max is not None and len(key) > key_max:
        return f"its name has {len(key):,} characters; the target takes {key_max:,}"
    if value_max is not None and len(value) > value_max:
        return f"{len(value):,} characters; the target takes {value_max:,}"
    return None


def stays_active(subject: str) -> Loss:
    """Return that a deleted item cannot be deleted at the target."""
    return Loss(
        item=subject,
        field="stage",
        treatment=Treatment.CLAMPED,
        detail="it was deleted, and the target deletes nothing: the copy stays active",
    )


def losses_of_extra_tags(batch: Batch, kept: Batch, limits: Limits, item: str) -> tuple[Loss, ...]:
    """Return that a run has more tags than the target takes.

    Args:
        batch: The run's tags.
        kept: Those that there is room for.
        limits: What the target declares.
        item: The run's subject.
    """
    extra = len(batch.tags) - len(kept.tags)
    if not extra:
        return ()
    detail = f"{len(batch.tags):,} tags; the target takes {limits.tags_per_run_max:,} for a run"
    return (Loss(item=item, field="tags", treatment=Treatment.SPILLED, detail=detail, count=extra),)


def within_params(
    params: list[Setting], limits: Limits, present: frozenset[str] = frozenset()
) -> tuple[list[Setting], list[Setting]]:
    """Return the params of a run that the target takes, and those that are more than it takes.

    Args:
        params: All of the run.
        limits: What the target declares.
        present: Those that it has already, by their names there; they come first.
    """
    most = limits.params_per_run_max
    if most is None or len(params) <= most:
        return params, []
    ordered = sorted(
        params, key=lambda param: (escaped_key(param.key, limits) not in present, param.sequence)
    )
    return ordered[:most], ordered[most:]


def losses_of_extra_params(kept: int, extra: int, item: str) -> tuple[Loss, ...]:
    """Return that a run has more params than the target takes."""
    if not extra:
        return ()
    detail = f"{kept + extra:,} params; the target takes {kept:,} for a run"
    return (Loss(item=item, field="params", treatment=Treatment.SPILLED, detail=detail, count=extra),)


def _one_point() -> MetricColumns:
    columns = MetricColumns()
    columns.append(step=0, timestamp=2**62, value=1.0, sequence=0)
    return columns
