"""The tables of jobs in ``store.db``.

``number`` is the order of submission. ``spec`` is the JSON of a ``JobSpec``: it holds references to secrets,
never their values. ``process_id`` and ``process_birth`` name the process of the last attempt so that nobody
takes another process of the same number for it. ``cancel_time`` is when it was first asked to stop.
"""

from __future__ import annotations

JOB_TABLES = """
CREATE TABLE job (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL UNIQUE,
    spec TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    attempt INTEGER NOT NULL DEFAULT 0,
    exit_code INTEGER,
    process_id INTEGER,
    process_birth TEXT,
    submit_time INTEGER NOT NULL,
    start_time INTEGER,
    end_time INTEGER,
    cancel_time INTEGER
);

CREATE INDEX job_status ON job (status, number);
"""
