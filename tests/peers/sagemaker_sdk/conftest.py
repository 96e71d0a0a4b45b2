"""AWS's own SDK as the other side; 300 MB in an environment of its own, so only when it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.opt_in import is_asked_for


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Leave everything here out unless it was asked for."""
    return None if is_asked_for(config, Path(__file__).parent) else True
