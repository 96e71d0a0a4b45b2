"""Where runs, params, metrics and tags go."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

from trackbridge.domain.batches import Batch, MetricColumns, Receipt
from trackbridge.domain.paging import Page
from trackbridge.domain.runs import Experiment, LifecycleStage, Run, RunSpec, RunStatus
from trackbridge.domain.search import Query
from trackbridge.domain.traces import LoggedModel, ModelLink, Trace
from trackbridge.ports.capabilities import Feature, needs


class TrackingStore(Protocol):
    """Experiments and runs of one backend.

    Every method makes one attempt, may be called from any thread, and raises only
    ``trackbridge.errors``. Every write may be repeated: doing it twice equals doing it once, also after
    a crash between the two. After a ``Transient`` error nothing may be assumed of what was done.
    """

    # Required.

    @abstractmethod
    def ensure_experiment(
        self, name: str, *, experiment_id: str, tags: dict[str, str] | None = None
    ) -> Experiment:
        """Find the experiment of this name, or create it with this id.

        One that exists keeps its id. ``tags`` are set on it in either case. The name of a deleted
        experiment stays taken.

        Raises:
            Rejected: The experiment was deleted (the hint says how to restore it), or the backend does
                not take the name.
        """
        ...

    @abstractmethod
    def open_run(self, spec: RunSpec) -> Run:
        """Find the run of this id, or create it, RUNNING, in the experiment of ``spec.experiment_name``.

        The experiment is created when missing. A run that exists is returned as it is; with
        ``spec.resume`` it is set back to RUNNING without end time, and ``spec.tags`` are set on it.

        Raises:
            Rejected: The run or its experiment was deleted.
        """
        ...

    @abstractmethod
    def write(self, batch: Batch) -> Receipt:
        """Make the records durable, within the declared limits.

        - Same run, key, step, timestamp and value bits is one point, however often it is written.
          Values are kept by their 64 bits: NaN, infinities, -0.0 and denormals included.
        - A param is written once: the same value again is accepted, another one is rejected.
        - A tag takes the last value; None deletes it; deleting an absent one succeeds. The tag
          ``mlflow.runName`` is the run's name.
        - A data set input is one per (name, digest).
        - A run that has ended still accepts records.

        Returns:
            A receipt: everything is durable but for ``rejected``, which no repetition would change.

        Raises:
            NotFound: There is no such run.
            Rejected: The whole batch is refused and the store cannot tell which record is at fault
                (delivery then halves the batch until it is found), or the run was deleted.
            Unsupported: The batch holds inputs, and ``tracking.datasets`` is not declared.
        """
        ...

    @abstractmethod
    def get_run(self, run_id: str) -> Run:
        """Return the run, deleted or not, with params, tags, inputs and the last value of each metric.

        The last value is the one at the highest step, then the latest timestamp, then the greatest value
        (a NaN counts as the smallest).

        Raises:
            NotFound: There is no such run.
        """
        ...

    @abstractmethod
    def list_runs(
        self,
        experiment_id: str,
        *,
        stage: LifecycleStage | None = LifecycleStage.ACTIVE,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[Run]:
        """List the runs of an experiment, newest start first, then by run id; ours or not.

        ``stage=None`` lists deleted ones too. An unknown experiment has no runs.

        Raises:
            InvalidInput: ``token`` was not given out by this listing.
        """
        ...

    @abstractmethod
    def close_run(self, run_id: str, *, status: RunStatus, end_time: int) -> None:
        """Set a final status and the end time in milliseconds. Repeating it changes nothing.

        Closing a run that has ended sets the new status and time.

        Raises:
            NotFound: There is no such run.
            Rejected: The status is not final, or the run was deleted.
        """
        ...

    # Optional.

    @needs(Feature.TRACKING_EXPERIMENT_LISTING)
    @abstractmethod
    def list_experiments(
        self,
        *,
        stage: LifecycleStage | None = LifecycleStage.ACTIVE,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[Experiment]:
        """List the experiments, newest first, then by id. ``stage=None`` lists deleted ones too.

        Raises:
            InvalidInput: ``token`` was not given out by this listing.
        """
        ...

    @needs(Feature.TRACKING_METRIC_HISTORY)
    @abstractmethod
    def metric_history(self, run_id: str, key: str) -> MetricColumns:
        """Return every point of a metric in order of step, then timestamp; of equal ones, in any order.

        ``sequences`` is left empty. An unknown key has no points.

        Raises:
            NotFound: There is no such run.
        """
        ...

    @needs(Feature.TRACKING_SEARCH)
    @abstractmethod
    def search_runs(
        self,
        experiment_ids: tuple[str, ...],
        *,
        query: Query,
        stage: LifecycleStage | None = LifecycleStage.ACTIVE,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[Run]:
        """Return the runs that fulfil the query, in its order.

        The query holds only comparisons that ``Capabilities.search_comparisons`` declares. A comparison
        with a metric, param or tag that a run does not have is false, but for ``IS NULL``. Runs that lack
        a column of the order come last, whether ascending or descending; ties are broken by newest
        start, then run id. Comparing with a NaN metric is false; NaN sorts after every number, before
        absent ones.

        Raises:
            InvalidInput: ``token`` was not given out by this search.
        """
        ...

    @needs(Feature.TRACKING_DELETE)
    @abstractmethod
    def delete_run(self, run_id: str) -> None:
        """Mark a run as deleted; it can be restored. Deleting it again succeeds.

        Raises:
            NotFound: There is no such run.
        """
        ...

    @needs(Feature.TRACKING_DELETE)
    @abstractmethod
    def restore_run(self, run_id: str) -> None:
        """Undo ``delete_run``. Restoring an active run succeeds.

        Raises:
            NotFound: There is no such run.
        """
        ...

    @needs(Feature.TRACKING_DELETE)
    @abstractmethod
    def delete_experiment(self, experiment_id: str) -> None:
        """Mark an experiment and its runs as deleted. Deleting it again succeeds.

        Raises:
            NotFound: There is no such experiment.
        """
        ...

    @needs(Feature.TRACKING_DELETE)
    @abstractmethod
    def restore_experiment(self, experiment_id: str) -> None:
        """Undo ``delete_experiment``; the runs deleted with it come back, those deleted before do not.

        Raises:
            NotFound: There is no such experiment.
        """
        ...

    @needs(Feature.TRACKING_LOGGED_MODELS)
    @abstractmethod
    def put_logged_model(self, model: LoggedModel) -> LoggedModel:
        """Create a logged model under its id, or bring the one of this id up to date, and return it as it is.

        Status and tags become those of ``model``; params and metrics that are missing are added. Name, type,
        experiment and source run stay what they were when it was created. The backend says when that was.
        A backend that mints ids of its own keeps ours beside them.

        Raises:
            NotFound: There is no such experiment, or no such run for a metric.
            Conflict: The one of this id has another name or type, or another value of a param.
            Rejected: The backend does not take the name, a param or a tag.
        """
        ...

    @needs(Feature.TRACKING_LOGGED_MODELS)
    @abstractmethod
    def get_logged_model(self, model_id: str) -> LoggedModel:
        """Return a logged model.

        Raises:
            NotFound: There is no such model.
        """
        ...

    @needs(Feature.TRACKING_LOGGED_MODELS)
    @abstractmethod
    def list_logged_models(
        self, experiment_ids: tuple[str, ...], *, max_results: int = 1000, token: str | None = None
    ) -> Page[LoggedModel]:
        """List the logged models of experiments, in any order; an unknown experiment has none.

        Raises:
            InvalidInput: ``token`` was not given out by this listing.
        """
        ...

    @needs(Feature.TRACKING_LOGGED_MODELS)
    @abstractmethod
    def link_models(self, run_id: str, links: tuple[ModelLink, ...]) -> None:
        """Note which logged models a run made or read.

        A run makes a logged model once, and reads it once: the first of each stays, with its step.
        ``get_run`` gives them as ``Run.models``; listings need not.

        Raises:
            NotFound: There is no such run, or no such logged model.
        """
        ...

    @needs(Feature.TRACKING_TRACES)
    @abstractmethod
    def put_trace(self, trace: Trace) -> None:
        """Create or replace a trace by its id.

        Raises:
            NotFound: There is no such experiment.
            Rejected: The spans are none, or are those of another trace.
        """
        ...

    @needs(Feature.TRACKING_TRACES)
    @abstractmethod
    def get_trace(self, trace_id: str) -> Trace:
        """Return a trace with its spans.

        Raises:
            NotFound: There is no such trace.
        """
        ...

    @needs(Feature.TRACKING_TRACES)
    @abstractmethod
    def list_traces(
        self, experiment_ids: tuple[str, ...], *, max_results: int = 1000, token: str | None = None
    ) -> Page[Trace]:
        """List the traces of experiments, without their spans, in any order; an unknown experiment has none.

        Raises:
            InvalidInput: ``token`` was not given out by this listing.
        """
        ...
