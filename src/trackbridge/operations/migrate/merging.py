"""Three states of one item: the last that was agreed on, and what became of it on either side.

::

    base = source          -> the target's is taken        nothing was changed here
    base = target          -> the source's is taken        nothing was changed there
    source = target        -> nothing to do
    all three differ       -> a clash: shown, and never guessed unless a policy was given

Without a base, where the two are compared for the first time, something beats nothing and all else that
differs is a clash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

import msgspec

Values = Mapping[str, "str | None"]

NOTHING = (None, "", "None", "pending")
"""What a field is where nobody has said anything."""
KEPT_PREFIX = "bridge.conflict."
"""Tags that hold the value which lost, where both are to be kept."""


class Policy(str, Enum):
    """What is done about a clash."""

    FAIL = "fail"
    NEWER = "newer"
    SOURCE = "source"
    TARGET = "target"
    KEEP_BOTH = "keep-both"


class Clash(msgspec.Struct, frozen=True, kw_only=True):
    """A field that was changed on both sides, to different values."""

    subject: str
    what: str
    base: str | None
    source: str | None
    target: str | None


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be set on each side, what clashes undecided, and what both agree on afterwards."""

    to_source: dict[str, str | None]
    to_target: dict[str, str | None]
    clashes: tuple[Clash, ...]
    agreed: dict[str, str | None]


def merge(
    subject: str,
    base: Values | None,
    source: Values,
    target: Values,
    *,
    policy: Policy = Policy.FAIL,
    source_is_newer: Callable[[str], bool | None] = lambda what: None,
) -> Merged:
    """Merge two states of one item.

    Args:
        subject: The item, for what is told of clashes.
        base: The state that was agreed on last; None where there is none.
        source: The state at the source; a field that is missing is None.
        target: The state at the target.
        policy: What is done about clashes.
        source_is_newer: Tells for ``Policy.NEWER`` whether a field was changed later at the source; None
            where that is not known, so that the clash stays one.
    """
    merged = Merged(to_source={}, to_target={}, clashes=(), agreed={})
    clashes: list[Clash] = []
    for what in sorted({*source, *target, *(base or {})}):
        here, there = source.get(what), target.get(what)
        chosen = _chosen(base, what, here, there)
        if chosen is None:
            before = (base or {}).get(what)
            clash = Clash(subject=subject, what=what, base=before, source=here, target=there)
            chosen = _decided(clash, policy, source_is_newer, merged)
        if chosen is None:
            clashes.append(clash)
            if base is not None and what in base:
                merged.agreed[what] = base[what]
            continue
        _set(merged, what, chosen[0], here, there)
    return msgspec.structs.replace(merged, clashes=tuple(clashes))


def _chosen(base: Values | None, what: str, here: str | None, there: str | None) -> tuple[str | None] | None:
    """Return the value that both are to have, in a tuple; None where they clash."""
    if here == there:
        return (here,)
    if base is None or what not in base:
        if here in NOTHING:
            return (there,)
        return (here,) if there in NOTHING else None
    if here == base[what]:
        return (there,)
    return (here,) if there == base[what] else None


def _decided(
    clash: Clash, policy: Policy, source_is_newer: Callable[[str], bool | None], merged: Merged
) -> tuple[str | None] | None:
    is_newer = source_is_newer(clash.what) if policy is Policy.NEWER else None
    if policy is Policy.FAIL or (policy is Policy.NEWER and is_newer is None):
        return None
    takes_source = policy in (Policy.SOURCE, Policy.KEEP_BOTH) or bool(is_newer)
    if policy is Policy.KEEP_BOTH:
        _set(merged, f"tag:{KEPT_PREFIX}{clash.what}", clash.target or "", None, None)
    return (clash.source,) if takes_source else (clash.target,)


def _set(merged: Merged, what: str, value: str | None, here: str | None, there: str | None) -> None:
    if value != here:
        merged.to_source[what] = value
    if value != there:
        merged.to_target[what] = value
    merged.agreed[what] = value
