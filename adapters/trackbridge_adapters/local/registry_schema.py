"""The tables of registered models, their versions and their changes in ``store.db``.

A model that was deleted keeps its row, and so does a version: numbers and keys stay taken. Aliases and tags
of what was deleted are gone; the changes stay. A version is named by its number in all tables but the tags'.
"""

from __future__ import annotations

REGISTRY_TABLES = """
CREATE TABLE registered_model (
    row INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    creation_time INTEGER NOT NULL,
    last_update_time INTEGER NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE registered_model_tag (
    owner INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner, key)
) WITHOUT ROWID;

CREATE TABLE model_version (
    row INTEGER PRIMARY KEY,
    model INTEGER NOT NULL,
    number INTEGER NOT NULL,
    key TEXT NOT NULL,
    source TEXT NOT NULL,
    digest TEXT NOT NULL,
    run_id TEXT,
    origin TEXT NOT NULL,
    datasets TEXT NOT NULL,
    description TEXT NOT NULL,
    stage TEXT NOT NULL,
    approval TEXT NOT NULL,
    user TEXT NOT NULL,
    creation_time INTEGER NOT NULL,
    last_update_time INTEGER NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0,
    UNIQUE (model, number),
    UNIQUE (model, key)
);
CREATE TABLE model_version_tag (
    owner INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner, key)
) WITHOUT ROWID;

CREATE TABLE model_alias (
    model INTEGER NOT NULL, alias TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (model, alias)
) WITHOUT ROWID;
CREATE INDEX model_alias_by_number ON model_alias (model, number);

CREATE TABLE registry_change (
    row INTEGER PRIMARY KEY,
    model INTEGER NOT NULL,
    number INTEGER,
    what TEXT NOT NULL,
    before TEXT,
    after TEXT,
    user TEXT NOT NULL,
    time INTEGER NOT NULL,
    why TEXT NOT NULL
);
CREATE INDEX registry_change_by_model ON registry_change (model);
CREATE INDEX registry_change_by_version ON registry_change (model, number);
"""
