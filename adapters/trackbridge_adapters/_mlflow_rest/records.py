"""Which records of a batch an MLflow server holds as they are; the rest is refused, one by one, with why."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from trackbridge.domain.batches import Batch, InputAdded, MetricColumns, Rejection, Setting
from trackbridge.domain.metric_values import kind_of
from trackbridge.ports.capabilities import Limits

SHOWN_CHARS_MAX = 100


@dataclass(slots=True)
class Sorted:
    """A batch after the look at each record. A tag has its last value, None to delete it."""

    metrics: dict[str, MetricColumns] = field(default_factory=dict)
    params: dict[str, Setting] = field(default_factory=dict)
    tags: dict[str, str | None] = field(default_factory=dict)
    inputs: list[InputAdded] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)


def sorted_records(batch: Batch, limits: Limits) -> Sorted:
    """Return what can be sent, and what is refused."""
    found = Sorted(inputs=batch.inputs)
    for key, columns in batch.metrics.items():
        _add_metric(found, key, columns, limits)
    for param in batch.params:
        _add_param(found, param, limits)
    for tag in batch.tags:
        problem = _setting_problem(tag.key, tag.value, limits, limits.tag_value_chars_max)
        if problem is None:
            found.tags[tag.key] = tag.value
        elif tag.value is not None:  # a tag that cannot be there need not be deleted
            found.rejected.append(Rejection(tag.sequence, f"tag {_shown(tag.key)} {problem}"))
    return found


def split_conflicts(
    params: Iterable[Setting], stored: dict[str, str]
) -> tuple[list[Setting], list[Rejection]]:
    """Return the params that the run does not have, and a rejection for each that would change one."""
    new: list[Setting] = []
    rejected: list[Rejection] = []
    for param in params:
        if param.key not in stored:
            new.append(param)
        elif stored[param.key] != param.value:
            rejected.append(_conflict(param, stored[param.key]))
    return new, rejected


def _add_metric(found: Sorted, key: str, columns: MetricColumns, limits: Limits) -> None:
    problem = _key_problem(key, limits)
    unheld = limits.metric_values_unheld
    refused = [
        (index, problem or _point_problem(columns, index, limits))
        for index in range(len(columns))
        if problem or columns.timestamps[index] < 0 or kind_of(columns.values[index]) in unheld
    ]
    if not refused:
        found.metrics[key] = columns
        return
    found.rejected += [
        Rejection(columns.sequences[index], f"metric {_shown(key)} {why}") for index, why in refused
    ]
    bad = {index for index, _ in refused}
    kept = MetricColumns()
    for index in range(len(columns)):
        if index not in bad:
            kept.append(
                step=columns.steps[index],
                timestamp=columns.timestamps[index],
                value=columns.values[index],
                sequence=columns.sequences[index],
            )
    if len(kept):
        found.metrics[key] = kept


def _point_problem(columns: MetricColumns, index: int, limits: Limits) -> str:
    if columns.timestamps[index] < 0:
        return "has a time before 1970"
    return f"is {columns.values[index]}, which the server does not keep by its bits"


def _add_param(found: Sorted, param: Setting, limits: Limits) -> None:
    problem = _setting_problem(param.key, param.value, limits, limits.param_value_chars_max)
    if param.value is None:
        problem = "has no value"
    earlier = found.params.get(param.key)
    if problem is not None:
        found.rejected.append(Rejection(param.sequence, f"param {_shown(param.key)} {problem}"))
    elif earlier is None:
        found.params[param.key] = param
    elif earlier.value != param.value:
        found.rejected.append(_conflict(param, earlier.value or ""))


def _conflict(param: Setting, stored: str) -> Rejection:
    value = param.value or ""
    reason = f"param {_shown(param.key)} is {_shown(stored)} and cannot become {_shown(value)}"
    return Rejection(param.sequence, reason)


def _setting_problem(key: str, value: str | None, limits: Limits, chars_max: int | None) -> str | None:
    problem = _key_problem(key, limits)
    if problem is not None or value is None:
        return problem
    if chars_max is not None and len(value) > chars_max:
        return f"has {len(value):,} characters; the server keeps {chars_max:,}"
    return _text_problem(value)


def _key_problem(key: str, limits: Limits) -> str | None:
    if limits.key_chars_max is not None and len(key) > limits.key_chars_max:
        return f"has a name of {len(key)} characters; the server keeps {limits.key_chars_max}"
    if limits.key_pattern is not None and re.fullmatch(limits.key_pattern, key) is None:
        return "has a name that the server does not take"
    return _text_problem(key)


def _text_problem(text: str) -> str | None:
    if "\0" in text:
        return "holds a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode"
    return None


def _shown(text: str) -> str:
    return ascii(text[:SHOWN_CHARS_MAX])
