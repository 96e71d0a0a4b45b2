"""Errors of the file system, translated once."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from trackbridge.errors import AuthError, BridgeError, Rejected, Unavailable
from trackbridge_adapters.docker.config import ADAPTER

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def translating(operation: str, resource: str) -> Iterator[None]:
    """Turn errors of the file system within the block into ours.

    Raises:
        AuthError: The user may not.
        Unavailable: The disk is full, or fails.
        Rejected: The file system cannot hold it.
    """
    try:
        yield
    except OSError as error:
        raise _translated(error, operation, resource) from error


def _translated(error: OSError, operation: str, resource: str) -> BridgeError:
    kind: type[BridgeError] = Rejected
    hint = "choose another folder: docker:PATH"
    if error.errno in _REFUSED:
        kind, hint = AuthError, "check who owns the folder"
    elif error.errno in _FULL:
        kind, hint = Unavailable, "free some disk space, then try again"
    elif error.errno == errno.EIO:
        kind, hint = Unavailable, "look at the system's log of the disk"
    place = f" ({error.filename})" if error.filename else ""
    return kind(
        f"the build context cannot be kept: {error.strerror or error}{place}",
        adapter=ADAPTER,
        operation=operation,
        resource=resource,
        hint=hint,
    )
