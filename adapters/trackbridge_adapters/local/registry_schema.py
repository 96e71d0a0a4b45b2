"""The tables of registered models, their versions and their changes in ``store.db``."""

from __future__ import annotations

REGISTRY_TABLES = """
"""
