"""Ids minted here, so that nothing waits for a server.

A run id is 32 hexadecimal digits: 48 bits of milliseconds since 1970, then 80 random bits. Ids
therefore sort by time of creation. An experiment id is derived from the experiment's name, so that
every rank and every machine that says the same name without asking anybody means the same experiment.
"""

from __future__ import annotations

import hashlib
import os
import re
import time

ID_PATTERN = re.compile(r"[0-9a-f]{32}")


def mint_id() -> str:
    """Return a new time-ordered id of 32 hexadecimal digits."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def experiment_id_of(name: str) -> str:
    """Return the id of the experiment of this name: 32 hexadecimal digits, the same everywhere."""
    return hashlib.sha256(b"trackbridge experiment\0" + name.encode()).hexdigest()[:32]


def is_minted(identifier: str) -> bool:
    """Tell whether the text has the form of an id minted here."""
    return ID_PATTERN.fullmatch(identifier) is not None
