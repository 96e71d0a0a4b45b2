"""Pages of listings that lie in memory."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import TypeVar

from trackbridge.domain.paging import Page
from trackbridge.errors import InvalidInput

Item = TypeVar("Item")

NAME = "memory"


def page_of(items: Sequence[Item], size: int, token: str | None, *listing: object) -> Page[Item]:
    """Cut a page; the token is the offset, bound to the listing that it was given out by."""
    name = hashlib.sha256(repr(listing).encode("utf-8", "backslashreplace")).hexdigest()[:16]
    start = 0 if token is None else _offset(token, name)
    end = start + size
    more = base64.b64encode(json.dumps([name, end]).encode()).decode() if end < len(items) else None
    return Page(items=tuple(items[start:end]), token=more)


def _offset(token: str, name: str) -> int:
    try:
        given, offset = json.loads(base64.b64decode(token, validate=True))
    except (binascii.Error, ValueError, TypeError):
        given, offset = None, None
    if given != name or not isinstance(offset, int):
        raise InvalidInput("the token is not of this listing", adapter=NAME, hint="begin without a token")
    return offset
