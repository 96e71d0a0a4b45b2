"""The patterns of an ignore file, as git takes them: gitignore(5).

Each folder and file is judged by itself, by the last pattern that names it, from the top down; what lies in
an excluded folder is never asked for. (The package pathspec judges whole paths, and so takes ``*`` with
``!lib/`` and ``!*.py`` to exclude ``lib/net.py``, which git does not.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

_CLASSES = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "lower": "a-z",
    "upper": "A-Z",
    "space": r"\s",
    "xdigit": "0-9a-fA-F",
}
_CLASS = re.compile(r"\[:([a-z]+):\]")


class Pattern(msgspec.Struct, frozen=True):
    """One line: what it matches, by name or by path from the top, and what it does."""

    line: str
    regex: re.Pattern[str]
    is_anchored: bool
    for_folders: bool
    excludes: bool


class IgnorePatterns:
    """All lines of an ignore file.

    Args:
        lines: The lines, with comments and blank ones.

    Raises:
        ValueError: A pattern is wrong.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._patterns = tuple(reversed(list(_parsed(lines))))

    def excluding(self, path: str, *, is_folder: bool) -> str | None:
        """Return the line that excludes a file or folder by itself; None where none does."""
        name = path.rpartition("/")[2]
        for pattern in self._patterns:
            if pattern.for_folders and not is_folder:
                continue
            if pattern.regex.fullmatch(path if pattern.is_anchored else name):
                return pattern.line if pattern.excludes else None
        return None


def _parsed(lines: Iterable[str]) -> Iterator[Pattern]:
    for line in lines:
        stripped = re.sub(r"(?<!\\) +$", "", line.rstrip("\r"))
        if not stripped or stripped.startswith("#"):
            continue
        excludes = not stripped.startswith("!")
        text = stripped if excludes else stripped[1:]
        for_folders = text.endswith("/")
        segments = text.removesuffix("/").split("/")
        is_anchored = len(segments) > 1
        if not segments[0] and is_anchored:
            segments = segments[1:]
        if "" in segments:
            raise ValueError(f"{line!r} names nothing")
        try:
            regex = re.compile(_of_path(segments), re.DOTALL)
        except (ValueError, re.error) as error:
            raise ValueError(f"{line!r}: {error}") from error
        yield Pattern(stripped, regex, is_anchored, for_folders, excludes)


def _of_path(segments: list[str]) -> str:
    *folders, last = segments
    text = "".join(r"(?:.+/)?" if folder == "**" else f"{_of_name(folder)}/" for folder in folders)
    return text + (".+" if last == "**" and folders else _of_name(last))


def _of_name(segment: str) -> str:
    """Return the regular expression of a part between slashes."""
    found, position = "", 0
    while position < len(segment):
        sign = segment[position]
        if sign == "[":
            text, position = _of_class(segment, position + 1)
            found += text
            continue
        if sign == "\\":
            position += 1
            if position == len(segment):
                raise ValueError("there is nothing behind the backslash")
        plain = re.escape(segment[position])
        found += {"*": "[^/]*", "?": "[^/]"}.get(sign, plain)
        position += 1
    return found


def _of_class(segment: str, start: int) -> tuple[str, int]:
    """Return the expression of ``[...]``, whose content begins at ``start``, and the place behind it."""
    is_not = segment[start : start + 1] in ("!", "^")
    start += is_not
    inside, position = "", start
    while position < len(segment) and (segment[position] != "]" or position == start):
        named = _CLASS.match(segment, position)
        if named is not None:
            if named[1] not in _CLASSES:
                raise ValueError(f"there is no class {named[0]}")
            inside, position = inside + _CLASSES[named[1]], named.end()
            continue
        if segment[position] == "\\":
            position += 1
        sign = segment[position : position + 1]
        inside, position = inside + (sign if sign == "-" else re.escape(sign)), position + 1
    if position >= len(segment):
        raise ValueError("a bracket is not closed")
    return f"(?!/)[{'^' if is_not else ''}{inside}]", position + 1
