"""Dead letters once more: what a destination takes now is removed, the rest keeps the new reason."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from trackbridge.delivery.backend import Backend
from trackbridge.delivery.dead_letters import DeadLetter, DeadLetters
from trackbridge.delivery.sending import Sender, is_visit
from trackbridge.delivery.steps import BatchStep, Step, plan_steps, records_of
from trackbridge.domain.records import RunClosed, RunOpened
from trackbridge.domain.runs import RunStatus
from trackbridge.errors import BridgeError, JournalError, NotFound
from trackbridge.journal.folder import JournalFolder, journals


@dataclass(slots=True)
class ReplayReport:
    """Numbers of dead letters: ``delivered`` ones are gone, ``kept`` and ``waiting`` have their reason.

    A kept one was refused again; for a waiting one the destination takes nothing now.
    """

    delivered: list[int] = field(default_factory=list)
    kept: dict[int, str] = field(default_factory=dict)
    waiting: dict[int, str] = field(default_factory=dict)


def replay(
    root: Path, numbers: Collection[int] | None, open_backend: Callable[[str], Backend]
) -> ReplayReport:
    """Deliver dead letters again, in the order in which their records were logged.

    A run that is opened by this, and whose program is gone without having closed it, is closed as KILLED at
    the time of its last record. Interrupted and called again, it goes on with what is left.

    Args:
        root: The folder of journals.
        numbers: Which dead letters; None for all.
        open_backend: Opens a tracking URI for writing.

    Raises:
        NotFound: There is no dead letter of one of the numbers.
    """
    dead_letters = DeadLetters(root)
    letters = dead_letters.read()
    if numbers is not None:
        _require(numbers, letters)
        wanted = frozenset(numbers)
        letters = [letter for letter in letters if letter.number in wanted]
    report = ReplayReport()
    letters.sort(key=lambda letter: (letter.destination, letter.journal, letter.sequence))
    for destination, group in groupby(letters, key=lambda letter: letter.destination):
        of_destination = list(group)
        try:
            backend = open_backend(destination)
        except BridgeError as error:
            report.waiting.update(dict.fromkeys((letter.number for letter in of_destination), str(error)))
            continue
        try:
            for journal, of_journal in groupby(of_destination, key=lambda letter: letter.journal):
                _Replay(root, journal, backend, dead_letters, report).run(list(of_journal))
        finally:
            backend.close()
    return report


class _Replay:
    """The dead letters of one journal on their way to one destination."""

    def __init__(
        self, root: Path, journal: str, backend: Backend, dead_letters: DeadLetters, report: ReplayReport
    ) -> None:
        self._backend = backend
        self._journal = journal
        self._root = root
        self._dead_letters = dead_letters
        self._report = report
        self._sender = Sender(
            lambda: backend,
            root=root,
            journal_id=journal,
            staged=dead_letters.files_of(journal),
            scratch=root,
        )

    def run(self, letters: Sequence[DeadLetter]) -> None:
        """Send them; none is removed before the destination has taken it."""
        readable = [letter for letter in letters if self._is_readable(letter)]
        left = {letter.sequence: letter.number for letter in readable}
        try:
            opened = self._send(plan_steps((letter.sequence, letter.record) for letter in readable), left)
            self._close_dead_runs(opened)
        except BridgeError as error:
            self._report.waiting.update(dict.fromkeys(left.values(), str(error)))
        else:
            self._remove(list(left.values()))

    def _send(self, steps: Sequence[Step], left: dict[int, int]) -> dict[str, int]:
        """Send the steps and return the runs left open, with the time of their last record.

        Those that opened runs stay in ``left``: until such a run is seen to, its letter must not go.
        """
        opened: dict[str, int] = {}
        for step in steps:
            refused = {item.sequence: item.reason for item in self._sender.send(step)}
            for sequence, reason in refused.items():
                self._keep(left.pop(sequence), reason)
            _note(opened, step, was_refused=bool(refused))
            done = [sequence for sequence in _sequences(step) if sequence not in refused]
            if isinstance(step, BatchStep) or not isinstance(step.record, RunOpened):
                self._remove([left.pop(sequence) for sequence in done])
        return opened

    def _is_readable(self, letter: DeadLetter) -> bool:
        try:
            return letter.record is not None
        except JournalError as error:
            self._keep(letter.number, error.message)
            return False

    def _keep(self, number: int, reason: str) -> None:
        self._dead_letters.update_reason(number, reason)
        self._report.kept[number] = reason

    def _remove(self, numbers: list[int]) -> None:
        self._dead_letters.remove(numbers)
        self._report.delivered += numbers

    def _close_dead_runs(self, opened: dict[str, int]) -> None:
        """Close runs that nobody else will: their journal is gone, and with it what knew of them."""
        if JournalFolder(self._root / self._journal).path.exists():
            return
        for run_id, last_ms in opened.items():
            if any(other.has_open(run_id) and other.writer_lives() for other in journals(self._root)):
                continue
            tracking = self._backend.tracking
            if not tracking.get_run(run_id).info.status.is_final:
                tracking.close_run(run_id, status=RunStatus.KILLED, end_time=last_ms)


def _note(opened: dict[str, int], step: Step, *, was_refused: bool) -> None:
    """Keep account of the runs that the steps open and close."""
    if isinstance(step, BatchStep):
        run_id = step.batch.run_id
        if run_id in opened:
            opened[run_id] = max(opened[run_id], step.last_ms)
    elif isinstance(step.record, RunOpened):
        if not was_refused and not is_visit(step.record):
            opened[step.record.run_id] = step.record.start_time
    elif isinstance(step.record, RunClosed):
        opened.pop(step.record.run_id, None)


def _sequences(step: Step) -> list[int]:
    if isinstance(step, BatchStep):
        return [sequence for sequence, _ in records_of(step.batch)]
    return [step.sequence]


def _require(numbers: Collection[int], letters: Sequence[DeadLetter]) -> None:
    unknown = set(numbers) - {letter.number for letter in letters}
    if unknown:
        raise NotFound(
            f"there is no dead letter {', '.join(map(str, sorted(unknown)))}",
            hint="bridge sync dead-letters",
        )
