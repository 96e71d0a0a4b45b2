"""Which requirements of a job no installer can read, whatever backend runs it.

What is written as pip takes it, but is no requirement by name (an option, a path, an address), is left to the
backends: each has its own reasons to take it or not. So is what a marker says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from trackbridge.domain.secrets import shown

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_EXTRAS = rf"\[\s*(?:{_NAME}(?:\s*,\s*{_NAME})*)?\s*\]"
_VERSION = r"(?:===|==|~=|!=|<=|>=|<|>)\s*[^\s,;()<>=!~]+"
_VERSIONS = rf"{_VERSION}(?:\s*,\s*{_VERSION})*"
_REQUIREMENT = re.compile(
    rf"{_NAME}\s*(?:{_EXTRAS}\s*)?(?:@\s*\S+|{_VERSIONS}|\(\s*{_VERSIONS}\s*\))?\s*(?:;\s*\S.*)?"
)
"""PEP 508."""
_OPTIONS = re.compile(r"(?:\s+--[a-z-]+(?:[= ]\S+)?)+$")
"""Options of one requirement, such as ``--hash=sha256:…``."""
_COMMENT = re.compile(r"(?:^|\s)#.*")
_ELSEWHERE = re.compile(r"[./~\\-]|[A-Za-z][A-Za-z0-9+.]*:|\S*(?:[/\\]|\.(?:whl|zip|tar\.gz)$)")
"""How options, paths and addresses begin."""


def wrong_requirements(lines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the part of the spec, what is wrong, and how to fix it, for each line that cannot be read."""
    for line in lines:
        text = _OPTIONS.sub("", _COMMENT.sub("", line).strip())
        if text and "\n" not in line and not _ELSEWHERE.match(text) and not _REQUIREMENT.fullmatch(text):
            yield (
                "environment",
                f"{shown(line, chars_max=80)!r} is no requirement",
                "write it as pip takes it, for example numpy>=1.26",
            )
