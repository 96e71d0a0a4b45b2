"""Locks by which processes of one machine, and threads, wait for each other; none waits for ever."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trackbridge.errors import Unavailable

WAIT_S = 120.0
"""How long somebody is waited for: longer than a few requests take, shorter than a stopped process stands."""
PAUSE_S_MIN, PAUSE_S_MAX = 0.005, 0.1


@contextmanager
def held(file: Path, *, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the lock of a file, which is made with its folder; it ends with the block or the process.

    Args:
        file: The file; its content is left as it is.
        wait_s: How long whoever holds it is waited for.

    Raises:
        Unavailable: Somebody has held it all the time; later it may go.
        OSError: The file cannot be made, or its file system has no locks.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(descriptor, file, wait_s)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def try_held(file: Path, *, makes_it: bool = False) -> Iterator[bool]:
    """Hold the lock of a file unless somebody else does; yield whether it is held.

    Raises:
        OSError: There is no such file, it cannot be made, or its file system has no locks.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if makes_it else 0), 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _take(descriptor: int, file: Path, wait_s: float) -> None:
    deadline_s, pause_s = time.monotonic() + wait_s, PAUSE_S_MIN
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                raise Unavailable(
                    f"another process of this machine holds {file} for {wait_s:g} s and more",
                    hint=f"is a process stopped, or busy with a large model? See which: fuser {file}",
                ) from None
        threading.Event().wait(pause_s)
        pause_s = min(2 * pause_s, PAUSE_S_MAX)
