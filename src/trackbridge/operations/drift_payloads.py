"""From a captured request and its answer to columns: every form that mlflow's scoring protocol has.

==================================================  ====================================================
request                                             columns
==================================================  ====================================================
``dataframe_split``, ``dataframe_records``          by their names
``inputs``, ``instances``, Azure's ``input_data``   by their names; rows without names as the model takes them
CSV                                                 by its first line
==================================================  ====================================================

An answer is read alike, with or without ``predictions`` around it; numbers without a name are the column
``prediction``. What was captured is anybody's: a body that is none of these is counted, and raises nothing.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from trackbridge.domain.baselines import COLUMNS_MAX, PREDICTION
from trackbridge.serving.payloads import AZURE_FORM, FORMS, with_azure_form

_decode = msgspec.json.Decoder().decode
_UNREADABLE = (ValueError, RecursionError, OverflowError, csv.Error)  # msgspec's errors are ValueErrors


class Table(NamedTuple):
    """Values by column; a column may have fewer values than there are rows."""

    columns: dict[str, list[Any]]
    rows: int


def inputs_of(body: bytes | None, content_type: str, names: Sequence[str]) -> Table | None:
    """Return what a request asks about; None where it cannot be told.

    Args:
        body: As it was captured.
        content_type: What it says it is.
        names: What the model takes, in order: the names of rows that bring none.
    """
    if body is None:
        return None
    try:
        if content_type.partition(";")[0].strip().lower() in ("text/csv", "application/csv"):
            return _csv_table(body)
        value = _parsed(body)
        if isinstance(value, dict) and any(form in value for form in (*FORMS, AZURE_FORM)):
            value = with_azure_form(value)
            value = next(value[form] for form in FORMS if form in value)
        return _table(value, names)
    except _UNREADABLE:
        return None


def predictions_of(body: bytes | None, names: Sequence[str]) -> Table | None:
    """Return what was answered; None where it cannot be told.

    Args:
        body: As it was captured.
        names: The columns of the predictions that are known, for rows that bring no names.
    """
    if body is None:
        return None
    try:
        value = _parsed(body)
        if isinstance(value, dict) and "predictions" in value:
            value = value["predictions"]
        return _table(value, names or (PREDICTION,))
    except _UNREADABLE:
        return None


def _parsed(body: bytes) -> Any:
    try:
        return _decode(body)
    except (msgspec.MsgspecError, ValueError):
        return json.loads(body)  # NaN and Infinity, which mlflow's client sends, are no JSON


def _table(value: Any, names: Sequence[str]) -> Table | None:
    if isinstance(value, dict):
        if isinstance(value.get("data"), list) and value.keys() <= {"columns", "index", "data"}:
            given = value.get("columns")
            return _rows_table(value["data"], [str(name) for name in given] if given else names)
        return _columns_table(value)
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(row, dict) for row in value):
        return _records_table(value)
    return _rows_table(value, names)


def _columns_table(value: dict[str, Any]) -> Table | None:
    columns = {
        str(name): values if isinstance(values, list) else [values]
        for name, values in list(value.items())[:COLUMNS_MAX]
    }
    if not any(columns.values()):
        return None
    flat = {name: [_only(item) for item in values] for name, values in columns.items()}
    return Table(flat, max(len(values) for values in flat.values()))


def _records_table(records: list[dict[str, Any]]) -> Table:
    columns: dict[str, list[Any]] = {}
    for record in records:
        for name, item in record.items():
            if name in columns:
                columns[name].append(_only(item))
            elif len(columns) < COLUMNS_MAX:
                columns[name] = [_only(item)]
    return Table(columns, len(records))


def _rows_table(rows: list[Any], names: Sequence[str]) -> Table | None:
    """Return a table of rows without names; None unless each has a value for every name."""
    flat = [_flat(row) for row in rows]
    if any(len(row) != len(names) for row in flat):
        return None
    values = zip(*flat, strict=True)
    return Table({name: list(column) for name, column in zip(names, values, strict=True)}, len(rows))


def _flat(row: Any) -> list[Any]:
    """Return the values of a row, which may be an array of several dimensions."""
    if not isinstance(row, list):
        return [row]
    if not any(isinstance(item, list) for item in row):
        return row
    return [value for item in row for value in _flat(item)]


def _only(item: Any) -> Any:
    """Return the value of a cell, which some clients wrap in a list."""
    return item[0] if isinstance(item, list) and len(item) == 1 else item


def _csv_table(body: bytes) -> Table | None:
    lines = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""))
    names = next(lines, None)
    rows = [row for row in lines if row]
    if not names or not rows:
        return None
    values = zip(*([cell or None for cell in row] for row in rows), strict=True)
    return Table({name: list(column) for name, column in zip(names, values, strict=True)}, len(rows))
