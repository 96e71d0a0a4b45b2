"""``bridge`` in a page that is run: it confirms by itself, since nobody is at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from trackbridge.cli.main import bridge, run

ASKS_NOTHING = frozenset({"--yes", "-y", "--plan", "--help", "-h"})


def confirmed(words: Sequence[str]) -> list[str]:
    """Return the words with ``--yes`` where their command knows it."""
    command: click.Command = bridge
    for word in words:
        child = (
            command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
        )
        if child is None:
            break
        command = child
    asks = any("--yes" in parameter.opts for parameter in command.params)
    if not asks or ASKS_NOTHING & set(words):
        return list(words)
    end = list(words).index("--") if "--" in words else len(words)
    return [*words[:end], "--yes", *words[end:]]


if __name__ == "__main__":
    sys.exit(run(confirmed(sys.argv[1:])))
