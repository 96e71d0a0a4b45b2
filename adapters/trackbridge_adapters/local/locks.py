"""Lock files: a held lock shows that a process lives; its death releases it.

Imports little: a job's runner pays for each import with the user's time.
"""

from __future__ import annotations

import fcntl
import os
import time
from threading import Event

PAUSE_S = 0.005

# A forked process closes what it inherited: it would keep the lock beyond its parent's death.
_held: set[int] = set()


def hold(path: str | os.PathLike[str], *, patience_s: float = 0.0) -> int | None:
    """Take the lock of a file, making the file; return its descriptor, or None while somebody holds it.

    ``patience_s`` outlasts those who only look whether it is held.

    Raises:
        OSError: The file cannot be opened, or the file system has no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    _held.add(descriptor)
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                release(descriptor)
                return None
        except BaseException:
            release(descriptor)
            raise
        Event().wait(PAUSE_S)


def release(descriptor: int) -> None:
    """Let go of a lock that ``hold`` gave; a process that inherited the descriptor keeps it."""
    _held.discard(descriptor)
    os.close(descriptor)


def is_held(path: str | os.PathLike[str]) -> bool:
    """Tell whether a process holds the lock of a file; a missing file is held by nobody.

    Raises:
        OSError: The file cannot be opened, or the file system has no locks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    _held.add(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: not in the way of others who look
    except BlockingIOError:
        return True
    finally:
        release(descriptor)
    return False


def _close_in_fork() -> None:
    for descriptor in tuple(_held):
        release(descriptor)


os.register_at_fork(after_in_child=_close_in_fork)
