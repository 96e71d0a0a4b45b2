"""Tracking on an MLflow endpoint, where a run has a native id: the tag ``bridge.run_id`` holds ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trackbridge.domain.batches import Batch, InputAdded, MetricColumns, Receipt, Rejection, Setting
from trackbridge.domain.ids import is_minted
from trackbridge.domain.metric_values import last_point
from trackbridge.domain.page_tokens import listing_of, page_size, place_of, token_of
from trackbridge.domain.paging import Page
from trackbridge.domain.runs import (
    TAG_NAME,
    TAG_PARENT,
    TAG_RUN_ID,
    TAG_USER,
    Experiment,
    LifecycleStage,
    Run,
    RunData,
    RunInfo,
    RunSpec,
    RunStatus,
)
from trackbridge.domain.search import Query
from trackbridge.domain.traces import LoggedModel, ModelLink, Trace, is_model_id, is_trace_id
from trackbridge.errors import NotFound, Rejected, Unsupported
from trackbridge.ports.adapter import AdapterContext
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.tracking import TrackingStore
from trackbridge_adapters._mlflow_rest.batches import log_batch_body
from trackbridge_adapters._mlflow_rest.capabilities import PAGE_ITEMS_MAX, capabilities_of
from trackbridge_adapters._mlflow_rest.conversions import (
    BOOK_KEEPING_TAGS,
    TAG_PARENT_OURS,
    dataset_json,
    in_order,
    inputs_of,
    key_value_list,
    key_values,
    milliseconds,
    number_of,
    point_of,
    stage_of,
    status_of,
)
from trackbridge_adapters._mlflow_rest.experiments import Experiments
from trackbridge_adapters._mlflow_rest.listing import listed_runs, searched_runs
from trackbridge_adapters._mlflow_rest.logged_models import LoggedModels
from trackbridge_adapters._mlflow_rest.negotiation import Negotiation
from trackbridge_adapters._mlflow_rest.records import Sorted, sorted_records, split_conflicts
from trackbridge_adapters._mlflow_rest.run_ids import EXPERIMENT, RUN, NativeIds
from trackbridge_adapters._mlflow_rest.traces import Traces
from trackbridge_adapters._mlflow_rest.wire import Json, Wire

RECORDS_PER_CALL_MAX = 1000
"""Metrics, params and tags of one log-batch together (mlflow/utils/validation.py, MAX_ENTITIES_PER_BATCH)."""
EXPERIMENTS_PER_SEARCH = 100
EMPTY_ROOTS_MAX = 1000
ROOTS_MAX = 10_000
"""Of how many runs it is remembered where their files lie."""
DATASET_DIGEST_CHARS_MAX = 36
DATASET_NAME_CHARS_MAX = 500
DELETED_TAG = "bridge.deleted_before."
"""Experiment tags that hold the native ids of runs that were deleted before their experiment was."""
DELETED_IDS_PER_TAG = 100


class RestTracking(TrackingStore):
    """Experiments and runs of one endpoint."""

    def __init__(self, wire: Wire, context: AdapterContext) -> None:
        self.wire = wire
        self.service = wire.service
        self.context = context
        self.ids = NativeIds(context, wire.service.address)
        self.experiments = Experiments(wire, self.ids)
        self.negotiation = Negotiation(wire, self.ids, context.clock_ms)
        self.capabilities = capabilities_of(wire.service, self.negotiation.gaps())
        self.logged_models = LoggedModels(self)
        self.traces = Traces(self)
        self._roots: dict[str, str] = {}
        self.empty_roots: set[str] = set()
        """Where files of runs will lie that were created here for a caller who knew that they are new."""

    # Ids.

    def native_run_id(self, run_id: str) -> str:
        """Return the native id of a run, given ours or the native one.

        Raises:
            NotFound: There is no such run.
        """
        known = self.ids.native(RUN, run_id)
        return known if known is not None else self._find_native(run_id)

    def our_run_id(self, native: str) -> str:
        """Return the id under which users know a run."""
        known = self.ids.ours(RUN, native)
        return known if known is not None else self.run_of(self._native_run(native)).info.run_id

    def artifact_root(self, run_id: str) -> str:
        """Return where the run's artifacts lie, as the backend names it."""
        root = self._roots.get(run_id)
        if root is None:
            root = self._roots[run_id] = self._root_of(run_id)
        return root

    def _root_of(self, identifier: str) -> str:
        """Return where the files of a run, a logged model or a trace lie."""
        if is_model_id(identifier) and self.capabilities.supports(Feature.TRACKING_LOGGED_MODELS):
            return self.logged_models.root(identifier)
        if is_trace_id(identifier) and self.capabilities.supports(Feature.TRACKING_TRACES):
            return self.traces.root(identifier)
        return str(self._run(identifier)["info"].get("artifact_uri", ""))

    def native_experiment_id(self, experiment_id: str) -> str:
        """Return the native id of an experiment, given ours or the native one.

        Raises:
            NotFound: There is no such experiment.
        """
        return self.experiments.native_id(experiment_id)

    def _find_native(self, run_id: str) -> str:
        try:
            native = str(self._native_run(run_id)["info"]["run_id"])
        except (NotFound, Rejected) as error:  # an id of another form than the server's is "invalid"
            if not is_minted(run_id):
                raise self._no_run(run_id) from error
            natives = [str(found["experiment_id"]) for found in self.experiments.pages(None)]
            native = self._tagged(run_id, natives)
        self.ids.remember(RUN, run_id, native)
        return native

    def _tagged(self, run_id: str, experiments: list[str]) -> str:
        """Return the native id of the run that has ours in its tag; of several, the first by id."""
        found = self._all_tagged(run_id, experiments)
        if not found:
            raise self._no_run(run_id)
        return found[0]

    def _all_tagged(self, run_id: str, experiments: list[str]) -> list[str]:
        found: list[str] = []
        for start in range(0, len(experiments), EXPERIMENTS_PER_SEARCH):
            body = {
                "experiment_ids": experiments[start : start + EXPERIMENTS_PER_SEARCH],
                "filter": f"tags.`{TAG_RUN_ID}` = '{run_id}'",
                "run_view_type": "ALL",
                "max_results": 10,
            }
            runs = self.wire.post("runs/search", body).get("runs") or ()
            found += [str(run["info"]["run_id"]) for run in runs]
        return sorted(found)

    def _run(self, run_id: str) -> Json:
        """Return a run as the server has it; a remembered id that has gone is looked for again."""
        native = self.ids.native(RUN, run_id)
        if native is not None:
            try:
                return self._native_run(native)
            except NotFound:
                self.ids.forget(RUN, run_id)
        return self._native_run(self._find_native(run_id))

    def _native_run(self, native: str) -> Json:
        found: Json = self.wire.get("runs/get", {"run_id": native})["run"]
        return found

    def _no_run(self, run_id: str) -> NotFound:
        return NotFound(
            f"there is no run {run_id!r}", adapter=self.service.adapter, hint="see: bridge runs list"
        )

    # Experiments.

    def ensure_experiment(
        self, name: str, *, experiment_id: str, tags: dict[str, str] | None = None
    ) -> Experiment:
        self.service.refuse_experiment(name, tags or {})
        return self.experiments.ensure(name, experiment_id, tags or {})

    def list_experiments(
        self,
        *,
        stage: LifecycleStage | None = LifecycleStage.ACTIVE,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[Experiment]:
        adapter, operation = self.service.adapter, "tracking.list_experiments"
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=adapter, operation=operation)
        listing = listing_of(operation, stage)
        place = place_of(token, listing, adapter=adapter, operation=operation, types=(int, str))
        found = [self.experiments.converted(item) for item in self.experiments.pages(stage)]
        found.sort(key=_newest_first)
        if place is not None:
            found = [item for item in found if _newest_first(item) > (place[0], place[1])]
        token = token_of(listing, list(_newest_first(found[size - 1]))) if len(found) > size else None
        return Page(items=tuple(found[:size]), token=token)

    def delete_experiment(self, experiment_id: str) -> None:
        native = self.native_experiment_id(experiment_id)
        if stage_of(self.experiments.by_native_id(native).get("lifecycle_stage")) is LifecycleStage.DELETED:
            return
        self._note_deleted_runs(native)
        self.wire.post("experiments/delete", {"experiment_id": native})

    def restore_experiment(self, experiment_id: str) -> None:
        native = self.native_experiment_id(experiment_id)
        found = self.experiments.by_native_id(native)
        if stage_of(found.get("lifecycle_stage")) is LifecycleStage.ACTIVE:
            return
        tags = key_values(found.get("tags"))
        noted = [value for key, value in tags.items() if key.startswith(DELETED_TAG) and value]
        self.wire.post("experiments/restore", {"experiment_id": native})
        for run in ",".join(noted).split(",") if noted else ():  # the server restored all of them
            self.wire.post("runs/delete", {"run_id": run})

    def _note_deleted_runs(self, native: str) -> None:
        """Keep which runs are deleted now, because the server restores every run with an experiment."""
        body = {"experiment_ids": [native], "run_view_type": "DELETED_ONLY", "max_results": PAGE_ITEMS_MAX}
        deleted: list[str] = []
        while True:
            answer = self.wire.post("runs/search", body)
            deleted += [str(run["info"]["run_id"]) for run in answer.get("runs") or ()]
            if not answer.get("next_page_token"):
                break
            body["page_token"] = answer["next_page_token"]
        tags = key_values(self.experiments.by_native_id(native).get("tags"))
        chunks = {key: "" for key, value in tags.items() if key.startswith(DELETED_TAG) and value}
        count = self._deleted_ids_per_tag(deleted)
        for start in range(0, len(deleted), count):
            chunks[f"{DELETED_TAG}{start // count}"] = ",".join(deleted[start : start + count])
        for key, value in chunks.items():
            self.wire.post(
                "experiments/set-experiment-tag", {"experiment_id": native, "key": key, "value": value}
            )

    def _deleted_ids_per_tag(self, ids: list[str]) -> int:
        """Return how many of these ids the value of a tag takes, with a comma behind each."""
        most = self.service.limits.tag_value_chars_max
        if most is None or not ids:
            return DELETED_IDS_PER_TAG
        return max(1, min(DELETED_IDS_PER_TAG, most // (1 + max(map(len, ids)))))

    # Runs.

    def open_run(self, spec: RunSpec) -> Run:
        found = self._created_anew(spec) if spec.is_new else self._find_run(spec)
        if found is None:
            experiment = self.ensure_experiment(spec.experiment_name, experiment_id=spec.experiment_id)
            with self.ids.creating(spec.run_id):
                native = experiment.native_id or experiment.experiment_id
                found = self._tagged_run(spec, experiment) or self._create_run(spec, native)
        return self._taken_up(found, spec)

    def _created_anew(self, spec: RunSpec) -> Json | None:
        """Create a run of which the caller knows that it is not there, where its experiment is known, too."""
        native = self.ids.native(EXPERIMENT, spec.experiment_id)
        if native is None or self.ids.native(RUN, spec.run_id) is not None:
            return self._find_run(spec)
        with self.ids.creating(spec.run_id):
            created = self._create_run(spec, native)
        if len(self.empty_roots) < EMPTY_ROOTS_MAX:
            self.empty_roots.add(str(created["info"].get("artifact_uri", "")))
        return created

    def _find_run(self, spec: RunSpec) -> Json | None:
        """Return the run where it is known without a search, or as the platform's own run of this job."""
        platform_run = self.service.platform_run
        if platform_run is not None and spec.run_id == platform_run:
            return self._native_run(platform_run)
        if self.ids.native(RUN, spec.run_id) is None and spec.experiment_name:
            if is_minted(spec.run_id) and not spec.resume:  # new in nearly all cases: found by its tag if not
                return None
            try:
                return self._native_run(spec.run_id)
            except (NotFound, Rejected):
                return None
        try:
            return self._run(spec.run_id)
        except NotFound:
            if not spec.experiment_name:
                raise
            return None

    def _tagged_run(self, spec: RunSpec, experiment: Experiment) -> Json | None:
        natives = self.experiments.all_native_ids(experiment, spec.experiment_id)
        found = self._all_tagged(spec.run_id, natives)
        if not found:
            return None
        self.ids.remember(RUN, spec.run_id, found[0])
        return self._native_run(found[0])

    def _create_run(self, spec: RunSpec, native_experiment: str) -> Json:
        tags = self._native_tags({**spec.tags, TAG_RUN_ID: spec.run_id})
        body = {
            "experiment_id": native_experiment,
            "start_time": spec.start_time,
            "user_id": spec.user,
            "run_name": spec.tags.get(TAG_NAME, spec.name),
            "tags": key_value_list({key: value for key, value in tags.items() if value is not None}),
        }
        run: Json = self.wire.post("runs/create", body)["run"]
        native = str(run["info"]["run_id"])
        self.ids.remember(RUN, spec.run_id, native)
        return run

    def _taken_up(self, found: Json, spec: RunSpec) -> Run:
        native = str(found["info"]["run_id"])
        self._refuse_deleted(found, spec.run_id)
        if spec.resume:
            if native != self.service.platform_run:
                self.wire.post("runs/update", {"run_id": native, "status": RunStatus.RUNNING.value})
            self._log(native, Sorted(tags=dict(spec.tags)))
            found = self._native_run(native)
        return self.run_of(found)

    def _refuse_deleted(self, found: Json, run_id: str) -> None:
        if stage_of(found["info"].get("lifecycle_stage")) is LifecycleStage.DELETED:
            raise Rejected(
                "the run was deleted",
                adapter=self.service.adapter,
                resource=f"run {run_id}",
                hint=f"restore it: bridge runs restore {run_id}",
            )

    def get_run(self, run_id: str) -> Run:
        return self.run_of(self._run(run_id))

    def close_run(self, run_id: str, *, status: RunStatus, end_time: int) -> None:
        if not status.is_final:
            raise Rejected(f"{status} is no end of a run", adapter=self.service.adapter)
        native = self.native_run_id(run_id)
        if native == self.service.platform_run:  # the platform sets it when the job ends
            return
        body = {"run_id": native, "status": status.value, "end_time": end_time}
        try:
            self.wire.post("runs/update", body)
        except Rejected:
            self._refuse_deleted(self._native_run(native), run_id)
            raise

    def delete_run(self, run_id: str) -> None:
        self.wire.post("runs/delete", {"run_id": str(self._run(run_id)["info"]["run_id"])})

    def restore_run(self, run_id: str) -> None:
        self.wire.post("runs/restore", {"run_id": str(self._run(run_id)["info"]["run_id"])})

    def run_of(self, found: Json) -> Run:
        """Return a run of the server's under our ids."""
        info, data = found["info"], found.get("data") or {}
        tags = key_values(data.get("tags"))
        native = str(info["run_id"])
        ours = tags.get(TAG_RUN_ID, native)
        if self.ids.ours(RUN, native) is None:
            self.ids.note(RUN, ours, native)
        status = status_of(info.get("status"))
        experiment = str(info["experiment_id"])
        if len(self._roots) >= ROOTS_MAX:
            self._roots.clear()
        if info.get("artifact_uri"):
            self._roots[ours] = str(info["artifact_uri"])
        if TAG_PARENT_OURS in tags and TAG_PARENT in tags:
            tags[TAG_PARENT] = tags[TAG_PARENT_OURS]
        name = tags.get(TAG_NAME, "" if ours != native else str(info.get("run_name", "")))
        return Run(
            info=RunInfo(
                run_id=ours,
                experiment_id=self.experiments.our_id(experiment),
                run_name=name,
                user_id=_user_of(info, tags, is_ours=ours != native),
                status=status,
                start_time=int(info.get("start_time") or 0),
                end_time=milliseconds(info.get("end_time")) if status.is_final else None,
                lifecycle_stage=stage_of(info.get("lifecycle_stage")),
                artifact_uri=str(info.get("artifact_uri", "")),
                native_id=native if native != ours else None,
                native_url=self.service.run_url(experiment, native),
            ),
            data=RunData.of_points(
                self._last_points(native, data.get("metrics") or ()),
                params=key_values(data.get("params")),
                tags={key: value for key, value in tags.items() if key not in BOOK_KEEPING_TAGS},
            ),
            inputs=inputs_of(found.get("inputs")),
            models=self.logged_models.links_of(found),
        )

    def _last_points(self, native: str, metrics: Iterable[Json]) -> dict[str, tuple[int, int, float]]:
        points = {str(metric["key"]): point_of(metric) for metric in metrics}
        for key, (_, _, value) in points.items():
            if value != value:  # among points of one moment the server takes a NaN for 0, we for the least
                columns = self._history(native, key)
                points[key] = last_point(zip(columns.steps, columns.timestamps, columns.values, strict=True))
        return points

    # Records.

    def write(self, batch: Batch) -> Receipt:
        native = self.native_run_id(batch.run_id)
        records = sorted_records(batch, self.capabilities.limits)
        rejected = records.rejected
        try:
            rejected += self._log(native, records)
        except Rejected:
            self._refuse_deleted(self._native_run(native), batch.run_id)
            raise
        for tag in [key for key, value in records.tags.items() if value is None]:
            self._delete_tag(native, tag)
        rejected += self._log_inputs(native, records.inputs)
        if not len(batch):
            self._refuse_deleted(self._native_run(native), batch.run_id)
        return Receipt(rejected=tuple(rejected))

    def _log(self, native: str, records: Sorted) -> list[Rejection]:
        """Send metrics, params and tags; where params conflict, all but those that do."""
        tags = self._native_tags({key: value for key, value in records.tags.items() if value is not None})
        params = list(records.params.values())
        points = sum(map(len, records.metrics.values()))
        if points + len(params) + len(tags) > RECORDS_PER_CALL_MAX:
            self._post_batch(native, records.metrics, [], {})
            records.metrics = {}
        conflicts: list[Rejection] = []
        try:
            self._post_batch(native, records.metrics, params, tags)
        except Rejected:
            stored = key_values((self._native_run(native).get("data") or {}).get("params"))
            params, conflicts = split_conflicts(params, stored)
            if not conflicts:
                raise
            self._post_batch(native, records.metrics, params, tags)
        name = records.tags.get(TAG_NAME)
        if name and native != self.service.platform_run:
            self.wire.post("runs/update", {"run_id": native, "run_name": name})
        return conflicts

    def _log_inputs(self, native: str, inputs: list[InputAdded]) -> list[Rejection]:
        problems = [(added, _input_problem(added.dataset.name, added.dataset.digest)) for added in inputs]
        held = [added for added, problem in problems if problem is None]
        rejected = [Rejection(added.sequence, problem) for added, problem in problems if problem]
        if not held:
            return rejected
        datasets = [dataset_json(added.dataset) for added in held]
        try:
            with self.negotiation.optional(Feature.TRACKING_DATASETS):
                self.wire.post("runs/log-inputs", {"run_id": native, "datasets": datasets})
        except Unsupported as error:
            rejected += [Rejection(added.sequence, str(error)) for added in held]
        return rejected

    def _post_batch(
        self, native: str, metrics: dict[str, MetricColumns], params: list[Setting], tags: dict[str, str]
    ) -> None:
        if not metrics and not params and not tags:
            return
        pairs = [(param.key, param.value or "") for param in params]
        body = log_batch_body(native, metrics, pairs, tags.items())
        self.wire.post_encoded("runs/log-batch", body)

    def _delete_tag(self, native: str, key: str) -> None:
        try:
            self.wire.post("runs/delete-tag", {"run_id": native, "key": key})
        except NotFound:
            self._native_run(native)  # the run is there: the tag was not

    def _native_tags(self, tags: dict[str, str]) -> dict[str, str]:
        """Return the tags with the parent under its native id, and under ours beside it."""
        parent = tags.get(TAG_PARENT)
        if parent is None:
            return tags
        try:
            return {**tags, TAG_PARENT: self.native_run_id(parent), TAG_PARENT_OURS: parent}
        except NotFound:  # a parent elsewhere, or none: kept as it was said
            return tags

    def metric_history(self, run_id: str, key: str) -> MetricColumns:
        columns = self._history(self.native_run_id(run_id), key) if key else MetricColumns()
        if len(columns):
            return columns
        native = str(
            self._run(run_id)["info"]["run_id"]
        )  # says so when the run is not there, or not any more
        return self._history(native, key) if key else columns

    def _history(self, native: str, key: str) -> MetricColumns:
        columns = MetricColumns()
        for points in self._pages_of_points(native, key):
            columns.steps.extend([int(point.get("step") or 0) for point in points])
            columns.timestamps.extend([int(point["timestamp"]) for point in points])
            columns.values.extend([number_of(point.get("value")) for point in points])
        return in_order(columns)

    def _pages_of_points(self, native: str, key: str) -> Iterator[list[Json]]:
        query: Json = {"run_id": native, "metric_key": key, "max_results": self.service.history_page_max}
        while True:
            answer = self.wire.get("metrics/get-history", query)
            yield answer.get("metrics") or []
            token = answer.get("next_page_token")
            if not token:
                return
            query["page_token"] = token

    # Listings.

    def list_runs(
        self,
        experiment_id: str,
        *,
        stage: LifecycleStage | None = LifecycleStage.ACTIVE,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[Run]:
        return listed_runs(self, (experiment_id,), stage, max_results, token, "tracking.list_runs", Query())

    def search_runs(
        self,
        experiment_ids: tuple[str, ...],
        *,
        query: Query,
        stage: LifecycleStage | None = LifecycleStage.ACTIVE,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[Run]:
        how = searched_runs if query.order_by else listed_runs
        return how(self, experiment_ids, stage, max_results, token, "tracking.search_runs", query)

    # What only MLflow 3 has.

    def put_logged_model(self, model: LoggedModel) -> LoggedModel:
        self._need(Feature.TRACKING_LOGGED_MODELS)
        return self.logged_models.put(model)

    def get_logged_model(self, model_id: str) -> LoggedModel:
        self._need(Feature.TRACKING_LOGGED_MODELS)
        return self.logged_models.get(model_id)

    def list_logged_models(
        self, experiment_ids: tuple[str, ...], *, max_results: int = 1000, token: str | None = None
    ) -> Page[LoggedModel]:
        self._need(Feature.TRACKING_LOGGED_MODELS)
        return self.logged_models.page(experiment_ids, max_results, token)

    def link_models(self, run_id: str, links: tuple[ModelLink, ...]) -> None:
        self._need(Feature.TRACKING_LOGGED_MODELS)
        self.logged_models.link(self._run(run_id), links)

    def put_trace(self, trace: Trace) -> None:
        self._need(Feature.TRACKING_TRACES)
        self.traces.put(trace)

    def get_trace(self, trace_id: str) -> Trace:
        self._need(Feature.TRACKING_TRACES)
        return self.traces.get(trace_id)

    def list_traces(
        self, experiment_ids: tuple[str, ...], *, max_results: int = 1000, token: str | None = None
    ) -> Page[Trace]:
        self._need(Feature.TRACKING_TRACES)
        return self.traces.page(experiment_ids, max_results, token)

    def _need(self, feature: Feature) -> None:
        self.capabilities.require(feature, operation=feature.value)


def _user_of(info: Json, tags: dict[str, str], *, is_ours: bool) -> str:
    """Return who made a run; Databricks and Azure write who is signed in, whoever a run of ours says."""
    named, tagged = str(info.get("user_id", "")), tags.get(TAG_USER, "")
    return tagged or named if is_ours else named or tagged


def _newest_first(experiment: Experiment) -> tuple[int, str]:
    return -(experiment.creation_time or 0), experiment.experiment_id


def _input_problem(name: str, digest: str) -> str | None:
    if len(digest) > DATASET_DIGEST_CHARS_MAX:
        return f"the data set's digest has more than {DATASET_DIGEST_CHARS_MAX} characters"
    if len(name) > DATASET_NAME_CHARS_MAX:
        return f"the data set's name has more than {DATASET_NAME_CHARS_MAX} characters"
    return None
