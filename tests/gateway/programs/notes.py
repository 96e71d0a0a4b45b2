"""What a program of mlflow's was answered, written so that two servers' answers can be compared.

Ids become the names that the program gave them, moments of the run become ``<now>``, page tokens whether
there was one. Everything else stays as it is, with its type.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

BEFORE_MS = 24 * 60 * 60_000
"""How far a server's clock, or a moment that a client took before, may lie from the program's beginning."""

RANDOM_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")
LONG_ID_CHARS = 16
OTHER_IDS = re.compile(r"[0-9a-f]{32}")
ADDRESSED = re.compile(r"(mlflow-artifacts:/)(\d+)\b")
"""An experiment's id in an address: short ones are replaced nowhere else but in their own fields."""


class Notes:
    """Answers by the label of their call, in the order of the calls."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.answers: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._since_ms = time.time() * 1000 - BEFORE_MS

    def named(self, kind: str, name: str) -> None:
        """Give an id that a server made a name."""
        self._names.setdefault(str(name), f"<{kind}>")

    def __call__(self, label: str, call: Callable[[], Any], show: Callable[[Any], Any] | None = None) -> Any:
        """Note what a call returns or how it fails; return what it returns, or None."""
        assert label not in self.answers, f"{label} is noted twice"
        try:
            answer = call()
            self.answers[label] = self.plain(answer if show is None else show(answer))
        except Exception as error:
            self.answers[label] = self._failure(error)
            return None
        return answer

    def _failure(self, error: Exception) -> dict[str, Any]:
        told: dict[str, Any] = {"fails": type(error).__name__, "code": getattr(error, "error_code", None)}
        response = getattr(error, "response", None)
        if response is not None:  # of requests: mlflow's client of artifacts lets it through
            told |= {"status": response.status_code, "code": _code_of(response)}
        elif told["code"] is None and not isinstance(error, OSError):
            told["message"] = self._text(str(error))[:300]
        return told

    def plain(self, value: Any, field: str = "") -> Any:
        """Return an answer as JSON can hold it; ``field`` is what holds it."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            return self._number(value)
        if isinstance(value, str):
            return self._text(value, field)
        if isinstance(value, Mapping):
            return {self._text(str(key)): self.plain(inner, str(key)) for key, inner in value.items()}
        if isinstance(value, Sequence | set):
            return _ordered([self.plain(inner, field) for inner in value])
        return self._entity(value)

    def _number(self, value: float) -> Any:
        if not math.isfinite(value):
            return repr(value)
        return "<now>" if self._since_ms <= value <= time.time() * 1000 + BEFORE_MS else value

    def _entity(self, value: Any) -> Any:
        if hasattr(value, "to_dictionary"):
            return self.plain(value.to_dictionary())
        try:
            fields = dict(value)
        except TypeError:
            fields = vars(value) if hasattr(value, "__dict__") else {"value": str(value)}
        return self.plain({name.lstrip("_"): inner for name, inner in fields.items()})

    def _text(self, text: str, field: str = "") -> str:
        if field.endswith("experiment_id") and text in self._names:
            return self._names[text]
        if RANDOM_NAME.fullmatch(text):
            return "<random name>"
        for known in sorted(self._names, key=len, reverse=True):  # one may begin with another
            if len(known) >= LONG_ID_CHARS:
                text = text.replace(known, self._names[known])
        text = OTHER_IDS.sub("<id>", ADDRESSED.sub(self._addressed, text))
        return text.replace(self.mark, "<mark>")

    def _addressed(self, address: re.Match[str]) -> str:
        return f"{address[1]}{self._names.get(address[2], address[2])}"


def _ordered(items: list[Any]) -> list[Any]:
    """Sort points, which no server orders."""
    if items and all(isinstance(item, dict) and "key" in item for item in items):
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
    return items


def _code_of(response: Any) -> str | None:
    try:
        return str(response.json()["error_code"])
    except (ValueError, KeyError):
        return None
