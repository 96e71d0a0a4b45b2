"""Dated notes add up; notebooks are checked and previewed, never changed or executed."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from trackbridge.api import notes
from trackbridge.api.notes import append_note, encode_notebook
from trackbridge.errors import InvalidInput, NotFound

WHEN_MS = 1_700_000_000_999


def code(source: Any, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "outputs": list(outputs), "metadata": {}}


def notebook(folder: Path, *cells: Any, **fields: Any) -> Path:
    path = folder / "explore.ipynb"
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells), **fields}
    path.write_text(json.dumps(content))
    return path


def test_notes_add_up_in_order() -> None:
    first = append_note("", " why I dropped *x*\n", WHEN_MS)
    assert first == "**2023-11-14 22:13:20 UTC**\n\nwhy I dropped *x*"
    assert append_note(first, "more", WHEN_MS) == f"{first}\n\n**2023-11-14 22:13:20 UTC**\n\nmore"


def test_a_description_that_was_there_stays() -> None:
    assert append_note("# About\n", "n", WHEN_MS).startswith("# About\n\n**2023")


@pytest.mark.parametrize("text", ["", " \n", None, 3, b"x", "\ud800"])
def test_what_is_no_note_is_refused(text: Any) -> None:
    with pytest.raises(InvalidInput):
        append_note("", text, WHEN_MS)


@pytest.mark.parametrize("when_ms", [2**62, -(2**62), "now"])
def test_an_impossible_time_is_refused(when_ms: Any) -> None:
    with pytest.raises(InvalidInput):
        append_note("", "x", when_ms)


def test_the_file_is_kept_byte_for_byte_and_its_cells_are_shown(tmp_path: Path) -> None:
    path = notebook(
        tmp_path,
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        code("x = 1\nprint(x)", {"output_type": "stream", "name": "stdout", "text": ["1\n"]}),
        code(""),
        {"cell_type": "raw", "source": "raw"},
        metadata={"language_info": {"name": "python"}},
    )
    encoded = encode_notebook(path)
    assert encoded.content == path.read_bytes()
    assert encoded.preview == (
        "# Title\ntext\n\n```python\nx = 1\nprint(x)\n```\n\n```text\n1\n```\n\n```\nraw\n```\n"
    )


def test_only_text_outputs_are_shown(tmp_path: Path) -> None:
    table = {"text/plain": "   a\n0  1", "text/html": "<table onload=x>"}
    picture = {"text/plain": "<Figure size 640x480>", "image/png": "iVBORw0KGgo="}
    path = notebook(
        tmp_path,
        code(
            "f()",
            {"output_type": "execute_result", "data": table},
            {"output_type": "display_data", "data": picture},
            {"output_type": "display_data", "data": {"application/javascript": "alert(1)"}},
            {"output_type": "error", "ename": "KeyError", "evalue": "\x1b[31m'x'\x1b[0m", "traceback": ["…"]},
            {"output_type": "stream", "text": 3},
            {"output_type": "display_data", "data": []},
        ),
    )
    preview = encode_notebook(path).preview
    assert preview == "```\nf()\n```\n\n```text\n   a\n0  1\n```\n\n```text\nKeyError: 'x'\n```\n"


def test_cells_cannot_break_out_of_their_block_or_steer_a_terminal(tmp_path: Path) -> None:
    source = "````\n<script>\x1b]0;title\x07\x1b[2J\x00 \ud800"
    path = notebook(tmp_path, code(source), metadata={"language_info": {"name": "x\n```"}})
    assert encode_notebook(path).preview == "`````\n````\n<script> ?\n`````\n"


def test_long_outputs_and_notebooks_are_cut(tmp_path: Path) -> None:
    long_output = {"output_type": "stream", "text": "y" * 100_000}
    preview = encode_notebook(notebook(tmp_path, code("x", long_output))).preview
    assert preview.count("y") == notes.OUTPUT_CHARS_MAX
    assert "… 98,000 more characters" in preview
    big = notebook(tmp_path, *[code("z" * 1000)] * 1000)
    assert len(encode_notebook(big).preview) < notes.PREVIEW_CHARS_MAX + 100


def test_a_byte_order_mark_is_taken(tmp_path: Path) -> None:
    path = notebook(tmp_path, code("x"))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert encode_notebook(path).content.startswith(b"\xef\xbb\xbf")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"nbformat": 4}',
        b'{"nbformat": 4, "cells": {}}',
        b'{"nbformat": 3, "cells": []}',
        b'{"nbformat": true, "cells": []}',
        b'{"nbformat": "4", "cells": []}',
        b'{"nbformat": 4, "cells": [3]}',
        b'{"nbformat": 4, "cells": [{"cell_type": "code"}]}',
        b'{"nbformat": 4, "cells": [{"source": ""}]}',
        b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": [1]}]}',
        b"[" * 200_000,
    ],
)
def test_what_is_no_notebook_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.ipynb"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="is not a notebook"):
        encode_notebook(path)


def test_folders_and_pipes_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ipynb")
    for path in (tmp_path, tmp_path / "pipe.ipynb"):
        with pytest.raises(InvalidInput, match="not a file"):
            encode_notebook(path)


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    for name in ("none.ipynb", "a\0b"):
        with pytest.raises(NotFound):
            encode_notebook(tmp_path / name)


def test_an_oversized_notebook_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "NOTEBOOK_BYTES_MAX", 50)
    with pytest.raises(InvalidInput, match="more than 50 bytes"):
        encode_notebook(notebook(tmp_path, code("x" * 50)))
