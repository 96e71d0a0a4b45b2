"""Tests against the clouds themselves: they cost money, and run only when they are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.opt_in import is_asked_for


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Leave everything here out unless it was asked for."""
    return None if is_asked_for(config, Path(__file__).parent) else True
