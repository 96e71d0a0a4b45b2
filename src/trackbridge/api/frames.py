"""Runs and metric histories as pandas or polars frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from trackbridge.api.extras import require
from trackbridge.domain.batches import MetricColumns
from trackbridge.domain.runs import Run
from trackbridge.errors import InvalidInput

_LIBRARIES = ("pandas", "polars")
_NAT = -(2**63)  # how numpy stores a time that is absent

Value = TypeVar("Value", float, str)


@dataclass(frozen=True, slots=True)
class _RunColumns:
    """The columns of a frame of runs by name, of equal length; None is absent."""

    identity: dict[str, list[str]]
    times: dict[str, list[int | None]]
    metrics: dict[str, list[float | None]]
    texts: dict[str, list[str | None]]


def runs_frame(runs: Sequence[Run], library: str = "pandas") -> Any:
    """Return a frame with one row per run and the columns of mlflow's ``search_runs``.

    The columns are ``run_id``, ``experiment_id``, ``status``, ``artifact_uri``, ``start_time``,
    ``end_time`` (UTC, in milliseconds), then ``metrics.…`` (float64), ``params.…`` and ``tags.…`` (text) in
    order of appearance. What a run lacks is NaN, NaT or None in pandas, null in polars: there a metric that
    is NaN differs from one that is absent.

    Raises:
        InvalidInput: The library is neither ``pandas`` nor ``polars``.
        MissingExtra: It is not installed.
    """
    frames = _library(library)
    columns = _RunColumns(
        identity=_identity_columns(runs),
        times={
            "start_time": [run.info.start_time for run in runs],
            "end_time": [run.info.end_time for run in runs],
        },
        metrics=_spread("metrics", [run.data.metrics for run in runs]),
        texts={
            **_spread("params", [run.data.params for run in runs]),
            **_spread("tags", [run.data.tags for run in runs]),
        },
    )
    return _pandas_runs(frames, columns) if library == "pandas" else _polars_runs(frames, columns)


def history_frame(columns: MetricColumns, key: str, library: str = "pandas") -> Any:
    """Return a metric's points as a frame: ``key``, ``value``, ``step``, ``timestamp`` (UTC, milliseconds).

    The columns are copied as a whole, never value by value.

    Raises:
        InvalidInput: The library is neither ``pandas`` nor ``polars``.
        MissingExtra: It is not installed.
    """
    frames = _library(library)
    numpy = require("numpy", extra="frames", purpose="a frame of metric points")
    values = numpy.array(columns.values, dtype="float64")
    steps = numpy.array(columns.steps, dtype="int64")
    timestamps = numpy.array(columns.timestamps, dtype="int64")
    if library == "pandas":
        keys = frames.Categorical.from_codes(numpy.zeros(len(steps), dtype="int8"), [key])
        times = _pandas_times(frames, timestamps)
        return frames.DataFrame({"key": keys, "value": values, "step": steps, "timestamp": times})
    return frames.DataFrame(
        {
            "key": frames.repeat(key, len(steps), dtype=frames.String, eager=True),
            "value": values,
            "step": steps,
            "timestamp": _polars_times(frames, timestamps),
        }
    )


def _library(library: str) -> Any:
    if library not in _LIBRARIES:
        raise InvalidInput(
            f"there are no frames of {str(library)[:40]!r}", hint=f"use one of {', '.join(_LIBRARIES)}"
        )
    return require(library, extra="frames", purpose=f"a {library} frame")


def _identity_columns(runs: Sequence[Run]) -> dict[str, list[str]]:
    return {
        "run_id": [run.info.run_id for run in runs],
        "experiment_id": [run.info.experiment_id for run in runs],
        "status": [run.info.status.value for run in runs],
        "artifact_uri": [run.info.artifact_uri for run in runs],
    }


def _spread(prefix: str, rows: Sequence[Mapping[str, Value]]) -> dict[str, list[Value | None]]:
    """Return one column per key, in order of appearance; absent values are None."""
    columns: dict[str, list[Value | None]] = {}
    for index, row in enumerate(rows):
        for key, value in row.items():
            name = f"{prefix}.{key}"
            if name not in columns:
                columns[name] = [None] * len(rows)
            columns[name][index] = value
    return columns


def _pandas_runs(pandas: Any, columns: _RunColumns) -> Any:
    numpy = require("numpy", extra="frames", purpose="a pandas frame")

    def times(column: list[int | None]) -> Any:
        filled = [_NAT if milliseconds is None else milliseconds for milliseconds in column]
        return _pandas_times(pandas, numpy.array(filled, dtype="int64"))

    return pandas.DataFrame(
        {
            **{name: pandas.Series(column, dtype=object) for name, column in columns.identity.items()},
            **{name: times(column) for name, column in columns.times.items()},
            **{name: numpy.array(column, dtype="float64") for name, column in columns.metrics.items()},
            **{name: pandas.Series(column, dtype=object) for name, column in columns.texts.items()},
        }
    )


def _polars_runs(polars: Any, columns: _RunColumns) -> Any:
    texts = {**columns.identity, **columns.texts}
    metrics = {name: polars.Series(column, dtype=polars.Float64) for name, column in columns.metrics.items()}
    frame = polars.DataFrame(
        {
            **{name: polars.Series(column, dtype=polars.String) for name, column in texts.items()},
            **{name: _polars_times(polars, column) for name, column in columns.times.items()},
            **metrics,
        }
    )
    return frame.select([*columns.identity, *columns.times, *columns.metrics, *columns.texts])


def _pandas_times(pandas: Any, milliseconds: Any) -> Any:
    return pandas.Series(milliseconds.view("datetime64[ms]")).dt.tz_localize("UTC")


def _polars_times(polars: Any, milliseconds: Any) -> Any:
    return polars.Series(values=milliseconds, dtype=polars.Int64).cast(polars.Datetime("ms", "UTC"))
