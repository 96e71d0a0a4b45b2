"""What has to become true in a while, and processes that have to end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

WAIT_S = 120.0
"""Longer than anything takes on a machine that has much else to do."""


def eventually(condition: Callable[[], bool], what: str = "it") -> None:
    """Wait until something is true.

    Raises:
        AssertionError: It did not become true.
    """
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} took more than {WAIT_S:g} s"
        time.sleep(0.01)


def is_alive(process: int) -> bool:
    """Tell whether a process is there; one that has ended and that nobody has waited for is not.

    In a container nobody may ever do so for those whose parent was killed.
    """
    try:
        os.kill(process, 0)
        if not Path("/proc/self").exists():
            return True
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
