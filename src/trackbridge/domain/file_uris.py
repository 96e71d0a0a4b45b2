"""The one spelling of a local folder as a tracking URI: ``file:/absolute/path``, percent-encoded."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote


def file_uri(folder: Path) -> str:
    """Return the URI of a folder; the folder is made absolute, its symbolic links are resolved."""
    return "file:" + quote(folder.resolve().as_posix(), safe="/:@!$&'()*+;=~")


def file_path(uri: str) -> Path:
    """Return the folder of a ``file:`` URI, with or without ``//`` after the scheme."""
    path = uri.removeprefix("file:")
    return Path(unquote(path.removeprefix("//") if path.startswith("///") else path))
