"""The tracking port over ``store.db``."""

# ruff: noqa: D102  the docstrings of the port are the contract

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from trackbridge.domain.batches import Batch, InputAdded, MetricColumns, Receipt, Rejection, Setting
from trackbridge.domain.paging import Page
from trackbridge.domain.runs import TAG_NAME, Experiment, LifecycleStage, Run, RunSpec, RunStatus
from trackbridge.domain.search import TAG_DATASET_CONTEXT, Query
from trackbridge.domain.traces import LoggedModel, ModelLink, Trace
from trackbridge.errors import NotFound, Rejected
from trackbridge.ports.tracking import TrackingStore
from trackbridge_adapters.local.capabilities import ADAPTER
from trackbridge_adapters.local.database import Database
from trackbridge_adapters.local.entities import Entities
from trackbridge_adapters.local.metrics import read_points, write_points
from trackbridge_adapters.local.names import ensure_names, find_name
from trackbridge_adapters.local.rows import load_experiments, load_runs
from trackbridge_adapters.local.schema import ACTIVE, DELETED, DELETED_WITH_EXPERIMENT
from trackbridge_adapters.local.search_plan import RunSearch
from trackbridge_adapters.local.tokens import listing_of, page_size, place_of, token_of

_PLACE_TYPES = (int, float, str)
_STAGE_TESTS = {None: "1", LifecycleStage.ACTIVE: "stage = 0", LifecycleStage.DELETED: "stage > 0"}


class LocalTracking(TrackingStore):
    """Experiments and runs in a folder."""

    def __init__(self, database: Database, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._clock_ms = clock_ms
        self._entities = Entities(database, clock_ms)

    def ensure_experiment(
        self, name: str, *, experiment_id: str, tags: dict[str, str] | None = None
    ) -> Experiment:
        operation, resource = "tracking.ensure_experiment", f"experiment {name!r}"
        with self._database.writing(operation, resource) as connection:
            row = self._ensure_experiment(connection, name, experiment_id, operation)
            self._set_experiment_tags(connection, row, tags or {})
            return load_experiments(connection, [row])[0]

    def open_run(self, spec: RunSpec) -> Run:
        operation, resource = "tracking.open_run", f"run {spec.run_id}"
        with self._database.writing(operation, resource) as connection:
            found = _find_run(connection, spec.run_id)
            if found is None:
                row = self._create_run(connection, spec, operation)
            else:
                row = _active(found, spec.run_id, operation)
            if found is not None and spec.resume:
                connection.execute(
                    "UPDATE run SET status = ?, end_time = NULL WHERE row = ?", (RunStatus.RUNNING.value, row)
                )
                _set_tags(connection, row, spec.tags.items())
            return load_runs(connection, [row])[0]

    def write(self, batch: Batch) -> Receipt:
        with self._changing_run("tracking.write", batch.run_id, active=True) as (connection, run):
            written = {key: columns for key, columns in batch.metrics.items() if len(columns)}
            names = ensure_names(connection, written)
            for key, columns in written.items():
                write_points(connection, run, names[key], columns)
            rejected = tuple(_write_params(connection, run, batch.params))
            _set_tags(connection, run, ((tag.key, tag.value) for tag in batch.tags))
            for added in batch.inputs:
                _add_input(connection, run, added)
        return Receipt(rejected=rejected)

    def get_run(self, run_id: str) -> Run:
        with self._reading_run("tracking.get_run", run_id) as (connection, run):
            return load_runs(connection, [run])[0]

    def list_runs(
        self,
        experiment_id: str,
        *,
        stage: LifecycleStage | None = LifecycleStage.ACTIVE,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[Run]:
        return self._search("tracking.list_runs", (experiment_id,), Query(), stage, max_results, token)

    def close_run(self, run_id: str, *, status: RunStatus, end_time: int) -> None:
        operation, resource = "tracking.close_run", f"run {run_id}"
        if not status.is_final:
            raise Rejected(
                f"{status.value} is not a final status",
                adapter=ADAPTER,
                operation=operation,
                resource=resource,
                hint="close a run as FINISHED, FAILED or KILLED",
            )
        with self._changing_run(operation, run_id, active=True) as (connection, run):
            connection.execute(
                "UPDATE run SET status = ?, end_time = ? WHERE row = ?", (status.value, end_time, run)
            )

    def list_experiments(
        self,
        *,
        stage: LifecycleStage | None = LifecycleStage.ACTIVE,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[Experiment]:
        operation = "tracking.list_experiments"
        size = page_size(max_results, operation=operation)
        listing = listing_of(operation, stage)
        place = place_of(token, listing, operation=operation, types=_PLACE_TYPES)
        statement = f"SELECT row, creation_time, experiment_id FROM experiment WHERE {_STAGE_TESTS[stage]}"
        if place is not None:
            statement += " AND (-creation_time, experiment_id) > (-?, ?)"
        statement += " ORDER BY creation_time DESC, experiment_id LIMIT ?"
        with self._database.reading(operation) as connection:
            if connection is None:
                return Page(items=())
            found = connection.execute(statement, (*(place or ())[:2], size + 1)).fetchall()
            items = tuple(load_experiments(connection, [row[0] for row in found[:size]]))
        more = token_of(listing, [*found[size - 1][1:]]) if len(found) > size else None
        return Page(items=items, token=more)

    def metric_history(self, run_id: str, key: str) -> MetricColumns:
        with self._reading_run("tracking.metric_history", run_id) as (connection, run):
            return read_points(connection, run, find_name(connection, key))

    def search_runs(
        self,
        experiment_ids: tuple[str, ...],
        *,
        query: Query,
        stage: LifecycleStage | None = LifecycleStage.ACTIVE,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[Run]:
        return self._search("tracking.search_runs", experiment_ids, query, stage, max_results, token)

    def delete_run(self, run_id: str) -> None:
        with self._changing_run("tracking.delete_run", run_id) as (connection, run):
            connection.execute("UPDATE run SET stage = ? WHERE row = ? AND stage = 0", (DELETED, run))

    def restore_run(self, run_id: str) -> None:
        with self._changing_run("tracking.restore_run", run_id) as (connection, run):
            connection.execute("UPDATE run SET stage = ? WHERE row = ?", (ACTIVE, run))

    def delete_experiment(self, experiment_id: str) -> None:
        with self._changing_experiment("tracking.delete_experiment", experiment_id) as (connection, row):
            self._mark_experiment(connection, row, DELETED)
            _move_runs(connection, row, ACTIVE, DELETED_WITH_EXPERIMENT)

    def restore_experiment(self, experiment_id: str) -> None:
        with self._changing_experiment("tracking.restore_experiment", experiment_id) as (connection, row):
            self._mark_experiment(connection, row, ACTIVE)
            _move_runs(connection, row, DELETED_WITH_EXPERIMENT, ACTIVE)

    def put_logged_model(self, model: LoggedModel) -> LoggedModel:
        return self._entities.put_model(model)

    def get_logged_model(self, model_id: str) -> LoggedModel:
        return self._entities.get_model(model_id)

    def list_logged_models(
        self, experiment_ids: tuple[str, ...], *, max_results: int = 1000, token: str | None = None
    ) -> Page[LoggedModel]:
        return self._entities.model_page(experiment_ids, max_results, token)

    def link_models(self, run_id: str, links: tuple[ModelLink, ...]) -> None:
        self._entities.link(run_id, links)

    def put_trace(self, trace: Trace) -> None:
        self._entities.put_trace(trace)

    def get_trace(self, trace_id: str) -> Trace:
        return self._entities.get_trace(trace_id)

    def list_traces(
        self, experiment_ids: tuple[str, ...], *, max_results: int = 1000, token: str | None = None
    ) -> Page[Trace]:
        return self._entities.trace_page(experiment_ids, max_results, token)

    def _search(
        self,
        operation: str,
        experiment_ids: tuple[str, ...],
        query: Query,
        stage: LifecycleStage | None,
        max_results: int,
        token: str | None,
    ) -> Page[Run]:
        size = page_size(max_results, operation=operation)
        listing = listing_of(operation, experiment_ids, query, stage)
        place = place_of(token, listing, operation=operation, types=_PLACE_TYPES)
        with self._database.reading(operation) as connection:
            experiments = _find_experiments(connection, experiment_ids) if connection else []
            if connection is None or not experiments:
                return Page(items=())
            found = RunSearch(connection, experiments, query, stage).rows(size + 1, place)
            items = tuple(load_runs(connection, [entry.row for entry in found[:size]]))
        more = token_of(listing, [*found[size - 1].place]) if len(found) > size else None
        return Page(items=items, token=more)

    def _ensure_experiment(
        self, connection: sqlite3.Connection, name: str, experiment_id: str, operation: str
    ) -> int:
        """Return the row of an active experiment, created when there is none of this name."""
        found = connection.execute("SELECT row, stage FROM experiment WHERE name = ?", (name,)).fetchone()
        if found is not None and found[1] != ACTIVE:
            raise Rejected(
                f"experiment {name!r} was deleted",
                adapter=ADAPTER,
                operation=operation,
                hint="restore it with restore_experiment, or use another name",
            )
        if found is not None:
            return int(found[0])
        taken = connection.execute(
            "SELECT name FROM experiment WHERE experiment_id = ?", (experiment_id,)
        ).fetchone()
        if taken is not None:
            raise Rejected(
                f"the id {experiment_id} belongs to experiment {taken[0]!r}",
                adapter=ADAPTER,
                operation=operation,
                resource=f"experiment {name!r}",
                hint="leave the id to trackbridge, or use another one",
            )
        now = self._clock_ms()
        created = connection.execute(
            "INSERT INTO experiment (experiment_id, name, creation_time, last_update_time) "
            "VALUES (?, ?, ?, ?)",
            (experiment_id, name, now, now),
        )
        return int(created.lastrowid or 0)

    def _set_experiment_tags(self, connection: sqlite3.Connection, row: int, tags: Mapping[str, str]) -> None:
        stored = dict(
            connection.execute("SELECT key, value FROM experiment_tag WHERE experiment = ?", (row,))
        )
        changed = [(row, key, value) for key, value in tags.items() if stored.get(key) != value]
        if not changed:
            return
        connection.executemany("INSERT OR REPLACE INTO experiment_tag VALUES (?, ?, ?)", changed)
        self._touch_experiment(connection, row)

    def _touch_experiment(self, connection: sqlite3.Connection, row: int) -> None:
        connection.execute(
            "UPDATE experiment SET last_update_time = ? WHERE row = ?", (self._clock_ms(), row)
        )

    def _mark_experiment(self, connection: sqlite3.Connection, row: int, stage: int) -> None:
        marked = connection.execute(
            "UPDATE experiment SET stage = ? WHERE row = ? AND stage <> ?", (stage, row, stage)
        )
        if marked.rowcount:
            self._touch_experiment(connection, row)

    def _create_run(self, connection: sqlite3.Connection, spec: RunSpec, operation: str) -> int:
        experiment = self._ensure_experiment(connection, spec.experiment_name, spec.experiment_id, operation)
        created = connection.execute(
            "INSERT INTO run (run_id, experiment, name, user, status, start_time) VALUES (?, ?, ?, ?, ?, ?)",
            (spec.run_id, experiment, spec.name, spec.user, RunStatus.RUNNING.value, spec.start_time),
        )
        row = int(created.lastrowid or 0)
        name = {TAG_NAME: spec.name} if spec.name else {}
        _set_tags(connection, row, {**name, **spec.tags}.items())
        return row

    @contextmanager
    def _reading_run(self, operation: str, run_id: str) -> Iterator[tuple[sqlite3.Connection, int]]:
        with self._database.reading(operation, f"run {run_id}") as connection:
            found = _find_run(connection, run_id) if connection else None
            if connection is None or found is None:
                raise _no_run(run_id, operation)
            yield connection, found[0]

    @contextmanager
    def _changing_run(
        self, operation: str, run_id: str, *, active: bool = False
    ) -> Iterator[tuple[sqlite3.Connection, int]]:
        """Give the row of a run that exists and, where ``active``, is not deleted."""
        with self._database.updating(operation, f"run {run_id}") as connection:
            found = _find_run(connection, run_id) if connection else None
            if connection is None or found is None:
                raise _no_run(run_id, operation)
            yield connection, _active(found, run_id, operation) if active else found[0]

    @contextmanager
    def _changing_experiment(
        self, operation: str, experiment_id: str
    ) -> Iterator[tuple[sqlite3.Connection, int]]:
        with self._database.updating(operation, f"experiment {experiment_id}") as connection:
            found = _find_experiments(connection, (experiment_id,)) if connection else []
            if connection is None or not found:
                raise NotFound(
                    f"there is no experiment {experiment_id}",
                    adapter=ADAPTER,
                    operation=operation,
                    hint="list the experiments to see their ids",
                )
            yield connection, found[0]


def _find_run(connection: sqlite3.Connection, run_id: str) -> tuple[int, int] | None:
    """Return row and stage of a run."""
    found: tuple[int, int] | None = connection.execute(
        "SELECT row, stage FROM run WHERE run_id = ?", (run_id,)
    ).fetchone()
    return found


def _find_experiments(connection: sqlite3.Connection, experiment_ids: Sequence[str]) -> list[int]:
    """Return the rows of those experiments that exist, in increasing order."""
    unique = sorted(set(experiment_ids))
    marks = ",".join("?" * len(unique))
    found = connection.execute(
        f"SELECT row FROM experiment WHERE experiment_id IN ({marks}) ORDER BY row", unique
    )
    return [row for (row,) in found]


def _no_run(run_id: str, operation: str) -> NotFound:
    return NotFound(
        "there is no such run",
        adapter=ADAPTER,
        operation=operation,
        resource=f"run {run_id}",
        hint="check the id, and that the tracking URI is the one that the run was logged to",
    )


def _active(found: tuple[int, int], run_id: str, operation: str) -> int:
    """Return the row of a run that was found.

    Raises:
        Rejected: The run was deleted.
    """
    row, stage = found
    if stage == ACTIVE:
        return row
    raise Rejected(
        "the run was deleted",
        adapter=ADAPTER,
        operation=operation,
        resource=f"run {run_id}",
        hint="restore it with restore_run",
    )


def _write_params(connection: sqlite3.Connection, run: int, params: Sequence[Setting]) -> Iterator[Rejection]:
    """Store params that are new; yield those that the run has with another value."""
    names = ensure_names(connection, [param.key for param in params])
    stored = dict(connection.execute("SELECT key, value FROM param WHERE run = ?", (run,))) if params else {}
    new: dict[int, str] = {}
    for param in params:
        key = names[param.key]
        held = stored.get(key, new.get(key))
        if param.value is None:
            yield Rejection(param.sequence, f"param {param.key!r} has no value")
        elif held is None:
            new[key] = param.value
        elif held != param.value:
            reason = f"param {param.key!r} is {held[:100]!r} and cannot become {param.value[:100]!r}"
            yield Rejection(param.sequence, reason)
    connection.executemany(
        "INSERT INTO param VALUES (?, ?, ?)", ((run, key, value) for key, value in new.items())
    )


def _set_tags(connection: sqlite3.Connection, run: int, tags: Iterable[tuple[str, str | None]]) -> None:
    last = dict(tags)
    names = ensure_names(connection, last)
    connection.executemany(
        "INSERT OR REPLACE INTO tag VALUES (?, ?, ?)",
        ((run, names[key], value) for key, value in last.items() if value is not None),
    )
    connection.executemany(
        "DELETE FROM tag WHERE run = ? AND key = ?",
        ((run, names[key]) for key, value in last.items() if value is None),
    )
    if TAG_NAME in last:
        connection.execute("UPDATE run SET name = ? WHERE row = ?", (last[TAG_NAME] or "", run))


def _add_input(connection: sqlite3.Connection, run: int, added: InputAdded) -> None:
    dataset = added.dataset
    connection.execute(
        "INSERT OR IGNORE INTO dataset_input "
        "(run, name, digest, context, source_type, source, schema, profile, tags) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            run,
            dataset.name,
            dataset.digest,
            dataset.tags.get(TAG_DATASET_CONTEXT),
            dataset.source_type,
            dataset.source,
            dataset.schema,
            dataset.profile,
            json.dumps(dataset.tags),
        ),
    )


def _move_runs(connection: sqlite3.Connection, experiment: int, before: int, after: int) -> None:
    connection.execute(
        "UPDATE run SET stage = ? WHERE experiment = ? AND stage = ?", (after, experiment, before)
    )
