"""The exploratory part of a run: dated notes in its description, and notebooks."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from trackbridge.errors import InvalidInput, NotFound

NOTEBOOK_BYTES_MAX = 64 * 1024 * 1024
PREVIEW_CHARS_MAX = 200_000
OUTPUT_CHARS_MAX = 2_000

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_LANGUAGE = re.compile(r"[A-Za-z0-9_+#-]{1,30}")


@dataclass(frozen=True, slots=True)
class EncodedNotebook:
    """The notebook's file as it is, and its cells as markdown."""

    content: bytes
    preview: str


def append_note(existing: str, text: str, when_ms: int) -> str:
    """Return a run's description with one more dated entry, in markdown.

    Args:
        existing: The description so far; it stays as it is.
        text: The note, itself markdown.
        when_ms: Milliseconds since 1970.

    Raises:
        InvalidInput: The note is not text, blank, or not valid Unicode; or the time is beyond the year 9999.
    """
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput("a note is text that is not blank", operation="note", hint='note("why …")')
    if _has_surrogates(text):
        raise InvalidInput("the note is not valid Unicode (a lone surrogate)", operation="note")
    entry = f"**{_utc(when_ms)}**\n\n{text.strip()}"
    return f"{existing.rstrip()}\n\n{entry}" if existing.strip() else entry


def encode_notebook(path: str | os.PathLike[str]) -> EncodedNotebook:
    """Read a Jupyter notebook and render its cells; nothing is executed and nothing in it is changed.

    The preview holds the cells' source and their text outputs, each output cut to 2,000 characters and
    the whole to 200,000. Pictures, HTML and escape sequences are left out. Markdown cells may hold HTML: who
    displays the preview must treat it as untrusted.

    Raises:
        NotFound: There is no such file.
        InvalidInput: It is not a notebook of format 4, or has more than 64 MiB.
    """
    content = _read(Path(path))
    notebook = _parsed(content, str(path))
    return EncodedNotebook(content, _cut(_preview(notebook, str(path)), PREVIEW_CHARS_MAX))


def _utc(when_ms: int) -> str:
    try:
        return f"{_EPOCH + timedelta(milliseconds=when_ms):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, TypeError) as error:
        raise InvalidInput(f"{when_ms!r} is no time in milliseconds since 1970", operation="note") from error


def _read(path: Path) -> bytes:
    if not os.path.exists(path):
        raise NotFound(f"there is no notebook at {str(path)!r}", operation="log_notebook")
    if not os.path.isfile(path):
        raise _not_a_notebook(str(path), "it is not a file")
    try:
        with open(path, "rb") as file:
            content = file.read(NOTEBOOK_BYTES_MAX + 1)
    except OSError as error:
        raise _not_a_notebook(str(path), str(error)) from error
    if len(content) > NOTEBOOK_BYTES_MAX:
        raise InvalidInput(
            f"the notebook {str(path)!r} has more than {NOTEBOOK_BYTES_MAX:,} bytes",
            operation="log_notebook",
            hint="clear its outputs, or log it with log_artifact",
        )
    return content


def _parsed(content: bytes, path: str) -> dict[str, Any]:
    try:
        notebook = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise _not_a_notebook(path, f"it is not JSON: {error}") from error
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise _not_a_notebook(path, "it has no list of cells (format 4)")
    if type(notebook.get("nbformat")) is not int or notebook["nbformat"] < 4:
        raise _not_a_notebook(path, f"its nbformat is {str(notebook.get('nbformat'))[:20]!r}, not 4")
    return notebook


def _preview(notebook: dict[str, Any], path: str) -> str:
    language = _language(notebook.get("metadata"))
    parts: list[str] = []
    length = 0
    for index, cell in enumerate(notebook["cells"]):
        part = _cell_preview(cell, language)
        if part is None:
            raise _not_a_notebook(path, f"cell {index} has no type and source")
        parts.append(part)
        length += len(part)
        if length > PREVIEW_CHARS_MAX:
            break
    return "\n\n".join(part for part in parts if part) + "\n"


def _cell_preview(cell: Any, language: str) -> str | None:
    """Return a cell as markdown, None when it is malformed."""
    source = _text(cell.get("source")) if isinstance(cell, dict) else None
    if source is None or not isinstance(cell.get("cell_type"), str):
        return None
    if cell["cell_type"] == "markdown":
        return source
    outputs = cell.get("outputs")
    shown = [_output_text(output) for output in outputs] if isinstance(outputs, list) else []
    blocks = [_fenced(source, language if cell["cell_type"] == "code" else "")]
    blocks += [_fenced(_cut(text, OUTPUT_CHARS_MAX), "text") for text in shown if text]
    return "\n\n".join(blocks) if source.strip() or len(blocks) > 1 else ""


def _output_text(output: Any) -> str:
    """Return the text of an output, empty when it has none."""
    if not isinstance(output, dict):
        return ""
    kind, data = output.get("output_type"), output.get("data")
    if kind == "stream":
        return _text(output.get("text")) or ""
    if kind == "error":
        return _cleaned(f"{output.get('ename', '')}: {output.get('evalue', '')}")
    if not isinstance(data, dict) or any(name.startswith("image/") for name in data):
        return ""  # the text beside a picture is only "<Figure size …>"
    return _text(data.get("text/plain")) or ""


def _text(value: Any) -> str | None:
    """Return nbformat's multi-line text (a text, or a list of lines) as one, None when it is neither."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "".join(value)
    return _cleaned(value).strip("\n") if isinstance(value, str) else None


def _cleaned(text: str) -> str:
    text = _CONTROL.sub("", _ESCAPE_SEQUENCE.sub("", text.replace("\r\n", "\n")))
    return text.encode(errors="replace").decode()


def _fenced(text: str, language: str) -> str:
    """Return a code block whose fence is longer than any run of backticks in it."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _language(metadata: Any) -> str:
    described = metadata.get("language_info") if isinstance(metadata, dict) else None
    name = described.get("name") if isinstance(described, dict) else None
    return name if isinstance(name, str) and _LANGUAGE.fullmatch(name) else ""


def _cut(text: str, chars_max: int) -> str:
    if len(text) <= chars_max:
        return text
    return f"{text[:chars_max]}\n… {len(text) - chars_max:,} more characters"


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _not_a_notebook(path: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"{path!r} is not a notebook: {why}",
        operation="log_notebook",
        hint="save it from Jupyter as .ipynb; log other files with log_artifact",
    )
