"""Moving everything from one backend to another: ``tb.migrate.plan("sagemaker:", "azureml:").apply()``.

::

    plan = tb.migrate.plan("http://old-server:5000", "azureml:", experiments=["wine"])
    print(plan)                       # what there is to do, and what the target does not hold as it is
    report = plan.apply()             # interrupted, it is gone on with by the same two lines
    assert report.is_complete
    assert tb.migrate.check("http://old-server:5000", "azureml:").is_same
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from trackbridge.domain.migration import Compared, Counts, Loss, Outcome, Selection
    from trackbridge.domain.plans import Plan
    from trackbridge.operations.migrate.bounds import Bounds
    from trackbridge.operations.migrate.report import Account
    from trackbridge.operations.opening import UriArgument

__all__ = ["MigrationCheck", "MigrationPlan", "MigrationReport", "check", "load", "plan"]


class MigrationPlan:
    """What a migration is about to do. Nothing was changed when it was made."""

    def __init__(self, plan: Plan, bounds: Bounds | None) -> None:
        self._plan = plan
        self._bounds = bounds

    @property
    def changes_something(self) -> bool:
        """False when the target has everything already."""
        return self._plan.changes_something

    @property
    def counts(self) -> dict[str, int]:
        """How many items there are to ``create``, ``update``, ``delete`` and ``keep``."""
        return dict(Counter(change.action.value for change in self._plan.changes))

    @property
    def losses(self) -> tuple[Loss, ...]:
        """Every item that the target does not hold as it is, and what will be done about it."""
        from trackbridge.operations.migrate.planning import losses_of

        return tuple(loss for change in self._plan.changes for loss in losses_of(change))

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} to {action}" for action, count in sorted(self.counts.items()))
        return f"{counts or 'nothing to do'}; {len(self.losses):,} items are not held as they are"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the plan to a file for ``load`` or ``bridge apply``, and return its path.

        Raises:
            ConfigError: The file cannot be written.
        """
        from pathlib import Path

        from trackbridge.operations.plans import save_plan

        file = Path(path)
        save_plan(self._plan, file)
        return file

    def apply(
        self,
        *,
        strict: bool = False,
        on_outcome: Callable[[Outcome], None] | None = None,
        engine: str = "threads",
        spark_master: str | None = None,
    ) -> MigrationReport:
        """Do what the plan says, and nothing else.

        Args:
            strict: Whether anything that would be lost refuses the whole plan.
            on_outcome: Told of every item that is done.
            engine: What copies the runs: ``threads`` of this process, or ``spark``, the workers of a cluster.
            spark_master: URL of the Spark master; by default the session that runs, or what is configured.

        Raises:
            ConfigError: There is no such engine, Spark does not start, or its workers cannot migrate.
            PlanStale: Something is not as it was when the plan was made; nothing was changed.
            Rejected: Something would be lost, and ``strict`` was given; nothing was changed.
            Locked: Another process migrates between the two.
        """
        from trackbridge.operations.migrate.applying import Applying
        from trackbridge.operations.migrate.migration import Migration

        how = Applying(strict=strict)
        if on_outcome is not None:
            how.on_outcome = on_outcome
        _refuse_engine(engine, spark_master)
        with contextlib.ExitStack() as stack:
            migration = stack.enter_context(Migration.of_plan(self._plan, bounds=self._bounds))
            if engine == "spark":
                how.engine = stack.enter_context(migration.spark_engine(spark_master))
            return MigrationReport(migration.apply(self._plan, how))


class MigrationReport:
    """The account of a migration: what the source had, what the target took, and the difference."""

    def __init__(self, account: Account) -> None:
        self._account = account

    @property
    def is_complete(self) -> bool:
        """True when everything that was planned is done."""
        return self._account.is_complete

    @property
    def exit_code(self) -> int:
        """What ``bridge migrate`` ends with."""
        return self._account.exit_code

    @property
    def source(self) -> Counts:
        """How many of each the source had, of what was moved."""
        return self._account.source

    @property
    def target(self) -> Counts:
        """How many of each the target took."""
        return self._account.target

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What the target does not hold as it is."""
        return tuple(self._account.losses)

    @property
    def remaining(self) -> tuple[Outcome, ...]:
        """What was not done, and why."""
        return tuple(self._account.remaining)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return self._account.fields()

    def __str__(self) -> str:
        done = (
            f"{self.target.runs:,} runs, {self.target.versions:,} model versions, {self.target.bytes:,} bytes"
        )
        return f"{done}; {len(self.losses):,} items are not held as they are, {len(self.remaining):,} remain"


class MigrationCheck:
    """How two backends compare."""

    def __init__(self, items: Iterable[Compared]) -> None:
        self.items = tuple(items)

    @property
    def is_same(self) -> bool:
        """True when every item is the same on both sides."""
        return all(item.symbol.value == "=" for item in self.items)

    @property
    def counts(self) -> dict[str, int]:
        """How many items have each symbol."""
        return dict(Counter(item.symbol.value for item in self.items))

    @property
    def differences(self) -> tuple[Compared, ...]:
        """The items that are not the same."""
        return tuple(item for item in self.items if item.symbol.value != "=")


def plan(
    source: UriArgument,
    target: UriArgument,
    *,
    experiments: Iterable[str] = (),
    runs: Iterable[str] = (),
    filter: str = "",  # noqa: A002  as search_runs has it nearly
    models: Iterable[str] = (),
    stages: Iterable[str] = (),
    since: int | None = None,
    delete: bool = False,
    delete_max: int | None = None,
    deep: bool = False,
    preflight: bool = True,
    transfers: int = 4,
    calls_per_s: float | None = None,
    bytes_per_s: float | None = None,
    bytes_max: int | None = None,
    duration_s_max: float | None = None,
) -> MigrationPlan:
    """Compare two backends and return what there is to do.

    Args:
        source: URI or remote's name.
        target: URI or remote's name.
        experiments: Names, or patterns with ``*`` and ``?``; all where nothing is named.
        runs: Ids of runs.
        filter: Only runs that fulfil this text of the search language.
        models: Names of registered models, or patterns; the runs that they need come along.
        stages: Only versions in these stages.
        since: Only runs that started or ended at that time or later, in milliseconds since 1970.
        delete: Whether copies are taken away whose originals are gone.
        delete_max: How many items may be deleted at the most.
        deep: Whether histories and files of runs that look unchanged are compared, too.
        preflight: Whether each model is loaded here, and its input example scored, before an alias, a stage
            or an approval goes to it; its code runs on this machine.
        transfers: Runs on their way at the same time.
        calls_per_s: Calls to each side at the most; None is without bound, also below.
        bytes_per_s: Bytes of files a second.
        bytes_max: Bytes of files after which no other run is begun.
        duration_s_max: Seconds after which no other run is begun.

    Raises:
        NotFound: Something that was named is not at the source.
        LimitReached: More would be deleted than is allowed.
    """
    from trackbridge.operations.migrate.bounds import Bounds
    from trackbridge.operations.migrate.migration import Migration
    from trackbridge.operations.migrate.pair import Asked

    selection = _selection(experiments, runs, filter, models, stages, since)
    asked = Asked(selection=selection, delete=delete, delete_max=delete_max, deep=deep, preflight=preflight)
    bounds = Bounds(
        transfers=transfers,
        calls_per_s=calls_per_s,
        bytes_per_s=bytes_per_s,
        bytes_max=bytes_max,
        duration_s_max=duration_s_max,
    )
    with Migration(source, target, bounds=bounds) as migration:
        return MigrationPlan(migration.plan(asked), bounds)


def load(path: str | os.PathLike[str]) -> MigrationPlan:
    """Read a plan that was saved; it is applied with the bounds that it was made with.

    Raises:
        NotFound: There is no such file.
        ConfigError: It is no plan, or was changed.
    """
    from pathlib import Path

    from trackbridge.operations.plans import load_plan

    return MigrationPlan(load_plan(Path(path)), None)


def check(
    source: UriArgument,
    target: UriArgument,
    *,
    experiments: Iterable[str] = (),
    runs: Iterable[str] = (),
    filter: str = "",  # noqa: A002
    models: Iterable[str] = (),
    stages: Iterable[str] = (),
    download: bool = False,
) -> MigrationCheck:
    """Compare two backends item by item; nothing is changed.

    Args:
        source: URI or remote's name.
        target: URI or remote's name.
        experiments: As for ``plan``.
        runs: As for ``plan``.
        filter: As for ``plan``.
        models: As for ``plan``.
        stages: As for ``plan``.
        download: Whether the bytes of files are read on both sides.
    """
    from trackbridge.operations.migrate.migration import Migration

    selection = _selection(experiments, runs, filter, models, stages, None)
    with Migration(source, target) as migration:
        return MigrationCheck(migration.check(selection, download=download))


def _refuse_engine(engine: str, spark_master: str | None) -> None:
    from trackbridge.errors import ConfigError

    if engine not in ("threads", "spark"):
        raise ConfigError(f"there is no engine {engine!r}", hint="use threads or spark")
    if spark_master is not None and engine != "spark":
        raise ConfigError("spark_master goes with the engine spark", hint='add engine="spark"')


def _selection(
    experiments: Iterable[str],
    runs: Iterable[str],
    text: str,
    models: Iterable[str],
    stages: Iterable[str],
    since: int | None,
) -> Selection:
    from trackbridge.domain.migration import Selection

    return Selection(
        experiments=_names(experiments),
        runs=_names(runs),
        filter=text,
        models=_names(models),
        stages=_names(stages),
        since=since,
    )


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
