"""Files of HDFS and DBFS, which rename over no file: for a moment there is neither the old nor the new one.

Whoever looks for such a file waits while one of its name is on its way.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from threading import Event
from typing import TypeVar

from trackbridge_adapters._mlflow_rest.artifacts_files import INCOMING

PAUSES_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""How long is waited: the moment is one request, which takes DBFS some tenths of a second."""

Found = TypeVar("Found")


def temporary_path(full: str) -> str:
    """Return a new hidden path beside a file's, which tells whose it is to become."""
    folder, _, name = full.rpartition("/")
    return f"{folder}/{_beginning(name)}{os.getpid()}-{os.urandom(8).hex()}"


def patiently(
    look: Callable[[], Found | None], full: str, names_in: Callable[[str], Iterable[str]]
) -> Found | None:
    """Return what a look finds, which is taken again while the file is on its way.

    Args:
        look: Returns None where nothing is.
        full: The file's path.
        names_in: Returns the names in a folder, the hidden ones too.
    """
    folder, _, name = full.rpartition("/")
    for pause_s in PAUSES_S:
        found = look()
        if found is not None:
            return found
        if not any(other.startswith(_beginning(name)) for other in names_in(folder)):
            break  # it may have come since
        Event().wait(pause_s)
    return look()


def _beginning(name: str) -> str:
    return f"{INCOMING}{hashlib.sha256(name.encode()).hexdigest()[:16]}-"
