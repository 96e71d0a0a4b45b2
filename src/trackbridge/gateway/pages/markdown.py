"""Markdown of others as HTML that cannot run anything and loads nothing."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_core import StateCore

CHARS_MAX = 200_000
CELLS_MAX = 50_000
"""Of tables: a short row is filled up to the length of its heading, so few characters make many cells."""


@functools.cache
def _renderer(*, has_tables: bool) -> MarkdownIt:
    """HTML in the text is shown as text, addresses that run script are no links, pictures become links."""
    from markdown_it import MarkdownIt

    renderer = MarkdownIt("commonmark", {"html": False}).enable("strikethrough").disable("image")
    if has_tables:
        renderer.enable("table")
    renderer.core.ruler.push("lower_headings", _lower_headings)
    return renderer


def _lower_headings(state: StateCore) -> None:
    """Put the headings of a note below those of the page."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"


def rendered(text: str) -> Markup:
    """Return Markdown as HTML, at most its first 200,000 characters; too large tables stay text."""
    lines = text[:CHARS_MAX].splitlines()
    columns = max((line.count("|") + 1 for line in lines), default=0)
    renderer = _renderer(has_tables=columns * len(lines) <= CELLS_MAX)
    return Markup(renderer.render(text[:CHARS_MAX]))
