"""A data frame with the types of a signature, straight from parsed JSON: mlflow's rules, without detours.

Only what is beyond doubt is built here: named columns of scalar types whose JSON values convert without loss.
For everything else the answer is None, and mlflow itself converts or refuses; so there is one set of rules,
and one set of error messages. Tests compare both on generated payloads.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from trackbridge.serving.packages import require

NoneType = type(None)
EXACT_INTEGER_MAX = 2.0**53
COLUMN_ORDERS_MAX = 64


class Column(NamedTuple):
    """One column of a signature; ``kind`` is the name of mlflow's data type."""

    name: str
    kind: str
    is_required: bool


def columns_of(schema: Any) -> list[Column] | None:
    """Return the columns of mlflow's schema when all are named and scalar, else None."""
    data_type = require("mlflow.types", extra="mlflow").DataType
    if schema is None or schema.is_tensor_spec() or not schema.has_input_names():
        return None
    if not all(isinstance(spec.type, data_type) and isinstance(spec.name, str) for spec in schema.inputs):
        return None
    columns = [Column(spec.name, spec.type.name, spec.required) for spec in schema.inputs]
    is_known = all(column.kind in _KINDS for column in columns)
    is_unique = len({column.name for column in columns}) == len(columns)
    return columns if is_known and is_unique else None


class TypedColumns:
    """Builds the frames of one signature.

    Each method returns None when mlflow has to decide: a required column is missing, a value is of another
    type than its column, rows differ in length, and so on.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        import pandas

        self._pandas = pandas
        self._columns = tuple(columns)
        self._names = {column.name for column in columns}
        self._labels = pandas.DataFrame({column.name: [0] for column in columns}).columns
        self._converters = tuple(_KINDS[column.kind] for column in columns)
        kinds = {column.kind for column in columns}
        self._is_uniform = len(kinds) == 1 and kinds <= {"double", "long"}
        self._takes_inputs = kinds <= {"double", "float", "long", "integer", "boolean"}
        self._takes_input_records = kinds <= {"double", "long", "boolean"}
        self._orders: dict[tuple[str, ...], list[int | None] | None] = {}

    def from_split(self, split: Any) -> Any | None:
        """Return the frame of ``{"columns": […], "data": [[…], …], "index": […]}``."""
        if type(split) is not dict or not split.keys() <= {"columns", "data", "index"}:
            return None
        names, rows = split.get("columns"), split.get("data")
        if type(names) is not list or type(rows) is not list or not rows:
            return None
        if set(map(type, rows)) != {list} or set(map(len, rows)) != {len(names)}:
            return None
        order = self._order(names)
        index = self._index(split.get("index"), len(rows))
        if order is None or index is _UNKNOWN:
            return None
        values = list(zip(*rows, strict=True))
        return self._frame([None if place is None else values[place] for place in order], index)

    def from_records(self, records: Any) -> Any | None:
        """Return the frame of ``[{"column": value, …}, …]``."""
        if type(records) is not list or not records or set(map(type, records)) != {dict}:
            return None
        values: list[Sequence[Any] | None] = []
        for column in self._columns:
            name = column.name
            if not column.is_required and not any(name in record for record in records):
                values.append(None)
                continue
            try:
                values.append([record[name] for record in records])
            except KeyError:
                return None
        return self._frame(values, None)

    def from_inputs(self, inputs: Any) -> Any | None:
        """Return the frame of ``inputs`` or ``instances`` of the form ``{"column": [value, …], …}``."""
        if type(inputs) is not dict or not self._takes_inputs or not inputs.keys() <= self._names:
            return None
        if set(map(type, inputs.values())) != {list} or len(set(map(len, inputs.values()))) != 1:
            return None
        values = [inputs.get(column.name) for column in self._columns]
        if any(
            value is None and column.is_required for value, column in zip(values, self._columns, strict=True)
        ):
            return None
        return self._frame(values, None) if values[0] or any(values) else None

    def from_instances(self, records: Any) -> Any | None:
        """Return the frame of ``instances`` of the form ``[{"column": value, …}, …]``."""
        if not self._takes_inputs or not self._are_exact(records):
            return None
        return self.from_records(records)

    def from_input_records(self, records: Any) -> Any | None:
        """Return the frame of ``inputs`` of the form ``[{"column": value, …}, …]``."""
        if not self._takes_input_records or not self._are_exact(records):
            return None
        return self.from_records(records)

    def _are_exact(self, records: Any) -> bool:
        if type(records) is not list or set(map(type, records)) != {dict}:
            return False
        return all(record.keys() == self._names for record in records)

    def _order(self, names: list[Any]) -> list[int | None] | None:
        """Return where each column of the signature stands; remembered, since clients repeat themselves."""
        if set(map(type, names)) != {str}:
            return None
        key = tuple(names)
        if key in self._orders:
            return self._orders[key]
        if len(self._orders) >= COLUMN_ORDERS_MAX:
            self._orders.clear()
        self._orders[key] = order = self._new_order(names)
        return order

    def _new_order(self, names: list[str]) -> list[int | None] | None:
        places = {name: place for place, name in enumerate(names)}
        if len(places) != len(names):
            return None
        if any(column.is_required and column.name not in places for column in self._columns):
            return None
        return [places.get(column.name) for column in self._columns]

    def _index(self, index: Any, rows: int) -> Any:
        if index is None:
            return None
        if type(index) is not list or len(index) != rows or set(map(type, index)) != {int}:
            return _UNKNOWN
        if not -(2**63) <= min(index) <= max(index) < 2**63:
            return _UNKNOWN
        return self._pandas.Index(index)

    def _frame(self, values: list[Sequence[Any] | None], index: Any) -> Any | None:
        """Return the frame of the columns' values; None instead of values leaves an optional column out."""
        if self._is_uniform and None not in values:
            return self._uniform_frame(values, index)
        converted: dict[str, Any] = {}
        for column, convert, column_values in zip(self._columns, self._converters, values, strict=True):
            if column_values is None:
                continue
            array = convert(column_values)
            if array is None:
                return None
            converted[column.name] = array
        return self._pandas.DataFrame(converted, index=index)

    def _uniform_frame(self, values: list[Any], index: Any) -> Any | None:
        import numpy

        types: set[type] = set()
        for column_values in values:
            types.update(map(type, column_values))
        is_long = self._columns[0].kind == "long"
        if not types <= ({int} if is_long else {float, int, NoneType}):
            return None
        try:
            matrix = numpy.array(values, dtype="int64" if is_long else "float64")
        except OverflowError:
            return None
        # One block, a column's values side by side, as pandas lays it out itself: the same sums to the bit.
        return self._pandas.DataFrame(matrix.T, columns=self._labels, index=index, copy=False)


_UNKNOWN = object()


def _double(values: Sequence[Any]) -> Any | None:
    import numpy

    if not set(map(type, values)) <= {float, int, NoneType}:
        return None
    try:
        return numpy.array(values, dtype="float64")
    except OverflowError:
        return None


def _float(values: Sequence[Any]) -> Any | None:
    import numpy

    array = _double(values)
    if array is None:
        return None
    if (
        int in set(map(type, values))
        and not (numpy.abs(array[~numpy.isnan(array)]) < EXACT_INTEGER_MAX).all()
    ):
        return None  # rounded twice, an integer may end up beside where mlflow rounds it
    with numpy.errstate(over="ignore"):
        return array.astype("float32")


def _long(values: Sequence[Any]) -> Any | None:
    import numpy

    if set(map(type, values)) != {int}:
        return None
    try:
        return numpy.array(values, dtype="int64")
    except OverflowError:
        return None


def _integer(values: Sequence[Any]) -> Any | None:
    array = _long(values)
    if array is None or not -(2**31) <= array.min() <= array.max() < 2**31:
        return None
    return array.astype("int32")


def _boolean(values: Sequence[Any]) -> Any | None:
    import numpy

    return numpy.array(values, dtype="bool") if set(map(type, values)) == {bool} else None


def _string(values: Sequence[Any]) -> Any | None:
    return list(values) if set(map(type, values)) == {str} else None


def _binary(values: Sequence[Any]) -> Any | None:
    import numpy

    if set(map(type, values)) != {str}:
        return None
    array = numpy.empty(len(values), dtype="object")
    try:
        array[:] = [base64.decodebytes(value.encode()) for value in values]
    except binascii.Error:
        return None
    return array


def _datetime(values: Sequence[Any]) -> Any | None:
    import pandas

    if set(map(type, values)) != {str}:
        return None
    try:
        parsed = pandas.to_datetime(pandas.Series(list(values)))
    except (ValueError, OverflowError, TypeError):
        return None
    if parsed.dtype.kind != "M" or getattr(parsed.dt, "tz", None) is not None:
        return None
    try:
        return (
            parsed.to_numpy().astype("datetime64[ns]")
            if parsed.dtype == "datetime64[ns]"
            else (parsed.dt.as_unit("ns").to_numpy())
        )
    except (ValueError, OverflowError):
        return None


_KINDS: dict[str, Callable[[Sequence[Any]], Any | None]] = {
    "double": _double,
    "float": _float,
    "long": _long,
    "integer": _integer,
    "boolean": _boolean,
    "string": _string,
    "binary": _binary,
    "datetime": _datetime,
}
