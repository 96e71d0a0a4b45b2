"""The tables of endpoints, their deployments, revisions and telemetry in ``store.db``."""

from __future__ import annotations

ENDPOINT_TABLES = """
"""
