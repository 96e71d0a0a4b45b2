"""The answers of two servers, side by side, and which declared gap each difference belongs to."""

from __future__ import annotations

import re
from typing import Any

from trackbridge.gateway.gaps import GAPS, Gap

ABSENT = "(absent)"


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return the leaves of a tree by their paths; what is empty is a leaf."""
    items = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if not items:
        return {path: value}
    return {place: leaf for key, inner in items for place, leaf in flat(inner, f"{path}/{key}").items()} or {
        path: value
    }


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what differs, as mlflow has it and as we have it, by call and path of the field."""
    real, found = flat(theirs), flat(ours)
    return {
        place.lstrip("/"): (real.get(place, ABSENT), found.get(place, ABSENT))
        for place in dict.fromkeys([*real, *found])
        if real.get(place, ABSENT) != found.get(place, ABSENT)
    }


def undeclared(found: dict[str, tuple[Any, Any]], backend: str) -> dict[str, tuple[Any, Any]]:
    """Return the differences that no gap of the backend names."""
    known = [re.compile(where) for gap in GAPS if gap.is_of(backend) for where in gap.where]
    return {
        place: both for place, both in found.items() if not any(where.fullmatch(place) for where in known)
    }


def gone(found: set[str], backend: str) -> list[tuple[Gap, str]]:
    """Return the patterns of gaps of a backend that name no difference any more."""
    return [
        (gap, where)
        for gap in GAPS
        if gap.is_of(backend)
        for where in gap.where
        if not any(re.fullmatch(where, place) for place in found)
    ]
