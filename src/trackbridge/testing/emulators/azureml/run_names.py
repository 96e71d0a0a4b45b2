"""Runs of jobs are called what their jobs are: the MLflow server behind knows them by other ids."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

_KEYS = frozenset({"run_id", "run_uuid", "source_run_id"})
_LISTS = frozenset({"run_ids"})
_QUOTED = re.compile(r"(['\"])([\w-]+)\1")


class RunNames:
    """Names of runs, and the ids that the MLflow server gave them."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def add(self, name: str, run_id: str) -> None:
        """Remember a run's name."""
        self._ids[name], self._names[run_id] = run_id, name

    def remove(self, name: str) -> None:
        """Forget the name of a run that was deleted."""
        self._names.pop(self._ids.pop(name, ""), None)

    def id_of(self, name: str) -> str:
        """Return the id by which the server knows a run."""
        return self._ids.get(name, name)

    def inward(self, body: bytes) -> bytes:
        """Return a request's body as the server takes it."""
        if not any(f'"{name}"'.encode() in body or f"'{name}'".encode() in body for name in self._ids):
            return body
        asked = json.loads(body)
        if isinstance(asked, dict) and "run_id" in str(asked.get("filter", "")):
            asked["filter"] = _QUOTED.sub(
                lambda found: f"{found[1]}{self.id_of(found[2])}{found[1]}", asked["filter"]
            )
        return json.dumps(_replaced(asked, self._ids)).encode()

    def inward_query(self, query: str) -> str:
        """Return a request's query as the server takes it."""
        if not any(name in query for name in self._ids):
            return query
        pairs = parse_qsl(query, keep_blank_values=True)
        known = _KEYS | _LISTS
        return urlencode([(key, self.id_of(value) if key in known else value) for key, value in pairs])

    def outward(self, content: Any) -> Any:
        """Return what the server answered with the runs' own names."""
        return _replaced(content, self._names) if self._names else content


def _replaced(value: Any, by: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_replaced(item, by) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {key: _replaced(item, by) for key, item in value.items()}
    for key, item in value.items():
        if key in _KEYS and isinstance(item, str):
            changed[key] = by.get(item, item)
        elif key in _LISTS and isinstance(item, list):
            changed[key] = [by.get(one, one) if isinstance(one, str) else one for one in item]
    return changed
