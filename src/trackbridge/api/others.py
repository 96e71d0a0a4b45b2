"""What other processes of the project have logged, where a reader wants to see it: gateways do."""

from __future__ import annotations

import time
from pathlib import Path

from trackbridge.errors import JournalCorrupt
from trackbridge.journal.cursors import load_cursor
from trackbridge.journal.folder import JournalFolder, journals
from trackbridge.journal.reader import Position

_POLL_S = 0.01

STANDING_S = 3.0
"""A journal that did not move while somebody waited for so long is not waited for until it does."""
# Where such journals stand, by destination: nobody may be delivering them for as long as their program lives.
_standing: dict[tuple[Path, str], Position] = {}


def await_others(root: Path, own_id: str | None, destination: str, timeout_s: float) -> bool:
    """Wait until a destination has what the other journals of the project held at the time of the call.

    Args:
        root: The folder of journals.
        own_id: This process's own journal, which is not waited for.
        destination: The tracking URI, as journals name it.
        timeout_s: Seconds to wait at the most.

    Returns:
        False when some of it is still on its way.
    """
    began = time.monotonic()
    ends = {folder.path: (folder, _end(folder)) for folder in journals(root) if folder.journal_id != own_id}
    begun = {path: load_cursor(folder, destination).position for path, (folder, _) in ends.items()}
    while True:
        ends = {
            path: (folder, end) for path, (folder, end) in ends.items() if _lacks(folder, destination, end)
        }
        if not ends:
            return True
        for folder, _ in ends.values():
            folder.request_flush()
        moving = [path for path in ends if _standing.get((path, destination)) != begun[path]]
        waited_s = time.monotonic() - began
        if not moving or waited_s >= timeout_s:
            for path, (folder, _) in ends.items():
                if waited_s >= STANDING_S and load_cursor(folder, destination).position == begun[path]:
                    _standing[path, destination] = begun[path]
            return False
        time.sleep(_POLL_S)


def _end(folder: JournalFolder) -> tuple[int, int]:
    """Return the last segment of a journal and its size."""
    numbers = folder.segment_numbers()
    try:
        return (numbers[-1], folder.segment(numbers[-1]).stat().st_size) if numbers else (0, 0)
    except FileNotFoundError:  # delivered and deleted meanwhile
        return (0, 0)


def _lacks(folder: JournalFolder, destination: str, end: tuple[int, int]) -> bool:
    """Tell whether a destination has not got everything of a journal up to an end."""
    cursor = load_cursor(folder, destination)
    if cursor.drained or cursor.finished or (cursor.position.segment, cursor.position.offset) >= end:
        return False
    try:
        return destination in folder.describe().destinations
    except JournalCorrupt:  # also: delivered and gone
        return False
