"""A server that runs as a process of its own beside the emulator, and ends when its input is closed."""

from __future__ import annotations

import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

END_S = 10.0


class ChildServer(ABC):
    """Starts it, and reads what it says. Where that is kept must be there before ``__init__`` of this class.

    Args:
        command: What runs.
        cwd: Where it begins.
        env: All variables that it gets.
        stderr: Where its errors go.
    """

    def __init__(
        self, command: Sequence[str], *, cwd: Path | str, env: Mapping[str, str], stderr: int | IO[bytes]
    ) -> None:
        self._is_ready = threading.Event()
        """That it listens, or has ended."""
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    @abstractmethod
    def _is_listening(self, line: str) -> bool:
        """Take a line of its output, and tell whether it listens."""

    def close(self) -> None:
        """End it."""
        # Not by a signal: a server may wait then for every connection that clients keep open.
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_S)
        self._reader.join(END_S)

    def _read(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                if self._is_listening(line.decode("utf-8", "replace").strip()):
                    self._is_ready.set()
        self._is_ready.set()
