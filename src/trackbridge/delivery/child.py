"""Starting the delivery child of this program, and starting it again should it die."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import trackbridge
from trackbridge.journal.folder import JournalFolder

RESTART_S_MIN = 1.0
RESTART_S_MAX = 60.0

# Not ``-m``: that puts the current folder first on the path, where a user's ``logging.py`` or ``types.py``
# would be taken for Python's own.
_BOOTSTRAP = (
    "import sys; sys.path[:] = [entry for entry in sys.path if entry]; sys.path.append({package!r}); "
    "from trackbridge.delivery.__main__ import main; sys.exit(main(sys.argv[1:]))"
)


class DeliveryChild:
    """The child process that delivers one journal. It outlives this program.

    Where none can be started (no process or descriptor to be had), ``watch`` tries again.
    """

    def __init__(self, folder: JournalFolder) -> None:
        self._folder = folder
        self._restart_s = RESTART_S_MIN
        self._started_at = 0.0
        self._restart_at: float | None = None  # known once the present child is seen to have died
        self._process = self._start()

    @property
    def process_id(self) -> int | None:
        """Process id of the present child, None where it could not be started."""
        return self._process.pid if self._process else None

    def watch(self) -> None:
        """Start another child if this one has died; ever less often if they keep dying."""
        if self._process is not None and self._process.poll() is None:
            return
        now = time.monotonic()
        if self._restart_at is None:
            if now - self._started_at > RESTART_S_MAX:
                self._restart_s = RESTART_S_MIN
            self._restart_at = self._started_at + self._restart_s
            self._restart_s = min(self._restart_s * 2, RESTART_S_MAX)
        if now >= self._restart_at:
            self._process = self._start()

    def detach(self) -> None:
        """Leave the child alone: it goes on when this program has ended."""
        if self._process is not None:
            self._process.returncode = 0  # keeps Popen from warning that the child still runs

    def _start(self) -> subprocess.Popen[bytes] | None:
        """Start a child; what it prints, which is nothing unless it crashes, is kept with the journal."""
        self._started_at, self._restart_at = time.monotonic(), None
        package = str(Path(trackbridge.__file__).parent.parent)
        try:
            with open(self._folder.path / "delivery.log", "ab", opener=_private) as log:
                return subprocess.Popen(
                    [sys.executable, "-c", _BOOTSTRAP.format(package=package), str(self._folder.path)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError:
            return None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
