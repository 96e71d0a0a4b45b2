"""Explicit use: a client of one tracking URI, with the method names of mlflow's ``MlflowClient``.

The fluent functions are translations to this class; so are the command line and the gateway.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackbridge.api import logging_artifacts
from trackbridge.api.advice import warn_of_limits
from trackbridge.api.downloads import download_file
from trackbridge.api.job_surroundings import is_attempt
from trackbridge.api.names import random_run_name
from trackbridge.api.reading import Reader
from trackbridge.api.recorder import RunRecorder, now_ms
from trackbridge.api.registry_binding import RegistryBinding
from trackbridge.api.registry_client import RegistryMethods
from trackbridge.api.results import Experiment, Experiments, Run, Runs
from trackbridge.api.session import raise_if_pending, session_for
from trackbridge.api.values import as_text, checked_key, checked_tag_key
from trackbridge.domain import runs as domain
from trackbridge.domain.artifacts import ArtifactInfo, artifact_uri
from trackbridge.domain.batches import MetricColumns
from trackbridge.domain.ids import experiment_id_of, mint_id
from trackbridge.domain.job_tags import TAG_JOB_JOURNAL
from trackbridge.domain.records import ExperimentOpened, OpenMode, RunOpened
from trackbridge.domain.runs import (
    TAG_NAME,
    TAG_PARENT,
    TAG_USER,
    DatasetInput,
    LifecycleStage,
    Metric,
    RunStatus,
)
from trackbridge.domain.search import Query, parse_experiment_query, parse_query
from trackbridge.errors import Conflict, InvalidInput, NotFound, Rejected, Unsupported
from trackbridge.resolve.config import Settings
from trackbridge.resolve.destinations import resolve_destinations

if TYPE_CHECKING:
    from trackbridge.api.session import Session

Uri = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None

MAX_RESULTS = 1000


class ViewType:
    """What a search looks at: active runs, deleted ones, or all (mlflow's names)."""

    ACTIVE_ONLY = "active"
    DELETED_ONLY = "deleted"
    ALL = "all"


class Client(RegistryMethods):
    """Logs to and reads from one tracking URI (or several: the first is read from).

    Logging goes through the journal and never waits for a backend. Reading, deleting and restoring talk to
    the backend, after what was logged is delivered.

    Args:
        tracking_uri: A tracking URI, several, or None for that of ``set_tracking_uri``, else the
            configured one.
        registry_uri: Where registered models go; None for the setting ``registry_uri``.

    Raises:
        ConfigError: The URI or a setting is wrong.
    """

    default_uri: Uri = None
    """What ``set_tracking_uri`` was given."""

    def __init__(self, tracking_uri: Uri = None, registry_uri: str | None = None) -> None:
        self._settings = Settings()
        uri = self.default_uri if tracking_uri is None else tracking_uri
        destinations = resolve_destinations(uri, settings=self._settings)
        self.session: Session = session_for(destinations, self._settings)
        self.reader = Reader(self.session, destinations[0])
        first, registry = destinations[0].uri.text, None
        if registry_uri is not None:
            registry = resolve_destinations(registry_uri, settings=self._settings)[0].uri.text
        self.models = RegistryBinding(self.reader, first, self._settings, registry)

    @property
    def tracking_uri(self) -> str:
        """The tracking URI in its full form; several are joined by commas."""
        return ",".join(self.session.destinations)

    def __repr__(self) -> str:
        return f"Client({self.tracking_uri!r})"

    @property
    def looks_first(self) -> bool:
        """Whether runs and experiments are looked up in the store before they are taken up: it is here."""
        return not self.session.asks_nobody and self.reader.capabilities.is_local

    # Experiments.

    def open_experiment(self, name: str, *, tags: Mapping[str, object] | None = None) -> Experiment:
        """Use the experiment of this name, creating it with the delivery of the first record.

        Raises:
            Rejected: It was deleted (known at once for a local store, else at delivery).
        """
        checked_key(name, kind="experiment")
        experiment_id = experiment_id_of(name)
        if self.looks_first:
            existing = self.reader.glimpse_experiment(name)
            if existing is not None:
                _refuse_deleted(existing.lifecycle_stage, name, existing.experiment_id, noun="experiments")
                experiment_id = existing.experiment_id
        texts = {key: as_text(value, key=key, kind="tag") for key, value in (tags or {}).items()}
        self.session.open_experiment(ExperimentOpened(experiment_id, name, texts))
        return Experiment(experiment_id=experiment_id, name=name, tags=texts)

    def create_experiment(
        self,
        name: str,
        artifact_location: str | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> str:
        """Create an experiment and return its id.

        Args:
            name: Its name.
            artifact_location: None; it stands here because mlflow has it here.
            tags: Its tags.

        Raises:
            Conflict: There is one of this name already.
            Unsupported: An artifact location is given.
        """
        if artifact_location is not None:
            raise Unsupported(
                "an experiment has no artifact location of its own: the tracking URI decides where files go",
                operation="create_experiment",
                hint="leave artifact_location out",
            )
        existing = self.reader.find_experiment(name)
        if existing is not None:
            raise Conflict(
                f"the experiment {name!r} exists already",
                operation="create_experiment",
                hint="use set_experiment, which finds or creates",
            )
        experiment = self.open_experiment(name, tags=tags)
        self.reader.drain()
        return experiment.experiment_id

    def get_experiment(self, experiment_id: str) -> Experiment:
        """Return an experiment by its id.

        Raises:
            NotFound: There is none.
        """
        return Experiment.of(self.reader.get_experiment(experiment_id))

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        """Return an experiment by its name, deleted or not, or None."""
        found = self.reader.find_experiment(name)
        return None if found is None else Experiment.of(found)

    def search_experiments(
        self,
        view_type: str = ViewType.ACTIVE_ONLY,
        max_results: int = MAX_RESULTS,
        filter_string: str | None = None,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> Experiments:
        """Return the experiments that fulfil a filter, newest first unless ordered.

        Raises:
            InvalidQuery: The filter or the order is wrong; the error says where.
        """
        page = self.reader.search_experiments(
            parse_experiment_query(checked_filter(filter_string), tuple(as_list(order_by))),
            stage=_stage(view_type),
            max_results=_positive(max_results),
            token=page_token,
        )
        return Experiments(page.items, page.token)

    def set_experiment_tag(self, experiment_id: str, key: str, value: object) -> None:
        """Set a tag of an experiment."""
        experiment = self.reader.get_experiment(experiment_id)
        text = as_text(value, key=checked_tag_key(key), kind="tag")
        self.reader.tracking.ensure_experiment(experiment.name, experiment_id=experiment_id, tags={key: text})

    def delete_experiment(self, experiment_id: str) -> None:
        """Delete an experiment with its runs; it can be restored."""
        self.reader.drain()
        self.reader.tracking.delete_experiment(experiment_id)

    def restore_experiment(self, experiment_id: str) -> None:
        """Undo ``delete_experiment``."""
        self.reader.drain()
        self.reader.tracking.restore_experiment(experiment_id)

    # The life of a run.

    def create_run(
        self,
        experiment_id: str,
        start_time: int | None = None,
        tags: Mapping[str, object] | None = None,
        run_name: str | None = None,
    ) -> Run:
        """Open a run and return it. It stays open until ``set_terminated`` or the death of the program.

        Args:
            experiment_id: The experiment, which must exist or be in use by this program.
            start_time: Milliseconds since 1970; None for now.
            tags: Tags of the run.
            run_name: A name; None for a random one.
        """
        name = self._experiment_name(experiment_id)
        recorder = self.open_run(
            experiment_id, name, run_name=run_name, start_time=start_time, tags=tags or {}
        )
        return Run.of(recorder.snapshot())

    def open_run(
        self,
        experiment_id: str,
        experiment_name: str,
        *,
        run_name: str | None = None,
        start_time: int | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> RunRecorder:
        """Open a run and return its recorder, the fastest way to log to it."""
        texts = {key: as_text(value, key=key, kind="tag") for key, value in (tags or {}).items()}
        name = run_name or texts.get(TAG_NAME) or random_run_name()
        opened = RunOpened(
            run_id=mint_id(),
            experiment_id=experiment_id,
            experiment_name=experiment_name,
            name=checked_key(name, kind="run"),
            user=texts.get(TAG_USER, ""),
            start_time=now_ms() if start_time is None else start_time,
            tags={**texts, TAG_NAME: name},
        )
        return self.session.open_run(opened)

    def open_run_here(self, run_name: str) -> RunRecorder:
        """Open a run in the configured experiment, and say where it comes from."""
        from trackbridge.api.context import run_context

        experiment = self.open_experiment(self._settings.value("experiment_name"))
        context = run_context(cwd=Path.cwd())
        context[TAG_USER] = self._settings.value("user") or context[TAG_USER]
        return self.open_run(experiment.experiment_id, experiment.name, run_name=run_name, tags=context)

    def resume_run(self, run_id: str, *, tags: Mapping[str, object] | None = None) -> RunRecorder:
        """Take up a run that exists: it is RUNNING again, and closed with this program if it dies.

        Raises:
            NotFound: There is none (known at once for a local store, else at delivery).
        """
        existing = self.session.recorders.get(run_id)
        if existing is not None:
            return existing
        texts = {key: as_text(value, key=key, kind="tag") for key, value in (tags or {}).items()}
        if is_attempt(run_id):
            writer = self.session.writer
            writer.enter_process()
            if not writer.folder.resumes(run_id):  # the first time; see delivery/attempts.py
                texts[TAG_JOB_JOURNAL] = writer.folder.journal_id
        return self._reopened(run_id, OpenMode.RESUME, texts)

    def _reopened(self, run_id: str, how: OpenMode, tags: dict[str, str]) -> RunRecorder:
        experiment_id, name, user, start_time = "", "", "", now_ms()
        run = self.reader.glimpse_run(run_id) if self.looks_first else None
        if run is not None:
            _refuse_deleted(run.info.lifecycle_stage, run.info.run_name, run_id, noun="runs")
            experiment_id, name, user = run.info.experiment_id, run.info.run_name, run.info.user_id
            start_time = run.info.start_time
        opened = RunOpened(
            run_id=run_id,
            experiment_id=experiment_id,
            experiment_name="",
            name=name,
            user=user,
            start_time=start_time,
            tags=tags,
            how=how,
        )
        recorder = self.session.open_run(opened)
        if run is not None:
            recorder.know_params(run.data.params)
        return recorder

    def recorder(self, run_id: str) -> RunRecorder:
        """Return this process's recorder of a run, joining it when it is not open here."""
        known = self.session.recorders.get(run_id)
        if known is not None:
            return known
        return self._reopened(run_id, OpenMode.JOIN, {})

    def set_terminated(
        self, run_id: str, status: str | RunStatus | None = None, end_time: int | None = None
    ) -> None:
        """End a run.

        Args:
            run_id: The run.
            status: FINISHED (the default), FAILED or KILLED.
            end_time: Milliseconds since 1970; None for now.
        """
        self.end_run(self.recorder(run_id), _final_status(status), end_time)

    def end_run(self, recorder: RunRecorder, status: RunStatus, end_time: int | None = None) -> None:
        """End the run of a recorder, and tell what its destination documents and the run has passed."""
        recorder.close(status, end_time)
        self.session.recorders.pop(recorder.run_id, None)
        warn_of_limits(self.reader, recorder)

    def update_run(self, run_id: str, status: str | None = None, name: str | None = None) -> None:
        """Set the status or the name of a run."""
        if name is not None:
            self.recorder(run_id).tags({TAG_NAME: checked_key(name, kind="run")})
        if status is not None and str(status) in (RunStatus.RUNNING.value, RunStatus.SCHEDULED.value):
            self.resume_run(run_id)
        elif status is not None:
            self.set_terminated(run_id, status)

    def delete_run(self, run_id: str) -> None:
        """Delete a run; it can be restored."""
        self.reader.drain()
        self.reader.tracking.delete_run(run_id)
        self.session.recorders.pop(run_id, None)  # read from the backend from now on

    def restore_run(self, run_id: str) -> None:
        """Undo ``delete_run``."""
        self.reader.drain()
        self.reader.tracking.restore_run(run_id)

    # Logging.

    def log_metric(
        self, run_id: str, key: str, value: float, timestamp: int | None = None, step: int | None = None
    ) -> None:
        """Log one point of a metric; see ``trackbridge.log_metric``."""
        self.recorder(run_id).metric(key, value, step, timestamp)

    def log_param(self, run_id: str, key: str, value: object) -> object:
        """Log a param and return its value; see ``trackbridge.log_param``."""
        self.recorder(run_id).params({checked_key(key, kind="param"): value})
        return value

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Any] = (),
        params: Sequence[Any] | Mapping[str, object] = (),
        tags: Sequence[Any] | Mapping[str, object] = (),
    ) -> None:
        """Log many points, params and tags. There is no limit to their number.

        Args:
            run_id: The run.
            metrics: Objects with ``key``, ``value``, ``timestamp`` and ``step`` (ours or mlflow's).
            params: A mapping, or objects with ``key`` and ``value``.
            tags: A mapping, or objects with ``key`` and ``value``.
        """
        recorder = self.recorder(run_id)
        if metrics:
            recorder.metrics(metrics)
        for key, value in _pairs(params):
            recorder.params({key: value})
        recorder.tags({checked_tag_key(key): value for key, value in _pairs(tags)})

    def set_tag(self, run_id: str, key: str, value: object) -> None:
        """Set a tag of a run."""
        self.recorder(run_id).tags({checked_tag_key(key): str(value)})

    def delete_tag(self, run_id: str, key: str) -> None:
        """Delete a tag of a run; deleting an absent one succeeds."""
        self.recorder(run_id).tags({checked_tag_key(key): None})

    def log_inputs(self, run_id: str, datasets: Iterable[DatasetInput]) -> None:
        """Log data sets that a run reads."""
        for dataset in datasets:
            self.recorder(run_id).input(dataset)

    # Artifacts.

    def log_artifact(
        self, run_id: str, local_path: str | os.PathLike[str], artifact_path: str | None = None
    ) -> None:
        """Log a file, or a folder with all in it, below ``artifact_path``."""
        logging_artifacts.log_path(self.recorder(run_id), Path(local_path), artifact_path)

    def log_artifacts(
        self, run_id: str, local_dir: str | os.PathLike[str], artifact_path: str | None = None
    ) -> None:
        """Log all files of a folder below ``artifact_path``."""
        logging_artifacts.log_folder(self.recorder(run_id), Path(local_dir), artifact_path)

    def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
        """Log text as a file."""
        logging_artifacts.log_text(self.recorder(run_id), text, artifact_file)

    def log_dict(self, run_id: str, dictionary: Any, artifact_file: str) -> None:
        """Log a dictionary or list as JSON, or as YAML by the file's ending."""
        logging_artifacts.log_dict(self.recorder(run_id), dictionary, artifact_file)

    def log_figure(self, run_id: str, figure: Any, artifact_file: str, **save_options: Any) -> None:
        """Log a matplotlib or plotly figure as an image, or as HTML by the file's ending."""
        logging_artifacts.log_figure(self.recorder(run_id), figure, artifact_file, **save_options)

    def log_image(
        self,
        run_id: str,
        image: Any,
        artifact_file: str | None = None,
        key: str | None = None,
        step: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Log an image (PIL, or an array of H x W or H x W x C) as a file, or under a key and step."""
        logging_artifacts.log_image(
            self.recorder(run_id), image, artifact_file, key=key, step=step, timestamp=timestamp
        )

    def log_table(self, run_id: str, data: Any, artifact_file: str) -> None:
        """Log a table (a mapping of columns, or a frame); rows are added to what the file holds."""
        recorder = self.recorder(run_id)
        is_new = artifact_file in recorder.tables or recorder.opened.how is OpenMode.CREATE
        existing = None if is_new else self._existing_file(run_id, artifact_file)
        logging_artifacts.log_table(recorder, data, artifact_file, existing=existing)

    def _existing_file(self, run_id: str, path: str) -> bytes | None:
        self.reader.drain()
        try:
            with self.reader.artifacts.open(run_id, path) as file:
                return file.read()
        except NotFound:
            return None

    def list_artifacts(self, run_id: str, path: str | None = None) -> list[ArtifactInfo]:
        """List the files and folders directly below ``path``, in order."""
        self.reader.drain()
        found: list[ArtifactInfo] = []
        token: str | None = None
        while True:
            page = self.reader.artifacts.list(run_id, path or "", token=token)
            found.extend(page)
            token = page.token
            if token is None:
                return found

    def download_artifacts(
        self, run_id: str, path: str = "", dst_path: str | os.PathLike[str] | None = None
    ) -> str:
        """Copy a file or a folder of a run to the local disk and return where it lies.

        Args:
            run_id: The run.
            path: A file or folder of the run; empty for everything.
            dst_path: An existing folder; None for a new temporary one.

        Raises:
            NotFound: There is no such artifact.
            Rejected: Bytes in the store are not those that were logged.
        """
        self.reader.drain()
        target = Path(tempfile.mkdtemp(prefix="trackbridge-") if dst_path is None else dst_path)
        if not target.is_dir():
            raise NotFound(f"the folder {target} does not exist", hint=f"mkdir {target}")
        artifacts = self.reader.artifacts
        if path and not (info := artifacts.stat(run_id, path)).is_dir:
            return str(download_file(artifacts, run_id, info, target / path))
        for info in self._walk(run_id, path):
            download_file(artifacts, run_id, info, target / info.path)
        return str(target / path)

    def _walk(self, run_id: str, path: str) -> Iterable[ArtifactInfo]:
        for info in self.list_artifacts(run_id, path):
            if info.is_dir:
                yield from self._walk(run_id, info.path)
            else:
                yield info

    # Reading.

    def get_run(self, run_id: str) -> Run:
        """Return a run with its params, tags, inputs and the last value of each metric.

        Raises:
            NotFound: There is no such run.
        """
        return Run.of(self.reader.get_run(run_id))

    def get_parent_run(self, run_id: str) -> Run | None:
        """Return the run in which a run is nested, or None."""
        parent = self.get_run(run_id).data.tags.get(TAG_PARENT)
        return None if parent is None else self.get_run(parent)

    def get_metric_history(self, run_id: str, key: str) -> list[Metric]:
        """Return every point of a metric in order of step, then time."""
        columns = self.reader.metric_history(run_id, key)
        rows = zip(columns.values, columns.timestamps, columns.steps, strict=True)
        return [Metric(key, value, timestamp, step) for value, timestamp, step in rows]

    def get_metric_columns(self, run_id: str, key: str) -> MetricColumns:
        """Return every point of a metric as arrays: ``steps``, ``timestamps`` and ``values``.

        Many times faster than ``get_metric_history`` for long histories.
        """
        return self.reader.metric_history(run_id, key)

    def search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str = "",
        run_view_type: str = ViewType.ACTIVE_ONLY,
        max_results: int = MAX_RESULTS,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> Runs:
        """Return the runs that fulfil a filter, newest first unless ordered.

        Args:
            experiment_ids: The experiments to look in.
            filter_string: For example ``metrics.acc > 0.9 and params.lr = '0.1'``.
            run_view_type: A value of ``ViewType``.
            max_results: Runs to return at the most; ``token`` of the result asks for more.
            order_by: Columns such as ``metrics.acc DESC``.
            page_token: The token of an earlier result of the same search.

        Raises:
            InvalidQuery: The filter or the order is wrong; the error says where.
        """
        query: Query = parse_query(checked_filter(filter_string), tuple(as_list(order_by)))
        found: list[domain.Run] = []
        token, left = page_token, _positive(max_results)
        while True:
            page = self.reader.search_runs(
                tuple(as_list(experiment_ids)),
                query,
                stage=_stage(run_view_type),
                max_results=min(left, self.reader.capabilities.limits.page_items_max),
                token=token,
            )
            found.extend(page)
            token, left = page.token, left - len(page)
            if token is None or left <= 0:
                return Runs(found, token)

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until everything that was logged so far is delivered, to every destination.

        Args:
            timeout_s: Seconds to wait at the most; None for as long as it takes.

        Raises:
            TimedOut: Records are still pending; they are safe in the journal.
        """
        raise_if_pending(self.session.flush(float("inf") if timeout_s is None else timeout_s))

    def artifact_uri(self, run_id: str, path: str = "") -> str:
        """Return the address of an artifact, the same before and after delivery."""
        return artifact_uri(run_id, path)

    def _experiment_name(self, experiment_id: str) -> str:
        name = self.session.experiment_name(experiment_id)
        return name if name is not None else self.reader.get_experiment(experiment_id).name


def _refuse_deleted(stage: LifecycleStage, name: str, identifier: str, *, noun: str) -> None:
    if stage is LifecycleStage.DELETED:
        raise Rejected(
            f"{name!r} was deleted",
            resource=identifier,
            hint=f"restore it first: bridge {noun} restore {identifier}",
        )


def _stage(view_type: str) -> LifecycleStage | None:
    by_number = {1: ViewType.ACTIVE_ONLY, 2: ViewType.DELETED_ONLY, 3: ViewType.ALL}  # mlflow's own
    text = str(by_number.get(view_type, view_type)).lower().removesuffix("_only")  # type: ignore[call-overload]
    if text == ViewType.ALL:
        return None
    try:
        return LifecycleStage(text)
    except ValueError as error:
        raise InvalidInput(
            f"the view type {view_type!r} is unknown", hint="use ViewType.ACTIVE_ONLY, DELETED_ONLY or ALL"
        ) from error


def _positive(max_results: int) -> int:
    if type(max_results) is not int or max_results < 1:
        raise InvalidInput(f"max_results must be a positive whole number, not {max_results!r}")
    return max_results


def _final_status(status: str | RunStatus | None) -> RunStatus:
    try:
        found = RunStatus.FINISHED if status is None else RunStatus(status)
    except ValueError as error:
        raise InvalidInput(
            f"the status {status!r} is unknown", hint="use FINISHED, FAILED or KILLED"
        ) from error
    if not found.is_final:
        raise InvalidInput(f"the status {found} does not end a run", hint="use FINISHED, FAILED or KILLED")
    return found


def _pairs(items: Sequence[Any] | Mapping[str, object]) -> list[tuple[str, object]]:
    if isinstance(items, Mapping):
        return list(items.items())
    try:
        return [(item.key, item.value) for item in items]
    except (AttributeError, TypeError) as error:
        raise InvalidInput(
            "params and tags must be a mapping, or objects with key and value", hint='for example {"lr": 0.1}'
        ) from error


def as_list(items: str | Sequence[str] | None) -> list[str]:
    """Return items as a list; one text is one item."""
    return [items] if isinstance(items, str) else list(items or ())


def checked_filter(text: object) -> str:
    """Return the text of a filter, empty for None.

    Raises:
        InvalidInput: It is no text.
    """
    if text is None or isinstance(text, str):
        return text or ""
    raise InvalidInput(
        f"a filter must be text, not {type(text).__name__}", hint="for example: metrics.acc > 0.9"
    )
