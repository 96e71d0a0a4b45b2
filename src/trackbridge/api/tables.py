"""Tables to the bytes of an artifact and back: JSON as mlflow writes it, CSV, parquet.

JSON tables are in pandas' split orientation, ``{"columns": [...], "data": [[...], ...]}``. NaN, infinities
and absent values are all ``null`` there, and times are ISO 8601, as in mlflow.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time
from pathlib import PurePosixPath
from typing import Any

from trackbridge.api.extras import require, require_package
from trackbridge.errors import InvalidInput

Columns = dict[str, list[Any]]

_FORMATS = (".json", ".csv", ".parquet")


def encode_table(data: Any, path: str) -> bytes:
    """Return a table in the format of the path's extension: ``.json``, ``.csv`` or ``.parquet``.

    Args:
        data: A dictionary of columns of equal length (scalars only: one row), or a pandas or polars frame.
        path: The artifact's path.

    Raises:
        InvalidInput: Other data or another extension, columns of unequal length, or a cell that the
            format cannot hold.
        MissingExtra: Parquet without the package that writes it.
    """
    extension = _format(path)
    if extension == ".parquet":
        return _parquet_bytes(data)
    columns = to_columns(data)
    return _json_bytes(columns) if extension == ".json" else _csv_bytes(columns)


def merge_tables(old: bytes, new: bytes, path: str) -> bytes:
    """Return the rows of the old table, then those of the new one; both in the path's format.

    Columns that only one of them has are empty in the rows of the other.

    Raises:
        InvalidInput: One of them is not a table that ``encode_table`` could have written.
    """
    extension = _format(path)
    if extension == ".parquet":
        return _merged_parquet(old, new)
    parse, encode = (_parsed_json, _json_bytes) if extension == ".json" else (_parsed_csv, _csv_bytes)
    return encode(_concatenated(parse(old), parse(new)))


def to_columns(data: Any, *, operation: str = "log_table") -> Columns:
    """Return a frame, or a dictionary of columns, as lists; absent values of frames are None.

    Raises:
        InvalidInput: It is neither, or its columns are of unequal length.
    """
    if is_pandas(data):
        return _unique(
            [(str(name), _pandas_values(data.iloc[:, index])) for index, name in enumerate(data.columns)],
            operation,
        )
    if is_polars(data):
        return {column.name: column.to_list() for column in data.get_columns()}
    if not isinstance(data, Mapping):
        raise InvalidInput(
            f"a table cannot be made of {type(data).__name__}",
            operation=operation,
            hint="pass a dictionary of columns, or a pandas or polars frame",
        )
    values = {name: _listed(column) for name, column in data.items()}
    if values and all(column is None for column in values.values()):
        return _unique([(str(name), [value]) for name, value in data.items()], operation)
    return _equally_long(values, operation)


def is_pandas(data: object) -> bool:
    """Tell whether it is a pandas frame, without importing pandas."""
    return _package(data) == "pandas" and hasattr(data, "iloc") and hasattr(data, "columns")


def is_polars(data: object) -> bool:
    """Tell whether it is a polars frame, without importing polars."""
    return _package(data) == "polars" and hasattr(data, "get_columns")


def _package(value: object) -> str:
    return type(value).__module__.partition(".")[0]


def _format(path: str) -> str:
    extension = PurePosixPath(path).suffix.lower()
    if extension in _FORMATS:
        return extension
    raise InvalidInput(
        f"a table cannot be saved as {path!r}",
        operation="log_table",
        hint=f"use one of {', '.join(_FORMATS)}",
    )


def _pandas_values(series: Any) -> list[Any]:
    return [None if absent else value for value, absent in zip(series.tolist(), series.isna(), strict=True)]


def _listed(column: Any) -> list[Any] | None:
    """Return a column as a list, None for a scalar."""
    if _package(column) == "numpy" and column.dtype.kind == "M":
        column = column.astype("datetime64[us]")  # of nanoseconds numpy makes plain integers
    for method in ("tolist", "to_list"):
        if hasattr(column, method):
            values = getattr(column, method)()
            return values if isinstance(values, list) else None
    return list(column) if isinstance(column, list | tuple | range) else None


def _equally_long(values: Mapping[Any, list[Any] | None], operation: str) -> Columns:
    lengths = {str(name): None if column is None else len(column) for name, column in values.items()}
    if len(set(lengths.values())) > 1:
        sizes = ", ".join(f"{name!r}: {size or 'a scalar'}" for name, size in list(lengths.items())[:8])
        raise InvalidInput(
            f"the columns differ in length ({sizes})",
            operation=operation,
            hint="give every column the same number of values",
        )
    return _unique([(str(name), column or []) for name, column in values.items()], operation)


def _unique(columns: list[tuple[str, list[Any]]], operation: str) -> Columns:
    """Return the columns by name; two of the same name would lose one."""
    unique = dict(columns)
    if len(unique) == len(columns):
        return unique
    names = [name for name, _ in columns]
    repeated = next(name for name in names if names.count(name) > 1)
    raise InvalidInput(
        f"two columns are named {repeated!r}", operation=operation, hint="give every column its own name"
    )


def _concatenated(old: Columns, new: Columns) -> Columns:
    old_rows, new_rows = _row_count(old), _row_count(new)
    return {
        name: old.get(name, [None] * old_rows) + new.get(name, [None] * new_rows) for name in {**old, **new}
    }


def _row_count(columns: Columns) -> int:
    return len(next(iter(columns.values()), []))


def _json_bytes(columns: Columns) -> bytes:
    cells = [[_json_cell(value, name) for value in column] for name, column in columns.items()]
    table = {"columns": list(columns), "data": [list(row) for row in zip(*cells, strict=True)]}
    try:
        return json.dumps(table, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"the table has a cell that JSON cannot hold: {error}", operation="log_table"
        ) from error


def _json_cell(value: Any, column: str) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_json_cell(item, column) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _json_cell(item, column) for key, item in value.items()}
    if _package(value) == "numpy" and hasattr(value, "tolist"):
        return _json_cell(value.tolist(), column)
    raise InvalidInput(
        f"column {column!r} holds a {type(value).__name__}, which a JSON table cannot hold",
        operation="log_table",
        hint="turn it into text or a number first; log pictures with log_image",
    )


def _parsed_json(data: bytes) -> Columns:
    try:
        table = json.loads(data)
        names, rows = table["columns"], table["data"]
        if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
            raise ValueError("the column names are not texts, each once")
        columns: Columns = {name: [] for name in names}
        for row in rows:
            for name, value in zip(names, row, strict=True):
                columns[name].append(value)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _not_a_table("JSON", error) from error
    return columns


def _csv_bytes(columns: Columns) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    try:
        return buffer.getvalue().encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("the table holds a lone surrogate", operation="log_table") from error


def _parsed_csv(data: bytes) -> Columns:
    try:
        rows = list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))
        names = rows[0] if rows else []
        if len(set(names)) != len(names):
            raise ValueError("a column name appears twice")
        cells = list(zip(*(_csv_row(row, len(names)) for row in rows[1:]), strict=True)) or [()] * len(names)
        return {name: list(column) for name, column in zip(names, cells, strict=True)}
    except (ValueError, csv.Error) as error:
        raise _not_a_table("CSV", error) from error


def _csv_row(row: list[str], width: int) -> list[str]:
    return row or [""] * width if width == 1 else row  # the csv module reads an empty line as no cells


def _parquet_bytes(data: Any) -> bytes:
    buffer = io.BytesIO()
    if is_pandas(data):
        require_package("pyarrow", install="pyarrow", purpose="saving a pandas frame as parquet")
        data.to_parquet(buffer, index=False)
        return buffer.getvalue()
    frame = data if is_polars(data) else _polars_frame(to_columns(data))
    frame.write_parquet(buffer)
    return buffer.getvalue()


def _polars_frame(columns: Columns) -> Any:
    polars = require("polars", extra="frames", purpose="log_table to parquet")
    try:
        return polars.DataFrame(columns, strict=True)
    except (TypeError, ValueError, polars.exceptions.PolarsError) as error:
        raise InvalidInput(
            f"the table has a column that parquet cannot hold: {error}", operation="log_table"
        ) from error


def _merged_parquet(old: bytes, new: bytes) -> bytes:
    polars = require("polars", extra="frames", purpose="appending to a parquet table")
    buffer = io.BytesIO()
    try:
        frames = [polars.read_parquet(io.BytesIO(data)) for data in (old, new)]
        polars.concat(frames, how="diagonal_relaxed").write_parquet(buffer)
    except (OSError, polars.exceptions.PolarsError) as error:
        raise _not_a_table("parquet", error) from error
    return buffer.getvalue()


def _not_a_table(file_format: str, error: Exception) -> InvalidInput:
    return InvalidInput(
        f"the {file_format} table to append to cannot be read: {error}",
        operation="log_table",
        hint="log the rows under another artifact path",
    )
