"""Logged models of mlflow 3, kept so that every backend has them.

The files of a model lie below its name among the files of its run (``model-1a2b3c4d`` where the run has
another model of that name), as ``trackbridge.log_model`` and mlflow 2 put them. What mlflow 3 says of it
besides - params, tags, metrics that belong to it - is a JSON document, ``bridge-models/<model id>.json``,
and a summary in a tag of the run, for finding it. The id holds the run's, so that no index is needed. A model
that is logged without a run gets one of its own.

A point that belongs to a model is a point of the run, never lost. That it belongs to the model is noted in
the document, for each new metric at once, after that at intervals and with the end of the run. A gateway
notes its points in a file of its own beside the document, so that several never write the same file.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from trackbridge.api import model_tags
from trackbridge.api.client import Client, ViewType
from trackbridge.api.model_tags import Summary
from trackbridge.api.names import random_run_name
from trackbridge.api.recorder import LoggedModel as KnownModel
from trackbridge.api.recorder import RunRecorder, now_ms
from trackbridge.domain.artifacts import checked_path
from trackbridge.domain.runs import RunStatus
from trackbridge.errors import InvalidInput, NotFound

FOLDER = "bridge-models"
SCHEME = "bridge-models"
"""``bridge-models:/RUN/PATH`` is where the files of a model lie, ``bridge-artifacts:`` all else of a run."""

NOTE_INTERVAL_S = 1.0
NOTE_SHARE_MAX = 0.05
"""Share of the time that noting which points belong to a model may take."""

PAGE_RUNS = 1000
_SUFFIX_DIGITS = 8


class Point(msgspec.Struct, array_like=True, frozen=True):
    """A point that belongs to a model. ``value`` is Python's text of it, because JSON has no NaN."""

    key: str
    value: str
    timestamp: int
    step: int
    dataset_name: str | None = None
    dataset_digest: str | None = None


class Document(msgspec.Struct, kw_only=True):
    """All that is kept of a model."""

    model_id: str
    experiment_id: str
    run_id: str
    summary: Summary
    status_message: str | None = None
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    params: dict[str, str] = msgspec.field(default_factory=dict)
    points: list[Point] = msgspec.field(default_factory=list)
    noted_by: list[str] = msgspec.field(default_factory=list)
    """Who has noted more points, each in a file of its own."""


class _Open:
    """A document that this process made or changed."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.keys = {point.key for point in document.points}
        self.seen = set(document.points)
        self.is_dirty = False
        self.next_note = 0.0


class ModelDocuments:
    """Reads and writes the documents of one client."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client
        self._open: dict[str, _Open] = {}
        self._process_id = os.getpid()

    # Making.

    def create(
        self,
        *,
        name: str | None,
        experiment_id: str,
        experiment_name: Callable[[str], str],
        source_run_id: str | None,
        tags: dict[str, str],
        params: dict[str, str],
        model_type: str | None,
    ) -> Document:
        """Make a model, PENDING. Nothing waits for a backend, where the run is this process's own."""
        name = name or random_run_name()
        checked_path(name)
        if source_run_id is not None:
            recorder = self.recorder(source_run_id)
        else:
            recorder = self.open_run(experiment_id, experiment_name(experiment_id), f"model {name}")
        suffix = os.urandom(_SUFFIX_DIGITS // 2).hex()
        path = f"{name}-{suffix}" if self._is_taken(recorder, name) else name
        now = now_ms()
        summary = Summary(
            name=name, path=path, created=now, updated=now, type=model_type, has_run=source_run_id is not None
        )
        document = Document(
            model_id=f"m-{recorder.run_id}-{suffix}",
            experiment_id=experiment_id,
            run_id=recorder.run_id,
            summary=summary,
            tags=tags,
            params=params,
        )
        recorder.models[path] = KnownModel("", frozenset(), is_registered=True)  # ours goes beside it
        self._open[document.model_id] = _Open(document)
        self._write(document)
        return document

    # Runs.

    def recorder(self, run_id: str) -> RunRecorder:
        """Return what logs to a run."""
        return self._client().recorder(run_id)

    def open_run(self, experiment_id: str, experiment_name: str, run_name: str) -> RunRecorder:
        """Open the run that holds the files of a model which no run has logged."""
        return self._client().open_run(experiment_id, experiment_name, run_name=run_name)

    def end_run(self, run_id: str, status: RunStatus) -> None:
        """End such a run."""
        self._client().set_terminated(run_id, status)

    def tags_of(self, run_id: str) -> Mapping[str, str]:
        """Return the tags of a run."""
        return self._client().get_run(run_id).data.tags

    def _is_taken(self, recorder: RunRecorder, name: str) -> bool:
        tags = self.tags_of(recorder.run_id)
        known = {summary.path for summary in model_tags.summaries(tags).values()} | set(recorder.models)
        return any(path == name or path.startswith(f"{name}/") for path in known)

    # Reading.

    def get(self, model_id: str, *, allow_deleted: bool = False) -> Document:
        """Return the document of a model.

        Raises:
            NotFound: There is no such model, or it was deleted.
        """
        document = self._opened(model_id).document
        if document.summary.is_deleted and not allow_deleted:
            raise no_model(model_id)
        return document

    def _opened(self, model_id: str) -> _Open:
        known = self._open.get(model_id)
        return known if known is not None else _Open(self._read(model_id))

    def _read(self, model_id: str) -> Document:
        client = self._client()
        run_id = run_id_of(model_id)
        client.reader.drain()
        try:
            with client.reader.artifacts.open(run_id, _file(model_id)) as file:
                document = msgspec.json.decode(file.read(), type=Document)
        except NotFound as error:
            raise no_model(model_id) from error
        for writer in document.noted_by:
            with (
                contextlib.suppress(NotFound),  # its first points have not come through so far
                client.reader.artifacts.open(run_id, notes_file(model_id, writer)) as file,
            ):
                document.points += msgspec.json.decode(file.read(), type=list[Point])
        document.points = list(dict.fromkeys(document.points))
        return document

    def search(self, experiment_ids: Iterable[str]) -> Iterator[tuple[str, str, str, Summary]]:
        """Return experiment, run, id and summary of the models that runs of these experiments logged."""
        client, token = self._client(), None
        ids = list(experiment_ids)
        while ids:
            runs = client.search_runs(
                ids, run_view_type=ViewType.ACTIVE_ONLY, max_results=PAGE_RUNS, page_token=token
            )
            for run in runs:
                for model_id, summary in model_tags.summaries(run.data.tags).items():
                    if not summary.is_deleted:
                        yield run.info.experiment_id, run.info.run_id, model_id, summary
            token = runs.token
            if token is None:
                return

    # Changing.

    @contextlib.contextmanager
    def changed(self, model_id: str) -> Iterator[Document]:
        """Change a document, and write it."""
        opened = self._opened(model_id)
        if opened.document.summary.is_deleted:
            raise no_model(model_id)
        yield opened.document
        opened.document.summary.updated = now_ms()
        opened.is_dirty = False
        self._write(opened.document)

    def finish(self, model_id: str, status: str) -> Document:
        """Set the status; a run that was made for the model alone ends with it."""
        with self.changed(model_id) as document:
            document.summary.status = status
        if not document.summary.has_run:
            ended = RunStatus.FINISHED if status == "READY" else RunStatus.FAILED
            self.end_run(document.run_id, ended)
        return document

    def put_out(self, run_id: str, model_id: str, step: int) -> None:
        """Say at which step a run put out a model."""
        with self.changed(model_id) as document:
            document.summary.step = step
        if document.run_id != run_id:  # put out by another run than the one that has its files
            self.recorder(run_id).tags({model_tags.MODEL_OUTPUT + model_id: str(step)})

    def note(self, model_id: str, metrics: Iterable[Any]) -> None:
        """Note that points belong to a model."""
        opened = self._open.get(model_id)
        if opened is None:
            opened = self._open[model_id] = _Open(self._read(model_id))
        has_new_key = False
        for metric in metrics:
            point = point_of(metric)
            if point not in opened.seen:
                has_new_key |= point.key not in opened.keys
                opened.keys.add(point.key)
                opened.seen.add(point)
                opened.document.points.append(point)
                opened.is_dirty = True
        if opened.is_dirty and (has_new_key or time.monotonic() >= opened.next_note):
            self._write_points(opened)

    def settle(self, run_id: str | None = None) -> None:
        """Write what was noted and is not written yet, of one run or of all."""
        for opened in list(self._open.values()) if self._process_id == os.getpid() else ():
            if opened.is_dirty and run_id in (None, opened.document.run_id):
                self._write_points(opened)

    def _write_points(self, opened: _Open) -> None:
        begun = time.monotonic()
        opened.is_dirty = False
        self._write(opened.document)
        ended = time.monotonic()
        opened.next_note = ended + max(NOTE_INTERVAL_S, (ended - begun) / NOTE_SHARE_MAX)

    def _write(self, document: Document) -> None:
        recorder = self.recorder(document.run_id)
        recorder.content(msgspec.json.encode(document), _file(document.model_id))
        recorder.tags({model_tags.MODEL + document.model_id: model_tags.encoded(document.summary)})


def run_id_of(model_id: str) -> str:
    """Return the id of the run that a model's id holds.

    Raises:
        NotFound: It holds none: the model was not logged here.
    """
    run_id, _, suffix = model_id.removeprefix("m-").rpartition("-")
    if not run_id or len(suffix) != _SUFFIX_DIGITS or not model_id.startswith("m-"):
        raise no_model(model_id)
    return run_id


def location(run_id: str, path: str) -> str:
    """Return the address of a model's files."""
    return f"{SCHEME}:/{run_id}/{path}"


def split_location(uri: str) -> tuple[str, str] | None:
    """Return run and path of such an address; None for any other."""
    if not uri.startswith(f"{SCHEME}:/"):
        return None
    run_id, _, path = uri.removeprefix(f"{SCHEME}:").lstrip("/").partition("/")
    return run_id, path


def checked_name(name: str | None) -> str | None:
    """Return the name of a model, which no ``/`` may be in.

    Raises:
        InvalidInput: There is one.
    """
    if name is not None and "/" in name:
        raise InvalidInput(f"the name {name[:80]!r} of a model holds a '/'", operation="log_model")
    return name


def point_of(metric: Any) -> Point:
    """Return a metric of mlflow's as a point of a model."""
    return Point(
        metric.key,
        repr(float(metric.value)),
        metric.timestamp,
        metric.step,
        getattr(metric, "dataset_name", None),
        getattr(metric, "dataset_digest", None),
    )


def _file(model_id: str) -> str:
    return f"{FOLDER}/{model_id}.json"


def notes_file(model_id: str, writer: str) -> str:
    """Return where a writer notes points of a model."""
    return f"{FOLDER}/{model_id}.{writer}.json"


def no_model(model_id: str) -> NotFound:
    """Return the error for an id that no model has."""
    return NotFound(f"there is no logged model {model_id[:100]!r}", operation="get_logged_model")
