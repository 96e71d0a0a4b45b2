"""What two registries agreed on, as it may be kept: of what looks like a secret only a digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from trackbridge.domain.secrets import has_secret_shape, is_secret_name

State = Mapping[str, "str | None"]

CONCEALED = "concealed sha256:"


def concealed(state: State) -> dict[str, str | None]:
    """Return the fields of an item without what looks like a secret: its digest stands for it."""
    return {what: _concealed(what, value) for what, value in state.items()}


def revealed(base: State, *states: State) -> dict[str, str | None]:
    """Return an agreed state with the values in place of digests, where one of the states still has them."""
    return {what: _revealed(what, value, states) for what, value in base.items()}


def _concealed(what: str, value: str | None) -> str | None:
    name = what.partition(":")[2] or what
    if not value or not (is_secret_name(name) or has_secret_shape(value)):
        return value
    return CONCEALED + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def _revealed(what: str, value: str | None, states: tuple[State, ...]) -> str | None:
    if value is None or not value.startswith(CONCEALED):
        return value
    held = (state.get(what) for state in states)
    return next((found for found in held if _concealed(what, found) == value), value)
