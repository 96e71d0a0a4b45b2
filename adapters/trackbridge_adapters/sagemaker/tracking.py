"""Tracking on SageMaker: the whole record of a run in S3, and what SageMaker Experiments can show of it.

::

    open   component (made, put into a trial) -> key of the listing -> record
    write  record (there, not deleted?) -> points to SageMaker -> chunk of points -> record -> component
    read   record, and what others have added to the component

What comes last in a row says that all before it was done: a break anywhere is made good by writing again.
"""

# ruff: noqa: D102  the docstrings of the port are the contract

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from trackbridge.domain.batches import Batch, MetricColumns, Receipt, Rejection
from trackbridge.domain.page_tokens import listing_of, page_size, place_of, token_of
from trackbridge.domain.paging import Page
from trackbridge.domain.runs import Experiment, LifecycleStage, Run, RunSpec, RunStatus
from trackbridge.domain.search import Query
from trackbridge.domain.traces import LoggedModel, ModelLink, Trace
from trackbridge.errors import InvalidInput, Rejected
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.tracking import TrackingStore
from trackbridge_adapters.sagemaker import foreign_runs, run_records
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.capabilities import PAGE_ITEMS_MAX
from trackbridge_adapters.sagemaker.experiments import Experiments, experiment_of
from trackbridge_adapters.sagemaker.metric_chunks import history, points_of
from trackbridge_adapters.sagemaker.names import key_part
from trackbridge_adapters.sagemaker.native_runs import Native
from trackbridge_adapters.sagemaker.run_listing import Listings
from trackbridge_adapters.sagemaker.run_records import ExperimentRecord, RunRecord
from trackbridge_adapters.sagemaker.run_store import Foreign, RunStore, refuse_deleted, with_untold


class SageMakerTracking(TrackingStore):
    """Experiments and runs of one place."""

    def __init__(self, backend: Backend) -> None:
        self._bucket = backend.bucket
        self._capabilities = backend.capabilities
        self.experiments = Experiments(backend)
        self._store = RunStore(backend, self.experiments)
        self._listings = Listings(self, backend.clients, backend.bucket)

    # Experiments.

    def ensure_experiment(
        self, name: str, *, experiment_id: str, tags: dict[str, str] | None = None
    ) -> Experiment:
        return experiment_of(self.experiments.ensure(name, experiment_id, tags or {}))

    def list_experiments(
        self,
        *,
        stage: LifecycleStage | None = LifecycleStage.ACTIVE,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[Experiment]:
        operation = "tracking.list_experiments"
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=ADAPTER, operation=operation)
        listing = listing_of(operation, stage)
        place = place_of(token, listing, adapter=ADAPTER, operation=operation, types=(int, str))
        found = [
            item
            for item in map(experiment_of, self.experiments.listed())
            if stage in (None, item.lifecycle_stage)
        ]
        found.sort(key=_newest_first)
        if place is not None:
            found = [item for item in found if _newest_first(item) > (place[0], place[1])]
        more = token_of(listing, list(_newest_first(found[size - 1]))) if len(found) > size else None
        return Page(items=tuple(found[:size]), token=more)

    def delete_experiment(self, experiment_id: str) -> None:
        self.experiments.mark(experiment_id, deleted=True)

    def restore_experiment(self, experiment_id: str) -> None:
        self.experiments.mark(experiment_id, deleted=False)

    # Runs.

    def open_run(self, spec: RunSpec) -> Run:
        _refuse_unreadable(spec)
        located = self._store.read(key_part(spec.run_id)) or self._store.take_up(spec.run_id)
        if located is None:
            record, experiment = self._store.create(spec)
            return self.run_of(record, None, experiment)
        experiment = self._store.active(located.record)
        record = located.record
        if spec.resume:
            record = self._store.show(self._store.change(located, lambda held: _resumed(held, spec)))
        return self.run_of(record, self._store.components.find(record.component), experiment)

    def write(self, batch: Batch) -> Receipt:
        kept_record = self._store.writable(batch.run_id)
        kept, rejected = run_records.held(batch)
        points = {key: points_of(columns) for key, columns in kept.metrics.items() if len(columns)}
        chunk, untold = self._store.put_points(kept_record.record, points) if points else (None, {})
        refused: list[Rejection] = []

        def change(held: RunRecord) -> RunRecord:
            refuse_deleted(held)
            changed, refused[:] = run_records.with_batch(held, kept, points)
            return with_untold(run_records.with_chunk(changed, chunk), untold)

        self._store.tidy(self._store.show(self._store.change(kept_record, change)))
        return Receipt(rejected=(*rejected, *refused))

    def get_run(self, run_id: str) -> Run:
        found = self._store.find(run_id)
        if isinstance(found, Foreign):
            return self.foreign_run(found.component, found.tags, self._store.experiment_of(found))
        experiment = self._store.experiment(found.record)
        return self.run_of(found.record, self._store.components.find(found.record.component), experiment)

    def close_run(self, run_id: str, *, status: RunStatus, end_time: int) -> None:
        if not status.is_final:
            raise Rejected(
                f"{status} is not a final status",
                adapter=ADAPTER,
                resource=f"run {run_id}",
                hint="close a run as FINISHED, FAILED or KILLED",
            )

        def change(held: RunRecord) -> RunRecord:
            refuse_deleted(held)
            if (held.status, held.end_time) == (status, end_time):
                return held
            return run_records.revised(held, status=status, end_time=end_time)

        self._store.show(self._store.change(self._store.writable(run_id), change))

    def delete_run(self, run_id: str) -> None:
        self._store.mark(run_id, deleted=True)

    def restore_run(self, run_id: str) -> None:
        self._store.mark(run_id, deleted=False)

    def metric_history(self, run_id: str, key: str) -> MetricColumns:
        found = self._store.find(run_id)
        if isinstance(found, Foreign):
            return history(self._store.points.of_component(found.component, key))
        if key in found.record.latest:
            return history(self._store.points.kept(found.record, key))
        return history(
            self._store.points.of_component(self._store.components.find(found.record.component) or {}, key)
        )

    def component_of(self, run_id: str) -> str:
        """Return the name of the component that shows a run.

        Raises:
            NotFound: There is no such run.
        """
        found = self._store.find(run_id)
        return found.name if isinstance(found, Foreign) else found.record.component

    def artifacts_prefix(self, run_id: str) -> str:
        """Return below which prefix of the bucket the files of a run lie.

        Raises:
            NotFound: There is no such run.
        """
        found = self._store.find(run_id)
        return run_records.artifacts_prefix(found.name if isinstance(found, Foreign) else found.record.run_id)

    def run_of(self, record: RunRecord, found: Native | None, experiment: ExperimentRecord) -> Run:
        """Return a run with a record, and with what others have added to its component."""
        address = self._bucket.address(run_records.artifacts_prefix(record.run_id))
        return foreign_runs.run_of(record, found, gone=experiment.deleted, artifact_uri=address)

    def foreign_run(self, found: Native, tags: Mapping[str, str], experiment: ExperimentRecord) -> Run:
        """Return the run that a component is which has no record."""
        record = foreign_runs.record_of(found, tags, experiment_id=experiment.experiment_id)
        return self.run_of(record, found, experiment)

    # Listings.

    def list_runs(
        self,
        experiment_id: str,
        *,
        stage: LifecycleStage | None = LifecycleStage.ACTIVE,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[Run]:
        return self._listings.page("tracking.list_runs", (experiment_id,), Query(), stage, max_results, token)

    def search_runs(
        self,
        experiment_ids: tuple[str, ...],
        *,
        query: Query,
        stage: LifecycleStage | None = LifecycleStage.ACTIVE,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[Run]:
        return self._listings.page("tracking.search_runs", experiment_ids, query, stage, max_results, token)

    # What SageMaker does not have.

    def put_logged_model(self, model: LoggedModel) -> LoggedModel:
        self._refuse(Feature.TRACKING_LOGGED_MODELS)

    def get_logged_model(self, model_id: str) -> LoggedModel:
        self._refuse(Feature.TRACKING_LOGGED_MODELS)

    def list_logged_models(
        self, experiment_ids: tuple[str, ...], *, max_results: int = 1000, token: str | None = None
    ) -> Page[LoggedModel]:
        self._refuse(Feature.TRACKING_LOGGED_MODELS)

    def link_models(self, run_id: str, links: tuple[ModelLink, ...]) -> None:
        self._refuse(Feature.TRACKING_LOGGED_MODELS)

    def put_trace(self, trace: Trace) -> None:
        self._refuse(Feature.TRACKING_TRACES)

    def get_trace(self, trace_id: str) -> Trace:
        self._refuse(Feature.TRACKING_TRACES)

    def list_traces(
        self, experiment_ids: tuple[str, ...], *, max_results: int = 1000, token: str | None = None
    ) -> Page[Trace]:
        self._refuse(Feature.TRACKING_TRACES)

    def _refuse(self, feature: Feature) -> NoReturn:
        self._capabilities.require(feature, operation=feature.value)
        raise AssertionError(f"{feature.value} is declared and not built")


def _resumed(held: RunRecord, spec: RunSpec) -> RunRecord:
    refuse_deleted(held)
    if held.status is not RunStatus.RUNNING or held.end_time is not None:
        held = run_records.revised(held, status=RunStatus.RUNNING, end_time=None)
    return run_records.with_tags(held, spec.tags.items())


def _refuse_unreadable(spec: RunSpec) -> None:
    texts = (spec.run_id, spec.experiment_name, spec.name, spec.user, *spec.tags, *spec.tags.values())
    if not all(map(run_records.is_text, texts)):
        raise InvalidInput(
            "the name or a tag of the run is not valid Unicode",
            adapter=ADAPTER,
            resource=f"run {spec.run_id!r}",
            hint="leave lone surrogates out",
        )


def _newest_first(experiment: Experiment) -> tuple[int, str]:
    return -(experiment.creation_time or 0), experiment.experiment_id
