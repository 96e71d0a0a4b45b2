"""Payloads of MLflow's scoring servers, as Azure's own server for MLflow's models takes them, and back.

===================================  ==================================================================
MLflow's                             Azure's ``input_data``
===================================  ==================================================================
``dataframe_split``, CSV             ``{"columns", "index", "data"}``
``dataframe_records``                the same
``inputs``, ``instances``            a tensor, or tensors by name; rows with names become a table
``input_data``                       as it is
===================================  ==================================================================

Azure answers with the predictions alone; MLflow's servers, and ours, with ``{"predictions": …}``.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

from trackbridge.errors import Rejected
from trackbridge_adapters.azureml.clouds import ADAPTER

Json = dict[str, Any]
INPUT, PREDICTIONS = "input_data", "predictions"
FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances", INPUT)
JSON_TYPE, CSV_TYPE = "application/json", "text/csv"
_TABLE = ("columns", "index", "data")
_TRUE, _FALSE = ("True", "TRUE", "true"), ("False", "FALSE", "false")
_NANS = ("NaN", "-NaN", "nan", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN")
_MISSING = frozenset(
    ("", "NA", "N/A", "n/a", "<NA>", "#NA", "#N/A", "#N/A N/A", "NULL", "null", "None", *_NANS)
)
"""Cells that pandas takes for no value."""
_IS_NO_NUMBER = re.compile(r"[+-]?0\d|.*_")
"""What is a number for Python and not for pandas, and codes with zeros in front, which would lose them."""


def to_azure(payload: bytes, content_type: str) -> bytes:
    """Return a payload as Azure takes it.

    Raises:
        Rejected: It is none that MLflow's servers take.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == CSV_TYPE:
        return _encoded({INPUT: _table_of_csv(payload)})
    if kind != JSON_TYPE:
        raise _rejected(
            f"the content type {content_type[:80]!r} is not taken", f"use {JSON_TYPE} or {CSV_TYPE}"
        )
    try:
        asked = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise _rejected(f"the payload is not JSON: {error}", "send an object") from error
    forms = [form for form in FORMS if isinstance(asked, dict) and form in asked]
    if len(forms) != 1:
        raise _rejected(
            "the payload is no object with exactly one of the forms", f"use one of {', '.join(FORMS)}"
        )
    more = {"params": asked["params"]} if asked.get("params") is not None else {}
    return _encoded({INPUT: _converted(forms[0], asked[forms[0]]), **more})


def _converted(form: str, value: Any) -> Any:
    if form == INPUT:
        return value
    if form == "dataframe_split":
        if not isinstance(value, dict) or not isinstance(value.get("data"), list):
            raise _rejected("dataframe_split has no data", "send columns and data")
        return {name: value[name] for name in _TABLE if name in value}
    if form == "dataframe_records":
        if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
            raise _rejected("dataframe_records is no list of rows", "send a list of objects")
        return _table_of_rows(value)
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return _table_of_rows(value)
    return value


def _table_of_rows(rows: Sequence[Json]) -> Json:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    data = [[row.get(name) for name in columns] for row in rows]
    return {"columns": columns, "index": list(range(len(rows))), "data": data}


def _table_of_csv(payload: bytes) -> Json:
    try:
        rows = list(csv.reader(io.StringIO(payload.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _rejected(
            f"the payload is no CSV: {error}", "send UTF-8, with the columns in the first line"
        ) from error
    rows = [row for row in rows if row]
    if len(rows) < 2 or any(len(row) != len(rows[0]) for row in rows):
        raise _rejected("the CSV has no rows, or rows of different lengths", "send the columns, then rows")
    columns, *cells = rows
    by_column = [_values(column) for column in zip(*cells, strict=True)]
    data = [list(row) for row in zip(*by_column, strict=True)]
    return {"columns": columns, "index": list(range(len(data))), "data": data}


def _values(texts: Sequence[str]) -> list[Any]:
    """Return a column's values: numbers, or true and false, where all are, as pandas reads them."""
    known = [text for text in texts if text not in _MISSING]
    if known and all(text in _TRUE or text in _FALSE for text in known):
        return [None if text in _MISSING else text in _TRUE for text in texts]
    if not any(_IS_NO_NUMBER.match(text) for text in known):
        for number in (int, float):
            try:
                return [None if text in _MISSING else number(text) for text in texts]
            except ValueError:
                continue
    return [None if text in _MISSING else text for text in texts]


def from_azure(answer: bytes) -> bytes:
    """Return an answer in MLflow's form; one that has it, or is no JSON, as it is.

    JSON has no NaN and no infinity, which Azure's server writes all the same: they become null.
    """
    unknown: list[str] = []
    try:
        told = json.loads(answer, parse_constant=unknown.append)
    except ValueError:
        return answer
    if isinstance(told, dict) and PREDICTIONS in told:
        return _encoded(told) if unknown else answer
    return _encoded({PREDICTIONS: told})


def request_from_azure(payload: bytes) -> bytes:
    """Return what a model was asked in MLflow's form; anything else as it is."""
    try:
        told = json.loads(payload)
    except ValueError:
        return payload
    if not isinstance(told, dict) or INPUT not in told:
        return payload
    value = told[INPUT]
    is_table = (
        isinstance(value, dict) and "columns" in value and "data" in value and set(value) <= set(_TABLE)
    )
    more = {"params": told["params"]} if "params" in told else {}
    return _encoded({"dataframe_split" if is_table else "inputs": value, **more})


def _encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _rejected(message: str, hint: str) -> Rejected:
    return Rejected(message, adapter=ADAPTER, operation="deployments.invoke", hint=hint)
