"""What a sweep is: everything that another process needs to go on with it."""

from __future__ import annotations

import hashlib
from enum import Enum

import msgspec

from trackbridge.domain.ids import is_minted
from trackbridge.domain.sweeps import Dimension, Mode, ValueOf, grid_size, searched
from trackbridge.errors import ConfigError, InvalidInput
from trackbridge.operations.job_sources.sources import JobSource

KEY_CHARS_MAX = 180
"""A job's key has 200; a trial's is the sweep's with its number."""

FAILURES_MAX = 10
PARALLEL_MAX = 1000
TRIALS_MAX = 100_000


class Sampler(str, Enum):
    """Who proposes the parameters: here, or by Optuna's sampler of that name."""

    GRID = "grid"
    RANDOM = "random"
    TPE = "tpe"
    CMAES = "cmaes"
    QMC = "qmc"
    GP = "gp"
    NSGA2 = "nsga2"

    @property
    def is_ours(self) -> bool:
        """True for those that need no further package."""
        return self in (Sampler.GRID, Sampler.RANDOM)


class SweepDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """What stays the same for as long as the sweep lives.

    ``source`` is what its jobs are made of, ``space`` the parameters that they get. ``place`` and
    ``tracking_uri`` are as the user named them where that is a remote's name, so that its settings apply.
    ``experiment``, ``name``, ``user`` and ``tags`` are those of the runs.
    """

    key: str
    source: JobSource
    space: dict[str, Dimension]
    sampler: Sampler
    seed: int
    metric: str
    mode: Mode = Mode.MIN
    value_of: ValueOf = ValueOf.LAST
    place: str = "local"
    tracking_uri: str = ""
    experiment: str = ""
    name: str = ""
    user: str = ""
    tags: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """The id of the parent run; it names the sweep's folder, too."""
        return sweep_run_id(self.key)


class SweepLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What may be changed when a sweep is taken up again.

    ``trials`` is how many there are in all, None for every point of the grid; ``parallel`` how many jobs are
    under way at once. After ``failures_max`` failed ones, no further one is begun. The model of the best is
    registered as ``register_as``.
    """

    trials: int | None = None
    parallel: int = 1
    failures_max: int = FAILURES_MAX
    register_as: str | None = None


def sweep_run_id(key: str) -> str:
    """Return the id of the parent run of a sweep."""
    return key if is_minted(key) else hashlib.sha256(b"trackbridge sweep\0" + key.encode()).hexdigest()[:32]


def trial_key(key: str, number: int) -> str:
    """Return the key of a trial's job."""
    return f"{key}/{number}"


def trials_of(definition: SweepDefinition, limits: SweepLimits) -> int:
    """Return how many trials a sweep has in all."""
    if definition.sampler is not Sampler.GRID:
        return limits.trials or 0
    size = grid_size(definition.space)
    return size if limits.trials is None else min(size, limits.trials)


def refuse_unfit(definition: SweepDefinition, limits: SweepLimits) -> None:
    """Refuse what no sweep could be.

    Raises:
        ConfigError: The key is none, or a limit.
        InvalidInput: The space does not go with the sampler, or there is nothing to go by.
    """
    key = definition.key
    if not key.strip() or len(key) > KEY_CHARS_MAX or not key.isprintable():
        raise ConfigError(f"a sweep's key is 1 to {KEY_CHARS_MAX} printable characters", operation="sweep")
    if not 1 <= limits.parallel <= PARALLEL_MAX:
        raise ConfigError(
            f"{limits.parallel} jobs at once cannot be", operation="sweep", hint=f"1 to {PARALLEL_MAX:,}"
        )
    if limits.trials is not None and not 1 <= limits.trials <= TRIALS_MAX:
        raise ConfigError(f"{limits.trials} trials cannot be", operation="sweep", hint=f"1 to {TRIALS_MAX:,}")
    if limits.failures_max < 1:
        raise ConfigError("at least one failure ends a sweep", operation="sweep", hint="--max-failures 1")
    if not definition.metric:
        raise InvalidInput(
            "a sweep goes by a metric, and none is named",
            operation="sweep",
            hint="--metric val_loss --mode min",
        )
    if definition.sampler is Sampler.GRID:
        grid_size(definition.space)
        return
    if limits.trials is None:
        raise InvalidInput(
            f"the sampler {definition.sampler.value} goes on for ever", operation="sweep", hint="--trials 50"
        )
    if not any(searched(definition.space)):
        raise InvalidInput(
            "no parameter has more than one value",
            operation="sweep",
            hint='give one a range: -P "lr=loguniform(1e-4,1e-1)", or values: -P batch=16,32,64',
        )


def differences(known: SweepDefinition, wanted: SweepDefinition) -> tuple[str, ...]:
    """Return the names of what two definitions say differently."""
    names = (name for name in SweepDefinition.__struct_fields__ if name not in ("seed", "tags", "user"))
    return tuple(
        name
        for name in names
        if msgspec.to_builtins(getattr(known, name)) != msgspec.to_builtins(getattr(wanted, name))
    )
