"""Who proposes a trial's parameters: the grid, chance, or one of Optuna's samplers, asked and told.

A proposal of the grid or of chance is a function of its number. Optuna's samplers learn: their memory is
Optuna's own journal in the sweep's folder, written by nobody but who holds the sweep's lock.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trackbridge.domain.sweeps import Choice, Dimension, Mode, Space, grid_point, random_point, searched
from trackbridge.errors import MissingExtra
from trackbridge.operations.sweeps.definition import Sampler, SweepDefinition
from trackbridge.operations.sweeps.records import Trial, TrialState

INSTALL = "pip install 'trackbridge[sweeps]'"


class Proposer(ABC):
    """Proposes parameters and learns what came of them."""

    @abstractmethod
    def propose(self, number: int) -> Trial:
        """Return the trial of this number."""

    def tell(self, trial: Trial) -> None:  # noqa: B027  those that do not learn need not
        """Learn how a trial has ended. Told again, it changes nothing."""


class GridProposer(Proposer):
    """Every point of the grid, one after the other."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def propose(self, number: int) -> Trial:
        """Return the point of this number."""
        return Trial(number=number, params=grid_point(self._space, number), state=TrialState.PROPOSED)


class RandomProposer(Proposer):
    """Points by chance."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed

    def propose(self, number: int) -> Trial:
        """Return the point that chance has for this number."""
        params = random_point(self._space, seed=self._seed, number=number)
        return Trial(number=number, params=params, state=TrialState.PROPOSED)


class StudyProposer(Proposer):
    """Optuna's study and sampler."""

    def __init__(self, definition: SweepDefinition, memory: Path, known: Iterable[Trial]) -> None:
        self._space = definition.space
        with _optuna() as optuna:
            self._optuna = optuna
            storage = optuna.storages.JournalStorage(
                optuna.storages.journal.JournalFileBackend(str(memory), lock_obj=_HeldAlready())
            )
            self._study = optuna.create_study(
                storage=storage,
                study_name=definition.run_id,
                direction="minimize" if definition.mode is Mode.MIN else "maximize",
                load_if_exists=True,
            )
            begun = len(self._study.get_trials(deepcopy=False))
            self._study.sampler = _sampler(optuna, definition, begun)
            self._distributions = {
                name: _distribution(optuna, self._space[name]) for name in searched(self._space)
            }
            self._catch_up(known)

    def propose(self, number: int) -> Trial:
        """Ask the sampler."""
        asked = self._study.ask(self._distributions)
        params = {name: _text(dimension, asked.params.get(name)) for name, dimension in self._space.items()}
        return Trial(number=number, params=params, state=TrialState.PROPOSED, study_number=asked.number)

    def tell(self, trial: Trial) -> None:
        """Tell the sampler the value, or that there is none."""
        if trial.state is TrialState.COMPLETE:
            self._study.tell(trial.study_number, trial.value, skip_if_finished=True)
        else:
            self._fail(trial.study_number)

    def _catch_up(self, known: Iterable[Trial]) -> None:
        """Tell what was noted and not told; what was asked for and never noted came to nothing."""
        by_number = {trial.study_number: trial for trial in known}
        running = self._study.get_trials(deepcopy=False, states=(self._optuna.trial.TrialState.RUNNING,))
        for asked in running:
            trial = by_number.get(asked.number)
            if trial is None:
                self._fail(asked.number)
            elif trial.state.is_final:
                self.tell(trial)

    def _fail(self, study_number: int | None) -> None:
        self._study.tell(study_number, state=self._optuna.trial.TrialState.FAIL, skip_if_finished=True)


def proposer_of(definition: SweepDefinition, memory: Path, known: Iterable[Trial]) -> Proposer:
    """Return who proposes the trials of a sweep.

    Args:
        definition: The sweep.
        memory: The file for what Optuna's sampler remembers.
        known: The trials that there are.

    Raises:
        MissingExtra: The sampler is Optuna's, and Optuna or what the sampler needs is not installed.
    """
    if definition.sampler is Sampler.GRID:
        return GridProposer(definition.space)
    if definition.sampler is Sampler.RANDOM:
        return RandomProposer(definition.space, definition.seed)
    return StudyProposer(definition, memory, known)


@contextmanager
def _optuna() -> Iterator[Any]:
    """Give Optuna; its log is quiet.

    Raises:
        MissingExtra: It, or a package that one of its samplers needs, is not there.
    """
    try:
        import optuna
        import optuna.storages.journal

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        yield optuna
    except ImportError as error:
        raise MissingExtra(
            f"this sampler is one of Optuna's and cannot be imported ({error})",
            operation="sweep",
            hint=f"{INSTALL}, or take --sampler random",
        ) from error


class _HeldAlready:
    """A lock for Optuna's journal that does nothing: the sweep's own is held.

    Optuna's would outlive a kill, and keep the next process waiting for half a minute.
    """

    def acquire(self) -> bool:
        """Say that it is taken."""
        return True

    def release(self) -> None:
        """Do nothing."""


def _sampler(optuna: Any, definition: SweepDefinition, begun: int) -> Any:
    """Return the sampler; a study that goes on gets other chances than those that it began with."""
    digest = hashlib.sha256(f"{definition.seed}\0{begun}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big")
    samplers = optuna.samplers
    if definition.sampler is Sampler.TPE:
        return samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
    if definition.sampler is Sampler.CMAES:
        return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if definition.sampler is Sampler.QMC:  # its place in the sequence is kept in the study
        return samplers.QMCSampler(
            seed=definition.seed % 2**32, scramble=True, warn_independent_sampling=False
        )
    if definition.sampler is Sampler.GP:
        return samplers.GPSampler(seed=seed)
    return samplers.NSGAIISampler(seed=seed)


def _distribution(optuna: Any, dimension: Dimension) -> Any:
    kinds = optuna.distributions
    if isinstance(dimension, Choice):
        return kinds.CategoricalDistribution(dimension.values)
    count = dimension.count
    high = dimension.high if count is None else dimension.at(count - 1)
    if dimension.is_int:
        return kinds.IntDistribution(
            int(dimension.low), int(high), log=dimension.is_log, step=int(dimension.step or 1)
        )
    step = None if dimension.step is None else float(dimension.step)
    return kinds.FloatDistribution(float(dimension.low), float(high), log=dimension.is_log, step=step)


def _text(dimension: Dimension, value: Any) -> str:
    """Return a value as the job gets it; a fixed one is not asked for."""
    if isinstance(dimension, Choice):
        return dimension.values[0] if value is None else str(value)
    return dimension.nearest(value)
