"""SageMaker's Search: conditions, order, pages and counts over every kind of resource that is emulated."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation, Refused
from trackbridge.testing.emulators.sagemaker.search_match import compiled
from trackbridge.testing.emulators.sagemaker.search_properties import (
    RECORDS,
    Property,
    property_of,
    told_as,
)
from trackbridge.testing.emulators.sagemaker.search_sources import SHARED, SOURCES

PAGE_ROWS = 10
"""How many results come when nothing is asked for."""


class SearchIndex:
    """What is known of the index that Search reads.

    Attributes:
        lag_s: How long a record that was made or changed is not found, as it is on AWS for a few seconds.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.lag_s = 0.0

    def knows(self, record: Mapping[str, Any]) -> bool:
        """Tell whether the record has reached the index."""
        return self.lag_s == 0.0 or changed_s(record) + self.lag_s <= self._cloud.now_s()


def search(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    """Search: the newest change first, ten at a time, unless asked otherwise."""
    resource = asked["Resource"]
    found = _matching(cloud, asked)
    _sort(found, _sorting(resource, asked), asked.get("SortOrder", "Descending") == "Descending")
    start, count = _start(asked), asked.get("MaxResults", PAGE_ROWS)
    answer: dict[str, Any] = {
        "Results": [_told(resource, record) for record in found[start : start + count]],
        "TotalHits": {"Value": len(found), "Relation": "EqualTo"},
    }
    if start + count < len(found):
        answer["NextToken"] = _token(asked, start + count)
    return answer


def _told(resource: str, record: Mapping[str, Any]) -> dict[str, Any]:
    shape = "ModelDashboardModel" if resource == "Model" else RECORDS[resource]
    return {RECORDS[resource]: told_as(shape, record)}


def changed_s(record: Mapping[str, Any]) -> float:
    """Return when a record was changed last, in seconds since 1970."""
    inner = record.get("Model", record)
    time_s: float = inner.get("LastModifiedTime", inner.get("CreationTime", 0.0))
    return time_s


def _matching(cloud: Cloud, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    resource = asked["Resource"]
    if resource not in RECORDS:
        return []
    tests = [compiled(resource, asked["SearchExpression"])] if "SearchExpression" in asked else []
    index = cloud.part(SearchIndex)
    sources = SHARED if asked.get("CrossAccountFilterOption") == "CrossAccount" else SOURCES
    source = sources.get(resource, _nothing)
    shown = [_visible(condition) for condition in asked.get("VisibilityConditions", ())]
    return [
        record
        for record in source(cloud)
        if index.knows(record) and all(test(record) for test in (*tests, *shown))
    ]


def _nothing(cloud: Cloud) -> tuple[dict[str, Any], ...]:
    return ()


def _visible(condition: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], bool]:
    key = condition.get("Key", "")
    if not key.startswith("Tags."):
        raise Refused("ValidationException", f"VisibilityConditions: '{key}' must have the form Tags.<key>.")
    wanted = {"Key": key.removeprefix("Tags."), "Value": condition.get("Value", "")}
    return lambda record: wanted in record.get("Tags", ())


def _sorting(resource: str, asked: Mapping[str, Any]) -> Property | None:
    """The property to sort by; None for the time of the last change, that not every record states."""
    name = asked.get("SortBy", "LastModifiedTime")
    if name == "LastModifiedTime" or resource not in RECORDS:
        return None
    prop = property_of(resource, name)
    if prop.kind == "object":
        raise Refused("ValidationException", f"Results can not be sorted by property {name}.")
    return prop


def _sort(found: list[dict[str, Any]], prop: Property | None, is_descending: bool) -> None:
    """Sort in place; what lacks the property comes last, whatever the order."""
    if prop is None:
        found.sort(key=changed_s, reverse=is_descending)
        return
    found.sort(key=lambda record: _place(prop, record), reverse=is_descending)
    found.sort(key=lambda record: not any(True for _ in prop.values(record)))


def _place(prop: Property, record: Mapping[str, Any]) -> tuple[bool, float, str]:
    value = next(iter(prop.values(record)), None)
    if isinstance(value, (int, float)):
        return (False, float(value), "")
    return (True, 0.0, str(value))


def _digest(asked: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in asked.items() if name not in ("NextToken", "MaxResults")}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:16]


def _token(asked: Mapping[str, Any], start: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([_digest(asked), start]).encode()).decode()


def _start(asked: Mapping[str, Any]) -> int:
    if "NextToken" not in asked:
        return 0
    try:
        digest, start = json.loads(base64.urlsafe_b64decode(asked["NextToken"]))
        is_ours = digest == _digest(asked)
    except (ValueError, TypeError, binascii.Error) as error:
        raise Refused("ValidationException", "Invalid pagination token") from error
    if not is_ours:
        raise Refused("ValidationException", "The NextToken was made for another search.")
    return int(start)


OPERATIONS: Mapping[str, Operation] = {"Search": search}
"""The operation of this module."""
