"""Logged models where several gateways keep them over one backend.

What is known of a model is read from the backend for each change, and delivered before the change is
acknowledged where the backend is there, so that the next request finds it with any gateway. Points that
belong to a model are noted in a file that only this process writes (see ``api.logged_models``): a note reads
nothing.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from trackbridge.api import model_tags
from trackbridge.api.logged_models import (
    NOTE_INTERVAL_S,
    NOTE_SHARE_MAX,
    Document,
    ModelDocuments,
    Point,
    no_model,
    notes_file,
    point_of,
    run_id_of,
)
from trackbridge.domain.runs import Experiment, RunStatus
from trackbridge.domain.traces import is_model_id
from trackbridge.errors import Exhausted, Transient
from trackbridge.gateway.errors import Refused

if TYPE_CHECKING:
    from trackbridge.api.recorder import RunRecorder
    from trackbridge.gateway.gateway import Gateway

MODELS_MAX = 200
"""How many models are known at the same time; the others cost a look at the backend."""
NOTED_AT_ONCE_MAX = 500
"""Up to so many points of a model are noted with the request that brings them, beyond that at intervals."""
EXPERIMENTS_MAX = 10_000
"""Of how many runs the experiment is remembered."""
_LOCKS = 64


class _Notes:
    """The points of one model that this process notes, in a file of its own."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.writer = os.urandom(4).hex()
        self.points: dict[Point, None] = {}
        self.is_dirty = False
        self.next_note = 0.0


class SharedDocuments(ModelDocuments):
    """The documents of logged models behind a gateway. Safe for threads."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(lambda: gateway.client)
        self._gateway = gateway
        self._locks = [threading.RLock() for _ in range(_LOCKS)]
        self._lock = threading.Lock()  # of the tables below
        self._known: OrderedDict[str, Document] = OrderedDict()
        self._notes: OrderedDict[str, _Notes] = OrderedDict()
        self._experiments: OrderedDict[str, str] = OrderedDict()  # of a run, which never moves

    # Runs are those of the gateway's clients.

    def recorder(self, run_id: str) -> RunRecorder:
        """Return what logs to a run.

        Raises:
            NotFound: There is no such run.
        """
        return self._gateway.runs.recorder(run_id)

    def open_run(self, experiment_id: str, experiment_name: str, run_name: str) -> RunRecorder:
        """Open the run that holds the files of a model which no run has logged."""
        experiment = Experiment(experiment_id=experiment_id, name=experiment_name)
        return self._gateway.runs.create(experiment, name=run_name, user="", start_time=None, tags={})

    def end_run(self, run_id: str, status: RunStatus) -> None:
        """End such a run."""
        self._gateway.runs.end(self.recorder(run_id), status, None)

    def tags_of(self, run_id: str) -> Mapping[str, str]:
        """Return the tags of a run."""
        return self._gateway.runs.get(run_id).data.tags

    def place(self, model_id: str) -> tuple[str, str]:
        """Return where the files of a model lie: whose they are for the artifact port, and their path there.

        Raises:
            NotFound: There is no such model.
        """
        if is_model_id(model_id):  # the backend's own
            return model_id, ""
        with self._lock:
            known = self._known.get(model_id)
        if known is not None:
            return known.run_id, known.summary.path
        run_id = run_id_of(model_id)
        try:
            summary = model_tags.summaries(self.tags_of(run_id)).get(model_id)
        except Refused as error:
            raise no_model(model_id) from error
        if summary is None:
            raise no_model(model_id)
        return run_id, summary.path

    def experiment_of(self, owner: str) -> str:
        """Return our id of the experiment of a run, or of a logged model of the backend's own.

        Raises:
            NotFound: There is no such model.
            Refused: There is no such run.
        """
        with self._lock:
            known = self._experiments.get(owner)
        if known is not None:
            return known
        if is_model_id(owner):
            found = self._gateway.client.reader.tracking.get_logged_model(owner).experiment_id
        else:
            found = self._gateway.runs.get(owner).info.experiment_id
        with self._lock:
            self._experiments[owner] = found
            while len(self._experiments) > EXPERIMENTS_MAX:
                self._experiments.popitem(last=False)
        return found

    # Documents.

    def create(self, **given: Any) -> Document:
        """Make a model, PENDING; see ``ModelDocuments.create``."""
        with self._lock_of(given.get("source_run_id") or ""):  # two of one name in one run lie apart
            made = super().create(**given)
            del self._open[made.model_id]  # read anew for each change
        self._know(made)
        self._deliver()
        return made

    def _is_taken(self, recorder: RunRecorder, name: str) -> bool:
        try:
            return super()._is_taken(recorder, name)
        except (
            Refused,
            Transient,
            Exhausted,
        ):  # on its way to the backend, or that is down: a place for sure
            return True

    def get(self, model_id: str, *, allow_deleted: bool = False) -> Document:
        """Return the document of a model with all its points.

        Raises:
            NotFound: There is no such model, or it was deleted.
        """
        with self._lock_of(model_id):
            self._write_notes(model_id)
            return super().get(model_id, allow_deleted=allow_deleted)

    def _read(self, model_id: str) -> Document:
        try:
            found = super()._read(model_id)
        except (Transient, Exhausted):
            with self._lock:
                known = self._known.get(model_id)
            if known is None:
                raise
            return known  # a model that is being logged is gone on with while its backend is down
        self._know(found)
        return found

    def _know(self, document: Document) -> None:
        with self._lock:
            self._known[document.model_id] = document
            self._known.move_to_end(document.model_id)
            while len(self._known) > MODELS_MAX:
                self._known.popitem(last=False)

    @contextlib.contextmanager
    def changed(self, model_id: str) -> Iterator[Document]:
        """Change a document, and write it."""
        with self._lock_of(model_id):
            with super().changed(model_id) as document:
                yield document
            self._know(document)
        self._deliver()

    def read_by(self, run_id: str, model_ids: Iterable[str]) -> None:
        """Say that a run read models."""
        tags = {model_tags.MODEL_INPUT + model_id: "read" for model_id in model_ids}
        self.recorder(run_id).tags(tags)

    def _deliver(self) -> None:
        """Let every gateway see what was changed."""
        with contextlib.suppress(Transient, Exhausted):  # it is journalled, and comes later
            self._gateway.client.reader.drain()

    def _lock_of(self, model_id: str) -> threading.RLock:
        return self._locks[hash(model_id) % _LOCKS]

    # Points.

    def note(self, model_id: str, metrics: Iterable[Any]) -> None:
        """Note that points belong to a model.

        Raises:
            NotFound: There is no such model.
        """
        with self._lock_of(model_id):
            notes = self._notes_of(model_id)
            before = len(notes.points)
            notes.points.update(dict.fromkeys(map(point_of, metrics)))
            notes.is_dirty |= len(notes.points) > before
            if len(notes.points) <= NOTED_AT_ONCE_MAX or time.monotonic() >= notes.next_note:
                self._write_notes(model_id)

    def _notes_of(self, model_id: str) -> _Notes:
        """Return this process's notes on a model; at the first time the document names their file."""
        with self._lock:
            notes = self._notes.get(model_id)
            if notes is not None:
                self._notes.move_to_end(model_id)
                return notes
        notes = _Notes(run_id_of(model_id))
        with self.changed(model_id) as document:
            document.noted_by.append(notes.writer)
        with self._lock:
            self._notes[model_id] = notes
            oldest = next(iter(self._notes)) if len(self._notes) > MODELS_MAX else None
        if oldest is not None:
            self._forget_notes(oldest)
        return notes

    def _forget_notes(self, model_id: str) -> None:
        """Write the notes on a model and know them no more; not now when another thread is at them."""
        lock = self._lock_of(model_id)
        if not lock.acquire(blocking=False):  # two that wait for each other would do so for ever
            return
        try:
            self._write_notes(model_id)
            with self._lock:
                self._notes.pop(model_id, None)
        finally:
            lock.release()

    def _write_notes(self, model_id: str) -> None:
        with self._lock:
            notes = self._notes.get(model_id)
        if notes is None or not notes.is_dirty:
            return
        begun = time.monotonic()
        content = msgspec.json.encode(list(notes.points))
        self.recorder(notes.run_id).content(content, notes_file(model_id, notes.writer))
        notes.is_dirty = False  # not before: what failed is written with the next try
        ended = time.monotonic()
        notes.next_note = ended + max(NOTE_INTERVAL_S, (ended - begun) / NOTE_SHARE_MAX)

    def has_unwritten(self, run_id: str) -> bool:
        """Tell whether ``settle`` has something to write for a run."""
        with self._lock:
            return any(notes.is_dirty and notes.run_id == run_id for notes in self._notes.values())

    def settle(self, run_id: str | None = None) -> None:
        """Write what was noted and is not written yet, of one run or of all."""
        with self._lock:
            found = [
                known
                for known, notes in self._notes.items()
                if notes.is_dirty and run_id in (None, notes.run_id)
            ]
        for model_id in found:
            with self._lock_of(model_id):
                self._write_notes(model_id)
