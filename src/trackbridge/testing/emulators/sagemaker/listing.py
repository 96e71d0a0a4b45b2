"""The rules that SageMaker's lists of jobs, models and endpoints share: filters, order and pages."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from trackbridge.testing.emulators.sagemaker.core import Refused

PAGE_ROWS = 10
"""How many rows come when nothing is asked for."""
Row = TypeVar("Row")
Fields = Mapping[str, Any]


def page(
    rows: Iterable[Row],
    asked: Mapping[str, Any],
    fields_of: Callable[[Row], Fields],
    *,
    is_descending: bool,
) -> tuple[list[Row], dict[str, str]]:
    """Return the rows that a request asks for, and its ``NextToken`` when there are more.

    Args:
        rows: All there are.
        asked: The request; what it does not name is left open.
        fields_of: A row's ``Name``, ``CreationTime``, ``LastModifiedTime`` and ``Status``.
        is_descending: The order when the request names none.

    Raises:
        Refused: The token is not one of this list's.
    """
    order = asked.get("SortBy", "CreationTime")
    is_descending = asked.get("SortOrder", "Descending" if is_descending else "Ascending") == "Descending"

    def place(row: Row) -> list[Any]:
        fields = fields_of(row)
        return [fields["Name"], fields["Name"]] if order == "Name" else [fields[order], fields["Name"]]

    found = [row for row in rows if _is_asked_for(fields_of(row), asked)]
    found.sort(key=place, reverse=is_descending)
    if "NextToken" in asked:
        last = _read_token(asked["NextToken"], order)
        found = [row for row in found if (place(row) < last if is_descending else place(row) > last)]
    count = asked.get("MaxResults", PAGE_ROWS)
    if len(found) <= count:
        return found, {}
    told = json.dumps([order, *place(found[count - 1])]).encode()
    return found[:count], {"NextToken": base64.urlsafe_b64encode(told).decode()}


def _read_token(token: str, order: str) -> list[Any]:
    try:
        kind, *place = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, binascii.Error, UnicodeDecodeError) as error:
        raise Refused("ValidationException", "Invalid pagination token") from error
    if kind != order:
        raise Refused("ValidationException", "The token was made with other parameters")
    return list(place)


def _is_asked_for(fields: Fields, asked: Mapping[str, Any]) -> bool:
    if asked.get("NameContains", "").lower() not in fields["Name"].lower():
        return False
    if "StatusEquals" in asked and fields["Status"] != asked["StatusEquals"]:
        return False
    for name in ("CreationTime", "LastModifiedTime"):
        if name in fields and not _lies_between(fields[name], asked, name):
            return False
    return True


def _lies_between(time_s: float, asked: Mapping[str, Any], name: str) -> bool:
    after, before = asked.get(f"{name}After"), asked.get(f"{name}Before")
    return (after is None or time_s > after) and (before is None or time_s < before)
