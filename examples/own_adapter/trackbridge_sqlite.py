"""Runs as documents in one SQLite file, ``sqlite:/data/runs.db``: a tracking store for trackbridge.

A run is one document, read and written whole: that is for thousands of points in a run, not for millions.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import asdict, replace

from trackbridge.domain import page_tokens, runs, search
from trackbridge.domain.batches import Batch, MetricColumns, Receipt, Rejection
from trackbridge.domain.metric_values import last_point
from trackbridge.domain.paging import Page
from trackbridge.domain.runs import Experiment, Run, RunSpec, RunStatus
from trackbridge.domain.runs import LifecycleStage as Stage
from trackbridge.errors import ConfigError, NotFound, Rejected, Unavailable
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.capabilities import SUPPORTED, Absence, Capabilities, Feature, absent, refusing
from trackbridge.ports.findings import Finding, Severity
from trackbridge.ports.tracking import TrackingStore

GAP = absent(Absence.NEVER, "a document has params, tags and points of a run, no more")
HERE = ("tracking.experiment_listing", "tracking.metric_history", "tracking.metric_dedup")
FEATURES = {one: SUPPORTED if one.value in HERE else GAP for one in Feature if one.port == "tracking"}
CAPABILITIES = Capabilities(adapter="sqlite", is_local=True, features=FEATURES)
BEGIN = "BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, home TEXT, content BLOB)"
PUT = "INSERT INTO kept VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET content = excluded.content"
Texts = dict[str, str]
POINT = struct.Struct(">qqd")  # step, timestamp, value: the same bytes are the same point


def open_adapter(uri: str, *, context: AdapterContext) -> Adapter:
    """Open the file of a URI; it is made when it is first used."""
    file = Path(uri.partition(":")[2])
    if not file.is_absolute():
        raise ConfigError(f"{uri!r} names no whole path", adapter="sqlite", hint="write sqlite:/data/runs.db")
    return DocumentAdapter(file)


class DocumentAdapter(Adapter):
    artifacts = registry = jobs = deployments = None

    def __init__(self, file: Path) -> None:
        self.tracking = DocumentStore(file)

    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def check(self, *, write: bool = False) -> tuple[Finding, ...]:
        folder = self.tracking.file.parent
        severity, word = (Severity.OK, "there") if folder.is_dir() else (Severity.ERROR, "missing")
        return (Finding(severity=severity, subject="sqlite", message=f"{folder} is {word}"),)

    def close(self) -> None: ...


class Document(msgspec.Struct):
    info: runs.RunInfo
    tags: Texts
    params: Texts = {}
    metrics: dict[str, set[bytes]] = {}

    def run(self) -> Run:
        info = replace(self.info, run_name=self.tags.get(runs.TAG_NAME, ""))
        last = {key: last_point(map(POINT.unpack, points)) for key, points in self.metrics.items()}
        return Run(info=info, data=runs.RunData.of_points(last, params=self.params, tags=self.tags))


class DocumentStore(refusing(TrackingStore, CAPABILITIES)):  # type: ignore[misc]
    def __init__(self, file: Path) -> None:
        self.file = file

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.file, timeout=30, isolation_level=None)) as database, database:
                database.executescript(BEGIN)
                yield database
        except sqlite3.Error as error:
            raise Unavailable(f"{self.file}: {error}", adapter="sqlite", hint="look at its folder") from error
        except UnicodeEncodeError as error:
            raise Rejected(f"no text: {error.reason}", adapter="sqlite", hint="write others") from error

    @contextmanager
    def _changing(self, key: str, kind: type, new: object = None, home: str = "") -> Iterator[Any]:
        """Give the document of a key, and keep what it was changed to."""
        with self._transaction() as database:
            row = database.execute("SELECT content FROM kept WHERE key = ?", [key]).fetchone()
            if row is None and new is None:
                raise NotFound(f"there is no {key!r}", adapter="sqlite", hint="look at the id")
            document = msgspec.msgpack.decode(row[0], type=kind) if row else new
            yield document
            changed = msgspec.msgpack.encode(document)
            if not row or changed != row[0]:
                database.execute(PUT, [key, home, changed])

    def ensure_experiment(self, name: str, *, experiment_id: str, tags: Texts | None = None) -> Experiment:
        new = Experiment(experiment_id=experiment_id, name=name)
        with self._changing(f"experiment {name}", Experiment, new) as experiment:
            experiment.tags.update(tags or {})
        return experiment

    def open_run(self, spec: RunSpec) -> Run:
        home = self.ensure_experiment(spec.experiment_name, experiment_id=spec.experiment_id).experiment_id
        given = {**asdict(spec), "experiment_id": home, "run_name": spec.name}
        info = msgspec.convert({**given, "user_id": spec.user, "status": "RUNNING"}, runs.RunInfo)
        with self._changing(f"run {spec.run_id}", Document, Document(info, spec.tags), home) as document:
            if spec.resume:
                document.tags.update(spec.tags)
                document.info = replace(document.info, status=RunStatus.RUNNING, end_time=None)
        return document.run()

    def write(self, batch: Batch) -> Receipt:
        if batch.inputs:
            CAPABILITIES.require(Feature.TRACKING_DATASETS, operation="write")
        with self._changing(f"run {batch.run_id}", Document) as document:
            for key, columns in batch.metrics.items():
                points = map(POINT.pack, columns.steps, columns.timestamps, columns.values)
                document.metrics.setdefault(key, set()).update(points)
            tags = {**document.tags, **{tag.key: tag.value for tag in batch.tags}}
            document.tags = {key: value for key, value in tags.items() if value is not None}
            put = document.params.setdefault  # returns what was there before
            clashes = [one for one in batch.params if put(one.key, one.value) != one.value]
        return Receipt(rejected=tuple(Rejection(one.sequence, f"{one.key!r} is set") for one in clashes))

    def get_run(self, run_id: str) -> Run:
        with self._changing(f"run {run_id}", Document) as document:
            return document.run()

    def list_experiments(
        self, *, stage: Stage | None = Stage.ACTIVE, max_results: int = 1000, token: str | None = None
    ) -> Page[Experiment]:
        return _page(search.ordered_experiments(self._of("", Experiment, stage)), stage, max_results, token)

    def list_runs(
        self,
        experiment_id: str,
        *,
        stage: Stage | None = Stage.ACTIVE,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[Run]:
        found = search.ordered(document.run() for document in self._of(experiment_id, Document, stage))
        return _page(found, (experiment_id, stage), max_results, token)

    def _of(self, home: str, kind: type, stage: Stage | None) -> list[Any]:
        with self._transaction() as database:
            rows = database.execute("SELECT content FROM kept WHERE home = ?", [home]).fetchall()
        return [msgspec.msgpack.decode(row[0], type=kind) for row in rows if stage is not Stage.DELETED]

    def close_run(self, run_id: str, *, status: RunStatus, end_time: int) -> None:
        with self._changing(f"run {run_id}", Document) as document:
            if not status.is_final:
                raise Rejected(f"{status} is not final", adapter="sqlite", hint="take FINISHED or FAILED")
            document.info = replace(document.info, status=status, end_time=end_time)

    def metric_history(self, run_id: str, key: str) -> MetricColumns:
        columns = MetricColumns()
        with self._changing(f"run {run_id}", Document) as document:
            for step, timestamp, value in sorted(map(POINT.unpack, document.metrics.get(key, ()))):
                columns.steps.append(step)
                columns.timestamps.append(timestamp)
                columns.values.append(value)
        return columns


def _page(found: Sequence[Any], arguments: object, max_results: int, token: str | None) -> Page[Any]:
    listing = page_tokens.listing_of(arguments)
    given = page_tokens.place_of(token, listing, adapter="sqlite", operation="list", types=(int,)) or [0]
    end = given[0] + max_results
    more = page_tokens.token_of(listing, [end]) if end < len(found) else None
    return Page(items=tuple(found[given[0] : end]), token=more)
