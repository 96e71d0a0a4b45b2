"""Which steps may be sent at the same time.

::

    experiment -> opening of its first run -> other openings
    opening of the parent -> opening of a run -> its data, its artifacts one by one -> its end
    params and tags of a run -> its params and tags of a later window

Everything else is independent: runs of one another, metric batches of one run of one another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from trackbridge.delivery.sending import Errand, Refused
from trackbridge.delivery.steps import BatchStep, Step
from trackbridge.domain.batches import Batch
from trackbridge.domain.records import ArtifactLogged, ExperimentOpened, ModelRegistered, RunOpened
from trackbridge.domain.runs import TAG_PARENT

Window = TypeVar("Window")


@dataclass(slots=True, eq=False)
class _Entry(Generic[Window]):
    """A step: how many others it waits for, who waits for it, and how many of its errands are open."""

    window: Window
    step: Step
    is_repeating: bool
    waits_for: int = 0
    followers: list[_Entry[Window]] = field(default_factory=list)
    errands_open: int = 1
    refused: list[Refused] = field(default_factory=list)


class Agenda(Generic[Window]):
    """The steps of the windows that are under way, which are added in the order of the journal."""

    def __init__(self) -> None:
        self._ready: deque[Errand] = deque()
        self._owners: dict[int, _Entry[Window]] = {}  # id of an errand that is not done -> its step
        self._order: _Order[Window] = _Order()

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, steps: Iterable[Step], window: Window, *, is_repeating: bool) -> None:
        """Add the next window.

        Args:
            steps: In the order of the journal.
            window: What ``finish`` returns with each of them.
            is_repeating: Whether they may have been sent before.
        """
        self._order.forget_done()
        entries = [_Entry(window, step, is_repeating) for step in steps]
        for entry in entries:
            self._order.place(entry)
        for entry in entries:
            if not entry.waits_for:
                self._begin(entry)

    def take(self) -> Errand:
        """Return something that may be sent now; there must be some."""
        return self._ready.popleft()

    def put_back(self, errand: Errand) -> None:
        """Leave for later what could not be sent, behind what was not tried yet."""
        self._ready.append(errand)

    def finish(self, errand: Errand, more: Iterable[Errand]) -> tuple[Window, Step, list[Refused]] | None:
        """Take account of an errand that is done, and of those that it led to.

        Returns:
            The step with its window and all that was refused of it, when nothing of it is left.
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
        return entry.window, entry.step, entry.refused

    def _begin(self, entry: _Entry[Window]) -> None:
        self._add(entry, Errand(entry.step, is_repeating=entry.is_repeating))

    def _add(self, entry: _Entry[Window], errand: Errand) -> None:
        self._owners[id(errand)] = entry
        self._ready.append(errand)


@dataclass(slots=True)
class _Course(Generic[Window]):
    """What the next step of a run has to wait for."""

    barrier: _Entry[Window] | None = None  # everything after it waits for it
    since: list[_Entry[Window]] = field(default_factory=list)  # the next barrier waits for all of these
    settings: _Entry[Window] | None = None  # a param or tag may be set twice
    artifact: _Entry[Window] | None = None  # one path may be written twice

    @property
    def is_under_way(self) -> bool:
        return self.barrier is not None or bool(self.since)

    def forget_done(self) -> None:
        self.barrier = _unless_done(self.barrier)
        self.since = [entry for entry in self.since if entry.errands_open]
        self.settings = _unless_done(self.settings)
        self.artifact = _unless_done(self.artifact)


class _Order(Generic[Window]):
    """Lets each step wait for those before it that it must not overtake."""

    def __init__(self) -> None:
        self._courses: dict[str, _Course[Window]] = {}
        self._experiments: dict[str, _Entry[Window]] = {}
        self._openings: dict[str, _Entry[Window]] = {}
        self._registration: _Entry[Window] | None = None

    def forget_done(self) -> None:
        """Let go of the steps that nothing has to wait for any more."""
        for course in self._courses.values():
            course.forget_done()
        self._courses = {run: course for run, course in self._courses.items() if course.is_under_way}
        self._experiments = {key: entry for key, entry in self._experiments.items() if entry.errands_open}
        self._openings = {key: entry for key, entry in self._openings.items() if entry.errands_open}
        self._registration = _unless_done(self._registration)

    def place(self, entry: _Entry[Window]) -> None:
        """Let the next step of the journal wait."""
        if isinstance(entry.step, BatchStep):
            self._place_data(entry, entry.step.batch)
            return
        record = entry.step.record
        if isinstance(record, ExperimentOpened):
            _wait(entry, self._experiments.get(record.experiment_id))
            self._experiments[record.experiment_id] = entry
            return
        course = self._courses.setdefault(record.run_id, _Course())
        if isinstance(record, ArtifactLogged):
            _wait(entry, course.barrier, course.artifact)
            course.since.append(entry)
            course.artifact = entry
            return
        if isinstance(record, RunOpened):
            parent = self._openings.get(record.tags.get(TAG_PARENT, ""))
            _wait(entry, parent, self._experiments.setdefault(record.experiment_id, entry))
            self._openings[record.run_id] = entry
        elif isinstance(record, ModelRegistered):  # versions are numbered in the order of their creation
            _wait(entry, self._registration)
            self._registration = entry
        _wait(entry, course.barrier, *course.since)
        self._courses[record.run_id] = _Course(barrier=entry)

    def _place_data(self, entry: _Entry[Window], batch: Batch) -> None:
        course = self._courses.setdefault(batch.run_id, _Course())
        _wait(entry, course.barrier)
        if batch.params or batch.tags or batch.inputs:
            _wait(entry, course.settings)
            course.settings = entry
        course.since.append(entry)


def _wait(entry: _Entry[Window], *others: _Entry[Window] | None) -> None:
    for other in others:
        if other is not None and other is not entry and other.errands_open:
            other.followers.append(entry)
            entry.waits_for += 1


def _unless_done(entry: _Entry[Window] | None) -> _Entry[Window] | None:
    return entry if entry is not None and entry.errands_open else None
