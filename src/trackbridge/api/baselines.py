"""The baseline of training data, as ``trackbridge.domain.baselines`` describes it, from frames and arrays."""

from __future__ import annotations

from typing import Any

from trackbridge.api.tables import is_pandas, is_polars, to_columns
from trackbridge.domain.baselines import COLUMNS_MAX, FORMAT, PREDICTION, ROWS_MAX, described_column
from trackbridge.errors import InvalidInput


def baseline_of(data: Any, predictions: Any = None) -> dict[str, Any]:
    """Return the baseline of a pandas or polars frame, a mapping of columns, or a numpy array.

    An array of two dimensions has columns named ``0``, ``1`` …; one of more is flattened to two.

    Args:
        data: What the model learnt from.
        predictions: What it answers to that: the same, or a list or series, which is ``prediction``.

    Raises:
        InvalidInput: It is none of these.
    """
    columns, rows, left_out = _columns_of(data)
    described: dict[str, Any] = {
        "format": FORMAT,
        "rows": rows,
        "columns": [described_column(name, values) for name, values in columns.items()],
    }
    if predictions is not None:
        answered, _, _ = _columns_of(_named(predictions))
        described["predictions"] = [described_column(name, values) for name, values in answered.items()]
    if left_out:
        described["columns_left_out"] = left_out
    if rows > ROWS_MAX:
        described["rows_sampled"] = ROWS_MAX
    return described


def _named(predictions: Any) -> Any:
    """Return predictions as a table: one column of what has no columns."""
    if isinstance(predictions, (list, tuple)):
        return {PREDICTION: list(predictions)}
    if getattr(predictions, "ndim", 0) == 1 or type(predictions).__name__ == "Series":  # also of polars
        listed = predictions.tolist() if hasattr(predictions, "tolist") else predictions.to_list()
        return {PREDICTION: listed}
    is_array = type(predictions).__module__.partition(".")[0] == "numpy"
    if is_array and predictions.ndim == 2 and predictions.shape[1] == 1:
        return {PREDICTION: predictions[:, 0].tolist()}
    return predictions


def _columns_of(data: Any) -> tuple[dict[str, list[Any]], int, int]:
    """Return the columns to describe, how many rows there are, and how many columns are left out."""
    if type(data).__module__.partition(".")[0] == "numpy" and hasattr(data, "reshape"):
        return _columns_of_array(data)
    if is_pandas(data) or is_polars(data):
        return _columns_of_frame(data)
    if not hasattr(data, "items"):
        raise InvalidInput(
            f"training data of type {type(data).__name__} cannot be described",
            operation="log_model",
            hint="pass a frame, a numpy array or a dictionary of columns",
        )
    columns = to_columns(data, operation="log_model")
    kept = list(columns)[:COLUMNS_MAX]
    rows = len(next(iter(columns.values()), []))
    picked = _spaced(rows)
    sample = {name: [columns[name][row] for row in picked] for name in kept}
    return sample, rows, len(columns) - len(kept)


def _columns_of_frame(frame: Any) -> tuple[dict[str, list[Any]], int, int]:
    rows, count = frame.shape
    kept, picked = min(count, COLUMNS_MAX), _spaced(rows)
    sample = frame.iloc[picked, :kept] if is_pandas(frame) else frame[picked, :kept]
    return to_columns(sample, operation="log_model"), rows, count - kept


def _columns_of_array(array: Any) -> tuple[dict[str, list[Any]], int, int]:
    table = array.reshape(array.shape[0] if array.ndim else 1, -1) if array.size else array.reshape(0, 0)
    rows, count = table.shape
    kept = min(count, COLUMNS_MAX)
    sample = table[_spaced(rows)]
    return {str(index): sample[:, index].tolist() for index in range(kept)}, rows, count - kept


def _spaced(count: int) -> list[int]:
    """Return the rows to look at, at most ROWS_MAX, evenly spaced from the first to the last."""
    if count <= ROWS_MAX:
        return list(range(count))
    return [index * (count - 1) // (ROWS_MAX - 1) for index in range(ROWS_MAX)]
