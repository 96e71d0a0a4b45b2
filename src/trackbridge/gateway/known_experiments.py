"""The experiments of the backend, as a gateway knows them.

What was read is believed for a few seconds when something is logged to it: a run is opened without asking
the backend each time. ``Default`` is there from the beginning, as with mlflow's own server; the backend gets
it with the first that is logged to it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping

import msgspec

from trackbridge.api.client import Client
from trackbridge.api.mlflow_ids import OUR_DEFAULT_ID, our_experiment_id, told_experiment_id
from trackbridge.delivery.unspilling import all_pages
from trackbridge.domain.ids import experiment_id_of
from trackbridge.domain.records import ExperimentOpened
from trackbridge.domain.runs import DEFAULT_EXPERIMENT, Experiment, LifecycleStage
from trackbridge.errors import Exhausted, Transient
from trackbridge.gateway.errors import absent, invalid

BELIEVED_S = 5.0
"""How long an experiment is taken to be as it was read, when something is logged to it."""

BELIEF_MARGIN_S = 1.0
"""So long before that it is read again on a thread: the event loop is never to wait for the backend."""


class KnownExperiments:
    """Looks experiments up, and makes them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._by_id: dict[str, tuple[float, Experiment]] = {}
        self._began_ms = time.time_ns() // 1_000_000

    # Reading.

    def all(self, stage: LifecycleStage | None = None) -> list[Experiment]:
        """Return the experiments of a stage, None for every one, after what was logged is delivered."""
        self._client.reader.drain()
        tracking = self._client.reader.tracking
        found = list(all_pages(lambda token: tracking.list_experiments(stage=None, token=token)))
        if not any(experiment.name == DEFAULT_EXPERIMENT for experiment in found):
            found.append(self._default())
        self._believe(found)
        return [experiment for experiment in found if stage in (None, experiment.lifecycle_stage)]

    def get(self, told_id: str) -> Experiment:
        """Return an experiment by the id that clients name, deleted or not.

        Raises:
            Refused: There is none.
        """
        ours = our_experiment_id(told_id)
        for experiment in self.all():
            if ours in (experiment.experiment_id, experiment.native_id):
                return experiment
            if ours == OUR_DEFAULT_ID and experiment.name == DEFAULT_EXPERIMENT:
                return experiment
        raise absent(f"No Experiment with id={told_id} exists")

    def ids(self, told_ids: Iterable[str]) -> tuple[str, ...]:
        """Return our ids of experiments that clients name; the backend's ``Default`` may have another."""
        return tuple(
            found.experiment_id if (found := self._default_believed(told)) else our_experiment_id(told)
            for told in told_ids
        )

    def _default_believed(self, told_id: str) -> Experiment | None:
        if our_experiment_id(told_id) != OUR_DEFAULT_ID:
            return None
        return self.believed(told_id) or self.find(DEFAULT_EXPERIMENT)

    def find(self, name: str) -> Experiment | None:
        """Return an experiment by its name, deleted or not, or None."""
        return next((experiment for experiment in self.all() if experiment.name == name), None)

    def believed(self, told_id: str) -> Experiment | None:
        """Return an experiment that was read a moment ago, None when it is not known that well."""
        at, experiment = self._by_id.get(our_experiment_id(told_id), (0.0, None))
        return experiment if time.monotonic() - at < BELIEVED_S else None

    def is_believed(self, told_id: str) -> bool:
        """Tell whether ``active`` will ask nobody, for as long as a request takes at the least."""
        at, experiment = self._by_id.get(our_experiment_id(told_id), (0.0, None))
        return experiment is not None and time.monotonic() - at < BELIEVED_S - BELIEF_MARGIN_S

    def active(self, told_id: str) -> Experiment:
        """Return an experiment that something is to be logged to.

        When the backend does not answer, one that was ever read will do.

        Raises:
            Refused: There is none, or it was deleted.
        """
        experiment = self.believed(told_id)
        if experiment is None:
            try:
                experiment = self.get(told_id)
            except (Transient, Exhausted):
                _, experiment = self._by_id.get(our_experiment_id(told_id), (0.0, None))
                if experiment is None:
                    raise
                self._believe([experiment])  # the next requests need not wait for the backend, too
        if experiment.lifecycle_stage is not LifecycleStage.ACTIVE:
            told = told_experiment_id(experiment.experiment_id)
            raise invalid(f"The experiment {told} must be in the 'active' state. Current state is deleted.")
        return experiment

    # Changing.

    def create(self, name: str, tags: Mapping[str, str]) -> Experiment:
        """Journal an experiment and return it."""
        experiment = Experiment(
            experiment_id=experiment_id_of(name),
            name=name,
            tags=dict(tags),
            creation_time=time.time_ns() // 1_000_000,
        )
        self._say(experiment, tags)
        self._believe([experiment])
        return experiment

    def set_tag(self, experiment: Experiment, key: str, value: str) -> None:
        """Journal a tag of an experiment."""
        self._say(experiment, {key: value})

    def delete(self, experiment: Experiment) -> None:
        """Delete an experiment with its runs."""
        self._forget(experiment)
        self._client.delete_experiment(experiment.experiment_id)
        self._forget(experiment)

    def restore(self, experiment: Experiment) -> None:
        """Undo ``delete``."""
        self._forget(experiment)
        self._client.restore_experiment(experiment.experiment_id)
        self._forget(experiment)

    def _say(self, experiment: Experiment, tags: Mapping[str, str]) -> None:
        """Journal what is new, and nothing else: another gateway may have set other tags meanwhile."""
        record = ExperimentOpened(experiment.experiment_id, experiment.name, dict(tags))
        self._client.session.writer.append_control(msgspec.msgpack.encode(record))

    def _believe(self, experiments: list[Experiment]) -> None:
        now = time.monotonic()
        with self._lock:
            for experiment in experiments:
                self._by_id[experiment.experiment_id] = (now, experiment)
                if experiment.native_id is not None:
                    self._by_id[experiment.native_id] = (now, experiment)
                if experiment.name == DEFAULT_EXPERIMENT:
                    self._by_id[OUR_DEFAULT_ID] = (now, experiment)

    def _forget(self, experiment: Experiment) -> None:
        with self._lock:
            for known_id in (experiment.experiment_id, experiment.native_id or "", OUR_DEFAULT_ID):
                self._by_id.pop(known_id, None)

    def _default(self) -> Experiment:
        return Experiment(
            experiment_id=OUR_DEFAULT_ID,
            name=DEFAULT_EXPERIMENT,
            creation_time=self._began_ms,
            last_update_time=self._began_ms,
        )
