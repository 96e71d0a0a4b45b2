"""Servers of this machine: which addresses are its own, and whether a connection was refused there."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_LOOPBACK = re.compile(r"localhost|::1|127(?:\.\d{1,3}){3}")


def refused_here(error: BaseException, url: str) -> str | None:
    """Return where nothing listens: the address of a URL without user, path and query.

    None where the address is another machine's, or something else than a refused connection went wrong.

    Args:
        error: What a library raised, with its chain of causes.
        url: What was connected to.
    """
    parts = urlsplit(url)
    if _LOOPBACK.fullmatch(parts.hostname or "") is None or not _was_refused(error):
        return None
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _was_refused(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ConnectionRefusedError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None
