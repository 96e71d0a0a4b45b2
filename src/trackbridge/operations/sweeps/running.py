"""Going on with a sweep until it has ended, with so many jobs under way at once.

Whatever stops this process, the jobs that it has started go on, and the next process takes them up: a trial
is noted before its job is submitted, and the job's key is the sweep's key with the trial's number.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from trackbridge.domain.jobs import JobSpec, JobState
from trackbridge.domain.runs import TAG_PARENT, RunStatus
from trackbridge.domain.sweeps import is_better
from trackbridge.errors import (
    BridgeError,
    Exhausted,
    LimitReached,
    NotFound,
    Rejected,
    Transient,
    Unavailable,
)
from trackbridge.operations.settle import settle_job
from trackbridge.operations.submit import RunWanted, submit
from trackbridge.operations.sweeps.definition import SweepDefinition, SweepLimits, trial_key, trials_of
from trackbridge.operations.sweeps.parent import (
    TAG_SWEEP,
    TAG_TRIAL,
    close_parent,
    note_progress,
    now_ms,
    open_parent,
    status_of,
)
from trackbridge.operations.sweeps.records import SweepFolder, Trial, TrialState
from trackbridge.operations.sweeps.samplers import Proposer, proposer_of
from trackbridge.operations.sweeps.values import value_of
from trackbridge.operations.waiting import Pace, Stop
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.jobs import JobBackend
from trackbridge.ports.tracking import TrackingStore

LOCAL_WAIT_S = 0.025
LOCAL_SHARE = 0.02
"""A job of this machine that took a minute is seen to have ended a second late at the most."""

REMOTE_WAIT_S = 1.0
REMOTE_CALLS_S_MAX = 2.0
"""How many jobs of a remote backend are asked for in a second."""

PROGRESS_S = 5.0
"""How often the parent run is told how the sweep stands, but for a new best trial."""

DELIVERY_S_MAX = 600.0
"""How long what a job has logged may be under way."""

TROUBLES_MAX = 20


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a sweep works with.

    ``spec_of`` makes the job of a trial out of its parameters. ``tracking_uri`` is what jobs get to know,
    ``place`` the URI of the job backend. ``journal_root`` is where journals of this machine lie, ``notes``
    where submissions are noted.
    """

    jobs: JobBackend
    tracking: TrackingStore
    artifacts: ArtifactStore | None
    tracking_capabilities: Capabilities
    jobs_are_local: bool
    tracking_uri: str
    place: str
    journal_root: Path
    spec_of: Callable[[Mapping[str, str]], JobSpec]
    notes: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a sweep stands at the end."""

    trials: Mapping[int, Trial]
    best: Trial | None
    is_interrupted: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """How many trials there are, and how they ended."""
        states = [trial.state for trial in self.trials.values()]
        return {
            "trials": len(states),
            "complete": states.count(TrialState.COMPLETE),
            "failed": states.count(TrialState.FAILED),
        }

    def has_failed(self, limits: SweepLimits) -> bool:
        """Tell whether too many trials have failed."""
        return self.counts["failed"] >= limits.failures_max

    def run_status(self, limits: SweepLimits) -> RunStatus:
        """Return the status of the sweep's run, once nobody goes on with it."""
        if self.is_interrupted:
            return RunStatus.KILLED
        return RunStatus.FAILED if self.has_failed(limits) or self.best is None else RunStatus.FINISHED


@dataclass(slots=True)
class _Active:
    """A trial whose job has been submitted, or is to be."""

    trial: Trial
    ended_s: float | None = None


@dataclass
class Sweeping:
    """One process's part in a sweep. ``on_trial`` is told whenever a trial has come further."""

    definition: SweepDefinition
    limits: SweepLimits
    folder: SweepFolder
    around: Surroundings
    on_trial: Callable[[Trial], None] = lambda trial: None
    on_trouble: Callable[[str], None] = lambda message: None
    stop: Stop = field(default_factory=Stop)
    pace: Pace | None = None

    def __post_init__(self) -> None:
        remote_s = max(REMOTE_WAIT_S, self.limits.parallel / REMOTE_CALLS_S_MAX)
        if self.around.jobs_are_local:
            pace = Pace(wait_s_min=LOCAL_WAIT_S, wait_s_max=5.0, share=LOCAL_SHARE, pause=self.stop.wait)
        else:
            pace = Pace(wait_s_min=remote_s, wait_s_max=max(remote_s, 5.0), pause=self.stop.wait)
        self._pace = self.pace or pace
        self._trials: dict[int, Trial] = {}
        self._active: dict[int, _Active] = {}
        self._best: Trial | None = None
        self._told_s = self._pace.clock()
        self._troubles = 0

    def run(self) -> Outcome:
        """Go on with the sweep until it has ended, or ``stop`` is set; the lock of its folder is held.

        Raises:
            LimitReached: So many trials have failed that no further one was begun.
            Rejected: The first trial cannot run there.
            Transient: A backend cannot be asked, for long.
        """
        self.folder.mend()
        self._trials = self.folder.trials()
        proposer = proposer_of(self.definition, self.folder.study_log, self._trials.values())
        self._find_best()
        self._active = {
            number: _Active(trial) for number, trial in self._trials.items() if not trial.state.is_final
        }
        if self._is_over() and not self._active:
            return self._end()
        limits = self.around.tracking_capabilities.limits
        open_parent(self.definition, self.around.tracking, limits)
        try:
            self._go_on(proposer)
        except BridgeError as error:
            error.advise(
                f"{error.hint}; " * bool(error.hint) + f"go on with: bridge sweep resume {self.folder.key}"
            )
            with suppress(BridgeError):  # it may be the tracking store that cannot be asked
                self._close(RunStatus.FAILED)
            raise
        return self._end()

    # The loop.

    def _go_on(self, proposer: Proposer) -> None:
        since_s = self._pace.clock()
        while not self.stop.is_set():
            has_moved = self._begin(proposer)
            for active in list(self._active.values()):
                if active.trial.job_id and not self.stop.is_set():
                    has_moved |= self._look(active, proposer)
            if not self._active and self._is_over():
                return
            if has_moved:
                since_s = self._pace.clock()
                self._tell_parent()
            else:
                self._pace.wait(since_s)

    def _is_over(self) -> bool:
        """Tell whether no further trial is to be begun."""
        return is_over(self._trials, self.definition, self.limits)

    def _begin(self, proposer: Proposer) -> bool:
        """Submit what was noted and not submitted, then as many new trials as may be; True if any was."""
        has_moved = False
        for active in [active for active in self._active.values() if not active.trial.job_id]:
            has_moved |= self._submit(active, proposer)
        while not self.stop.is_set() and len(self._active) < self.limits.parallel and not self._is_over():
            trial = proposer.propose(len(self._trials))
            self._note(trial)
            self._active[trial.number] = active = _Active(trial)
            if not self._submit(active, proposer):
                break
            has_moved = True
        return has_moved

    def _submit(self, active: _Active, proposer: Proposer) -> bool:
        """Submit the job of a trial; True unless that has to wait."""
        trial, definition = active.trial, self.definition
        run = run_wanted(definition, trial, self.around.tracking, self.around.tracking_uri)
        try:
            spec = msgspec.structs.replace(self.around.spec_of(trial.params), name=run.name)
            key = trial_key(definition.key, trial.number)
            place, notes = self.around.place, self.around.notes
            submitted = submit(spec, self.around.jobs, run, key=key, place=place, notes=notes)
        except (Transient, Exhausted) as error:
            self._bear(error)
            return False
        except Rejected as error:
            if not self._has_submitted:  # it is not the values of one trial
                raise
            self._conclude(active, proposer, None, f"its job is not taken: {error}")
            return True
        self._troubles = 0
        active.trial = msgspec.structs.replace(
            trial, state=TrialState.SUBMITTED, job_id=submitted.state.job_id, run_id=submitted.run_id
        )
        self._note(active.trial)
        return True

    @property
    def _has_submitted(self) -> bool:
        return any(trial.job_id for trial in self._trials.values())

    def _look(self, active: _Active, proposer: Proposer) -> bool:
        """Look how a trial's job stands; True when the trial has ended with it."""
        around, trial = self.around, active.trial
        try:
            state = around.jobs.status(trial.job_id)
            if not state.status.is_final:
                self._troubles = 0
                return False
            if not self._is_settled(active, state):
                return False
            run = around.tracking.get_run(trial.run_id)
            value, reason = value_of(
                run,
                state,
                around.tracking,
                metric=self.definition.metric,
                which=self.definition.value_of,
            )
        except NotFound as error:
            value, reason = None, f"it is not there any more: {error}"
        except (Transient, Exhausted) as error:
            self._bear(error)
            return False
        self._troubles = 0
        self._conclude(active, proposer, value, reason)
        return True

    def _is_settled(self, active: _Active, state: JobState) -> bool:
        """Have the run of a job that has ended closed; False while what its program logged is under way."""
        now_s = self._pace.clock()
        active.ended_s = ended_s = now_s if active.ended_s is None else active.ended_s
        is_settled = settle_job(
            state,
            self.around.tracking,
            journal_root=self.around.journal_root,
            destination=self.around.tracking_uri,
            artifacts=self.around.artifacts,
            jobs=self.around.jobs,
            place=self.around.place,
        )
        if is_settled is False and now_s - ended_s > DELIVERY_S_MAX:
            raise Unavailable(
                f"what trial {active.trial.number} logged is not delivered",
                operation="sweep",
                resource=f"run {active.trial.run_id}",
                hint="bridge sync status",
            )
        return is_settled is not False

    def _conclude(self, active: _Active, proposer: Proposer, value: float | None, reason: str) -> None:
        state = TrialState.FAILED if value is None else TrialState.COMPLETE
        trial = msgspec.structs.replace(
            active.trial, state=state, value=value, reason=reason, end_time=now_ms()
        )
        self._note(trial)
        proposer.tell(trial)
        del self._active[trial.number]
        best = self._best
        self._find_best()
        if self._best is not best:
            self._tell_parent(at_once=True)

    def _note(self, trial: Trial) -> None:
        self.folder.note(trial)
        self._trials[trial.number] = trial
        self.on_trial(trial)

    def _bear(self, error: BridgeError) -> None:
        """Let a passing trouble pass.

        Raises:
            BridgeError: There were too many of them, one after the other.
        """
        self._troubles += 1
        if self._troubles >= TROUBLES_MAX:
            raise error
        if self._troubles == 1:
            self.on_trouble(f"{error}; trying again")

    # The parent run.

    def _find_best(self) -> None:
        self._best = best_of(self._trials, self.definition)

    def _tell_parent(self, *, at_once: bool = False) -> None:
        """Write to the parent run how the sweep stands; what does not go through now is written later."""
        now_s = self._pace.clock()
        if not at_once and now_s - self._told_s < PROGRESS_S:
            return
        self._told_s = now_s
        try:
            self._note_progress()
        except (Transient, Exhausted) as error:
            self._bear(error)

    def _note_progress(self) -> None:
        limits = self.around.tracking_capabilities.limits
        counts = Outcome(self._trials, self._best).counts
        note_progress(self.definition, self.around.tracking, limits, counts, self._best)

    def _end(self) -> Outcome:
        outcome = outcome_of(self._trials, self.definition, self.limits)
        status = outcome.run_status(self.limits)
        if status_of(self.definition, self.around.tracking) is not status:
            self._close(status)
        if outcome.has_failed(self.limits) and not outcome.is_interrupted:
            raise LimitReached(
                f"{outcome.counts['failed']} trials have failed, and no further one is begun",
                operation="sweep",
                resource=f"sweep {self.folder.key}",
                hint=f"see why: bridge sweep show {self.folder.key}; go on with --max-failures "
                f"{self.limits.failures_max * 2}",
            )
        return outcome

    def _close(self, status: RunStatus) -> None:
        self._note_progress()
        close_parent(self.definition, self.around.tracking, status, now_ms())


def is_over(trials: Mapping[int, Trial], definition: SweepDefinition, limits: SweepLimits) -> bool:
    """Tell whether no further trial is to be begun: there are as many as asked for, or too many failed."""
    failed = sum(trial.state is TrialState.FAILED for trial in trials.values())
    return len(trials) >= trials_of(definition, limits) or failed >= limits.failures_max


def outcome_of(trials: Mapping[int, Trial], definition: SweepDefinition, limits: SweepLimits) -> Outcome:
    """Return how a sweep stands."""
    has_ended = all(trial.state.is_final for trial in trials.values()) and is_over(trials, definition, limits)
    return Outcome(dict(trials), best_of(trials, definition), is_interrupted=not has_ended)


def run_wanted(
    definition: SweepDefinition, trial: Trial, tracking: TrackingStore, tracking_uri: str
) -> RunWanted:
    """Return the run to open for a trial, nested in that of the sweep."""
    nested = {TAG_PARENT: definition.run_id, TAG_SWEEP: definition.key, TAG_TRIAL: str(trial.number)}
    return RunWanted(
        tracking=tracking,
        tracking_uri=tracking_uri,
        experiment=definition.experiment,
        name=f"{definition.name}-{trial.number}",
        user=definition.user,
        params=trial.params,
        tags={**definition.tags, **nested},
    )


def best_of(trials: Mapping[int, Trial], definition: SweepDefinition) -> Trial | None:
    """Return the trial with the best value; of equal ones the first."""
    best: Trial | None = None
    for _, trial in sorted(trials.items()):
        if trial.value is not None and is_better(trial.value, best.value if best else None, definition.mode):
            best = trial
    return best


@contextmanager
def interrupts(stop: Stop) -> Iterator[None]:
    """Let the first Ctrl-C set ``stop``, so that nothing is left half done; the second one interrupts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
