"""What delivery tells subscribers: closed runs, delivered windows, refused records."""

from __future__ import annotations

from trackbridge.delivery.sending import Refused
from trackbridge.delivery.steps import BatchStep, Step
from trackbridge.domain.events import BATCH_DELIVERED, DEAD_LETTER, RUN_CLOSED
from trackbridge.domain.records import RunClosed, RunOpened
from trackbridge.domain.runs import RunStatus
from trackbridge.events import publish

RUNS_NAMED_MAX = 20
REASONS_NAMED_MAX = 5
STARTS_MAX = 10_000


class Announcements:
    """Gathers the news of one journal's way to one destination, and tells it when a window is done.

    After a crash a window is delivered again: its news then come once, or twice.

    Args:
        destination: The tracking URI.
        journal_id: The subject of what concerns no single run.
    """

    def __init__(self, destination: str, journal_id: str) -> None:
        self._destination = destination
        self._journal_id = journal_id
        self._starts: dict[str, int] = {}
        self._closed: list[tuple[str, RunStatus, int]] = []
        self._runs: dict[str, None] = {}  # in order
        self._refused: list[Refused] = []

    def note(self, step: Step, refused: list[Refused]) -> None:
        """Take account of a step that the destination has taken, but for what it refused."""
        self._refused += refused
        if isinstance(step, BatchStep):
            self._runs[step.batch.run_id] = None
        elif isinstance(step.record, RunOpened) and not refused:
            if len(self._starts) < STARTS_MAX:
                self._starts.setdefault(step.record.run_id, step.record.start_time)
        elif isinstance(step.record, RunClosed) and not refused:
            self.note_closed(step.record.run_id, step.record.status, step.record.end_time)

    def note_closed(self, run_id: str, status: RunStatus, end_time: int) -> None:
        """Take account of a run that is closed at the destination."""
        self._closed.append((run_id, status, end_time))

    def tell(self, records: int) -> None:
        """Publish what was gathered; ``records`` is how many the window held."""
        if records:
            self._tell_batch(records)
        if self._refused:
            self._tell_refused()
        for run_id, status, end_time in self._closed:
            data = {
                "status": status.value,
                "start_time": self._starts.pop(run_id, None),
                "end_time": end_time,
            }
            publish(RUN_CLOSED, subject=run_id, source=self._destination, data=data, time_ms=end_time)
        self._closed, self._runs, self._refused = [], {}, []

    def _tell_batch(self, records: int) -> None:
        runs = list(self._runs)
        data = {
            "records": records,
            "refused": len(self._refused),
            "runs": runs[:RUNS_NAMED_MAX],
            "run_count": len(runs),
        }
        subject = runs[0] if len(runs) == 1 else self._journal_id
        publish(BATCH_DELIVERED, subject=subject, source=self._destination, data=data)

    def _tell_refused(self) -> None:
        reasons = list(dict.fromkeys(item.reason for item in self._refused))
        runs = list(dict.fromkeys(getattr(item.record, "run_id", "") for item in self._refused))
        data = {
            "records": len(self._refused),
            "reasons": reasons[:REASONS_NAMED_MAX],
            "runs": runs[:RUNS_NAMED_MAX],
        }
        subject = runs[0] if len(runs) == 1 and runs[0] else self._journal_id
        publish(DEAD_LETTER, subject=subject, source=self._destination, data=data)
