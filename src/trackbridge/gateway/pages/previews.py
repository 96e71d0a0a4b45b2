"""A look into an artifact: images, tables, JSON, text, Markdown, notebooks; of bounded size.

What is shown is data: everything becomes text, except for images, which the browser draws as such. The bytes
themselves are handed out by ``raw_file`` with headers under which nothing in them can run.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import quote

from markupsafe import Markup
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from trackbridge.api.client import Client
from trackbridge.domain.artifacts import ArtifactInfo, checked_path
from trackbridge.gateway.pages.layout import Pages, View
from trackbridge.gateway.pages.markdown import rendered
from trackbridge.gateway.pages.notebooks import NOTHING, Cell, cells_of

TEXT_BYTES_MAX = 256 * 1024
STRUCTURED_BYTES_MAX = 4 * 1024 * 1024
"""JSON and notebooks are read whole, or shown as text."""
IMAGE_BYTES_MAX = 32 * 1024 * 1024
ROWS_MAX = 100
COLUMNS_MAX = 50
DIFF_LINES_MAX = 4000
BLOCK_BYTES = 1024 * 1024

IMAGE_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".svg": "image/svg+xml",
}
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_RAW_HEADERS = {
    # An SVG or a page opened by itself gets an origin of its own, without scripts.
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Preview:
    """What of a file is shown: ``kind`` says how, ``note`` what is missing."""

    path: str
    kind: str
    size: int | None = None
    text: str = ""
    html: Markup = NOTHING
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    cells: tuple[Cell, ...] = ()
    lines: tuple[tuple[str, str], ...] = ()
    note: str = ""


def artifact_page_routes(pages: Pages) -> list[Route]:
    """Return the route that hands out the bytes of artifacts."""
    return [pages.route("/runs/{run_id}/file", raw_file)]


def preview_of(client: Client, run_id: str, path: str) -> Preview:
    """Return a look into a file of a run.

    Raises:
        NotFound: There is no such file.
        InvalidInput: The path is none.
    """
    info = client.reader.artifacts.stat(run_id, checked_path(path))
    ending = PurePosixPath(path).suffix.lower()
    if info.is_dir:
        return Preview(path, "folder")
    if ending in IMAGE_TYPES:
        is_large = (info.file_size or 0) > IMAGE_BYTES_MAX
        note = "too large to be shown here" if is_large else ""
        return Preview(path, "none" if is_large else "image", info.file_size, note=note)
    with client.reader.artifacts.open(run_id, path) as file:
        return _of_content(info, ending, file)


def _of_content(info: ArtifactInfo, ending: str, file: BinaryIO) -> Preview:
    is_structured = ending in (".json", ".ipynb")
    limit = STRUCTURED_BYTES_MAX if is_structured else TEXT_BYTES_MAX
    content = _read(file, limit + 1)
    is_whole = len(content) <= limit
    size = info.file_size if info.file_size is not None else len(content)
    if not content:
        return Preview(info.path, "none", size, note="empty")
    if b"\0" in content[:8192]:
        return Preview(info.path, "none", size, note="not text")
    if is_structured and is_whole:
        found = _structured(info.path, ending, content, size)
        if found is not None:
            return found
    text = content[:TEXT_BYTES_MAX].decode(errors="replace")
    note = "" if is_whole and len(content) <= TEXT_BYTES_MAX else f"only the first {TEXT_BYTES_MAX:,} bytes"
    if ending in _DELIMITERS:
        return _table_of_text(info.path, text, _DELIMITERS[ending], size, note)
    if ending in (".md", ".markdown"):
        return Preview(info.path, "markdown", size, html=rendered(text), note=note)
    if ending in (".diff", ".patch"):
        return Preview(info.path, "diff", size, lines=_marked(text.splitlines()), note=note)
    kind = "mlmodel" if PurePosixPath(info.path).name == "MLmodel" else "text"
    return Preview(info.path, kind, size, text=text, note=note)


def difference_of(before: Preview, after: Preview) -> Preview | None:
    """Return in which lines two texts differ; None where they are no texts, or too long to be compared."""
    texts = [before.text, after.text]
    if (
        before.note
        or after.note
        or not all(texts)
        or sum(text.count("\n") for text in texts) > DIFF_LINES_MAX
    ):
        return None
    lines = difflib.unified_diff(before.text.splitlines(), after.text.splitlines(), lineterm="")
    return Preview(before.path, "diff", lines=_marked(list(lines)[2:]))


def _marked(lines: Sequence[str]) -> tuple[tuple[str, str], ...]:
    kinds = {"+": "added", "-": "removed"}
    return tuple((kinds.get(line[:1], "same"), line) for line in lines)


def _read(file: BinaryIO, bytes_max: int) -> bytes:
    blocks, left = [], bytes_max
    while left > 0 and (block := file.read(min(left, BLOCK_BYTES))):
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)


def _structured(path: str, ending: str, content: bytes, size: int) -> Preview | None:
    """Return JSON with indents, a logged table as a table, a notebook as its cells; None for what is none."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if ending == ".ipynb":
        cells, note = cells_of(value)
        return Preview(path, "notebook", size, cells=cells, note=note) if cells else None
    table = _logged_table(path, value, size)
    if table is not None:
        return table
    try:
        text = _indented(value)
    except RecursionError:  # it is read without Python's stack, and written with it
        return None
    note = "" if len(text) <= TEXT_BYTES_MAX else f"only the first {TEXT_BYTES_MAX:,} characters"
    return Preview(path, "text", size, text=text[:TEXT_BYTES_MAX], note=note)


def _indented(value: Any) -> str:
    """Return JSON with indents, not much more than is shown: a deep list may have gigabytes of them."""
    parts, count = [], 0
    for part in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(value):
        parts.append(part)
        count += len(part)
        if count > TEXT_BYTES_MAX:
            break
    return "".join(parts)


def _logged_table(path: str, value: Any, size: int) -> Preview | None:
    """Return what ``log_table`` wrote: ``{"columns": […], "data": [[…], …]}``."""
    if not isinstance(value, dict) or set(value) != {"columns", "data"}:
        return None
    columns, data = value["columns"], value["data"]
    if not isinstance(columns, list) or not isinstance(data, list):
        return None
    rows = [row for row in data[:ROWS_MAX] if isinstance(row, list)]
    shown = tuple(tuple(_cell(item) for item in row[:COLUMNS_MAX]) for row in rows)
    header = tuple(str(column) for column in columns[:COLUMNS_MAX])
    return Preview(path, "table", size, header=header, rows=shown, note=_rows_note(len(data), len(columns)))


def _cell(item: object) -> str:
    return item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)


def _rows_note(rows: int, columns: int) -> str:
    parts = [f"the first {ROWS_MAX} of {rows:,} rows"] if rows > ROWS_MAX else []
    parts += [f"the first {COLUMNS_MAX} of {columns:,} columns"] if columns > COLUMNS_MAX else []
    return ", ".join(parts)


def _table_of_text(path: str, text: str, delimiter: str, size: int, note: str) -> Preview:
    rows: list[tuple[str, ...]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            rows.append(tuple(row[:COLUMNS_MAX]))
            if len(rows) > ROWS_MAX:
                note = note or f"only the first {ROWS_MAX} rows"
                break
    except csv.Error:
        return Preview(path, "text", size, text=text, note=note)
    header, body = (rows[0], rows[1 : ROWS_MAX + 1]) if rows else ((), [])
    return Preview(path, "table", size, header=header, rows=tuple(body), note=note)


def raw_file(view: View) -> Response:
    """Hand out the bytes of a file: images to look at, everything else to save."""
    run_id, path = view.part("run_id"), checked_path(view.value("path"))
    view.client.reader.drain()
    info = view.client.reader.artifacts.stat(run_id, path)
    file = view.client.reader.artifacts.open(run_id, path)
    kind = IMAGE_TYPES.get(PurePosixPath(path).suffix.lower())
    name = quote(PurePosixPath(path).name, safe="")
    is_shown = kind is not None and view.value("save") != "1"
    headers = {
        **_RAW_HEADERS,
        "Content-Disposition": f"{'inline' if is_shown else 'attachment'}; filename*=UTF-8''{name}",
    }
    if info.file_size is not None:
        headers["Content-Length"] = str(info.file_size)
    media_type = kind if is_shown and kind else "application/octet-stream"
    return StreamingResponse(_blocks(file), headers=headers, media_type=media_type)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while block := file.read(BLOCK_BYTES):
            yield block
