"""The tables of ``store.db``.

Keys of metrics, params and tags are interned in ``name``. A metric's history lies in chunks: columns of
little-endian 64-bit numbers, sorted by (step, timestamp, as written), ranges of the chunks of one metric
disjoint. ``metric_latest`` repeats the last point for search; SQLite keeps neither NaN (it becomes NULL) nor
the sign of zero, so the value's 64 bits stand beside it.

A new store is made by the steps in ``STEPS`` from the first on; an older one gets those that it lacks.

``run.stage``: 0 active, 1 deleted, 2 deleted together with its experiment.
"""

from __future__ import annotations

from trackbridge_adapters.local.deployments_schema import ENDPOINT_TABLES
from trackbridge_adapters.local.entities_schema import ENTITY_TABLES
from trackbridge_adapters.local.jobs_schema import JOB_TABLES
from trackbridge_adapters.local.registry_schema import REGISTRY_TABLES

VERSION = 3
APPLICATION_ID = 0x62726467  # "brdg", so that file(1) and we can tell whose database it is

ACTIVE, DELETED, DELETED_WITH_EXPERIMENT = 0, 1, 2

_TRACKING_TABLES = """
CREATE TABLE name (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);

CREATE TABLE experiment (
    row INTEGER PRIMARY KEY,
    experiment_id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    stage INTEGER NOT NULL DEFAULT 0,
    creation_time INTEGER NOT NULL,
    last_update_time INTEGER NOT NULL
);
CREATE TABLE experiment_tag (
    experiment INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (experiment, key)
) WITHOUT ROWID;

CREATE TABLE run (
    row INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    experiment INTEGER NOT NULL,
    name TEXT NOT NULL,
    user TEXT NOT NULL,
    status TEXT NOT NULL,
    start_time INTEGER NOT NULL,
    end_time INTEGER,
    stage INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX run_by_start ON run (start_time DESC, run_id);
CREATE INDEX run_by_experiment ON run (experiment, start_time DESC, run_id);

CREATE TABLE metric_latest (
    run INTEGER NOT NULL,
    key INTEGER NOT NULL,
    step INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    value REAL,
    bits INTEGER NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;
CREATE INDEX metric_by_value ON metric_latest (key, value, run);

CREATE TABLE metric_chunk (
    row INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    key INTEGER NOT NULL,
    first_step INTEGER NOT NULL,
    first_time INTEGER NOT NULL,
    last_step INTEGER NOT NULL,
    last_time INTEGER NOT NULL,
    points INTEGER NOT NULL,
    steps BLOB NOT NULL,
    timestamps BLOB NOT NULL,
    vals BLOB NOT NULL
);
CREATE UNIQUE INDEX metric_chunk_by_start ON metric_chunk (run, key, first_step, first_time);

CREATE TABLE param (
    run INTEGER NOT NULL, key INTEGER NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run, key)
) WITHOUT ROWID;
CREATE INDEX param_by_value ON param (key, value, run);

CREATE TABLE tag (
    run INTEGER NOT NULL, key INTEGER NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run, key)
) WITHOUT ROWID;
CREATE INDEX tag_by_value ON tag (key, value, run);

CREATE TABLE dataset_input (
    row INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    context TEXT,
    source_type TEXT NOT NULL,
    source TEXT NOT NULL,
    schema TEXT NOT NULL,
    profile TEXT NOT NULL,
    tags TEXT NOT NULL,
    UNIQUE (run, name, digest)
);

CREATE TABLE artifact (
    run_id TEXT NOT NULL,
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (run_id, path)
) WITHOUT ROWID;
"""

STEPS: dict[int, tuple[str, ...]] = {
    1: (_TRACKING_TABLES,),
    2: (REGISTRY_TABLES, JOB_TABLES, ENDPOINT_TABLES),
    3: (ENTITY_TABLES,),
}
"""What each version of the schema added to the one before."""


def statements_after(version: int) -> list[str]:
    """Return the statements that lead from a version (0: nothing there) to this one."""
    scripts = [script for step in sorted(STEPS) if step > version for script in STEPS[step]]
    return [part for script in scripts for part in script.split(";\n") if part.strip()]
