"""Which parts of a large file are where they go already, in a file that outlives the process.

The notes are lines that are only appended, so that a kill at any time leaves what was sent so far; a torn
last line is a part that is sent again. They hold no signed address and no key.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from pathlib import Path


class PartNotes:
    """What of a file is there already, in a file of our own. Trouble with it is no error: more is sent then.

    Args:
        file: Where; None keeps nothing.
        about: What they are about; notes about anything else do not count.
    """

    def __init__(self, file: Path | None, about: list[str | int]) -> None:
        self._file = file
        self._about = about
        self._lock = threading.Lock()

    @property
    def are_kept(self) -> bool:
        """Whether there is a file for them."""
        return self._file is not None

    def read(self) -> tuple[str | None, dict[int, str] | None]:
        """Return the upload id and the tags of the parts; None as tags where they are of something else."""
        if self._file is None:
            return None, None
        try:
            lines = self._file.read_bytes().split(b"\n")[:-1]
            upload, *about = json.loads(lines[0])
            tags = {int(number): str(tag) for number, tag in map(json.loads, lines[1:])}
        except (OSError, ValueError, TypeError, IndexError):
            return None, None
        return str(upload), tags if about == self._about else None

    def begin(self, upload: str) -> None:
        """Begin anew."""
        self._write([upload, *self._about], os.O_TRUNC)

    def add(self, number: int, tag: str) -> None:
        """Note a part that the store has."""
        self._write([number, tag], os.O_APPEND)

    def remove(self) -> None:
        """Forget all."""
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink()

    def _write(self, line: list[str | int], how: int) -> None:
        if self._file is None:
            return
        with self._lock, suppress(OSError):
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | how, 0o600)
            try:
                os.write(descriptor, json.dumps(line).encode() + b"\n")
            finally:
                os.close(descriptor)
