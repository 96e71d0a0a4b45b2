"""A writer that keeps nothing, for a process whose calls are accepted and go nowhere."""

from __future__ import annotations

from pathlib import Path

from trackbridge.domain.ids import mint_id
from trackbridge.errors import JournalFull
from trackbridge.journal.folder import JournalFolder
from trackbridge.journal.writer import JournalWriter


class _NoFolder(JournalFolder):
    """A journal's folder that never comes to be."""

    def mark_open(self, run_id: str) -> None:
        """Note nothing."""

    def mark_created(self, run_id: str) -> None:
        """Note nothing."""

    def mark_resumed(self, run_id: str) -> None:
        """Note nothing."""


class SilentWriter(JournalWriter):
    """Takes records and forgets them: no file, no lock, no thread.

    Args:
        root: The folder of journals, in which nothing is made.
        destinations: Tracking URIs to which nothing is delivered.
    """

    keeps_nothing = True

    def __init__(self, root: Path, destinations: tuple[str, ...]) -> None:
        self.root = root
        self.destinations = destinations
        self.folder = _NoFolder(root / mint_id())
        self.refused = 0

    @property
    def is_closed(self) -> bool:
        """Never: there is nothing to close."""
        return False

    @property
    def is_own(self) -> bool:
        """Always, also after a fork."""
        return True

    @property
    def last_sequence(self) -> int:
        """No record was kept."""
        return 0

    def append(self, body: bytes, count: int = 1) -> int:
        """Forget a record."""
        return 1

    def append_control(self, body: bytes) -> None:
        """Forget a record."""

    def enter_process(self) -> None:
        """Do nothing: every process may use it."""

    def refuse(self, error: JournalFull) -> None:
        """Refuse nothing."""

    def sync(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
