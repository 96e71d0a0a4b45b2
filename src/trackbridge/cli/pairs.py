"""``name=value`` as options take them."""

from __future__ import annotations

from collections.abc import Iterable

import click


def pairs_of(texts: Iterable[str], option: str) -> dict[str, str]:
    """Return pairs by their names, in the order given.

    Raises:
        UsageError: One has no ``=``, no name, or a name that was given with another value before.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise click.UsageError(f"{option} takes NAME=VALUE, not {text!r}", click.get_current_context())
        if found.get(name, value) != value:
            raise click.UsageError(f"{option} names {name!r} twice", click.get_current_context())
        found[name] = value
    return found
