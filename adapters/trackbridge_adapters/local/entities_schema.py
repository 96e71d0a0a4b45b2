"""The tables of ``store.db`` for logged models and traces.

One row each, whole, as MessagePack, which keeps the 64 bits of every number. Their files lie beside those
of runs, in folders of their ids.
"""

from __future__ import annotations

ENTITY_TABLES = """
CREATE TABLE entity (
    kind TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    experiment INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (kind, entity_id)
) WITHOUT ROWID;
CREATE INDEX entity_by_experiment ON entity (kind, experiment, entity_id);

CREATE TABLE run_model (
    run INTEGER NOT NULL,
    model_id TEXT NOT NULL,
    is_input INTEGER NOT NULL,
    step INTEGER,
    PRIMARY KEY (run, model_id, is_input)
) WITHOUT ROWID;
"""
