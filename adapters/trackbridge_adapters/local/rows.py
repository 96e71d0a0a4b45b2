"""From rows to runs and experiments: a fixed number of statements for a whole page."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from trackbridge.domain.artifacts import artifact_uri
from trackbridge.domain.runs import (
    DatasetInput,
    Experiment,
    LifecycleStage,
    Moment,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunStatus,
)
from trackbridge_adapters.local.entities import load_links
from trackbridge_adapters.local.metrics import values_of
from trackbridge_adapters.local.schema import ACTIVE

ROWS_PER_STATEMENT = 500

_RUNS = (
    "SELECT r.row, r.run_id, e.experiment_id, r.name, r.user, r.status, r.start_time, r.end_time, r.stage "
    "FROM run r CROSS JOIN experiment e ON e.row = r.experiment WHERE r.row IN ({marks})"
)
_METRICS = (
    "SELECT m.run, n.text, m.step, m.timestamp, m.bits "
    "FROM metric_latest m CROSS JOIN name n ON n.id = m.key WHERE m.run IN ({marks})"
)
_PARAMS = (
    "SELECT p.run, n.text, p.value FROM param p CROSS JOIN name n ON n.id = p.key WHERE p.run IN ({marks})"
)
_TAGS = "SELECT t.run, n.text, t.value FROM tag t CROSS JOIN name n ON n.id = t.key WHERE t.run IN ({marks})"
_INPUTS = (
    "SELECT run, name, digest, source_type, source, schema, profile, tags FROM dataset_input "
    "WHERE run IN ({marks}) ORDER BY row"
)

Texts = dict[int, dict[str, str]]


def load_runs(connection: sqlite3.Connection, rows: Sequence[int]) -> list[Run]:
    """Return the runs of these rows, in their order."""
    runs: list[Run] = []
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        runs.extend(_load(connection, rows[start : start + ROWS_PER_STATEMENT]))
    return runs


def load_experiments(connection: sqlite3.Connection, rows: Sequence[int]) -> list[Experiment]:
    """Return the experiments of these rows, in their order."""
    experiments: list[Experiment] = []
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        part = rows[start : start + ROWS_PER_STATEMENT]
        tags = _texts(
            _select(
                connection,
                "SELECT experiment, key, value FROM experiment_tag WHERE experiment IN ({marks})",
                part,
            )
        )
        found = _select(
            connection,
            "SELECT row, experiment_id, name, stage, creation_time, last_update_time FROM experiment "
            "WHERE row IN ({marks})",
            part,
        )
        by_row = {row[0]: _experiment(row, tags) for row in found}
        experiments.extend(by_row[row] for row in part)
    return experiments


def stage_of(stage: int) -> LifecycleStage:
    """Return the life-cycle stage that the column ``stage`` stands for."""
    return LifecycleStage.ACTIVE if stage == ACTIVE else LifecycleStage.DELETED


def _load(connection: sqlite3.Connection, rows: Sequence[int]) -> Iterator[Run]:
    metrics, moments = _metrics(connection, rows)
    params = _texts(_select(connection, _PARAMS, rows))
    tags = _texts(_select(connection, _TAGS, rows))
    inputs = _inputs(connection, rows)
    models = load_links(connection, rows)
    infos = {row[0]: _info(row) for row in _select(connection, _RUNS, rows)}
    for row in rows:
        yield Run(
            info=infos[row],
            data=RunData(
                metrics=metrics.get(row, {}),
                moments=moments.get(row, {}),
                params=params.get(row, {}),
                tags=tags.get(row, {}),
            ),
            inputs=RunInputs(dataset_inputs=tuple(inputs.get(row, ()))),
            models=models.get(row, ()),
        )


def _select(connection: sqlite3.Connection, statement: str, rows: Sequence[int]) -> sqlite3.Cursor:
    return connection.execute(statement.format(marks=",".join("?" * len(rows))), rows)


def _info(row: tuple[Any, ...]) -> RunInfo:
    _, run_id, experiment_id, name, user, status, start_time, end_time, stage = row
    return RunInfo(
        run_id=run_id,
        experiment_id=experiment_id,
        run_name=name,
        user_id=user,
        status=RunStatus(status),
        start_time=start_time,
        end_time=end_time,
        lifecycle_stage=stage_of(stage),
        artifact_uri=artifact_uri(run_id),
    )


def _metrics(
    connection: sqlite3.Connection, rows: Sequence[int]
) -> tuple[dict[int, dict[str, float]], dict[int, dict[str, Moment]]]:
    found = _select(connection, _METRICS, rows).fetchall()
    metrics: defaultdict[int, dict[str, float]] = defaultdict(dict)
    moments: defaultdict[int, dict[str, Moment]] = defaultdict(dict)
    for (run, key, step, timestamp, _), value in zip(found, values_of(row[-1] for row in found), strict=True):
        metrics[run][key] = value
        moments[run][key] = Moment(step, timestamp)
    return metrics, moments


def _texts(found: sqlite3.Cursor) -> Texts:
    texts: Texts = defaultdict(dict)
    for owner, key, value in found:
        texts[owner][key] = value
    return texts


def _inputs(connection: sqlite3.Connection, rows: Sequence[int]) -> dict[int, list[DatasetInput]]:
    inputs: defaultdict[int, list[DatasetInput]] = defaultdict(list)
    for run, name, digest, source_type, source, schema, profile, tags in _select(connection, _INPUTS, rows):
        inputs[run].append(
            DatasetInput(
                name=name,
                digest=digest,
                source_type=source_type,
                source=source,
                schema=schema,
                profile=profile,
                tags=json.loads(tags),
            )
        )
    return inputs


def _experiment(row: tuple[Any, ...], tags: Texts) -> Experiment:
    _, experiment_id, name, stage, creation_time, last_update_time = row
    return Experiment(
        experiment_id=experiment_id,
        name=name,
        lifecycle_stage=stage_of(stage),
        tags=tags.get(row[0], {}),
        creation_time=creation_time,
        last_update_time=last_update_time,
    )
