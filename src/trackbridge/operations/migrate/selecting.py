"""Which experiments, runs, models and versions a selection means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from trackbridge.domain.migration import Selection
from trackbridge.domain.models import ModelVersion, RegisteredModel
from trackbridge.domain.runs import Experiment, Run
from trackbridge.domain.search import Expression, matches, parse_query
from trackbridge.errors import NotFound
from trackbridge.operations.migrate.side import Side
from trackbridge.resolve.config import close_match


class Selector:
    """Answers for one selection.

    Raises:
        InvalidQuery: Its filter is wrong.
    """

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self._filter: Expression | None = parse_query(selection.filter).filter if selection.filter else None
        self._runs = frozenset(selection.runs)
        self.needed: frozenset[str] = frozenset()
        """Runs that come along because models need them."""
        self.needed_models: frozenset[str] = frozenset()
        """Logged models that come along because versions were registered from them."""

    def experiments(self, source: Side) -> list[Experiment]:
        """Return the experiments that runs are taken from.

        Raises:
            NotFound: One that was named, or one of a run that was named, is not there.
        """
        if not self.selection.takes_runs:
            return []
        found = list(source.experiments())
        wanted = self.selection.experiments
        if wanted:
            missing = [name for name in wanted if not any(_means(name, item.name) for item in found)]
            _refuse_missing("experiment", missing, source)
            found = [item for item in found if any(_means(name, item.name) for name in wanted)]
        if not self._runs:
            return found
        homes = {run_id: source.tracking.get_run(run_id).info.experiment_id for run_id in sorted(self._runs)}
        known = {key for item in found for key in (item.experiment_id, item.native_id)}
        elsewhere = [run_id for run_id, home in homes.items() if home not in known]
        if wanted and elsewhere:
            raise NotFound(
                f"run {elsewhere[0]} is in none of the experiments that were named",
                operation="migrate",
                resource=source.uri,
                hint="name its experiment, too, or leave --experiment out",
            )
        ids = set(homes.values())
        return [item for item in found if ids & {item.experiment_id, item.native_id}]

    def runs(self, source: Side, experiment: Experiment) -> Iterator[Run]:
        """Yield the runs that are taken from an experiment, as the source lists them."""
        for run in source.runs(experiment.experiment_id):
            if self.takes(source, run):
                yield run

    def takes(self, source: Side, run: Run) -> bool:
        """Tell whether a run that the source lists is meant."""
        if run.info.run_id in self.needed:
            return True
        if self._runs and run.info.run_id not in self._runs:
            return False
        since = self.selection.since
        if since is not None and max(run.info.start_time, _end_of(run)) < since:
            return False
        return self._filter is None or matches(self._filter, source.stored.listed(run))

    def models(self, source: Side) -> list[RegisteredModel]:
        """Return the models that are meant.

        Raises:
            NotFound: One that was named is not there.
        """
        if not self.selection.takes_models:
            return []
        found = list(source.models())
        wanted = self.selection.models
        if not wanted:
            return found
        missing = [name for name in wanted if not any(_means(name, item.name) for item in found)]
        _refuse_missing("model", missing, source, {item.name for item in found})
        return [item for item in found if any(_means(name, item.name) for name in wanted)]

    def versions(self, found: Iterable[ModelVersion]) -> list[ModelVersion]:
        """Return the versions that are meant."""
        stages = {stage.casefold() for stage in self.selection.stages}
        return [version for version in found if not stages or version.stage.casefold() in stages]


def _end_of(run: Run) -> int:
    """Return when a run ended; one that has not ended may change at any time."""
    return 2**63 if run.info.end_time is None else run.info.end_time


def _means(name: str, found: str) -> bool:
    return name == found or fnmatchcase(found, name)


def _refuse_missing(kind: str, missing: list[str], source: Side, known: Iterable[str] = ()) -> None:
    missing = [name for name in missing if name != "*"]  # all that there are may be none
    if missing:
        raise NotFound(
            f"there is no {kind} {missing[0]!r} at the source{close_match(missing[0], known)}",
            operation="migrate",
            resource=source.uri,
            hint=f"see what there is: bridge {kind}s list --uri {source.uri}",
        )
