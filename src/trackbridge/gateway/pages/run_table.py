"""The table of runs: which columns it has, what stands in its cells, how it is sorted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from trackbridge.api.display import format_duration, format_number, format_time
from trackbridge.domain.runs import Run

COLUMNS_MAX = 50
DEFAULT_KEYS = 4
"""How many metrics and how many params are shown when no column is chosen."""

ATTRIBUTES = {
    "run_name": "Name",
    "status": "Status",
    "start_time": "Started (UTC)",
    "duration": "Duration",
    "user_id": "User",
    "run_id": "Run id",
    "experiment": "Experiment",
}
_SORTABLE = ("run_name", "status", "start_time", "user_id", "run_id")
_KINDS = ("metrics", "params", "tags")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")


@dataclass(frozen=True)
class Column:
    """A column: an attribute by its name, or ``metrics.KEY``, ``params.KEY``, ``tags.KEY``."""

    name: str
    label: str
    kind: str = ""
    key: str = ""

    @property
    def is_number(self) -> bool:
        """Whether its cells are numbers."""
        return self.kind == "metrics"

    @property
    def is_sortable(self) -> bool:
        """Whether the search language orders by it."""
        return bool(self.kind) or self.name in _SORTABLE

    @property
    def order(self) -> str:
        """The column in the search language."""
        return quoted_column(self.kind, self.key) if self.kind else self.name


def quoted_column(kind: str, key: str) -> str:
    """Return a column as the search language reads it, such as ``metrics."val loss"``."""
    if _PLAIN_KEY.fullmatch(key):
        return f"{kind}.{key}"
    return '{}."{}"'.format(kind, key.replace('"', '""'))


def column_of(name: str) -> Column | None:
    """Return the column of a name, None when there is no such."""
    if name in ATTRIBUTES:
        return Column(name, ATTRIBUTES[name])
    kind, _, key = name.partition(".")
    return Column(name, key, kind, key) if kind in _KINDS and key else None


def chosen_columns(names: Iterable[str], runs: Sequence[Run]) -> list[Column]:
    """Return the named columns, without names some that the runs have; what is no column is left out."""
    chosen = [column for name in names if (column := column_of(name)) is not None]
    if chosen:
        return chosen[:COLUMNS_MAX]
    metrics = _first_keys(run.data.metrics for run in runs)
    params = _first_keys(run.data.params for run in runs)
    names = ["status", "start_time", "duration", *(f"metrics.{key}" for key in metrics)]
    names += [f"params.{key}" for key in params]
    return [column for name in names if (column := column_of(name)) is not None]


def _first_keys(mappings: Iterable[dict[str, Any]]) -> list[str]:
    keys: dict[str, None] = {}
    for mapping in mappings:
        keys |= dict.fromkeys(key for key in mapping if not key.startswith("system/"))
    return list(keys)[:DEFAULT_KEYS]


def order_of(sort: str) -> list[str]:
    """Return the order of ``metrics.acc`` (ascending) or ``-metrics.acc``, nothing for what is no column."""
    column = column_of(sort.removeprefix("-"))
    if column is None or not column.is_sortable:
        return []
    return [f"{column.order} DESC" if sort.startswith("-") else f"{column.order} ASC"]


def next_sort(column: Column, sort: str) -> str:
    """Return what a click on a heading sorts by: metrics and times begin with the greatest."""
    begins_down = column.is_number or column.name == "start_time"
    first = f"-{column.name}" if begins_down else column.name
    if sort not in (column.name, f"-{column.name}"):
        return first
    return column.name if sort.startswith("-") else f"-{column.name}"


def cell(run: Run, column: Column, experiments: dict[str, str]) -> str:
    """Return the text of a cell; "" where the run has none."""
    if column.kind == "metrics":
        value = run.data.metrics.get(column.key)
        return "" if value is None else format_number(value)
    if column.kind:
        settings = run.data.params if column.kind == "params" else run.data.tags
        return settings.get(column.key, "")
    return _attribute(run, column.name, experiments)


def _attribute(run: Run, name: str, experiments: dict[str, str]) -> str:
    info = run.info
    if name == "start_time":
        return format_time(info.start_time)
    if name == "duration":
        return format_duration(info.start_time, info.end_time)
    if name == "experiment":
        return experiments.get(info.experiment_id, info.experiment_id)
    return str(getattr(info, name))
