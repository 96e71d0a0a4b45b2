"""What a new run learns beside the training: uncommitted changes and installed packages."""

from __future__ import annotations

import threading
from pathlib import Path

from trackbridge.api.context import REQUIREMENTS_PATH, slow_context
from trackbridge.api.recorder import RunRecorder

STOP_WAIT_S = 2.0


class ContextReader:
    """Reads the slow part of a run's context on a thread and logs it.

    Args:
        recorder: The run.
        cwd: The program's folder.
    """

    def __init__(self, recorder: RunRecorder, *, cwd: Path) -> None:
        self._recorder = recorder
        self._cwd = cwd
        self._thread = threading.Thread(target=self._read, name="trackbridge-context", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait until it is logged, two seconds at the most."""
        self._thread.join(STOP_WAIT_S)

    def _read(self) -> None:
        context = slow_context(cwd=self._cwd)
        if self._recorder.end_time is None:
            self._recorder.tags(context.tags)
            self._recorder.content(context.requirements.encode(), REQUIREMENTS_PATH)
