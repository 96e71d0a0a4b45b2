"""What Azure refuses of a body before all else: Microsoft's own published shapes.

``shapes.json`` was made of the models that azure-ai-ml shipped (``tests/peers/azure_ml_sdk/make_shapes.py``),
which were generated from Azure's API specifications: members, which are required, patterns, bounds,
enumerations, kinds. Enumerations are compared without case, numbers are taken for texts: the service does
so (azure-ai-ml sends ``aadToken`` for ``AADToken``, and ``hash_version`` as a number). Members that no shape
knows pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from trackbridge.testing.emulators.azureml.refusal import Refused

DEPTH_MAX = 60
Shape = dict[str, Any]


class Violation(NamedTuple):
    """A member that breaks a rule: where, and the rule in words."""

    where: str
    message: str


def check(shape: str, content: Any, *, names: Mapping[str, str]) -> None:
    """Refuse a body that breaks its published shape, or a name in its path that breaks its pattern.

    Args:
        shape: The published model's name, such as ``ModelVersion``.
        content: The body.
        names: The parts of the path.

    Raises:
        Refused: With everything that is wrong (400).
    """
    found = [*_of_names(shape, names), *violations(shape, content)]
    if not found:
        return
    details = [{"code": "InvalidField", "target": item.where, "message": item.message} for item in found]
    message = "; ".join(f"{item.where}: {item.message}" for item in found)
    raise Refused(400, "ValidationError", f"The request is invalid. {message}", details=details)


def violations(shape: str, content: Any) -> list[Violation]:
    """Return everything that is wrong with a body."""
    return list(_of_model(shape, content, "", 0))


def model(name: str) -> Shape:
    """Return a published model: ``members``, and ``kinds`` when another model stands for it.

    Raises:
        KeyError: There is none of that name.
    """
    found: Shape = published()["models"][name]
    return found


@lru_cache(maxsize=1)
def published() -> Shape:
    """Return all shapes: ``source``, ``models``, ``enums``, ``names`` (patterns of a path's parts)."""
    found: Shape = json.loads((Path(__file__).parent / "shapes.json").read_text(encoding="utf-8"))
    return found


def _of_names(shape: str, names: Mapping[str, str]) -> Iterator[Violation]:
    patterns = published()["names"].get(shape, {})
    for name, value in names.items():
        pattern = patterns.get(name)
        if pattern is not None and not re.search(pattern, value):
            yield Violation(name, f"{value[:80]!r} does not match the pattern {pattern}")


def _of_model(name: str, value: Any, where: str, depth: int) -> Iterator[Violation]:
    known = published()["models"].get(name)
    if known is None or depth > DEPTH_MAX:
        return
    if not isinstance(value, dict):
        yield Violation(where or "body", "an object is expected")
        return
    kinds = known.get("kinds")
    if kinds:
        kind = next((key for key in value if key.lower() == kinds["by"].lower()), None)
        chosen = kinds["models"].get(str(value[kind]).lower()) if kind else None
        if chosen is None:
            yield Violation(f"{where}{kinds['by']}", f"must be one of {sorted(kinds['models'])}")
            return
        if chosen != name:
            yield from _of_model(chosen, value, where, depth + 1)
            return
    given = {key.lower(): item for key, item in value.items()}
    for member, rule in known["members"].items():
        item = given.get(member.lower())
        if item is None:
            if rule.get("required"):
                yield Violation(f"{where}{member}", "is required")
        elif not rule.get("readonly"):
            yield from _of_value(rule, item, f"{where}{member}", depth)


def _of_value(rule: Mapping[str, Any], value: Any, where: str, depth: int) -> Iterator[Violation]:
    kind = rule["type"]
    if kind[:1] in ("[", "{"):
        yield from _of_items(kind, value, where, depth)
    elif kind in published()["enums"]:
        allowed = published()["enums"][kind]
        if str(value).lower() not in {str(item).lower() for item in allowed}:
            yield Violation(where, f"{str(value)[:80]!r} is none of {allowed}")
    elif kind in published()["models"]:
        yield from _of_model(kind, value, f"{where}.", depth + 1)
    else:
        yield from _of_scalar(rule, kind, value, where)


def _of_items(kind: str, value: Any, where: str, depth: int) -> Iterator[Violation]:
    """Check a list or a map: ``[str]``, ``{int}``."""
    inner = {"type": kind[1:-1]}
    if kind[0] == "[" and isinstance(value, list):
        named = [(f"{where}[{number}]", item) for number, item in enumerate(value)]
    elif kind[0] == "{" and isinstance(value, dict):
        named = [(f"{where}.{key}", item) for key, item in value.items()]
    else:
        yield Violation(where, "a list is expected" if kind[0] == "[" else "an object is expected")
        return
    for place, item in named:
        if item is not None:
            yield from _of_value(inner, item, place, depth + 1)


def _of_scalar(rule: Mapping[str, Any], kind: str, value: Any, where: str) -> Iterator[Violation]:
    if kind == "str":
        if not isinstance(value, (str, int, float)):
            yield Violation(where, "a text is expected")
            return
        yield from _of_text(rule, str(value), where)
    elif kind == "bool" and not isinstance(value, bool) and str(value).lower() not in ("true", "false"):
        yield Violation(where, "true or false is expected")
    elif kind in ("int", "long", "float"):
        try:
            number = float(value)
        except (TypeError, ValueError):
            yield Violation(where, "a number is expected")
            return
        low, high = rule.get("minimum"), rule.get("maximum")
        if (low is not None and number < low) or (high is not None and number > high):
            yield Violation(where, f"{value} is not within {low} and {high}")


def _of_text(rule: Mapping[str, Any], value: str, where: str) -> Iterator[Violation]:
    low, high, pattern = rule.get("min_length"), rule.get("max_length"), rule.get("pattern")
    if low is not None and len(value) < low:
        yield Violation(where, f"must have {low} characters or more")
    if high is not None and len(value) > high:
        yield Violation(where, f"must have {high} characters or fewer")
    if pattern is not None and not re.search(pattern, value):
        yield Violation(where, f"{value[:80]!r} does not match the pattern {pattern}")
