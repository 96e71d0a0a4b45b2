"""Markdown of others as HTML that cannot run anything and loads nothing."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_core import StateCore

CHARS_MAX = 200_000


@functools.cache
def _renderer() -> MarkdownIt:
    """HTML in the text is shown as text, addresses that run script are no links, pictures become links."""
    from markdown_it import MarkdownIt

    renderer = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("image")
    renderer.core.ruler.push("lower_headings", _lower_headings)
    return renderer


def _lower_headings(state: StateCore) -> None:
    """Put the headings of a note below those of the page."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"


def rendered(text: str) -> Markup:
    """Return Markdown as HTML, at most its first 200,000 characters."""
    return Markup(_renderer().render(text[:CHARS_MAX]))
