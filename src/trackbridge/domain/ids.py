"""Ids minted here, so that nothing waits for a server.

A run id is 32 hexadecimal digits: 48 bits of milliseconds since 1970, then 80 random bits. Ids
therefore sort by time of creation, those of one process strictly. An experiment id is derived from the
experiment's name, so that every rank and every machine that says the same name without asking anybody
means the same experiment.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time

ID_PATTERN = re.compile(r"[0-9a-f]{32}")


_lock = threading.Lock()
_last = 0


def mint_id() -> str:
    """Return a new id of 32 hexadecimal digits, greater than all that this process has minted."""
    global _last
    minted = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    with _lock:
        # In the same millisecond, or when the clock went back: close behind the last, but not guessable from
        # it, because a fork goes on from the same number.
        _last = minted if minted > _last else _last + 1 + (minted & 0xFFFFFFFFFFFF)
        return f"{_last:032x}"


def minted_ms(identifier: str) -> int | None:
    """Return when an id was minted, in milliseconds since 1970; None for one not of our form."""
    return int(identifier[:12], 16) if is_minted(identifier) else None


def _renew_lock_in_fork() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock_in_fork)


def experiment_id_of(name: str) -> str:
    """Return the id of the experiment of this name: 32 hexadecimal digits, the same everywhere."""
    return hashlib.sha256(b"trackbridge experiment\0" + name.encode()).hexdigest()[:32]


def is_minted(identifier: str) -> bool:
    """Tell whether the text has the form of an id minted here."""
    return ID_PATTERN.fullmatch(identifier) is not None
