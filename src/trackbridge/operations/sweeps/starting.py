"""Beginning a sweep, going on with one, and finding those that there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from trackbridge.domain.jobs import JobSpec
from trackbridge.domain.runs import RunStatus
from trackbridge.domain.sweeps import Choice, Space, ValueOf
from trackbridge.errors import InvalidInput, NotFound, Rejected
from trackbridge.operations.job_notes import notes_folder
from trackbridge.operations.job_sources.sources import JobSource, job_spec, refuse_elsewhere
from trackbridge.operations.opening import Opened, UriArgument, find_place, open_place
from trackbridge.operations.submit import RunWanted, cancel_of_run, run_id_of
from trackbridge.operations.sweeps.definition import (
    SweepDefinition,
    SweepLimits,
    refuse_unfit,
    trial_key,
)
from trackbridge.operations.sweeps.parent import close_parent, status_of
from trackbridge.operations.sweeps.records import SweepFolder, Trial, TrialState, all_sweeps
from trackbridge.operations.sweeps.running import (
    Outcome,
    Surroundings,
    Sweeping,
    interrupts,
    outcome_of,
    run_wanted,
)
from trackbridge.operations.waiting import Stop
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.findings import Severity
from trackbridge.resolve.config import Settings
from trackbridge.resolve.destinations import journal_folders, journal_root, resolve_destinations

Told = Callable[[str], None]


def sweep_root(tracking_uri: UriArgument, settings: Settings) -> Path:
    """Return the folder below which the sweeps of a tracking URI lie: that of its journals."""
    return journal_root(resolve_destinations(tracking_uri, settings=settings), settings=settings).parent


def find_sweep(key: str, tracking_uri: UriArgument, settings: Settings) -> SweepFolder:
    """Return the folder of a sweep, by its key.

    Raises:
        NotFound: There is none.
    """
    for root in sweep_roots(tracking_uri, settings):
        folder = SweepFolder(root, key)
        if folder.exists:
            return folder
    raise NotFound(f"there is no sweep {key!r} here", operation="sweep", hint="bridge sweep list")


def list_sweeps(tracking_uri: UriArgument, settings: Settings) -> list[SweepFolder]:
    """Return the sweeps that were begun here, the newest first."""
    return [folder for root in sweep_roots(tracking_uri, settings) for folder in all_sweeps(root)]


def sweep_roots(tracking_uri: UriArgument, settings: Settings) -> list[Path]:
    """Return the folders below which sweeps may lie."""
    destinations = resolve_destinations(tracking_uri, settings=settings)
    folders = journal_folders(destinations, settings=settings, everywhere=True)
    return [folder.parent for folder in folders]


class Sweep:
    """A sweep with its backends open; ``close`` releases them."""

    def __init__(
        self,
        definition: SweepDefinition,
        limits: SweepLimits,
        *,
        settings: Settings,
        folder: SweepFolder | None = None,
    ) -> None:
        refuse_unfit(definition, limits)
        self.definition, self.limits = definition, limits
        root = sweep_root(definition.tracking_uri, settings)
        self.folder = folder or SweepFolder(root, definition.key)
        self._journal_root = root / "journal"
        self.tracking = open_place(definition.tracking_uri, settings=settings)
        self._settings = settings
        self._opened: Opened | None = None

    def close(self) -> None:
        """Release the backends."""
        self.tracking.close()
        if self._opened is not None and self._opened is not self.tracking:
            self._opened.close()

    @property
    def place(self) -> Opened:
        """Where the jobs run; opened when it is first asked for."""
        if self._opened is None:
            settings = self._settings
            is_same = find_place(self.definition.place, settings=settings).uri.text == self.tracking.uri
            self._opened = self.tracking if is_same else open_place(self.definition.place, settings=settings)
        return self._opened

    def check(self) -> JobSpec:
        """Return the job of the first trial, having seen that it can run; nothing is submitted or changed.

        Raises:
            Rejected: It cannot; the message says why.
            Unsupported: The tracking backend does not tell the history of a metric, and that is asked for.
            MissingExtra: The sampler is not installed.
        """
        capabilities = self.tracking.capabilities
        if self.definition.value_of is not ValueOf.LAST:
            capabilities.require(Feature.TRACKING_METRIC_HISTORY, operation="sweep")
        spec = self.first_spec()
        findings = [item for item in self.place.jobs.check(spec) if item.severity is Severity.ERROR]
        if findings:
            told = "; ".join(f"{finding.subject}: {finding.message}" for finding in findings)
            fixes = "; ".join(finding.fix for finding in findings if finding.fix)
            raise Rejected(f"the jobs cannot run: {told}", operation="sweep", hint=fixes or None)
        return spec

    def first_run(self) -> RunWanted:
        """Return the run that would be opened for the first trial."""
        trial = Trial(number=0, params=self.first_params(), state=TrialState.PROPOSED)
        return run_wanted(self.definition, trial, self.tracking.tracking, self.tracking.uri)

    def first_spec(self) -> JobSpec:
        """Return the job that the first trial would be."""
        return self._spec_of(self.first_params())

    def first_params(self) -> dict[str, str]:
        """Return parameters as a first trial could have them, without asking a sampler that learns."""
        return middle_of(self.definition.space)

    def run(
        self,
        *,
        on_trial: Callable[[Trial], None] = lambda trial: None,
        on_trouble: Told = lambda message: None,
        stop: Stop | None = None,
    ) -> Outcome:
        """Begin the sweep, or go on with it, until it has ended; Ctrl-C leaves its jobs alone.

        Raises:
            Conflict: The key was used for another sweep.
            Locked: Another process goes on with it.
            LimitReached: Too many trials have failed.
        """
        self.check()
        stop = stop or Stop()
        with self.folder.held(), interrupts(stop):
            definition = self.folder.settle_on(self.definition, self.limits)
            sweeping = Sweeping(
                definition,
                self.limits,
                self.folder,
                self._surroundings(),
                on_trial=on_trial,
                on_trouble=on_trouble,
                stop=stop,
            )
            return sweeping.run()

    def _surroundings(self) -> Surroundings:
        tracking = self.tracking
        return Surroundings(
            jobs=self.place.jobs,
            tracking=tracking.tracking,
            artifacts=tracking.adapter.artifacts,
            tracking_capabilities=tracking.capabilities,
            jobs_are_local=self.place.capabilities.is_local,
            tracking_uri=tracking.uri,
            place=self.place.uri,
            journal_root=self._journal_root,
            spec_of=self._spec_of,
            notes=notes_folder(self.place.uri, self._settings),
        )

    def _spec_of(self, params: Mapping[str, str]) -> JobSpec:
        spec = trial_spec(self.definition.source, params)
        refuse_elsewhere(spec, is_local=self.place.capabilities.is_local)
        return spec

    # Looking after it, and ending it.

    def standing(self) -> Outcome:
        """Return how the sweep stands by what was noted.

        The parent run of a sweep that nobody goes on with is closed, for as long as that is so.
        """
        outcome = outcome_of(self.folder.trials(), self.definition, self.limits)
        tracking = self.tracking.tracking
        if not self.folder.is_held() and status_of(self.definition, tracking) is RunStatus.RUNNING:
            times = [trial.end_time for trial in outcome.trials.values() if trial.end_time is not None]
            end_time = max(times, default=None) or tracking.get_run(self.definition.run_id).info.start_time
            close_parent(self.definition, tracking, outcome.run_status(self.limits), end_time)
        return outcome

    def cancel(self) -> list[str]:
        """Ask the jobs to stop that are under way; return their ids.

        Among them is one that was submitted by a process which died before it noted that.

        Raises:
            Locked: A process goes on with the sweep, and would begin the next ones.
        """
        asked = []
        with self.folder.held():
            for trial in self.folder.trials().values():
                if trial.state.is_final:
                    continue
                job_id: str | None = trial.job_id
                if job_id:
                    self.place.jobs.cancel(job_id)
                else:
                    run_id = run_id_of(trial_key(self.definition.key, trial.number))
                    job_id = cancel_of_run(self.place.jobs, run_id)
                asked += [job_id] if job_id else []
        return asked


def trial_spec(source: JobSource, params: Mapping[str, str]) -> JobSpec:
    """Return the job of a trial. In the words of a command, ``{name}`` stands for a parameter.

    Raises:
        InvalidInput: A value is missing or of the wrong type, or none of them would reach the command.
    """
    spec = job_spec(source, params)
    if source.entry_point is not None or source.words[0].endswith(".py"):
        return spec
    words = spec.command
    for name, value in spec.parameters.items():
        words = tuple(word.replace(f"{{{name}}}", value) for word in words)
    if words == spec.command:
        raise InvalidInput(
            "the command has no place for the parameters",
            operation="sweep",
            hint=f"write for example -- {source.words[0]} --{next(iter(params), 'lr')} "
            f"'{{{next(iter(params), 'lr')}}}'",
        )
    return msgspec.structs.replace(spec, command=words)


def middle_of(space: Space) -> dict[str, str]:
    """Return a point of the space, to see whether a job can be made of it."""
    return {
        name: item.values[0] if isinstance(item, Choice) else item.spread(0.5) for name, item in space.items()
    }
