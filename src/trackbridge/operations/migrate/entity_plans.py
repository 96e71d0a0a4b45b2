"""The logged models and traces of a migration: looked at for all experiments, planned with their runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trackbridge.domain.plans import Change
from trackbridge.domain.runs import Experiment
from trackbridge.domain.traces import is_model_id
from trackbridge.errors import NotFound
from trackbridge.operations.migrate.entities import Found
from trackbridge.operations.migrate.logged_models import learn_model_ids, model_planner
from trackbridge.operations.migrate.pair import Pair
from trackbridge.operations.migrate.selecting import Selector
from trackbridge.operations.migrate.traces import trace_planner


class EntityPlans:
    """Plans what only mlflow 3 has.

    Args:
        pair: Source and target.
        selector: What is meant. Without a choice of runs that is everything in an experiment, else what
            belongs to runs that are taken, or what versions were registered from.
    """

    def __init__(self, pair: Pair, selector: Selector) -> None:
        self._pair = pair
        self._selector = selector
        self.models = model_planner(pair)
        self.traces = trace_planner(pair)
        self._homes: set[str] = set()

    def read(self, experiments: Iterable[Experiment], there: Iterable[Experiment]) -> None:
        """Look at those of the source's experiments that are meant, and of all the target's."""
        meant, known = list(experiments), list(there)
        for planner in (self.models, self.traces):
            planner.read(meant, known)
        learn_model_ids(self._pair, self.models)
        pair = self._pair
        pair.has_logged_models = pair.has_logged_models or bool(self.models.found and not self.models.refusal)

    def needed(self, identifiers: frozenset[str]) -> frozenset[str]:
        """Return runs that are needed, those that made the logged models among ``identifiers`` included."""
        runs = {identifier for identifier in identifiers if not is_model_id(identifier)}
        for model_id in identifiers - runs:
            try:
                model = self._pair.source.tracking.get_logged_model(model_id)
            except NotFound:  # the version says so itself
                continue
            self._homes.add(model.experiment_id)
            if model.source_run_id:
                runs.add(model.source_run_id)
            self._selector.needed_models |= {model_id}
        return frozenset(runs)

    @property
    def homes(self) -> frozenset[str]:
        """The experiments of logged models that versions were registered from."""
        return frozenset(self._homes)

    def changes(self, experiment: Experiment, runs: set[str]) -> Iterator[Change]:
        """Yield the changes of an experiment whose ``runs`` are taken."""
        selection = self._selector.selection
        takes_all = selection.takes_runs and not selection.narrows_runs

        def takes(item: Found) -> bool:
            return takes_all or item.run_id in runs or item.identifier in self._selector.needed_models

        yield from self.models.changes(experiment, takes)
        yield from self.traces.changes(experiment, takes)
