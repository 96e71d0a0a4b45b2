"""mlflow's tracking store on our client: logging goes through the journal, reading to the backend."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from mlflow.entities import RunStatus, ViewType
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking.abstract_store import AbstractStore
from mlflow.tracking import fluent
from mlflow.utils.async_logging.run_operations import RunOperations

from trackbridge.api import active, client
from trackbridge.api.client import Client
from trackbridge.api.job_surroundings import is_attempt, only_adds
from trackbridge.api.logged_models import ModelDocuments
from trackbridge.api.mlflow_ids import DEFAULT_EXPERIMENT_ID, OUR_DEFAULT_ID, told_experiment_id
from trackbridge.api.recorder import RunRecorder
from trackbridge.api.session import before_close
from trackbridge.api.values import checked_key, checked_tag_key
from trackbridge.domain import runs as domain
from trackbridge.domain.records import ExperimentOpened, OpenMode
from trackbridge.domain.runs import DEFAULT_EXPERIMENT, TAG_NAME, TAG_USER
from trackbridge.errors import Conflict, Unsupported
from trackbridge.mlflow_plugin import entities, program_end
from trackbridge.mlflow_plugin.binding import binding_for
from trackbridge.mlflow_plugin.errors import NotHere, completes, translates
from trackbridge.mlflow_plugin.models_of_runs import LoggedModelMethods

TAG_HISTORY = "mlflow.log-model.history"
_FINAL = [status.value for status in domain.RunStatus if status.is_final]
VIEWS = {
    ViewType.ACTIVE_ONLY: client.ViewType.ACTIVE_ONLY,
    ViewType.DELETED_ONLY: client.ViewType.DELETED_ONLY,
    ViewType.ALL: client.ViewType.ALL,
}


@completes(AbstractStore)
@translates
class BridgeTrackingStore(LoggedModelMethods, AbstractStore):  # type: ignore[misc]
    """Experiments, runs and logged models behind a ``bridge`` URI."""

    def __init__(self, store_uri: str) -> None:
        super().__init__()
        self._binding = binding_for(store_uri)
        _ = self._binding.client.reader.adapter  # what cannot be opened is refused here
        self._documents = ModelDocuments(lambda: self._binding.client)
        program_end.watch()
        before_close(self._documents.settle)

    @property
    def client(self) -> Client:
        """Our client of the URI."""
        return self._binding.client

    # Experiments.

    def search_experiments(
        self,
        view_type: int = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        filter_string: str | None = None,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> Any:
        """Return the experiments that fulfil a filter, a page of them."""
        found = self.client.search_experiments(
            VIEWS[view_type], max_results, filter_string, order_by, page_token
        )
        return PagedList([entities.experiment(item) for item in found], found.token)

    def create_experiment(
        self, name: str, artifact_location: str | None = None, tags: Sequence[Any] | None = None
    ) -> str:
        """Name an experiment and return its id; it is created with what is delivered first."""
        if artifact_location is not None:
            raise Unsupported(
                "an experiment has no artifact location of its own",
                operation="create_experiment",
                hint="leave artifact_location out: the tracking URI decides where files go",
            )
        if self._find_experiment(name) is not None:
            raise Conflict(f"the experiment {name!r} exists already", operation="create_experiment")
        made = self.client.open_experiment(name, tags={tag.key: tag.value for tag in tags or ()})
        return told_experiment_id(made.experiment_id)

    def get_experiment(self, experiment_id: str) -> Any:
        """Return an experiment by its id."""
        if str(experiment_id) == DEFAULT_EXPERIMENT_ID:
            found = self._find_experiment(DEFAULT_EXPERIMENT)
            return entities.experiment(found or _default_experiment())
        name = self.client.session.experiment_name(str(experiment_id))
        known = None if name is None else self._find_experiment(name)
        return entities.experiment(known or self.client.get_experiment(str(experiment_id)))

    def get_experiment_by_name(self, experiment_name: str) -> Any:
        """Return an experiment by its name, or None."""
        found = self._find_experiment(experiment_name)
        if found is None and experiment_name == DEFAULT_EXPERIMENT:
            found = _default_experiment()  # mlflow has it from the beginning
        return None if found is None else entities.experiment(found)

    def delete_experiment(self, experiment_id: str) -> None:
        """Delete an experiment with its runs; it can be restored."""
        ours = self._ours(experiment_id)
        self.client.delete_experiment(ours)
        self.client.session.forget_experiment(ours)

    def restore_experiment(self, experiment_id: str) -> None:
        """Undo ``delete_experiment``."""
        self.client.restore_experiment(self._ours(experiment_id))

    def rename_experiment(self, experiment_id: str, new_name: str) -> None:
        """Refuse: ours are known by their names."""
        raise NotHere("renaming an experiment", "its id is made from its name")

    def set_experiment_tag(self, experiment_id: str, tag: Any) -> None:
        """Set a tag of an experiment; through the journal, where this process uses it."""
        ours = self._ours(experiment_id)
        name = self.client.session.experiment_name(ours)
        known = None if name is None else self.client.session.known_experiment(name)
        if known is None:
            self.client.set_experiment_tag(ours, tag.key, tag.value)
            return
        tags = {**known.tags, checked_tag_key(tag.key): str(tag.value)}
        self.client.session.open_experiment(ExperimentOpened(known.experiment_id, known.name, tags))

    def delete_experiment_tag(self, experiment_id: str, key: str) -> None:
        """Refuse: no port of ours takes a tag of an experiment away."""
        raise NotHere("deleting a tag of an experiment", "set it to an empty text")

    def _ours(self, experiment_id: str) -> str:
        """Return our id of an experiment that mlflow names."""
        if str(experiment_id) != DEFAULT_EXPERIMENT_ID:
            return str(experiment_id)
        found = self._find_experiment(DEFAULT_EXPERIMENT)
        return OUR_DEFAULT_ID if found is None else found.experiment_id

    def _find_experiment(self, name: str) -> domain.Experiment | None:
        """Return an experiment by name; a remote backend is not asked for what this process has named."""
        known = self.client.session.known_experiment(name)
        if known is None and self.client.session.asks_nobody:
            return None
        if known is None or self.client.looks_first:
            found = self._binding.glimpses.glimpse_experiment(name)
            if found is not None or known is None:
                return found
        return domain.Experiment(experiment_id=known.experiment_id, name=name, tags=known.tags)

    # The life of a run.

    def create_run(
        self,
        experiment_id: str,
        user_id: str,
        start_time: int | None,
        tags: Sequence[Any] | None,
        run_name: str | None,
    ) -> Any:
        """Open a run."""
        ours = self._ours_unasked(experiment_id)
        texts: dict[str, object] = {tag.key: tag.value for tag in tags or ()}
        for key in texts:
            checked_tag_key(key)
        if run_name and str(texts.get(TAG_NAME, run_name)) != run_name:
            raise Conflict(
                f"the run is named {run_name!r} and, in its tag {TAG_NAME}, {texts[TAG_NAME]!r}",
                operation="log_param",  # mlflow's code for it is that of a wrong argument
            )
        if user_id and user_id != entities.NO_USER:
            texts.setdefault(TAG_USER, user_id)
        recorder = self.client.open_run(
            ours, self._name_of(ours), run_name=run_name, start_time=start_time, tags=texts
        )
        recorder.keep_points()
        program_end.begun(recorder.run_id)
        return entities.run(recorder.snapshot())

    def _ours_unasked(self, experiment_id: str) -> str:
        is_default = str(experiment_id) == DEFAULT_EXPERIMENT_ID
        return OUR_DEFAULT_ID if is_default else str(experiment_id)

    def _name_of(self, experiment_id: str) -> str:
        if experiment_id == OUR_DEFAULT_ID:
            return DEFAULT_EXPERIMENT
        return self.client._experiment_name(experiment_id)

    def get_run(self, run_id: str) -> Any:
        """Return a run; of one that this program has begun and not ended what it knows."""
        if self.client.session.asks_nobody and is_attempt(run_id):
            self._take_up(run_id)  # what is not to be read is taken up first, and known from then on
        found = entities.run(self.client.get_run(run_id))
        if is_attempt(run_id):
            _seem_to_fit(found)
        return found

    def update_run_info(
        self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None
    ) -> Any:
        """Set status, end time or name of a run."""
        status = None if run_status is None else RunStatus.to_string(run_status)
        if status in ("RUNNING", "SCHEDULED"):
            self._take_up(run_id)
        recorder = self.client.recorder(run_id)
        if run_name:
            recorder.tags({TAG_NAME: checked_key(run_name, kind="run")})
        if status in _FINAL and not program_end.has_ended(recorder):
            self._end(run_id, recorder, str(status), end_time)
        return entities.run_info(recorder.snapshot().info)

    def _take_up(self, run_id: str) -> None:
        if only_adds(run_id):  # rank 0 of the job has it open
            self.client.recorder(run_id)
            return
        known = self.client.session.recorders.get(run_id)
        if known is not None and known.opened.how is OpenMode.JOIN:
            del self.client.session.recorders[run_id]
        self.client.resume_run(run_id)
        program_end.begun(run_id)

    def _end(self, run_id: str, recorder: RunRecorder, status: str, end_time: int | None) -> None:
        self._documents.settle(run_id)
        if only_adds(run_id):
            return
        begun_here = active.current()
        if begun_here is not None and begun_here.recorder is recorder:  # by trackbridge.start_run
            active.pop(begun_here)
            begun_here.end(domain.RunStatus(status))
            return
        self.client.set_terminated(run_id, status, end_time)

    def delete_run(self, run_id: str) -> None:
        """Delete a run; it can be restored."""
        self.client.delete_run(run_id)

    def restore_run(self, run_id: str) -> None:
        """Undo ``delete_run``."""
        self.client.restore_run(run_id)

    # Logging.

    def log_metric(self, run_id: str, metric: Any) -> None:
        """Log a point."""
        if getattr(metric, "model_id", None) is not None:
            self.log_batch(run_id, [metric], (), ())
            return
        recorder = self.client.session.recorders.get(run_id) or self.client.recorder(run_id)
        recorder.metric(metric.key, metric.value, metric.step, metric.timestamp)

    def log_param(self, run_id: str, param: Any) -> None:
        """Log a param."""
        self.client.recorder(run_id).params({checked_key(param.key, kind="param"): param.value})

    def set_tag(self, run_id: str, tag: Any) -> None:
        """Set a tag."""
        self.client.set_tag(run_id, tag.key, tag.value)

    def delete_tag(self, run_id: str, key: str) -> None:
        """Delete a tag."""
        self.client.delete_tag(run_id, key)

    def log_batch(
        self, run_id: str, metrics: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]
    ) -> None:
        """Log points, params and tags."""
        by_model: dict[str, list[Any]] = {}
        for metric in metrics:
            if getattr(metric, "model_id", None) is not None:
                by_model.setdefault(metric.model_id, []).append(metric)
        if by_model:
            metrics = self._new_points(run_id, metrics)
        self.client.log_batch(run_id, metrics, params, tags)
        for model_id, points in by_model.items():
            self._documents.note(model_id, points)

    def _new_points(self, run_id: str, metrics: Sequence[Any]) -> list[Any]:
        """Leave out what was logged before: ``log_model`` says points again, to say whose they are."""
        kept = self.client.recorder(run_id).kept
        return [
            metric
            for metric in metrics
            if kept is None or getattr(metric, "model_id", None) is None or not kept.holds(metric)
        ]

    def log_batch_async(
        self, run_id: str, metrics: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]
    ) -> Any:
        """Log at once: that takes microseconds, and nothing is lost in a queue."""
        self.log_batch(run_id, metrics, params, tags)
        return RunOperations([])

    def log_metric_async(self, run_id: str, metric: Any) -> Any:
        """Log at once, as ``log_batch_async``."""
        self.log_metric(run_id, metric)
        return RunOperations([])

    def log_param_async(self, run_id: str, param: Any) -> Any:
        """Log at once, as ``log_batch_async``."""
        self.log_param(run_id, param)
        return RunOperations([])

    def set_tag_async(self, run_id: str, tag: Any) -> Any:
        """Log at once, as ``log_batch_async``."""
        self.set_tag(run_id, tag)
        return RunOperations([])

    def log_inputs(
        self, run_id: str, datasets: Iterable[Any] | None = None, models: Iterable[Any] | None = None
    ) -> None:
        """Log the data sets and models that a run reads."""
        self.client.log_inputs(run_id, [entities.our_dataset(dataset) for dataset in datasets or ()])
        self._log_model_inputs(run_id, models or ())

    def record_logged_model(self, run_id: str, mlflow_model: Any) -> None:
        """Add a model to the tag in which mlflow 2 keeps the models of a run."""
        known = self.client.get_run(run_id).data.tags.get(TAG_HISTORY, "[]")
        text = json.dumps([*json.loads(known), mlflow_model.get_tags_dict()])
        self.client.set_tag(run_id, TAG_HISTORY, text)

    def link_traces_to_run(self, trace_ids: list[str], run_id: str) -> None:
        """Refuse: there are no traces."""
        raise NotHere("linking traces to a run", "tracing goes to a store of mlflow's own")

    # Reading.

    def get_metric_history(
        self, run_id: str, metric_key: str, max_results: int | None = None, page_token: str | None = None
    ) -> Any:
        """Return every point of a metric; of a run that this program began from memory, if all are there."""
        recorder = self.client.session.recorders.get(run_id)
        kept = None if recorder is None or recorder.kept is None else recorder.kept.history(metric_key)
        points = self.client.get_metric_history(run_id, metric_key) if kept is None else kept
        return PagedList(entities.metrics(points), None)

    def _search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str | None,
        run_view_type: int,
        max_results: int,
        order_by: Sequence[str] | None,
        page_token: str | None,
    ) -> tuple[list[Any], str | None]:
        found = self.client.search_runs(
            [self._ours(item) for item in experiment_ids],
            filter_string or "",
            VIEWS[run_view_type],
            max_results,
            order_by,
            page_token,
        )
        return [entities.run(run) for run in found], found.token


def _seem_to_fit(run: Any) -> None:
    """Let a job's run seem to be in the experiment that its program has set.

    mlflow refuses to take up a run of another experiment. A job's run is where it was opened, and a program
    that names an experiment, for its use outside of jobs, logs to it all the same.
    """
    if fluent._active_experiment_id is not None:
        run.info._experiment_id = fluent._active_experiment_id


def _default_experiment() -> domain.Experiment:
    """Return the experiment that mlflow has from the beginning, before anything is in it."""
    return domain.Experiment(experiment_id=OUR_DEFAULT_ID, name=DEFAULT_EXPERIMENT)
