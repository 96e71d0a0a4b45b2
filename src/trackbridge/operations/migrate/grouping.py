"""Runs into a target that waits for its disk: once for many of them, not several times for each.

::

    of each run: open, write, files   ->   settle: all of it lasts   ->   the end of each   ->   settle

A loss of power leaves runs that are not ended, however much of them lasts: they are gone on with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from trackbridge.domain.plans import Change
from trackbridge.operations.migrate.runs import BegunRun, CopiedRun, RunCopier
from trackbridge.operations.migrate.side import Gathered

RUNS_AT_ONCE = 32
BYTES_AT_ONCE = 64 * 1024 * 1024
"""Of files; what a machine may have to write at once, and what an interruption costs."""


def groups_of(changes: Sequence[Change], *, transfers: int) -> list[Sequence[Change]]:
    """Return runs in groups, at least as many as are copied at the same time."""
    size = max(1, min(RUNS_AT_ONCE, -(-len(changes) // max(transfers, 1))))
    return [changes[start : start + size] for start in range(0, len(changes), size)]


@dataclass(slots=True)
class RunGroup:
    """Runs that are ended together. One thread.

    Args:
        copier: Copies runs to the gathered target.
        gathered: The target.
    """

    copier: RunCopier
    gathered: Gathered
    begun: list[tuple[Change, BegunRun]] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """True when the runs that wait for their end are to be ended before another one is begun."""
        return sum(run.copied.outcome.source.bytes for _, run in self.begun) >= BYTES_AT_ONCE

    def begin(self, change: Change, *, is_new: bool) -> CopiedRun:
        """Copy a run; its end comes with ``end``. Arguments and errors as for ``RunCopier.begin``."""
        begun = self.copier.begin(change, is_new=is_new)
        if begun.end is not None:
            self.begun.append((change, begun))
        return begun.copied

    def end(self) -> list[tuple[Change, CopiedRun, Exception | None]]:
        """End the runs that are there but for their end; return each, with what went wrong."""
        begun, self.begun = self.begun, []
        if not begun:
            return []
        try:
            self.gathered.settle()
            errors = [_ended(run) for _, run in begun]
            self.gathered.settle()
        except Exception as error:  # the caller tells it of each
            errors = [error] * len(begun)
        return [(change, run.copied, error) for (change, run), error in zip(begun, errors, strict=True)]


def _ended(run: BegunRun) -> Exception | None:
    try:
        if run.end is not None:
            run.end()
    except Exception as error:  # of one run: the others are ended all the same
        return error
    return None
