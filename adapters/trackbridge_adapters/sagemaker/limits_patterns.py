"""Patterns of AWS's service models, read as the service reads them: Java's, and each matches the whole text.

Python differs in four ways, each of which would let through what the service refuses: its ``.`` takes a
carriage return and the other ends of lines, its ``\\w``, ``\\d`` and ``\\s`` take more than ASCII, it has no
``\\p{L}``, and a ``$`` takes a line's end.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

ANY = r"[^\n\r\x85\u2028\u2029]"
"""What a dot takes in Java."""
_POLICY = r"[^\x85\u2028\u2029]*"
REWRITTEN = {r".*(?:[ \r\n\t].*)*.*": _POLICY, r".*(?:[ \r\n\t].*)*": _POLICY}
"""As they stand, these try every way to cut a text into lines before they give up."""
_HALVES = "\\uD800\\uDC00-\\uDBFF\\uDFFF"
"""Characters beyond the first plane, as a range written in halves."""
_STRAY_END = re.compile(r"\$\{[0-9]+,[0-9]*\}$")
"""Ends the patterns of customer metadata; it says nothing."""
# A category's ASCII characters, and the one that stands for all its others (see _Folding).
_CATEGORIES = {
    "L": "a-zA-Z\ue000",
    "N": "0-9\ue001",
    "Z": " \ue002",
    "Zs": " \ue002",
    "M": "\ue003",
    "S": "$+<=>^`|~\ue004",
    "P": "!-#%-*,\\-./:;?@\\[-\\]_{}\ue005",
    "Alnum": "a-zA-Z0-9",
    "ASCII": "\\x00-\\x7f",
    "Print": "\\x20-\\x7e",
}
_STANDS_FOR = {"L": "\ue000", "N": "\ue001", "Z": "\ue002", "M": "\ue003", "S": "\ue004", "P": "\ue005"}
_TOKEN = re.compile(r"\\p\{(?P<category>\w+)\}|\\[\s\S]|&&|[\[\].]")


class _UnreadableError(Exception):
    """Java's sets of sets, which Python does not have."""


class _Folding(dict[int, str]):
    """Sends each character beyond ASCII to the one that stands for its category."""

    def __missing__(self, point: int) -> str:
        text = chr(point)
        if not text.isascii():
            text = _STANDS_FOR.get(unicodedata.category(text)[0], "\ue00f")
        if len(self) < 10_000:  # a text of every character there is does not fill the memory
            self[point] = text
        return text


_FOLDING = _Folding()


@lru_cache(maxsize=1024)
def matcher_of(pattern: str) -> Callable[[str], bool] | None:
    """Return what tells whether a whole text matches; None for a pattern that cannot be read here."""
    try:
        found = re.compile(_translated(pattern), re.ASCII)
    except (re.error, KeyError, _UnreadableError):
        return None  # of a botocore to come: the service itself still holds to it
    match = found.fullmatch
    if "\\p{" in pattern:
        return lambda text: match(text if text.isascii() else text.translate(_FOLDING)) is not None
    return lambda text: match(text) is not None


def _translated(pattern: str) -> str:
    rewritten = REWRITTEN.get(pattern)
    if rewritten is not None:
        return rewritten
    is_inside = False

    def replaced(found: re.Match[str]) -> str:
        nonlocal is_inside
        token = found[0]
        if found["category"]:
            members = _CATEGORIES[found["category"]]
            return members if is_inside else f"[{members}]"
        if token == "&&" or (token == "[" and is_inside):
            raise _UnreadableError
        if token in ("[", "]"):
            is_inside = token == "["
        if token == ".":
            return "." if is_inside else ANY
        return "\\Z" if token == "\\z" else token

    plain = _STRAY_END.sub("", pattern).replace(_HALVES, "\U00010000-\U0010ffff")
    return _TOKEN.sub(replaced, plain.replace("\\w-_", "\\w_\\-"))
