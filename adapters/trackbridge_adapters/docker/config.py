"""What a ``docker:`` URI says: ``docker:PATH``, or ``docker:`` for the folder ``images`` of the project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from trackbridge.errors import ConfigError

ADAPTER = "docker"
SCHEME = "docker:"
FOLDER = "images"
_HINT = "write docker: for the project's own folder, or docker:PATH"


def folder_of(uri: str, options: Mapping[str, str], home: Path) -> Path:
    """Return the folder that a URI names; a relative path is below the current directory.

    Raises:
        ConfigError: It is no path, it is a file, or an option is given: there are none.
    """
    if options:
        raise ConfigError(
            f"docker: takes no options, and {', '.join(options)} is given", adapter=ADAPTER, hint=_HINT
        )
    path = unquote(uri.removeprefix(SCHEME))
    if path.startswith("//") or "\0" in path:
        raise ConfigError(f"{uri[:120]!r} names no folder", adapter=ADAPTER, hint=_HINT)
    folder = Path(path).expanduser().absolute() if path else home / FOLDER
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file, not a folder", adapter=ADAPTER, hint=_HINT)
    return folder


def canonical_uri(
    uri: str, *, options: Mapping[str, str], environment: Mapping[str, str], folder: Path
) -> str:
    """Return ``docker:`` with an absolute path; the project's own folder is found from anywhere in it."""
    path = unquote(uri.removeprefix(SCHEME))
    if not path or path.startswith("//"):
        return uri
    return SCHEME + quote(str(folder / Path(path).expanduser()))
