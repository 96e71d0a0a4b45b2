"""Locks between processes: one at a time, free when a process dies, and nobody waits for ever."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trackbridge.errors import Unavailable
from trackbridge.transport.file_locks import held, try_held

WAIT_S = 60
HOLDS = """
import sys, threading
from pathlib import Path
from trackbridge.transport.file_locks import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    threading.Event().wait()
"""


def test_one_at_a_time(tmp_path: Path) -> None:
    inside, most = [0], [0]
    guard = threading.Lock()

    def enter(number: int) -> None:
        with held(tmp_path / "locks" / "a", wait_s=WAIT_S):
            with guard:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            with guard:
                inside[0] -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(100)))
    assert most == [1]


def test_a_stopped_process_is_not_waited_for_for_ever_and_a_dead_one_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(file)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Unavailable, match="another process") as caught, held(file, wait_s=0.1):
            pass
        assert f"fuser {file}" in str(caught.value.hint)
        with held(tmp_path / "other", wait_s=0.1):
            pass
    finally:
        holder.kill()
        holder.wait()
    with held(file, wait_s=WAIT_S):
        pass


def test_it_ends_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), held(tmp_path / "lock"):
        raise ZeroDivisionError
    with held(tmp_path / "lock", wait_s=0.0):
        pass


def test_who_does_not_wait_is_told_whether_it_is_held(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with pytest.raises(FileNotFoundError), try_held(file):
        pass
    with try_held(file, makes_it=True) as is_first, try_held(file) as is_second:
        assert (is_first, is_second) == (True, False)
    with try_held(file) as is_free:
        assert is_free
