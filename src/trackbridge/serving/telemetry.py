"""Telemetry for scoring code that somebody else's server runs, such as a scoring script on Azure ML."""

from __future__ import annotations

import atexit

from trackbridge.domain.serving import ServingSettings
from trackbridge.serving.answers import Answer
from trackbridge.serving.observers import Answered
from trackbridge.serving.windows import WindowTelemetry


class ScoringTelemetry:
    """Counts what a process scores, and tells subscribers and sinks of it as our own server does.

    Nothing that they do is felt by who counts: they run in processes of their own.

    Args:
        name: What is scored for, such as ``wine/v2``.
        model: The model's reference, such as ``models:/wine/2``.
    """

    def __init__(self, *, name: str, model: str = "") -> None:
        self._windows = WindowTelemetry(ServingSettings(model_path="", name=name, model=model))
        atexit.register(self.stop)

    def count(self, *, status: int, duration_s: float, rows: int = 0, request_id: str = "") -> None:
        """Count one request: the status that answers it, how long scoring took, how many predictions."""
        answer = Answer(status, b"", rows=rows, scoring_s=duration_s)
        self._windows.on_answered(Answered(request_id, "", b"", answer, duration_s))

    def stop(self) -> None:
        """Tell what is left; a second time does nothing."""
        atexit.unregister(self.stop)
        self._windows.stop()
