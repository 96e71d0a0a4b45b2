"""The cells of a Jupyter notebook for a page: their text, their text outputs and their PNG and JPEG pictures.

HTML, SVG and scripts in outputs are left out: a notebook is data of others, and nothing in it is executed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from trackbridge.gateway.pages.markdown import rendered

CELLS_MAX = 200
OUTPUT_CHARS_MAX = 20_000
PICTURE_CHARS_MAX = 3_000_000
_PICTURES = ("image/png", "image/jpeg")
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*")
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")

NOTHING = Markup("")


@dataclass(frozen=True)
class Cell:
    """A cell: Markdown as HTML, or code with its outputs. ``pictures`` are ``data:`` addresses."""

    html: Markup = NOTHING
    code: str = ""
    outputs: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()


def cells_of(notebook: Any) -> tuple[tuple[Cell, ...], str]:
    """Return the cells of a parsed notebook and what is missing of it; no cells where it is none."""
    listed = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(listed, list):
        return (), ""
    cells = tuple(_cell(cell) for cell in listed[:CELLS_MAX] if isinstance(cell, dict))
    note = f"the first {CELLS_MAX} of {len(listed):,} cells" if len(listed) > CELLS_MAX else ""
    return cells, note


def _cell(cell: dict[str, Any]) -> Cell:
    source = _text(cell.get("source"))[:OUTPUT_CHARS_MAX]
    if cell.get("cell_type") == "markdown":
        return Cell(html=rendered(source))
    outputs = cell.get("outputs")
    texts, pictures = [], []
    for output in outputs if isinstance(outputs, list) else []:
        if isinstance(output, dict):
            texts.append(_output_text(output))
            pictures += _pictures(output)
    return Cell(code=source, outputs=tuple(filter(None, texts)), pictures=tuple(pictures))


def _text(value: Any) -> str:
    """Return nbformat's text: a string, or a list of lines."""
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""


def _data(output: dict[str, Any]) -> dict[str, Any]:
    data = output.get("data")
    return data if isinstance(data, dict) else {}


def _output_text(output: dict[str, Any]) -> str:
    if output.get("output_type") == "error":
        traceback = output.get("traceback")
        text = (
            "\n".join(part for part in traceback if isinstance(part, str))
            if isinstance(traceback, list)
            else ""
        )
    else:
        text = _text(output.get("text")) or _text(_data(output).get("text/plain"))
    plain = _ESCAPE_SEQUENCE.sub("", text)
    return plain if len(plain) <= OUTPUT_CHARS_MAX else f"{plain[:OUTPUT_CHARS_MAX]}\n…"


def _pictures(output: dict[str, Any]) -> list[str]:
    found = []
    for kind in _PICTURES:
        encoded = _text(_data(output).get(kind))
        if encoded and len(encoded) <= PICTURE_CHARS_MAX and _BASE64.fullmatch(encoded):
            found.append(f"data:{kind};base64,{''.join(encoded.split())}")
    return found
