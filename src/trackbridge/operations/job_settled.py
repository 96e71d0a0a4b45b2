"""Which jobs of a place need no looking after any more, so that a listing does not ask for their runs again.

::

    <where journals of the job's place lie>/settled/<digest of the place's URI>     a line for each job

It is a memory, not a record: what is missing in it is asked for once more.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import JobState

FOLDER = "settled"
KEPT_MAX = 10_000
"""How many jobs are remembered, the last that were added; a listing shows seldom more."""


class SettledJobs:
    """The jobs of one place whose runs say how they have ended.

    Args:
        journals: Where journals of the place lie.
        place: The URI of the place.
    """

    def __init__(self, journals: Path, place: str) -> None:
        self._path = journals / FOLDER / hashlib.sha256(place.encode()).hexdigest()[:16]
        self._known = dict.fromkeys(self._read())
        self._added: dict[str, None] = {}

    def __contains__(self, state: JobState) -> bool:
        """Tell whether a job is one of them."""
        return _line(state) in self._known

    def add(self, state: JobState) -> None:
        """Remember a job, from ``save`` on."""
        self._known[_line(state)] = self._added[_line(state)] = None

    def save(self) -> None:
        """Write down what was added; where that cannot be written, it is asked for once more."""
        if not self._added:
            return
        lines = [*dict.fromkeys((*self._read(), *self._added))][-KEPT_MAX:]
        draft = self._path.with_name(f".{mint_id()}")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                draft.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
                os.replace(draft, self._path)
            finally:
                draft.unlink(missing_ok=True)

    def _read(self) -> list[str]:
        try:
            return self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []


def _line(state: JobState) -> str:
    return f"{state.job_id} {state.run_id}"
