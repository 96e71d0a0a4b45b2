"""mlflow with Microsoft's plugin as the other side, in an environment of its own: only when asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.azureml_peers import azure as azure
from tests.support.azureml_peers import context as context
from tests.support.azureml_peers import folder as folder
from tests.support.azureml_peers import ours as ours
from tests.support.azureml_peers import running as running
from tests.support.opt_in import is_asked_for


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Leave everything here out unless it was asked for."""
    return None if is_asked_for(config, Path(__file__).parent) else True
