"""The tables of jobs in ``store.db``."""

from __future__ import annotations

JOB_TABLES = """
"""
