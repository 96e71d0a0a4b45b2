"""JSON bodies: parsed and checked once, whichever of the forms of the scoring protocol they have."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from trackbridge.serving.answers import bad_request
from trackbridge.serving.columns import TypedColumns

AZURE_FORM = "input_data"
FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")
_decode = msgspec.json.Decoder().decode
_BEYOND_JSON = (b"NaN", b"Infinity")


def parse_json(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body.

    ``NaN`` and ``Infinity`` are taken although they are no JSON, because mlflow's own client writes missing
    values like that.

    Raises:
        Refusal: It is not JSON, not UTF-8, too deep, not an object, or names a key twice; says where.
    """
    try:
        value = _decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        value = _parse_leniently(body, error)
    if type(value) is not dict:
        kind = {list: "a list", str: "a string", NoneType: "null"}.get(
            type(value), f"a {type(value).__name__}"
        )
        raise bad_request(
            f"The input must be a JSON dictionary with exactly one of the input fields {set(FORMS)}. "
            f"Received {kind}."
        )
    _refuse_repeated_keys(body, value)
    return value


NoneType = type(None)


def _parse_leniently(body: bytes, cause: Exception) -> Any:
    if any(literal in body for literal in _BEYOND_JSON):
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            cause = error
    if not body.strip():
        raise bad_request("The body is empty; a JSON dictionary is expected.") from cause
    if isinstance(cause, UnicodeDecodeError):
        reason = f"{cause}; the text must be UTF-8"
    elif isinstance(cause, RecursionError):
        reason = "it is nested too deeply"
    else:
        reason = str(cause)
    raise bad_request(f"Ensure that input is a valid JSON formatted string. Error: {reason}") from cause


def _refuse_repeated_keys(body: bytes, value: dict[str, Any]) -> None:
    """Look closely only when there are more colons than keys; a repeated key, or a text with a colon."""
    keys = len(value)
    for member in value.values():
        if type(member) is dict:
            keys += len(member)
        elif type(member) is list and member and type(member[0]) is dict:
            keys += sum(len(item) for item in member if type(item) is dict)
    if body.count(b":") == keys:
        return
    try:
        json.loads(body, object_pairs_hook=_unique)
    except RecursionError as error:
        raise bad_request("The JSON is nested too deeply.") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise bad_request(f"The key {twice!r} stands twice in one JSON dictionary.")
    return result


def with_azure_form(value: dict[str, Any]) -> dict[str, Any]:
    """Return the payload with Azure's ``input_data`` under the name that MLflow's protocol has for its form.

    ``{"columns", "index", "data"}`` is ``dataframe_split``, a list of dictionaries ``dataframe_records``, and
    anything else ``inputs``.
    """
    if AZURE_FORM not in value or any(form in value for form in FORMS):
        return value
    rest = {name: member for name, member in value.items() if name != AZURE_FORM}
    data = value[AZURE_FORM]
    if type(data) is dict and "data" in data and data.keys() <= {"columns", "index", "data"}:
        return {**rest, "dataframe_split": data}
    if type(data) is list and data and type(data[0]) is dict:
        return {**rest, "dataframe_records": data}
    return {**rest, "inputs": data}


def refuse_ragged_rows(value: dict[str, Any]) -> None:
    """Refuse rows of different lengths, which pandas would fill up with missing values.

    Raises:
        Refusal: A row of ``dataframe_split`` has not as many values as there are columns; says which.
    """
    split = value.get("dataframe_split")
    if type(split) is not dict:
        return
    rows = split.get("data")
    if type(rows) is not list or not rows or set(map(type, rows)) != {list}:
        return
    names = split.get("columns")
    width = len(names) if type(names) is list else len(rows[0])
    for number, row in enumerate(rows):
        if len(row) != width:
            raise bad_request(f"Row {number} of dataframe_split has {len(row)} values instead of {width}.")


def frame_of(value: dict[str, Any], columns: TypedColumns) -> Any | None:
    """Return the frame of a payload, None when mlflow has to decide."""
    form = None
    for candidate in FORMS:
        if candidate in value:
            if form is not None:
                return None
            form = candidate
    if form is None:
        return None
    data = value[form]
    if form == "dataframe_split":
        return columns.from_split(data)
    if form == "dataframe_records":
        return columns.from_records(data)
    if type(data) is dict:
        return columns.from_inputs(data)
    return columns.from_instances(data) if form == "instances" else columns.from_input_records(data)
