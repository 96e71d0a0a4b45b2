"""Logged models and traces in ``store.db``: one row each, whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from trackbridge.domain.batches import MetricColumns
from trackbridge.domain.paging import Page
from trackbridge.domain.traces import LoggedModel, ModelLink, ModelMetric, Trace
from trackbridge.errors import Conflict, NotFound, Rejected
from trackbridge_adapters.local.capabilities import ADAPTER
from trackbridge_adapters.local.database import Database
from trackbridge_adapters.local.metrics import write_points
from trackbridge_adapters.local.names import ensure_names
from trackbridge_adapters.local.tokens import listing_of, page_size, place_of, token_of

Entity = TypeVar("Entity", bound=LoggedModel | Trace)

MODEL, TRACE = "model", "trace"
_TYPES: dict[str, type[LoggedModel] | type[Trace]] = {MODEL: LoggedModel, TRACE: Trace}
_WORDS = {MODEL: "logged model", TRACE: "trace"}


class Entities:
    """The logged models and traces of one store."""

    def __init__(self, database: Database, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._clock_ms = clock_ms

    # Logged models.

    def put_model(self, model: LoggedModel) -> LoggedModel:
        """Create a logged model, or bring it up to date."""
        operation = "tracking.put_logged_model"
        with self._writing(operation, model.experiment_id) as (connection, experiment):
            there = _find(connection, MODEL, model.model_id)
            known: tuple[ModelMetric, ...] = ()
            if isinstance(there, LoggedModel):
                _refuse_other(model, there)
                known = there.metrics
                params = {**there.params, **model.params}
                model = msgspec.structs.replace(
                    there,
                    status=model.status,
                    tags=model.tags,
                    params=params,
                    metrics=tuple(sorted({*known, *model.metrics})),
                )
            else:
                model = msgspec.structs.replace(model, creation_time=self._clock_ms(), native_id=None)
            _write_metrics(connection, set(model.metrics) - set(known), operation)
            _put(connection, MODEL, model.model_id, experiment, model)
        return model

    def get_model(self, model_id: str) -> LoggedModel:
        """Return a logged model."""
        return self._get(MODEL, model_id, LoggedModel)

    def model_page(
        self, experiment_ids: tuple[str, ...], max_results: int, token: str | None
    ) -> Page[LoggedModel]:
        """List logged models."""
        return self._page(MODEL, LoggedModel, experiment_ids, max_results, token)

    def link(self, run_id: str, links: Iterable[ModelLink]) -> None:
        """Note which logged models a run made or read."""
        operation = "tracking.link_models"
        with self._database.updating(operation, f"run {run_id}") as connection:
            run = None if connection is None else _find_run(connection, run_id)
            if connection is None or run is None:
                raise _none(f"run {run_id[:80]!r}", operation)
            for link in links:
                if _find(connection, MODEL, link.model_id) is None:
                    raise _none(f"logged model {link.model_id[:80]!r}", operation)
                connection.execute(
                    "INSERT OR IGNORE INTO run_model VALUES (?, ?, ?, ?)",
                    (run, link.model_id, link.step is None, link.step),
                )

    # Traces.

    def put_trace(self, trace: Trace) -> None:
        """Create or replace a trace."""
        if any(f"tr-{span.get('traceId')}" != trace.trace_id for span in trace.spans):
            raise Rejected(
                "a span is of another trace, or does not say of which it is",
                adapter=ADAPTER,
                resource=f"trace {trace.trace_id[:80]}",
                hint="spans are OpenTelemetry's in JSON: traceId holds the digits of the trace's id",
            )
        with self._writing("tracking.put_trace", trace.experiment_id) as (connection, experiment):
            _put(connection, TRACE, trace.trace_id, experiment, trace)

    def get_trace(self, trace_id: str) -> Trace:
        """Return a trace with its spans."""
        return self._get(TRACE, trace_id, Trace)

    def trace_page(self, experiment_ids: tuple[str, ...], max_results: int, token: str | None) -> Page[Trace]:
        """List traces without their spans."""
        page = self._page(TRACE, Trace, experiment_ids, max_results, token)
        return Page(items=tuple(msgspec.structs.replace(trace, spans=()) for trace in page), token=page.token)

    # Both.

    @contextmanager
    def _writing(self, operation: str, experiment_id: str) -> Iterator[tuple[sqlite3.Connection, int]]:
        with self._database.updating(operation, f"experiment {experiment_id}") as connection:
            row = None
            if connection is not None:
                row = connection.execute(
                    "SELECT row FROM experiment WHERE experiment_id = ?", (experiment_id,)
                ).fetchone()
            if connection is None or row is None:
                raise _none(f"experiment {experiment_id[:80]!r}", operation)
            yield connection, int(row[0])

    def _get(self, kind: str, identifier: str, of: type[Entity]) -> Entity:
        operation = f"tracking.get_{'logged_model' if kind == MODEL else 'trace'}"
        with self._database.reading(operation, identifier) as connection:
            found = None if connection is None else _find(connection, kind, identifier)
        if not isinstance(found, of):
            raise _none(f"{_WORDS[kind]} {identifier[:80]!r}", operation)
        return found

    def _page(
        self,
        kind: str,
        of: type[Entity],
        experiment_ids: tuple[str, ...],
        max_results: int,
        token: str | None,
    ) -> Page[Entity]:
        operation = f"tracking.list_{'logged_models' if kind == MODEL else 'traces'}"
        size = page_size(max_results, operation=operation)
        listing = listing_of(operation, experiment_ids)
        place = place_of(token, listing, operation=operation, types=(int, str)) or [-1, ""]
        with self._database.reading(operation) as connection:
            if connection is None:
                return Page(items=())
            found = [*_listed(connection, kind, experiment_ids, place, size + 1)]
        items = tuple(msgspec.msgpack.decode(body, type=of) for _, _, body in found[:size])
        more = token_of(listing, [*found[size - 1][:2]]) if len(found) > size else None
        return Page(items=items, token=more)


def load_links(connection: sqlite3.Connection, rows: Sequence[int]) -> dict[int, tuple[ModelLink, ...]]:
    """Return the logged models that runs made or read, by the rows of the runs."""
    marks = ",".join("?" * len(rows))
    links: dict[int, tuple[ModelLink, ...]] = {}
    for run, model_id, step in connection.execute(
        f"SELECT run, model_id, step FROM run_model WHERE run IN ({marks}) ORDER BY model_id, is_input", rows
    ):
        links[run] = (*links.get(run, ()), ModelLink(model_id=model_id, step=step))
    return links


def _listed(
    connection: sqlite3.Connection,
    kind: str,
    experiment_ids: tuple[str, ...],
    place: Sequence[object],
    count: int,
) -> Iterator[tuple[int, str, bytes]]:
    """Yield row of the experiment, id and body, after a place in the order of both."""
    rows = []
    for experiment_id in dict.fromkeys(experiment_ids):
        found = connection.execute("SELECT row FROM experiment WHERE experiment_id = ?", (experiment_id,))
        rows += [row for (row,) in found]
    for row in sorted(rows):
        if count <= 0:
            return
        for item in connection.execute(
            "SELECT experiment, entity_id, body FROM entity WHERE kind = ? AND experiment = ? "
            "AND (experiment, entity_id) > (?, ?) ORDER BY entity_id LIMIT ?",
            (kind, row, *place, count),
        ):
            count -= 1
            yield item


def _find(connection: sqlite3.Connection, kind: str, identifier: str) -> LoggedModel | Trace | None:
    row = connection.execute(
        "SELECT body FROM entity WHERE kind = ? AND entity_id = ?", (kind, identifier)
    ).fetchone()
    return None if row is None else msgspec.msgpack.decode(row[0], type=_TYPES[kind])


def _put(
    connection: sqlite3.Connection, kind: str, identifier: str, experiment: int, entity: LoggedModel | Trace
) -> None:
    try:
        body = msgspec.msgpack.encode(entity)  # which keeps every bit of a number
    except (UnicodeEncodeError, OverflowError, TypeError) as error:
        raise Rejected(
            f"the {_WORDS[kind]} holds half of a character, or a number of more than 64 bits",
            adapter=ADAPTER,
            resource=identifier[:80],
        ) from error
    connection.execute(
        "INSERT OR REPLACE INTO entity VALUES (?, ?, ?, ?)", (kind, identifier, experiment, body)
    )


def _write_metrics(connection: sqlite3.Connection, metrics: Iterable[ModelMetric], operation: str) -> None:
    """Write metrics of a logged model into the runs that measured them."""
    for metric in sorted(metrics):
        run = _find_run(connection, metric.run_id)
        if run is None:
            raise _none(f"run {metric.run_id[:80]!r}", operation)
        columns = MetricColumns()
        columns.append(step=metric.step, timestamp=metric.timestamp, value=metric.value, sequence=0)
        write_points(connection, run, ensure_names(connection, [metric.key])[metric.key], columns)


def _find_run(connection: sqlite3.Connection, run_id: str) -> int | None:
    row = connection.execute("SELECT row FROM run WHERE run_id = ?", (run_id,)).fetchone()
    return None if row is None else int(row[0])


def _refuse_other(model: LoggedModel, there: LoggedModel) -> None:
    params = {key: there.params.get(key, value) for key, value in model.params.items()}
    if (model.name, model.model_type, model.params) != (there.name, there.model_type, params):
        raise Conflict(
            f"there is a logged model {model.model_id} with another name, type or param",
            adapter=ADAPTER,
            hint="a logged model keeps name, type and params; log another one",
        )


def _none(what: str, operation: str) -> NotFound:
    return NotFound(f"there is no {what}", adapter=ADAPTER, operation=operation, hint="look at its id")
