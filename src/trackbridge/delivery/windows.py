"""A window of the journal on its way: what is read at once, and what holds once it is delivered."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from trackbridge.delivery.steps import Step, plan_steps
from trackbridge.journal.folder import JournalFolder
from trackbridge.journal.reader import WINDOW_BYTES, Damage, Position, read_window


@dataclass(slots=True, eq=False)
class Work:
    """The steps of a window that are still to be begun, and what is to be known of it until it is committed.

    ``is_last`` says that the writer was dead before the window was read, and nothing follows it; ``left`` how
    many steps are not accounted for; ``delivered`` how many records of the journal end with it.
    """

    start: Position
    position: Position
    records: int
    steps: deque[Step]
    left: int
    is_last: bool
    damages: list[Damage]
    undecodable: list[tuple[int, bytes]]
    delivered: int = 0
    staged: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """True when nothing was there to read."""
        return not self.records and self.position == self.start


def has_much_after(folder: JournalFolder, position: Position) -> bool:
    """Tell whether a whole window is waiting, so that nothing is gained by gathering more."""
    try:
        size = folder.segment(position.segment).stat().st_size
    except FileNotFoundError:  # before the first window, or after the end
        return position.segment == 0
    return size - position.offset >= WINDOW_BYTES or folder.segment(position.segment + 1).exists()


def read_work(folder: JournalFolder, position: Position) -> Work:
    """Read the window after a position and plan it; the records themselves are not kept.

    Raises:
        JournalError: It cannot be read.
    """
    writer_lives = folder.writer_lives()  # before reading: see read_window
    window = read_window(folder, position, writer_lives=writer_lives, bytes_max=WINDOW_BYTES)
    steps = deque(plan_steps(window.records))
    return Work(
        start=position,
        position=window.position,
        records=len(window.records),
        steps=steps,
        left=len(steps),
        is_last=window.at_end and not writer_lives,
        damages=window.damages,
        undecodable=window.undecodable,
    )
