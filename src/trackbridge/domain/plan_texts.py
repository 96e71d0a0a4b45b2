"""What a plan changes, in words: the same on the command line and on pages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trackbridge.domain.plans import Change, Plan

VALUE_CHARS_MAX = 200


def summary_line(plan: Plan) -> str:
    """Return ``1 to create, 1 to update``, or that there is nothing to do."""
    counts: dict[str, int] = {}
    for change in plan.changes:
        if change.action.value != "keep":
            counts[change.action.value] = counts.get(change.action.value, 0) + 1
    return ", ".join(f"{count} to {action}" for action, count in counts.items()) or "nothing to do"


def field_lines(change: Change) -> Iterator[str]:
    """Yield each field of a change that differs: ``traffic.v1: 100 -> 90``.

    What the subject says already is left out, and so is what is nothing on both sides.
    """
    before, after = dict(_flat(change.before or {})), dict(_flat(change.after or {}))
    said = (None, *change.subject.partition(" ")[2].split("/"))
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        is_in_subject = name in ("endpoint", "deployment") and old in said and new in said
        if old == new or is_in_subject or (_is_nothing(old) and _is_nothing(new)):
            continue
        yield f"{name}: {_value(new)}" if change.before is None else f"{name}: {_value(old)} -> {_value(new)}"


def _flat(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _is_nothing(value: object) -> bool:
    return not value


def _value(value: object) -> str:
    if _is_nothing(value):
        return "(none)"
    return cut(str(value))


def cut(text: str) -> str:
    """Return a text, of a long one its beginning and what tells it from others that begin alike."""
    if len(text) <= VALUE_CHARS_MAX:
        return text
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]
    return f"{text[:VALUE_CHARS_MAX]}... ({len(text):,} characters, sha256 {digest})"
