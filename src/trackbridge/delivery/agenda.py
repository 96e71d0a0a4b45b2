"""Which steps of a window may be sent at the same time.

::

    experiment -> opening of its first run -> other openings
    opening of the parent -> opening of a run -> its data, its artifacts one by one -> its end

Everything else is independent: runs of one another, metric batches of one run of one another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from trackbridge.delivery.sending import Errand, Refused
from trackbridge.delivery.steps import BatchStep, Step
from trackbridge.domain.records import ArtifactLogged, ExperimentOpened, ModelRegistered, RunOpened
from trackbridge.domain.runs import TAG_PARENT


@dataclass(slots=True)
class _Entry:
    """A step: how many others it waits for, who waits for it, and how many of its errands are open."""

    step: Step
    waits_for: int = 0
    followers: list[_Entry] = field(default_factory=list)
    errands_open: int = 1
    refused: list[Refused] = field(default_factory=list)


class Agenda:
    """The steps of a window on their way.

    Args:
        steps: In the order of the journal.
        is_repeating: Whether they may have been sent before.
    """

    def __init__(self, steps: Iterable[Step], *, is_repeating: bool) -> None:
        self._is_repeating = is_repeating
        self._ready: deque[Errand] = deque()
        self._owners: dict[int, _Entry] = {}  # id of an errand that is not done -> its step
        for entry in _entries(steps):
            if not entry.waits_for:
                self._begin(entry)

    def __len__(self) -> int:
        return len(self._ready)

    def take(self) -> Errand:
        """Return something that may be sent now; there must be some."""
        return self._ready.popleft()

    def put_back(self, errand: Errand) -> None:
        """Leave for later what could not be sent, behind what was not tried yet."""
        self._ready.append(errand)

    def finish(self, errand: Errand, more: Iterable[Errand]) -> tuple[Step, list[Refused]] | None:
        """Take account of an errand that is done, and of those that it led to.

        Returns:
            The step with all that was refused of it, when nothing of it is left.
        """
        entry = self._owners.pop(id(errand))
        entry.refused += errand.refused
        entry.errands_open -= 1
        for following in more:
            self._add(entry, following)
            entry.errands_open += 1
        if entry.errands_open:
            return None
        for follower in entry.followers:
            follower.waits_for -= 1
            if not follower.waits_for:
                self._begin(follower)
        return entry.step, entry.refused

    def _begin(self, entry: _Entry) -> None:
        self._add(entry, Errand(entry.step, is_repeating=self._is_repeating))

    def _add(self, entry: _Entry, errand: Errand) -> None:
        self._owners[id(errand)] = entry
        self._ready.append(errand)


@dataclass(slots=True)
class _Course:
    """What the next step of a run has to wait for."""

    barrier: _Entry | None = None  # everything after it waits for it
    since: list[_Entry] = field(default_factory=list)  # the next barrier waits for all of these
    artifact: _Entry | None = None  # one path may be written twice


def _entries(steps: Iterable[Step]) -> list[_Entry]:
    """Return the steps with what each has to wait for."""
    entries: list[_Entry] = []
    courses: dict[str, _Course] = {}
    experiments: dict[str, _Entry] = {}
    openings: dict[str, _Entry] = {}
    registration: _Entry | None = None
    for step in steps:
        entry = _Entry(step)
        entries.append(entry)
        if isinstance(step, BatchStep):
            course = courses.setdefault(step.batch.run_id, _Course())
            _wait(entry, course.barrier)
            course.since.append(entry)
            continue
        record = step.record
        if isinstance(record, ExperimentOpened):
            _wait(entry, experiments.get(record.experiment_id))
            experiments[record.experiment_id] = entry
            continue
        course = courses.setdefault(record.run_id, _Course())
        if isinstance(record, ArtifactLogged):
            _wait(entry, course.barrier, course.artifact)
            course.since.append(entry)
            course.artifact = entry
            continue
        if isinstance(record, RunOpened):
            parent = openings.get(record.tags.get(TAG_PARENT, ""))
            _wait(entry, parent, experiments.setdefault(record.experiment_id, entry))
            openings[record.run_id] = entry
        elif isinstance(record, ModelRegistered):  # versions are numbered in the order of their creation
            _wait(entry, registration)
            registration = entry
        _wait(entry, course.barrier, *course.since)
        courses[record.run_id] = _Course(barrier=entry)
    return entries


def _wait(entry: _Entry, *others: _Entry | None) -> None:
    for other in others:
        if other is not None and other is not entry:
            other.followers.append(entry)
            entry.waits_for += 1
