"""Paging tokens: the place of the last item, bound to the listing that gave it out."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

from trackbridge.errors import InvalidInput

Place = list[Any]


def listing_of(*parts: object) -> str:
    """Return a short digest that names a listing: its operation and all its arguments."""
    return hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def token_of(listing: str, place: Place) -> str:
    """Return the token of the page after an item; ``place`` holds numbers, texts and None."""
    return base64.urlsafe_b64encode(json.dumps([listing, *place]).encode()).decode()


def place_of(
    token: str | None, listing: str, *, adapter: str, operation: str, types: tuple[type, ...]
) -> Place | None:
    """Return the place that a token holds; None for the first page.

    Args:
        token: What the caller handed in.
        listing: The listing that is asked for.
        adapter: For the error.
        operation: For the error.
        types: What the place consists of; a list of None or any of these.

    Raises:
        InvalidInput: The token was not given out by this listing.
    """
    if token is None:
        return None
    try:
        given: object
        place: Place
        given, *place = json.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        given, place = None, []
    if given == listing and place and all(value is None or type(value) in types for value in place):
        return place
    raise InvalidInput(
        "the page token was not given out by this listing",
        adapter=adapter,
        operation=operation,
        hint="start again without a token, or repeat exactly the arguments of the first page",
    )


def page_size(max_results: int, *, most: int, adapter: str, operation: str) -> int:
    """Return how many items a page has at most.

    Raises:
        InvalidInput: It was to have less than one.
    """
    if max_results < 1:
        raise InvalidInput(
            f"max_results is {max_results}", adapter=adapter, operation=operation, hint="ask for at least 1"
        )
    return min(max_results, most)
