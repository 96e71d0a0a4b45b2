"""The tables of endpoints, their deployments, revisions and telemetry in ``store.db``.

``endpoint.generation`` counts what the router must know of; ``routed_generation`` is what it has taken over.
``endpoint_deployment`` holds what is wanted (``spec``, since ``generation``) and what serves
(``serving_spec``, since ``serving_generation``; NULL before the first server was ready). An operation is
done; or waits for its server; or, once ``route_generation`` is set, only for the router to be that far.
``endpoint_metric`` holds ``seconds`` seconds from ``start_s`` on; ``buckets`` is the histogram of latencies
(see ``endpoint_telemetry``).
"""

from __future__ import annotations

ENDPOINT_TABLES = """
CREATE TABLE endpoint (
    name TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,
    routed_generation INTEGER NOT NULL DEFAULT 0,
    traffic TEXT NOT NULL DEFAULT '{}',
    mirror TEXT NOT NULL DEFAULT '{}',
    is_deleting INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    sockets TEXT NOT NULL,
    port INTEGER,
    router_pid INTEGER,
    router_start_time INTEGER,
    supervisor_pid INTEGER,
    supervisor_start_time INTEGER,
    creation_time INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE endpoint_deployment (
    endpoint TEXT NOT NULL,
    name TEXT NOT NULL,
    spec TEXT NOT NULL,
    generation INTEGER NOT NULL,
    serving_spec TEXT,
    serving_generation INTEGER,
    is_removing INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    pid INTEGER,
    start_time INTEGER,
    restarts INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (endpoint, name)
) WITHOUT ROWID;

CREATE TABLE endpoint_operation (
    operation INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint TEXT NOT NULL,
    subject TEXT NOT NULL,
    route_generation INTEGER,
    done INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    time INTEGER NOT NULL
);
CREATE INDEX endpoint_operation_open ON endpoint_operation (endpoint, done, subject);

CREATE TABLE endpoint_revision (
    endpoint TEXT NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (endpoint, number)
) WITHOUT ROWID;

CREATE TABLE endpoint_metric (
    endpoint TEXT NOT NULL,
    deployment TEXT NOT NULL,
    start_s INTEGER NOT NULL,
    seconds INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    mirrored INTEGER NOT NULL,
    buckets TEXT NOT NULL,
    PRIMARY KEY (endpoint, start_s, deployment, seconds)
) WITHOUT ROWID;
"""
