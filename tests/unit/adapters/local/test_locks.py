"""Lock files: held as long as a process lives, and by nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trackbridge_adapters.local import locks

HOLD = """
import sys
from trackbridge_adapters.local import locks
locks.hold(sys.argv[1])
print(flush=True)
sys.stdin.readline()
"""


def test_a_lock_is_held_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not locks.is_held(path), "there is no file yet"
    held = locks.hold(path)
    assert held is not None
    assert locks.is_held(path)
    assert locks.hold(path) is None
    locks.release(held)
    assert not locks.is_held(path)


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    assert locks.is_held(path)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert not locks.is_held(path)


def test_a_fork_keeps_no_lock(tmp_path: Path) -> None:
    held = locks.hold(tmp_path / "lock")
    assert held is not None
    child = os.fork()
    if child == 0:
        try:
            threading.Event().wait(60)
        finally:
            os._exit(0)
    locks.release(held)
    try:
        for _ in range(1000):  # the child lets go a moment after the fork
            if not locks.is_held(tmp_path / "lock"):
                break
            threading.Event().wait(0.01)
        assert not locks.is_held(tmp_path / "lock")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_patience_outlasts_a_lock_that_is_released(tmp_path: Path) -> None:
    held = locks.hold(tmp_path / "lock")
    assert held is not None
    threading.Timer(0.05, locks.release, args=(held,)).start()
    taken = locks.hold(tmp_path / "lock", patience_s=60.0)
    assert taken is not None
    locks.release(taken)


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    before = set(locks._held)
    with pytest.raises(FileNotFoundError):
        locks.hold(tmp_path / "no folder" / "lock")
    with pytest.raises(IsADirectoryError):
        locks.hold(tmp_path)
    assert locks._held == before
